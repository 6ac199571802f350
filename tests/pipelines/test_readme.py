"""README's commands and examples run as they stand there, one after the other."""

import itertools
import os
import re
import subprocess
import sys

import pytest
from test_sources_ilsvrc import publish

from pipelines.data import drawings

# Training is made small, everything else is as pasted.
PYTHON = f"""#!/bin/sh
case "$*" in *pipelines.train_imagenet*)
  case "$*" in
    *--model=resnet50*)
      set -- "$@" --set=batch_size=2 --set=model.filters=8,8,8,8 \\
        --set=model.blocks_per_stage=1,1,1,1 ;;
    *) set -- "$@" --set=batch_size=8 --set=model.blocks_per_stage=1,1,1 ;;
  esac
  set -- "$@" --epochs=1 --set=image_size=16
esac
exec {sys.executable} "$@"
"""

# Random numbers stand in for what the examples download.
DOWNLOADS = """
import keras_resnet.weights.download

def fetch(source, *_):
    name = "resnet50d" if "resnet50d" in source else "resnet18"
    layout = "timm" if name == "resnet50d" else "torchvision"
    path = f"{name}.published.safetensors"
    keras_resnet.export_weights(keras_resnet.create(name), path, layout=layout)
    return path

keras_resnet.weights.download.fetch = fetch
"""


def _photos(folder):
    for index, drawing in enumerate(drawings.draw(60, seed=1)):
        path = folder / "photos" / "abc"[index % 3] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawing.image)


def _photo(folder):
    (drawing,) = drawings.draw(1, seed=2)
    (folder / "photo.jpg").write_bytes(drawing.image)


YOURS = {
    "photos/": _photos,
    "ILSVRC2012/": lambda folder: publish(folder / "ILSVRC2012"),
    "photo.jpg": _photo,
}
"""What README's `# yours: ` lines say that its reader has."""


@pytest.fixture
def clone(tmp_path, pytestconfig):
    """A clone whose virtual environments are made, of the packages of the tests."""
    for path in pytestconfig.rootpath.glob("[!.]*"):
        if path.name not in ("runs", "data"):
            (tmp_path / path.name).symlink_to(path)
    for name in (".venv-run", ".venv-test"):
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
        (tmp_path / name / "installed").touch()
    return tmp_path


@pytest.mark.slow
def test_all_of_it_runs(clone, pytestconfig):
    text = (pytestconfig.rootpath / "README.md").read_text(encoding="utf-8")
    environment = {
        **os.environ,
        "PATH": f"{clone}/.venv-run/bin:{os.environ['PATH']}",
        "ARGS": "--data=drawings:100",
        "TEST_ARGS": "--version",
    }

    def run(*command):
        result = subprocess.run(
            command, cwd=clone, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, "\n".join([*command, result.stderr])

    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for language, group in itertools.groupby(blocks, key=lambda block: block[0]):
        codes = [code for _, code in group]
        if language == "python":
            # Examples in a row are one session.
            run(sys.executable, "-c", "\n".join([DOWNLOADS, *codes]))
            continue
        for code in codes:
            for name in re.findall("^# yours: (.*)", code, re.MULTILINE):
                YOURS[name](clone)
            run("bash", "-euc", code)
    made = re.findall(r"`(runs/demo/[\w./]+)`", text)
    assert made
    for path in made:
        assert (clone / path).exists(), path
