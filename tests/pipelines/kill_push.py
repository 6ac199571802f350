"""Pushes and rolls back, killed at every step that touches a file, until both are done.

    python kill_push.py SOURCE SERVED

Prints, as JSON, which versions there were after each kill.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines.components.pushed import push, rollback
from pipelines.serving.versions import versions


def killed(work: Callable[[], object], step: int) -> bool:
    """Tells whether work in another process was killed at a step, as it is then."""
    process = os.fork()
    if not process:
        seen = 0

        def count(event: str, arguments: tuple) -> None:
            nonlocal seen
            if event == "open" or event.startswith(("os.", "shutil.")):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def main(source: Path, served: Path) -> None:
    """Kills each at its first step, its second and so on."""
    found = []
    for work in (lambda: push(source, served), lambda: rollback(served)):
        step = 1
        while killed(work, step):
            found.append(versions(served) if served.exists() else [])
            step += 1
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
