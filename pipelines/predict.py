"""Names what is in images, with the model of a run.

python -m pipelines.predict --model=runs/demo photo.jpg other.png
python -m pipelines.predict --model=runs/demo --output=photos.csv photos/ more.tar.gz
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError, printable

if TYPE_CHECKING:
    from pipelines.components.predictor import Wanted
    from pipelines.data.unlabelled import Images

_MODEL = flags.DEFINE(
    cli.Path(), "model", "runs/demo", "A run's folder, or that of one exported version."
)
_OUTPUT = flags.DEFINE(
    cli.Path(),
    "output",
    None,
    "A new .csv, .jsonl or .parquet file that gets a row for each image.",
)
_PROBABILITIES = flags.DEFINE_bool(
    "probabilities", False, "Write the probabilities of all classes, too."
)
_EMBEDDINGS = flags.DEFINE_bool(
    "embeddings", False, "Write the pooled features of each image, too."
)
_NEIGHBOURS = flags.DEFINE(
    cli.Path(optional=True),
    "neighbours",
    "",
    "Name the most similar images, too: among those in a .parquet file that was "
    "written with --embeddings, or a run's training images.",
)
_NEIGHBOUR_COUNT = flags.DEFINE_integer("neighbour_count", 5, "How many of them.", 1)
_BEAM_ARGS = flags.DEFINE_string(
    "beam_args",
    None,
    "Have Apache Beam do the work, with these flags of its own, such as "
    "--runner=FlinkRunner; empty for its local runner. --output is a folder then.",
)


def main(arguments: list[str]) -> None:
    """Prints or writes the best classes of every image; exits with 1 if one failed."""
    for flag in (_PROBABILITIES, _EMBEDDINGS, _BEAM_ARGS):
        if flag.present and not _OUTPUT.value:
            raise UserError(
                f"--{flag.name} is for what is written, not printed; give an --output"
            )
    from pipelines.components.predictor import Wanted, check_output
    from pipelines.data.unlabelled import Images

    wanted = Wanted(
        probabilities=_PROBABILITIES.value,
        embeddings=_EMBEDDINGS.value,
        neighbours=_NEIGHBOURS.value,
        neighbour_count=_NEIGHBOUR_COUNT.value,
    )
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output:
        check_output(output)
    images = Images.listed(tuple(arguments))
    problems = _write(images, output, wanted) if output else _print(images, wanted)
    for problem in problems:
        print(printable(problem), file=sys.stderr)
    if problems:
        sys.exit(1)


def _write(images: "Images", output: Path, wanted: "Wanted") -> list[str]:
    from rich import progress
    from rich.console import Console

    from pipelines.components.predictor import predictor
    from pipelines.serving.local import Pace

    pace = Pace()
    with progress.Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("images", total=images.count)
        problems = predictor(
            Path(_MODEL.value),
            images,
            output,
            wanted=wanted,
            beam_args=_BEAM_ARGS.value,
            pace=pace,
            progress=lambda done: bar.update(task, completed=done),
        )
    print(f"{images.count:,} rows in {printable(output)}")
    if pace.images:
        print(
            f"{pace.images / pace.seconds:,.0f} images/s, of which the network waited "
            f"{pace.waited / pace.seconds:.1%}"
        )
    return problems


def _print(images: "Images", wanted: "Wanted") -> list[str]:
    from pipelines.components.predictor import open_index
    from pipelines.serving.local import LocalModel
    from pipelines.serving.versions import find_version

    model = LocalModel.load(find_version(Path(_MODEL.value)))
    index = open_index(wanted, model)
    problems = []
    for answers in model.answers(images):
        found = index and index.nearest(answers.features, wanted.neighbour_count)
        for row, (path, problem) in enumerate(
            zip(answers.paths, answers.problems, strict=True)
        ):
            if problem:
                problems.append(f"{path}: {problem}")
                continue
            print(printable(path))
            for label in answers.best[row]:
                probability = answers.probabilities[row, label]
                print(f"  {probability:7.2%}  {printable(model.classes[label])}")
            if found:
                print("  like")
                for near, similarity in zip(
                    found.paths[row], found.similarities[row], strict=True
                ):
                    print(f"  {similarity:7.4f}  {printable(near)}")
    return problems


if __name__ == "__main__":
    cli.run(main)
