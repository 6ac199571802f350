"""What a residual network is: one frozen value, and the table of published ones."""

import dataclasses

from keras_resnet import blocks, shortcuts, stems


@dataclasses.dataclass(frozen=True)
class ResNetSpec:
    """Describes a residual network completely; `keras_resnet.build` makes it.

    A stage is a run of blocks at one resolution. Every stage after the first halves
    the resolution in its first block.

    Args:
        name: The network's name, also the default name of its model.
        stem: What comes before the stages: `"imagenet"` (7x7/2 convolution and 3x3/2
            max-pool, Table 1) or `"cifar"` (3x3 convolution, section 4.2).
        block: `"basic"` (two 3x3) or `"bottleneck"` (1x1, 3x3, 1x1; Figure 5).
        filters: Width of the 3x3 convolutions in each stage. A bottleneck block's
            output is four times as wide.
        blocks_per_stage: Number of blocks in each stage.
        shortcut: `"A"`, `"B"` or `"C"` (section 3.3 and Table 3).
        input_size: Height and width in pixels that the network was published with.
        classes: Number of classes that the network was published with.

    Raises:
        ValueError: If a value is not one of the above; the message names the field.

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

    def __post_init__(self) -> None:
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
        _require_positive_integer("input_size", self.input_size)
        _require_positive_integer("classes", self.classes)
        for field, table in (
            ("stem", stems.STEMS),
            ("block", blocks.BLOCKS),
            ("shortcut", shortcuts.SHORTCUTS),
        ):
            if getattr(self, field) not in table:
                raise ValueError(
                    f"`{field}` must be one of {', '.join(map(repr, table))}, "
                    f"got {getattr(self, field)!r}."
                )
        if self.shortcut == "A" and list(self.filters) != sorted(self.filters):
            raise ValueError(
                "`shortcut='A'` pads channels with zeros and cannot take any away: "
                f"`filters` must not decrease, got {self.filters}."
            )

    @property
    def depth(self) -> int:
        """Number of weighted layers as the paper counts them (without projections)."""
        layers_per_block = {"basic": 2, "bottleneck": 3}[self.block]
        return 2 + layers_per_block * sum(self.blocks_per_stage)


def _require_positive_integer(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{field}` must hold positive integers, got {value!r}.")


def _imagenet(name: str, block: str, blocks_per_stage: tuple[int, ...]) -> ResNetSpec:
    return ResNetSpec(
        name=name,
        stem="imagenet",
        block=block,
        filters=(64, 128, 256, 512),
        blocks_per_stage=blocks_per_stage,
        shortcut="B",
        input_size=224,
        classes=1000,
    )


def _cifar(name: str, blocks: int) -> ResNetSpec:
    return ResNetSpec(
        name=name,
        stem="cifar",
        block="basic",
        filters=(16, 32, 64),
        blocks_per_stage=(blocks, blocks, blocks),
        shortcut="A",
        input_size=32,
        classes=10,
    )


NETWORKS: dict[str, ResNetSpec] = {
    spec.name: spec
    for spec in (
        # Table 1: ImageNet.
        _imagenet("resnet18", "basic", (2, 2, 2, 2)),
        _imagenet("resnet34", "basic", (3, 4, 6, 3)),
        _imagenet("resnet50", "bottleneck", (3, 4, 6, 3)),
        _imagenet("resnet101", "bottleneck", (3, 4, 23, 3)),
        _imagenet("resnet152", "bottleneck", (3, 8, 36, 3)),
        # Section 4.2 and Table 6: CIFAR-10, 6n + 2 layers.
        _cifar("resnet20", 3),
        _cifar("resnet32", 5),
        _cifar("resnet44", 7),
        _cifar("resnet56", 9),
        _cifar("resnet110", 18),
        _cifar("resnet1202", 200),
    )
}
"""The published networks by name."""
