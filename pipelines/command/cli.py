"""How a command starts, and how it ends when something is wrong."""

import errno
import sys
from collections.abc import Callable

from absl import app, flags, logging

from pipelines import environment
from pipelines.errors import Stopped, UserError, printable

_CPU_SETTINGS = flags.DEFINE_enum(
    "cpu_settings",
    "fast",
    ["fast", "leave"],
    "Environment variables for TensorFlow on CPUs: measured ones, or leave them alone.",
)

USER_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130


def run(main: Callable[[list[str]], None], *, when_interrupted: str = "") -> None:
    """Runs a command's `main` with its flags parsed, and turns bad ends into sentences.

    TensorFlow reads its environment once, when it is imported. The environment is set
    here, so `main` and nothing before it imports what imports TensorFlow.

    Exit status: 0 when done, 2 for what the user can mend, 130 after Ctrl-C, 143 after
    SIGTERM when the command could keep what it had, 75 when another worker was lost.

    Args:
        main: Takes the arguments that are not flags.
        when_interrupted: What to tell after Ctrl-C and when the disk is full.

    Example:

    >>> if __name__ == "__main__":
    ...     cli.run(main)
    """
    app.run(lambda argv: _guarded(main, argv[1:], when_interrupted))


def refuse(arguments: list[str]) -> None:
    """Refuses arguments that are not flags, which are forgotten flags.

    Raises:
        UserError: If there is one.
    """
    if arguments:
        raise UserError(f"{arguments[0]!r} is not a flag; write --data={arguments[0]}")


def _guarded(
    main: Callable[[list[str]], None], arguments: list[str], when_interrupted: str
) -> None:
    # TensorFlow's own reports of progress go through absl too.
    logging.set_verbosity(logging.ERROR)
    environment.prepare(_CPU_SETTINGS.value)
    try:
        main(arguments)
    except UserError as error:
        _exit(f"error: {error}", error.status)
    except Stopped as stopped:
        _exit(f"stopped: {stopped}{when_interrupted}", stopped.status)
    except KeyboardInterrupt:
        _exit(f"interrupted{when_interrupted}", INTERRUPTED_STATUS)
    except Exception as error:
        if not is_disk_full(error):
            raise
        _exit(f"error: the disk is full{when_interrupted}", USER_ERROR_STATUS)


def is_disk_full(error: BaseException) -> bool:
    """Tells whether `error`, from the OS, HDF5 or TensorFlow, says so."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return "no space left on device" in str(error).lower()


def _exit(message: str, status: int) -> None:
    print(printable(message), file=sys.stderr)
    sys.exit(status)
