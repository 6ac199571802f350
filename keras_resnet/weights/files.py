"""From a file of weights to arrays by name, for every format that peers write.

Nothing in a file is ever executed: pickles are read as tensors alone, and HDF5 links
that lead out of the file are not followed.
"""

import dataclasses
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np

from keras_resnet.weights.traits import Facts

MAX_BYTES = 8 * 2**30
"""Size above which a file is refused, also unpacked: 8 GiB.

The largest network of the table has 0.4 GB of weights. Training keeps four copies of
them, so that anything larger is some other file, and would only exhaust the memory.
"""

_KERAS_VARIABLES = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "conv1d": ("kernel", "bias"),
    "conv2d": ("kernel", "bias"),
    "conv3d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
}
"""What the variables of a layer are called that a Keras 3 file has only numbers for."""

_FOLDER_FILES = (
    ("model.safetensors",),
    ("pytorch_model.bin",),
    ("model.weights.h5", "task.weights.h5"),
)
"""Files of weights in a published folder; KerasHub keeps the head in one of its own."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Args:
        tensors: The arrays by their names in the file. Those of Keras files are called
            `layer/variable`, for example `conv1_bn/gamma`.
        layers: What is known of all layers, also of those without weights, by name, in
            Keras files.
    """

    tensors: dict[str, np.ndarray]
    layers: dict[str, Facts] = dataclasses.field(default_factory=dict)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of a file, or of a folder that holds such a file.

    Args:
        path: A `.safetensors` file; a PyTorch file (`.pth`, `.pt`, `.th`, `.bin`,
            Lightning's `.ckpt`), of which `state_dict`, `model_state_dict`, `model` or
            `net` is taken where it has one; a Keras file (`.weights.h5`, `.keras`,
            `.h5`, `.hdf5`); or a folder as KerasHub, transformers and timm publish it.
            `module.` and `_orig_mod.`, which PyTorch puts into names, are left away.

    Returns:
        The arrays by their names in the file. Those of Keras files are called
        `layer/variable`, for example `conv1_bn/gamma`.

    Raises:
        ValueError: If there is no such file, its format is another, or it is empty,
            damaged, larger than `MAX_BYTES` or holds anything but tensors.

    Example:

    >>> read_tensors("resnet18-f37072fd.pth")["conv1.weight"].shape
    (64, 3, 7, 7)
    """
    return read(path).tensors


def read(path: str | os.PathLike[str]) -> Weights:
    """Reads what `read_tensors` reads, and what is known of the layers."""
    path = pathlib.Path(path)
    if path.is_dir():
        parts = [_read_file(part) for part in _files_in(path)]
    else:
        parts = [_read_file(path)]
    tensors = {name: array for part in parts for name, array in part.tensors.items()}
    if not tensors:
        raise ValueError(f"The file {str(path)!r} holds no weights.")
    return Weights(tensors, {k: v for part in parts for k, v in part.layers.items()})


def is_keras_file(path: str | os.PathLike[str]) -> bool:
    """Returns whether `keras.Model.load_weights` knows the format of the file."""
    return os.fspath(path).endswith((".keras", ".h5", ".hdf5"))


def _files_in(folder: pathlib.Path) -> list[pathlib.Path]:
    for names in _FOLDER_FILES:
        if (folder / names[0]).is_file():
            return [folder / name for name in names if (folder / name).is_file()]
    raise ValueError(
        f"The folder {str(folder)!r} holds none of "
        f"{', '.join(repr(names[0]) for names in _FOLDER_FILES)}."
    )


def _read_file(path: pathlib.Path) -> Weights:
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r}.")
    suffix = next((s for s in _READERS if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise ValueError(
            f"The file {str(path)!r} must end in one of {', '.join(_READERS)}."
        )
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"The file {str(path)!r} is empty.")
    try:
        _check_size(size)
        return _READERS[suffix](path)
    except Exception as error:
        # h5py, zipfile, torch and safetensors each raise their own, and many of them.
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"The file {str(path)!r} cannot be read as {suffix}: {reason}."
        ) from error


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(
            f"its {size:,} bytes are more than the {MAX_BYTES:,} that weights may have"
        )


def _read_safetensors(path: pathlib.Path) -> Weights:
    # Makes bfloat16 a type that NumPy knows.
    import ml_dtypes  # noqa: F401
    import safetensors.numpy

    return Weights(_unwrapped(safetensors.numpy.load_file(path).items()))


def _read_torch(path: pathlib.Path) -> Weights:
    import pickle

    try:
        import torch
    except ImportError as error:
        raise ValueError(
            "that takes PyTorch: install it, or take the weights as .safetensors"
        ) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _check_size(sum(entry.file_size for entry in archive.infolist()))
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it is damaged, or holds objects other than tensors, which are never loaded"
        ) from error
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(
            f"it holds a {type(content).__name__} instead of named tensors"
        )
    return Weights(
        _unwrapped(
            (name, _to_numpy(tensor))
            for name, tensor in content.items()
            if isinstance(tensor, torch.Tensor)
        )
    )


def _to_numpy(tensor: Any) -> np.ndarray:
    # NumPy has no bfloat16, and halves are widened without loss.
    tensor = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
    return tensor.numpy()


def _unwrapped(tensors: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Removes what `torch.nn.DataParallel` and `torch.compile` put into each name."""
    inserted = re.compile(r"(?<![^.])(module|_orig_mod)\.")
    return {inserted.sub("", str(name)): array for name, array in tensors}


def _read_keras_archive(path: pathlib.Path) -> Weights:
    with zipfile.ZipFile(path) as archive:
        _check_size(sum(entry.file_size for entry in archive.infolist()))
        config = json.loads(archive.read("config.json"))
        with archive.open("model.weights.h5") as file:
            weights = _read_keras_3(file)
    return dataclasses.replace(weights, layers=weights.layers | dict(_facts(config)))


def _facts(config: dict[str, Any]) -> Iterator[tuple[str, Facts]]:
    """Yields what a model's configuration tells of its layers, also of those nested."""
    for layer in config["config"].get("layers", []):
        yield layer["config"]["name"], Facts(layer["class_name"], layer["config"])
        yield from _facts(layer)


def _read_keras_3(path: pathlib.Path | IO[bytes]) -> Weights:
    """Reads `layers/conv2d_7/vars/0`; an attribute of `vars` has the layer's name."""
    import h5py

    with h5py.File(path, "r") as file:
        tensors = {}
        for dataset in _datasets(file, without="optimizer"):
            *_, kind, variables, index = f"//{dataset.name}".split("/")
            # The state of a dropout layer's random numbers is no weight.
            if variables != "vars" or kind == "seed_generator":
                continue
            known = _KERAS_VARIABLES.get(re.sub(r"_\d+$", "", kind), ())
            variable = dict(zip("0123", known, strict=False)).get(index, index)
            layer = dataset.parent.attrs.get("name", kind)
            tensors[f"{layer}/{variable}"] = dataset[()]
        layers: dict[str, Facts] = {}

        def note(path: str, item: Any) -> None:
            if name := item.attrs.get("name"):
                *_, kind, _ = f"/{path}".split("/")
                layers[name] = Facts(re.sub(r"_\d+$", "", kind), {})

        file.visititems(note)
        return Weights(tensors, layers)


def _read_keras_2(path: pathlib.Path) -> Weights:
    """Reads `conv1_bn/conv1_bn/gamma:0`, the latter two being the variable's name."""
    import h5py

    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        tensors = {}
        for dataset in _datasets(root, without="optimizer_weights"):
            *_, layer, variable = f"/{dataset.name}".split("/")
            tensors[f"{layer}/{variable.partition(':')[0]}"] = dataset[()]
        layers = {name: Facts("", {}) for name in root}
        config = json.loads(file.attrs.get("model_config", '{"config": {}}'))
        return Weights(tensors, layers | dict(_facts(config)))


def _datasets(group: Any, without: str) -> Iterator[Any]:
    """Yields the HDF5 data sets of `group`, except those of its subgroup `without`."""
    import h5py

    found: list[Any] = []
    # Visits what is in the file itself: no soft or external links.
    group.visititems(
        lambda name, item: (
            found.append(item)
            if isinstance(item, h5py.Dataset) and not name.startswith(f"{without}/")
            else None
        )
    )
    _check_size(sum(dataset.nbytes for dataset in found))
    for dataset in found:
        if dataset.external or dataset.is_virtual:
            raise ValueError(f"{dataset.name!r} lies in another file")
        yield dataset


_READERS: dict[str, Callable[[pathlib.Path], Weights]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".th": _read_torch,
    ".bin": _read_torch,
    ".ckpt": _read_torch,
    ".keras": _read_keras_archive,
    ".weights.h5": _read_keras_3,
    ".h5": _read_keras_2,
    ".hdf5": _read_keras_2,
}
