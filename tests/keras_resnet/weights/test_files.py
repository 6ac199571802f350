"""Files of every format, whole and broken."""

import json
import os
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy

import keras_resnet
from keras_resnet.weights import files
from keras_resnet.weights.files import read_tensors

KERNEL = np.arange(108, dtype="float32").reshape(3, 3, 3, 4)


def _same(tensors, expected):
    assert list(tensors) == list(expected)
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, expected[name])


def _safetensors(path):
    safetensors.numpy.save_file({"conv1.weight": KERNEL}, path)


def _torch(path):
    import torch

    torch.save({"conv1.weight": torch.from_numpy(KERNEL)}, path)


def _keras(path):
    image = keras.Input((8, 8, 3))
    layer = keras.layers.Conv2D(4, 3, name="conv1_conv")
    model = keras.Model(image, keras.layers.Dropout(0.5)(layer(image)))
    layer.set_weights([KERNEL, np.ones(4)])
    if path.name.endswith(".weights.h5"):
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        model.save_weights(path)
        with h5py.File(path, "a") as file:
            # As earlier releases of Keras wrote it.
            file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, "uint32")
    else:
        model.save(path)


WRITERS = {
    "file.safetensors": _safetensors,
    "file.pth": _torch,
    "file.pt": _torch,
    "file.weights.h5": _keras,
    "file.keras": _keras,
    "file.h5": _keras,
}


@pytest.mark.parametrize("name", WRITERS)
def test_formats(tmp_path, name):
    WRITERS[name](tmp_path / name)
    expected = {"conv1.weight": KERNEL}
    if WRITERS[name] is _keras:
        # Neither the optimizer's state nor that of the dropout.
        expected = {"conv1_conv/kernel": KERNEL, "conv1_conv/bias": np.ones(4)}
    tensors = read_tensors(tmp_path / name)
    _same({key: tensors[key] for key in sorted(tensors, reverse=True)}, expected)
    assert set(tensors) == set(expected)


def test_keras_layers_without_weights_are_known(tmp_path):
    for name in ("file.weights.h5", "file.h5"):
        _keras(tmp_path / name)
        layers = files.read(tmp_path / name).layers
        assert {"conv1_conv", "dropout"} < {
            layer.rstrip("_0123456789") for layer in layers
        }


def test_wrapped_and_parallel_checkpoints(torch, tmp_path):
    tensors = {"module._orig_mod.conv1.weight": torch.from_numpy(KERNEL)}
    for key in ("state_dict", "model", "net", "model_state_dict"):
        path = tmp_path / f"{key}.ckpt"
        torch.save({"epoch": 3, key: tensors, "optimizer": {}}, path)
        _same(read_tensors(path), {"conv1.weight": KERNEL})


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_bfloat16_is_widened(torch, tmp_path, suffix):
    from safetensors.torch import save_file

    path = tmp_path / f"half.{suffix}"
    tensors = {"conv1.weight": torch.from_numpy(KERNEL).bfloat16()}
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    # These whole numbers below 256 have eight digits.
    np.testing.assert_array_equal(
        read_tensors(path)["conv1.weight"].astype("float32"), KERNEL
    )


@pytest.mark.parametrize(
    "names",
    [
        ["model.safetensors"],
        ["pytorch_model.bin"],
        ["model.weights.h5"],
        ["model.weights.h5", "task.weights.h5"],
    ],
)
def test_folders(tmp_path, names):
    (tmp_path / "config.json").write_text("{}")
    writer = {".safetensors": _safetensors, ".bin": _torch, ".h5": _keras}
    writer = writer[os.path.splitext(names[0])[1]]
    writer(tmp_path / names[0])
    expected = set(read_tensors(tmp_path / names[0]))
    if len(names) > 1:
        head = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
        head.save_weights(tmp_path / names[1])
        expected |= {"head/kernel", "head/bias"}
    assert set(read_tensors(tmp_path)) == expected


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("damage", ["empty", "truncated", "cut short", "other"])
def test_broken_files(tmp_path, name, damage):
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "truncated": content[: len(content) // 2],
            "cut short": content[:-200],
            "other": b"<html>Not found</html>" * 50,
        }[damage]
    )
    with pytest.raises(
        ValueError, match=rf"The file '.*{name}' (is empty|cannot be read)"
    ):
        read_tensors(path)


class _Code:
    def __reduce__(self):
        return os.mkdir, (os.environ["MADE_BY_PICKLE"],)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_in_pickles_never_runs(torch, tmp_path, monkeypatch, kind):
    made = tmp_path / "made"
    monkeypatch.setenv("MADE_BY_PICKLE", str(made))
    path = tmp_path / "evil.pth"
    if kind == "torch":
        torch.save({"conv1.weight": _Code()}, path)
    else:
        path.write_bytes(pickle.dumps({"conv1.weight": _Code()}))
    with pytest.raises(ValueError, match="objects other than tensors"):
        read_tensors(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [([1, 2], "holds a list instead of named tensors"), ({"a": 1}, "holds no weights")],
)
def test_pickles_without_tensors(torch, tmp_path, content, sentence):
    path = tmp_path / "file.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=sentence):
        read_tensors(path)


def test_absurdly_large_files(tmp_path):
    path = tmp_path / "huge.safetensors"
    with open(path, "wb") as file:
        file.truncate(files.MAX_BYTES + 1)
    with pytest.raises(ValueError, match="bytes are more than"):
        read_tensors(path)


def test_small_files_that_unpack_to_absurdly_large_ones(tmp_path, monkeypatch):
    declared = tmp_path / "declared.weights.h5"
    with h5py.File(declared, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.create_dataset("0", (files.MAX_BYTES,), "uint8", chunks=(2**20,))
        group.create_dataset("1", (1,), "uint8")
    packed = tmp_path / "packed.keras"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**6))
    with pytest.raises(ValueError, match="bytes are more than"):
        read_tensors(declared)
    monkeypatch.setattr(files, "MAX_BYTES", 10**5)
    assert packed.stat().st_size < 10**5
    with pytest.raises(ValueError, match="bytes are more than"):
        read_tensors(packed)


@pytest.mark.parametrize("kind", ["external", "link"])
def test_hdf5_does_not_lead_to_other_files(tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(16)))
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["0"] = np.arange(4.0)
    path = tmp_path / "file.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        if kind == "external":
            group.create_dataset(
                "0", (16,), "uint8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
            )
        else:
            group["0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "0")
    with pytest.raises(ValueError, match="lies in another file|holds no weights"):
        read_tensors(path)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="There is no file .*none.pth"):
        read_tensors(tmp_path / "none.pth")
    (tmp_path / "weights.onnx").write_bytes(b"1")
    with pytest.raises(ValueError, match="must end in one of .safetensors, .pth"):
        read_tensors(tmp_path / "weights.onnx")
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="holds none of 'model.safetensors'"):
        read_tensors(tmp_path)


def test_names_are_those_of_the_models_variables(tmp_path):
    model = keras_resnet.create("resnet20")
    for name in ("own.weights.h5", "own.keras", "own.h5"):
        path = tmp_path / name
        model.save_weights(path) if name == "own.weights.h5" else model.save(path)
        tensors = read_tensors(path)
        assert set(tensors) == {variable.path for variable in model.weights}
        for variable in model.weights:
            np.testing.assert_array_equal(tensors[variable.path], variable)
