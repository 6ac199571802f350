"""Writes the model of a run for other runtimes, each compared with the network.

python -m pipelines.export --model=runs/demo --format=onnx,openvino,litert
python -m pipelines.export --model=runs/demo --format=openvino --quantize=int8
"""

from pathlib import Path

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError

_MODEL = flags.DEFINE(cli.Path(), "model", "runs/demo", "The folder of a finished run.")
_FORMAT = flags.DEFINE_list(
    "format", ["onnx"], "Formats, with commas between them: onnx, openvino, litert."
)
_QUANTIZE = flags.DEFINE_list(
    "quantize",
    [],
    "Other numbers than float32, with commas: float16, int8.",
)
_OUTPUT_DIR = flags.DEFINE(
    cli.Path(), "output_dir", None, "Gets the exports; exports/ in the run."
)


def main(arguments: list[str]) -> None:
    """Makes the exports and prints how each compares."""
    cli.refuse(arguments, "format")
    from rich.console import Console

    from pipelines.components.exporter import check, exporter
    from pipelines.components.pusher import about
    from pipelines.reports.summary import print_exports
    from pipelines.runs.folder import Run
    from pipelines.training.model import TrainedModel

    wanted = [
        (name, precision)
        for name in _FORMAT.value
        for precision in _QUANTIZE.value or ["float32"]
    ]
    if not wanted:
        raise UserError("--format is empty; name one or more, such as --format=onnx")
    for name, precision in wanted:
        check(name, precision)
    run = Run(Path(_MODEL.value))
    config = run.read_config()
    examples, model = run.examples(config), TrainedModel.load(run.model_dir)
    directory = Path(_OUTPUT_DIR.value or run.exports_dir)
    made = [
        exporter(
            model,
            examples,
            directory,
            to=name,
            precision=precision,
            about=about(config, examples),
        )
        for name, precision in wanted
    ]
    print_exports(made, Console())


if __name__ == "__main__":
    cli.run(main)
