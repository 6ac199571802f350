"""Losses against PyTorch's and timm's, accuracies against sorting."""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_resnet.training import RECIPES
from keras_resnet.training.losses import top_k
from keras_resnet.training.making import make_loss

CLASSES = 7


def _loss(name, smoothing=0.0, classes=CLASSES):
    recipe = dataclasses.replace(
        RECIPES["he2015"], loss=name, label_smoothing=smoothing
    )
    loss = make_loss(recipe, classes)
    return lambda labels, logits: keras.ops.convert_to_numpy(
        loss(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(logits))
    )


@pytest.fixture(scope="module")
def logits():
    return (5 * np.random.default_rng(0).standard_normal((64, CLASSES))).astype(
        "float32"
    )


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(1).integers(CLASSES, size=64)


@pytest.fixture(scope="module")
def shares():
    """Of images that are mixed of two, some on either side of the threshold of 0.2."""
    rng = np.random.default_rng(2)
    share = np.concatenate([np.linspace(0, 1, 63), [0.2]]).astype("float32")[:, None]
    one, two = np.eye(CLASSES, dtype="float32")[rng.integers(CLASSES, size=(2, 64))]
    return share * one + (1 - share) * two


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["labels", "shares"])
def test_softmax_is_pytorchs(request, logits, kind, smoothing):
    torch = pytest.importorskip("torch")
    truth = request.getfixturevalue(kind)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits),
        torch.tensor(truth),
        label_smoothing=smoothing,
        reduction="none",
    )
    ours = _loss("softmax", smoothing)(truth, logits)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("smoothing", "share", "present"),
    # Smoothed by a half, shares of 0.21 and 0.14 of four classes are 0.23 and 0.195.
    [(0.0, 0.21, 2), (0.0, 0.19, 1), (0.5, 0.21, 2), (0.5, 0.14, 1)],
)
def test_sigmoid_takes_classes_as_present_or_not(smoothing, share, present):
    """From the definition; tests/pipelines/test_recipe_sources.py has timm's."""
    logits = np.array([[1.0, -2.0, 0.5, 0.0]], "float32")
    targets = np.arange(4) < present
    likely = 1 / (1 + np.exp(-logits[0].astype("float64")))
    expected = -np.log(np.where(targets, likely, 1 - likely)).mean()
    ours = _loss("sigmoid", smoothing, classes=4)(
        np.array([[1 - share, share, 0, 0]], "float32"), logits
    )
    np.testing.assert_allclose(ours, [expected], rtol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_losses_are_in_float32(name, logits, labels):
    """From bfloat16 logits: the same as from their values in float32."""
    rough = keras.ops.cast(logits, "bfloat16")
    exact = keras.ops.convert_to_numpy(keras.ops.cast(rough, "float32"))
    ours = _loss(name, 0.1)(labels, rough)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, _loss(name, 0.1)(labels, exact))


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_losses_of_extreme_logits(name):
    """A logit of -10,000 for the right class, and one of 10,000 for a wrong one."""
    logits = np.array([[-1e4, 1e4, 0, 0]], "float32")
    expected = {"softmax": 2e4, "sigmoid": (1e4 + 1e4 + 2 * np.log(2)) / 4}
    ours = _loss(name, classes=4)(np.array([0]), logits)
    np.testing.assert_allclose(ours, [expected[name]], rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    order=st.permutations(range(CLASSES)),
    label=st.integers(0, CLASSES - 1),
    k=st.integers(1, CLASSES),
    as_shares=st.booleans(),
)
def test_top_k_is_the_place_in_the_order(order, label, k, as_shares):
    logits = np.array([order], "float32") / 8 - 0.5
    place = sorted(order, reverse=True).index(order[label])
    truth = np.array([label])
    if as_shares:
        truth = 0.6 * np.eye(CLASSES, dtype="float32")[truth] + 0.4 / CLASSES
    assert keras.ops.convert_to_numpy(top_k(truth, logits, k)) == [place < k]


@pytest.mark.parametrize(
    ("logits", "k", "right"),
    [
        ([0.0, 0.0, 0.0], 1, 0.0),
        ([0.0, 0.0, 0.0], 2, 0.0),
        ([0.0, 0.0, 0.0], 3, 1.0),
        ([1.0, 1.0, 0.0], 1, 0.0),
        ([1.0, 1.0, 0.0], 2, 1.0),
        ([np.inf, 1.0, 0.0], 1, 1.0),
        ([np.nan, 1.0, 0.0], 3, 0.0),
        ([1.0, np.nan, 0.0], 1, 0.0),
        ([np.nan, np.nan, np.nan], 3, 0.0),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_top_k_of_ties_and_what_is_no_number(logits, k, right, dtype):
    """The right class is the first."""
    answer = top_k(np.array([0]), keras.ops.cast([logits], dtype), k)
    assert keras.backend.standardize_dtype(answer.dtype) == "float32"
    assert keras.ops.convert_to_numpy(answer) == [right]
