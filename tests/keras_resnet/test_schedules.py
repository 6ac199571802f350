"""Schedules against the papers' words and against PyTorch's and Keras' own."""

import dataclasses
import json
import warnings

import keras
import numpy as np
import pytest
from other_backend import answer_of

from keras_resnet.training import RECIPES, Recipe
from keras_resnet.training.making import make_schedule
from keras_resnet.training.schedules import Plateau
from keras_resnet.training.spans import in_steps

STEPS = 40
"""Of the runs here: one epoch."""


def _recipe(**values):
    return Recipe(
        **{
            "name": "test",
            "source": "none",
            "epochs": 1,
            "batch_size": 128,
            "learning_rate": 0.5,
            "augmentation": "center",
            **values,
        }
    )


def _rates(recipe, steps=STEPS):
    """Returns the rate at each step of a run of one epoch of so many steps."""
    schedule = make_schedule(dataclasses.replace(recipe, epochs=1), steps)
    return keras.ops.convert_to_numpy(schedule(np.arange(steps)))


def test_cifar_schedule_is_the_papers():
    """Section 4.2: 0.1, divided by 10 at 32k and 48k iterations, 64k in all."""
    recipe = RECIPES["he2015_cifar"]
    # 45,000 training images, mini-batches of 128.
    assert recipe.epochs * (45_000 // recipe.batch_size) == pytest.approx(
        64_000, rel=0.01
    )
    rates = _rates(recipe, 64_000)
    assert rates[:32_000] == pytest.approx(0.1)
    assert rates[32_000:48_000] == pytest.approx(0.01)
    assert rates[48_000:] == pytest.approx(0.001)


def test_warm_up_for_110_layers():
    """Section 4.2: 0.01 for about 400 iterations, then back to 0.1."""
    rates = _rates(RECIPES["he2015_cifar_110"], 64_000)
    assert rates[:400] == pytest.approx(0.01)
    assert rates[400:32_000] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("batch_size", "peak"), [(8192, 3.2), (1024, 0.4), (256, 0.1), (128, 0.05)]
)
def test_gradual_warm_up_of_goyal(batch_size, peak):
    """Section 2.2: from 0.1 in equal steps to 0.1 * batch / 256 after 5 epochs.

    Section 5.1: divided by 10 at the 30th, 60th and 80th of 90 epochs.
    """
    recipe = dataclasses.replace(RECIPES["goyal2017"], batch_size=batch_size)
    steps_per_epoch = 1_281_167 // batch_size
    schedule = make_schedule(recipe, steps_per_epoch)
    rising = keras.ops.convert_to_numpy(schedule(np.arange(5 * steps_per_epoch + 1)))
    begin = min(0.1, peak)
    assert rising == pytest.approx(np.linspace(begin, peak, 5 * steps_per_epoch + 1))
    for epoch, share in ((30, 1), (60, 0.1), (80, 0.01), (90, 0.001)):
        last = epoch * steps_per_epoch - 1
        assert float(schedule(last)) == pytest.approx(peak * share)


@pytest.mark.parametrize("epochs", [16, 88])
def test_ffcv_interpolates(epochs):
    """Its `get_cyclic_lr`: straight lines through these points, step by step."""
    steps_per_epoch = 312
    schedule = make_schedule(RECIPES[f"ffcv_{epochs}"], steps_per_epoch)
    steps = np.arange(epochs * steps_per_epoch)
    expected = np.interp(steps / steps_per_epoch, [0, 2, epochs], [1.7e-4, 1.7, 0])
    rates = keras.ops.convert_to_numpy(schedule(steps))
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-6)


def test_one_cycle_rises_and_falls_once():
    recipe = RECIPES["onecycle"]
    rates = _rates(recipe, 400)
    assert rates.argmax() == 100
    assert rates[0] == pytest.approx(recipe.learning_rate / 25)
    assert rates[100] == pytest.approx(recipe.learning_rate)
    assert (np.diff(rates[:101]) > 0).all()
    assert (np.diff(rates[100:]) < 0).all()
    assert rates[-1] < recipe.learning_rate / 1000


def test_one_cycle_takes_another_warm_up():
    recipe = dataclasses.replace(RECIPES["onecycle"], warmup="10%", warmup_from=0.5)
    rates = _rates(recipe, 400)
    assert rates.argmax() == 40
    assert rates[0] == pytest.approx(recipe.learning_rate / 2)


def _torchs(make):
    """Returns the rates of PyTorch's scheduler that `make` makes of an optimizer."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = make(optimizer, torch.optim.lr_scheduler)
        rates = []
        for _ in range(STEPS):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("values", "make"),
    [
        (
            {"schedule": "cosine", "final_rate": 0.1},
            lambda sgd, of: of.CosineAnnealingLR(sgd, STEPS, eta_min=0.05),
        ),
        (
            {"schedule": "cosine", "warmup": "8 steps", "warmup_from": 0.01},
            lambda sgd, of: of.SequentialLR(
                sgd,
                [
                    of.LinearLR(sgd, start_factor=0.01, total_iters=8),
                    of.CosineAnnealingLR(sgd, STEPS - 8),
                ],
                milestones=[8],
            ),
        ),
        (
            {"schedule": "linear", "final_rate": 0.25},
            lambda sgd, of: of.LinearLR(
                sgd, start_factor=1.0, end_factor=0.25, total_iters=STEPS
            ),
        ),
        (
            {"schedule": "steps", "drops": ("25%", "30 steps"), "drop_factor": 0.3},
            lambda sgd, of: of.MultiStepLR(sgd, [10, 30], gamma=0.3),
        ),
        (
            {"schedule": "steps", "drops": ("50%",), "warmup": "10%"}
            | {"warmup_from": 0.2},
            lambda sgd, of: of.ChainedScheduler(
                [
                    of.LinearLR(sgd, start_factor=0.2, total_iters=4),
                    of.MultiStepLR(sgd, [20], gamma=0.1),
                ]
            ),
        ),
        (
            {"schedule": "constant", "warmup": "5 steps", "warmup_from": 0.2}
            | {"warmup_shape": "constant"},
            lambda sgd, of: of.ConstantLR(sgd, factor=0.2, total_iters=5),
        ),
    ],
    ids=[
        "cosine",
        "warm-up and cosine",
        "linear",
        "steps",
        "warm-up and steps",
        "constant warm-up",
    ],
)
def test_rates_are_pytorchs(values, make):
    np.testing.assert_allclose(
        _rates(_recipe(**values)), _torchs(make), rtol=1e-5, atol=1e-7
    )


def test_scaled_to_the_batch():
    """Twice the batch: twice the rate, and spans in steps of half as many."""
    recipe = RECIPES["he2015_cifar_110"]
    twice = dataclasses.replace(recipe, batch_size=2 * recipe.batch_size)
    rates = _rates(twice, 32_000)
    assert rates[:200] == pytest.approx(0.02)
    assert rates[200:16_000] == pytest.approx(0.2)
    assert rates[16_000] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("span", "steps"),
    [("", 0), ("2 epochs", 20), ("1 epoch", 10), ("0.5epochs", 5), ("400 steps", 200)]
    + [("1 step", 0), ("33.3%", 33), (" 50 % ", 50)],
)
def test_spans(span, steps):
    assert in_steps(span, 10, 100, batch_ratio=2.0) == steps


@pytest.mark.parametrize("span", ["3", "epochs", "-1 epochs", "5 hours", "1e3 steps"])
def test_what_is_no_span(span):
    with pytest.raises(ValueError, match="is not a length of training"):
        in_steps(span, 10, 100)


@pytest.mark.parametrize(
    ("name", "steps"), [("he2015_cifar", 3), ("goyal2017", 312), ("ffcv_16", 312)]
)
def test_too_short_a_run(name, steps):
    recipe = dataclasses.replace(RECIPES[name], epochs=1)
    if name == "he2015_cifar":
        recipe = dataclasses.replace(recipe, drops=("50%", "60%"))
    with pytest.raises(ValueError, match=f"{steps} steps are too few .*'epochs'"):
        make_schedule(recipe, steps)


ERRORS = np.random.default_rng(0).choice([0.1, 0.2, 0.3, 0.4, np.nan], (20, 30))
"""Twenty runs of thirty epochs, with equal errors and some that are no numbers."""


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize("patience", [1, 3])
def test_plateau_is_pytorchs(errors, patience):
    """PyTorch waits for one epoch more than it is told to."""
    torch = pytest.importorskip("torch")
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        sgd, factor=0.5, patience=patience - 1, threshold=0, eps=0
    )
    recipe = _recipe(schedule="plateau", patience=patience, drop_factor=0.5)
    ours = make_schedule(recipe, STEPS)
    for error in errors:
        theirs.step(error)
        ours.observe(error)
        assert float(ours(7)) == sgd.param_groups[0]["lr"]


@pytest.mark.parametrize("errors", ERRORS[:5])
def test_plateau_is_keras(errors):
    recipe = _recipe(schedule="plateau", patience=3, drop_factor=0.5)
    ours = make_schedule(recipe, STEPS)
    theirs = keras.callbacks.ReduceLROnPlateau(
        "val_error", factor=0.5, patience=3, min_delta=0, mode="min"
    )
    theirs.set_model(keras.Sequential([keras.layers.Dense(1)]))
    theirs.model.compile(keras.optimizers.SGD(0.5), "mse")
    theirs.on_train_begin()
    # One that is no number, if it comes first, would remain Keras' best.
    for epoch, error in enumerate(np.nan_to_num(errors, nan=0.5)):
        theirs.on_epoch_end(epoch, {"val_error": error})
        ours.observe(error)
        assert float(ours(7)) == float(theirs.model.optimizer.learning_rate)


@pytest.mark.parametrize("epoch", [0, 4, 17])
def test_plateau_goes_on_from_its_state(epoch):
    recipe = _recipe(schedule="plateau", patience=2)
    whole, first, second = (make_schedule(recipe, STEPS) for _ in range(3))
    for error in ERRORS[0, :epoch]:
        whole.observe(error)
        first.observe(error)
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    for error in ERRORS[0, epoch:]:
        whole.observe(error)
        second.observe(error)
        assert second.state() == whole.state()
        assert float(second(3)) == float(whole(3))


def test_plateau_acts_in_the_compiled_step():
    """A weight with the gradient 1 falls by the rate."""
    recipe = _recipe(schedule="plateau", patience=1, drop_factor=0.5)
    schedule = make_schedule(recipe, STEPS)
    assert isinstance(schedule, Plateau)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(
        keras.optimizers.SGD(schedule), lambda target, output: keras.ops.mean(output)
    )
    falls = []
    for error in (0.3, 0.4, 0.2):
        before = model.get_weights()[0].item()
        model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
        falls.append(before - model.get_weights()[0].item())
        schedule.observe(error)
    assert falls == pytest.approx([0.5, 0.5, 0.25], rel=1e-5)


@pytest.mark.parametrize("name", ["goyal2017", "onecycle"])
def test_schedules_are_saved(name):
    schedule = make_schedule(RECIPES[name], 100)
    saved = json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    restored = keras.optimizers.schedules.deserialize(saved)
    steps = np.arange(0, 600, 7)
    np.testing.assert_array_equal(schedule(steps), restored(steps))


JAX_PROGRAM = """
import json, sys
import jax
import numpy as np
from keras_resnet.training import RECIPES
from keras_resnet.training.making import make_schedule

assert "tensorflow" not in sys.modules
steps = np.arange(0, 9000, 450)
print(json.dumps({
    name: jax.jit(make_schedule(RECIPES[name], 100))(steps).tolist()
    for name in sys.argv[1:]
}))
"""


def test_same_rates_compiled_by_jax():
    names = ["he2015_cifar_110", "goyal2017", "rsb_a3", "ffcv_88", "onecycle_cifar"]
    compiled = answer_of(JAX_PROGRAM, "jax", *names)
    for name in names:
        here = make_schedule(RECIPES[name], 100)(np.arange(0, 9000, 450))
        np.testing.assert_allclose(compiled[name], here, rtol=1e-5, atol=1e-6)
