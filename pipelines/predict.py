"""Names what is in images, with the model of a run.

python -m pipelines.predict --model=runs/demo photo.jpg other.png
python -m pipelines.predict --model=runs/demo --output=photos.csv photos/
"""

import sys
from pathlib import Path

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError, printable

_MODEL = flags.DEFINE(
    cli.Path(), "model", "runs/demo", "A run's folder, or that of one exported version."
)
_OUTPUT = flags.DEFINE(
    cli.Path(),
    "output",
    None,
    "A new .csv or .jsonl file that gets a row for each image.",
)
_EMBEDDINGS = flags.DEFINE_bool(
    "embeddings", False, "Write the pooled features of each image, too."
)


def main(arguments: list[str]) -> None:
    """Prints or writes the best classes of every image; exits with 1 if one failed."""
    if _EMBEDDINGS.value and not _OUTPUT.value:
        raise UserError("--embeddings are written, not printed; give an --output")
    from rich import progress
    from rich.console import Console

    from pipelines.components.predictor import check_output, image_files, predictor
    from pipelines.serving.local import load_classifier
    from pipelines.serving.versions import find_version

    paths = image_files(arguments)
    if _OUTPUT.value:
        output = Path(_OUTPUT.value)
        check_output(output)
        with progress.Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("images", total=len(paths))
            problems = predictor(
                Path(_MODEL.value),
                paths,
                output,
                embeddings=_EMBEDDINGS.value,
                progress=lambda done: bar.update(task, completed=done),
            )
        print(f"{len(paths)} rows in {printable(output)}")
    else:
        classify = load_classifier(find_version(Path(_MODEL.value)))
        problems = []
        for path in paths:
            (answer,) = classify([path])
            if answer.problem:
                problems.append(f"{path}: {answer.problem}")
                continue
            print(printable(path))
            for name, probability in zip(
                answer.classes, answer.probabilities, strict=True
            ):
                print(f"  {probability:7.2%}  {printable(name)}")
    for problem in problems:
        print(printable(problem), file=sys.stderr)
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
