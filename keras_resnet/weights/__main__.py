"""Prints the published weights: python -m keras_resnet.weights [PATTERN]."""

import argparse

from keras_resnet.weights.presets import as_table


def main(arguments: list[str] | None = None) -> None:
    """Prints one row for each preset.

    Args:
        arguments: Those of the command line by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m keras_resnet.weights",
        description="Prints the published weights as rows: network, millions of "
        "parameters, how images are prepared, accuracy and licence.",
    )
    parser.add_argument(
        "pattern", nargs="?", default="*", help="of presets or networks: 'resnet50*'"
    )
    print(as_table(parser.parse_args(arguments).pattern))


if __name__ == "__main__":
    main()
