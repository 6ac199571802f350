"""What to do when memory runs out."""

import contextlib
import dataclasses
import json
import math
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from keras_resnet.training import Recipe
from pipelines import files
from pipelines.data import folders
from pipelines.errors import OutOfMemoryError

_OUT_OF_MEMORY = re.compile(
    r"\bOOM when allocating|out of memory|failed to allocate memory|unable to allocate"
    r"|CUDA_ERROR_OUT_OF_MEMORY",
    re.IGNORECASE,
)
_TENSOR = re.compile(r"tensor with shape\[([\d,]*)\] and type (\w+)")
_AMOUNT = re.compile(r"allocate ([\d.]+) ?(B|bytes|[KMGT]iB)\b")
_USED_OF = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT])")
_DEVICE = re.compile(r"device:(\w+:\d+)")
_KEPT = "accumulate.json"
_UNITS = {"B": 0, "bytes": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@contextlib.contextmanager
def advised(recipe: Recipe, replicas: int) -> Iterator[None]:
    """Says how the training steps of a block may fit where they do not.

    Args:
        recipe: Its batch size and its `accumulate`.
        replicas: Number of replicas.

    Raises:
        OutOfMemoryError: If memory runs out, see `advice`.

    Example:

    >>> with advised(recipe, strategy.num_replicas_in_sync):
    ...     loop.run()
    """
    try:
        yield
    except (tf.errors.OpError, MemoryError) as error:
        advised_error = advice(
            error, recipe.batch_size, replicas=replicas, accumulate=recipe.accumulate
        )
        if advised_error is None:
            raise
        raise advised_error from error


def advice(
    error: BaseException, batch_size: int, *, replicas: int = 1, accumulate: int = 1
) -> OutOfMemoryError | None:
    """Says how a training step that ran out of memory may fit.

    What would fit is estimated of what was in use and what was asked for more. That is
    a lower bound of what the step needs, so the advice may have to be taken twice.

    Args:
        error: What ended the run.
        batch_size: Images per step over all replicas.
        replicas: Number of replicas.
        accumulate: Parts of a replica's batch that are run one after the other.

    Returns:
        An error with a sentence and the parts that may fit, or None if `error` is about
        something else, such as a full disk.

    Example:

    >>> str(advice(MemoryError(), batch_size=256))
    'out of memory, with 256 images at once; --set=accumulate=2 keeps the batch ...'
    """
    message = str(error)
    if not isinstance(error, MemoryError) and not (
        isinstance(error, tf.errors.OpError) and _OUT_OF_MEMORY.search(message)
    ):
        return None
    device = _device(error)
    where = f" on {device}" if device else ""
    asked = _requested_bytes(message)
    amount = f", where {_readable(asked)} more had no room" if asked else ""
    own = batch_size // replicas
    begin = f"out of memory{where}{amount}, with {own // accumulate} images at once"
    if replicas > 1:
        begin += " on each replica"
    parts = _parts(own, accumulate * _excess(message, asked, device))
    if parts is None:
        return OutOfMemoryError(
            f"{begin}; even one image at once may not fit: give a smaller "
            "--set=image_size=N or --model, or --set=precision=bfloat16"
        )
    return OutOfMemoryError(
        f"{begin}; --set=accumulate={parts} keeps the batch of {batch_size} and runs "
        f"it in {parts} parts of {own // parts} one after the other, "
        f"--set=batch_size={own * accumulate // parts * replicas} takes a smaller one",
        parts,
    )


def keep_accumulate(directory: Path, asked: int, run: int) -> None:
    """Notes that a run runs more parts than it was asked to."""
    text = json.dumps({"asked": asked, "run": run})
    files.write_text(directory / _KEPT, text + "\n")


def as_run(directory: Path, recipe: Recipe) -> Recipe:
    """Returns a recipe with the number of parts that a run has come to.

    Args:
        directory: What `trainer` fills.
        recipe: As it was asked for.

    Raises:
        UserError: If the run's note is damaged.

    Example:

    >>> as_run(Path("runs/demo/model"), RECIPES["goyal2017"]).accumulate
    2
    """
    path = directory / _KEPT
    if not path.exists():
        return recipe
    with folders.read_values(
        path, missing=f"{path} is gone", mend="--overwrite starts the run afresh"
    ) as kept:
        if kept["asked"] != recipe.accumulate:
            return recipe
        return dataclasses.replace(recipe, accumulate=kept["run"])


def _device(error: BaseException) -> str:
    """Returns the device whose memory is meant, empty for this process' own."""
    if isinstance(error, MemoryError):
        return ""
    if match := _DEVICE.search(str(error)):
        return match[1]
    return "GPU:0" if tf.config.list_physical_devices("GPU") else ""


def _excess(message: str, asked: int | None, device: str) -> float:
    """Returns by how much too large the step is, at least 2."""
    if match := _USED_OF.search(message):
        used, limit = _bytes(*match.groups()[:2]), _bytes(*match.groups()[2:])
    elif asked:
        limit = _most_used(device)
        used = limit + asked
    else:
        return 2.0
    return max(2.0, used / limit)


def _parts(images: int, wanted: float) -> int | None:
    """Returns the fewest parts, at least `wanted`, that share the images equally."""
    parts = range(math.ceil(wanted), images + 1)
    return next((count for count in parts if images % count == 0), None)


def _requested_bytes(message: str) -> int | None:
    if match := _TENSOR.search(message):
        shape = [int(size) for size in match[1].split(",") if size]
        kind = {"float": "float32", "half": "float16", "double": "float64"}
        return math.prod(shape) * tf.as_dtype(kind.get(match[2], match[2])).size
    if match := _AMOUNT.search(message):
        return _bytes(match[1], match[2].removesuffix("iB"))
    return None


def _most_used(device: str) -> int:
    """Returns the most bytes that a GPU, or else this process, has had in use."""
    if device.startswith("GPU") and tf.config.list_physical_devices("GPU"):
        return max(tf.config.experimental.get_memory_info(device)["peak"], 1)
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bytes(number: str, unit: str) -> int:
    return int(float(number) * 1024 ** _UNITS[unit])


def _readable(count: int) -> str:
    unit = min(int(math.log(max(count, 1), 1024)), 4)
    return f"{count / 1024**unit:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"
