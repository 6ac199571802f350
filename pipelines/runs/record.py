"""What a run ran on, and the command that repeats it."""

import datetime
import fnmatch
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_resnet
from pipelines import files

_PACKAGES = ("keras", "tensorflow", "numpy", "pillow")
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "DNNL_*",
    "KERAS_*",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_*",
    "ONEDNN_*",
    "XLA_*",
    # Not all of TF_*: Terraform has passwords and tokens there.
    *(
        f"TF_{name}"
        for name in (
            "AUTOTUNE_*",
            "CONFIG",
            "CPP_*",
            "CUBLAS_*",
            "CUDNN_*",
            "DATA_EXPERIMENT_*",
            "DETERMINISTIC_*",
            "DISABLE_*",
            "ENABLE_*",
            "FORCE_*",
            "GPU_*",
            "MKL_*",
            "NUM_*",
            "ONEDNN_*",
            "OVERRIDE_*",
            "USE_*",
            "XLA_*",
        )
    ),
)
"""Environment variables that decide what is computed, where, or how fast."""

# By every command, or for each worker.


def environment() -> dict[str, Any]:
    """Returns what this process runs on, as values that JSON has.

    Returns:
        `"started"`: time in UTC, ISO 8601; `"command"`; `"directory"`: where it was
        given; `"python"`; `"platform"`; `"cpu"`: model, number of logical processors
        and how many of them this process may use; `"memory_bytes"`; `"gpus"`: names;
        `"packages"`: versions; `"git"`: commit of the package and whether files of it
        were changed since, None if it is not in a checkout; `"variables"`: environment
        variables of TensorFlow, Keras, XLA, oneDNN and CUDA.

    Example:

    >>> environment()["packages"]["keras"]
    '3.15.0'
    """
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "directory": os.getcwd(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": {
            "model": _cpu_model(),
            "count": os.cpu_count(),
            "usable": _usable_cpus(),
        },
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
        "packages": {
            "keras_resnet": keras_resnet.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "git": _git(Path(__file__).resolve().parents[2]),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in _VARIABLES)
        },
    }


def record_start(directory: Path, flags: Mapping[str, Any] | None = None) -> None:
    """Adds to a run's `environment.json`, a list with an entry for each start.

    Args:
        directory: The run's folder; made if it is not there.
        flags: What the command was given beside what `RunConfig` has, such as
            `{"replicas": 2}`. An entry is `environment()` with these as `"flags"`.

    Example:

    >>> record_start(Path("runs/demo"), {"strategy": "mirrored"})
    """
    directory.mkdir(parents=True, exist_ok=True)
    start = {**environment(), "flags": dict(flags or {})}
    starts = [*read_starts(directory), start]
    files.write_text(directory / _NAME, json.dumps(starts, indent=2) + "\n")


def read_starts(directory: Path) -> list[dict[str, Any]]:
    """Returns what each start of a run ran on, the first one first.

    Args:
        directory: The run's folder.

    Returns:
        An entry of `record_start` for each; none if nothing can be read.
    """
    try:
        starts = json.loads((directory / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [start for start in starts if isinstance(start, dict)]


_NAME = "environment.json"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = (line.partition(":") for line in lines)
        return next(value.strip() for key, _, value in fields if "model name" in key)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _usable_cpus() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[str]:
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, devices)
    return [str(one.get("device_name", "unknown")) for one in details]


def _git(root: Path) -> dict[str, Any] | None:
    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return result.stdout.strip()

    try:
        # Installed packages may lie in the checkout of something else.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = git("status", "--porcelain", "--", "keras_resnet", "pipelines")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return None
