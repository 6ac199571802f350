"""Which network of the table a set of weights belongs to, by names and shapes alone."""

import collections
import dataclasses
import re
from collections.abc import Mapping

from keras_resnet.blocks import BLOCKS, group_width
from keras_resnet.networks import NETWORKS
from keras_resnet.shortcuts import SHORTCUTS
from keras_resnet.spec import ResNetSpec
from keras_resnet.stems import STEMS
from keras_resnet.weights.traits import Statement, differences, of_spec

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Shown:
    """What the names and shapes of weights tell about their network."""

    weighted_layers: int
    preactivation: bool
    blocks_per_stage: Shape
    stem: tuple[Shape, ...]
    widths: Shape
    group_widths: Shape
    projected: tuple[bool, ...]
    squeezes: bool
    has_bias: bool


def likely_networks(shapes: Mapping[str, Shape], said: Statement) -> list[str]:
    """Returns the names of the networks that have weights of these shapes.

    Args:
        shapes: Shapes of the weights by our names, such as `conv1_conv/kernel`.
        said: What is known of what no shape shows.

    Returns:
        Keys of `keras_resnet.NETWORKS`, none if no network is like that.

    Example:

    >>> shapes = {w.path: w.shape for w in model.weights}
    >>> likely_networks(shapes, {"stride_on": ("3x3",), "antialias": (None,)})
    ['resnet50_v1_5']
    """
    shown = _shown_by_weights(shapes)
    return [
        name
        for name, spec in NETWORKS.items()
        if _shown_by_spec(spec) == shown and not differences(of_spec(spec), said)
    ]


def _shown_by_weights(shapes: Mapping[str, Shape]) -> _Shown | None:
    counts: dict[int, int] = collections.defaultdict(int)
    for name in shapes:
        if match := re.match(r"conv(\d+)_block(\d+)_", name):
            stage, block = map(int, match.groups())
            counts[stage] = max(counts[stage], block)
    firsts = [f"conv{stage}_block1_" for stage in sorted(counts)]
    stem = [
        shapes[name]
        for name in sorted(shapes)
        if re.fullmatch(r"conv1(_\d)?_conv/kernel", name)
    ]
    widths = [shapes.get(f"{first}2_conv/kernel") for first in firsts]
    if not firsts or not stem or None in widths:
        return None
    return _Shown(
        weighted_layers=sum(
            re.fullmatch(rf"{firsts[0]}[1-9]_conv/kernel", name) is not None
            for name in shapes
        ),
        preactivation=f"{firsts[0]}preact_bn/gamma" in shapes,
        blocks_per_stage=tuple(counts[stage] for stage in sorted(counts)),
        stem=tuple((shape[0], shape[-1]) for shape in stem),
        widths=tuple(shape[-1] for shape in widths if shape),
        group_widths=tuple(shape[-2] for shape in widths if shape),
        projected=tuple(f"{first}0_conv/kernel" in shapes for first in firsts),
        squeezes=f"{firsts[0]}se_1_conv/kernel" in shapes,
        has_bias="conv1_conv/bias" in shapes,
    )


def _shown_by_spec(spec: ResNetSpec) -> _Shown:
    block, stem = BLOCKS[spec.block], STEMS[spec.stem]
    stem_filters = spec.stem_filters or spec.filters[0]
    group_widths = tuple(
        group_width(filters, spec.base_width) for filters in spec.filters
    )
    # Input and output channels of each stage, and whether its first block strides.
    outputs = [block.expansion * filters for filters in spec.filters]
    strides = [
        stride > 1 and (spec.strided_block == "first" or count == 1)
        for stride, count in zip(spec.stage_strides, spec.blocks_per_stage, strict=True)
    ]
    changes = [
        before != after
        for before, after in zip([stem_filters, *outputs], outputs, strict=False)
    ]
    carry = SHORTCUTS[spec.first_shortcut or spec.shortcut].carry
    projects = carry.projects if carry else "never"
    return _Shown(
        weighted_layers=block.weighted_layers,
        preactivation=block.preactivation,
        blocks_per_stage=spec.blocks_per_stage,
        stem=tuple(
            (size, width)
            for (size, _, _), width in zip(
                stem.convolutions, stem.widths(stem_filters), strict=True
            )
        ),
        widths=tuple(spec.cardinality * width for width in group_widths),
        group_widths=group_widths,
        projected=tuple(
            {
                "never": False,
                "channels": changes_channels,
                "shape": changes_channels or is_strided,
                "always": True,
            }[projects]
            for changes_channels, is_strided in zip(changes, strides, strict=True)
        ),
        squeezes=spec.squeeze_excitation is not None,
        has_bias=spec.use_bias,
    )
