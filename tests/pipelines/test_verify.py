"""What is damaged is told, a line for each; what is whole is not."""

import shutil

import pytest

from pipelines import verify
from pipelines.components.evaluator import evaluator
from pipelines.components.example_gen import example_gen
from pipelines.components.exporter import exporter
from pipelines.components.pusher import pusher
from pipelines.errors import UserError
from pipelines.runs.folder import Run


@pytest.fixture(scope="module")
def whole(tiny_model, tmp_path_factory):
    """The folder of a run, as far as checksums are concerned."""
    run = Run(tmp_path_factory.mktemp("verify") / "run")
    examples = example_gen("drawings:90", run.examples_dir, shard_bytes=20_000)
    shutil.copytree(tiny_model.directory, run.model_dir)
    evaluator(examples, tiny_model, run.evaluation_path)
    pusher(tiny_model, run.serving_dir)
    exporter(tiny_model, examples, run.exports_dir, to="litert")
    return run.directory


def problems(directory, capsys):
    """Returns the lines that the command prints where it finds problems."""
    with pytest.raises(SystemExit) as ended:
        verify.main([str(directory)])
    assert ended.value.code == 1
    return capsys.readouterr().out.splitlines()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_folder(whole, capsys):
    verify.main([str(whole)])
    verify.main([str(whole / "examples")])
    assert "is what was written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("examples/train-00001-of-*.tfrecord", ["SHA-256", "records 0 to"]),
        ("examples/train.blocks", ["train.blocks is"]),
        ("model/model.keras", ["SHA-256", "evaluation.json is of another model"]),
        ("evaluation.npz", ["evaluation.npz"]),
        ("serving/*/1/saved_model.pb", ["SHA-256"]),
        ("exports/*/litert-float32/1/model.tflite", ["SHA-256"]),
    ],
)
def test_a_flipped_bit_is_found(whole, tmp_path, capsys, name, found):
    directory = shutil.copytree(whole, tmp_path / "run")
    (path,) = directory.glob(name)
    flip(path)
    lines = problems(directory, capsys)
    assert len(lines) == len(found)
    for line, words in zip(lines, found, strict=True):
        assert words in line


def test_a_missing_shard_is_named(whole, tmp_path, capsys):
    directory = shutil.copytree(whole / "examples", tmp_path / "examples")
    (shard,) = directory.glob("validation-00000-of-*.tfrecord")
    shard.unlink()
    first, second = problems(directory, capsys)
    assert f"{shard} cannot be read (No such file" in first
    assert f"{shard}: records 0 to" in second


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither examples nor a run"):
        verify.main([str(tmp_path)])
    with pytest.raises(UserError, match="no folder given"):
        verify.main([])
