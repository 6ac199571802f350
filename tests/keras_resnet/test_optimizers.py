"""The optimizers' steps against PyTorch's, timm's and the sources' formulas."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_backend import answer_of

import keras_resnet
from keras_resnet import NETWORKS
from keras_resnet.training import RECIPES, Recipe
from keras_resnet.training.making import make_optimizer
from keras_resnet.training.optimizers import OPTIMIZERS, SGD

STEPS = 100
DROPS = (30, 60)

SHAPES = {
    "conv1_conv/kernel": (3, 3, 2, 4),
    "conv1_bn/gamma": (4,),
    "conv1_bn/beta": (4,),
    "conv2_block1_1_conv/kernel": (1, 1, 4, 4),
    "predictions/kernel": (4, 3),
    "predictions/bias": (3,),
}
NORMS = {"conv1_bn/gamma", "conv1_bn/beta"}
BIASES = {"predictions/bias"}

FORMS = {
    "lars": {"optimizer": "lars", "momentum_form": "pytorch"},
    "lamb": {"optimizer": "lamb", "decay_form": "decoupled"},
    "adamw": {"optimizer": "adamw", "decay_form": "decoupled"},
    "sgd": {"optimizer": "sgd"},
}


def _recipe(**values):
    """Returns a recipe whose numbers are exact in float32, as Keras keeps the rate."""
    return Recipe(
        **{
            "name": "test",
            "source": "none",
            "epochs": 1,
            "batch_size": 1,
            "learning_rate": 2.0**-4,
            "schedule": "steps",
            "drops": tuple(f"{drop} steps" for drop in DROPS),
            "drop_factor": 0.5,
            "augmentation": "center",
            "momentum": 0.875,
            "weight_decay": 2.0**-5,
            **values,
        }
    )


@pytest.fixture(scope="module")
def start():
    rng = np.random.default_rng(0)
    values = {path: rng.standard_normal(shape) for path, shape in SHAPES.items()}
    # As zero-initialised layers have it: a norm of zero.
    values["conv2_block1_1_conv/kernel"][:] = 0
    return values


@pytest.fixture(scope="module")
def gradients():
    rng = np.random.default_rng(1)
    steps = [
        {path: rng.standard_normal(shape) for path, shape in SHAPES.items()}
        for _ in range(STEPS)
    ]
    steps[0]["conv1_conv/kernel"][:] = 0
    return steps


def _variable(path, value):
    layer, name = path.rsplit("/", 1)
    with keras.name_scope(layer):
        return keras.Variable(value, dtype=value.dtype, name=name)


def _ours(optimizer, start, gradients):
    """Returns the weights after the steps."""
    variables = [_variable(path, value) for path, value in start.items()]
    optimizer.build(variables)
    for step in gradients:
        values = [keras.ops.convert_to_tensor(step[path]) for path in start]
        optimizer.apply(values, variables)
    return {
        path: keras.ops.convert_to_numpy(variable)
        for path, variable in zip(start, variables, strict=True)
    }


def _torchs(make, undecayed, start, gradients, clip_norm=0.0):
    """Returns the weights after PyTorch's steps with PyTorch's schedule."""
    import torch

    parameters = {p: torch.nn.Parameter(torch.tensor(v)) for p, v in start.items()}
    groups = [
        {"params": [parameters[p] for p in start if p not in undecayed]},
        {"params": [parameters[p] for p in start if p in undecayed], "weight_decay": 0},
    ]
    optimizer = make(torch, [group for group in groups if group["params"]])
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, DROPS, gamma=0.5)
    for step in gradients:
        for path, parameter in parameters.items():
            parameter.grad = torch.tensor(step[path])
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters.values(), clip_norm)
        optimizer.step()
        schedule.step()
    return {path: p.detach().numpy() for path, p in parameters.items()}


def _assert_same(ours, theirs, rtol=1e-11, atol=0.0):
    for path, value in theirs.items():
        assert ours[path].dtype == np.float64
        np.testing.assert_allclose(ours[path], value, rtol, atol, err_msg=path)


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_pytorchs(start, gradients, nesterov, norms, biases):
    """With decay in the gradient, of some variables, and a rate that changes."""
    pytest.importorskip("torch")
    recipe = _recipe(
        momentum_form="pytorch",
        nesterov=nesterov,
        decay_norms=norms,
        decay_biases=biases,
    )
    undecayed = (set() if norms else NORMS) | (set() if biases else BIASES)

    def sgd(torch, groups):
        return torch.optim.SGD(
            groups, lr=2**-4, momentum=0.875, weight_decay=2**-5, nesterov=nesterov
        )

    ours = _ours(make_optimizer(recipe, STEPS), start, gradients)
    _assert_same(ours, _torchs(sgd, undecayed, start, gradients))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_caffes(start, gradients, nesterov):
    """As Caffe's SGDSolver and NesterovSolver compute it: history includes the rate."""
    recipe = _recipe(nesterov=nesterov, decay_norms=False)
    weights = {path: value.copy() for path, value in start.items()}
    history = {path: np.zeros(shape) for path, shape in SHAPES.items()}
    for step, gradient in enumerate(gradients):
        rate = 2.0**-4 / 2 ** sum(step >= drop for drop in DROPS)
        for path, weight in weights.items():
            decay = 0 if path in NORMS else 2.0**-5
            before = history[path]
            history[path] = rate * (gradient[path] + decay * weight) + 0.875 * before
            weight -= (
                1.875 * history[path] - 0.875 * before if nesterov else history[path]
            )
    ours = _ours(make_optimizer(recipe, STEPS), start, gradients)
    _assert_same(ours, weights)


def test_forms_of_momentum_differ_only_where_the_rate_changes(start, gradients):
    ours = [
        _ours(
            make_optimizer(_recipe(momentum_form=form), STEPS),
            start,
            gradients[: DROPS[0] + more],
        )["predictions/kernel"]
        for more in (0, 1)
        for form in ("caffe", "pytorch")
    ]
    np.testing.assert_allclose(ours[0], ours[1], rtol=1e-11)
    assert np.abs(ours[2] - ours[3]).max() > 1e-3


def test_decoupled_sgd_is_timms(start, gradients, timm):
    import timm.optim

    recipe = _recipe(
        momentum_form="pytorch", decay_form="decoupled", decay_biases=False
    )

    def sgdw(torch, groups):
        return timm.optim.SGDW(groups, lr=2**-4, momentum=0.875, weight_decay=2**-5)

    ours = _ours(make_optimizer(recipe, STEPS), start, gradients)
    _assert_same(ours, _torchs(sgdw, BIASES, start, gradients))


def test_adamw_is_pytorchs(start, gradients):
    pytest.importorskip("torch")
    recipe = _recipe(**FORMS["adamw"], decay_norms=False, decay_biases=False)

    def adamw(torch, groups):
        return torch.optim.AdamW(
            groups, lr=2**-4, betas=(0.875, 0.999), eps=1e-8, weight_decay=2**-5
        )

    ours = _ours(make_optimizer(recipe, STEPS), start, gradients)
    _assert_same(ours, _torchs(adamw, NORMS | BIASES, start, gradients), rtol=1e-9)


def test_lamb_is_timms(start, gradients, timm):
    """As the runs of 2110.00476: clipped, norms and biases not decayed nor adapted."""
    import timm.optim

    recipe = _recipe(
        **FORMS["lamb"], decay_norms=False, decay_biases=False, clip_norm=1.0
    )

    def lamb(torch, groups):
        return timm.optim.Lamb(
            groups, lr=2**-4, betas=(0.875, 0.999), eps=1e-6, weight_decay=2**-5
        )

    ours = _ours(make_optimizer(recipe, STEPS), start, gradients)
    _assert_same(ours, _torchs(lamb, NORMS | BIASES, start, gradients), rtol=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_is_timms(start, gradients, timm, nesterov):
    import timm.optim

    recipe = _recipe(
        **FORMS["lars"], nesterov=nesterov, decay_norms=False, decay_biases=False
    )

    def lars(torch, groups):
        return timm.optim.Lars(
            groups,
            lr=2**-4,
            momentum=0.875,
            weight_decay=2**-5,
            nesterov=nesterov,
            trust_coeff=0.001,
            eps=0.0,
        )

    ours = _ours(make_optimizer(recipe, STEPS), start, gradients)
    _assert_same(ours, _torchs(lars, NORMS | BIASES, start, gradients))


def test_clipping_is_pytorchs(start, gradients):
    """Of all gradients together; the tolerance is for the 1e-6 that PyTorch adds."""
    pytest.importorskip("torch")
    norms = [
        np.sqrt(sum((value**2).sum() for value in step.values())) for step in gradients
    ]
    clip_norm = float(np.median(norms).astype("float32"))
    recipe = _recipe(momentum_form="pytorch", clip_norm=clip_norm)

    def sgd(torch, groups):
        return torch.optim.SGD(groups, lr=2**-4, momentum=0.875, weight_decay=2**-5)

    ours = _ours(make_optimizer(recipe, STEPS), start, gradients)
    theirs = _torchs(sgd, set(), start, gradients, clip_norm)
    _assert_same(ours, theirs, rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    rate=st.floats(2**-10, 8, width=32),
    form=st.sampled_from(["caffe", "pytorch"]),
    decay_form=st.sampled_from(["l2", "decoupled"]),
    nesterov=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_forms_are_gradient_descent(rate, form, decay_form, nesterov, seed):
    """Without momentum and decay."""
    rng = np.random.default_rng(seed)
    start, *steps = ({"kernel": rng.standard_normal(5)} for _ in range(4))
    optimizer = SGD(
        rate, momentum=0.0, momentum_form=form, nesterov=nesterov, decay_form=decay_form
    )
    ours = _variable("conv1_conv/kernel", start["kernel"])
    optimizer.build([ours])
    for step in steps:
        optimizer.apply([keras.ops.convert_to_tensor(step["kernel"])], [ours])
    # Keras keeps the rate in float32.
    total = sum(step["kernel"] for step in steps)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours), start["kernel"] - rate * total, atol=1e-10
    )


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize(("name", "share"), [("lars", 0.001), ("lamb", 1.0)])
def test_adapted_steps_have_a_share_of_the_weights_length(name, share, scale, seed):
    """The papers' point: whatever the length of the gradient."""
    rng = np.random.default_rng(seed)
    start = {"conv1_conv/kernel": rng.standard_normal((3, 3, 2, 4))}
    gradient = {"conv1_conv/kernel": scale * rng.standard_normal((3, 3, 2, 4))}
    optimizer = OPTIMIZERS[name](2.0**-4)
    ours = _ours(optimizer, start, [gradient])["conv1_conv/kernel"]
    moved = np.linalg.norm(ours - start["conv1_conv/kernel"])
    length = np.linalg.norm(start["conv1_conv/kernel"])
    assert moved == pytest.approx(2**-4 * share * length, rel=1e-9)


@pytest.mark.parametrize(
    ("network", "stages"), [("resnet20", 4), ("preresnet18", 5), ("resnet50d", 5)]
)
def test_each_stage_learns_at_a_share_of_the_next_ones_rate(network, stages):
    spec = dataclasses.replace(
        NETWORKS[network], filters=(4,) * (stages - 1), stem_filters=4
    )
    model = keras_resnet.build(spec)
    recipe = _recipe(momentum=0.0, weight_decay=0.0, stage_rate_decay=0.5)
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]
    optimizer = make_optimizer(recipe, STEPS)
    optimizer.apply(
        [keras.ops.ones(variable.shape) for variable in variables], variables
    )
    shares = {f"conv{n}": 0.5 ** (stages + 1 - n) for n in range(1, stages + 1)}
    seen = set()
    for variable, old in zip(variables, before, strict=True):
        level = variable.path.split("_")[0].split("/")[0]
        moved = (old - variable.numpy()) / 2**-4
        np.testing.assert_allclose(moved, shares.get(level, 1.0), rtol=1e-4)
        seen.add(level)
    # "post" is what comes after the last stage of a pre-activation network.
    assert seen == {*shares, "predictions"} | ({"post"} if "pre" in network else set())


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_what_decays(norms, biases):
    """Told by the layers' classes; the optimizer goes by names."""
    spec = dataclasses.replace(
        NETWORKS["resnet20"], filters=(8, 8, 8), squeeze_excitation=4
    )
    model = keras_resnet.build(spec)
    for variable in model.trainable_variables:
        variable.assign(keras.ops.ones(variable.shape))
    recipe = _recipe(decay_norms=norms, decay_biases=biases, momentum=0.0)
    make_optimizer(recipe, STEPS).apply(
        [keras.ops.zeros(variable.shape) for variable in model.trainable_variables],
        model.trainable_variables,
    )
    for layer in model.layers:
        for variable in layer.trainable_variables:
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            is_bias = not is_norm and len(variable.shape) == 1
            decays = norms if is_norm else biases if is_bias else True
            expected = 1 - 2**-4 * 2**-5 if decays else 1
            assert (variable.numpy() == np.float32(expected)).all(), variable.path


@pytest.mark.parametrize("name", FORMS)
def test_a_recreated_optimizer_goes_on(start, gradients, name):
    """From its configuration and its variables, as a checkpoint does."""
    recipe = _recipe(**FORMS[name], decay_norms=False, stage_rate_decay=0.5)
    whole = _ours(make_optimizer(recipe, STEPS), start, gradients[:6])

    first = make_optimizer(recipe, STEPS)
    middle = _ours(first, start, gradients[:3])
    config = json.loads(json.dumps(keras.optimizers.serialize(first)))
    second = keras.optimizers.deserialize(config)
    variables = [_variable(path, value) for path, value in start.items()]
    second.build(variables)
    for ours, saved in zip(second.variables, first.variables, strict=True):
        ours.assign(saved)
    # Values are given after building: nothing but its variables is the state.
    for variable, value in zip(variables, middle.values(), strict=True):
        variable.assign(value)
    for step in gradients[3:6]:
        second.apply([keras.ops.convert_to_tensor(v) for v in step.values()], variables)
    for variable, value in zip(variables, whole.values(), strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_the_schedule_can_be_had_from_the_optimizer():
    optimizer = make_optimizer(RECIPES["he2015_cifar"], steps_per_epoch=351)
    assert float(optimizer.schedule(40_000)) == pytest.approx(0.01)


@pytest.mark.parametrize("name", FORMS)
def test_two_replicas_take_the_steps_of_one(name):
    """Compiled, in the replicas' context, inside of a condition."""
    import tensorflow as tf

    from pipelines.training.strategies import make_strategy

    recipe = _recipe(**FORMS[name], stage_rate_decay=0.5, decay_norms=False)
    weights = []
    for strategy in (
        tf.distribute.get_strategy(),
        make_strategy("mirrored", replicas=2),
    ):
        with strategy.scope():
            variables = [
                _variable("conv1_conv/kernel", np.ones((3, 2), "float32")),
                _variable("conv1_bn/gamma", np.ones(2, "float32")),
                _variable("predictions/kernel", np.ones((2, 2), "float32")),
            ]
            optimizer = make_optimizer(recipe, STEPS)
            optimizer.build(variables)

        def update(slope, *, strategy=strategy, variables=variables, of=optimizer):
            # Keras sums over the replicas.
            share = slope / strategy.num_replicas_in_sync
            of.apply([share * tf.ones(v.shape) for v in variables], variables)

        @tf.function
        def step(slope, *, strategy=strategy, update=update):
            def apply():
                strategy.run(update, args=(slope,))
                return True

            return tf.cond(slope > 0, apply, lambda: False)

        assert [bool(step(tf.constant(s))) for s in (1.0, 0.0, 2.0)] == [1, 0, 1]
        assert optimizer.iterations.numpy() == 2
        weights.append([variable.numpy() for variable in variables])
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-6)
        assert (one != 1).all()


# Runs in a process of its own, since a process has one backend.
SCRIPT = """
import json, sys
import numpy as np
import keras
from keras_resnet.training import Recipe
from keras_resnet.training.making import make_optimizer

asked = json.load(sys.stdin)
answer = {}
for asked_name, values in asked["recipes"].items():
    recipe = Recipe.from_json(values)
    variables = []
    for path, value in asked["start"].items():
        with keras.name_scope(path.split("/")[0]):
            name = path.split("/")[1]
            variables.append(keras.Variable(np.array(value, "float32"), name=name))
    optimizer = make_optimizer(recipe, asked["steps"])
    optimizer.build(variables)
    tensors = lambda step: [
        keras.ops.convert_to_tensor(np.array(step[path], "float32"))
        for path in asked["start"]
    ]
    if keras.backend.backend() == "jax":
        import jax
        apply = jax.jit(optimizer.stateless_apply)
        weights = [v.value for v in variables]
        state = [v.value for v in optimizer.variables]
        for step in asked["gradients"]:
            weights, state = apply(state, tensors(step), weights)
    else:
        import torch
        for step in asked["gradients"]:
            with torch.no_grad():
                optimizer.apply(tensors(step), variables)
        weights = [v.value for v in variables]
    answer[asked_name] = [keras.ops.convert_to_numpy(w).tolist() for w in weights]
answer["tensorflow"] = "tensorflow" in sys.modules
print(json.dumps(answer))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(start, gradients, backend):
    shared = {"decay_norms": False, "clip_norm": 1.0, "stage_rate_decay": 0.5}
    recipes = {name: _recipe(**form, **shared) for name, form in FORMS.items()}
    some = gradients[:5]
    asked = {
        "recipes": {name: dataclasses.asdict(r) for name, r in recipes.items()},
        "steps": STEPS,
        "start": {path: value.tolist() for path, value in start.items()},
        "gradients": [{p: v.tolist() for p, v in step.items()} for step in some],
    }
    answer = answer_of(SCRIPT, backend, input=json.dumps(asked))
    assert not answer["tensorflow"]
    for name, recipe in recipes.items():
        ours = _ours(make_optimizer(recipe, STEPS), start, some)
        for (path, value), theirs in zip(ours.items(), answer[name], strict=True):
            np.testing.assert_allclose(
                theirs, value, rtol=1e-4, atol=1e-6, err_msg=f"{name} {path}"
            )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_an_optimizer(name):
    optimizer = make_optimizer(RECIPES[name], steps_per_epoch=5004)
    assert optimizer.momentum == RECIPES[name].momentum


def test_nesterov_without_such_a_form():
    with pytest.raises(ValueError, match="'nesterov' must be False .* 'adamw'"):
        make_optimizer(_recipe(**FORMS["adamw"], nesterov=True), STEPS)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sgd", {"momentum_form": "keras"}),
        ("sgd", {"decay_form": "cosine"}),
        ("lars", {"decay_form": "decoupled"}),
        ("lamb", {"decay_form": "l2"}),
    ],
)
def test_forms_that_there_are_not(name, wrong):
    ((field, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"'{field}' .*must be .*got '{value}'"):
        OPTIMIZERS[name](0.1, **wrong)
