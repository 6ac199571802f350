"""How well a linear model on pixels does on the default drawings: hardly.

Every drawing of the default set is scaled to a shorter side of 32 pixels, cropped to
its central 32x32 square, and given as 3,072 raw values to a ridge regression on
one-hot labels, whose greatest output is the answer. The first 80% of the drawings
train it; the rest, which it never saw, test it. Of several regularisation strengths
the best *on the test drawings* counts, which can only flatter the linear model.

    python -m benchmarks.linear_on_drawings

Seen with NumPy 2.4 and Pillow 13.0: 17.2% top-1, chance being 10%.
"""

import io

import numpy as np
from PIL import Image, ImageOps

from pipelines.data.drawings import DEFAULT_COUNT, DEFAULT_SEED, SHAPES, draw

SIZE = 32
STRENGTHS = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)  # Of the ridge, for pixels in 0..1.


def pixels(encoded: bytes) -> np.ndarray:
    """Decodes a drawing to its central square, `(SIZE * SIZE * 3,)` in 0..1."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    square = ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(square, np.float64).ravel() / 255


def top1_by_strength(images: np.ndarray, labels: np.ndarray) -> dict[float, float]:
    """Trains on the first 80% of the examples and tests on the rest."""
    split = len(labels) * 4 // 5
    targets = np.eye(len(SHAPES))[labels[:split]]
    mean, bias = images[:split].mean(axis=0), targets.mean(axis=0)
    train, test = images[:split] - mean, images[split:] - mean
    covariance, correlation = train.T @ train, train.T @ (targets - bias)
    top1 = {}
    for strength in STRENGTHS:
        ridge = covariance + strength * np.eye(len(covariance))
        answers = (test @ np.linalg.solve(ridge, correlation) + bias).argmax(axis=1)
        top1[strength] = float((answers == labels[split:]).mean())
    return top1


def main() -> None:
    drawings = list(draw(DEFAULT_COUNT, DEFAULT_SEED))
    images = np.stack([pixels(drawing.image) for drawing in drawings])
    labels = np.array([list(SHAPES).index(drawing.class_name) for drawing in drawings])
    top1 = top1_by_strength(images, labels)
    for strength, value in top1.items():
        print(f"ridge strength {strength:8g}: top-1 {value:6.1%}")
    print(f"best: {max(top1.values()):.1%}; chance: {1 / len(SHAPES):.1%}")


if __name__ == "__main__":
    main()
