"""The table of recipes; docs/recipes.md says what differs from their sources."""

import dataclasses

from keras_resnet.training.recipe import Recipe

_IMAGENET_CROP = 256 / 224
"""The central 224 pixels of an image whose shorter side is 256."""


def _he2015_cifar(
    name: str,
    source: str,
    published: tuple[tuple[str, float], ...],
    **warmup: str | float,
) -> Recipe:
    """A recipe of section 4.2; table 6 has the errors on CIFAR-10's test images."""
    return Recipe(
        name=name,
        source=f"{source}; table 6 (CIFAR-10's test images)",
        published=published,
        epochs=182,
        batch_size=128,
        base_batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        drops=("50%", "75%"),
        augmentation="pad_crop(4)|flip",
        **warmup,  # type: ignore[arg-type]
    )


def _strikes_back(
    name: str,
    top1: float,
    epochs: int,
    learning_rate: float,
    mixup: float,
    magnitude: int,
    stochastic_depth: float = 0.0,
    repeats: int = 1,
    **values: float,
) -> Recipe:
    """A procedure of *ResNet strikes back* (table 2)."""
    repeat = f"|repeat({repeats})" if repeats > 1 else ""
    return Recipe(
        name=name,
        source=f"2110.00476, table 2, procedure {name[-2:].upper()}",
        published=(("resnet50_v1_5", top1),),
        network=(
            ("initializer", "pytorch"),
            ("zero_gamma", True),
            ("stochastic_depth", stochastic_depth),
        ),
        epochs=epochs,
        batch_size=2048,
        optimizer="lamb",
        learning_rate=learning_rate,
        # timm's scheduler: rates of its own at both ends, one rate in each epoch, and
        # a cosine whose beginning the warm-up hides.
        schedule="whole_cosine",
        warmup="5 epochs",
        warmup_from=1e-4 / learning_rate,
        rate_span="1 epoch",
        final_rate=1e-6 / learning_rate,
        decay_form="decoupled",
        decay_norms=False,
        decay_biases=False,
        # Not in the paper: timm's LAMB does it of itself.
        clip_norm=1.0,
        loss="sigmoid",
        augmentation=f"inception_crop(0.08,1)|flip|timm_randaugment(2,{magnitude},0.5)"
        f"|mixup_or_cutmix({mixup},1){repeat}",
        image_size=224,
        resize_ratio=1 / 0.95,
        interpolation="bicubic",
        **values,  # type: ignore[arg-type]
    )


def _ffcv(epochs: int, ramp_begin: int, ramp_end: int, top1: float) -> Recipe:
    """One of FFCV's schedules for ResNet-50; only its length is their difference."""
    return Recipe(
        name=f"ffcv_{epochs}",
        source="github.com/libffcv/ffcv-imagenet, "
        f"rn50_configs/rn50_{epochs}_epochs.yaml; averaged with the mirror image",
        published=(("resnet50_v1_5", top1),),
        network=(("initializer", "pytorch"), ("antialias", "blur")),
        epochs=epochs,
        batch_size=4096,
        base_batch_size=4096,
        learning_rate=1.7,
        schedule="linear",
        warmup="2 epochs",
        warmup_from=1e-4,
        momentum_form="pytorch",
        decay_norms=False,
        label_smoothing=0.1,
        augmentation="inception_crop(0.08,1)|flip",
        image_size=256,
        resize_ratio=_IMAGENET_CROP,
        train_size=160,
        final_train_size=192,
        size_ramp=(ramp_begin / epochs, ramp_end / epochs),
        test_flip=True,
    )


_ONECYCLE = Recipe(
    name="onecycle",
    source="one cycle after 1708.07120, cosine descent",
    epochs=6,
    batch_size=128,
    learning_rate=0.2,
    schedule="one_cycle",
    nesterov=True,
    weight_decay=5e-4,
    augmentation="pad_crop(4)|flip",
)

# Batch norms are frozen. Left to train, they would normalise a small batch by
# its own statistics, while evaluation takes moving averages that start at the
# pretrained values and, in a short run, end between these and the new ones
# (docs/results.md has what that costs, and where it does not).
_FINETUNE = Recipe(
    name="finetune",
    source="one short cycle at a low rate from given weights (1805.08974), "
    "lower for earlier stages (1801.06146, section 3.2)",
    epochs=10,
    batch_size=32,
    base_batch_size=32,
    learning_rate=0.01,
    schedule="one_cycle",
    nesterov=True,
    augmentation="inception_crop(0.08,1)|flip",
    resize_ratio=_IMAGENET_CROP,
    batch_norm="frozen",
    frozen_stages=("conv1", "conv2"),
    stage_rate_decay=0.7,
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        # Top-1 as in the authors' release, one crop; Table 4 has ten.
        Recipe(
            name="he2015",
            source="1512.03385, section 3.4 (60e4 iterations)",
            published=(("resnet50", 75.3), ("resnet101", 76.4), ("resnet152", 77.0)),
            epochs=120,
            batch_size=256,
            base_batch_size=256,
            learning_rate=0.1,
            schedule="steps",
            drops=("25%", "50%", "75%"),
            augmentation="scale_jitter_crop(256,480)|flip|pca_colour(0.1)",
            resize_ratio=_IMAGENET_CROP,
        ),
        _he2015_cifar(
            "he2015_cifar",
            "1512.03385, section 4.2 (64k iterations, divided at 32k and 48k)",
            published=(
                ("resnet20", 91.25),
                ("resnet32", 92.49),
                ("resnet44", 92.83),
                ("resnet56", 93.03),
            ),
        ),
        _he2015_cifar(
            "he2015_cifar_110",
            "1512.03385, section 4.2 for 110 layers (400 iterations at 0.01)",
            published=(("resnet110", 93.57),),
            warmup="400 steps",
            warmup_shape="constant",
            warmup_from=0.1,
        ),
        Recipe(
            name="goyal2017",
            source="1706.02677, section 5.1",
            published=(("resnet50_v1_5", 76.26),),
            network=(("initializer", "goyal2017"), ("zero_gamma", True)),
            epochs=90,
            batch_size=8192,
            base_batch_size=256,
            learning_rate=0.1,
            schedule="steps",
            drops=("30 epochs", "60 epochs", "80 epochs"),
            warmup="5 epochs",
            warmup_from=1.0,
            warmup_scales=False,
            momentum_form="pytorch",
            nesterov=True,
            decay_norms=False,
            augmentation="inception_crop(0.08,1)|flip",
            resize_ratio=_IMAGENET_CROP,
        ),
        Recipe(
            name="bag_of_tricks",
            source="1812.01187, sections 3 and 5, without distillation (table 6)",
            published=(("resnet50d", 79.15),),
            network=(("initializer", "gluoncv"), ("zero_gamma", True)),
            epochs=200,
            batch_size=1024,
            base_batch_size=256,
            learning_rate=0.1,
            schedule="cosine",
            warmup="5 epochs",
            momentum_form="pytorch",
            nesterov=True,
            decay_norms=False,
            decay_biases=False,
            label_smoothing=0.1,
            augmentation="inception_crop(0.08,1)|flip|color_jitter(0.4,0.4,0.4)"
            "|pca_colour(0.1)|mixup(0.2)",
            resize_ratio=_IMAGENET_CROP,
        ),
        _strikes_back(
            "rsb_a1",
            80.4,
            epochs=600,
            learning_rate=5e-3,
            weight_decay=0.01,
            label_smoothing=0.1,
            mixup=0.2,
            magnitude=7,
            stochastic_depth=0.05,
            repeats=3,
        ),
        _strikes_back(
            "rsb_a2",
            79.8,
            epochs=300,
            learning_rate=5e-3,
            weight_decay=0.02,
            mixup=0.1,
            magnitude=7,
            stochastic_depth=0.05,
            repeats=3,
        ),
        _strikes_back(
            "rsb_a3",
            78.1,
            epochs=100,
            learning_rate=8e-3,
            weight_decay=0.02,
            mixup=0.1,
            magnitude=6,
            train_size=160,
        ),
        Recipe(
            name="torchvision_v2",
            source="torchvision, ResNet50_Weights.IMAGENET1K_V2 (pytorch/vision, issue "
            "3995)",
            published=(("resnet50_v1_5", 80.858),),
            network=(("initializer", "pytorch"),),
            epochs=600,
            batch_size=1024,
            base_batch_size=1024,
            learning_rate=0.5,
            schedule="cosine",
            warmup="5 epochs",
            warmup_from=0.01,
            rate_span="1 epoch",
            momentum_form="pytorch",
            weight_decay=2e-5,
            decay_norms=False,
            # Its script takes `--model-ema-decay=0.99998` for one image and epoch.
            ema=1 - (1 - 0.99998) * 1024 * 32 / 600,
            ema_every=32,
            label_smoothing=0.1,
            augmentation="inception_crop(0.08,1)|flip|trivialaugment"
            "|random_erasing(0.1)|mixup_or_cutmix(0.2,1)|repeat(4)",
            image_size=224,
            resize_ratio=232 / 224,
            train_size=176,
        ),
        _ffcv(16, ramp_begin=11, ramp_end=13, top1=73.8),
        _ffcv(24, ramp_begin=17, ramp_end=20, top1=75.6),
        _ffcv(32, ramp_begin=23, ramp_end=27, top1=76.6),
        _ffcv(40, ramp_begin=29, ramp_end=34, top1=77.2),
        _ffcv(56, ramp_begin=41, ramp_end=48, top1=78.0),
        _ffcv(88, ramp_begin=65, ramp_end=76, top1=78.4),
        _ONECYCLE,
        dataclasses.replace(
            _ONECYCLE,
            name="onecycle_cifar",
            source=f"{_ONECYCLE.source}; a tenth of the steps of he2015_cifar",
            epochs=18,
            base_batch_size=128,
        ),
        _FINETUNE,
        # Where images are as small as what the network takes, parts of them enlarged
        # are other images (docs/recipes.md).
        dataclasses.replace(
            _FINETUNE,
            name="finetune_cifar",
            source=f"{_FINETUNE.source}; the views of 1512.03385, section 4.2",
            augmentation="pad_crop(4)|flip",
            resize_ratio=1.0,
        ),
    )
}
"""The recipes by name."""
