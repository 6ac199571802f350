"""The curves of a training run."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines import files
from pipelines.training.history import read_columns


def plot_curves(history: Path, picture: Path) -> None:
    """Draws loss, top-1 error and learning rate per epoch, as the paper's Figure 6.

    Args:
        history: `history.csv` as the trainer writes it.
        picture: The PNG to write.
    """
    columns = read_columns(history)
    epochs = columns["epoch"] + 1

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, error, rate = figure.subplots(1, 3)
    for prefix, style, label in (("", "--", "training"), ("val_", "-", "validation")):
        loss.plot(epochs, columns[f"{prefix}loss"], style, label=label)
        error.plot(epochs, 100 * (1 - columns[f"{prefix}top1"]), style, label=label)
    rate.plot(epochs, columns["learning_rate"], "-")
    for axes, title in (
        (loss, "loss"),
        (error, "top-1 error (%)"),
        (rate, "learning rate"),
    ):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    error.set_ylim(bottom=0)
    loss.legend()
    with files.replacing(picture) as temporary:
        figure.savefig(temporary, dpi=100)
