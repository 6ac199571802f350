"""The published weights, each one entry in a table of facts."""

import dataclasses
import difflib
import fnmatch
import math

from keras_resnet.preprocessing import MODES, Preprocessing


@dataclasses.dataclass(frozen=True)
class Preset:
    """Weights that somebody published for one of our networks.

    Args:
        name: `publisher/weights`, in the publisher's own words.
        network: The network they are for, a key of `keras_resnet.NETWORKS`.
        layout: How the file names its tensors, see `keras_resnet.weights`.
        source: Where they are: a URL, `hf://owner/repository` or `kaggle://handle`.
        checksum: `"sha256:..."` (the whole, or the first digits that the publisher
            gives) or `"md5:..."`. None where the publisher gives none.
        notop_source: The same weights without the classifier, where there are any.
        notop_checksum: Their checksum.
        mirror: Where the same tensors are in a file that needs no PyTorch to read.
        licence: As the publisher states it, None where unknown.
        preprocessing: How the publisher prepares images. None if that is not known
            before the download, and stands in its files.
        input_size: Height and width that the publisher evaluates at, None as above.
        classes: Number of classes of the classifier.
        top1: Published accuracy in percent on ImageNet's validation images, None where
            unknown.
        top5: The same for the five most probable classes.
        result_size: Height and width of the images that these were measured on. None
            if that is `input_size`.

    Example:

    >>> PRESETS["keras/resnet50"].preprocessing == MODES["caffe"]
    True
    """

    name: str
    network: str
    layout: str
    source: str
    checksum: str | None = None
    notop_source: str | None = None
    notop_checksum: str | None = None
    mirror: str | None = None
    licence: str | None = None
    preprocessing: Preprocessing | None = None
    input_size: int | None = None
    classes: int = 1000
    top1: float | None = None
    top5: float | None = None
    result_size: int | None = None


def list_presets(pattern: str = "*") -> list[str]:
    """Names the published weights.

    Args:
        pattern: Shell-style pattern that the preset's name or its network matches.

    Returns:
        The names, in the order of the table.

    Example:

    >>> list_presets("resnet50")
    ['keras/resnet50']
    """
    return [
        preset.name
        for preset in PRESETS.values()
        if fnmatch.fnmatchcase(preset.name, pattern)
        or fnmatch.fnmatchcase(preset.network, pattern)
    ]


def default_preset(network: str) -> Preset:
    """Finds what `weights="imagenet"` means for a network.

    Args:
        network: A key of `keras_resnet.NETWORKS`.

    Returns:
        The preset.

    Raises:
        ValueError: If nobody published ImageNet weights for the network.

    Example:

    >>> default_preset("resnet18").name
    'torchvision/resnet18.imagenet1k_v1'
    """
    if network not in DEFAULTS:
        near = difflib.get_close_matches(network, DEFAULTS)
        raise ValueError(
            f"No ImageNet weights are published for {network!r}: pass `weights=None` "
            "for random weights, a file or preset, or take a network that has them"
            + (f", such as {' or '.join(near)}." if near else ".")
        )
    return PRESETS[DEFAULTS[network]]


def as_table(pattern: str = "*") -> str:
    """Writes the published weights as a table in Markdown, that of `docs/weights.md`.

    `python -m keras_resnet.weights PATTERN` prints it.

    Args:
        pattern: As for `list_presets`.

    Returns:
        One line for each preset, those that `weights="imagenet"` means in bold.

    Example:

    >>> print(as_table("resnet50*"))
    | preset | network | millions | resize, crop | pixels | top-1 / top-5 | licence |
    ...
    """
    columns = ("preset", "network", "millions", "resize, crop", "pixels")
    rows = [(*columns, "top-1 / top-5", "licence"), ("---",) * 7]
    for preset in map(PRESETS.__getitem__, list_presets(pattern)):
        bold = "**" if DEFAULTS.get(preset.network) == preset.name else ""
        at = f" at {preset.result_size}" if preset.result_size else ""
        rows.append(
            (
                f"{bold}`{preset.name}`{bold}",
                f"`{preset.network}`",
                f"{_MILLIONS[preset.network]:.1f}",
                *_in_words(preset.preprocessing),
                f"{preset.top1} / {preset.top5}{at}" if preset.top1 else "",
                preset.licence or "",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _in_words(preprocessing: Preprocessing | None) -> tuple[str, str]:
    if preprocessing is None:
        return "in its files", "in its files"
    plain = dataclasses.replace(
        preprocessing, resize=None, crop=None, interpolation="bilinear"
    )
    modes = [mode for mode in MODES if MODES[mode] == plain]
    pixels = modes[0] if modes else f"mean {plain.mean[0]}, std {plain.std[0]}"
    if preprocessing.resize is None:
        return "", pixels
    sizes = f"{preprocessing.resize}, {preprocessing.crop}"
    return f"{sizes} {preprocessing.interpolation}", pixels


# Torchvision, timm and transformers call by the paper's name what strides in the 3x3
# convolution; by that name we have the paper's own, which strides in the first 1x1.
V1_5 = {name: f"{name}_v1_5" for name in ("resnet50", "resnet101", "resnet152")}


def _keras(
    network: str,
    mode: str,
    licence: str,
    md5: str,
    notop_md5: str,
    top1: float,
    top5: float,
) -> Preset:
    source = (
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        f"{network}_weights_tf_dim_ordering_tf_kernels"
    )
    return Preset(
        name=f"keras/{network}",
        network=network,
        layout="keras",
        source=f"{source}.h5",
        checksum=f"md5:{md5}",
        notop_source=f"{source}_notop.h5",
        notop_checksum=f"md5:{notop_md5}",
        licence=licence,
        preprocessing=MODES[mode],
        input_size=224,
        top1=top1,
        top5=top5,
    )


def _torchvision(
    file: str, version: str, resize: int, top1: float, top5: float
) -> Preset:
    model, digits = file.rsplit("-", 1)
    return Preset(
        name=f"torchvision/{model}.imagenet1k_{version}",
        network=V1_5.get(model, model),
        layout="torchvision",
        source=f"https://download.pytorch.org/models/{file}.pth",
        checksum=f"sha256:{digits}",
        mirror=f"hf://timm/{model}.{'tv' if version == 'v1' else 'tv2'}_in1k",
        licence="bsd-3-clause",
        preprocessing=Preprocessing(resize=resize, crop=224),
        input_size=224,
        top1=top1,
        top5=top5,
    )


# Top-1, top-5 and the images' size of timm's results/results-imagenet.csv at commit
# 0173a139, which has none for weights that came later or have other classes.
_TIMM_RESULTS = {
    "seresnext101_32x8d.ah_in1k": (84.186, 96.874, 288),
    "resnext101_32x8d.fb_swsl_ig1b_ft_in1k": (84.302, 97.176, 224),
    "resnetaa101d.sw_in12k_ft_in1k": (84.124, 97.106, 288),
    "resnet200d.ra2_in1k": (83.964, 96.824, 320),
    "resnet152d.ra2_in1k": (83.684, 96.74, 320),
    "resnet152.a1h_in1k": (83.45, 96.538, 288),
    "resnext101_32x4d.fb_swsl_ig1b_ft_in1k": (83.232, 96.758, 224),
    "resnext101_64x4d.c1_in1k": (83.156, 96.374, 288),
    "resnet101d.ra2_in1k": (83.016, 96.452, 320),
    "resnet101.a1h_in1k": (82.778, 96.31, 288),
    "resnet152.a1_in1k": (82.732, 95.72, 288),
    "resnext101_32x8d.fb_wsl_ig1b_ft_in1k": (82.698, 96.632, 224),
    "resnet152.a2_in1k": (82.608, 95.752, 288),
    "resnetaa50d.sw_in12k_ft_in1k": (82.6, 96.498, 288),
    "resnet101.a1_in1k": (82.322, 95.632, 288),
    "wide_resnet50_2.racm_in1k": (82.28, 96.064, 288),
    "resnet101.a2_in1k": (82.236, 95.73, 288),
    "seresnext50_32x4d.racm_in1k": (82.196, 96.148, 288),
    "resnext50_32x4d.fb_swsl_ig1b_ft_in1k": (82.174, 96.222, 224),
    "resnext50_32x4d.a1h_in1k": (82.014, 95.934, 288),
    "resnetaa50.a1h_in1k": (81.614, 95.802, 288),
    "resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k": (81.606, 96.04, 224),
    "resnext50_32x4d.a1_in1k": (81.466, 95.174, 288),
    "resnet50d.a1_in1k": (81.45, 95.218, 288),
    "resnet50d.ra2_in1k": (81.356, 95.738, 288),
    "resnext50_32x4d.a2_in1k": (81.304, 95.096, 288),
    "seresnet50.ra2_in1k": (81.284, 95.652, 288),
    "resnet50.a1_in1k": (81.214, 95.102, 288),
    "resnet50.fb_swsl_ig1b_ft_in1k": (81.182, 95.992, 224),
    "resnet50d.a2_in1k": (81.164, 95.084, 288),
    "seresnet50.a2_in1k": (81.106, 95.222, 288),
    "seresnet50.a1_in1k": (81.102, 95.12, 288),
    "resnet152s.gluon_in1k": (81.002, 95.41, 224),
    "resnet50.d_in1k": (80.972, 95.43, 288),
    "resnext101_32x4d.fb_ssl_yfcc100m_ft_in1k": (80.924, 95.734, 224),
    "resnet50.c1_in1k": (80.912, 95.552, 288),
    "seresnext101_32x4d.gluon_in1k": (80.892, 95.296, 224),
    "resnet50.c2_in1k": (80.87, 95.534, 288),
    "resnet50.a2_in1k": (80.772, 94.988, 288),
    "resnet50.b1k_in1k": (80.706, 95.432, 288),
    "resnext50_32x4d.ra_in1k": (80.698, 95.39, 288),
    "resnet50.a1h_in1k": (80.676, 95.306, 224),
    "resnext50d_32x4d.bt_in1k": (80.664, 95.42, 288),
    "resnext101_64x4d.gluon_in1k": (80.6, 94.992, 224),
    "resnet152.a3_in1k": (80.546, 95.0, 224),
    "resnet152d.gluon_in1k": (80.476, 95.202, 224),
    "resnet50.b2k_in1k": (80.454, 95.318, 288),
    "resnet101d.gluon_in1k": (80.426, 95.024, 224),
    "resnext101_32x4d.gluon_in1k": (80.34, 94.93, 224),
    "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k": (80.338, 95.398, 224),
    "resnet101s.gluon_in1k": (80.302, 95.15, 224),
    "resnetblur50.bt_in1k": (80.234, 95.234, 288),
    "resnet50.ram_in1k": (79.976, 95.052, 288),
    "resnet152c.gluon_in1k": (79.91, 94.844, 224),
    "seresnext50_32x4d.gluon_in1k": (79.91, 94.824, 224),
    "resnet50.ra_in1k": (79.836, 94.966, 288),
    "resnet101.a3_in1k": (79.814, 94.606, 224),
    "resnet152.gluon_in1k": (79.694, 94.736, 224),
    "resnet50.bt_in1k": (79.64, 94.892, 288),
    "resnet101c.gluon_in1k": (79.542, 94.586, 224),
    "resnext50_32x4d.gluon_in1k": (79.36, 94.43, 224),
    "resnet101.gluon_in1k": (79.31, 94.522, 224),
    "resnext50_32x4d.a3_in1k": (79.268, 94.306, 224),
    "resnet50.fb_ssl_yfcc100m_ft_in1k": (79.234, 94.826, 224),
    "resnet50d.gluon_in1k": (79.078, 94.468, 224),
    "resnet50.am_in1k": (78.998, 94.396, 224),
    "resnet50d.a3_in1k": (78.722, 94.236, 224),
    "resnet50s.gluon_in1k": (78.718, 94.242, 224),
    "resnet34d.ra2_in1k": (78.436, 94.344, 288),
    "resnet26t.ra2_in1k": (78.332, 94.124, 320),
    "resnet50.a3_in1k": (78.048, 93.78, 224),
    "resnet50c.gluon_in1k": (78.012, 93.988, 224),
    "resnet34.a1_in1k": (77.918, 93.766, 288),
    "resnet50.gluon_in1k": (77.58, 93.718, 224),
    "resnet26d.bt_in1k": (77.408, 93.638, 288),
    "resnet34.a2_in1k": (77.158, 93.274, 288),
    "seresnet50.a3_in1k": (77.028, 93.074, 224),
    "resnet34.bt_in1k": (76.48, 93.354, 288),
    "resnet26.bt_in1k": (76.366, 93.18, 288),
    "resnet34.gluon_in1k": (74.578, 91.984, 224),
    "resnet18d.ra2_in1k": (73.794, 91.838, 288),
    "resnet18.fb_swsl_ig1b_ft_in1k": (73.282, 91.732, 224),
    "resnet18.a1_in1k": (73.158, 91.026, 288),
    "resnet34.a3_in1k": (72.97, 91.108, 224),
    "resnet18.fb_ssl_yfcc100m_ft_in1k": (72.594, 91.418, 224),
    "resnet18.a2_in1k": (72.372, 90.596, 288),
    "resnet14t.c3_in1k": (72.254, 90.302, 224),
    "resnet18.gluon_in1k": (70.838, 89.754, 224),
    "resnet10t.c3_in1k": (68.358, 88.04, 224),
    "resnet18.a3_in1k": (68.254, 88.176, 224),
}


def _timm(
    weights: str,
    size: int,
    crop_pct: float,
    interpolation: str = "bicubic",
    mean: tuple[float, ...] = MODES["torch"].mean,
    std: tuple[float, ...] = MODES["torch"].std,
    licence: str = "apache-2.0",
    classes: int = 1000,
) -> Preset:
    model = weights.split(".")[0]
    top1, top5, result_size = _TIMM_RESULTS.get(weights, (None, None, None))
    return Preset(
        name=f"timm/{weights}",
        network=V1_5.get(model, model),
        layout="timm",
        source=f"hf://timm/{weights}",
        licence=licence,
        preprocessing=Preprocessing(
            mean=mean,
            std=std,
            resize=math.floor(size / crop_pct),
            crop=size,
            interpolation=interpolation,
        ),
        input_size=size,
        classes=classes,
        top1=top1,
        top5=top5,
        result_size=None if result_size == size else result_size,
    )


def _transformers(depth: int) -> Preset:
    return Preset(
        name=f"microsoft/resnet-{depth}",
        network=V1_5.get(f"resnet{depth}", f"resnet{depth}"),
        layout="transformers",
        source=f"hf://microsoft/resnet-{depth}",
        licence="apache-2.0",
    )


def _keras_hub(network: str, handle: str) -> Preset:
    return Preset(
        name=f"keras_hub/{handle.split('/')[-2]}",
        network=network,
        layout="keras_hub",
        source=f"kaggle://keras/{handle}",
    )


_PRESETS = (
    # The authors' own weights and Facebook's, converted by keras.applications: MD5 of
    # its `WEIGHTS_HASHES`, accuracies and licences of its documentation.
    _keras(
        "resnet50",
        "caffe",
        "mit",
        "2cb95161c43110f7111970584f804107",
        "4d473c1dd8becc155b73f8504c6f6626",
        74.9,
        92.1,
    ),
    _keras(
        "resnet101",
        "caffe",
        "mit",
        "f1aeb4b969a6efcfb50fad2f0c20cfc5",
        "88cf7a10940856eca736dc7b7e228a21",
        76.4,
        92.8,
    ),
    _keras(
        "resnet152",
        "caffe",
        "mit",
        "100835be76be38e30d865e96f2aaae62",
        "ee4c566cf9a93f14d82f913c2dc6dd0c",
        76.6,
        93.1,
    ),
    _keras(
        "resnet50v2",
        "tf",
        "bsd",
        "3ef43a0b657b3be2300d5770ece849e0",
        "fac2f116257151a9d068a22e544a4917",
        76.0,
        93.0,
    ),
    _keras(
        "resnet101v2",
        "tf",
        "bsd",
        "6343647c601c52e1368623803854d971",
        "c0ed64b8031c3730f411d2eb4eea35b5",
        77.2,
        93.8,
    ),
    _keras(
        "resnet152v2",
        "tf",
        "bsd",
        "a49b44d1979771252814e80f8ec446f9",
        "ed17cf2e0169df9d443503ef94b23b33",
        78.0,
        94.2,
    ),
    # Torchvision: file, recipe, resize, top-1, top-5.
    _torchvision("resnet18-f37072fd", "v1", 256, 69.758, 89.078),
    _torchvision("resnet34-b627a593", "v1", 256, 73.314, 91.42),
    _torchvision("resnet50-0676ba61", "v1", 256, 76.13, 92.862),
    _torchvision("resnet50-11ad3fa6", "v2", 232, 80.858, 95.434),
    _torchvision("resnet101-63fe2227", "v1", 256, 77.374, 93.546),
    _torchvision("resnet101-cd907fc2", "v2", 232, 81.886, 95.78),
    _torchvision("resnet152-394f9c45", "v1", 256, 78.312, 94.046),
    _torchvision("resnet152-f82ba261", "v2", 232, 82.284, 96.002),
    _torchvision("resnext50_32x4d-7cdf4587", "v1", 256, 77.618, 93.698),
    _torchvision("resnext50_32x4d-1a0047aa", "v2", 232, 81.198, 95.34),
    _torchvision("resnext101_32x8d-8ba56ff5", "v1", 256, 79.312, 94.526),
    _torchvision("resnext101_32x8d-110c445d", "v2", 232, 82.834, 96.228),
    _torchvision("resnext101_64x4d-173b62eb", "v1", 232, 83.246, 96.454),
    _torchvision("wide_resnet50_2-95faca4d", "v1", 256, 78.468, 94.086),
    _torchvision("wide_resnet50_2-9ba9bcbe", "v2", 232, 81.602, 95.758),
    _torchvision("wide_resnet101_2-32ee1156", "v1", 256, 78.848, 94.284),
    _torchvision("wide_resnet101_2-d733dc28", "v2", 232, 82.51, 96.02),
    # timm on the Hugging Face hub, which keeps the files' SHA-256; torchvision's are
    # above. Size and crop are timm's defaults, not its larger test sizes.
    *(
        _timm(weights, size=224, crop_pct=0.95)
        for weights in (
            "resnet18.a1_in1k",
            "resnet18.a2_in1k",
            "resnet34.a1_in1k",
            "resnet34.a2_in1k",
            "resnet50.a1_in1k",
            "resnet50.a2_in1k",
            "resnet50.b1k_in1k",
            "resnet50.b2k_in1k",
            "resnet50.c1_in1k",
            "resnet50.c2_in1k",
            "resnet50.d_in1k",
            "resnet50d.a1_in1k",
            "resnet50d.a2_in1k",
            "resnet101.a1_in1k",
            "resnet101.a1h_in1k",
            "resnet101.a2_in1k",
            "resnet152.a1_in1k",
            "resnet152.a1h_in1k",
            "resnet152.a2_in1k",
            "resnetaa50.a1h_in1k",
            "resnetaa50d.sw_in12k_ft_in1k",
            "resnetaa101d.sw_in12k_ft_in1k",
            "resnext50_32x4d.a1_in1k",
            "resnext50_32x4d.a1h_in1k",
            "resnext50_32x4d.a2_in1k",
            "resnext101_64x4d.c1_in1k",
            "seresnet50.a1_in1k",
            "seresnet50.a2_in1k",
            "seresnext101_32x8d.ah_in1k",
        )
    ),
    *(
        _timm(weights, size=224, crop_pct=0.875)
        for weights in (
            "resnet18.gluon_in1k",
            "resnet18d.ra2_in1k",
            "resnet26.bt_in1k",
            "resnet26d.bt_in1k",
            "resnet34.bt_in1k",
            "resnet34.gluon_in1k",
            "resnet34d.ra2_in1k",
            "resnet50.am_in1k",
            "resnet50.bt_in1k",
            "resnet50.gluon_in1k",
            "resnet50.ra_in1k",
            "resnet50.ram_in1k",
            "resnet50c.gluon_in1k",
            "resnet50d.gluon_in1k",
            "resnet50d.ra2_in1k",
            "resnet50s.gluon_in1k",
            "resnet101.gluon_in1k",
            "resnet101c.gluon_in1k",
            "resnet101d.gluon_in1k",
            "resnet101s.gluon_in1k",
            "resnet152.gluon_in1k",
            "resnet152c.gluon_in1k",
            "resnet152d.gluon_in1k",
            "resnet152s.gluon_in1k",
            "resnetblur50.bt_in1k",
            "resnext50_32x4d.gluon_in1k",
            "resnext50_32x4d.ra_in1k",
            "resnext50d_32x4d.bt_in1k",
            "resnext101_32x4d.gluon_in1k",
            "resnext101_64x4d.gluon_in1k",
            "seresnet50.ra2_in1k",
            "seresnext50_32x4d.gluon_in1k",
            "seresnext50_32x4d.racm_in1k",
            "seresnext101_32x4d.gluon_in1k",
            "wide_resnet50_2.racm_in1k",
        )
    ),
    *(
        _timm(weights, size=160, crop_pct=0.95)
        for weights in (
            "resnet18.a3_in1k",
            "resnet34.a3_in1k",
            "resnet50.a3_in1k",
            "resnet50d.a3_in1k",
            "resnet101.a3_in1k",
            "resnet152.a3_in1k",
            "resnext50_32x4d.a3_in1k",
            "seresnet50.a3_in1k",
        )
    ),
    *(
        _timm(weights, 224, 0.875, interpolation="bilinear", licence="cc-by-nc-4.0")
        for weights in (
            "resnet18.fb_ssl_yfcc100m_ft_in1k",
            "resnet18.fb_swsl_ig1b_ft_in1k",
            "resnet50.fb_ssl_yfcc100m_ft_in1k",
            "resnet50.fb_swsl_ig1b_ft_in1k",
            "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k",
            "resnext50_32x4d.fb_swsl_ig1b_ft_in1k",
            "resnext101_32x4d.fb_ssl_yfcc100m_ft_in1k",
            "resnext101_32x4d.fb_swsl_ig1b_ft_in1k",
            "resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k",
            "resnext101_32x8d.fb_swsl_ig1b_ft_in1k",
            "resnext101_32x8d.fb_wsl_ig1b_ft_in1k",
        )
    ),
    *(
        _timm(weights, size=224, crop_pct=0.95, classes=11821)
        for weights in (
            "resnetaa50d.d_in12k",
            "resnetaa50d.sw_in12k",
            "resnetaa101d.sw_in12k",
        )
    ),
    *(
        _timm(weights, 224, crop_pct, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        for weights, crop_pct in (
            ("resnet18d.ra4_e3600_r224_in1k", 0.9),
            ("resnet34.ra4_e3600_r224_in1k", 0.9),
            ("resnet50d.ra4_e3600_r224_in1k", 0.95),
        )
    ),
    _timm("resnet10t.c3_in1k", size=176, crop_pct=0.875),
    _timm("resnet14t.c3_in1k", size=176, crop_pct=0.875),
    _timm("resnet26t.ra2_in1k", size=256, crop_pct=0.94),
    _timm("resnet50.a1h_in1k", size=176, crop_pct=0.9),
    _timm("resnet101d.ra2_in1k", size=256, crop_pct=0.95),
    _timm("resnet152d.ra2_in1k", size=256, crop_pct=0.95),
    _timm("resnet200d.ra2_in1k", size=256, crop_pct=0.95),
    # Converted from timm by transformers' authors.
    *(_transformers(depth) for depth in (18, 26, 34, 50, 101, 152)),
    # KerasHub, whose files are on Kaggle and tell their own preprocessing.
    _keras_hub("resnet18", "resnetv1/keras/resnet_18_imagenet/3"),
    _keras_hub("resnet50_v1_5", "resnetv1/keras/resnet_50_imagenet/3"),
    _keras_hub("resnet101_v1_5", "resnetv1/keras/resnet_101_imagenet/3"),
    _keras_hub("resnet152_v1_5", "resnetv1/keras/resnet_152_imagenet/3"),
    _keras_hub("preresnet50", "resnetv2/keras/resnet_v2_50_imagenet/3"),
    _keras_hub("preresnet101", "resnetv2/keras/resnet_v2_101_imagenet/3"),
    _keras_hub("resnet_vd_18", "resnet_vd/keras/resnet_vd_18_imagenet/2"),
    _keras_hub("resnet_vd_34", "resnet_vd/keras/resnet_vd_34_imagenet/2"),
    _keras_hub("resnet_vd_50", "resnet_vd/keras/resnet_vd_50_imagenet/2"),
    _keras_hub("resnet_vd_50", "resnet_vd/keras/resnet_vd_50_ssld_imagenet/2"),
    _keras_hub("resnet_vd_50", "resnet_vd/keras/resnet_vd_50_ssld_v2_imagenet/2"),
    _keras_hub("resnet_vd_50", "resnet_vd/keras/resnet_vd_50_ssld_v2_fix_imagenet/2"),
    _keras_hub("resnet_vd_101", "resnet_vd/keras/resnet_vd_101_imagenet/2"),
    _keras_hub("resnet_vd_101", "resnet_vd/keras/resnet_vd_101_ssld_imagenet/2"),
    _keras_hub("resnet_vd_152", "resnet_vd/keras/resnet_vd_152_imagenet/2"),
    _keras_hub("resnet_vd_200", "resnet_vd/keras/resnet_vd_200_imagenet/2"),
)

_MILLIONS = {
    "resnet50": 25.56,
    "resnet101": 44.55,
    "resnet152": 60.19,
    "resnet50v2": 25.57,
    "resnet101v2": 44.58,
    "resnet152v2": 60.24,
    "resnet18": 11.69,
    "resnet34": 21.80,
    "resnet50_v1_5": 25.56,
    "resnet101_v1_5": 44.55,
    "resnet152_v1_5": 60.19,
    "resnext50_32x4d": 25.03,
    "resnext101_32x8d": 88.79,
    "resnext101_64x4d": 83.46,
    "wide_resnet50_2": 68.88,
    "wide_resnet101_2": 126.89,
    "resnet50d": 25.58,
    "resnetaa50": 25.56,
    "resnetaa50d": 25.58,
    "resnetaa101d": 44.57,
    "seresnet50": 28.09,
    "seresnext101_32x8d": 93.57,
    "resnet18d": 11.71,
    "resnet26": 16.00,
    "resnet26d": 16.01,
    "resnet34d": 21.82,
    "resnet50c": 25.58,
    "resnet50s": 25.68,
    "resnet101c": 44.57,
    "resnet101d": 44.57,
    "resnet101s": 44.67,
    "resnet152c": 60.21,
    "resnet152d": 60.21,
    "resnet152s": 60.32,
    "resnetblur50": 25.56,
    "resnext50d_32x4d": 25.05,
    "resnext101_32x4d": 44.18,
    "seresnext50_32x4d": 27.56,
    "seresnext101_32x4d": 48.96,
    "resnet10t": 5.44,
    "resnet14t": 10.08,
    "resnet26t": 16.01,
    "resnet200d": 64.69,
    "preresnet50": 25.55,
    "preresnet101": 44.54,
    "resnet_vd_18": 11.71,
    "resnet_vd_34": 21.82,
    "resnet_vd_50": 25.58,
    "resnet_vd_101": 44.57,
    "resnet_vd_152": 60.21,
    "resnet_vd_200": 64.69,
}
"""Millions of parameters of the networks with presets, for a thousand classes."""

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}
"""The published weights by name."""

DEFAULTS: dict[str, str] = {
    PRESETS[name].network: name
    for name in (
        # What keras.applications has means there what it means here.
        "keras/resnet50",
        "keras/resnet101",
        "keras/resnet152",
        "keras/resnet50v2",
        "keras/resnet101v2",
        "keras/resnet152v2",
        # Torchvision's own defaults.
        "torchvision/resnet18.imagenet1k_v1",
        "torchvision/resnet34.imagenet1k_v1",
        "torchvision/resnet50.imagenet1k_v2",
        "torchvision/resnet101.imagenet1k_v2",
        "torchvision/resnet152.imagenet1k_v2",
        "torchvision/resnext50_32x4d.imagenet1k_v2",
        "torchvision/resnext101_32x8d.imagenet1k_v2",
        "torchvision/resnext101_64x4d.imagenet1k_v1",
        "torchvision/wide_resnet50_2.imagenet1k_v2",
        "torchvision/wide_resnet101_2.imagenet1k_v2",
        # timm's own defaults, but none that forbids commercial use.
        "timm/resnet10t.c3_in1k",
        "timm/resnet14t.c3_in1k",
        "timm/resnet18d.ra2_in1k",
        "timm/resnet26.bt_in1k",
        "timm/resnet26d.bt_in1k",
        "timm/resnet26t.ra2_in1k",
        "timm/resnet34d.ra2_in1k",
        "timm/resnet50c.gluon_in1k",
        "timm/resnet50d.ra2_in1k",
        "timm/resnet50s.gluon_in1k",
        "timm/resnet101c.gluon_in1k",
        "timm/resnet101d.ra2_in1k",
        "timm/resnet101s.gluon_in1k",
        "timm/resnet152c.gluon_in1k",
        "timm/resnet152d.ra2_in1k",
        "timm/resnet152s.gluon_in1k",
        "timm/resnet200d.ra2_in1k",
        "timm/resnetaa50.a1h_in1k",
        "timm/resnetaa50d.sw_in12k_ft_in1k",
        "timm/resnetaa101d.sw_in12k_ft_in1k",
        "timm/resnetblur50.bt_in1k",
        "timm/resnext50d_32x4d.bt_in1k",
        "timm/resnext101_32x4d.gluon_in1k",
        "timm/seresnet50.a1_in1k",
        "timm/seresnext50_32x4d.racm_in1k",
        "timm/seresnext101_32x4d.gluon_in1k",
        "timm/seresnext101_32x8d.ah_in1k",
        # KerasHub has the only ones.
        "keras_hub/resnet_v2_50_imagenet",
        "keras_hub/resnet_v2_101_imagenet",
        "keras_hub/resnet_vd_18_imagenet",
        "keras_hub/resnet_vd_34_imagenet",
        "keras_hub/resnet_vd_50_imagenet",
        "keras_hub/resnet_vd_101_imagenet",
        "keras_hub/resnet_vd_152_imagenet",
        "keras_hub/resnet_vd_200_imagenet",
    )
}
"""What `weights="imagenet"` means: the name of a preset for each network."""
