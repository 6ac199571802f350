"""What the tests of the networks share."""

import pytest


@pytest.fixture(scope="session")
def torch_operators():
    """Lets timm and torchvision be imported without their compiled operators.

    Their models need none of them.
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


@pytest.fixture(scope="session")
def timm(torch_operators):
    return pytest.importorskip("timm")


def pytest_configure(config):
    """Knows the mark of the tests of keras.applications, which ours run."""
    config.addinivalue_line(
        "markers", "requires_trainable_backend: taken from Keras; true of ours"
    )
