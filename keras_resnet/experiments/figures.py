"""The figure of a claim, drawn from its points."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnet.experiments.claim import Claim
from keras_resnet.experiments.measurements import Point


def figure(claim: Claim, points: Sequence[Point]) -> Any:
    """Draws the panels of a claim's figure, as in its paper.

    Lines are means over the seeds, and the bands around them hold all seeds.

    Args:
        claim: The claim.
        points: Those of all seeds.

    Returns:
        A `matplotlib.figure.Figure`, readable on light and on dark ground.

    Example:

    >>> figure(claim, points).savefig("claim.png")
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(point.panel for point in points))
    drawn = Figure(figsize=(4.8 * len(panels), 3.4), layout="constrained")
    drawn.set_facecolor("white")
    FigureCanvasAgg(drawn)
    for axes, panel in zip(
        drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        own = [point for point in points if point.panel == panel]
        for series in dict.fromkeys(point.series for point in own):
            values: dict[float, list[float]] = {}
            for point in own:
                if point.series == series:
                    values.setdefault(point.x, []).append(point.y)
            xs = sorted(values)
            axes.plot(xs, [np.mean(values[x]) for x in xs], ".-", label=series)
            bounds = [[limit(values[x]) for x in xs] for limit in (min, max)]
            axes.fill_between(xs, *bounds, alpha=0.2)
        x_label, _, y_label = panel.partition("; ")
        axes.set(xlabel=x_label, ylabel=y_label)
        for axis in claim.log_axes:
            axes.set(**{f"{axis}scale": "log"})
        axes.grid(alpha=0.3)
        axes.legend()
    return drawn
