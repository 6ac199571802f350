"""Packages `keras_resnet` and `pipelines`; tool settings are in pyproject.toml."""

import re
import tomllib
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# Read, not imported: importing the package would need Keras before it is installed.
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "keras_resnet" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)[1]

# The same sources without the pipelines are a distribution of their own: light/.
LIGHT = tomllib.loads((ROOT / "light" / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]

REQUIRES = [
    *LIGHT["dependencies"],
    "absl-py",
    "aiohttp>=3.14",
    "grpcio",
    # TFDS downloads with it and does not declare it.
    "importlib_resources",
    "keras-tuner>=1.4.8",
    "matplotlib",
    "prometheus_client",
    # TensorFlow alone would take protobuf 7, which Apache Beam does not work with.
    "protobuf>=6.31.1,<7",
    "rich",
    # Keras' TensorBoard callback; TensorFlow no longer brings it along.
    "tensorboard>=2.20",
    "tensorflow>=2.21,<2.22",
    "tensorflow-datasets>=4.9.10",
    "tensorflow-metadata>=1.21",
    "tensorflow-serving-api>=2.21,<2.22",
]

EXTRAS = {
    "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
    "beam": ["apache-beam>=2.77"],
    # What KerasTuner's Bayesian search computes with; in the tests also the truth for
    # precision, recall, F1 and the like.
    "bayesian": ["scikit-learn", "scipy"],
    "export": [
        "ai-edge-litert",
        "nncf>=3.4",
        "onnx",
        "onnxruntime",
        "openvino",
        "tf2onnx>=1.17",
    ],
    "parquet": ["pyarrow"],
    **LIGHT["optional-dependencies"],
    # Pillow reads TIFF and AVIF by itself, but not what iPhones take.
    "heic": ["pillow-heif"],
    "fuzz": ["atheris"],
    "notebooks": ["ipykernel", "nbclient", "nbformat"],
    "benchmarks": ["torch", "transformers>=5"],
    "peers": ["keras-hub>=0.32", "timm>=1.0.31", "torchvision", "transformers>=5"],
}

EXTRAS["dev"] = [
    *(
        requirement
        for extra in (
            "beam",
            "bayesian",
            "export",
            "jax",
            "parquet",
            "notebooks",
            "benchmarks",
            "peers",
        )
        for requirement in EXTRAS[extra]
    ),
    "hypothesis",
    "mypy",
    "packaging",
    "pytest",
    "pytest-xdist",
    # Reads what docs/serving has for Docker and Kubernetes.
    "pyyaml",
    "ruff",
    "setuptools>=77",
]

setup(
    name="keras-resnet-he2015",
    version=VERSION,
    description=(
        "The residual networks of He, Zhang, Ren and Sun (2015) in Keras 3, "
        "and the pipelines that train, evaluate and serve them"
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression=LIGHT["license"],
    license_files=["LICENSE"],
    keywords="resnet residual-networks keras tensorflow image-classification",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=LIGHT["requires-python"],
    packages=find_packages(
        include=["keras_resnet", "keras_resnet.*", "pipelines", "pipelines.*"]
    ),
    package_data={
        "keras_resnet": ["py.typed"],
        "pipelines.reports": ["page.html"],
        "pipelines.serving.server": ["page.html"],
    },
    entry_points={"console_scripts": ["keras-resnet = pipelines.__main__:main"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
