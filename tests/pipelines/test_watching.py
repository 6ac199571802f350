"""Progress, TensorBoard, trackers, stalls and lack of memory."""

import dataclasses
import importlib
import io
import json
import re
import sys
import threading
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from rich.console import Console
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator,
)

import keras_resnet
from keras_resnet.analysis import mistakes
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import RECIPES
from pipelines.command import watch_flags
from pipelines.errors import UserError
from pipelines.training import watching
from pipelines.training.network import for_training, takes_pixels
from pipelines.training.strategies import make_strategy
from pipelines.training.watching import EvaluationSample, WatchOptions, memory, pictures
from pipelines.training.watching.live_line import ProgressBar
from pipelines.training.watching.profiling import Profile
from pipelines.training.watching.sample import Looker
from pipelines.training.watching.stall import StallWatch, open_files

CLASSES = ("circle", "square", "star")
STEPS = 50


@pytest.fixture(scope="module")
def network():
    """ResNet-8 for three classes, with probabilities."""
    spec = dataclasses.replace(
        keras_resnet.NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1), classes=3
    )
    keras.utils.set_random_seed(0)
    return keras_resnet.build(spec, input_shape=(16, 16, 3))


@pytest.fixture(scope="module")
def make_model(network):
    """Returns the network as it trains: pixels in, logits out."""

    def make():
        trained = for_training(network, RECIPES["onecycle"])
        return takes_pixels(trained, Preprocessing(crop=16, resize=16))

    return make


@pytest.fixture(scope="module")
def sample():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
    return EvaluationSample(images, generator.integers(0, 3, 70), CLASSES)


def drive(callbacks, model, *, epochs=2, start=(0, 0), stop=None, rows=None):
    """Calls callbacks as the engine does, from `(epoch, step)` until `stop`."""
    first_epoch, first_step = start
    told = keras.callbacks.CallbackList(
        callbacks,
        model=model,
        epochs=epochs,
        steps=STEPS,
        batch_size=8,
        first_step=first_step,
    )
    told.on_train_begin()
    for epoch in range(first_epoch, epochs):
        told.on_epoch_begin(epoch)
        for step in range(first_step if epoch == first_epoch else 0, STEPS):
            logs = {
                "loss": 1.0,
                "top1": 0.25,
                "gradient_norm": 2.0,
                "images_per_second": 1234.0,
                "data_wait_share": 0.031,
            }
            if rows is not None and (step + 1) % 25 == 0:
                rate = 0.1 * (epoch * STEPS + step)
                rows.append(
                    {"epoch": epoch, "step": step, "learning_rate": rate, "loss": 2.0}
                )
            told.on_train_batch_end(step, logs)
            if (epoch, step) == stop:
                return
        told.on_test_begin()
        told.on_test_end()
        told.on_epoch_end(
            epoch, {**logs, "seconds": 7.0, "val_loss": 0.5, "val_top1": 0.75}
        )
    told.on_train_end()


class Clock:
    """A clock that others move, in place of the module `time`."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


# The progress bar


def test_prints_a_line_for_each_epoch_without_a_terminal(make_model):
    text = io.StringIO()
    drive([ProgressBar(Console(file=text, width=200))], make_model())
    assert text.getvalue().splitlines() == [
        f"epoch   {epoch}/2  train loss 1.000  top-1 25.00%  validation loss 0.500  "
        "top-1 75.00%  1,234 images/s  waited 3.1%  7 s"
        for epoch in (1, 2)
    ]


def test_bar_of_a_resumed_epoch_stands_where_the_run_does(make_model, monkeypatch):
    """One step a second and ten seconds of validation give the time that is left."""
    clock = Clock()
    monkeypatch.setattr(watching.live_line, "time", clock)
    text = io.StringIO()
    bar = ProgressBar(Console(file=text, force_terminal=True, width=200))
    seen = []

    class Ticks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            # The first step compiles, and is no measure.
            clock.now += 1 if seen else 100
            seen.append(None)

        def on_test_begin(self, logs=None):
            clock.now += 10

    class Reads(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            task = bar._bar.tasks[0]
            seen[-1] = (int(task.completed), task.description)

    drive([Ticks(), bar, Reads()], make_model(), epochs=3, start=(1, 20))
    assert seen[0] == (21, "loss 1.000  top-1 25.0%  1,234 images/s  waiting 3.1%")
    # 19 steps of this epoch, then 50 of the next; validation is not measured yet.
    assert seen[10][0] == 31
    assert seen[10][1].endswith("waiting 3.1%  0:01:09 left  (epoch 0:00:19)")
    assert seen[30 + 30][0] == 31
    assert seen[30 + 30][1].endswith("waiting 3.1%  0:00:29 left")


def test_a_narrow_terminal_has_epoch_step_and_time(make_model, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watching.live_line, "time", clock)
    text = io.StringIO()
    bar = ProgressBar(Console(file=text, force_terminal=True, width=80))
    bar.set_params({"epochs": 90, "steps": 5004, "first_step": 0})
    bar.on_train_begin()
    bar.on_epoch_begin(11)
    logs = {"loss": 6.912, "top1": 0.01, "images_per_second": 12.0, "seconds": 3.0}
    for step in range(3):
        clock.now += 10
        bar.on_train_batch_end(step, logs)
    bar._bar.refresh()
    (line,) = text.getvalue().split("\r")[-1].splitlines()
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line).rstrip()
    assert shown.startswith("epoch 12/90 ") and " 3/5004 " in shown
    assert re.search(r"\d+ days, \d+:\d\d:\d\d left", shown) and len(shown) <= 80
    bar.on_epoch_end(11, {**logs, "val_loss": 6.5, "val_top1": 0.02})
    last = text.getvalue().splitlines()[-1]
    assert last.endswith("validation loss 6.500  top-1  2.00%")
    assert "train loss 6.912" in last


def test_bar_costs_no_refresh_between_half_seconds(make_model, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watching.live_line, "time", clock)
    bar = ProgressBar(Console(file=io.StringIO(), force_terminal=True))
    bar.set_params({"epochs": 1, "steps": 100, "first_step": 0})
    bar.on_train_begin()
    bar.on_epoch_begin(0)

    class Unread(dict):
        def __getitem__(self, name):
            raise AssertionError("the logs were read")

    for step in range(50):
        clock.now += 0.009
        bar.on_train_batch_end(step, Unread(loss=1.0))
    clock.now += 0.1
    with pytest.raises(AssertionError, match="were read"):
        bar.on_train_batch_end(50, Unread(loss=1.0))
    bar.close()


# TensorBoard


def steps_of(directory, tag):
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0}).Reload()
    return [event.step for event in events.Tensors(tag)]


def value_of(directory, tag):
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0}).Reload()
    return tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto)


def watched(directory, sample=None, rows=(), **options):
    return watching.make_callbacks(
        directory,
        Console(file=io.StringIO()),
        options=WatchOptions(**options),
        images_at_once=32,
        sample=sample,
        rows=rows,
    )


def test_tensorboard_shows_the_run(make_model, sample, tmp_path):
    rows = [{"epoch": 0, "step": 0, "loss": 9.0}]  # Told by another process before.
    drive(watched(tmp_path, sample, rows), make_model(), rows=rows)
    train, validation = (
        tmp_path / "tensorboard" / name for name in ("train", "validation")
    )
    assert steps_of(train, "batch_loss") == [25, 50, 75, 100]
    assert value_of(train, "batch_loss") == 2.0
    assert value_of(train, "batch_learning_rate") == pytest.approx(9.9)
    assert steps_of(train, "epoch_top1") == [50, 100]
    assert value_of(validation, "epoch_loss") == 0.5
    tags = EventAccumulator(str(train)).Reload().Tags()["tensors"]
    for stage in ("conv1", "conv2", "conv3", "conv4", "predictions"):
        for kind in ("weight_norm", "gradient_norm", "activations"):
            assert f"{kind}/{stage}" in tags
    for tag in ("hardest_mistakes", "confusion_matrix"):
        width, height, png, *_ = value_of(validation, tag)
        assert tf.io.decode_png(png).shape == (int(height), int(width), 3)


def test_killed_and_resumed_run_continues_its_curves(make_model, tmp_path):
    """A process that is lost after step 80 goes on from a checkpoint at step 60."""
    model = make_model()
    rows = []
    lost = watched(tmp_path, rows=rows)
    drive(lost, model, epochs=4, stop=(2, 10), rows=rows)
    watching.close(lost)
    # Files are read in the order of their times, in seconds; processes take longer.
    for path in tmp_path.glob("tensorboard/*/events.*"):
        path.rename(re.sub(r"tfevents\.\d+", "tfevents.0000000001", str(path)))
    del rows[2:]
    drive(watched(tmp_path, rows=rows), model, epochs=4, start=(1, 10), rows=rows)
    train = tmp_path / "tensorboard" / "train"
    assert steps_of(train, "batch_loss") == list(range(25, 201, 25))
    assert steps_of(train, "epoch_loss") == [50, 100, 150, 200]


def test_looking_changes_nothing(make_model, sample, tmp_path):
    model = make_model()
    before = model.get_weights()
    drive(watched(tmp_path, sample), model)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_norms_are_those_of_float64(make_model, sample):
    """Against norms of numpy, and a directional derivative by finite differences."""
    model = make_model()
    looker = Looker(model, images_at_once=16)
    network = model.layers[-1]
    squares = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "predictions"), 0.0)
    for layer in network.layers:
        for variable in layer.trainable_variables:
            values = keras.ops.convert_to_numpy(variable).astype(np.float64)
            squares[layer.name.split("_")[0]] += (values**2).sum()
    norms = looker.weight_norms()
    assert norms == pytest.approx({s: total**0.5 for s, total in squares.items()})

    # The classifier's gradient in closed form: features, and probabilities less labels.
    inside = looker.inside(sample)
    images, labels = sample.images[:16], sample.labels[:16]
    features = keras.Model(network.input, network.get_layer("avg_pool").output)
    pooled = features(model.layers[1](images)).numpy().astype(np.float64)
    errors = looker.probabilities(sample)[:16].astype(np.float64) - np.eye(3)[labels]
    kernel, bias = pooled.T @ errors / 16, errors.mean(axis=0)
    expected = ((kernel**2).sum() + (bias**2).sum()) ** 0.5
    assert inside.gradient_norms["predictions"] == pytest.approx(expected, rel=1e-4)
    assert set(inside.activations) == set(inside.gradient_norms)
    assert inside.activations["conv2"].min() == 0  # After its ReLU.


def test_first_replica_is_looked_at(make_model, sample):
    alone = Looker(make_model(), images_at_once=16)
    strategy = make_strategy("mirrored", replicas=2)
    with strategy.scope():
        model = make_model()
    mirrored = Looker(model, images_at_once=16)
    assert mirrored.weight_norms() == pytest.approx(alone.weight_norms())
    assert mirrored.inside(sample).gradient_norms == pytest.approx(
        alone.inside(sample).gradient_norms, rel=1e-4
    )
    np.testing.assert_allclose(
        mirrored.probabilities(sample), alone.probabilities(sample), atol=1e-6
    )


def test_looks_into_a_network_without_a_wrapper(make_model, network, sample):
    whole = Looker(make_model(), images_at_once=16).weight_norms()
    assert Looker(network, images_at_once=16).weight_norms() == pytest.approx(whole)


def test_frozen_stages_have_no_norms(make_model, sample):
    model = make_model()
    for layer in model.layers[-1].layers:
        layer.trainable = layer.name.startswith("predictions")
    looker = Looker(model, images_at_once=16)
    assert set(looker.weight_norms()) == {"predictions"}
    assert set(looker.inside(sample).gradient_norms) == {"predictions"}
    assert "conv4" in looker.inside(sample).activations


def test_looks_only_while_that_is_cheap(make_model, sample, tmp_path, monkeypatch):
    """An epoch of 400 images takes 100 seconds, a look 60."""
    clock = Clock()
    clock.time = lambda: 0.0
    monkeypatch.setattr(watching.tensorboard, "time", clock)
    board = watched(tmp_path, sample)[1]

    def look(sample, step):
        clock.now += 60
        looked.append(step // STEPS)

    looked = []
    monkeypatch.setattr(board, "_look", look)

    class Epochs(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            clock.now += 100

    drive([Epochs(), board], make_model(), epochs=40)
    # A look costs about 64 + 70 / 3 training images, 3% of 2,911: of 8 epochs. After
    # it, 60 s are 3% of 2,000 s, 120 s of 4,000 s. The last epoch is looked at anyway.
    assert looked == [8, 20, 39, 40]


def test_sample_is_small_beside_an_epoch():
    images = tf.zeros([300, 4, 4, 3], tf.uint8)
    batches = tf.data.Dataset.from_tensor_slices((images, tf.range(300))).batch(7)
    assert len(EvaluationSample.of(batches, CLASSES, 100).images) == 64
    taken = EvaluationSample.of(batches, CLASSES, 10_000)
    assert taken.labels.tolist() == list(range(200))
    assert len(EvaluationSample.of(batches, CLASSES, 10**6).images) == 300
    assert EvaluationSample.of(batches.take(0), CLASSES, 100) is None


def test_mistakes_and_confusion():
    labels = np.array([0, 0, 1, 2, 2])
    probabilities = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.3, 0.6, 0.1],
            [0.9, 0.05, 0.05],
            [0.2, 0.2, 0.6],
            [0.5, 0.3, 0.2],
        ]
    )
    assert mistakes.hardest(probabilities, labels).tolist() == [2, 4, 1]
    counts = mistakes.confusion(probabilities, labels)
    assert counts.tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 1]]
    images = np.full((5, 8, 8, 3), (200, 30, 60), np.uint8)
    drawn = pictures.draw_mistakes(images, labels, probabilities, CLASSES)
    assert drawn.dtype == np.uint8
    assert (drawn == (200, 30, 60)).all(axis=-1).sum() == 3 * 160 * 160
    right = np.eye(3)[labels]
    assert pictures.draw_mistakes(images, labels, right, CLASSES) is None


def test_confusion_of_many_classes_shows_the_most_confused():
    few, many = np.zeros((20, 20), int), np.zeros((1000, 1000), int)
    few[3, 4] = many[30, 40] = 5
    few[11, 2] = many[500, 7] = 2
    sizes = {
        pictures.draw_confusion(counts, ["x"] * len(counts)).shape
        for counts in (few, many)
    }
    assert len(sizes) == 1


def test_profiles_the_tenth_to_the_twentieth_step(make_model, tmp_path, monkeypatch):
    calls = []

    class Trace:
        def __init__(self, name, step_num, _r):
            self.step = step_num

        def __enter__(self):
            calls.append(self.step)

        def __exit__(self, *error):
            pass

    profiler = types.SimpleNamespace(
        start=lambda directory: calls.append(directory),
        stop=lambda: calls.append("stop"),
        Trace=Trace,
    )
    monkeypatch.setattr(tf.profiler, "experimental", profiler)
    # The steps of this process count: a resumed run compiles again.
    drive([Profile(tmp_path)], make_model(), epochs=1, start=(0, 25))
    assert calls == [str(tmp_path), *range(10, 21), "stop"]
    calls.clear()
    drive([Profile(tmp_path)], make_model(), epochs=1, start=(0, 35))
    assert calls == [str(tmp_path), *range(10, 17), "stop"]


def test_profile_is_written(make_model, tmp_path):
    drive([Profile(tmp_path)], make_model(), epochs=1)
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


# Trackers


class FakeMlflow(types.ModuleType):
    """Keeps runs, with the signatures of MLflow 3."""

    def __init__(self):
        super().__init__("mlflow")
        self.calls, self.runs = [], []

    def set_experiment(self, experiment_name=None, experiment_id=None, *, tags=None):
        self.calls.append(("set_experiment", experiment_name))

    def start_run(
        self,
        run_id=None,
        experiment_id=None,
        run_name=None,
        nested=False,
        parent_run_id=None,
        tags=None,
        description=None,
        log_system_metrics=None,
    ):
        if run_id is None:
            run_id = f"run{len(self.runs)}"
            self.runs.append(run_id)
        assert run_id in self.runs
        self.calls.append(("start_run", run_id))
        info = types.SimpleNamespace(run_id=run_id)
        return types.SimpleNamespace(info=info)

    def log_params(self, params, synchronous=None, run_id=None):
        self.calls.append(("log_params", params))

    def log_metrics(
        self,
        metrics,
        step=None,
        synchronous=None,
        run_id=None,
        timestamp=None,
        model_id=None,
        dataset=None,
    ):
        self.calls.append(("log_metrics", step, metrics["val_top1"]))

    def log_artifact(self, local_path, artifact_path=None, run_id=None):
        self.calls.append(("log_artifact", local_path))

    def end_run(self, status="FINISHED"):
        self.calls.append(("end_run", status))


class FakeWandb(types.ModuleType):
    """Keeps runs, with the signatures of wandb 0.2x."""

    def __init__(self):
        super().__init__("wandb")
        self.calls, self.id = [], None

    def init(
        self,
        entity=None,
        project=None,
        dir=None,
        id=None,
        name=None,
        notes=None,
        tags=None,
        config=None,
        resume=None,
    ):
        assert resume == "allow"
        self.id = id or "abc123"
        self.calls.append(("init", project, id, config))
        return self

    def log(self, data, step=None, commit=None):
        self.calls.append(("log", step, data["val_top1"]))

    def save(self, glob_str, base_path=None, policy="live"):
        self.calls.append(("save", glob_str))

    def finish(self, exit_code=None, quiet=None):
        self.calls.append(("finish", exit_code))


PARAMETERS = {"recipe.epochs": 2, "recipe.momentum": 0.9, "seed": 0}


def tracked(directory, name):
    return watching.make_callbacks(
        directory,
        Console(file=io.StringIO()),
        options=WatchOptions(tensorboard=False, track=name, experiment="shapes"),
        images_at_once=8,
        parameters=PARAMETERS,
    )


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_resumed_run_is_tracked_as_one(name, make_model, tmp_path, monkeypatch):
    """A process fails in the second epoch, and once more after telling of it."""
    library = {"mlflow": FakeMlflow, "wandb": FakeWandb}[name]()
    monkeypatch.setitem(sys.modules, name, library)
    model = make_model()
    for start, stop in (((0, 0), (1, 30)), ((1, 20), (2, 10)), ((1, 40), None)):
        callbacks = tracked(tmp_path, name)
        drive(callbacks, model, epochs=3, start=start, stop=stop)
        watching.close(callbacks)
    watching.close(callbacks)
    callbacks[-1].log_report(tmp_path / "report.html")
    told = {
        "mlflow": [
            ("set_experiment", "shapes"),
            ("start_run", "run0"),
            ("log_params", PARAMETERS),
            ("log_metrics", 1, 0.75),
            ("end_run", "FAILED"),
            ("start_run", "run0"),
            ("log_metrics", 2, 0.75),
            ("end_run", "FAILED"),
            ("start_run", "run0"),
            ("log_metrics", 3, 0.75),
            ("end_run", "FINISHED"),
            ("start_run", "run0"),
            ("log_artifact", str(tmp_path / "report.html")),
            ("end_run", "FINISHED"),
        ],
        "wandb": [
            ("init", "shapes", None, PARAMETERS),
            ("log", 1, 0.75),
            ("finish", 1),
            ("init", "shapes", "abc123", PARAMETERS),
            ("log", 2, 0.75),
            ("finish", 1),
            ("init", "shapes", "abc123", PARAMETERS),
            ("log", 3, 0.75),
            ("finish", 0),
            ("init", "shapes", "abc123", PARAMETERS),
            ("save", str(tmp_path / "report.html")),
            ("finish", 0),
        ],
    }
    assert library.calls == told[name]
    assert json.loads((tmp_path / f"{name}.json").read_text())["epochs"] == 3


class Unreachable(FakeMlflow):
    """A server that does not answer the first calls of some kind."""

    def __init__(self, name, times):
        super().__init__()
        self.answer, self.times = getattr(self, name), times
        setattr(self, name, self.fail)

    def fail(self, *args, **values):
        self.times -= 1
        if self.times >= 0:
            raise ConnectionError("no route to host")
        return self.answer(*args, **values)


@pytest.mark.parametrize("name", ["start_run", "log_metrics", "end_run"])
def test_failing_tracker_loses_nothing(name, make_model, tmp_path, monkeypatch, capsys):
    library = Unreachable(name, times=2)
    monkeypatch.setitem(sys.modules, "mlflow", library)
    callbacks = tracked(tmp_path, "mlflow")
    drive(callbacks, make_model(), epochs=3)
    watching.close(callbacks)
    told = [call for call in library.calls if call[0] == "log_metrics"]
    assert [epoch for _, epoch, _ in told] == [1, 2, 3]
    printed = callbacks[-1].console.file.getvalue()
    assert "--track=mlflow fails (ConnectionError: no route to host)" in printed


def test_missing_tracker_is_told_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    flags = watch_flags.flags.FLAGS
    if not flags.is_parsed():
        flags.mark_as_parsed()
    with (
        flagsaver.flagsaver(track="mlflow"),
        pytest.raises(UserError, match="--track=mlflow needs the package mlflow"),
    ):
        watch_flags.watch_options()
    with (
        flagsaver.flagsaver(track="mlfow"),
        pytest.raises(UserError, match="did you mean 'mlflow'"),
    ):
        watch_flags.watch_options()
    with flagsaver.flagsaver(tensorboard=False, profile=True):
        assert watch_flags.watch_options() == WatchOptions(
            tensorboard=False, profile=True
        )


def test_flags_need_no_tensorflow():
    assert importlib.util.find_spec("pipelines.command.watch_flags")
    names = vars(watch_flags)
    assert "tf" not in names
    assert "keras" not in names


# What hangs


def test_blocked_input_pipeline_is_told(tmp_path):
    """The message names wait, place, open shard and call; then the run goes on."""
    shard = tmp_path / "train-00000-of-00001.tfrecord"
    shard.write_bytes(b"")
    released, told = threading.Event(), threading.Event()

    class Page(io.StringIO):
        def write(self, text):
            if "what to do" in text:
                told.set()
            return super().write(text)

    def numbers():
        yield 1
        with shard.open():
            released.wait(30)
        yield 2

    dataset = tf.data.Dataset.from_generator(
        numbers, output_signature=tf.TensorSpec([], tf.int32)
    )

    def release():
        told.wait(20)
        released.set()

    threading.Thread(target=release, daemon=True).start()
    page = Page()
    console = Console(file=page, width=400)
    batches = iter(dataset)
    next(batches)
    with StallWatch(console, seconds=0.2, examples=tmp_path) as watch:
        watch.beat("step 1 of epoch 3")
        watch.waiting_for = "the input pipeline"
        next(batches)
        watch.beat("step 2 of epoch 3")
    text = page.getvalue()
    assert "waits for the input pipeline; last finished: step 1 of epoch 3" in text
    assert f"open shards: {shard.name}" in text
    assert "in test_blocked_input_pipeline_is_told" in text
    assert "what to do: see whether the disk" in text
    assert "went on after" in text


def test_slow_steps_are_no_stall():
    """Steps of 10 s are told after 200 s, not after 120; repeats double."""
    watch = StallWatch(Console(file=io.StringIO()))
    assert watch._limit() == 120
    watch._intervals.extend([10.0] * 9 + [500.0])
    assert watch._limit() == 200
    watch._told_after = 210.0
    assert watch._limit() == 420


def test_silent_while_all_goes_well():
    page = io.StringIO()
    with StallWatch(Console(file=page), seconds=30) as watch:
        for step in range(100):
            watch.beat(f"step {step}")
    assert page.getvalue() == ""
    assert not watch._thread.is_alive()


def test_open_files_are_those_of_the_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("")
    (tmp_path / "a" / "c").write_text("")
    with (tmp_path / "b").open(), (tmp_path / "a" / "c").open():
        assert open_files(tmp_path / "a") == ["c"]
    assert open_files(tmp_path) == []


# Memory

GPU_MESSAGE = (
    "{{function_node __wrapped__Conv2D_device_/job:localhost/replica:0/task:0/"
    "device:GPU:0}} OOM when allocating tensor with shape[256,64,112,112] and type "
    "float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc "
    "[Op:Conv2D]"
)


def exhausted(message):
    return tf.errors.ResourceExhaustedError(None, None, message)


def advice(*arguments, **options):
    error = memory.advice(*arguments, **options)
    return error and str(error)


def test_out_of_memory_on_a_gpu():
    sentence = advice(exhausted(GPU_MESSAGE), 512, replicas=2)
    assert sentence.startswith("out of memory on GPU:0, where 784.0 MiB more")
    assert "with 256 images at once on each replica" in sentence
    assert "--set=accumulate=2 keeps the batch of 512" in sentence
    assert "in 2 parts of 128" in sentence
    assert "--set=batch_size=256 takes" in sentence


def test_parts_share_the_batch_and_count_on():
    sentence = advice(exhausted(GPU_MESSAGE), 90, accumulate=2)
    # 4 parts do not share 90 images.
    assert "--set=accumulate=5" in sentence
    assert "--set=batch_size=36 " in sentence


def test_estimate_from_what_the_compiler_says():
    message = (
        "XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used "
        "46.2G of 15.48G hbm. Exceeded hbm capacity by 30.7G. Out of memory"
    )
    assert "--set=accumulate=4 " in advice(exhausted(message), 256)


def test_one_image_that_does_not_fit():
    assert "even one image" in advice(exhausted(GPU_MESSAGE), 1)


@pytest.mark.parametrize(
    ("message", "device", "asked"),
    [
        (
            "{{function_node __wrapped__Fill_device_/job:localhost/replica:0/task:0/"
            "device:CPU:0}} OOM when allocating tensor with shape[1000000,10000000] "
            "and type float on /job:localhost/replica:0/task:0/device:CPU:0 by "
            "allocator mklcpu [Op:Fill] name: ",
            " on CPU:0",
            "36.4 TiB",
        ),
        (
            "Out of memory while trying to allocate 36.38TiB. [Op:__inference_step_26]",
            "",
            "36.4 TiB",
        ),
        (
            "2 root error(s) found.\n  (0) Resource exhausted: Out of memory while "
            "trying to allocate 68852648264 bytes.\n\t [[{{node cluster_0/xla_run}}]]",
            "",
            "64.1 GiB",
        ),
        ("failed to allocate memory [Op:AddV2]", "", None),
    ],
    ids=["allocator", "xla", "older xla", "no amount"],
)
def test_messages_of_tensorflow(message, device, asked):
    sentence = advice(exhausted(message), 2**30)
    amount = f", where {asked} more had no room" if asked else ""
    assert sentence.startswith(f"out of memory{device}{amount}, with 1073741824 images")
    assert "--set=accumulate=" in sentence


def test_message_of_numpy():
    with pytest.raises(MemoryError) as error:
        np.ones([10**6, 10**7])
    assert "where 72.8 TiB more" in advice(error.value, 2**30)


@pytest.mark.parametrize(
    "error",
    [
        exhausted("/runs/x.h5; No space left on device"),
        exhausted("Received message larger than max (5000000 vs. 4194304)"),
        ValueError("out of memory"),
        OSError(28, "No space left on device"),
    ],
)
def test_other_errors_get_no_advice(error):
    assert advice(error, 256) is None


def test_python_says_no_amount():
    sentence = advice(MemoryError(), 256)
    assert sentence.startswith("out of memory, with 256 images at once; --set=acc")
