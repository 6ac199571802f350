"""What is installed: the library alone, and the command `keras-resnet`."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).resolve().parents[1]

# In which what is installed is all that can be imported.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    "KERAS_BACKEND": "jax",
    # Small programs compile longer than they run.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}

# Where nothing else can be imported, builds, saves, loads and trains for two steps.
LIGHT = """
import dataclasses, importlib.resources, importlib.util, sys
import numpy as np
import keras
before = set(sys.modules)
import keras_resnet
brought = {name.split(".")[0] for name in set(sys.modules) - before}
assert brought <= {"keras_resnet", *sys.stdlib_module_names}, brought
from keras_resnet.arrays import fit_arrays

for name in ("tensorflow", "pipelines", "keras_tuner", "tensorboard", "torch"):
    assert importlib.util.find_spec(name) is None, name
assert keras.backend.backend() == "jax"
assert keras_resnet.__file__.startswith(sys.prefix), keras_resnet.__file__

# Type checkers read the hints of packages that say they have them.
assert importlib.resources.files("keras_resnet").joinpath("py.typed").is_file()

def same(model, other):
    return all(map(np.array_equal, model.get_weights(), other.get_weights()))

small = {"input_shape": (32, 32, 3), "classes": 3, "filters": (8, 8, 16, 16)}
model = keras_resnet.create("resnet18", weights=None, **small)
keras_resnet.export_weights(model, "resnet18.safetensors")
again = keras_resnet.create("resnet18", weights="resnet18.safetensors", **small)
assert same(model, again)

shallow = {"classes": 3, "blocks_per_stage": (1, 1, 1)}
model = keras_resnet.ResNet20(**shallow)
model.save_weights("resnet20.weights.h5")
again = keras_resnet.ResNet20(weights="resnet20.weights.h5", **shallow)
assert same(model, again)
before = model.get_weights()
images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), "uint8")
recipe = dataclasses.replace(
    keras_resnet.training.RECIPES["onecycle_cifar"], batch_size=8, epochs=1
)
fitted = fit_arrays(model, recipe, images, np.arange(16) % 3, verbose=0)
assert np.isfinite(fitted.history.history["loss"]).all()
assert not all(map(np.array_equal, before, model.get_weights()))
model.save("trained.keras")
assert same(model, keras.saving.load_model("trained.keras"))
"""


def _needed(requirement, found):
    """Adds to `found` the distributions here that `requirement` brings along."""
    distribution = importlib.metadata.distribution(requirement.name)
    if distribution.name in found:
        return
    found[distribution.name] = distribution
    for text in distribution.requires or ():
        needed = Requirement(text)
        if not needed.marker or any(
            needed.marker.evaluate({"extra": extra})
            for extra in ("", *requirement.extras)
        ):
            _needed(needed, found)


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The Python of an environment with the light distribution and what it declares.

    Its wheel is installed; the packages are links to those of the tests.
    """
    folder = tmp_path_factory.mktemp("light")
    for name in ("keras_resnet", "light"):
        shutil.copytree(ROOT / name, folder / "sources" / name)
    shutil.copy(ROOT / "LICENSE", folder / "sources")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation"]
        + [f"--wheel-dir={folder}", folder / "sources" / "light"],
        env=ENVIRONMENT,
        check=True,
    )
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, f"--python={python}", "install", "--no-deps", "--no-index", wheel],
        env=ENVIRONMENT,
        check=True,
    )
    (packages,) = folder.glob("venv/lib/*/site-packages")
    (installed,) = importlib.metadata.distributions(
        name="keras-resnet-he2015-light", path=[str(packages)]
    )
    found = {}
    for text in installed.requires:
        needed = Requirement(text)
        if not needed.marker or needed.marker.evaluate({"extra": "jax"}):
            _needed(needed, found)
    for distribution in found.values():
        for name in {file.parts[0] for file in distribution.files} - {
            "..",
            "__pycache__",
        }:
            (packages / name).symlink_to(distribution.locate_file(name))
    return python


@pytest.mark.slow
def test_library_alone_trains_on_jax(light, tmp_path):
    pytest.importorskip("jax")
    result = subprocess.run(
        [light, "-c", LIGHT],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_complete_distribution_has_its_type_hints(distribution):
    assert "py.typed" in distribution["package_data"]["keras_resnet"]


def test_keras_resnet_runs_ours_where_another_pipelines_is(distribution, tmp_path):
    """As the script that pip makes: the folder it is typed in is not searched."""
    (script,) = distribution["entry_points"]["console_scripts"]
    name, _, function = script.partition(" = ")
    module, _, function = function.partition(":")
    launcher = tmp_path / "bin" / name
    launcher.parent.mkdir()
    launcher.write_text(f"from {module} import {function}\n{function}()\n")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise SystemExit('theirs')")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, launcher, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )

    listed = run()
    assert listed.returncode == 0, listed.stderr
    names = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    files = {path.stem for path in (ROOT / "pipelines").glob("*.py")}
    assert set(names) == files - {
        "__init__",
        "__main__",
        "environment",
        "errors",
        "files",
    }

    # Named by its beginning, it answers itself, and before TensorFlow is imported.
    refused = run("pred")
    assert refused.returncode == 2
    assert "no images given" in refused.stderr
    unclear = run("re")
    assert unclear.returncode == 2
    assert "no command is called 're'" in unclear.stderr
