"""Augmentations as values and as text: `"inception_crop(0.08,1)|flip|mixup(0.2)"`.

An operation is a frozen value that says what may be drawn. Its kernels draw, and do to
pixels what was drawn: `keras_resnet.arrays.views` has those in numpy,
`pipelines.data.augmentation` those in TensorFlow. A new operation is a value here, a
row in `OPERATIONS`, and a kernel in one or both (docs/augmentation.md).
"""

import dataclasses
import difflib
import re
from typing import Any, NamedTuple, Self, TypeVar

Array = TypeVar("Array")

ATTEMPTS = 10
"""Draws of a rectangle until one fits."""

CROPPED_ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Width to height of `InceptionCrop`."""

ERASED_AREAS = (0.02, 0.33)
"""Shares of the image of `RandomErasing`."""

ERASED_ASPECT_RATIOS = (0.3, 1 / 0.3)
"""Height to width of `RandomErasing`."""

EIGENVALUES = (55.4625, 4.7940, 1.1475)
"""Of ImageNet's colours, RGB in 0..255."""

EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
"""One in each column; both as in facebookarchive/fb.resnet.torch, `imagenet.lua`."""


class Strength(NamedTuple):
    """How strong an operation of a policy may be.

    Args:
        weakest: Its argument at magnitude 0.
        strongest: At the highest magnitude.
        is_signed: Whether half of the images get the negative argument.
        rounded: To which whole number the argument is rounded: the `"nearest"`, the
            next one `"up"` or `"down"`; empty for none.
        is_relative: Whether both are shares of the image's size.
    """

    weakest: float = 0.0
    strongest: float = 0.0
    is_signed: bool = False
    rounded: str = ""
    is_relative: bool = False


def _signed(strongest: float) -> Strength:
    return Strength(0.0, strongest, is_signed=True)


STRENGTHS: dict[str, Strength] = {
    "identity": Strength(),
    "shear_x": _signed(0.3),
    "shear_y": _signed(0.3),
    "translate_x": Strength(0, 150 / 331, True, "down", is_relative=True),
    "translate_y": Strength(0, 150 / 331, True, "down", is_relative=True),
    "rotate": _signed(30),
    "brightness": _signed(0.9),
    "color": _signed(0.9),
    "contrast": _signed(0.9),
    "sharpness": _signed(0.9),
    "posterize": Strength(8, 4, rounded="nearest"),
    "solarize": Strength(255, 0),
    "auto_contrast": Strength(),
    "equalize": Strength(),
    "invert": Strength(),
}
"""Of AutoAugment (1805.09501, table 6) and RandAugment; 331 is its images' size."""

WIDE_STRENGTHS: dict[str, Strength] = {
    **STRENGTHS,
    "shear_x": _signed(0.99),
    "shear_y": _signed(0.99),
    "translate_x": Strength(0, 32, True, "down"),
    "translate_y": Strength(0, 32, True, "down"),
    "rotate": _signed(135),
    "brightness": _signed(0.99),
    "color": _signed(0.99),
    "contrast": _signed(0.99),
    "sharpness": _signed(0.99),
    "posterize": Strength(8, 2, rounded="nearest"),
}
"""Of TrivialAugment's wide space (2103.10158, table 1); translations are in pixels."""

INCREASING_STRENGTHS: dict[str, Strength] = {
    **{
        name: STRENGTHS[name]
        for name in (
            *("auto_contrast", "equalize", "invert", "rotate", "color", "contrast"),
            *("brightness", "sharpness", "shear_x", "shear_y"),
        )
    },
    "posterize": Strength(4, 0, rounded="up"),
    "solarize": Strength(256, 0, rounded="up"),
    "solarize_add": Strength(0, 110, rounded="down"),
    "translate_x": Strength(0, 0.45, is_signed=True, is_relative=True),
    "translate_y": Strength(0, 0.45, is_signed=True, is_relative=True),
}
"""Of timm's RandAugment with `inc1`, which draws each."""

RANDOM_OPERATIONS = 14
"""Of `STRENGTHS`, those that RandAugment and TrivialAugment draw: all but the last."""

RANDAUGMENT_MAGNITUDES = 10
TRIVIALAUGMENT_MAGNITUDES = 30
AUTOAUGMENT_MAGNITUDES = 9

TIMM_PROBABILITY = 0.5
"""With which timm's RandAugment applies what it has drawn."""

IMAGENET_POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)
"""AutoAugment's policy for ImageNet (1805.09501, table 9).

Each row is one sub-policy: two operations with their probabilities and magnitudes.
"""


def _number(low: float, high: float, **default: Any) -> Any:
    return dataclasses.field(metadata={"low": low, "high": high}, **default)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One step of an augmentation; its fields are its parameters."""


class View(Operation):
    """The first step, which gives images the network's size."""


class Mixing(Operation):
    """A step that mixes each image, and its label, with that of its partner.

    The partner is the image before, as in torchvision, since the order of the images is
    random already; the first has the last. Of repeated views each has the view with the
    same number: as many rows before as there are views of an image.
    """


class _Between(View):
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(
                f"{self} has its limits in the wrong order; give the smaller one first"
            )


@dataclasses.dataclass(frozen=True)
class Center(View):
    """The evaluation view: the shorter side scaled to `resize`, the centre cropped."""


@dataclasses.dataclass(frozen=True)
class PadCrop(View):
    """Pads the evaluation view, then crops at random (1512.03385, section 4.2).

    The margin is the mean colour, which normalisation turns into the paper's zeros.

    Args:
        padding: Pixels on each side.
    """

    padding: int = _number(1, 4096, default=4)


@dataclasses.dataclass(frozen=True)
class ScaleJitterCrop(_Between):
    """Scales the shorter side at random, then crops (1512.03385, section 3.4).

    Args:
        low: The shortest shorter side in pixels, for crops of 224; other sizes keep
            the proportion.
        high: The longest; every length between is equally likely.
    """

    low: int = _number(224, 10_000, default=256)
    high: int = _number(224, 10_000, default=480)


@dataclasses.dataclass(frozen=True)
class InceptionCrop(_Between):
    """Crops at random area and aspect ratio 3:4 to 4:3, then scales (1409.4842).

    Drawn as torchvision's RandomResizedCrop does: ten attempts to fit the image, then
    the largest centred crop within the aspect ratios.

    Args:
        low: Smallest share of the image's area.
        high: Largest share.
    """

    low: float = _number(0.0001, 1, default=0.08)
    high: float = _number(0.0001, 1, default=1.0)


@dataclasses.dataclass(frozen=True)
class Flip(Operation):
    """Mirrors half of the images, left to right."""


@dataclasses.dataclass(frozen=True)
class PcaColour(Operation):
    """Shifts the colours along ImageNet's principal components (section 3.4).

    Each component is added times its eigenvalue and a normal number, one for the whole
    image (Krizhevsky et al., NIPS 2012, section 4.1, which the paper follows).

    Args:
        deviation: Standard deviation of the normal numbers.
    """

    deviation: float = _number(0, 10, default=0.1)


@dataclasses.dataclass(frozen=True)
class ColorJitter(Operation):
    """Changes brightness, contrast and saturation, in random order.

    Each is multiplied by a factor between `1 - x` and `1 + x`, as in torchvision.

    Args:
        brightness: The `x` of brightness.
        contrast: Of contrast.
        saturation: Of saturation.
    """

    brightness: float = _number(0, 1, default=0.4)
    contrast: float = _number(0, 1, default=0.4)
    saturation: float = _number(0, 1, default=0.4)


@dataclasses.dataclass(frozen=True)
class RandAugment(Operation):
    """Several operations in a row, each one of 14 at random (1909.13719).

    Args:
        layers: How many.
        magnitude: How strong all are, on the paper's scale of 0 to 10.
    """

    layers: int = _number(1, 8, default=2)
    magnitude: float = _number(0, RANDAUGMENT_MAGNITUDES, default=9)


@dataclasses.dataclass(frozen=True)
class TimmRandAugment(Operation):
    """RandAugment as timm has it: its `rand-m7-mstd0.5-inc1` is `(2, 7, 0.5)`.

    Several operations in a row, each one of `INCREASING_STRENGTHS` at random, applied
    with `TIMM_PROBABILITY`, at a magnitude of its own.

    Args:
        layers: How many.
        magnitude: Mean of the magnitudes, on the paper's scale of 0 to 10.
        deviation: Their standard deviation; what is drawn beyond the scale is its end.
    """

    layers: int = _number(1, 8, default=2)
    magnitude: float = _number(0, RANDAUGMENT_MAGNITUDES, default=9)
    deviation: float = _number(0, RANDAUGMENT_MAGNITUDES, default=0.5)


@dataclasses.dataclass(frozen=True)
class TrivialAugment(Operation):
    """One operation of 14 at random, at a random magnitude (2103.10158)."""


@dataclasses.dataclass(frozen=True)
class AutoAugment(Operation):
    """One sub-policy of `IMAGENET_POLICY` at random (1805.09501)."""


@dataclasses.dataclass(frozen=True)
class RandomErasing(Operation):
    """Covers a rectangle with the mean colour (1708.04896).

    It has 2% to 33% of the image's area and an aspect ratio of 0.3 to 1/0.3; the first
    of ten attempts that fits is taken, and if none does, the image is left as it is.

    Args:
        probability: Share of the images that are changed.
    """

    probability: float = _number(0, 1, default=0.5)


@dataclasses.dataclass(frozen=True)
class Mixup(Mixing):
    """Averages two images, with a share of Beta(alpha, alpha) (1710.09412).

    Args:
        alpha: 1 makes every share equally likely, a smaller one favours 0 and 1.
    """

    alpha: float = _number(0.001, 100, default=0.2)


@dataclasses.dataclass(frozen=True)
class Cutmix(Mixing):
    """Pastes a rectangle of another image (1905.04899).

    Its sides are those of the image times the root of a share of Beta(alpha, alpha),
    its centre is anywhere; what lies outside of the image is cut off. Labels are mixed
    by the number of pixels that were pasted.

    Args:
        alpha: As for `Mixup`.
    """

    alpha: float = _number(0.001, 100, default=1.0)


@dataclasses.dataclass(frozen=True)
class MixupOrCutmix(Mixing):
    """Gives half of the images `Mixup` and the others `Cutmix`, as timm can.

    Args:
        mixup_alpha: Of `Mixup`.
        cutmix_alpha: Of `Cutmix`.
    """

    mixup_alpha: float = _number(0.001, 100, default=0.2)
    cutmix_alpha: float = _number(0.001, 100, default=1.0)


@dataclasses.dataclass(frozen=True)
class Repeat(Operation):
    """Shows each image several times in a row, differently (1902.05509).

    Args:
        times: How often; whoever draws the order repeats the images.
    """

    times: int = _number(1, 64)


OPERATIONS: dict[str, type[Operation]] = {
    "center": Center,
    "pad_crop": PadCrop,
    "scale_jitter_crop": ScaleJitterCrop,
    "inception_crop": InceptionCrop,
    "flip": Flip,
    "pca_colour": PcaColour,
    "color_jitter": ColorJitter,
    "randaugment": RandAugment,
    "timm_randaugment": TimmRandAugment,
    "trivialaugment": TrivialAugment,
    "autoaugment": AutoAugment,
    "random_erasing": RandomErasing,
    "mixup": Mixup,
    "cutmix": Cutmix,
    "mixup_or_cutmix": MixupOrCutmix,
    "repeat": Repeat,
}
"""The operations by name."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """A view of an image, and what happens to a batch of views.

    Args:
        operations: The view first.
    """

    operations: tuple[Operation, ...]

    @property
    def mixes_labels(self) -> bool:
        """Whether images have a share of each class instead of one label."""
        return any(isinstance(step, Mixing) for step in self.operations)

    @property
    def repeats(self) -> int:
        """How many views of each image follow one another."""
        return next(
            (step.times for step in self.operations if isinstance(step, Repeat)), 1
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Makes an augmentation of its text.

        Args:
            text: Operations joined by `|`, each a key of `OPERATIONS` with its
                parameters in parentheses; a parameter left out takes its default. The
                first is the view, at most one mixes labels.

        Raises:
            ValueError: If an operation is unknown, stands in the wrong place or has a
                parameter out of its range.

        Example:

        >>> Augmentation.parse("pad_crop(4)|flip").operations
        (PadCrop(padding=4), Flip())
        """
        steps = tuple(_operation(part.strip(), text) for part in text.split("|"))
        if not isinstance(steps[0], View) or _count(steps, View) > 1:
            views = (
                name for name, kind in OPERATIONS.items() if issubclass(kind, View)
            )
            raise ValueError(
                f"the augmentation {text!r} must have one view, and have it first; "
                f"begin with one of {', '.join(views)}"
            )
        for kind, what in ((Mixing, "mixes labels"), (Repeat, "repeats images")):
            if _count(steps, kind) > 1:
                raise ValueError(
                    f"the augmentation {text!r} {what} twice; leave one of these out"
                )
        return cls(steps)


def mixed(own: Array, others: Array, share: Array) -> Array:
    """Mixes levels, or rows of labels, with those of each image's partner.

    Args:
        own: Floats `(batch, ...)`, an array of any library.
        others: The partners', of the same shape.
        share: How much of its own each keeps, broadcast.

    Returns:
        Floats of the same shape.
    """
    return others + share * (own - others)  # type: ignore[operator]


def _count(steps: tuple[Operation, ...], kind: type[Operation]) -> int:
    return sum(isinstance(step, kind) for step in steps)


def _operation(part: str, text: str) -> Operation:
    match = re.fullmatch(r"(\w+)\s*(?:\(([^()]*)\))?", part)
    if match is None:
        raise ValueError(
            f"{part!r} in the augmentation {text!r} is not an operation; write a name "
            "and its parameters, such as 'pad_crop(4)|flip'"
        )
    name, arguments = match.groups()
    if name not in OPERATIONS:
        near = difflib.get_close_matches(name.lower(), OPERATIONS, n=1, cutoff=0.4)
        raise ValueError(
            f"no augmentation is called {name!r};"
            + (f" did you mean {near[0]!r}?" if near else "")
            + f" (known: {', '.join(OPERATIONS)})"
        )
    kind = OPERATIONS[name]
    fields = dataclasses.fields(kind)
    given = arguments.split(",") if arguments and arguments.strip() else []
    required = sum(field.default is dataclasses.MISSING for field in fields)
    if not required <= len(given) <= len(fields):
        names = ", ".join(field.name for field in fields)
        raise ValueError(
            f"{part!r} in the augmentation {text!r} has the wrong number of "
            f"parameters; it takes {f'({names})' if names else 'none'}"
        )
    return kind(
        *(
            _parameter(field, value.strip(), part)
            for field, value in zip(fields, given, strict=False)
        )
    )


def _parameter(field: dataclasses.Field, value: str, part: str) -> int | float:
    number: type = field.type  # type: ignore[assignment]
    low, high = field.metadata["low"], field.metadata["high"]
    try:
        parsed = number(value)
    except ValueError:
        parsed = None
    if parsed is None or not low <= parsed <= high:
        kind = "a whole number" if number is int else "a number"
        raise ValueError(
            f"{field.name} of {part!r} is {value!r}; give {kind} from {low} to {high}"
        )
    return parsed
