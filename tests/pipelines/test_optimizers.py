"""Schedules and optimizer against the paper's words and PyTorch's steps."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_resnet import NETWORKS
from keras_resnet.training import RECIPES
from keras_resnet.training.optimizers import SGDWithL2, make_optimizer
from keras_resnet.training.schedules import make_schedule
from pipelines.data.preprocessing import Preprocessing


def _rate(recipe, steps, step):
    """Returns the rate at a step of a run of one epoch of so many steps."""
    return float(make_schedule(dataclasses.replace(recipe, epochs=1), steps)(step))


def test_cifar_schedule_is_the_papers():
    """Section 4.2: 0.1, divided by 10 at 32k and 48k iterations, 64k in all."""
    recipe = RECIPES["he2015_cifar"]
    # 45,000 training images, mini-batches of 128.
    assert recipe.epochs * (45_000 // recipe.batch_size) == pytest.approx(
        64_000, rel=0.01
    )
    rates = {step: _rate(recipe, 64_000, step) for step in (0, 31_999, 32_000, 48_000)}
    assert rates == {
        0: pytest.approx(0.1),
        31_999: pytest.approx(0.1),
        32_000: pytest.approx(0.01),
        48_000: pytest.approx(0.001),
    }


def test_warm_up_for_110_layers():
    """Section 4.2: 0.01 for about 400 iterations, then back to 0.1."""
    recipe = RECIPES["he2015_cifar_110"]
    assert _rate(recipe, 64_000, 399) == pytest.approx(0.01)
    assert _rate(recipe, 64_000, 400) == pytest.approx(0.1)
    assert _rate(recipe, 64_000, 63_999) == pytest.approx(0.001)


def test_imagenet_recipe_is_the_papers():
    """Section 3.4: batch 256, 0.1, momentum 0.9, decay 0.0001, 60e4 iterations."""
    recipe = RECIPES["he2015"]
    assert (recipe.batch_size, recipe.learning_rate) == (256, 0.1)
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 1e-4)
    assert recipe.epochs * (1_281_167 // 256) == pytest.approx(600_000, rel=0.01)
    assert Preprocessing.of(recipe, NETWORKS["resnet50"]).resize == 256


def test_one_cycle_rises_and_falls_once():
    recipe = RECIPES["onecycle"]
    rates = np.array([_rate(recipe, 400, step) for step in range(401)])
    peak = rates.argmax()
    assert rates[peak] == pytest.approx(recipe.learning_rate)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_are_pytorchs(nesterov):
    """100 steps in float64 with decay in the gradient.

    At a constant rate Caffe's momentum, which is Keras', and PyTorch's give the same
    weights.
    """
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(7), rng.standard_normal((100, 7))

    theirs = torch.nn.Parameter(torch.tensor(start))
    sgd = torch.optim.SGD(
        [theirs], lr=0.0625, momentum=0.875, weight_decay=0.03125, nesterov=nesterov
    )
    keras.config.set_floatx("float64")
    try:
        ours = keras.Variable(start, dtype="float64")
        optimizer = SGDWithL2(
            learning_rate=0.0625, momentum=0.875, nesterov=nesterov, l2=0.03125
        )
        for gradient in gradients:
            theirs.grad = torch.tensor(gradient)
            sgd.step()
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [ours])
    finally:
        keras.config.set_floatx("float32")
    # All constants are exact in float32, in which Keras keeps them.
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12)


def test_rate_change_is_caffes():
    """Caffe's velocity includes the rate: a change of rate leaves it as it was."""
    ours = keras.Variable(np.zeros(1))
    recipe = dataclasses.replace(
        RECIPES["he2015_cifar"], drops=("50%",), weight_decay=0.0, epochs=1
    )
    optimizer = make_optimizer(recipe, steps_per_epoch=4)
    velocity, weight = 0.0, 0.0
    for rate in (0.1, 0.1, 0.01, 0.01):
        optimizer.apply([keras.ops.ones(1)], [ours])
        velocity = 0.9 * velocity - rate
        weight += velocity
        assert float(ours.numpy()[0]) == pytest.approx(weight, rel=1e-5)


def test_too_short_a_run_for_its_schedule():
    recipe = dataclasses.replace(RECIPES["he2015_cifar_110"], epochs=2)
    with pytest.raises(ValueError, match="702 steps are too few"):
        make_optimizer(recipe, steps_per_epoch=351)
