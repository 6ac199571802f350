"""The commands as a user runs them, on a folder of real JPEG files."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from pipelines.data import drawings, folders

CLASSES = ("circle", "it's a star", "crème brûlée")
TRAIN = (
    "pipelines.train_imagenet",
    "--set=image_size=16",
    "--set=batch_size=16",
    "--set=model.blocks_per_stage=1,1,1",
    "--set=learning_rate=0.02",
    "--max_bad_share=0.05",
)


def _run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        **options,
    )


def _errors(result):
    """Standard error without the lines that TensorFlow's C++ writes when it starts."""
    return [
        line
        for line in result.stderr.splitlines()
        if "0000 00:00" not in line and "InitializeLog" not in line
    ]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Sixty drawings in three folders with awkward names, and a truncated one."""
    root = tmp_path_factory.mktemp("photos here")
    for index, drawing in enumerate(drawings.draw(60, seed=1)):
        folder = root / CLASSES[index % 3]
        folder.mkdir(exist_ok=True)
        (folder / f'no. {index} "é".jpg').write_bytes(drawing.image)
    (root / CLASSES[0] / "half.jpg").write_bytes(drawing.image[:400])
    return root


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A finished run of two epochs, and what the command printed."""
    run = tmp_path_factory.mktemp("runs") / "photos"
    result = _run(*TRAIN, f"--data={photos}", "--epochs=2", f"--output_dir={run}")
    assert result.returncode == 0, result.stderr
    return run, result


def test_whole_way(finished):
    run, result = finished
    assert "skipped 1 of 61 images" in result.stdout
    assert "half.jpg" in result.stdout
    assert "resnet20 by onecycle with epochs=2 batch_size=16" in result.stdout
    assert "Passes over" not in result.stdout, "that takes --verbose"
    assert result.stdout.count("epoch") >= 2
    for label in ("top-1 error", "images/s", "SavedModel"):
        assert label in result.stdout
    history = (run / "model" / "history.csv").read_text()
    assert "top-5" not in result.stdout and "top5" not in history, "of two classes"
    for name in (
        "run.json",
        "examples/examples.json",
        "model/model.keras",
        "model/history.csv",
        "model/curves.png",
        "evaluation.json",
        "evaluation.npz",
        "environment.json",
        "report.html",
        "serving/resnet20/1/saved_model.pb",
    ):
        assert (run / name).is_file()
    made_from = run / "serving/resnet20/1/assets.extra/made_from.json"
    about = json.loads(made_from.read_text())["about"]
    assert about["run"]["recipe"]["epochs"] == 2
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert about["top1_error"] == evaluation["top1_error"]
    assert list((run / "model" / "tensorboard").rglob("events.out.tfevents*"))
    assert not list(run.rglob("*partial*"))
    with (run / "model" / "history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]


def test_again_changes_nothing(finished, photos):
    run, first = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    again = _run(*TRAIN, f"--data={photos}", "--epochs=2", f"--output_dir={run}")
    assert again.returncode == 0, again.stderr
    assert "is finished: nothing is trained again" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert first.stdout.splitlines()[-3:] == again.stdout.splitlines()[-3:]


def test_another_run_in_the_same_folder(finished, photos):
    run, _ = finished
    result = _run(*TRAIN, f"--data={photos}", "--epochs=3", f"--output_dir={run}")
    assert result.returncode == 2
    (line,) = _errors(result)
    assert "recipe.epochs is 2 there, 3 now" in line
    assert "--resume" in line and "--overwrite" in line
    resumed = _run("pipelines.train_imagenet", "--resume", f"--output_dir={run}")
    assert resumed.returncode == 0, resumed.stderr


def test_predict(finished, photos, tmp_path):
    run, _ = finished
    images = sorted((photos / CLASSES[2]).iterdir())[:2]
    note = tmp_path / "note.jpg"
    note.write_text("no image")
    result = _run("pipelines.predict", f"--model={run}", *images, note)
    assert result.returncode == 1
    (line,) = _errors(result)
    assert line == f"{note}: cannot be used (not a JPEG, PNG, GIF, BMP or WebP image)"
    lines = result.stdout.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == list(
        map(str, images)
    )
    named = {line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")}
    assert named == set(CLASSES)


def test_predict_a_folder(finished, photos, tmp_path):
    run, _ = finished
    table = tmp_path / "photos.csv"
    result = _run("pipelines.predict", f"--model={run}", f"--output={table}", photos)
    assert result.returncode == 1, "one of the photos is damaged"
    assert result.stdout == f"61 rows in {table}\n"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 61
    (damaged,) = (row for row in rows if row["problem"])
    assert damaged["path"].endswith("half.jpg")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--data=no/such/folder",), "no/such/folder"),
        (("--model=resnet-50",), "did you mean 'resnet50'"),
        (("--weights=no/such.keras",), "There is no file, folder or preset"),
        (("--recipe=finetune",), "without weights they are random"),
    ],
)
def test_bad_flags_leave_nothing(arguments, sentence, tmp_path):
    run = tmp_path / "run"
    result = _run("pipelines.train_imagenet", f"--output_dir={run}", *arguments)
    assert result.returncode == 2
    (line,) = _errors(result)
    assert line.startswith("error: ") and sentence in line
    assert not run.exists() or not list(run.iterdir())


def test_a_run_that_another_process_trains_is_refused(photos, tmp_path):
    run = tmp_path / "run"
    with folders.held(run):
        result = _run(*TRAIN, f"--data={photos}", f"--output_dir={run}")
    assert result.returncode == 2
    (line,) = _errors(result)
    assert f"another process ({os.getpid()} on " in line and f"writing {run};" in line
    assert not run.exists()


@pytest.mark.slow
def test_interrupted_run_goes_on(photos, tmp_path):
    """Ctrl-C ends cleanly after a step; the same command finishes the run."""
    run = tmp_path / "run"
    command = [*TRAIN, f"--data={photos}", "--epochs=12", f"--output_dir={run}"]
    command += ["--tensorboard=false"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoints = run / "model" / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(checkpoints.glob("checkpoint-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert re.fullmatch(
        r"stopped: in .*epoch \d+.*; the same command, without --overwrite, goes on "
        "from the last checkpoint",
        errors.splitlines()[-1],
    )
    assert not (run / "model" / "model.keras").exists()
    again = _run(*command)
    assert again.returncode == 0, again.stderr
    assert "going on " in again.stdout
    with (run / "model" / "history.csv").open(newline="") as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
    assert epochs == list(range(12))


def test_prepared_data_is_trained_on_where_it_lies(photos, tmp_path):
    prepared = tmp_path / "prepared"
    arguments = (
        "pipelines.prepare_data",
        f"--data={photos}",
        "--pack=short_side:32",
        "--max_bad_share=0.05",
        f"--output_dir={prepared}",
    )
    result = _run(*arguments)
    assert result.returncode == 0, result.stderr
    assert "skipped 1 of 61 images" in result.stdout
    for name in (
        "examples/examples.json",
        "statistics/statistics.pb",
        "schema.pbtxt",
        "anomalies.pbtxt",
        "data.html",
    ):
        assert (prepared / name).is_file(), name
    run = tmp_path / "run"
    result = _run(*TRAIN, f"--data={prepared}", "--epochs=1", f"--output_dir={run}")
    assert result.returncode == 0, result.stderr
    assert (run / "evaluation.json").is_file()
    assert not (run / "examples").exists()


def test_validation_images_that_were_trained_on_stop_the_run(photos, tmp_path):
    for split in ("train", "val"):
        for folder in photos.iterdir():
            copy = tmp_path / "data" / split / folder.name
            copy.mkdir(parents=True)
            for image in list(folder.glob("no*.jpg"))[:5]:
                (copy / image.name).write_bytes(image.read_bytes())
    result = _run(
        *TRAIN, f"--data={tmp_path / 'data'}", f"--output_dir={tmp_path / 'run'}"
    )
    assert result.returncode == 2
    assert "are training images, too" in "".join(_errors(result))
    assert not (tmp_path / "run" / "model").exists()
    assert (tmp_path / "run" / "data.html").is_file()


def test_a_comparison_with_nothing_is_refused_before_any_work(tmp_path):
    result = _run(
        "pipelines.prepare_data",
        f"--previous={tmp_path / 'nowhere'}",
        f"--output_dir={tmp_path / 'data'}",
    )
    assert result.returncode == 2
    assert "nowhere holds no statistics" in result.stderr
    assert not (tmp_path / "data").exists()
