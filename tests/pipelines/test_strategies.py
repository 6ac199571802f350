"""Which strategy is made of a flag, the environment and the devices."""

import json

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from pipelines.command import run_flags  # noqa: F401, defines flags
from pipelines.errors import UserError
from pipelines.training import strategies
from pipelines.training.strategies import (
    STRATEGIES,
    Cluster,
    LostWorkerError,
    agree,
    barrier,
    gather,
    lost_workers,
    make_strategy,
)

TWO = {
    "cluster": {"worker": ["a.org:2222", "b.org:2222"]},
    "task": {"type": "worker", "index": 1},
}


@pytest.fixture
def tf_config(monkeypatch):
    """Sets the variable; tests begin without it."""
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def set_it(value):
        text = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv("TF_CONFIG", text)

    return set_it


@pytest.mark.parametrize(
    ("name", "replicas", "expected"),
    [
        ("auto", 0, 1),
        ("auto", 1, 1),
        ("auto", 2, 2),
        ("one", 0, 1),
        ("one", 1, 1),
        ("mirrored", 0, 1),
        ("mirrored", 2, 2),
    ],
)
def test_number_of_replicas_on_a_host_without_gpus(tf_config, name, replicas, expected):
    strategy = make_strategy(name, replicas)
    assert strategy.num_replicas_in_sync == expected
    mirrored = isinstance(strategy, tf.distribute.MirroredStrategy)
    assert mirrored == (name == "mirrored" or expected > 1)


@pytest.mark.parametrize(
    ("name", "replicas", "sentence"),
    [
        ("miror", 0, "did you mean 'mirrored'"),
        ("one", 2, "--strategy=one has one replica"),
        ("auto", -1, "--replicas=-1 does not fit the 0 GPUs"),
        ("mirrored", 3, "--replicas=3 cannot be set up after TensorFlow has started"),
        ("multi_worker", 0, "needs the environment variable TF_CONFIG"),
    ],
)
def test_what_cannot_be_made_is_said(tf_config, name, replicas, sentence):
    tf.constant(0)  # TensorFlow runs.
    with pytest.raises(UserError, match=sentence):
        make_strategy(name, replicas)


def test_workers_cannot_split_their_cpu(tf_config):
    tf_config(TWO)
    with pytest.raises(UserError, match="start more workers"):
        make_strategy("multi_worker", replicas=2)


def test_auto_looks_for_workers_then_gpus_then_replicas(tf_config, monkeypatch):
    """Several workers come before several GPUs."""
    made = []
    for name in ("_mirrored", "_multi_worker"):
        monkeypatch.setattr(
            strategies, name, lambda gpus, _, name=name: made.append((name, len(gpus)))
        )
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1"]
    )
    make_strategy()
    tf_config(
        {
            **TWO,
            "cluster": {"worker": ["a.org:2222"]},
            "task": {"type": "worker", "index": 0},
        }
    )
    make_strategy()
    tf_config(TWO)
    make_strategy()
    make_strategy(replicas=1)
    assert made == [("_mirrored", 2)] * 2 + [("_multi_worker", 2), ("_multi_worker", 1)]
    with pytest.raises(UserError, match="--replicas=3 does not fit the 2 GPUs"):
        make_strategy(replicas=3)


def test_other_gpus_are_left_to_others(tf_config, monkeypatch):
    """TensorFlow would else take the memory of all that it sees."""
    all_gpus, seen = ["GPU:0", "GPU:1", "GPU:2"], []
    made = "_mirrored_over"
    monkeypatch.setattr(strategies, made, lambda kind, count: (kind, count))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: all_gpus)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: all_gpus)
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda gpus, _: seen.append(gpus)
    )
    make_strategy("one")
    make_strategy(replicas=1)
    assert make_strategy(replicas=2) == ("GPU", 2)
    assert make_strategy() == ("GPU", 3)
    assert seen == [["GPU:0"], ["GPU:0"], ["GPU:0", "GPU:1"]]


def test_every_strategy_is_a_choice_of_the_flag():
    assert set(flags.FLAGS["strategy"].parser.enum_values) == set(STRATEGIES)


@pytest.mark.parametrize(
    ("value", "index", "addresses"),
    [
        ({}, 0, ()),
        (TWO, 1, ("a.org:2222", "b.org:2222")),
        (
            {
                "cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]},
                "task": {"type": "worker", "index": 1},
            },
            2,
            ("a:1", "b:1", "c:1"),
        ),
        (
            {
                "cluster": {"worker": ["b:1"], "chief": ["[::1]:1"]},
                "task": {"type": "chief", "index": 0},
            },
            0,
            ("[::1]:1", "b:1"),
        ),
    ],
)
def test_workers_are_counted_as_tensorflow_counts_them(
    tf_config, value, index, addresses
):
    tf_config(value)
    cluster = Cluster.from_environment()
    assert (cluster.index, cluster.addresses) == (index, addresses)
    assert cluster.count == max(1, len(addresses))
    assert cluster.is_chief == (index == 0)


@pytest.mark.parametrize(
    "value",
    [
        "worker 0 of 2",
        "[]",
        "7",
        {"cluster": TWO["cluster"]},
        {**TWO, "task": {"type": "worker", "index": 2}},
        {**TWO, "task": {"type": "worker", "index": -1}},
        {**TWO, "task": {"type": "worker", "index": "first"}},
        {**TWO, "task": {"type": "chief", "index": 0}},
        {**TWO, "task": {"type": "evaluator", "index": 0}},
        {**TWO, "cluster": ["a.org:2222", "b.org:2222"]},
        {**TWO, "cluster": {"worker": ["a.org:2222", "b.org"]}},
        {**TWO, "cluster": {"worker": ["a.org:2222", "a.org:2222"]}},
        {**TWO, "cluster": {"worker": ["a.org:2222", 7]}},
        {**TWO, "cluster": {**TWO["cluster"], "ps": ["c.org:2222"]}},
        {**TWO, "cluster": {**TWO["cluster"], "chief": ["c.org:1", "d.org:1"]}},
    ],
)
@pytest.mark.parametrize("name", ["auto", "multi_worker"])
def test_a_wrong_tf_config_is_answered_with_the_right_form(tf_config, value, name):
    tf_config(value)
    with pytest.raises(UserError, match=r'TF_CONFIG is .* "HOST1:PORT"\]'):
        make_strategy(name)


def test_one_process_is_a_cluster_of_its_own():
    strategy = make_strategy("mirrored", 2)
    assert Cluster.of(strategy) == Cluster() == Cluster.of(make_strategy("one"))
    values = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(gather(strategy, values), values[None])
    barrier(strategy)
    agree(strategy, 7, "the step")


HEARTBEAT = "RPC: /tensorflow.CoordinationService/Heartbeat"
RESET = (
    "recvmsg:Connection reset by peer\nAdditional GRPC error information from remote "
    "target /job:worker/replica:0/task:1"
)
UNHEALTHY = (
    "Error reported from /job:worker/task:1: The following tasks are unhealthy "
    "(stopped sending heartbeats):\n/job:worker/replica:0/task:1"
)


@pytest.fixture
def two_workers(monkeypatch):
    """Makes this process one of two."""

    def set_index(index):
        cluster = Cluster(index, ("a.org:1", "b.org:2"))
        monkeypatch.setattr(Cluster, "of", lambda strategy: cluster)

    return set_index


@pytest.mark.parametrize(
    ("index", "kind", "reason", "named"),
    [
        # What TensorFlow 2.21 said when a worker was killed or frozen.
        (0, tf.errors.UnavailableError, RESET, r"worker 1 \(b.org:2\)"),
        (0, tf.errors.UnavailableError, UNHEALTHY, r"worker 1 \(b.org:2\)"),
        (1, tf.errors.DeadlineExceededError, HEARTBEAT, r"worker 0 \(a.org:1\)"),
        (0, tf.errors.AbortedError, "", "another worker"),
    ],
)
def test_the_lost_worker_is_named(two_workers, index, kind, reason, named):
    two_workers(index)
    with (
        pytest.raises(
            LostWorkerError, match=f"^{named} has ended or cannot be reached"
        ),
        lost_workers(None),
    ):
        raise kind(None, None, f"Collective ops is aborted by: {reason}")


def test_other_errors_are_left_alone(two_workers):
    aborted = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: x")
    with pytest.raises(tf.errors.UnavailableError), lost_workers(make_strategy("one")):
        raise aborted
    two_workers(0)
    with pytest.raises(tf.errors.DataLossError), lost_workers(None):
        raise tf.errors.DataLossError(None, None, "corrupted record at 12")
    with pytest.raises(ZeroDivisionError), lost_workers(None):
        raise ZeroDivisionError
