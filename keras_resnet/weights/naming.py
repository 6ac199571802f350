"""Applies the rules of a layout: their weights to ours, and our names to theirs."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from keras_resnet.weights.files import Weights
from keras_resnet.weights.layouts import LAYOUTS, Layout, Rules, Variant
from keras_resnet.weights.traits import Statement

_OUR_FIRST_STAGE = 2
_OUR_FIRST_BLOCK = 1


def recognize(weights: Weights) -> Layout | None:
    """Returns the layout that a file's names are of, None if it is not known."""
    names = [*weights.tensors, *weights.layers]
    return next((lay for lay in LAYOUTS.values() if _has(names, lay.sign)), None)


def unwrapped(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes what trainers put before the names of a network within a module.

    Lightning's `self.model = network` makes `model.layer1.0.conv1.weight`. Names of
    none of the layouts, and names without what comes before the others, stay.
    """
    if any(_has(tensors, layout.sign) for layout in LAYOUTS.values()):
        return dict(tensors)
    for layout in LAYOUTS.values():
        for name in tensors:
            if match := re.fullmatch(rf"((?:\w+\.)+?)(?:{layout.sign})", name):
                return {n.removeprefix(match[1]): a for n, a in tensors.items()}
    return dict(tensors)


def to_ours(
    tensors: Mapping[str, np.ndarray], layout: Layout
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Names, transposes and folds a file's tensors as our models have them.

    Args:
        tensors: The arrays of a file by their names.
        layout: The layout of the file.

    Returns:
        The arrays by our names, such as `conv4_block6_2_conv/kernel`, and the names in
        the file that no rule is about.
    """
    rules = _rules(layout, variants_of_file(tensors, layout))
    rename = _renamer(
        [(theirs, ours) for ours, theirs in rules],
        (layout.first_stage, layout.first_block),
        (_OUR_FIRST_STAGE, _OUR_FIRST_BLOCK),
    )
    ours: dict[str, np.ndarray] = {}
    unknown = []
    for name, array in tensors.items():
        if re.fullmatch(layout.ignored, name):
            continue
        layer, _, variable = name.removeprefix(layout.prefix).rpartition(
            layout.separator
        )
        our_layer = rename(layer) or (layer if layout.keeps_names else None)
        variables = {} if our_layer is None else _variables(layout, our_layer)
        our_variable = {v: k for k, v in variables.items()}.get(variable)
        if our_layer is None or our_variable is None:
            unknown.append(name)
            continue
        if layout.transposes and our_variable == "kernel" and array.ndim > 1:
            array = array.transpose(*range(2, array.ndim), 1, 0)
        ours[f"{our_layer}/{our_variable}"] = array
    return _folded(ours, layout), unknown


def to_theirs(
    names: Iterable[str], layers: Iterable[str], layout: Layout
) -> dict[str, str | None]:
    """Returns the layout's name for each of our variables, None where it has none.

    Args:
        names: Our variables, such as `conv4_block6_2_conv/kernel`.
        layers: All layers of the model, also those without weights.
        layout: The layout to name them in.
    """
    rename = _renamer(
        _rules(layout, variants_of_model(layers, layout)),
        (_OUR_FIRST_STAGE, _OUR_FIRST_BLOCK),
        (layout.first_stage, layout.first_block),
    )
    theirs: dict[str, str | None] = {}
    for name in names:
        layer, _, variable = name.rpartition("/")
        their_layer = rename(layer)
        their_variable = _variables(layout, layer).get(variable)
        known = their_layer is not None and their_variable is not None
        theirs[name] = (
            f"{their_layer}{layout.separator}{their_variable}" if known else None
        )
    return theirs


def variants_of_file(tensors: Iterable[str], layout: Layout) -> list[Variant]:
    """Returns those of a layout's variants that the tensors' names show."""
    names = list(tensors)
    return [variant for variant in layout.variants if _has(names, variant.sign)]


def variants_of_model(layers: Iterable[str], layout: Layout) -> list[Variant]:
    """Returns those of a layout's variants that our layers' names show."""
    names = list(layers)
    return [variant for variant in layout.variants if _has(names, variant.our_sign)]


def said_by_variants(layout: Layout, shown: Collection[Variant]) -> Statement:
    """Returns what the variants that are shown, and those that are not, tell."""
    said: dict[str, Collection[Any]] = {}
    for variant in layout.variants:
        for trait, value in variant.traits.items():
            possible = layout.traits[trait] if layout.traits else ()
            others = tuple(other for other in possible if other != value)
            said[trait] = (value,) if variant in shown else others
    return said


def _has(names: Iterable[str], sign: str) -> bool:
    return any(re.fullmatch(sign, name) for name in names)


def _rules(layout: Layout, shown: Iterable[Variant]) -> Rules:
    return (*layout.rules, *(rule for variant in shown for rule in variant.rules))


def _variables(layout: Layout, our_layer: str) -> Mapping[str, str]:
    is_norm = our_layer.endswith("_bn")
    return layout.norm_variables if is_norm else layout.other_variables


def _renamer(
    rules: Iterable[tuple[str, str]], first: tuple[int, int], new_first: tuple[int, int]
) -> Callable[[str], str | None]:
    """Returns a function from one side of the rules to the other."""
    # Of several rules for one name the last holds.
    targets = {_pattern(source): target for source, target in rules}
    numbers = ("stage", "block")

    def rename(name: str) -> str | None:
        for pattern, target in targets.items():
            if match := re.fullmatch(pattern, name):
                found = match.groupdict()
                shifted = {
                    number: int(found[number]) - old + new
                    for number, old, new in zip(numbers, first, new_first, strict=True)
                    if number in found
                }
                return target.format(**shifted)
        return None

    return rename


def _pattern(template: str) -> str:
    return (
        re.escape(template)
        .replace(r"\{stage\}", r"(?P<stage>\d+)")
        .replace(r"\{block\}", r"(?P<block>\d+)")
    )


def _folded(ours: dict[str, np.ndarray], layout: Layout) -> dict[str, np.ndarray]:
    """Takes up what our layers lack: biases before batch norms, another epsilon.

    A batch norm of `x + bias` is one of `x` with a mean that is smaller by the bias.
    """
    for name in [name for name in ours if name.endswith("_conv/bias")]:
        mean = f"{name.removesuffix('_conv/bias')}_bn/moving_mean"
        if mean in ours and ours[mean].shape == ours[name].shape:
            ours[mean] = ours[mean] - ours.pop(name)
    if layout.excess_epsilon:
        for name in ours:
            if name.endswith("/moving_variance"):
                variance = ours[name].astype("float64") + layout.excess_epsilon
                ours[name] = variance.astype(ours[name].dtype)
    return ours
