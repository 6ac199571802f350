"""How a network is trained: one frozen value (recipes.py has the table)."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run beside network, data and seed.

    A *span* is a length of training: `"30 epochs"`, `"400 steps"` or `"50%"` of the
    run, see `keras_resnet.training.spans`.

    Args:
        name: The name in `RECIPES`.
        source: Where the values come from.
        published: Networks and the top-1 accuracies in percent, on one central crop of
            ImageNet's validation images unless `source` says otherwise, that the source
            gives for them.
        network: Fields of `ResNetSpec` that belong to the recipe, with their values.
        epochs: Passes over the training images.
        batch_size: Images per step over all replicas together.
        base_batch_size: Number of images per step that `learning_rate` and spans in
            steps are given for; they are scaled to `batch_size` (1706.02677, section
            2.1). 0 takes them as they are.
        accumulate: Parts of a replica's batch that are run one after the other, which
            takes less memory; their gradients are summed.
        optimizer: A name in `keras_resnet.training.optimizers.OPTIMIZERS`.
        learning_rate: The highest rate of the schedule.
        schedule: A name in `keras_resnet.training.schedules.SCHEDULES`.
        drops: Spans from the beginning after each of which `"steps"` multiplies the
            rate by `drop_factor`.
        drop_factor: Also what `"plateau"` multiplies by.
        patience: Epochs without a better validation error after which `"plateau"` does.
        warmup: Span before the schedule begins; empty for none.
        warmup_shape: `"linear"` or `"constant"`.
        warmup_from: The rate at which it begins, as a share of `learning_rate`.
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
        ema: Share of the averaged weights that each update of them keeps; evaluation
            and the saved model then use the averages. 0 for none.
        ema_every: Steps between updates of the averages.
        precision: `"float32"`, `"bfloat16"` or `"float16"` (with loss scaling).
        loss: `"softmax"` or `"sigmoid"` (binary cross-entropy of each class, 2110.00476
            section 3), see `keras_resnet.training.losses`.
        label_smoothing: Share of the label that is spread over all classes.
        augmentation: What `pipelines.data.augmentation.compose` takes.
        image_size: Height and width in pixels at evaluation; 0 takes the network's
            published size.
        resize_ratio: Evaluation scales the shorter side to this many image sizes.
        interpolation: Evaluation's filter.
        train_size: Height and width in pixels in training; 0 for those at evaluation.
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
        ValueError: If a number is out of its range; the message names the field.

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
        for field in ("epochs", "batch_size", "learning_rate", "accumulate"):
            if getattr(self, field) <= 0:
                raise ValueError(
                    f"{field!r} must be positive, got {getattr(self, field)}"
                )
        for field in ("weight_decay", "image_size", "clip_norm"):
            if getattr(self, field) < 0:
                raise ValueError(
                    f"{field!r} must not be negative, got {getattr(self, field)}"
                )
        for field in ("momentum", "ema", "label_smoothing"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(
                    f"{field!r} must be at least 0 and below 1, got "
                    f"{getattr(self, field)}"
                )
        if self.resize_ratio < 1:
            raise ValueError(
                f"'resize_ratio' must be at least 1, got {self.resize_ratio}: the crop "
                "would be larger than the image"
            )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """Returns what `dataclasses.asdict` and JSON made `values` from."""
        return cls(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
