"""How far our resizing is from Pillow's and torchvision's, in levels of 255.

    python -m benchmarks.resize_parity --images=../shared/data/imagenet_sample

Evaluation: the shorter side scaled to 256, the central 224 cropped, beside
torchvision's Resize and CenterCrop of the Pillow image and of the tensor (both
antialiased). Training: the window of `inception_crop` as it is decoded and scaled
here, beside Pillow's antialiased resizing of the same window, and beside full decoding
with TensorFlow's plain bilinear resizing, which many pipelines do.

Torchvision is compared if installed: pip install '.[peers]'.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.table import Table

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.augmentation import KERNELS, Augmentation
from pipelines.data.images import decode
from pipelines.data.preprocessing import prepare

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIZES = (224, 112, 56)


def evaluation_differences(
    encoded: bytes, interpolation: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the differences to each peer, by its name."""
    preprocessing = Preprocessing(crop=224, resize=256, interpolation=interpolation)
    ours = prepare(tf.constant(encoded), preprocessing).numpy().astype(float)
    picture = Image.fromarray(decode(tf.constant(encoded)).numpy())
    short = min(picture.size)
    sides = [int(256 * side / short) for side in picture.size]
    left, top = (round((side - 224) / 2) for side in sides)
    scaled = picture.resize(tuple(sides), FILTERS[interpolation])
    cropped = scaled.crop((left, top, left + 224, top + 224))
    yield f"evaluation, {interpolation}, Pillow", ours - np.asarray(cropped)
    try:
        import torch
        from torchvision.transforms import v2
    except (ImportError, RuntimeError):
        return
    mode = v2.InterpolationMode(interpolation)
    transform = v2.Compose([v2.Resize(256, mode, antialias=True), v2.CenterCrop(224)])
    for name, image in (
        ("torchvision (Pillow image)", picture),
        ("torchvision (tensor)", torch.from_numpy(np.array(picture)).permute(2, 0, 1)),
    ):
        theirs = transform(image)
        if isinstance(theirs, torch.Tensor):
            theirs = theirs.permute(1, 2, 0)
        yield f"evaluation, {interpolation}, {name}", ours - np.asarray(theirs)


def training_differences(
    encoded: bytes, index: int, size: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the differences to Pillow of our view and of plain resizing."""
    preprocessing = Preprocessing(crop=size, resize=size)
    seed = tf.constant([0, index], tf.int64)
    augmentation = Augmentation.parse("inception_crop(0.08,1)")
    view = augmentation.view(tf.constant(encoded), preprocessing, seed).numpy()
    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    image = tf.constant([picture.height, picture.width])
    operation = augmentation.operations[0]
    draw = KERNELS[type(operation)].draw_window
    window = draw(operation, image, seed, size).numpy()
    top, left, height, width = (int(n) for n in window)
    # A window that is decoded at a fraction has whole pixels of the fraction as edges.
    shrinkage = max(min(height, width) / size, 1)
    ratio = max(ratio for ratio in (1, 2, 4, 8) if ratio <= shrinkage)
    top, left, height, width = (n // ratio * ratio for n in (top, left, height, width))
    box = (left, top, left + width, top + height)
    best = picture.resize((size, size), Image.Resampling.BILINEAR, box)
    crop = decode(tf.constant(encoded))[top : top + height, left : left + width]
    plain = tf.image.resize(crop, [size, size]).numpy()
    kind = "half or less" if min(height, width) >= 2 * size else "more than half"
    for name, pixels in (("ours", view.astype(float)), ("plain bilinear", plain)):
        yield f"training at {size}, {kind} of the size, {name}", pixels - best


def main() -> None:
    """Prints a table of mean and largest differences."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--count", type=int, default=100, help="how many of them")
    arguments = parser.parse_args()
    paths = sorted(arguments.images.rglob("*.[jJ][pP]*[gG]"))[: arguments.count]
    differences: dict[str, list[np.ndarray]] = {}
    for index, path in enumerate(paths):
        encoded = path.read_bytes()
        pairs = [
            pair for name in FILTERS for pair in evaluation_differences(encoded, name)
        ]
        for size in SIZES:
            pairs += training_differences(encoded, index, size)
        for name, difference in pairs:
            differences.setdefault(name, []).append(np.abs(difference))
    table = Table("compared with", "images", "mean", "99.9%", "largest")
    for name, arrays in sorted(differences.items()):
        values = np.concatenate([array.ravel() for array in arrays])
        row = (values.mean(), np.quantile(values, 0.999), values.max())
        table.add_row(name, str(len(arrays)), *(f"{value:.2f}" for value in row))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
