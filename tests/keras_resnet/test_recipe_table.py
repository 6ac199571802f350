"""Recipes against what their sources say, and what a recipe refuses."""

import dataclasses
import json

import numpy as np
import pytest

from keras_resnet import NETWORKS
from keras_resnet.training import RECIPES, Recipe

IMAGENET = 1_281_167


@pytest.mark.parametrize("name", RECIPES)
def test_published_networks_are_there(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    for network, top1 in recipe.published:
        # A field that the network cannot have would be refused.
        dataclasses.replace(NETWORKS[network], **dict(recipe.network))
        assert 50 < top1 < 100


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name):
    values = json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))
    assert Recipe.from_json(values) == RECIPES[name]


def test_he2015():
    """1512.03385, section 3.4; top-1 of the authors' release."""
    recipe = RECIPES["he2015"]
    assert (recipe.batch_size, recipe.peak_rate) == (256, 0.1)
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 1e-4)
    assert recipe.epochs * (IMAGENET // 256) == pytest.approx(600_000, rel=0.01)
    errors = {"resnet50": 24.7, "resnet101": 23.6, "resnet152": 23.0}
    assert {
        network: round(100 - top1, 1) for network, top1 in recipe.published
    } == errors


def test_he2015_cifar():
    """1512.03385, table 6."""
    errors = {"resnet20": 8.75, "resnet32": 7.51, "resnet44": 7.17}
    errors |= {"resnet56": 6.97, "resnet110": 6.43}
    published = RECIPES["he2015_cifar"].published
    published += RECIPES["he2015_cifar_110"].published
    assert {network: round(100 - top1, 2) for network, top1 in published} == errors


def test_bag_of_tricks():
    """The arguments that GluonCV's log of resnet50_v1d with mixup begins with."""
    recipe = RECIPES["bag_of_tricks"]
    assert recipe.batch_size == 8 * 128
    assert recipe.peak_rate == pytest.approx(0.4)
    assert (recipe.epochs, recipe.schedule, recipe.warmup) == (
        200,
        "cosine",
        "5 epochs",
    )
    assert not recipe.decay_norms and not recipe.decay_biases
    assert dict(recipe.network)["zero_gamma"]
    assert "mixup(0.2)" in recipe.augmentation


def test_torchvision_v2(torchvision):
    """torchvision's own table of weights."""
    recipe = RECIPES["torchvision_v2"]
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    ((network, top1),) = recipe.published
    assert NETWORKS[network].stride_on == "3x3"
    assert top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    evaluation = weights.transforms()
    assert [recipe.image_size] == evaluation.crop_size
    assert [round(recipe.image_size * recipe.resize_ratio)] == evaluation.resize_size
    assert recipe.interpolation == evaluation.interpolation.value
    # Its averages keep the same share of an epoch for any batch and interval.
    updates = recipe.epochs / (recipe.batch_size * recipe.ema_every)
    assert (1 - recipe.ema) * updates == pytest.approx(1 - 0.99998)


@pytest.mark.parametrize(
    ("name", "tag"),
    [("rsb_a1", "a1_in1k"), ("rsb_a2", "a2_in1k"), ("rsb_a3", "a3_in1k")],
)
def test_strikes_back(name, tag, timm):
    """timm's table of the weights that the paper made."""
    recipe = RECIPES[name]
    weights = timm.get_pretrained_cfg(f"resnet50.{tag}")
    train_size = recipe.train_size or recipe.image_size
    assert train_size == weights.input_size[-1]
    assert 1 / recipe.resize_ratio == pytest.approx(weights.crop_pct)
    assert recipe.interpolation == weights.interpolation


@pytest.mark.parametrize(
    ("epochs", "begin", "end", "top1"),
    [(16, 11, 13, 0.738), (24, 17, 20, 0.756), (32, 23, 27, 0.766)]
    + [(40, 29, 34, 0.772), (56, 41, 48, 0.780), (88, 65, 76, 0.784)],
)
def test_ffcv(epochs, begin, end, top1):
    """The files of its rn50_configs, the table of its README, its resolutions."""
    recipe = RECIPES[f"ffcv_{epochs}"]
    assert recipe.epochs == epochs
    assert recipe.published == (("resnet50_v1_5", 100 * top1),)
    line = np.interp(range(epochs), [begin, end], [160, 192])
    sizes = np.round(line / 32).astype(int) * 32
    assert recipe.train_sizes(recipe.image_size) == tuple(sizes)


def test_sizes_without_progress():
    recipe = dataclasses.replace(RECIPES["he2015"], epochs=3)
    assert recipe.train_sizes(224) == (224, 224, 224)
    smaller = dataclasses.replace(recipe, train_size=176)
    assert smaller.train_sizes(224) == (176, 176, 176)


def test_sizes_grow_in_steps_of_32():
    """Whatever the ends are, which are taken as they are."""
    recipe = dataclasses.replace(
        RECIPES["he2015"],
        epochs=10,
        train_size=100,
        final_train_size=200,
        size_ramp=(0.2, 0.8),
    )
    sizes = recipe.train_sizes(224)
    assert sizes[:3] == (100, 100, 100)
    assert sizes[8:] == (200, 200)
    assert list(sizes) == sorted(sizes)
    assert {size % 32 for size in sizes[3:8]} == {0}


def test_finetuning_leaves_the_batch_norms():
    recipe = RECIPES["finetune"]
    assert recipe.batch_norm == "frozen"
    assert recipe.batch_size <= 32
    assert recipe.image_size == 0


def test_linear_scaling():
    recipe = RECIPES["goyal2017"]
    assert recipe.peak_rate == pytest.approx(3.2)
    small = dataclasses.replace(recipe, batch_size=256)
    assert (small.scale, small.peak_rate) == (1.0, 0.1)
    as_it_is = dataclasses.replace(recipe, base_batch_size=0)
    assert (as_it_is.scale, as_it_is.peak_rate) == (1.0, 0.1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": 0}, "'epochs' must be positive"),
        ({"batch_size": -1}, "'batch_size' must be positive"),
        ({"base_batch_size": -1}, "'base_batch_size' must be at least 0"),
        ({"accumulate": 0}, "'accumulate' must be positive"),
        ({"accumulate": 3}, "'accumulate' must divide 'batch_size', got 3 for 256"),
        ({"learning_rate": float("nan")}, "'learning_rate' must be positive"),
        ({"learning_rate": float("inf")}, "'learning_rate' must be positive"),
        ({"optimizer": "sdg"}, "'optimizer' must be one of 'sgd'"),
        ({"schedule": "cosin"}, "'schedule' must be one of .*'cosine'.*got 'cosin'"),
        ({"drops": ("50%", "3")}, "'drops': '3' is not a length of training"),
        ({"warmup": "soon"}, "'warmup': 'soon' is not a length of training"),
        ({"rate_span": "1"}, "'rate_span': '1' is not a length of training"),
        ({"warmup_shape": "cubic"}, "'warmup_shape' must be one of"),
        ({"warmup_from": 1.5}, "'warmup_from' must be in 0..1"),
        ({"final_rate": -0.1}, "'final_rate' must be in 0..1"),
        ({"drop_factor": 0.0}, "'drop_factor' must be above 0"),
        ({"patience": 0}, "'patience' must be positive"),
        ({"momentum": 1.0}, "'momentum' must be at least 0 and below 1"),
        ({"momentum_form": "torch"}, "'momentum_form' must be one of .*'pytorch'"),
        ({"decay_form": "L2"}, "'decay_form' must be one of 'l2', 'decoupled'"),
        ({"optimizer": "lamb"}, "'decay_form' .* with optimizer 'lamb', got 'l2'"),
        ({"weight_decay": -1e-4}, "'weight_decay' must be at least 0"),
        ({"clip_norm": -1.0}, "'clip_norm' must be at least 0"),
        ({"ema": 1.0}, "'ema' must be at least 0 and below 1"),
        ({"ema_every": 0}, "'ema_every' must be positive"),
        ({"precision": "float8"}, "'precision' must be one of"),
        ({"loss": "hinge"}, "'loss' must be one of 'softmax', 'sigmoid'"),
        ({"label_smoothing": 1.0}, "'label_smoothing' must be at least 0"),
        ({"image_size": -1}, "'image_size' must be at least 0"),
        ({"resize_ratio": 0.9}, "'resize_ratio' must be at least 1"),
        ({"interpolation": "lanczos"}, "'interpolation' must be one of"),
        ({"train_size": -32}, "'train_size' must be at least 0"),
        ({"final_train_size": 192}, "say with 'train_size' where it begins"),
        ({"size_ramp": (0.9, 0.4)}, "'size_ramp' must be two rising shares"),
        ({"size_ramp": (0.4, 1.1)}, "'size_ramp' must be two rising shares"),
        ({"size_ramp": (0.4,)}, "'size_ramp' must be two rising shares"),
        ({"batch_norm": "global"}, "'batch_norm' must be one of .*'frozen'"),
        ({"stage_rate_decay": 0.0}, "'stage_rate_decay' must be above 0"),
    ],
)
def test_refuses_in_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(RECIPES["he2015"], **change)
