"""What a residual network is: one frozen value (networks.py has the table)."""

import dataclasses
import math

from keras_resnet import blocks, shortcuts, stems
from keras_resnet.initializers import INITIALIZERS


@dataclasses.dataclass(frozen=True)
class ResNetSpec:
    """Describes a residual network completely; `keras_resnet.build` makes it.

    A stage is a run of blocks at one resolution. Every stage after the first halves
    the resolution.

    Args:
        name: The network's name, also the default name of its model.
        stem: What comes before the stages, a key of `keras_resnet.stems.STEMS`:
            `"imagenet"` (7x7/2 convolution and 3x3/2 max-pool, Table 1), `"cifar"` (3x3
            convolution, section 4.2), `"deep"` or `"deep_tiered"` (three 3x3,
            1812.01187); with pre-activation blocks `"imagenet_v2"`,
            `"imagenet_v2_keras"` or `"cifar_v2"`.
        block: `"basic"` (two 3x3), `"bottleneck"` (1x1, 3x3, 1x1; Figure 5),
            `"basic_v2"` or `"bottleneck_v2"` (pre-activation, 1603.05027).
        filters: Width of the 3x3 convolutions in each stage. A bottleneck block's
            output is four times as wide.
        blocks_per_stage: Number of blocks in each stage.
        shortcut: `"A"`, `"B"`, `"C"` (section 3.3 and Table 3), `"none"` (plain), or
            another key of `keras_resnet.shortcuts.SHORTCUTS`.
        input_size: Height and width in pixels that the network was published with.
        classes: Number of classes that the network was published with.
        first_shortcut: Shortcut of each stage's first block. None for `shortcut`.
        strided_block: Whether each stage's `"first"` block halves the resolution, as
            in the paper, or its `"last"`, as in the V2 networks of
            `keras.applications` (for the next stage; the last stage keeps it).
        stem_filters: Number of channels of the stem's output. None for `filters[0]`.
        stride_on: Which convolution of a bottleneck has the stride: the first `"1x1"`,
            as in the paper, or the `"3x3"` (v1.5).
        cardinality: Number of groups of a bottleneck's 3x3 (ResNeXt, 1611.05431).
        base_width: Width of a bottleneck's 3x3 for each 64 filters and group; above 64
            it makes a Wide ResNet (1605.07146), with `cardinality` a ResNeXt.
        dropout: Share of activations dropped between the convolutions of a `"basic_v2"`
            block (1605.07146, section 2.4).
        squeeze_excitation: Reduction of squeeze-and-excitation (1709.01507). None for
            none.
        stochastic_depth: Probability of dropping the last block's residual branch in
            training; it decays linearly towards the first (1603.09382, equation 4).
        antialias: Anti-aliased downsampling, `"blur"` (1904.11486) or `"average"`. None
            for strides alone.
        zero_gamma: Whether the last batch norm of each block starts at zero
            (1706.02677, section 5.1).
        initializer: How weights start: `"he2015"` (1502.01852), as networks of
            `"pytorch"` do, or another key of `keras_resnet.initializers.INITIALIZERS`.
        use_bias: Whether the convolutions that no batch norm follows have a bias, as in
            the V2 networks of `keras.applications`.
        rank: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes and
            video.

    Raises:
        ValueError: If a value is not one of the above, or the combination means
            nothing; the message names the field.

    Example:

    >>> spec = dataclasses.replace(NETWORKS["resnet50"], shortcut="C")
    >>> spec.depth
    50
    """

    name: str
    stem: str
    block: str
    filters: tuple[int, ...]
    blocks_per_stage: tuple[int, ...]
    shortcut: str
    input_size: int
    classes: int
    first_shortcut: str | None = None
    strided_block: str = "first"
    stem_filters: int | None = None
    stride_on: str = "1x1"
    cardinality: int = 1
    base_width: int = 64
    dropout: float = 0.0
    squeeze_excitation: int | None = None
    stochastic_depth: float = 0.0
    antialias: str | None = None
    zero_gamma: bool = False
    initializer: str = "he2015"
    use_bias: bool = False
    rank: int = 2

    def __post_init__(self) -> None:
        self._check_stages()
        self._check_numbers()
        self._check_names()
        self._check_block_options()
        self._check_combinations()

    @property
    def depth(self) -> int:
        """Number of weighted layers as the paper counts them (without projections)."""
        layers_per_block = blocks.BLOCKS[self.block].weighted_layers
        return 2 + layers_per_block * sum(self.blocks_per_stage)

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """By how much each stage reduces the resolution of the one before it."""
        last = len(self.filters) - 1
        if self.strided_block == "first":
            return tuple(1 if stage == 0 else 2 for stage in range(last + 1))
        return tuple(1 if stage == last else 2 for stage in range(last + 1))

    @property
    def strides(self) -> dict[str, int]:
        """Pixels of the input for each pixel of the levels `"conv1"`, `"conv2"`, ..."""
        stem = stems.STEMS[self.stem]
        strides = {"conv1": stem.unpooled_strides}
        total = stem.strides
        for level, stride in enumerate(self.stage_strides, start=2):
            total *= stride
            strides[f"conv{level}"] = total
        return strides

    def _check_stages(self) -> None:
        for field in ("filters", "blocks_per_stage"):
            values = getattr(self, field)
            if not isinstance(values, (list, tuple)) or not values:
                raise ValueError(
                    f"`{field}` must list one number for each stage, got {values!r}."
                )
            for value in values:
                _require_positive_integer(field, value)
            object.__setattr__(self, field, tuple(values))
        if len(self.filters) != len(self.blocks_per_stage):
            raise ValueError(
                f"`filters` describes {len(self.filters)} stages, "
                f"`blocks_per_stage` {len(self.blocks_per_stage)}: give one number for "
                "each stage in both."
            )

    def _check_numbers(self) -> None:
        for field in ("input_size", "classes", "cardinality", "base_width"):
            _require_positive_integer(field, getattr(self, field))
        for field in ("stem_filters", "squeeze_excitation"):
            if getattr(self, field) is not None:
                _require_positive_integer(field, getattr(self, field))
        for field in ("dropout", "stochastic_depth"):
            value = getattr(self, field)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not 0 <= value < 1 or math.isnan(value):
                raise ValueError(
                    f"`{field}` must be a probability below 1, got {value!r}."
                )
        for field in ("zero_gamma", "use_bias"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(
                    f"`{field}` must be True or False, got {getattr(self, field)!r}."
                )

    def _check_names(self) -> None:
        for field, known in (
            ("stem", stems.STEMS),
            ("block", blocks.BLOCKS),
            ("shortcut", shortcuts.SHORTCUTS),
            ("first_shortcut", (None, *shortcuts.SHORTCUTS)),
            ("strided_block", blocks.STRIDED_BLOCKS),
            ("stride_on", blocks.STRIDES_ON),
            ("antialias", (None, *blocks.ANTIALIASES)),
            ("initializer", INITIALIZERS),
            ("rank", (1, 2, 3)),
        ):
            value = getattr(self, field)
            if isinstance(value, (bool, float)) or value not in tuple(known):
                raise ValueError(
                    f"`{field}` must be one of {', '.join(map(repr, known))}, "
                    f"got {value!r}."
                )

    def _check_block_options(self) -> None:
        options = blocks.BLOCKS[self.block].options
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            takers = [
                name
                for name, block in blocks.BLOCKS.items()
                if field.name in block.options
            ]
            if takers and field.name not in options and value != field.default:
                raise ValueError(
                    f"`{field.name}={value!r}` means nothing to "
                    f"`block={self.block!r}`, only to "
                    f"{' and '.join(map(repr, takers))}."
                )

    def _check_combinations(self) -> None:
        block, stem = blocks.BLOCKS[self.block], stems.STEMS[self.stem]
        preactivation = block.preactivation
        kinds = {name: shortcuts.SHORTCUTS[name] for name in self._shortcuts}
        is_plain = {kind.is_plain for kind in kinds.values()}
        pads_channels = [
            name
            for name, kind in kinds.items()
            if kind.carry and kind.carry.pads_channels
        ]
        for field, is_wrong, reason in (
            (
                "stem",
                stem.normalizes == preactivation,
                f"`block={self.block!r}` begins with "
                f"{'a batch norm' if preactivation else 'a convolution'} and needs a "
                f"stem that ends {'without' if preactivation else 'with'} one",
            ),
            (
                "antialias",
                self.antialias and block.is_bottleneck and self.stride_on == "1x1",
                "a 1x1 convolution's stride cannot be anti-aliased by the 3x3 that "
                "follows: set `stride_on='3x3'`",
            ),
            (
                "base_width",
                blocks.group_width(min(self.filters), self.base_width) < 1,
                "it leaves the narrowest stage no channel",
            ),
            (
                "stem_filters",
                min(stem.widths(self.stem_filters or self.filters[0])) < 1,
                f"`stem={self.stem!r}` begins with a part of its channels",
            ),
            (
                "stochastic_depth",
                self.stochastic_depth and True in is_plain,
                "a plain block that drops its only branch passes nothing on",
            ),
            (
                "zero_gamma",
                self.zero_gamma and True in is_plain,
                "a plain block that starts at zero passes nothing on",
            ),
            (
                "strided_block",
                self.strided_block == "last" and not preactivation,
                f"`block={self.block!r}` has no published network that strides last",
            ),
            (
                "use_bias",
                self.use_bias and not preactivation,
                f"a batch norm follows every convolution of `block={self.block!r}`",
            ),
            (
                "first_shortcut",
                len(is_plain) > 1,
                "a network is plain in all blocks or in none",
            ),
            (
                "filters",
                pads_channels and not self._channels_grow,
                f"shortcut {' and '.join(map(repr, pads_channels))} pads channels "
                "with zeros and cannot take any away: the number of channels must not "
                "decrease",
            ),
        ):
            if is_wrong:
                raise ValueError(
                    f"`{field}={getattr(self, field)!r}` cannot be: {reason}."
                )

    @property
    def _shortcuts(self) -> tuple[str, ...]:
        return (self.first_shortcut or self.shortcut, self.shortcut)

    @property
    def _channels_grow(self) -> bool:
        expansion = blocks.BLOCKS[self.block].expansion
        channels = [
            self.stem_filters or self.filters[0],
            *(expansion * filters for filters in self.filters),
        ]
        return channels == sorted(channels)


def _require_positive_integer(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{field}` must hold positive integers, got {value!r}.")
