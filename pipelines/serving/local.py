"""The exported model in this process, as a server would answer."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from pipelines.data.images import inspect
from pipelines.errors import UserError
from pipelines.serving.signatures import BYTES_SIGNATURE
from pipelines.serving.versions import versions

Answer = list[tuple[str, float]]


def load_classifier(model: Path) -> Callable[[Path], Answer]:
    """Loads an exported model.

    Args:
        model: A run's folder, whose newest version is taken, or one version's folder.

    Returns:
        A function from an image file to its best classes and their probabilities, best
        first. It raises `UserError` for a file that cannot be read, or that
        `python -m pipelines.prepare_data` would leave out, for the same reason.

    Raises:
        UserError: If there is no exported model.

    Example:

    >>> load_classifier(Path("runs/demo"))(Path("photo.jpg"))[0]
    ('star', 0.98)
    """
    saved = tf.saved_model.load(str(_find_version(model)))
    signature = saved.signatures[BYTES_SIGNATURE]

    def classify(path: Path) -> Answer:
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})") from error
        try:
            answer = signature(image_bytes=tf.constant([encoded]))
            valid = answer.get("valid", [True])[0]
        except tf.errors.InvalidArgumentError:  # As older versions say it.
            valid = False
        if not valid:
            (facts,) = inspect([encoded])
            problem = facts.problem or "not a kind that this model decodes"
            raise UserError(f"cannot be used ({problem})")
        names = [name.decode() for name in answer["classes"].numpy()[0]]
        return list(
            zip(names, answer["probabilities"].numpy()[0].tolist(), strict=True)
        )

    return classify


def _find_version(model: Path) -> Path:
    if (model / "saved_model.pb").is_file():
        return model
    served = [path for path in (model / "serving").glob("[!.]*") if path.is_dir()]
    found = [path / str(versions(path)[-1]) for path in served if versions(path)]
    if not found:
        raise UserError(
            f"--model={model} holds no exported model; give the --output_dir of a "
            "finished `python -m pipelines.train_imagenet`"
        )
    return found[0]
