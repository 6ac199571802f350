"""Fine-tuning a pretrained network with 50 images per class, and the trap in it.

    KERAS_BACKEND=jax python -m benchmarks.finetune \\
        --images=../shared/data/cifar10_jpeg_train.tar.gz \\
        --weights=../shared/data/resnet20_cifar10/resnet20-12fca82f.th

The network is a ResNet-20 that was trained on CIFAR-10's original pixels. The images
are strongly compressed JPEGs of the same classes, numbered in another order, and the
classifier is a new random one. Every arm gets the same images in the same order, under
the same views (pad_crop(4)|flip); accuracy is on images that no arm was trained on.

Batch normalisation trains by the statistics of each batch and evaluates with moving
averages of them. Where the two differ, a network learns in training and stays near
chance in evaluation. The networks of keras.applications average with momentum 0.99,
ours with 0.9: the arms say which.
"""

import argparse
import dataclasses
import io
import statistics
import tarfile

import keras
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import keras_resnet
from keras_resnet.arrays import fit_arrays
from keras_resnet.preprocessing import MODES, preprocess_input
from keras_resnet.training import RECIPES, Recipe

CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to use the images.

    Args:
        label: What the table calls it.
        recipe: How it trains; the views are the same for all.
        pretrained: Whether it starts from the weights.
        momentum: Of the batch norms' moving averages.
        trains_only_norms: Whether the convolutions are frozen and batch norms are not.
    """

    label: str
    recipe: Recipe
    pretrained: bool = True
    momentum: float = 0.9
    trains_only_norms: bool = False


FINETUNE = RECIPES["finetune"]
# What tutorials do: Adam at its default rate on all layers.
TUTORIAL = dataclasses.replace(
    FINETUNE,
    optimizer="adamw",
    decay_form="decoupled",
    learning_rate=1e-3,
    schedule="constant",
    nesterov=False,
    weight_decay=0.0,
    batch_norm="local",
    frozen_stages=(),
    stage_rate_decay=1.0,
)
SCRATCH = dataclasses.replace(RECIPES["onecycle_cifar"], batch_size=32)


def changed(recipe: Recipe, **changes: object) -> Recipe:
    views = {"augmentation": "pad_crop(4)|flip", "resize_ratio": 1.0}
    return dataclasses.replace(recipe, **{**views, **changes})


def arms(epochs: int, batch: int) -> list[Arm]:
    length = {"epochs": epochs, "batch_size": batch}
    tutorial = changed(TUTORIAL, **length)
    return [
        Arm("recipe finetune", changed(FINETUNE, **length)),
        Arm("recipe finetune, but batch norms train", changed(
            FINETUNE, **length, batch_norm="local")),
        Arm("the same, momentum 0.99", changed(
            FINETUNE, **length, batch_norm="local"), momentum=0.99),
        Arm("all layers, Adam 1e-3", tutorial),
        Arm("the same, momentum 0.99", tutorial, momentum=0.99),
        Arm("frozen convolutions, batch norms train, momentum 0.99", tutorial,
            momentum=0.99, trains_only_norms=True),
        Arm("from scratch, onecycle_cifar", changed(SCRATCH, **length),
            pretrained=False),
    ]  # fmt: skip


def read(path: str, per_class: int, held_out: int) -> list[np.ndarray]:
    """Returns images and labels to train on, then those to evaluate on."""
    found: dict[str, list[np.ndarray]] = {}
    wanted = per_class + held_out // CLASSES
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.name.endswith(".jpg"):
                continue
            images = found.setdefault(member.name.split("/")[-2], [])
            if len(images) < wanted:
                encoded = archive.extractfile(member)
                assert encoded is not None
                with Image.open(io.BytesIO(encoded.read())) as image:
                    images.append(np.asarray(image.convert("RGB")))
    # In another order than that of the classifier that is thrown away.
    names = sorted(found, key=lambda name: name[::-1])
    split = []
    for part in (slice(per_class), slice(per_class, wanted)):
        split.append(np.concatenate([found[name][part] for name in names]))
        counts = [len(found[name][part]) for name in names]
        split.append(np.repeat(np.arange(CLASSES), counts))
    return split


def network(arm: Arm, weights: str, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    fresh = keras_resnet.create("resnet20", classes=CLASSES)
    if not arm.pretrained:
        return fresh
    model = keras_resnet.create("resnet20", weights=weights)
    model.layers[-1].set_weights(fresh.layers[-1].get_weights())
    for layer in model.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        if is_norm:
            layer.momentum = arm.momentum
        elif arm.trains_only_norms and layer is not model.layers[-1]:
            layer.trainable = False
    return model


def top1(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    inputs = preprocess_input(images, mode=MODES["torch"])
    answers = model.predict(inputs, batch_size=250, verbose=0).argmax(axis=1)
    return float(np.mean(answers == labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="tar of folders of images")
    parser.add_argument("--weights", required=True, help="of a ResNet-20")
    parser.add_argument("--per_class", type=int, default=50)
    parser.add_argument("--held_out", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=FINETUNE.epochs)
    parser.add_argument("--batch", type=int, default=FINETUNE.batch_size)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default="", help="numbers with commas; all if empty")
    flags = parser.parse_args()

    console = Console()
    images, labels, other_images, other_labels = read(
        flags.images, flags.per_class, flags.held_out
    )
    table = Table(
        title=f"{len(images)} training images, {flags.epochs} epochs of "
        f"{len(images) // flags.batch} steps with {flags.batch} images; top-1 in "
        f"percent on {len(other_images)} others"
    )
    for column in ("", "median", "all seeds", "in training, last epoch"):
        table.add_column(column, overflow="fold")
    chosen = arms(flags.epochs, flags.batch)
    if flags.arms:
        chosen = [chosen[int(number)] for number in flags.arms.split(",")]
    for arm in chosen:
        scores, training = [], []
        for seed in range(flags.seeds):
            fitted = fit_arrays(
                network(arm, flags.weights, seed),
                arm.recipe,
                images,
                labels,
                seed=seed,
                verbose=0,
            )
            scores.append(100 * top1(fitted.model, other_images, other_labels))
            training.append(100 * float(fitted.history.history["top1"][-1]))
            console.print(f"{arm.label}, seed {seed}: {scores[-1]:.1f}")
        table.add_row(
            arm.label,
            f"{statistics.median(scores):.1f}",
            " ".join(f"{score:.1f}" for score in scores),
            f"{statistics.median(training):.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
