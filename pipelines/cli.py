"""How a command starts, and how it ends when something is wrong."""

import errno
import sys
from collections.abc import Callable

from absl import app, logging

from pipelines.errors import UserError

USER_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a command's `main` with its flags parsed, and turns bad ends into sentences.

    Exit status: 0 when done, 2 for what the user can mend, 130 after Ctrl-C.

    Args:
        main: Takes the arguments that are not flags.

    Example:

    >>> if __name__ == "__main__":
    ...     cli.run(main)
    """
    app.run(lambda argv: _guarded(main, argv[1:]))


def _guarded(main: Callable[[list[str]], None], arguments: list[str]) -> None:
    # TensorFlow's own reports of progress go through absl too.
    logging.set_verbosity(logging.ERROR)
    try:
        main(arguments)
    except UserError as error:
        _exit(f"error: {error}", USER_ERROR_STATUS)
    except KeyboardInterrupt:
        _exit(
            "interrupted: the same command goes on from the last finished epoch",
            INTERRUPTED_STATUS,
        )
    except Exception as error:
        if not is_disk_full(error):
            raise
        _exit(
            "error: the disk is full; make room, then run the same command again",
            USER_ERROR_STATUS,
        )


def is_disk_full(error: BaseException) -> bool:
    """Tells whether `error`, from the OS, HDF5 or TensorFlow, says so."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return "no space left on device" in str(error).lower()


def _exit(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
