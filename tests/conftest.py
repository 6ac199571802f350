"""What all tests share."""

import os
import pathlib
import runpy
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Splits the CPU in two devices, for the tests of several replicas.

    TensorFlow allows it only before anything runs.
    """
    is_controller = config.getoption("numprocesses") and not hasattr(
        config, "workerinput"
    )
    if is_controller:
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with slow tests first, lest one process ends long after the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of real images beside the checkout."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"real images are not on this machine (no folder {path})")
    return path


@pytest.fixture(scope="session")
def distribution() -> dict[str, Any]:
    """What setup.py says of the distribution."""
    said: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("setuptools.setup", said.update)
        runpy.run_path(str(ROOT / "setup.py"))
    return said


@pytest.fixture(scope="session")
def torch_operators():
    """Lets timm and torchvision be imported without their compiled operators.

    Their models and transforms need none of them.
    """
    torch = pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.library,
            "register_fake",
            lambda *args, **kwargs: lambda function: function,
        )
        yield


@pytest.fixture(scope="session")
def torchvision(torch_operators):
    return pytest.importorskip("torchvision")
