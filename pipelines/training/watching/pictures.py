"""Pictures of what a network gets wrong."""

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from keras_resnet.analysis import mistakes

_COLUMNS, _ROWS = 4, 4
_SIDE, _LINE, _GAP = 160, 16, 8
_MOST_CLASSES = 20
_NAME = 16


def draw_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> np.ndarray | None:
    """Draws the 16 hardest mistakes, each with its label and what it was taken for.

    Args:
        images: uint8 `(images, height, width, 3)`, RGB.
        labels: Integers `(images,)`.
        probabilities: `(images, classes)`.
        classes: The class names.

    Returns:
        uint8 `(height, width, 3)`, or None if nothing was wrong.
    """
    hardest = mistakes.hardest(probabilities, labels)[: _COLUMNS * _ROWS]
    if not len(hardest):
        return None
    predictions = mistakes.taken_for(probabilities, labels)
    rows = -(-len(hardest) // _COLUMNS)
    width, height = _SIDE + _GAP, _SIDE + 2 * _LINE + _GAP
    page = Image.new("RGB", (_COLUMNS * width, rows * height), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(12)
    for place, index in enumerate(hardest):
        left, top = place % _COLUMNS * width, place // _COLUMNS * height
        picture = Image.fromarray(images[index])
        # Small pictures are shown with their pixels.
        is_small = max(picture.size) < _SIDE
        filter_ = Image.Resampling.NEAREST if is_small else Image.Resampling.BILINEAR
        page.paste(picture.resize((_SIDE, _SIDE), filter_), (left, top))
        for line, (title, class_) in enumerate(
            (("", labels[index]), ("taken for ", predictions[index]))
        ):
            text = (
                f"{title}{_short(classes[class_])} {probabilities[index, class_]:.0%}"
            )
            at = (left + 2, top + _SIDE + line * _LINE)
            draw.text(at, text, "black", font)
    return np.asarray(page)


def draw_confusion(counts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draws a confusion matrix, of the 20 most confused classes where there are more.

    Args:
        counts: As `keras_resnet.analysis.mistakes.confusion` gives them.
        classes: The class names.

    Returns:
        uint8 `(height, width, 3)`.
    """
    wrong = counts - np.diag(np.diag(counts))
    confused = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")
    shown = np.sort(confused[:_MOST_CLASSES])
    counts = counts[np.ix_(shown, shown)]
    names = [_short(classes[index]) for index in shown]
    side = 2.5 + 0.35 * len(shown)
    figure = Figure(figsize=(side, side), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    axes.set(xlabel="prediction", ylabel="label")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    middle = counts.max() / 2
    for row, column in zip(*np.nonzero(counts), strict=True):
        count = counts[row, column]
        colour = "white" if count > middle else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
