"""Peers that import here."""

import pytest


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def torchvision_models(torchvision):
    return torchvision.models
