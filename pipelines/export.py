"""Writes the model of a run for other runtimes, each compared with the network.

python -m pipelines.export --model=runs/demo --format=onnx,openvino,litert
python -m pipelines.export --model=runs/demo --format=openvino --quantize=int8
python -m pipelines.export --format=saved_model --calibration=runs/evaluation
"""

from pathlib import Path
from typing import Any

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError

_MODEL = flags.DEFINE(cli.Path(), "model", "runs/demo", "The folder of a finished run.")
_FORMAT = flags.DEFINE_list(
    "format",
    ["onnx"],
    "Formats, with commas between them: saved_model, onnx, openvino, litert, "
    "stablehlo.",
)
_QUANTIZE = flags.DEFINE_list(
    "quantize",
    [],
    "Other numbers than float32, with commas: float16, int8.",
)
_CALIBRATION = flags.DEFINE(
    cli.Path(),
    "calibration",
    None,
    "Divide logits by the temperature that this evaluation.json of the model has, or "
    "the one in this folder, as `python -m pipelines.evaluate` fits it.",
)
_OUTPUT_DIR = flags.DEFINE(
    cli.Path(), "output_dir", None, "Gets the exports; exports/ in the run."
)


def main(arguments: list[str]) -> None:
    """Makes the exports and prints how each compares."""
    cli.refuse(arguments, "format")
    import dataclasses

    from rich.console import Console

    from pipelines.components.exporter import SAVED_MODEL, check, exporter
    from pipelines.components.pusher import about, saved_model
    from pipelines.evaluation.saved import Evaluation, load_calibration
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
    more: dict[str, Any] = {}
    if found := Evaluation.load(run.evaluation_path, model.made_from):
        more["top1_error"] = found.metrics.top1_error
    if _CALIBRATION.value:
        path = Path(_CALIBRATION.value)
        path = path / "evaluation.json" if path.is_dir() else path
        more["calibration"] = load_calibration(path, model.made_from["model"])
        temperature = more["calibration"]["temperature"]
        model = dataclasses.replace(model, temperature=temperature)
    note = about(config, examples, **more)
    made = []
    for name, precision in wanted:
        if name == SAVED_MODEL:
            served = directory / model.network.name / f"{name}-{precision}"
            print(saved_model(model, served, note))
        else:
            made.append(
                exporter(
                    model, examples, directory, to=name, precision=precision, about=note
                )
            )
    if made:
        print_exports(made, Console())


if __name__ == "__main__":
    cli.run(main)
