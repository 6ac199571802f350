"""The error that a user can mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: one sentence that names what is wrong, where, and what to do.

    Commands print it without a traceback and exit with its `status`, 2.

    Example:

    >>> raise UserError("no images in photos/cat; put at least one JPEG or PNG there")
    """

    status = 2

    def __str__(self) -> str:
        """Returns the sentence, one line whatever a file or class is called."""
        return printable(super().__str__())


class NotFiniteError(UserError):
    """Loss or gradients are no longer finite, which a lower rate may mend."""


class OutOfMemoryError(UserError):
    """Memory does not hold what a training step needs.

    Args:
        sentence: What is told.
        accumulate: The value of `--set=accumulate` that may fit, None for none.
    """

    def __init__(self, sentence: str, accumulate: int | None = None) -> None:
        super().__init__(sentence)
        self.accumulate = accumulate


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Returns the error for a name that is not in a table, with the nearest one.

    Args:
        kind: What the name should name, for example `"model"`.
        name: The name as the user wrote it.
        known: The names in the table.

    Example:

    >>> str(unknown("model", "resnet-50", ["resnet50"]))
    "no model is called 'resnet-50'; did you mean 'resnet50'? (known: resnet50)"
    """
    known = list(known)
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    return UserError(f"no {kind} is called {name!r}{hint} (known: {', '.join(known)})")


class Stopped(Exception):
    """A signal asked the command to stop, and it has kept what it had.

    The command exits with status 128 plus the signal's number, as shells have it: 143
    after SIGTERM, 130 after SIGINT (Ctrl-C).

    Args:
        number: The signal.
        done: What the user should know.
    """

    def __init__(self, number: int, done: str) -> None:
        super().__init__(done)
        self.status = 128 + number


def printable(text: object) -> str:
    r"""Makes what files and classes are called safe for a terminal.

    A name may hold what moves the cursor or changes what was printed before it.

    Args:
        text: Anything with a name in it.

    Example:

    >>> printable("cat\x1b[2J")
    'cat\\x1b[2J'
    """
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape").decode()
        for character in str(text)
    )
