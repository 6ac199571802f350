"""Judges models on images: errors with intervals, slices, calibration, a blessing.

python -m pipelines.evaluate --model=runs/demo
python -m pipelines.evaluate --model=runs/a --model=runs/b --views=10-crop
python -m pipelines.evaluate --model=runs/b --baseline=runs/a --bless='top1_error<=0.1'
"""

import sys
from pathlib import Path

from absl import flags
from rich.console import Console

from pipelines.command import cli
from pipelines.errors import UserError, unknown

_MODEL = flags.DEFINE_multi_string(
    "model",
    [],
    "A finished run's folder, an exported version, a preset, or PRESET=FILE; several "
    "are an ensemble, whose probabilities are averaged.",
)
_DATA = flags.DEFINE(
    cli.Path(optional=True),
    "data",
    "",
    "What `python -m pipelines.prepare_data` made, or whatever that takes: a folder "
    "with one folder of images per class, an archive, a table. By default what the "
    "first model, a run's, was trained with.",
)
_SPLIT = flags.DEFINE_enum(
    "split", "validation", ["train", "validation"], "Which of the images."
)
_VIEWS = flags.DEFINE_string(
    "views",
    "1-crop",
    "How to look at an image: 1-crop, 1-crop-mirrored, 10-crop, multi-scale or "
    "multi-scale-mirrored (docs/evaluation.md).",
)
_SLICE = flags.DEFINE_multi_string(
    "slice",
    [],
    "Judge by this apart: size, aspect_ratio, brightness, folder, or a feature of the "
    "records such as image/format; may be repeated. By default the first three.",
)
_BASELINE = flags.DEFINE_multi_string(
    "baseline", [], "What to compare with, given as --model is; several likewise."
)
_BLESS = flags.DEFINE_multi_string(
    "bless",
    [],
    "SCORE<=VALUE or SCORE>=VALUE that must hold, such as top1_error<=0.25 or "
    "slices.top1_error<=0.5; may be repeated. Exit status 1 if one does not, or if the "
    "model is worse than --baseline.",
)
_OUTPUT_DIR = flags.DEFINE(
    cli.Path(), "output_dir", "runs/evaluation", "Gets everything that is made."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images per batch.", 1)
_MAX_BAD_SHARE = flags.DEFINE_float(
    "max_bad_share", 0.01, "Stop above this share of damaged records.", 0.0, 1.0
)


def main(arguments: list[str]) -> None:
    """Evaluates, tells and writes, and exits with 1 if the blessing is refused."""
    cli.refuse(arguments, "model")
    if not _MODEL.value:
        raise UserError("no model given; write --model=runs/demo, or a preset's name")
    from pipelines.components.evaluated import Evaluated, examples_for
    from pipelines.components.evaluator import judge
    from pipelines.components.looking import looks
    from pipelines.data import folders
    from pipelines.evaluation.judgement import Threshold, bless
    from pipelines.evaluation.saved import check_folder, save_judgement
    from pipelines.evaluation.slices import DEFAULTS
    from pipelines.evaluation.views import VIEWS
    from pipelines.reports.evaluation_page import write_evaluation_page
    from pipelines.reports.summary import print_judgement

    if _VIEWS.value not in VIEWS:
        raise unknown("way to look at images", _VIEWS.value, VIEWS)
    directory = Path(_OUTPUT_DIR.value)
    check_folder(directory)
    thresholds = [Threshold.parse(text) for text in _BLESS.value]
    with folders.held(directory):
        models = [Evaluated.load(source) for source in _MODEL.value]
        baseline = [Evaluated.load(source) for source in _BASELINE.value]
        examples = examples_for(
            _MODEL.value,
            _DATA.value,
            directory,
            split=_SPLIT.value,
            max_bad_share=_MAX_BAD_SHARE.value,
        )
        found = judge(
            examples,
            models,
            VIEWS[_VIEWS.value],
            baseline=baseline,
            features=_SLICE.value or DEFAULTS,
            split="validation" if "held_out" in examples.made_from else _SPLIT.value,
            batch_size=_BATCH_SIZE.value,
            max_bad_share=_MAX_BAD_SHARE.value,
        )
        checks = bless(found.judgement, thresholds)
        pictures = looks(examples, models[0], found)
        save_judgement(found, checks, directory)
        page = directory / "evaluation.html"
        write_evaluation_page(page, examples, found, checks, pictures)
        print_judgement(found, checks, directory, Console())
    if not all(check.passed for check in checks):
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
