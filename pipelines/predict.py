"""Names what is in images, with the model of a run.

python -m pipelines.predict --model=runs/demo photo.jpg other.png
"""

import sys
from pathlib import Path

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError, printable

_MODEL = flags.DEFINE(
    cli.Path(),
    "model",
    "runs/demo",
    "A run's folder, or that of one exported version.",
)


def main(arguments: list[str]) -> None:
    """Prints the five best classes of every image, and exits with 1 if one failed."""
    if not arguments:
        raise UserError("no images given; name one or more JPEG or PNG files")
    from pipelines.serving.local import load_classifier

    classify = load_classifier(Path(_MODEL.value))
    failures = 0
    for path in arguments:
        try:
            answer = classify(Path(path))
        except UserError as error:
            print(printable(f"{path}: {error}"), file=sys.stderr)
            failures += 1
            continue
        print(printable(path))
        for name, probability in answer:
            print(f"  {probability:7.2%}  {printable(name)}")
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
