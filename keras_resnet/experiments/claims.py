"""The table of claims: what papers say, and the statistic that decides.

A claim's statistic is fixed before its result is seen; one that was changed afterwards
says so in `revised`.
"""

from typing import Any

from keras_resnet.experiments.claim import (
    Budget,
    Claim,
    Contrast,
    Published,
    Training,
)


def _settings(**settings: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(settings.items())


_HE = "1512.03385"
_IMAGES = "images and draws; the trained network is one"
_WEIGHTS = "initial weights"
_TRAINED = "initial weights, order and augmentation"
_RESNET56 = (
    Training("resnet56", "resnet56", "he2015_cifar"),
    Training("resnet20", "resnet20", "he2015_cifar"),
)


def _miniature(name: str, network: str, blocks: int) -> Training:
    """A network that trains in seconds: narrow, on images of 16 pixels."""
    return Training(
        name,
        network,
        "he2015_cifar",
        overrides=(
            "model.filters=8,16,32",
            f"model.blocks_per_stage={blocks},{blocks},{blocks}",
            "model.input_size=16",
            "epochs=3",
            "batch_size=64",
            "base_batch_size=0",
            "learning_rate=0.02",
            "schedule=cosine",
            "augmentation=center|flip",
        ),
        images=10_000,
    )


_SHALLOW = (
    _miniature("plain-20", "plainnet20", 3),
    _miniature("residual-20", "resnet20", 3),
)
_DEGRADATION = (
    *_SHALLOW,
    _miniature("plain-44", "plainnet44", 7),
    _miniature("residual-44", "resnet44", 7),
)

CLAIMS: dict[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim(
            name="plain_nets_degrade",
            sentence=(
                "Deeper plain networks have a higher training error than shallower "
                "ones; residual networks do not."
            ),
            source=f"{_HE}, figures 1, 4 and 6, table 2",
            published=(
                Published(
                    "top-1 error on ImageNet, 18 and 34 layers, plain",
                    "27.94%, 28.54%",
                    "table 2",
                    checked=False,
                ),
                Published(
                    "the same, residual", "27.88%, 25.03%", "table 2", checked=False
                ),
            ),
            measure="degradation",
            contrasts=(
                Contrast(
                    "interaction",
                    "what depth adds to the training loss (nats, mean of about the "
                    "last 50 steps) of plain networks, minus what it adds to that of "
                    "residual ones",
                    "above",
                    0.0,
                ),
                Contrast(
                    "plain_depth",
                    "what depth adds to the training loss of plain networks",
                    "above",
                    0.0,
                ),
            ),
            budgets=(
                (
                    "miniature",
                    Budget(
                        5,
                        _TRAINED,
                        8,
                        _settings(shallow="20", deep="44", last=7),
                        _DEGRADATION,
                    ),
                ),
                (
                    "paper",
                    Budget(
                        5,
                        _TRAINED,
                        100_000,
                        _settings(shallow="20", deep="56", last=20),
                        tuple(
                            Training(
                                f"{kind}-{depth}", f"{prefix}{depth}", "he2015_cifar"
                            )
                            for kind, prefix in (
                                ("plain", "plainnet"),
                                ("residual", "resnet"),
                            )
                            for depth in (20, 56)
                        ),
                    ),
                ),
            ),
            tried=(
                "400 steps of a cosine from 0.02 (two seeds: plain 1.8 and 2.2, "
                "residual 1.4 and 1.5), and 250 steps from 0.1, with which no network "
                "of 56 layers trained; here three epochs of 156 steps"
            ),
        ),
        Claim(
            name="constructed_solution",
            sentence=(
                "There is a deeper network no worse than a shallower one: the added "
                "layers are the identity, and the others are copied."
            ),
            source=f"{_HE}, section 1",
            published=(
                Published(
                    "a solution by construction",
                    "a deeper model should produce no higher training error than its "
                    "shallower counterpart",
                    "section 1",
                ),
            ),
            measure="construction",
            contrasts=(
                Contrast(
                    "error_change",
                    "difference of the error of ResNet-20, trained, and of the network "
                    "of 56 layers made of it",
                    "below",
                    0.001,
                ),
                Contrast(
                    "output_change",
                    "greatest difference of a logit",
                    "below",
                    0.001,
                ),
            ),
            budgets=(
                ("miniature", Budget(5, _IMAGES, 1, _settings(count=200, blocks=9))),
                ("hours", Budget(5, _IMAGES, 10, _settings(count=5000, blocks=18))),
            ),
            remark=(
                "that such a network exists does not say that training finds it; that "
                "a plain one does not is plain_nets_degrade"
            ),
        ),
        Claim(
            name="gradients_at_initialisation",
            sentence=(
                "Gradients do not vanish in plain networks with batch norm; they do "
                "with sigmoids and without batch norm."
            ),
            source=f"{_HE}, section 4.1",
            published=(
                Published(
                    "gradients of the 34-layer plain network",
                    "the backward propagated gradients exhibit healthy norms with BN",
                    "section 4.1",
                ),
            ),
            measure="gradients_at_initialisation",
            contrasts=(
                Contrast(
                    "normalised",
                    "log10 of the gradient's norm at the first convolution over that "
                    "at the last one, plain network with batch norm and ReLU",
                    "above",
                    -1.0,
                ),
                Contrast(
                    "sigmoid",
                    "the same with sigmoids and without batch norm",
                    "below",
                    -3.0,
                ),
            ),
            budgets=(
                (
                    "miniature",
                    Budget(5, _WEIGHTS, 2, _settings(network="plainnet32", count=16)),
                ),
                (
                    "hours",
                    Budget(
                        10, _WEIGHTS, 20, _settings(network="plainnet110", count=64)
                    ),
                ),
            ),
            remark=(
                "with batch norm gradients grow towards the first layer, 137-fold over "
                "32 layers: they do not vanish, and are not equal either; ReLU alone, "
                "with the weights of He's initialisation, keeps them"
            ),
            log_axes="y",
        ),
        Claim(
            name="responses_shrink_with_depth",
            sentence="The deeper ResNet has smaller magnitudes of responses.",
            source=f"{_HE}, section 4.2, figure 7",
            published=(
                Published(
                    "ResNet-20, 56 and 110 on CIFAR-10",
                    "the deeper ResNet has smaller magnitudes of responses",
                    "section 4.2",
                ),
            ),
            measure="responses",
            contrasts=(
                Contrast(
                    "log_ratio",
                    "log of the mean standard deviation of ResNet-56's responses over "
                    "that of ResNet-20's",
                    "below",
                    0.0,
                ),
            ),
            budgets=(
                ("miniature", Budget(5, _IMAGES, 1, _settings(count=100))),
                ("hours", Budget(5, _IMAGES, 10, _settings(count=5000))),
                (
                    "paper",
                    Budget(5, _WEIGHTS, 50_000, _settings(count=5000), _RESNET56),
                ),
            ),
        ),
        Claim(
            name="residual_responses_are_smaller",
            sentence="ResNets have generally smaller responses than plain networks.",
            source=f"{_HE}, section 4.2, figure 7",
            published=(
                Published(
                    "plain-20, plain-56, ResNet-20, 56 and 110 on CIFAR-10",
                    "ResNets have generally smaller responses than their plain "
                    "counterparts",
                    "section 4.2",
                ),
            ),
            measure="responses",
            contrasts=(
                Contrast(
                    "log_ratio",
                    "log of the mean standard deviation of the residual network's "
                    "responses over that of the plain one's, 20 layers",
                    "below",
                    0.0,
                ),
            ),
            budgets=(
                (
                    "miniature",
                    Budget(
                        5,
                        _TRAINED,
                        8,
                        _settings(
                            count=200, networks=("plain-20", "residual-20"), size=16
                        ),
                        _SHALLOW,
                    ),
                ),
            ),
        ),
        Claim(
            name="cheap_depth",
            sentence=(
                "The 34-layer baseline costs 18% of VGG-19, and its shortcuts cost "
                "neither parameters nor, to speak of, time."
            ),
            source=f"{_HE}, section 3.3, table 1",
            published=(
                Published(
                    "34-layer baseline and VGG-19",
                    "3.6 and 19.6 billion multiply-adds, 18%",
                    "section 3.3",
                ),
                Published(
                    "18, 34, 50, 101 and 152 layers",
                    "1.8, 3.6, 3.8, 7.6 and 11.3 x 10^9",
                    "table 1",
                    checked=False,
                ),
            ),
            measure="cost",
            contrasts=(
                Contrast(
                    "share_of_vgg19",
                    "multiply-adds of the plain 34-layer network over VGG-19's",
                    "below",
                    0.195,
                ),
                Contrast(
                    "table_1",
                    "greatest relative difference from table 1's multiply-adds",
                    "below",
                    0.03,
                ),
                Contrast(
                    "shortcut_parameters",
                    "parameters of ResNet-56 (option A) beyond those of its plain "
                    "counterpart",
                    "below",
                    0.5,
                ),
                Contrast(
                    "shortcut_time",
                    "time of a forward pass of ResNet-56 over that of its plain "
                    "counterpart, least of interleaved rounds",
                    "below",
                    1.10,
                ),
            ),
            remark=(
                "parameters and multiply-adds are as published; time was measured on a "
                "busy machine, where it varies more than the bound allows"
            ),
            budgets=(
                (
                    "miniature",
                    Budget(5, "timing", 2, _settings(rounds=8, count=32)),
                ),
            ),
            tried=(
                "timing operations one by one, which measures their dispatch too (one "
                "seed: 1.09); now a compiled forward pass"
            ),
        ),
        Claim(
            name="deleting_a_block",
            sentence="Deleting one block hurts a residual network little.",
            source="1605.06431, section 4.1",
            published=(
                Published(
                    "ResNet-110, CIFAR-10",
                    "removing any single block has no noticeable effect, but for those "
                    "that downsample",
                    "section 4.1",
                    checked=False,
                ),
            ),
            measure="deletion",
            contrasts=(
                Contrast(
                    "median_increase",
                    "median over blocks of what deleting one adds to the error, "
                    "ResNet-56",
                    "below",
                    0.05,
                ),
            ),
            remark=(
                "one network of 56 layers on lossy JPEG, where it errs in 10%; "
                "from seed to seed the median block cost 2.5 to 6.5 points, the worst "
                "one 8 to 40"
            ),
            budgets=(
                (
                    "miniature",
                    Budget(5, _IMAGES, 2, _settings(count=200, blocks=9)),
                ),
                ("hours", Budget(5, _IMAGES, 60, _settings(count=5000, blocks=27))),
            ),
        ),
        Claim(
            name="deletion_breaks_plain_nets",
            sentence=(
                "Deleting one block takes a plain network to chance, and a residual "
                "one not."
            ),
            source="1605.06431, section 4.1",
            published=(
                Published(
                    "VGG-15 and ResNet-110, CIFAR-10",
                    "removing any layer of VGG takes it to chance",
                    "section 4.1",
                    checked=False,
                ),
            ),
            measure="deletion_compared",
            contrasts=(
                Contrast(
                    "plain_error",
                    "median error of the plain network without one block; chance is "
                    "0.9",
                    "above",
                    0.8,
                ),
                Contrast(
                    "difference",
                    "what deleting one block adds to the error, median over blocks, "
                    "of the plain network minus that of the residual one, 20 layers",
                    "above",
                    0.0,
                ),
            ),
            budgets=(
                (
                    "miniature",
                    Budget(5, _TRAINED, 8, _settings(count=500, size=16), _SHALLOW),
                ),
            ),
        ),
        Claim(
            name="errors_grow_smoothly",
            sentence=(
                "The error of a residual network grows smoothly with the number of "
                "blocks that are deleted or permuted."
            ),
            source="1605.06431, sections 4.2 and 4.3",
            published=(
                Published(
                    "ResNet-110, CIFAR-10",
                    "error increases smoothly when randomly deleting several modules",
                    "figure 5",
                    checked=False,
                ),
            ),
            measure="many_lesions",
            contrasts=(
                Contrast(
                    "deletion_order",
                    "Kendall's rank correlation of the error with the number of blocks "
                    "deleted",
                    "above",
                    0.6,
                ),
                Contrast(
                    "deletion_jump",
                    "greatest step from one number to the next, as a share of the "
                    "whole increase",
                    "below",
                    0.5,
                ),
                Contrast(
                    "permutation_order",
                    "Kendall's rank correlation of the error with the number of pairs "
                    "of blocks swapped",
                    "above",
                    0.6,
                ),
            ),
            remark=(
                "deleting and swapping both raise the error; what is not shown is that "
                "one draw of swaps and 200 images give them in order"
            ),
            budgets=(
                (
                    "miniature",
                    Budget(
                        5,
                        _IMAGES,
                        2,
                        _settings(
                            count=200,
                            deletions=(1, 3, 6, 9, 12, 15),
                            swaps=(1, 3, 6, 9, 12, 15),
                        ),
                    ),
                ),
            ),
        ),
        Claim(
            name="short_paths",
            sentence=(
                "The gradient of a residual network comes along paths much shorter "
                "than most paths are."
            ),
            source="1605.06431, section 5",
            published=(
                Published(
                    "110 layers",
                    "most of the gradient comes from paths that are only 10-34 layers "
                    "deep",
                    "abstract",
                ),
                Published(
                    "54 modules",
                    "mean path length 27, effective paths of 5 to 17 modules",
                    "section 5",
                    checked=False,
                ),
            ),
            measure="paths",
            contrasts=(
                Contrast(
                    "relative_length",
                    "mean length of a path, weighted by its gradient, over half the "
                    "number of blocks, ResNet-56",
                    "below",
                    2 / 3,
                ),
            ),
            budgets=(
                (
                    "miniature",
                    Budget(5, _IMAGES, 2, _settings(count=8, step=3, samples=2)),
                ),
                (
                    "hours",
                    Budget(5, _IMAGES, 60, _settings(count=64, step=1, samples=10)),
                ),
            ),
        ),
        Claim(
            name="norm_preservation",
            sentence=(
                "The more blocks a residual network has, the nearer to 1 is the ratio "
                "of the gradient's norms before and after a block."
            ),
            source="1805.07477",
            published=(
                Published(
                    "residual networks",
                    "as more residual blocks are stacked, the network becomes more "
                    "norm-preserving",
                    "abstract",
                ),
            ),
            measure="norm_preservation",
            contrasts=(
                Contrast(
                    "log_deviation",
                    "log of the mean distance of the ratio from 1 in the deepest "
                    "network over that in the shallowest one; blocks that change "
                    "shapes are left out",
                    "below",
                    0.0,
                ),
            ),
            budgets=(
                (
                    "miniature",
                    Budget(5, _WEIGHTS, 2, _settings(blocks=(2, 4, 8), count=16)),
                ),
                (
                    "hours",
                    Budget(
                        10, _WEIGHTS, 30, _settings(blocks=(3, 9, 18, 36), count=64)
                    ),
                ),
            ),
        ),
        Claim(
            name="shattered_gradients",
            sentence=(
                "The correlation of gradients at different inputs decays exponentially "
                "with depth in plain networks, and sublinearly in residual ones."
            ),
            source="1702.08591",
            published=(
                Published(
                    "plain and residual networks",
                    "decays exponentially with depth; decaying sublinearly",
                    "abstract",
                ),
                Published(
                    "the rates at initialisation",
                    "2^-L plain, L^-1/2 residual with batch norm",
                    "section 3",
                    checked=False,
                ),
            ),
            measure="shattering",
            contrasts=(
                Contrast(
                    "plain_rate",
                    "slope of log2 of the mean correlation over the number of layers, "
                    "plain (published: -1)",
                    "below",
                    -0.5,
                ),
                Contrast(
                    "residual_exponent",
                    "slope of log of the mean correlation over log of the number of "
                    "layers, residual (published: -1/2)",
                    "above",
                    -1.0,
                ),
            ),
            budgets=(
                (
                    "miniature",
                    Budget(
                        5,
                        _WEIGHTS,
                        2,
                        _settings(
                            width=256,
                            count=64,
                            plain=(1, 2, 3, 4, 5),
                            residual=(2, 4, 8, 16, 32),
                        ),
                    ),
                ),
            ),
            tried=(
                "gradients through the batch's own statistics: batch norm centres them "
                "over the batch, so that none are correlated at any depth; now the "
                "statistics are those of the batch, and held"
            ),
            log_axes="xy",
        ),
    )
}
"""The claims by name, in the order of their papers."""
