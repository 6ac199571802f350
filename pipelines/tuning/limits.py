"""What a network costs, and what it may cost."""

import contextlib
import dataclasses
import json
import math
import operator
import re
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

import keras_resnet
from keras_resnet.analysis import cost
from keras_resnet.training import Recipe
from pipelines import files
from pipelines.errors import UserError

COSTS = {
    "multiply_adds": "of one image",
    "parameters": "trained ones",
    "latency_ms": "of one image on this machine: median of 20, after 3 to warm up",
    "memory_mb": "of a training step, as an estimate: all activations of a batch, and "
    "weights, gradients and velocities, in float32",
}
"""What may be limited."""

_LIMIT = re.compile(r"(\w+)<=(.+)")
_FEWEST_CALLS, _CALLS = 3, 20
_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Limit:
    """How much a network may cost at most.

    Args:
        cost: A key of `COSTS`.
        most: In the cost's own units.
    """

    cost: str
    most: float

    def __str__(self) -> str:
        return f"{self.cost}<={self.most:g}"


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Returns the limits that a text names.

    Args:
        text: `COST<=NUMBER` with blanks between.

    Raises:
        UserError: If a part is none.

    Example:

    >>> [str(limit) for limit in parse_limits("multiply_adds<=60e6 latency_ms<=5")]
    ['multiply_adds<=6e+07', 'latency_ms<=5']
    """
    limits = []
    for word in text.split():
        match = _LIMIT.fullmatch(word)
        try:
            most = float(match[2]) if match else math.nan
        except ValueError:
            most = math.nan
        if not match or match[1] not in COSTS or not 0 < most < math.inf:
            raise UserError(
                f"--limit={word} is no COST<=NUMBER with a cost of {', '.join(COSTS)}; "
                "write for example --limit='multiply_adds<=60e6 latency_ms<=5'"
            )
        limits.append(Limit(match[1], most))
    return tuple(limits)


class Meter:
    """Measures networks, and remembers what it measured.

    Args:
        limits: What networks may cost.
        classes: Number of classes.
        path: Where it remembers, so that a search that is gone on with judges by the
            same latencies.

    Example:

    >>> meter = Meter(parse_limits("parameters<=0.3e6"), 10, Path("costs.json"))
    >>> meter.excess(NETWORKS["resnet32"], RECIPES["he2015_cifar"])
    'parameters is 464154'
    """

    def __init__(self, limits: Iterable[Limit], classes: int, path: Path) -> None:
        self.limits = tuple(limits)
        self._classes = classes
        self._path = path
        self._known: dict[str, dict[str, float]] = {}
        self._too_dear: list[keras_resnet.ResNetSpec] = []
        self.least: dict[str, float] = {}
        # Else it is measured again.
        with contextlib.suppress(OSError, ValueError):
            self._known = json.loads(path.read_text(encoding="utf-8"))

    def costs(
        self, network: keras_resnet.ResNetSpec, recipe: Recipe
    ) -> dict[str, float]:
        """Returns a network's costs; the latency only where it is limited."""
        size = recipe.image_size or network.input_size
        spec = dataclasses.replace(network, name="network", classes=self._classes)
        key = f"{spec!r} at {size} pixels, {recipe.batch_size} at once"
        if key not in self._known:
            model = keras_resnet.build(spec, input_shape=(size, size, 3))
            counted = cost(model)
            kept = sum(math.prod(layer.output_shape) for layer in counted.layers)
            values = recipe.batch_size * kept + 3 * counted.parameters
            self._known[key] = {
                "multiply_adds": counted.multiply_adds,
                "parameters": counted.parameters,
                "memory_mb": values * _BYTES / 1e6,
            }
            if any(limit.cost == "latency_ms" for limit in self.limits):
                self._known[key]["latency_ms"] = _latency(model, size)
            files.write_text(self._path, json.dumps(self._known, indent=1) + "\n")
        return self._known[key]

    def excess(self, network: keras_resnet.ResNetSpec, recipe: Recipe) -> str:
        """Returns what a network costs too much; empty if it keeps the limits."""
        if not self.limits:
            return ""
        for other in self._too_dear:
            if _is_deeper(network, other):
                return f"it is deeper than {other.blocks_per_stage}"
        costs = self.costs(network, recipe)
        for limit in self.limits:
            found = costs[limit.cost]
            self.least[limit.cost] = min(found, self.least.get(limit.cost, found))
            if found > limit.most:
                self._too_dear.append(network)
                return f"{limit.cost} is {found:g}"
        return ""


def _is_deeper(
    network: keras_resnet.ResNetSpec, other: keras_resnet.ResNetSpec
) -> bool:
    """Tells whether a network is another one with more blocks, which only adds cost."""
    counts = network.blocks_per_stage, other.blocks_per_stage
    rest = ({**vars(one), "blocks_per_stage": ()} for one in (network, other))
    return operator.eq(*rest) and all(
        here >= there for here, there in zip(*counts, strict=True)
    )


def _latency(model: tf.Module, size: int) -> float:
    call = tf.function(lambda images: model(images, training=False))
    image = tf.zeros((1, size, size, 3))
    seconds = []
    for _ in range(_FEWEST_CALLS + _CALLS):
        began = time.perf_counter()
        call(image).numpy()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[_FEWEST_CALLS:])
