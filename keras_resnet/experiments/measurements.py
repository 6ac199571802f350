"""How claims are measured, on any backend."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
from keras import layers, ops

from keras_resnet import analysis, structure
from keras_resnet.builder import build
from keras_resnet.conv import Settings
from keras_resnet.networks import NETWORKS
from keras_resnet.spec import ResNetSpec
from keras_resnet.surgery import deepen


class Point(NamedTuple):
    """A point of a claim's figure.

    Args:
        panel: What the panel's axes are: `"x; y"`.
        series: Which line it is on.
        x: Where.
        y: What was measured there.
    """

    panel: str
    series: str
    x: float
    y: float


class Measured(NamedTuple):
    """What one seed gave.

    Args:
        effects: The statistics by name.
        points: The figure's.
    """

    effects: dict[str, float]
    points: list[Point]


class Materials(Protocol):
    """What a measurement can ask for."""

    def images(
        self, count: int, seed: int, size: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns normalised images `(count, size, size, 3)` and their labels."""

    def network(self, name: str) -> keras.Model:
        """Returns a trained network that gives logits."""

    def losses(self, training: str) -> np.ndarray:
        """Returns steps of a training and their mean loss, `(rows, 2)`."""


def degradation(
    seed: int, materials: Materials, *, shallow: str, deep: str, last: int
) -> Measured:
    """Compares what depth does to the training loss, with and without shortcuts."""
    points, ends = [], {}
    for kind in ("plain", "residual"):
        for depth in (shallow, deep):
            losses = materials.losses(f"{kind}-{depth}")
            ends[kind, depth] = float(losses[-last:, 1].mean())
            points += [
                Point("step; training loss", f"{kind}-{depth}", step, loss)
                for step, loss in losses
            ]
    plain, residual = (ends[k, deep] - ends[k, shallow] for k in ("plain", "residual"))
    return Measured(
        {
            "interaction": plain - residual,
            "plain_depth": plain,
            "residual_depth": residual,
            **{f"{kind}-{depth}": end for (kind, depth), end in ends.items()},
        },
        points,
    )


def construction(
    seed: int, materials: Materials, *, count: int, blocks: int
) -> Measured:
    """Deepens a trained ResNet-20 by blocks that are the identity."""
    shallow = materials.network("resnet20")
    deep = deepen(shallow, (blocks,) * 3)
    error = _error(materials, count, seed)
    errors = {"resnet20": error(shallow), "deepened": error(deep)}
    images, _ = materials.images(count, seed)
    outputs = [
        np.concatenate([batch for (batch,) in analysis.outputs_of(one, [name], images)])
        for one in (shallow, deep)
        for name in [one.layers[-1].name]
    ]
    depths = {"resnet20": 20, "deepened": 6 * blocks + 2}
    return Measured(
        {
            "error_change": abs(errors["deepened"] - errors["resnet20"]),
            "output_change": float(np.abs(outputs[1] - outputs[0]).max()),
            **errors,
        },
        [Point("layers; error", name, depths[name], errors[name]) for name in errors],
    )


def gradients_at_initialisation(
    seed: int, materials: Materials, *, network: str, count: int
) -> Measured:
    """Compares gradients along plain networks before training, on noise."""
    without = Settings(norm_layer=_no_norm)
    variants = {
        "normalised": Settings(),
        "without batch norm": without,
        "sigmoid": dataclasses.replace(without, activation="sigmoid"),
    }
    images, labels = _noise(count, seed)
    effects, points = {}, []
    for name, settings in variants.items():
        model = _new(NETWORKS[network], seed, settings=settings)
        norms = analysis.layer_norms(model, images, _loss(labels), training=True)
        slopes = norms.gradients[:-1]  # Without the classifier.
        with np.errstate(divide="ignore"):
            effects[name] = float(np.log10(slopes[0] / slopes[-1]))
        points += [
            Point("layer; norm of the gradient", name, index + 1, slope)
            for index, slope in enumerate(slopes)
        ]
    return Measured(effects, points)


def responses(
    seed: int,
    materials: Materials,
    *,
    count: int,
    networks: tuple[str, str] = ("resnet20", "resnet56"),
    size: int = 32,
) -> Measured:
    """Compares how strongly two trained networks respond (figure 7)."""
    images, _ = materials.images(count, seed, size)
    means, points = {}, []
    for name in networks:
        stds = analysis.responses(materials.network(name), images).stds
        means[name] = stds.mean()
        for panel, values in (
            ("layer index; std", stds),
            ("layer index (sorted by magnitude); std", np.sort(stds)[::-1]),
        ):
            points += [Point(panel, name, i + 1, y) for i, y in enumerate(values)]
    first, second = networks
    ratio = means[second] / means[first]
    return Measured({"log_ratio": float(np.log(ratio)), **_floats(means)}, points)


_TABLE_1 = {18: 1.8e9, 34: 3.6e9, 50: 3.8e9, 101: 7.6e9, 152: 11.3e9}


def cost(seed: int, materials: Materials, *, rounds: int, count: int) -> Measured:
    """Counts multiply-adds, and times networks with and without shortcuts."""
    names = [f"resnet{depth}" for depth in _TABLE_1]
    *counts, plain34, vgg19 = map(_multiply_adds, (*names, "plainnet34", "vgg19"))
    counted = dict(zip(_TABLE_1, counts, strict=True))
    pair = [_new(NETWORKS[name], seed) for name in ("resnet56", "plainnet56")]
    images, _ = _noise(count, seed)
    seconds = [_seconds(model, images) for _ in range(rounds) for model in pair]
    fastest = [min(seconds[index::2]) for index in (0, 1)]
    parameters = [analysis.cost(model).parameters for model in pair]
    panel = "layers; multiply-adds (10^9)"
    return Measured(
        {
            "share_of_vgg19": plain34 / vgg19,
            "table_1": max(abs(counted[d] / n - 1) for d, n in _TABLE_1.items()),
            "shortcut_parameters": float(parameters[0] - parameters[1]),
            "shortcut_time": fastest[0] / fastest[1],
        },
        [
            *(Point(panel, "published", d, n / 1e9) for d, n in _TABLE_1.items()),
            *(Point(panel, "counted", d, n / 1e9) for d, n in counted.items()),
        ],
    )


@functools.cache
def _multiply_adds(name: str) -> int:
    if name == "vgg19":
        return analysis.cost(keras.applications.VGG19(weights=None)).multiply_adds
    return analysis.cost(build(NETWORKS[name])).multiply_adds


def deletion(seed: int, materials: Materials, *, count: int, blocks: int) -> Measured:
    """Deletes blocks of ResNet-56, each by itself."""
    model = materials.network("resnet56")
    known = _blocks(model)
    chosen = np.random.default_rng(seed).choice(len(known), blocks, replace=False)
    names = [known[index] for index in sorted(chosen)]
    found = analysis.drop_each(model, _error(materials, count, seed), names)
    return Measured(
        {
            "median_increase": float(np.median(found.errors) - found.intact),
            "greatest_increase": float(found.errors.max() - found.intact),
            "intact": found.intact,
        },
        [
            Point("block deleted; error", "resnet56", known.index(name) + 1, error)
            for name, error in zip(names, found.errors, strict=True)
        ],
    )


def deletion_compared(
    seed: int, materials: Materials, *, count: int, size: int
) -> Measured:
    """Deletes blocks of a plain and of a residual network, those that both can lack."""
    error = _error(materials, count, seed, size)
    plain, residual = map(materials.network, ("plain-20", "residual-20"))
    hurt = analysis.drop_each(plain, error)
    spared = analysis.drop_each(residual, error, hurt.changes)
    known = _blocks(plain)
    median = {
        name: float(np.median(found.errors))
        for name, found in (("plain", hurt), ("residual", spared))
    }
    return Measured(
        {
            "plain_error": median["plain"],
            "difference": (median["plain"] - hurt.intact)
            - (median["residual"] - spared.intact),
            "plain_intact": hurt.intact,
            "residual_intact": spared.intact,
            "residual_error": median["residual"],
        },
        [
            Point("block deleted; error", name, known.index(block) + 1, value)
            for name, found in (("plain-20", hurt), ("residual-20", spared))
            for block, value in zip(found.changes, found.errors, strict=True)
        ],
    )


def many_lesions(
    seed: int,
    materials: Materials,
    *,
    count: int,
    deletions: Sequence[int],
    swaps: Sequence[int],
) -> Measured:
    """Deletes and permutes more and more blocks of ResNet-56."""
    model = materials.network("resnet56")
    error = _error(materials, count, seed)
    dropped = analysis.drop_random(model, error, deletions, seed)
    permuted = analysis.permute_random(model, error, swaps, seed)
    whole = [dropped.intact, *dropped.errors]
    rise = max(whole) - dropped.intact
    panels = ("blocks deleted; error", "pairs of blocks swapped; error")
    return Measured(
        {
            "deletion_order": analysis.kendall_tau(dropped.errors),
            "deletion_jump": float(np.diff(whole).max() / rise) if rise else np.nan,
            "permutation_order": analysis.kendall_tau(permuted.errors),
        },
        [
            Point(panel, "resnet56", x, y)
            for panel, xs, found in zip(
                panels, (deletions, swaps), (dropped, permuted), strict=True
            )
            for x, y in zip((0, *xs), (found.intact, *found.errors), strict=True)
        ],
    )


def paths(
    seed: int, materials: Materials, *, count: int, step: int, samples: int
) -> Measured:
    """Measures along how long paths the gradient of ResNet-56 comes."""
    model = materials.network("resnet56")
    images, labels = materials.images(count, seed)
    lengths = range(0, len(_blocks(model)) + 1, step)
    found = analysis.path_gradients(
        model, images, _loss(labels), lengths, samples, seed
    )
    shares = {
        "paths": found.paths / found.paths.sum(),
        "gradient": found.contributions,
    }
    panels = {
        "length of the path (blocks); share": shares,
        "length of the path (blocks); log10 of the gradient's norm": {
            "one path": np.log10(np.maximum(found.norms.mean(axis=1), 1e-30))
        },
    }
    return Measured(
        {
            "relative_length": found.effective_length / (found.blocks / 2),
            "effective_length": found.effective_length,
        },
        [
            Point(panel, series, x, y)
            for panel, lines in panels.items()
            for series, ys in lines.items()
            for x, y in zip(found.lengths, ys, strict=True)
        ],
    )


def norm_preservation(
    seed: int, materials: Materials, *, blocks: Sequence[int], count: int
) -> Measured:
    """Compares gradients before and after blocks of new networks, on noise."""
    images, labels = _noise(count, seed)
    deviations, points = {}, []
    for number in blocks:
        spec = dataclasses.replace(NETWORKS["resnet20"], blocks_per_stage=(number,) * 3)
        model = _new(spec, seed)
        stages = structure.stages(model).values()
        names = [f"{block}_out" for own in stages for block in own]
        slopes = analysis.layer_norms(
            model, images, _loss(labels), names, training=True
        ).gradients
        norms = dict(zip(names, slopes, strict=True))
        ratios = [
            norms[f"{before}_out"] / norms[f"{after}_out"]
            for own in stages
            for before, after in zip(own, own[1:], strict=False)
        ]
        deviations[number] = float(np.abs(np.array(ratios) - 1).mean())
        depth = 6 * number + 2
        points += [
            Point("block / all blocks; ratio of norms", f"resnet-{depth}", x, ratio)
            for x, ratio in zip(np.linspace(0, 1, len(ratios)), ratios, strict=True)
        ]
    shallow, deep = deviations[min(blocks)], deviations[max(blocks)]
    return Measured(
        {
            "log_deviation": float(np.log(deep / shallow)),
            **{f"deviation-{6 * n + 2}": value for n, value in deviations.items()},
        },
        points,
    )


def shattering(
    seed: int,
    materials: Materials,
    *,
    width: int,
    count: int,
    plain: Sequence[int],
    residual: Sequence[int],
) -> Measured:
    """Correlates gradients of fully-connected networks at random inputs."""
    inputs = np.random.default_rng(seed).standard_normal((count, width))
    apart = ~np.eye(count, dtype=bool)

    def correlation(depth: int, is_residual: bool) -> float:
        keras.utils.set_random_seed(seed)
        model = _dense_network(width, depth, is_residual)
        model(inputs, training=True)  # Sets the batch norms' statistics.
        found = analysis.gradient_correlations(model, inputs, seed)
        return float(found[apart].mean())

    means = {
        "plain": [correlation(depth, False) for depth in plain],
        "residual": [correlation(depth, True) for depth in residual],
    }
    depths = {"plain": plain, "residual": residual}
    # Below what chance gives, there is nothing to take a logarithm of.
    logs = {name: np.log(np.maximum(ys, 1e-4)) for name, ys in means.items()}
    plain_slope = np.polyfit(plain, logs["plain"] / np.log(2), 1)[0]
    residual_slope = np.polyfit(np.log(residual), logs["residual"], 1)[0]
    return Measured(
        {"plain_rate": float(plain_slope), "residual_exponent": float(residual_slope)},
        [
            Point("layers; correlation of gradients", name, x, max(y, 1e-4))
            for name, ys in means.items()
            for x, y in zip(depths[name], ys, strict=True)
        ],
    )


MEASURES: dict[str, Callable[..., Measured]] = {
    function.__name__: function
    for function in (
        degradation,
        construction,
        gradients_at_initialisation,
        responses,
        cost,
        deletion,
        deletion_compared,
        many_lesions,
        paths,
        norm_preservation,
        shattering,
    )
}
"""The measurements by name."""


def _dense_network(width: int, depth: int, is_residual: bool) -> keras.Model:
    """Returns `depth` layers of batch norm, ReLU and weights (1702.08591)."""
    x = inputs = keras.Input((width,))
    for _ in range(depth):
        branch = layers.ReLU()(layers.BatchNormalization(momentum=0.0)(x))
        branch = layers.Dense(width, use_bias=False, kernel_initializer="he_normal")(
            branch
        )
        x = layers.Add()([x, branch]) if is_residual else branch
    return keras.Model(inputs, x)


def _new(spec: ResNetSpec, seed: int, **options: Any) -> keras.Model:
    """Returns a network with random weights of its own that gives logits."""
    keras.utils.set_random_seed(seed)
    return build(spec, classifier_activation=None, **options)


def _no_norm(name: str, **_: Any) -> layers.Layer:
    return layers.Identity(name=name)


def _noise(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((count, 32, 32, 3)).astype("float32")
    return images, rng.integers(10, size=count)


def _loss(labels: np.ndarray) -> Callable[[Any], Any]:
    def loss(logits: Any) -> Any:
        return ops.mean(
            keras.losses.sparse_categorical_crossentropy(
                labels, logits, from_logits=True
            )
        )

    return loss


def _error(
    materials: Materials, count: int, seed: int, size: int = 32
) -> Callable[[keras.Model], float]:
    images, labels = materials.images(count, seed, size)

    def error(network: keras.Model) -> float:
        name = network.layers[-1].name
        answers = [
            found.argmax(axis=-1)
            for (found,) in analysis.outputs_of(network, [name], images, 100)
        ]
        return float(np.mean(np.concatenate(answers) != labels))

    return error


def _blocks(model: keras.Model) -> list[str]:
    return [block for own in structure.stages(model).values() for block in own]


def _seconds(model: keras.Model, images: np.ndarray) -> float:
    start = time.perf_counter()
    model.predict_on_batch(images)
    return time.perf_counter() - start


def _floats(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
