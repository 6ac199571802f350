"""How a command starts, and how it ends when something is wrong."""

import dataclasses
import difflib
import errno
import os
import sys
import textwrap
from collections.abc import Callable, Iterator

from absl import flags, logging

from pipelines import environment
from pipelines.errors import Stopped, UserError, printable

_CPU_SETTINGS = flags.DEFINE_enum(
    "cpu_settings",
    "fast",
    ["fast", "leave"],
    "Environment variables for TensorFlow on CPUs: measured ones, or leave them alone.",
)
_HELP = flags.DEFINE_bool("help", False, "List the flags.", short_name="h")

USER_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130


class Path(flags.ArgumentParser):
    """The parser of a flag that names a file or folder of this machine.

    Args:
        optional: Whether the flag may be empty.
        or_url: Whether it may name something else that other hosts have.

    Example:

    >>> flags.DEFINE(cli.Path(), "output_dir", "runs/demo", "Gets all that is made.")
    """

    def __init__(self, *, optional: bool = False, or_url: bool = False):
        self._optional = optional
        self._or_url = or_url

    def parse(self, argument: str) -> str:
        """Returns the path, `~` in front replaced as shells do.

        Raises:
            ValueError: If it is empty, a URL, or below the home of an unknown user.
        """
        if not argument and not self._optional:
            raise ValueError("it is empty; give a path, or leave the flag out")
        scheme, colon, _ = argument.partition("://")
        if colon and not self._or_url:
            raise ValueError(
                f"{scheme}:// is not supported; give a path on this machine, such as "
                "where that storage is mounted"
            )
        path = os.path.expanduser(argument)
        if path.startswith("~"):
            user = path.partition("/")[0]
            raise ValueError(f"there is no user {user[1:]}; write ./{user} for a file")
        return path


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
    # TensorFlow's own reports of progress go through absl too.
    logging.set_verbosity(logging.ERROR)
    try:
        arguments = _parse(sys.argv)
        if _HELP.value:
            print("\n".join(_help()))
            return
        environment.prepare(_CPU_SETTINGS.value)
        main(arguments)
    except UserError as error:
        _exit(f"error: {error}", error.status)
    except Stopped as stopped:
        _exit(f"stopped: {stopped}{when_interrupted}", stopped.status)
    except KeyboardInterrupt:
        _exit(f"interrupted{when_interrupted}", INTERRUPTED_STATUS)
    except Exception as error:
        if is_disk_full(error):
            problem = f"the disk is full{when_interrupted}"
        elif is_denied(error):
            where = getattr(error, "filename", None) or error
            problem = (
                f"this user may not read or write {where}; change its permissions, or "
                "give another path"
            )
        else:
            raise
        _exit(f"error: {problem}", USER_ERROR_STATUS)


def refuse(arguments: list[str], flag: str = "data") -> None:
    """Refuses arguments that are not flags, which are forgotten flags.

    Args:
        arguments: What is not a flag.
        flag: The flag that was meant, most likely.

    Raises:
        UserError: If there is one.
    """
    for argument in arguments:
        raise UserError(f"{argument!r} is not a flag; write --{flag}={argument}")


def is_disk_full(error: BaseException) -> bool:
    """Tells whether `error`, from the OS, HDF5 or TensorFlow, says so."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return "no space left on device" in str(error).lower()


def is_denied(error: BaseException) -> bool:
    """Tells whether `error`, from the OS, HDF5 or TensorFlow, says so of a file."""
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return True
    return (
        isinstance(error, PermissionError) or "permission denied" in str(error).lower()
    )


def _parse(words: list[str]) -> list[str]:
    """Sets the flags and returns the other arguments."""
    try:
        return flags.FLAGS(words)[1:]
    except flags.UnrecognizedFlagError as error:
        raise UserError(_unknown(error.flagname, words)) from None
    except flags.IllegalFlagValueError as error:
        said = str(error).removeprefix("flag ")
        given = said.partition(": ")[0]
        flag = flags.FLAGS[given.removeprefix("--").partition("=")[0]]
        wanted = "true or false" if flag.boolean else flag.parser.syntactic_help
        raise UserError(f"{given} is not {wanted}" if wanted else said) from None
    except flags.Error as error:
        raise UserError(f"{error}; --help lists the flags") from None


def _unknown(name: str, words: list[str]) -> str:
    problem = f"no flag is called --{name}"
    near = difflib.get_close_matches(name, flags.FLAGS, n=1, cutoff=0.8)
    if "set" in flags.FLAGS and not near:
        # Only the names are needed, and TensorFlow takes seconds.
        os.environ["KERAS_BACKEND"] = "numpy"
        import keras_resnet
        from keras_resnet.training import Recipe

        for prefix, kind in (("", Recipe), ("model.", keras_resnet.ResNetSpec)):
            field = name.removeprefix(prefix)
            if field in (known.name for known in dataclasses.fields(kind)):
                given = dict(word.lstrip("-").partition("=")[::2] for word in words)
                value = given.get(name) or "VALUE"
                return f"{problem}; write --set={prefix}{field}={value}"
    return problem + (f"; did you mean --{near[0]}?" if near else "; --help lists them")


def _help() -> Iterator[str]:
    """Yields what the command does, and its flags, those that matter most first."""
    yield (sys.modules["__main__"].__doc__ or "").strip()
    by_module = flags.FLAGS.flags_by_module_dict()
    # Modules come in the order in which they were imported, and this is the first.
    names = [name for name in by_module if name.startswith(("pipelines.", sys.argv[0]))]
    for name in (*(name for name in names if name != __name__), __name__):
        module = sys.modules.get(name)
        title = (module.__doc__ or "") if module else "The flags of this command."
        yield f"\n{title.strip().splitlines()[0]}\n"
        for flag in by_module[name]:
            default = "" if flag.default in (None, "", []) else f"={flag.default}"
            yield f"  --{flag.name}{default}"
            yield textwrap.indent(textwrap.fill(flag.help, 74), " " * 6)


def _exit(message: str, status: int) -> None:
    print(printable(message), file=sys.stderr)
    sys.exit(status)
