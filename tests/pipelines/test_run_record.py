"""A printed command asks for the very run; an environment tells no secrets."""

import dataclasses
import json
import shlex
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies

import keras_resnet
from keras_resnet.initializers import INITIALIZERS
from keras_resnet.training import RECIPES
from keras_resnet.training.schedules import SCHEDULES
from pipelines import environment as cpu_settings
from pipelines.runs import record as run_record
from pipelines.runs.request import RunConfig, reproduce_command, request

# The flags are the process' own, so each line is a command line for a process that has
# no others.
READER = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from pipelines import train_imagenet
from pipelines.command import run_flags

for line in sys.stdin:
    try:
        with flagsaver.flagsaver():
            values = flags.FLAGS
            values(json.loads(line))
            _, config = run_flags.requested(
                hyperparameters="",
                examples_dir=values["examples_dir"].value,
            )
        answer = config.to_json()
    except Exception as error:
        answer = {"refused": str(error)}
    print("\\nanswer:" + json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def reads():
    """A function from a command line to what the command takes it for."""
    with subprocess.Popen(
        [sys.executable, "-c", READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:

        def read(command):
            words = shlex.split(command)
            print(json.dumps(words[2:]), file=process.stdin, flush=True)
            lines = (line for line in process.stdout if line.startswith("answer:"))
            answer = json.loads(next(lines).removeprefix("answer:"))
            assert "refused" not in answer, answer
            return RunConfig.from_json(answer)

        yield read
        process.stdin.close()


SHARES = strategies.floats(0.001, 0.95)
SIZES = strategies.integers(1, 512)
SPANS = strategies.one_of(
    strategies.builds("{} epochs".format, strategies.integers(1, 9)),
    strategies.builds("{} steps".format, strategies.integers(1, 900)),
    strategies.builds("{}%".format, strategies.integers(1, 99)),
)
RECIPE_VALUES = {
    "epochs": SIZES,
    "batch_size": SIZES,
    "base_batch_size": SIZES,
    "learning_rate": strategies.floats(1e-9, 9),
    "schedule": strategies.sampled_from(sorted(SCHEDULES)),
    "drops": strategies.lists(SPANS, max_size=3).map(tuple),
    "warmup": SPANS,
    "warmup_scales": strategies.booleans(),
    "rate_span": SPANS,
    "momentum": SHARES,
    "nesterov": strategies.booleans(),
    "weight_decay": SHARES,
    "decay_norms": strategies.booleans(),
    "label_smoothing": SHARES,
    "augmentation": strategies.sampled_from(["center", "pad_crop(4)|flip"]),
    "image_size": SIZES,
    "resize_ratio": strategies.floats(1, 2),
    "size_ramp": strategies.tuples(SHARES, SHARES).map(sorted).map(tuple),
    "test_flip": strategies.booleans(),
    "frozen_stages": strategies.sets(
        strategies.sampled_from(["conv1", "conv2", "conv3"])
    ).map(lambda names: tuple(sorted(names))),
}
NETWORK_VALUES = {
    "blocks_per_stage": strategies.lists(strategies.integers(1, 4), max_size=4).map(
        tuple
    ),
    "filters": strategies.lists(strategies.integers(8, 64), max_size=4).map(tuple),
    "shortcut": strategies.sampled_from("ABC"),
    "stem_filters": strategies.none() | strategies.integers(3, 64),
    "squeeze_excitation": strategies.none() | strategies.integers(1, 16),
    "antialias": strategies.sampled_from([None, "blur", "average"]),
    "stochastic_depth": SHARES,
    "zero_gamma": strategies.booleans(),
    "initializer": strategies.sampled_from(sorted(INITIALIZERS)),
}
TEXTS = strategies.text(
    strategies.characters(codec="utf-8", exclude_characters="\0"), min_size=1
)


def _some(values):
    return strategies.fixed_dictionaries({}, optional=values)


@hypothesis.given(
    model=strategies.sampled_from(["resnet20", "resnet50", "resnet18", "resnet50v2"]),
    recipe=strategies.sampled_from(sorted(RECIPES)),
    network_changes=_some(NETWORK_VALUES),
    recipe_changes=_some(RECIPE_VALUES),
    others=strategies.fixed_dictionaries(
        {"data": TEXTS},
        optional={
            "seed": strategies.integers(0, 2**40),
            "weights": TEXTS,
            "validation_share": strategies.floats(0.001, 0.9),
            "max_bad_share": SHARES,
            "examples_dir": TEXTS,
        },
    ),
)
@hypothesis.settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_the_command_asks_for_the_same_run(
    reads, model, recipe, network_changes, recipe_changes, others, tmp_path_factory
):
    network_changes = {**dict(RECIPES[recipe].network), **network_changes}
    try:
        config = RunConfig(
            network=dataclasses.replace(
                keras_resnet.NETWORKS[model], **network_changes
            ),
            recipe=dataclasses.replace(RECIPES[recipe], **recipe_changes),
            **others,
        )
    except ValueError:
        hypothesis.reject()
    output_dir = tmp_path_factory.getbasetemp() / "not there"
    assert reads(reproduce_command(config, output_dir)) == config


def test_the_command_has_nothing_that_is_the_default():
    config = request(data="photos", model="resnet20", recipe="he2015", settings=[])
    assert reproduce_command(config, "runs/again") == (
        "python -m pipelines.train_imagenet --data=photos --model=resnet20 "
        "--recipe=he2015 --output_dir=runs/again"
    )


FAST = dict(cpu_settings.CPU_SETTINGS)


@pytest.mark.parametrize(
    ("start", "begin", "end"),
    [
        ({"variables": {"KERAS_BACKEND": "tensorflow", **FAST}}, "", ""),
        ({"variables": {"XLA_FLAGS": "--a --b", **FAST}}, "XLA_FLAGS='--a --b' ", ""),
        ({"variables": {"TF_CONFIG": "{}", **FAST}}, "", ""),
        ({"variables": {"TF_ENABLE_ONEDNN_OPTS": "0"}}, "TF_ENABLE_ONEDNN_OPTS=0 ", ""),
        ({"variables": {}}, "", " --cpu_settings=leave"),
        ({"variables": FAST, "flags": {"replicas": 2}}, "", " --replicas=2"),
    ],
)
def test_the_command_brings_the_environment_that_the_run_had(start, begin, end):
    config = request(data="a", model="resnet20", recipe="he2015", settings=[])
    assert reproduce_command(config, "b", start) == (
        f"{begin}python -m pipelines.train_imagenet --data=a --model=resnet20 "
        f"--recipe=he2015{end} --output_dir=b"
    )


def test_the_command_starts_a_network_of_a_table():
    config = request(data="a", model="resnet20", recipe="he2015", settings=[])
    gone = dataclasses.replace(
        config, network=dataclasses.replace(config.network, name="resnet21")
    )
    with pytest.raises(Exception, match="no model is called 'resnet21'"):
        reproduce_command(gone, "b")


def test_an_environment_has_no_secrets_and_what_decides(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("TF_TOKEN_app_terraform_io", "TF_VAR_password", "TF_HTTP_PASSWORD"):
        monkeypatch.setenv(name, "hunter2")
    found = run_record.environment()
    assert "hunter2" not in json.dumps(found)
    assert found["variables"]["XLA_FLAGS"] == "--xla_dump_to=x"
    assert found["variables"]["CUDA_VISIBLE_DEVICES"] == ""
    assert found["packages"]["keras_resnet"] == keras_resnet.__version__
    assert found["cpu"]["model"] and found["cpu"]["count"] >= found["cpu"]["usable"]


def test_an_environment_names_the_commit(pytestconfig):
    git = ["git", "-C", str(pytestconfig.rootpath), "rev-parse", "HEAD"]
    result = subprocess.run(git, capture_output=True, text=True)
    if result.returncode:
        pytest.skip("the tests are not in a checkout")
    assert run_record.environment()["git"]["commit"] == result.stdout.strip()


def test_every_start_is_kept(tmp_path):
    directory = tmp_path / "run"
    assert run_record.read_starts(directory) == []
    for count in (1, 2):
        run_record.record_start(directory, {"replicas": count})
        starts = run_record.read_starts(directory)
        assert [start["flags"]["replicas"] for start in starts] == [1, 2][:count]
    (directory / "environment.json").write_text('[{"sta')
    assert run_record.read_starts(directory) == []
