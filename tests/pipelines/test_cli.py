"""What every command says to wrong flags, and of itself."""

import errno
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from pipelines import train_imagenet  # noqa: F401, defines flags
from pipelines.command import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command that does nothing, with flags; returns status, output, errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["command", *words])
        monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
        status = 0
        with flagsaver.flagsaver():
            try:
                cli.run(cli.refuse)
            except SystemExit as end:
                status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs=abc"], "--epochs=abc is not a positive integer"),
        (["--epochs=0"], "--epochs=0 is not a positive integer"),
        (["--overwrite=maybe"], "--overwrite=maybe is not true or false"),
        (["--strategy=two"], "--strategy=two: value should be one of <auto|one|"),
        (["--epoch=3"], "no flag is called --epoch; did you mean --epochs?"),
        (["--velocity=3"], "no flag is called --velocity; --help lists them"),
        (["--batch_size=32"], "--batch_size; write --set=batch_size=32"),
        (["--shortcut", "C"], "--shortcut; write --set=model.shortcut=VALUE"),
        (["--model.shortcut=C"], "write --set=model.shortcut=C"),
        (["--data="], "--data=: it is empty; give a path, or leave the flag out"),
        (["--output_dir="], "--output_dir=: it is empty"),
        (["--output_dir=gs://bucket/x"], "gs:// is not supported; give a path on this"),
        (["--examples_dir=s3://bucket/x"], "s3:// is not supported"),
        (["--data=https://host/x.tar"], "https:// is not supported"),
        (
            ["--data=~nobody-here/x"],
            "there is no user nobody-here; write ./~nobody-here",
        ),
        (["--epochs"], "Missing value for flag --epochs"),
        (["photos/"], "'photos/' is not a flag; write --data=photos/"),
    ],
)
def test_a_wrong_flag_is_one_sentence(words, sentence, run):
    status, output, errors = run(*words)
    assert status == 2 and not output
    (line,) = errors.splitlines()
    assert line.startswith("error: ") and sentence in line


def test_what_is_no_path_may_be_a_url(run):
    urls = ["--weights=hf://timm/resnet18.a1_in1k", "--data_service=grpc://host:5000"]
    assert run(*urls, "--examples_dir=") == (0, "", "")


@pytest.mark.parametrize(
    "flag", ["data", "output_dir", "weights", "examples_dir", "hyperparameters"]
)
def test_a_path_may_begin_with_the_home(flag, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    with flagsaver.flagsaver():
        flags.FLAGS(["command", f"--{flag}=~/photos"])
        assert flags.FLAGS[flag].value == "/home/someone/photos"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "/root/x"),
        (OSError(errno.EROFS, "Read-only file system", "/cdrom/x"), "/cdrom/x"),
        (RuntimeError("/root/y; Permission denied"), "/root/y; Permission denied"),
    ],
)
def test_a_missing_permission_is_one_sentence(error, told, monkeypatch, capsys):
    """As the system, HDF5 and TensorFlow raise it; tests may run as a user who may."""
    monkeypatch.setattr(sys, "argv", ["command"])

    def main(arguments):
        raise error

    with flagsaver.flagsaver(), pytest.raises(SystemExit, match="2"):
        cli.run(main)
    expected = f"error: this user may not read or write {told}; change its permissions"
    assert capsys.readouterr().err.startswith(expected)


def test_help_tells_what_matters_first(run):
    status, output, errors = run("--help")
    assert status == 0 and not errors
    names = ["data", "model", "recipe", "output_dir", "resume", "cpu_settings"]
    places = [output.index(f"\n  --{name}") for name in names]
    assert places == sorted(places)
    assert "for example he2015" in output and max(map(len, output.splitlines())) <= 88
