"""How a network is trained: one frozen value (recipes.py has the table)."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

from keras_resnet.training.augmentation import Augmentation
from keras_resnet.training.losses import LOSSES
from keras_resnet.training.optimizers import MOMENTUM_FORMS, OPTIMIZERS
from keras_resnet.training.schedules import SCHEDULES, WARMUPS
from keras_resnet.training.spans import in_steps


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run beside network, data and seed.

    A *span* is a length of training: `"30 epochs"`, `"400 steps"` or `"50%"` of the
    run, see `keras_resnet.training.spans`.

    Args:
        name: The name in `RECIPES`.
        source: Where the values come from.
        published: Networks and the top-1 accuracies in percent that the source gives
            for them: of ImageNet's validation images, one central crop, unless `source`
            says otherwise.
        network: Fields of `ResNetSpec` that belong to the recipe, with their values.
        epochs: Passes over the training images.
        batch_size: Images per step over all replicas together.
        base_batch_size: Number of images per step that `learning_rate` and spans in
            steps are given for; they are scaled to `batch_size` (1706.02677, section
            2.1). 0 takes them as they are.
        accumulate: Parts of a replica's batch that are run one after the other, which
            takes less memory; their gradients are summed.
        optimizer: A name in `keras_resnet.training.optimizers.OPTIMIZERS`.
        learning_rate: The highest rate of the schedule, for `base_batch_size`.
        schedule: A name in `keras_resnet.training.schedules.SCHEDULES`.
        drops: Spans from the beginning after each of which `"steps"` multiplies the
            rate by `drop_factor`.
        drop_factor: Also what `"plateau"` multiplies by.
        patience: Epochs without a better validation error after which `"plateau"` does.
        warmup: Span before the schedule begins; empty for none, or what the schedule
            has of its own (`"one_cycle"` rises for 25% from 0.04).
        warmup_shape: `"linear"` or `"constant"`.
        warmup_from: The rate at which it begins, as a share of `learning_rate`.
        warmup_scales: Whether that rate, too, is scaled to the batch size. Where it is
            not, it is no higher than the schedule's.
        rate_span: Span in which the rate stays as it is at the beginning, such as
            `"1 epoch"`; empty for one step.
        final_rate: The rate at which falling schedules end, as a share of
            `learning_rate`.
        momentum: Share of the velocity that is kept, or Adam's first beta.
        momentum_form: `"caffe"`: the velocity includes the rate, so a change of the
            rate acts on new gradients only; `"pytorch"`: the velocity is of gradients
            and the whole of it is multiplied by the rate.
        nesterov: Whether to look ahead.
        weight_decay: Weight decay.
        decay_form: `"l2"`: added to the gradient, so that momentum accumulates it, as
            in Caffe and PyTorch's SGD; `"decoupled"`: beside the step, times the rate
            (1711.05101).
        decay_norms: Whether batch norms' scales and offsets decay.
        decay_biases: Whether other biases do.
        clip_norm: Greatest norm of all gradients together; 0 for any.
        ema: Share of the averaged weights that each update of them keeps, less in the
            first ones (`keras_resnet.training.averaging`); evaluation and the saved
            model then use the averages. 0 for none.
        ema_every: Steps between updates of the averages.
        precision: `"float32"`, `"bfloat16"` or `"float16"` (with loss scaling).
        loss: `"softmax"` or `"sigmoid"` (binary cross-entropy of each class, 2110.00476
            section 3), see `keras_resnet.training.losses`.
        label_smoothing: Share of the label that is spread over all classes.
        augmentation: What `keras_resnet.training.augmentation.Augmentation.parse`
            takes.
        image_size: Height and width in pixels at evaluation; 0 takes the network's
            published size.
        resize_ratio: Evaluation scales the shorter side to this many image sizes.
        interpolation: Evaluation's filter.
        train_size: Height and width in pixels in training; 0 for those at evaluation,
            which progressive resizing does not take.
        final_train_size: The size at which progressive resizing ends; 0 for
            `train_size`.
        size_ramp: Shares of the run at which progressive resizing begins and ends.
        test_flip: Whether evaluation averages over each image and its mirror image.
        batch_norm: Statistics over each replica's own images (`"local"`, as in the
            paper), over the whole batch (`"synchronized"`), or those that the network
            came with (`"frozen"`, which also keeps the scales and offsets).
        frozen_stages: Layers whose names begin so are not trained, such as `"conv1"`.
        stage_rate_decay: Each stage learns at this share of the next one's rate; the
            classifier has the full rate.

    Raises:
        ValueError: If a name is not in its table, a span is none, or a number is out of
            its range; the message names the field.

    Example:

    >>> dataclasses.replace(RECIPES["he2015"], epochs=90)
    """

    name: str
    source: str
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    augmentation: str
    published: tuple[tuple[str, float], ...] = ()
    network: tuple[tuple[str, Any], ...] = ()
    base_batch_size: int = 0
    accumulate: int = 1
    optimizer: str = "sgd"
    drops: tuple[str, ...] = ()
    drop_factor: float = 0.1
    patience: int = 5
    warmup: str = ""
    warmup_shape: str = "linear"
    warmup_from: float = 0.0
    warmup_scales: bool = True
    rate_span: str = ""
    final_rate: float = 0.0
    momentum: float = 0.9
    momentum_form: str = "caffe"
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_form: str = "l2"
    decay_norms: bool = True
    decay_biases: bool = True
    clip_norm: float = 0.0
    ema: float = 0.0
    ema_every: int = 1
    precision: str = "float32"
    loss: str = "softmax"
    label_smoothing: float = 0.0
    image_size: int = 0
    resize_ratio: float = 1.0
    interpolation: str = "bilinear"
    train_size: int = 0
    final_train_size: int = 0
    size_ramp: tuple[float, ...] = (0.4, 0.9)
    test_flip: bool = False
    batch_norm: str = "local"
    frozen_stages: tuple[str, ...] = ()
    stage_rate_decay: float = 1.0

    def __post_init__(self) -> None:
        self._check_names()
        self._check_augmentation()
        self._check_numbers()
        self._check_spans()
        self._check_sizes()

    @property
    def scale(self) -> float:
        """Images per step for each image per step that the values were given for."""
        return self.batch_size / (self.base_batch_size or self.batch_size)

    @property
    def peak_rate(self) -> float:
        """The highest learning rate, scaled to the batch size."""
        return self.learning_rate * self.scale

    def train_sizes(self, evaluation_size: int) -> tuple[int, ...]:
        """Returns height and width in pixels of each epoch's training images.

        Progressive resizing is as in FFCV's ImageNet training: the first size until
        `size_ramp` begins, the last one from its end on, and in between the nearest
        multiple of 32 to a straight line.

        Args:
            evaluation_size: Height and width in pixels at evaluation.

        Returns:
            One size for each epoch.

        Example:

        >>> RECIPES["ffcv_16"].train_sizes(256)[10:14]
        (160, 160, 192, 192)
        """
        first = self.train_size or evaluation_size
        last = self.final_train_size or first
        begin, end = (share * self.epochs for share in self.size_ramp)

        def size(epoch: int) -> int:
            if epoch <= begin:
                return first
            if epoch >= end:
                return last
            line = first + (last - first) * (epoch - begin) / (end - begin)
            return min(max(round(line / 32) * 32, min(first, last)), max(first, last))

        return tuple(map(size, range(self.epochs)))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """Returns what `dataclasses.asdict` and JSON made `values` from."""
        return cls(**{name: _frozen(value) for name, value in values.items()})

    def _check_names(self) -> None:
        for field, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("warmup_shape", WARMUPS),
            ("momentum_form", MOMENTUM_FORMS),
            ("loss", LOSSES),
            ("precision", ("float32", "bfloat16", "float16")),
            ("interpolation", ("bilinear", "bicubic")),
            ("batch_norm", ("local", "synchronized", "frozen")),
        ):
            self._check_choice(field, known)
        self._check_choice(
            "decay_form",
            OPTIMIZERS[self.optimizer].decay_forms,
            f" with optimizer {self.optimizer!r}",
        )

    def _check_augmentation(self) -> None:
        try:
            augmentation = Augmentation.parse(self.augmentation)
        except ValueError as error:
            raise ValueError(f"'augmentation': {error}") from error
        fewest = 2 * augmentation.repeats
        if augmentation.mixes_labels and self.batch_size < fewest:
            raise ValueError(
                f"'batch_size' must be at least {fewest} for images to be mixed with "
                f"others, got {self.batch_size}"
            )

    def _check_choice(self, field: str, known: Iterable[str], when: str = "") -> None:
        if getattr(self, field) not in known:
            raise ValueError(
                f"{field!r} must be one of {', '.join(map(repr, known))}{when}, got "
                f"{getattr(self, field)!r}"
            )

    def _check_numbers(self) -> None:
        for field, (what, fits) in _RANGES.items():
            value = getattr(self, field)
            if not (math.isfinite(value) and fits(value)):
                raise ValueError(f"{field!r} must be {what}, got {value}")

    def _check_spans(self) -> None:
        for field, spans in (
            ("warmup", (self.warmup,)),
            ("rate_span", (self.rate_span,)),
            ("drops", self.drops),
        ):
            for span in spans:
                try:
                    in_steps(span, steps_per_epoch=1, total_steps=1)
                except ValueError as error:
                    raise ValueError(f"{field!r}: {error}") from error

    def _check_sizes(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"'accumulate' must divide 'batch_size', got {self.accumulate} for "
                f"{self.batch_size}"
            )
        if self.final_train_size and not self.train_size:
            raise ValueError(
                "'final_train_size' is where progressive resizing ends; say with "
                "'train_size' where it begins"
            )
        shares = self.size_ramp
        if len(shares) != 2 or not 0 <= shares[0] <= shares[1] <= 1:
            raise ValueError(
                "'size_ramp' must be two rising shares of the run in 0..1, such as "
                f"(0.4, 0.9), got {shares}"
            )


_Range = tuple[str, Callable[[float], bool]]
_POSITIVE: _Range = ("positive", lambda value: value > 0)
_AT_LEAST_ONE: _Range = ("at least 1", lambda value: value >= 1)
_NOT_NEGATIVE: _Range = ("at least 0", lambda value: value >= 0)
_BELOW_ONE: _Range = ("at least 0 and below 1", lambda value: 0 <= value < 1)
_SHARE: _Range = ("in 0..1", lambda value: 0 <= value <= 1)
_FACTOR: _Range = ("above 0 and at most 1", lambda value: 0 < value <= 1)

_RANGES: dict[str, _Range] = {
    "epochs": _POSITIVE,
    "batch_size": _POSITIVE,
    "learning_rate": _POSITIVE,
    "base_batch_size": _NOT_NEGATIVE,
    "accumulate": _POSITIVE,
    "drop_factor": _FACTOR,
    "patience": _POSITIVE,
    "warmup_from": _SHARE,
    "final_rate": _SHARE,
    "momentum": _BELOW_ONE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _NOT_NEGATIVE,
    "ema": _BELOW_ONE,
    "ema_every": _POSITIVE,
    "label_smoothing": _BELOW_ONE,
    "image_size": _NOT_NEGATIVE,
    "resize_ratio": _AT_LEAST_ONE,
    "train_size": _NOT_NEGATIVE,
    "final_train_size": _NOT_NEGATIVE,
    "stage_rate_decay": _FACTOR,
}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
