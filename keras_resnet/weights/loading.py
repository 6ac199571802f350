"""From whatever names weights to a model that has them."""

import dataclasses
import difflib
import importlib.util
import json
import math
import os
import pathlib
import re
from typing import Any

import keras

from keras_resnet.networks import NETWORKS
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.weights import download, importing
from keras_resnet.weights.presets import (
    DEFAULTS,
    PRESETS,
    V1_5,
    Preset,
    default_preset,
)
from keras_resnet.weights.traits import Traits, of_spec


@dataclasses.dataclass(frozen=True)
class LocatedWeights:
    """Weights that are on this machine, and what is known of them.

    The attribute `preset` of a model tells with it what was loaded, and from where.

    Args:
        source: A path, `hf://...` or URL.
        path: The file or folder on this machine.
        network: The network that the weights are published for, in the publisher's
            words if they are no preset's; None where they do not tell.
        layout: How the file names its tensors, None if that was left to the importer.
        checksum: The checksum that the file was found to have, None for none.
        preprocessing: How images are prepared for these weights, None where unknown.
        preset: The entry of `PRESETS`, None for any other weights.
        traits: What their publisher tells of the network that no weight shows, such as
            `{"antialias": "blur"}`, by the names that `ResNetSpec` has for it.

    Example:

    >>> keras_resnet.load_weights(model, "torchvision/resnet18.imagenet1k_v1")
    >>> model.preset.preprocessing.resize
    256
    """

    source: str
    path: str
    network: str | None = None
    layout: str | None = None
    checksum: str | None = None
    preprocessing: Preprocessing | None = None
    preset: Preset | None = None
    traits: Traits = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LoadedWeights:
    """What loading weights came to.

    Args:
        new_classifier: Whether the model's classifier was left as it was, because the
            weights have none for its number of classes.
        preprocessing: How images are prepared for the weights, None where unknown.
    """

    new_classifier: bool = False
    preprocessing: Preprocessing | None = None


def load_weights(
    model: keras.Model,
    source: "str | os.PathLike[str] | LocatedWeights | None",
    *,
    network: str | None = None,
    layout: str | None = None,
    checksum: str | None = None,
    new_head: bool = False,
) -> LoadedWeights:
    """Fills a model with weights from wherever they are.

    Sets `model.preset` to the `LocatedWeights`, or to None without any.

    Args:
        model: The model to fill; unchanged if anything is wrong.
        source: None to leave the model as it is; `"imagenet"` for the default of the
            network; the name of a preset (see `list_presets`), which goes before a path
            of that name; the path of a file, or of a folder as timm, transformers and
            KerasHub publish it; `"PRESET=path"` for such a file or folder with weights
            that are named and want images as the preset's do; what
            `keras_resnet.weights.download.fetch` takes: `hf://owner/repository` or a
            URL with a checksum; or what `locate` returned.
        network: The name of the network, for `"imagenet"`. Defaults to the model's.
        layout: How the file names its tensors, a key of
            `keras_resnet.weights.layouts.LAYOUTS`. Defaults to what the preset, the
            folder's `config.json` or the file itself tells.
        checksum: `"sha256:..."` or `"md5:..."` that the file must have.
        new_head: Whether to leave the classifier's random weights where the file has
            another number of classes.

    Returns:
        Whether the classifier is new, and how the weights want images; with None
        neither.

    Raises:
        ValueError: If there is no such source, it cannot be fetched whole and right, or
            it does not fit the model.

    Example:

    >>> load_weights(model, "timm/resnet50d.ra2_in1k").new_classifier
    False
    """
    if source is None:
        model.preset = None
        return LoadedWeights()
    if not isinstance(source, LocatedWeights):
        source = locate(
            source,
            network or model.name,
            include_top=any(layer.name == "predictions" for layer in model.layers),
            layout=layout,
            checksum=checksum,
        )
    new_classifier = importing.load_file(
        model,
        source.path,
        layout=source.layout,
        traits=source.traits,
        new_head=new_head,
    )
    model.preset = source
    return LoadedWeights(new_classifier, source.preprocessing)


def locate(
    source: str | os.PathLike[str],
    network: str,
    *,
    include_top: bool = True,
    layout: str | None = None,
    checksum: str | None = None,
) -> LocatedWeights:
    """Brings weights to this machine, without a model to load them into.

    Args:
        source: See `load_weights`.
        network: The name of the network, for `"imagenet"`.
        include_top: Whether the classifier is wanted too.
        layout: See `load_weights`.
        checksum: See `load_weights`.

    Returns:
        Where they are and what is known of them.

    Raises:
        ValueError: If there is no such source, or it cannot be fetched whole and right.

    Example:

    >>> locate("imagenet", "resnet50").preprocessing == MODES["caffe"]
    True
    """
    preset, source = _split(os.fspath(source), network)
    if preset is not None and not source:
        if preset.mirror is not None and importlib.util.find_spec("torch") is None:
            source, known = preset.mirror, None
        elif include_top or preset.notop_source is None:
            source, known = preset.source, preset.checksum
        else:
            source, known = preset.notop_source, preset.notop_checksum
        checksum = checksum or known
        path = download.fetch(source, checksum)
    elif os.path.exists(source):
        path = source
        if checksum is not None:
            download.check(path, checksum)
    elif "://" in source:
        path = download.fetch(source, checksum)
    else:
        near = difflib.get_close_matches(source, [*PRESETS, *DEFAULTS], cutoff=0.5)
        raise ValueError(
            f"There is no file, folder or preset {source!r}: weights are None, "
            "'imagenet', a path, PRESET=path, hf://owner/repository, a URL with a "
            "checksum, or a preset of `keras_resnet.weights.list_presets()`"
            + (f", of which the nearest are {', '.join(near)}." if near else ".")
        )
    if preset is not None and preset.preprocessing is not None:
        said = _Said(preprocessing=preset.preprocessing)
    else:
        said = _read_configs(source, path)
    named = preset.network if preset else V1_5.get(said.network, said.network)
    traits = of_spec(NETWORKS[named]) if named in NETWORKS else {}
    return LocatedWeights(
        source=source,
        path=path,
        network=preset.network if preset else said.network or None,
        layout=layout or (preset.layout if preset else said.layout),
        checksum=checksum,
        preprocessing=said.preprocessing,
        preset=preset,
        traits={**traits, **said.traits},
    )


def _split(source: str, network: str) -> tuple[Preset | None, str]:
    """Returns which preset `PRESET`, `PRESET=path` or `path` names, and the path."""
    name, _, path = source.partition("=")
    by_source = (one for one in PRESETS.values() if one.source == name)
    preset = PRESETS.get(name) or next(by_source, None)
    if name == "imagenet":
        preset = default_preset(network)
    return preset, os.path.expanduser(path if preset else source)


@dataclasses.dataclass(frozen=True)
class _Said:
    """What the files around the weights say about them."""

    network: str = ""
    layout: str | None = None
    preprocessing: Preprocessing | None = None
    traits: Traits = dataclasses.field(default_factory=dict)


def _read_configs(source: str, path: str) -> _Said:
    """Reads what timm, transformers and KerasHub publish beside their weights."""
    config = _read_json(source, path, "config.json")
    if "pretrained_cfg" in config:
        return _Said(
            network=config.get("architecture", ""),
            layout="timm",
            preprocessing=_timm_preprocessing(config["pretrained_cfg"]),
        )
    if config.get("model_type") == "resnet":
        is_v1 = config.get("downsample_in_bottleneck", False)
        traits = {"stride_on": "1x1" if is_v1 else "3x3"}
        processor = _read_json(source, path, "preprocessor_config.json")
        return _Said(
            layout="transformers",
            preprocessing=_transformers_preprocessing(processor),
            traits={**traits, "activation": config.get("hidden_act", "relu")},
        )
    if "registered_name" in config:
        converter = _read_json(source, path, "image_converter.json")
        return _Said(
            layout="keras_hub",
            preprocessing=_keras_hub_preprocessing(converter.get("config", {})),
        )
    return _Said()


def _read_json(source: str, path: str, name: str) -> dict[str, Any]:
    """Reads a file beside the weights; empty where there is none."""
    folder = pathlib.Path(path) if os.path.isdir(path) else pathlib.Path(path).parent
    file = folder / name
    if not file.is_file() and (hub := re.match(r"hf://[^/]+/[^/]+", source)):
        try:
            file = pathlib.Path(download.fetch(f"{hub[0]}/{name}"))
        except ValueError:
            return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _timm_preprocessing(config: dict[str, Any]) -> Preprocessing:
    size = config["input_size"][-1]
    return Preprocessing(
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resize=math.floor(size / config["crop_pct"]),
        crop=size,
        interpolation=config["interpolation"],
    )


def _transformers_preprocessing(config: dict[str, Any]) -> Preprocessing | None:
    """Reads the configuration of transformers' `ConvNextImageProcessor`."""
    if not {"image_mean", "image_std", "size"} <= config.keys():
        return None
    size = config["size"]
    size = size["shortest_edge"] if isinstance(size, dict) else size
    return Preprocessing(
        mean=tuple(config["image_mean"]),
        std=tuple(config["image_std"]),
        resize=int(size / config.get("crop_pct", 224 / 256)),
        crop=size,
        interpolation={2: "bilinear", 3: "bicubic"}[config.get("resample", 2)],
    )


def _keras_hub_preprocessing(config: dict[str, Any]) -> Preprocessing | None:
    """Writes KerasHub's `pixel * scale + offset` as our `(pixel - mean) / std`."""
    scale, offset = config.get("scale"), config.get("offset")
    if scale is None or offset is None:
        return None
    scales, offsets = (
        tuple(value) if isinstance(value, list) else (value,) * 3
        for value in (scale, offset)
    )
    size = config["image_size"][0] if config.get("crop_to_aspect_ratio") else None
    return Preprocessing(
        mean=tuple(-o / s for o, s in zip(offsets, scales, strict=True)),
        std=tuple(1 / s for s in scales),
        scale=1.0,
        resize=size,
        crop=size,
        interpolation=config["interpolation"],
    )
