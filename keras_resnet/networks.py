"""The table of published networks, each with its source."""

import dataclasses
import difflib
import fnmatch
import json
import os
from pathlib import Path
from typing import Any

from keras_resnet.spec import ResNetSpec

_BLOCKS_PER_STAGE = {
    10: (1, 1, 1, 1),
    14: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Table 1, the 200 layers of 1603.05027, and timm's small ones."""

_BASIC_DEPTHS = (10, 18, 34)


def _imagenet(name: str, depth: int, **heir: Any) -> ResNetSpec:
    """A network of Table 1; `heir` holds what its successors changed."""
    fields = {
        "stem": "imagenet",
        "block": "basic" if depth in _BASIC_DEPTHS else "bottleneck",
        "filters": (64, 128, 256, 512),
        "blocks_per_stage": _BLOCKS_PER_STAGE[depth],
        "shortcut": "B",
        "input_size": 224,
        "classes": 1000,
    }
    return ResNetSpec(name=name, **{**fields, **heir})


def _modern(name: str, depth: int, **heir: Any) -> ResNetSpec:
    """A network whose bottlenecks have the stride on the 3x3, known as v1.5."""
    stride = {} if depth in _BASIC_DEPTHS else {"stride_on": "3x3"}
    return _imagenet(name, depth, **{**stride, **heir})


def _preactivation(name: str, depth: int, **heir: Any) -> ResNetSpec:
    """A network of *Identity Mappings in Deep Residual Networks*."""
    block = "basic_v2" if depth in _BASIC_DEPTHS else "bottleneck_v2"
    return _modern(name, depth, **{"block": block, "stem": "imagenet_v2", **heir})


def _cifar(name: str, blocks: int, **heir: Any) -> ResNetSpec:
    """A network of section 4.2."""
    fields = {
        "stem": "cifar",
        "block": "basic",
        "filters": (16, 32, 64),
        "blocks_per_stage": (blocks, blocks, blocks),
        "shortcut": "A",
        "input_size": 32,
        "classes": 10,
    }
    return ResNetSpec(name=name, **{**fields, **heir})


def _cifar_v2(name: str, blocks: int, **heir: Any) -> ResNetSpec:
    """A pre-activation network for CIFAR."""
    fields = {"stem": "cifar_v2", "shortcut": "B"}
    return _cifar(name, blocks, **{**fields, **heir})


def _wide(name: str, blocks: int, width: int) -> ResNetSpec:
    """A CIFAR network of *Wide Residual Networks* with its dropout (table 6)."""
    return _cifar_v2(
        name,
        blocks,
        block="basic_v2",
        filters=(16 * width, 32 * width, 64 * width),
        stem_filters=16,
        dropout=0.3,
    )


_D = {"stem": "deep", "shortcut": "D"}
_T = {"stem": "deep_tiered", "shortcut": "D"}
_VD = {**_D, "first_shortcut": "vd"}
_SE = {"squeeze_excitation": 16}

NETWORKS: dict[str, ResNetSpec] = {
    spec.name: spec
    for spec in (
        # The paper, Table 1: ImageNet, and its plain networks (section 3.3).
        _imagenet("resnet18", 18),
        _imagenet("resnet34", 34),
        _imagenet("resnet50", 50),
        _imagenet("resnet101", 101),
        _imagenet("resnet152", 152),
        _imagenet("plainnet18", 18, shortcut="none"),
        _imagenet("plainnet34", 34, shortcut="none"),
        # The paper, section 4.2 and Table 6: CIFAR-10, 6n + 2 layers.
        _cifar("resnet20", 3),
        _cifar("resnet32", 5),
        _cifar("resnet44", 7),
        _cifar("resnet56", 9),
        _cifar("resnet110", 18),
        _cifar("resnet1202", 200),
        _cifar("plainnet20", 3, shortcut="none"),
        _cifar("plainnet32", 5, shortcut="none"),
        _cifar("plainnet44", 7, shortcut="none"),
        _cifar("plainnet56", 9, shortcut="none"),
        _cifar("plainnet110", 18, shortcut="none"),
        # v1.5: torchvision's and timm's "resnet50" and so on.
        _modern("resnet26", 26),
        _modern("resnet50_v1_5", 50),
        _modern("resnet101_v1_5", 101),
        _modern("resnet152_v1_5", 152),
        _modern("resnet200", 200),
        # Pre-activation, 1603.05027; stride on the 3x3 as in KerasHub.
        _preactivation("preresnet18", 18),
        _preactivation("preresnet34", 34),
        _preactivation("preresnet50", 50),
        _preactivation("preresnet101", 101),
        _preactivation("preresnet152", 152),
        _preactivation("preresnet200", 200),
        _cifar_v2("preresnet110", 18, block="basic_v2"),
        _cifar_v2("resnet164", 18, block="bottleneck_v2"),
        _cifar_v2("resnet1001", 111, block="bottleneck_v2"),
        # keras.applications' V2.
        *(
            _preactivation(
                f"resnet{depth}v2",
                depth,
                stem="imagenet_v2_keras",
                shortcut="subsample",
                strided_block="last",
                use_bias=True,
            )
            for depth in (50, 101, 152)
        ),
        # Bag of Tricks, 1812.01187: deep stem (C), average pool too (D). S with
        # a wide and T with a tiered stem are timm's, vd is PaddleClas' and KerasHub's.
        *(_modern(f"resnet{d}c", d, stem="deep") for d in (50, 101, 152)),
        *(_modern(f"resnet{d}d", d, **_D) for d in (18, 26, 34, 50, 101, 152, 200)),
        *(
            _modern(f"resnet{d}s", d, stem="deep", stem_filters=128)
            for d in (50, 101, 152)
        ),
        *(_modern(f"resnet{d}t", d, **_T) for d in (10, 14, 26, 50)),
        *(_modern(f"resnet_vd_{d}", d, **_VD) for d in (18, 34, 50, 101, 152, 200)),
        # ResNeXt, 1611.05431.
        _modern("resnext50_32x4d", 50, cardinality=32, base_width=4),
        _modern("resnext50d_32x4d", 50, cardinality=32, base_width=4, **_D),
        _modern("resnext101_32x4d", 101, cardinality=32, base_width=4),
        _modern("resnext101_32x8d", 101, cardinality=32, base_width=8),
        _modern("resnext101_64x4d", 101, cardinality=64, base_width=4),
        # Wide ResNet, 1605.07146.
        _modern("wide_resnet50_2", 50, base_width=128),
        _modern("wide_resnet101_2", 101, base_width=128),
        _wide("wrn_16_8", 2, 8),
        _wide("wrn_28_10", 4, 10),
        _wide("wrn_40_4", 6, 4),
        # Squeeze-and-excitation, 1709.01507.
        *(_modern(f"seresnet{d}", d, **_SE) for d in (18, 34, 50, 101, 152)),
        _modern("seresnext50_32x4d", 50, cardinality=32, base_width=4, **_SE),
        _modern("seresnext101_32x4d", 101, cardinality=32, base_width=4, **_SE),
        _modern("seresnext101_32x8d", 101, cardinality=32, base_width=8, **_SE),
        # Stochastic depth, 1603.09382, section 4.
        _cifar("resnet110_stochastic_depth", 18, stochastic_depth=0.5),
        _cifar("resnet1202_stochastic_depth", 200, stochastic_depth=0.5),
        # Anti-aliased: average pools are timm's, blur pools 1904.11486's.
        _modern("resnetaa34d", 34, antialias="average", **_D),
        _modern("resnetaa50", 50, antialias="average"),
        _modern("resnetaa50d", 50, antialias="average", **_D),
        _modern("resnetaa101d", 101, antialias="average", **_D),
        _modern("seresnetaa50d", 50, antialias="average", **_D, **_SE),
        _modern("resnetblur18", 18, antialias="blur"),
        _modern("resnetblur50", 50, antialias="blur"),
        _modern("resnetblur50d", 50, antialias="blur", **_D),
        _modern("resnetblur101d", 101, antialias="blur", **_D),
    )
}
"""The published networks by name."""


def list_models(pattern: str = "*") -> list[str]:
    """Lists the networks' names.

    Args:
        pattern: What the names must match, with `*` and `?` as in a shell.

    Returns:
        The names in the table's order.

    Example:

    >>> keras_resnet.list_models("resnext101*")
    ['resnext101_32x4d', 'resnext101_32x8d', 'resnext101_64x4d']
    """
    return fnmatch.filter(NETWORKS, pattern)


def find(name: str) -> ResNetSpec:
    """Looks a network up in the table.

    Args:
        name: A key of `NETWORKS`.

    Returns:
        The network's spec.

    Raises:
        ValueError: If there is no such network; the message names the nearest.

    Example:

    >>> find("resnet50").depth
    50
    """
    if name not in NETWORKS:
        wanted = str(name).lower()
        begun = [known for known in NETWORKS if known.startswith(wanted)]
        close = difflib.get_close_matches(wanted, NETWORKS, n=3, cutoff=0.5)
        near = (begun or close)[:3]
        raise ValueError(
            f"There is no network {name!r}"
            + (f", but {' and '.join(map(repr, near))}" if near else "")
            + ": `keras_resnet.list_models()` lists them all."
        )
    return NETWORKS[name]


def read(path: str | os.PathLike[str]) -> ResNetSpec:
    """Reads the network that a search found.

    Args:
        path: A file of `python -m pipelines.tune`, such as `runs/tune/best.json`.

    Returns:
        The spec, with the number of classes and the image size of the search.

    Raises:
        ValueError: If there is no such file, or it is none of a search.

    Example:

    >>> read("runs/tune/best.json").blocks_per_stage
    (2, 1, 3)
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        found = find(values["model"])
        given = {"classes": values.get("classes", found.classes), **values["network"]}
        size = values["recipe"].get("image_size") or found.input_size
        return dataclasses.replace(found, **{"input_size": size, **given})
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} is no network that `python -m pipelines.tune` found: "
            f"{error}"
        ) from None
