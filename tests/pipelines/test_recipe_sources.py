"""Recipes against the installed code of their sources.

Each table has, by recipe, what its source's own objects compute with the arguments that
the source published; a formula stands where nothing installs. docs/recipes.md says what
differs all the same, and has the list of what is compared with what.
"""

import dataclasses
import io
import random
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

import keras_resnet
from keras_resnet import NETWORKS
from keras_resnet.arrays import views
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import RECIPES
from keras_resnet.training.augmentation import TimmRandAugment
from keras_resnet.training.making import make_loss, make_optimizer, make_schedule
from pipelines.data.augmentation import Augmentation

torch = pytest.importorskip("torch")

FFCV = [name for name in RECIPES if name.startswith("ffcv")]
OUR_OWN = {"onecycle", "onecycle_cifar", "finetune", "finetune_cifar"}
"""Recipes that no source has."""

STEPS_PER_EPOCH = 4
CLASSES = 10
MEAN_COLOUR = (124, 116, 104)
# Fixed seeds: these tests cannot fail by chance, only by a change.
SIGNIFICANCE = 1e-3


@pytest.fixture(scope="module", autouse=True)
def sources(torchvision):
    pytest.importorskip("timm")


def by_epoch(epochs, lr, make):
    """Rates of a scheduler that its script calls once per epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = make(optimizer)
        for epoch in range(epochs):
            rates += STEPS_PER_EPOCH * [optimizer.param_groups[0]["lr"]]
            step(epoch + 1)
    return rates


def timms_rates(epochs, lr):
    """With the defaults of timm's train.py when 2110.00476 appeared."""
    from timm.scheduler import create_scheduler_v2

    def make(optimizer):
        arguments = {"warmup_epochs": 5, "warmup_lr": 1e-4, "min_lr": 1e-6}
        scheduler, _ = create_scheduler_v2(optimizer, "cosine", epochs, **arguments)
        return scheduler.step

    return by_epoch(epochs, lr, make)


def torchvisions_rates(epochs, lr):
    """As references/classification/train.py."""
    of = torch.optim.lr_scheduler

    def make(optimizer):
        warmup = of.LinearLR(optimizer, start_factor=0.01, total_iters=5)
        main = of.CosineAnnealingLR(optimizer, T_max=epochs - 5)
        scheduler = of.SequentialLR(optimizer, [warmup, main], milestones=[5])
        return lambda epoch: scheduler.step()

    return by_epoch(epochs, lr, make)


def by_step(epochs, *points):
    """Rates on straight lines through points of epoch and rate, step by step."""
    steps = np.arange(epochs * STEPS_PER_EPOCH) / STEPS_PER_EPOCH
    return np.interp(steps, *zip(*points, strict=True))


def divided(epochs, lr, *milestones):
    """Rates that are divided by 10 at epochs."""
    epoch = np.arange(epochs * STEPS_PER_EPOCH) / STEPS_PER_EPOCH
    return lr * 0.1 ** np.sum([epoch >= milestone for milestone in milestones], axis=0)


def gluoncvs_rates():
    warmup, falling = by_step(5, (0, 0.0), (5, 0.4)), np.linspace(0, np.pi, 4 * 195 + 1)
    return np.append(warmup, 0.4 * (1 + np.cos(falling[:-1])) / 2)


RATES = {
    "he2015": lambda: divided(120, 0.1, 30, 60, 90),
    "he2015_cifar": lambda: divided(182, 0.1, 91, 136.5),
    "goyal2017": lambda: np.append(
        by_step(5, (0, 0.1), (5, 3.2)), divided(90, 3.2, 30, 60, 80)[5 * 4 :]
    ),
    "bag_of_tricks": gluoncvs_rates,
    "rsb_a1": lambda: timms_rates(600, 5e-3),
    "rsb_a2": lambda: timms_rates(300, 5e-3),
    "rsb_a3": lambda: timms_rates(100, 8e-3),
    "torchvision_v2": lambda: torchvisions_rates(600, 0.5),
    # Its get_cyclic_lr.
    **{
        f"ffcv_{epochs}": lambda epochs=epochs: by_step(
            epochs, (0, 1.7e-4), (2, 1.7), (epochs, 0)
        )
        for epochs in (16, 24, 32, 40, 56, 88)
    },
}
"""At every step of the run."""


@pytest.mark.parametrize("name", RATES)
def test_rates(name):
    steps = np.arange(RECIPES[name].epochs * STEPS_PER_EPOCH)
    ours = make_schedule(RECIPES[name], STEPS_PER_EPOCH)(steps)
    np.testing.assert_allclose(ours, RATES[name](), rtol=2e-5, atol=1e-7)


def cross_entropy(logits, labels, kept, smoothing=0.0):
    own = torch.nn.functional.one_hot(labels, CLASSES)
    shares = own * kept + own.flip(0) * (1 - kept)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")
    return loss(logits, shares)


def smoothed(logits, labels, kept):
    return cross_entropy(logits, labels, kept, smoothing=0.1)


def timms_loss(logits, labels, kept, smoothing=0.0):
    from timm.data.mixup import mixup_target
    from timm.loss import BinaryCrossEntropy

    targets = mixup_target(labels, CLASSES, kept, smoothing)
    loss = BinaryCrossEntropy(target_threshold=0.2, reduction="none")
    return loss(logits, targets).mean(-1)


LOSSES = {
    **dict.fromkeys(["he2015", "he2015_cifar", "he2015_cifar_110"], cross_entropy),
    "goyal2017": cross_entropy,
    "bag_of_tricks": smoothed,
    "rsb_a1": lambda *batch: timms_loss(*batch, smoothing=0.1),
    "rsb_a2": timms_loss,
    "rsb_a3": timms_loss,
    "torchvision_v2": smoothed,
    **dict.fromkeys(FFCV, smoothed),
}
"""From logits, labels and the share that each keeps, the rest being that of the image
in the opposite place of the batch, to the loss of each image."""


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    generator = np.random.default_rng(0)
    logits = 5 * generator.standard_normal((64, CLASSES)).astype("float32")
    labels = generator.integers(CLASSES, size=64)
    kept = np.ones((64, 1), "float32")
    if "mixup" in RECIPES[name].augmentation:
        # Also on both sides of where timm's targets change.
        kept[:, 0] = [*np.linspace(0, 1, 43), *np.linspace(0.19, 0.24, 21)]
    theirs = LOSSES[name](*map(torch.tensor, (logits, labels, kept)))
    own = np.eye(CLASSES, dtype="float32")[labels]
    shares = own * kept + own[::-1] * (1 - kept)
    ours = make_loss(RECIPES[name], CLASSES)(shares, logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def sgd(undecayed, **arguments):
    """PyTorch's, without decay of the parameters whose names contain a pattern."""

    def make(network, lr):
        groups = {True: [], False: []}
        for name, parameter in network.named_parameters():
            groups[bool(re.search(undecayed, name))].append(parameter)
        return torch.optim.SGD(
            [{"params": groups[False]}, {"params": groups[True], "weight_decay": 0}],
            **{"lr": lr, "momentum": 0.9, "weight_decay": 1e-4, **arguments},
        )

    return make


def torchvisions_sgd(network, lr):
    from torchvision.ops._utils import split_normalization_params

    norms, others = split_normalization_params(network)
    return torch.optim.SGD(
        [{"params": norms, "weight_decay": 0.0}, {"params": others}],
        lr=lr,
        momentum=0.9,
        weight_decay=2e-5,
    )


def timms_lamb(decay):
    def make(network, lr):
        from timm.optim import create_optimizer_v2

        return create_optimizer_v2(network, opt="lamb", lr=lr, weight_decay=decay)

    return make


OPTIMIZERS = {
    "goyal2017": sgd("bn", nesterov=True),
    "bag_of_tricks": sgd("bn|bias", nesterov=True),
    "rsb_a1": timms_lamb(0.01),
    "rsb_a2": timms_lamb(0.02),
    "rsb_a3": timms_lamb(0.02),
    "torchvision_v2": torchvisions_sgd,
    **dict.fromkeys(FFCV[:1], sgd("bn")),
}
"""From a network and a rate to the optimizer. That of he2015*, Caffe's, is compared
with a formula in tests/keras_resnet/test_optimizers.py."""

PARAMETERS = {
    "conv.weight": "conv1_conv/kernel",
    "bn.weight": "conv1_bn/gamma",
    "bn.bias": "conv1_bn/beta",
    "fc.weight": "predictions/kernel",
    "fc.bias": "predictions/bias",
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_steps(name):
    """Through the run's first epochs, at the source's rates."""
    recipe, rates = RECIPES[name], RATES[name]()[: 8 * STEPS_PER_EPOCH]
    torch.manual_seed(0)
    network = torch.nn.Module()
    network.conv = torch.nn.Conv2d(3, 8, 3, bias=False)
    network.bn, network.fc = torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 4)
    network.double()
    theirs = OPTIMIZERS[name](network, recipe.peak_rate)
    weights = dict(network.named_parameters())
    variables = []
    for parameter, path in PARAMETERS.items():
        layer, variable = path.split("/")
        with keras.name_scope(layer):
            value = weights[parameter].detach().numpy()
            variables.append(keras.Variable(value, dtype="float64", name=variable))
    ours = make_optimizer(recipe, STEPS_PER_EPOCH)
    ours.build(variables)
    for rate in rates:
        for group in theirs.param_groups:
            group["lr"] = rate
        for parameter in weights.values():
            parameter.grad = torch.randn_like(parameter)
        theirs.step()
        ours.apply([weights[p].grad.numpy() for p in PARAMETERS], variables)
    for parameter, variable in zip(PARAMETERS, variables, strict=True):
        expected = weights[parameter].detach().numpy()
        np.testing.assert_allclose(variable, expected, 1e-5, 1e-7, err_msg=parameter)


def network_of(library):
    """A ResNet of four blocks and of the library's own initial weights."""
    resnet = pytest.importorskip(f"{library}.models.resnet")
    return resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=CLASSES)


NETWORKS_OF = {
    **dict.fromkeys(["rsb_a1", "rsb_a2", "rsb_a3"], "timm"),
    **dict.fromkeys(["torchvision_v2", *FFCV], "torchvision"),
}
"""The library whose network a recipe's source trains."""


def our_name(parameter):
    """`layer1.0.conv2.weight` is `conv2_block1_2_conv/kernel`."""
    block = re.match(r"layer(\d)\.0\.", parameter)
    prefix = f"conv{int(block[1]) + 1}_block1_" if block else "conv1_"
    kind = "bn" if "bn" in parameter or "downsample.1" in parameter else "conv"
    number = re.search(r"(?:conv|bn)(\d)", parameter) if block else None
    infix = f"{number[1]}_" if number else "0_" if block else ""
    layer = "predictions" if "fc." in parameter else f"{prefix}{infix}{kind}"
    names = ("gamma", "beta") if kind == "bn" else ("kernel", "bias")
    return f"{layer}/{names[parameter.endswith('bias')]}"


@pytest.mark.parametrize("name", ["rsb_a1", "torchvision_v2", FFCV[0]])
def test_initial_weights(name):
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    theirs = dict(network_of(NETWORKS_OF[name]).named_parameters())
    spec = dataclasses.replace(
        NETWORKS["resnet50_v1_5"],
        blocks_per_stage=(1, 1, 1, 1),
        classes=CLASSES,
        **dict(RECIPES[name].network),
    )
    model = keras_resnet.build(spec, input_shape=(32, 32, 3))
    ours = {weight.path: weight.numpy() for weight in model.trainable_variables}
    assert set(map(our_name, theirs)) == set(ours)
    for parameter, values in theirs.items():
        own, values = ours[our_name(parameter)].ravel(), values.detach().numpy().ravel()
        if len(np.unique(values)) == 1:
            assert (own == values).all(), parameter
        else:
            every = max(len(own) // 4000, 1)
            test = stats.ks_2samp(own[::every], values[::every])
            assert test.pvalue > SIGNIFICANCE, parameter


def torchvisions_transform(jitter=0.0, trivial=False, erased=0.0):
    """What references/classification/presets.py makes, up to normalisation."""

    def make(size):
        from torchvision import transforms as of

        bilinear = of.InterpolationMode.BILINEAR
        steps = [of.RandomResizedCrop(size), of.RandomHorizontalFlip()]
        steps += [of.TrivialAugmentWide(interpolation=bilinear)] if trivial else []
        # It erases with what normalisation turns into zero.
        erasing = of.RandomErasing(erased, value=MEAN_COLOUR)
        return of.Compose(
            [*steps, of.ColorJitter(*3 * [jitter]), of.PILToTensor(), erasing]
        )

    return make


def timms_transform(policy):
    def make(size):
        from timm.data import create_transform

        return create_transform(
            size,
            is_training=True,
            auto_augment=policy,
            interpolation="bicubic",
            normalize=False,
        )

    return make


POLICIES = {
    "rsb_a1": "rand-m7-mstd0.5-inc1",
    "rsb_a2": "rand-m7-mstd0.5-inc1",
    "rsb_a3": "rand-m6-mstd0.5-inc1",
}
"""timm's texts."""

TRANSFORMS = {
    "goyal2017": torchvisions_transform(),
    "bag_of_tricks": torchvisions_transform(jitter=0.4),
    "rsb_a1": timms_transform(POLICIES["rsb_a1"]),
    "rsb_a3": timms_transform(POLICIES["rsb_a3"]),
    "torchvision_v2": torchvisions_transform(trivial=True, erased=0.1),
    FFCV[0]: torchvisions_transform(),
}
"""From a size in pixels to what augments a Pillow image. torchvision's stands for what
GluonCV, FFCV and the paper of goyal2017 describe alike."""

SIZE = 48


def picture():
    """Soft shapes; smaller than a view, so that no window is scaled down."""
    coarse = np.random.default_rng(1).integers(20, 236, (5, 6, 3), "uint8")
    return Image.fromarray(coarse).resize((44, 40), Image.Resampling.BICUBIC)


def ours_in_tensorflow(text, interpolation, count):
    augmentation = Augmentation.parse(text)
    preprocessing = Preprocessing(resize=SIZE, crop=SIZE, interpolation=interpolation)
    buffer = io.BytesIO()
    picture().save(buffer, "png")
    encoded = tf.constant(buffer.getvalue())
    indices = tf.range(count, dtype=tf.int64)

    @tf.function
    def augment(seeds):
        images = tf.map_fn(
            lambda seed: augmentation.view(encoded, preprocessing, seed),
            seeds,
            fn_output_signature=tf.uint8,
        )
        return augmentation.on_chunk(images, seeds, preprocessing)

    return augment(tf.stack([tf.ones_like(indices), indices], axis=1)).numpy()


def ours_in_numpy(text, interpolation, count):
    images = np.stack([np.asarray(picture())] * count)
    augmentation = views.Augmentation.parse(text)
    frame = views.Frame(SIZE, SIZE, interpolation)
    labels, generator = np.zeros(count, int), np.random.default_rng(0)
    return augmentation(images, labels, CLASSES, generator, frame)[0]


def statistics(images):
    """What distributions are compared by, one row for each image."""
    levels = np.asarray(images, "float64")
    slopes = [np.abs(np.diff(levels, axis=axis)).mean((1, 2, 3)) for axis in (1, 2)]
    halves = levels[:, :, : SIZE // 2] - levels[:, :, SIZE // 2 :]
    return {
        "red": levels[..., 0].mean((1, 2)),
        "blue": levels[..., 2].mean((1, 2)),
        "contrast": levels.std((1, 2, 3)),
        "colour": levels.std(3).mean((1, 2)),
        "slope down": slopes[0],
        "slope across": slopes[1],
        "left and right": halves.mean((1, 2, 3)),
        "blank": np.all(levels == MEAN_COLOUR, axis=3).mean((1, 2)),
        "darkest": levels.min((1, 2, 3)),
        "brightest": levels.max((1, 2, 3)),
    }


@pytest.mark.parametrize(
    ("name", "engine"),
    [(name, ours_in_tensorflow) for name in TRANSFORMS]
    + [("goyal2017", ours_in_numpy), (FFCV[0], ours_in_numpy)],
)
def test_augmented_images(name, engine):
    recipe = RECIPES[name]
    # That a tenth of the images has something erased shows in no fewer.
    count = 1000 if "random_erasing" in recipe.augmentation else 500
    operations = recipe.augmentation.split("|")
    text = "|".join(x for x in operations if not re.match("mix|repeat|pca", x))
    ours = statistics(engine(text, recipe.interpolation, count))
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    transform = TRANSFORMS[name](SIZE)
    theirs = torch.stack([transform(picture()) for _ in range(count)])
    for what, expected in statistics(theirs.permute(0, 2, 3, 1)).items():
        assert stats.ks_2samp(ours[what], expected).pvalue > SIGNIFICANCE, what


@pytest.mark.parametrize("name", POLICIES)
def test_policies(name):
    from timm.data.auto_augment import rand_augment_transform

    theirs = rand_augment_transform(POLICIES[name], {})
    operations = Augmentation.parse(RECIPES[name].augmentation).operations
    (ours,) = (step for step in operations if isinstance(step, TimmRandAugment))
    assert ours.layers == theirs.num_layers
    for step in theirs.ops:
        assert (step.magnitude, step.magnitude_std) == (ours.magnitude, ours.deviation)


def torchvisions_mix(images):
    from torchvision.transforms import v2

    choices = v2.MixUp(alpha=0.2, num_classes=2), v2.CutMix(num_classes=2)
    return v2.RandomChoice(choices)(images, torch.arange(2))


def timms_mix(alpha):
    def mix(images):
        from timm.data import Mixup

        mixup = Mixup(alpha, 1.0, label_smoothing=0.0, num_classes=2)
        return mixup(images, torch.arange(2))

    return mix


MIXES = {
    "rsb_a1": timms_mix(0.2),
    "rsb_a2": timms_mix(0.1),
    "torchvision_v2": torchvisions_mix,
}
"""What mixes a batch of two, in shares of its own."""


@pytest.mark.parametrize("name", MIXES)
def test_mixed_images(name):
    """What each keeps of itself, its label's share, and how many pixels have parts."""
    count = 1000
    pair = np.stack([np.full((SIZE, SIZE, 3), level, "uint8") for level in (0, 200)])
    augmentation = Augmentation.parse(
        next(f"center|{x}" for x in RECIPES[name].augmentation.split("|") if "mix" in x)
    )
    preprocessing = Preprocessing(resize=SIZE, crop=SIZE)
    seeds = tf.stack(
        [tf.ones(2 * count, tf.int64), tf.range(2 * count, dtype="int64")], 1
    )
    ours = augmentation.on_batch(
        tf.tile(pair, [count, 1, 1, 1]),
        np.arange(2 * count) % 2,
        seeds,
        preprocessing,
        2,
    )
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    floats = torch.tensor(pair.transpose(0, 3, 1, 2), dtype=torch.float32)
    theirs = [MIXES[name](floats.clone()) for _ in range(count)]
    theirs = [torch.cat(values) for values in zip(*theirs, strict=True)]
    for of, (images, labels) in {"ours": ours, "theirs": theirs}.items():
        # Either way the levels tell what the labels say.
        share = np.asarray(labels)[:, 1]
        levels = np.asarray(images, "float64").mean((1, 2, 3)) / 200
        np.testing.assert_allclose(levels, share, atol=0.003, err_msg=of)
    kept = [np.asarray(labels)[1::2, 1] for _, labels in (ours, theirs)]
    assert stats.ks_2samp(*kept).pvalue > SIGNIFICANCE
    is_cut = [
        (np.round(np.asarray(images)[1::2]) % 200 == 0).all((1, 2, 3)).mean()
        for images, _ in (ours, theirs)
    ]
    # Five deviations of the difference of two shares.
    assert abs(is_cut[0] - is_cut[1]) < 5 * (0.5 / count) ** 0.5


def test_every_recipe_has_a_source():
    assert set(RATES) | {"he2015_cifar_110"} | OUR_OWN == set(RECIPES)
    assert set(LOSSES) | OUR_OWN == set(RECIPES)
