"""Folders of artifacts: what is known of them, and which process writes there."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipelines.errors import UserError

LOCK = ".keras_resnet-lock"
"""The file in a folder that is `held`; it tells by whom."""


@contextlib.contextmanager
def read_values(path: Path, *, missing: str, mend: str) -> Iterator[dict[str, Any]]:
    """Gives the values in a JSON file to the block that makes something of them.

    Args:
        path: The file.
        missing: What to tell when there is none.
        mend: What to do when it is damaged: when it is no JSON, or lacks what the block
            looks for.

    Raises:
        UserError: If there is no file, or it is damaged.

    Example:

    >>> with read_values(path, missing="no run there", mend="start afresh") as values:
    ...     config = RunConfig.from_json(values)
    """
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(missing) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); {mend}") from error


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes, which hold it likewise, from writing in a folder.

    Args:
        folder: Made if it is not there; removed at the end if it was made and nothing
            was put there.

    Raises:
        UserError: If another process holds the folder; tells which.
        OSError: If it cannot be written.

    Example:

    >>> with held(Path("runs/demo")):
    ...     train()
    """
    is_new = not folder.exists()
    lock = None
    while lock is None:
        lock = _lock(folder)
    with lock:
        try:
            yield
        finally:
            # The block may have removed the folder, and another process begun there.
            if _is(lock, folder / LOCK):
                (folder / LOCK).unlink()
            if is_new:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def is_held(folder: Path) -> bool:
    """Tells whether a process holds a folder.

    Example:

    >>> is_held(Path("runs/demo"))
    False
    """
    with contextlib.suppress(FileNotFoundError), open(folder / LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock(folder: Path) -> IO[str] | None:
    """Returns the locked file, None if it was removed at the same time.

    The kernel releases the lock when the process ends, in whatever way.
    """
    path = folder / LOCK
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
        lock = stack.enter_context(open(path, "a+", encoding="utf-8"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read() or "unknown"
            raise UserError(
                f"another process ({holder}) is writing {folder}; wait for it, or end "
                "it and run again"
            ) from None
        if _is(lock, path):
            lock.truncate(0)
            lock.write(f"{os.getpid()} on {socket.gethostname()}")
            lock.flush()
            stack.pop_all()
            return lock
    return None


def _is(file: IO[str], path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False
