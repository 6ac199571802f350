"""Which network of the table a set of weights belongs to, by names and shapes alone."""

import collections
import dataclasses
import re
from collections.abc import Mapping

from keras_resnet import blocks
from keras_resnet.networks import NETWORKS
from keras_resnet.spec import ResNetSpec

Shape = tuple[int, ...]

# Kernel size of each convolution, and its width in eighths of the stem's.
_STEMS = {
    "imagenet": ((7, 8),),
    "imagenet_v2": ((7, 8),),
    "imagenet_v2_keras": ((7, 8),),
    "cifar": ((3, 8),),
    "cifar_v2": ((3, 8),),
    "deep": ((3, 4), (3, 4), (3, 8)),
    "deep_tiered": ((3, 3), (3, 4), (3, 8)),
}

# Stages whose first block has a projection: none, those that change shapes, or all.
_PROJECTED = {"A": "none", "none": "none", "C": "all", "vd": "all"}


@dataclasses.dataclass(frozen=True)
class _Traits:
    """What the names and shapes of weights tell about their network."""

    block: str
    blocks_per_stage: Shape
    stem: tuple[Shape, ...]
    widths: Shape
    group_widths: Shape
    projected: tuple[bool, ...]
    squeezes: bool
    has_bias: bool


def likely_networks(
    shapes: Mapping[str, Shape],
    stride_on: str | None = None,
    pools: bool | None = None,
) -> list[str]:
    """Returns the names of the networks that have weights of these shapes.

    Args:
        shapes: Shapes of the weights by our names, such as `conv1_conv/kernel`.
        stride_on: Which convolution of its post-activation bottlenecks has the stride,
            None if that is not known. Shapes do not tell.
        pools: Whether layers in the shortcuts pool, None if that is not known.

    Returns:
        Keys of `keras_resnet.NETWORKS`, none if no network is like that.

    Example:

    >>> likely_networks({w.path: w.shape for w in model.weights}, stride_on="3x3")
    ['resnet50_v1_5']
    """
    traits = _traits_of_weights(shapes)
    return [
        name
        for name, spec in NETWORKS.items()
        if _traits_of_spec(spec) == traits
        and (spec.block != "bottleneck" or stride_on in (None, spec.stride_on))
        and pools in (None, spec.shortcut == "D" or spec.first_shortcut == "vd")
    ]


def _traits_of_weights(shapes: Mapping[str, Shape]) -> _Traits | None:
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
    kind = "bottleneck" if f"{firsts[0]}3_conv/kernel" in shapes else "basic"
    is_v2 = f"{firsts[0]}preact_bn/gamma" in shapes
    return _Traits(
        block=f"{kind}_v2" if is_v2 else kind,
        blocks_per_stage=tuple(counts[stage] for stage in sorted(counts)),
        stem=tuple((shape[0], shape[-1]) for shape in stem),
        widths=tuple(shape[-1] for shape in widths if shape),
        group_widths=tuple(shape[-2] for shape in widths if shape),
        projected=tuple(f"{first}0_conv/kernel" in shapes for first in firsts),
        squeezes=f"{firsts[0]}se_1_conv/kernel" in shapes,
        has_bias="conv1_conv/bias" in shapes,
    )


def _traits_of_spec(spec: ResNetSpec) -> _Traits:
    block = blocks.BLOCKS[spec.block]
    stem_filters = spec.stem_filters or spec.filters[0]
    group_widths = spec.filters
    if "bottleneck" in spec.block:
        group_widths = tuple(
            blocks.group_width(filters, spec.base_width) for filters in spec.filters
        )
    # Input and output channels of each stage, and whether its first block strides.
    outputs = [block.expansion * filters for filters in spec.filters]
    first_strides = [
        stride if spec.strided_block == "first" or count == 1 else 1
        for stride, count in zip(spec.stage_strides, spec.blocks_per_stage, strict=True)
    ]
    changes = [
        before != after or (stride > 1 and spec.shortcut != "subsample")
        for before, after, stride in zip(
            [stem_filters, *outputs], outputs, first_strides, strict=False
        )
    ]
    projected = {
        "none": [False] * len(outputs),
        "changes": changes,
        "all": [True] * len(outputs),
    }[_PROJECTED.get(spec.first_shortcut or spec.shortcut, "changes")]
    return _Traits(
        block=spec.block,
        blocks_per_stage=spec.blocks_per_stage,
        stem=tuple(
            (size, eighths * stem_filters // 8) for size, eighths in _STEMS[spec.stem]
        ),
        widths=tuple(spec.cardinality * width for width in group_widths),
        group_widths=group_widths,
        projected=tuple(projected),
        squeezes=spec.squeeze_excitation is not None,
        has_bias=spec.use_bias,
    )
