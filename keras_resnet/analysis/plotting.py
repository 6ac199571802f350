"""What all plots of this package share."""

from typing import Any

import numpy as np


def new_axes(axes: Any = None, **labels: Any) -> Any:
    """Returns matplotlib axes with titles: those given, or those of a new figure.

    matplotlib is imported here alone, for it is needed for pictures only.

    Args:
        axes: `matplotlib.axes.Axes`, None for a new figure.
        **labels: As for `Axes.set`, such as `xlabel` and `title`.
    """
    if axes is None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
    axes.set(**labels)
    axes.grid(alpha=0.3)
    return axes


def plot_images(images: np.ndarray, axes: Any = None, columns: int = 8) -> Any:
    """Draws images, filters or maps beside each other.

    Args:
        images: `(count, height, width)` or `(count, height, width, channels)` with one
            or three channels, in 0..1.
        axes: Where to draw. Defaults to a new figure.
        columns: How many stand in a row.

    Returns:
        The `matplotlib.axes.Axes`.

    Example:

    >>> axes = plot_images(keras_resnet.analysis.first_filters(model))
    >>> axes.figure.savefig("filters.png")
    """
    if images.ndim == 3:
        images = images[..., None]
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, channels))
    for index, image in enumerate(images):
        top = index // columns * (height + 1)
        left = index % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image
    axes = new_axes(axes, xticks=[], yticks=[])
    axes.grid(False)
    axes.imshow(sheet[..., 0] if channels == 1 else sheet, cmap="gray", vmin=0, vmax=1)
    return axes
