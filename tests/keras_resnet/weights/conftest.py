"""Peers that import here."""

import contextlib

import pytest


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def torchvision_models(torch):
    with _without_fake_operators(torch):
        return pytest.importorskip("torchvision").models


@pytest.fixture(scope="session")
def timm(torch):
    with _without_fake_operators(torch):
        return pytest.importorskip("timm")


@contextlib.contextmanager
def _without_fake_operators(torch):
    """Lets torchvision, without its compiled operators, register nothing about them.

    Its models need none of them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.library, "register_fake", lambda *_, **__: lambda function: function
        )
        yield
