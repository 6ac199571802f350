"""Programs that run on a backend of their own, since a process has one."""

import json
import os
import subprocess
import sys

import pytest

# Small programs compile longer than they run.
QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def answer_of(program, backend, *arguments, variables=(), **options):
    """Runs `program`, and returns what it printed last, read as JSON."""
    pytest.importorskip(backend)
    check = f"import keras\nassert keras.backend.backend() == {backend!r}\n"
    result = subprocess.run(
        [sys.executable, "-c", program + check, *map(str, arguments)],
        env={**os.environ, **QUICKLY, **dict(variables), "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        **options,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
