"""What `--pack` gains in decoding speed and costs in quality.

    python -m benchmarks.packing --images=FOLDER

Decodes the images of a folder, and the same packed with several settings: images/s of
`decode` in one thread, all contestants in turn, the best of the rounds. Quality is that
of the 224x224 crop of evaluation (shorter side 256): the PSNR of the crop from the
packed image against that from the found one, as mean and least over the images that
packing changed.
"""

import argparse
import pathlib
import time

import numpy as np
import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.images import decode
from pipelines.data.packing import Packing
from pipelines.data.preprocessing import prepare

SETTINGS = ((256, 80), (256, 90), (256, 95), (320, 90), (400, 90), (512, 90))
EVALUATION = Preprocessing(crop=224, resize=256)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def decode_all(images: tf.Tensor) -> tf.Tensor:
    """Decodes one image after the other; returns something of each."""
    return tf.map_fn(
        lambda image: tf.shape(decode(image))[0],
        images,
        fn_output_signature=tf.int32,
        parallel_iterations=1,
    )


def rates(contestants: list[tf.Tensor], rounds: int) -> list[float]:
    """Images/s of each contestant in its best round."""
    best = [float("inf")] * len(contestants)
    for _ in range(1 + rounds):
        for index, images in enumerate(contestants):
            start = time.perf_counter()
            decode_all(images)
            best[index] = min(best[index], time.perf_counter() - start)
    return [
        len(images) / seconds for images, seconds in zip(contestants, best, strict=True)
    ]


def crops(images: list[bytes]) -> np.ndarray:
    """The evaluation crops, `(images, 224, 224, 3)` in 0..255."""
    prepared = [prepare(tf.constant(image), EVALUATION).numpy() for image in images]
    return np.stack(prepared).astype(np.float32)


def psnr(made: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of each image, infinite for equal ones."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / np.square(made - expected).mean(axis=(1, 2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=200, help="images used")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    paths = sorted(path for path in arguments.images.rglob("*") if path.is_file())
    step = max(1, len(paths) // arguments.count)
    found = [path.read_bytes() for path in paths[::step]][: arguments.count]
    expected = crops(found)
    packed = {
        f"short_side:{short_side},quality:{quality}": [
            Packing(short_side, quality).pack(image) for image in found
        ]
        for short_side, quality in SETTINGS
    }
    contestants = {"as found": found, **packed}
    speeds = rates(
        [tf.constant(images) for images in contestants.values()], arguments.rounds
    )
    print(f"{len(found):5} images {'KiB':>20} images/s  ratio changed mean dB least dB")
    for (name, images), speed in zip(contestants.items(), speeds, strict=True):
        line = f"{name:27} {sum(map(len, images)) / len(images) / 1024:5.1f}"
        line += f" {speed:8.0f} {speed / speeds[0]:5.2f}x"
        changed = np.array([a != b for a, b in zip(images, found, strict=True)])
        if changed.any():
            quality = psnr(crops(images)[changed], expected[changed])
            line += f" {changed.sum():7} {quality.mean():7.1f} {quality.min():8.1f}"
        print(line)


if __name__ == "__main__":
    main()
