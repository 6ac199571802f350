"""How others name the weights that we name `conv4_block6_2_conv/kernel`: tables only.

A rule is a pair of one of our layers and theirs. `{stage}` counts the stages (ours
from 2), `{block}` the blocks of a stage (ours from 1). `naming.py` applies the rules.
"""

import dataclasses
from collections.abc import Mapping

from keras_resnet.weights.traits import Statement, Traits

Rules = tuple[tuple[str, str], ...]

_TRAITS: Statement = {
    "shortcut": ("B",),
    "antialias": (None,),
    "stride_on": ("3x3",),
    "strided_block": ("first",),
    "padding": ("symmetric",),
    "activation": ("relu",),
    "norm_epsilon": (1e-5,),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """What only some of a library's networks have, and the rules for them.

    Args:
        sign: Pattern of a tensor that only their files hold.
        our_sign: Pattern of a layer that only our networks of that kind have.
        traits: What only they have of what no weight shows.
        rules: Rules that precede those of the layout.
    """

    sign: str
    our_sign: str
    traits: Traits = dataclasses.field(default_factory=dict)
    rules: Rules = ()


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one library names, orders and means the weights of a residual network.

    Args:
        name: The library's name.
        sign: Pattern of a name, of a tensor or layer, that only its files hold.
        rules: Our layers and theirs; of several for one, the last is written.
        variants: What only some of its networks have.
        norm_variables: Our variables of a batch norm and theirs.
        other_variables: Our variables of the other layers and theirs.
        separator: What stands between a layer and its variable.
        prefix: What may stand before all names, or not.
        keeps_names: Whether it has our name for a layer that no rule is about.
        first_stage: Number of the stage that we call `conv2`.
        first_block: Number of the block that we call `block1`.
        ignored: Pattern of the tensors that are no weights.
        transposes: Whether output and input channels are a kernel's first axes, as in
            PyTorch, instead of its last.
        traits: What its networks may have of what no weight shows. None if the file
            tells that by the names of its layers.
        namesake: Another layout with the same names for more networks.
        excess_epsilon: By how much the epsilon of its batch norms exceeds our 1e-5.
    """

    name: str
    sign: str
    rules: Rules
    variants: tuple[Variant, ...] = ()
    norm_variables: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {
            "gamma": "weight",
            "beta": "bias",
            "moving_mean": "running_mean",
            "moving_variance": "running_var",
        }
    )
    other_variables: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"kernel": "weight", "bias": "bias"}
    )
    separator: str = "."
    prefix: str = ""
    keeps_names: bool = False
    first_stage: int = 1
    first_block: int = 0
    ignored: str = r".*\.num_batches_tracked|n_averaged"
    transposes: bool = True
    traits: Statement | None = dataclasses.field(default_factory=lambda: _TRAITS)
    namesake: str | None = None
    excess_epsilon: float = 0.0


def _within_blocks(prefix: str, layers: Mapping[str, str]) -> Rules:
    """Returns the rules for the layers of a block whose names begin with `prefix`."""
    return tuple(
        (f"conv{{stage}}_block{{block}}_{ours}", f"{prefix}{theirs}")
        for ours, theirs in layers.items()
    )


_KERAS_NORM = {
    name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")
}
_KERAS_OTHER = {name: name for name in ("kernel", "bias")}

_TORCH_STEM = (("conv1_conv", "conv1"), ("conv1_bn", "bn1"))
_TORCH_BLOCKS = _within_blocks(
    "layer{stage}.{block}.",
    {
        "1_conv": "conv1",
        "1_bn": "bn1",
        "2_conv": "conv2",
        "2_bn": "bn2",
        "3_conv": "conv3",
        "3_bn": "bn3",
        "0_conv": "downsample.0",
        "0_bn": "downsample.1",
    },
)

_TORCH_POOLED_SHORTCUTS = Variant(
    sign=r"layer\d+\.0\.downsample\.2\.weight",
    our_sign=r"conv\d+_block\d+_0_pool",
    traits={"shortcut": "D"},
    rules=_within_blocks(
        "layer{stage}.{block}.",
        {"0_conv": "downsample.1", "0_bn": "downsample.2"},
    ),
)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        # The max-pools in the shortcuts of its V2 networks have no name of their own.
        # The classifier's name was "probs" in its Keras 2 files.
        Layout(
            name="keras",
            sign=r"conv2_block1_1_conv/bias|max_pooling2d(_\d+)?",
            rules=(("predictions", "probs"), ("predictions", "predictions")),
            norm_variables=_KERAS_NORM,
            other_variables=_KERAS_OTHER,
            separator="/",
            keeps_names=True,
            transposes=False,
            variants=(
                Variant(
                    sign=r"conv2_block1_preact_bn/gamma",
                    our_sign=r"conv2_block1_preact_bn",
                    traits={
                        "shortcut": "subsample",
                        "stride_on": "3x3",
                        "strided_block": "last",
                    },
                ),
            ),
            traits={
                **_TRAITS,
                "shortcut": ("B", "subsample"),
                "stride_on": ("1x1", "3x3"),
                "strided_block": ("first", "last"),
                "stem": ("imagenet_v2_keras",),
            },
            excess_epsilon=1.001e-5 - 1e-5,
        ),
        Layout(
            name="keras_hub",
            sign=r"stack0_block0_.*",
            rules=(
                ("conv1_conv", "conv1_conv"),
                ("conv1_bn", "conv1_bn"),
                *_within_blocks(
                    "stack{stage}_block{block}_",
                    {
                        "preact_bn": "pre_activation_bn",
                        "0_conv": "0_conv",
                        "0_bn": "0_bn",
                        "1_conv": "1_conv",
                        "1_bn": "1_bn",
                        "2_conv": "2_conv",
                        "2_bn": "2_bn",
                        "3_conv": "3_conv",
                        "3_bn": "3_bn",
                    },
                ),
                ("post_bn", "post_bn"),
                ("predictions", "predictions"),
            ),
            variants=(
                Variant(
                    sign=r"conv3_conv/kernel",
                    our_sign=r"conv1_1_conv",
                    traits={"shortcut": "D"},
                    rules=(
                        ("conv1_1_conv", "conv1_conv"),
                        ("conv1_1_bn", "conv1_bn"),
                        ("conv1_2_conv", "conv2_conv"),
                        ("conv1_2_bn", "conv2_bn"),
                        ("conv1_3_conv", "conv3_conv"),
                        ("conv1_3_bn", "conv3_bn"),
                    ),
                ),
            ),
            norm_variables=_KERAS_NORM,
            other_variables=_KERAS_OTHER,
            separator="/",
            first_stage=0,
            transposes=False,
            traits={**_TRAITS, "shortcut": ("B", "D"), "stem": ("imagenet_v2",)},
        ),
        # Its configuration tells where the stride is, and of another activation.
        Layout(
            name="transformers",
            sign=r"(resnet\.)?encoder\.stages\.0\.layers\.0\..*",
            rules=(
                ("conv1_conv", "embedder.embedder.convolution"),
                ("conv1_bn", "embedder.embedder.normalization"),
                *_within_blocks(
                    "encoder.stages.{stage}.layers.{block}.",
                    {
                        "0_conv": "shortcut.convolution",
                        "0_bn": "shortcut.normalization",
                        "1_conv": "layer.0.convolution",
                        "1_bn": "layer.0.normalization",
                        "2_conv": "layer.1.convolution",
                        "2_bn": "layer.1.normalization",
                        "3_conv": "layer.2.convolution",
                        "3_bn": "layer.2.normalization",
                    },
                ),
                ("predictions", "classifier.1"),
            ),
            prefix="resnet.",
            first_stage=0,
            traits={**_TRAITS, "stride_on": ("1x1", "3x3")},
        ),
        # akamaster/pytorch_resnet_cifar10, and what took over its names.
        Layout(
            name="cifar",
            sign=r"linear\.weight",
            rules=(*_TORCH_STEM, *_TORCH_BLOCKS, ("predictions", "linear")),
            traits={**_TRAITS, "shortcut": ("A", "B")},
        ),
        Layout(
            name="timm",
            sign=r"layer1\.0\.se\..*|conv1\.0\.weight"
            r"|layer\d+\.0\.downsample\.2\.weight",
            rules=(
                *_TORCH_STEM,
                *_TORCH_BLOCKS,
                *_within_blocks(
                    "layer{stage}.{block}.",
                    {"se_1_conv": "se.fc1", "se_2_conv": "se.fc2"},
                ),
                ("predictions", "fc"),
            ),
            variants=(
                Variant(
                    sign=r"conv1\.0\.weight",
                    our_sign=r"conv1_1_conv",
                    rules=(
                        ("conv1_1_conv", "conv1.0"),
                        ("conv1_1_bn", "conv1.1"),
                        ("conv1_2_conv", "conv1.3"),
                        ("conv1_2_bn", "conv1.4"),
                        ("conv1_3_conv", "conv1.6"),
                        ("conv1_3_bn", "bn1"),
                    ),
                ),
                _TORCH_POOLED_SHORTCUTS,
            ),
            traits={
                **_TRAITS,
                "shortcut": ("B", "D"),
                "antialias": (None, "average", "blur"),
            },
        ),
        Layout(
            name="torchvision",
            sign=r"layer1\.0\..*",
            rules=(*_TORCH_STEM, *_TORCH_BLOCKS, ("predictions", "fc")),
            namesake="timm",
        ),
        Layout(
            name="keras_resnet",
            sign=r"conv1(_1)?_conv/kernel",
            rules=(),
            norm_variables=_KERAS_NORM,
            other_variables=_KERAS_OTHER,
            separator="/",
            keeps_names=True,
            transposes=False,
            traits=None,
        ),
    )
}
"""The layouts by name; a file has the first one whose sign it shows."""
