"""Sends what a coverage-guided fuzzer makes through every parser of found data.

    pip install -e ".[fuzz]"
    python -m benchmarks.fuzz_parsers --seconds=600

Each parser gets a process with limits of memory and time, and small good files to begin
with. Data may be refused in one sentence; whatever else comes out is a finding, is
printed with its traceback, and kept in `--findings`. What was found so is now a test
(tests/pipelines/test_sources_hostile.py and others). `benchmarks.fuzz` mutates images
and shards blindly, and follows them through decoding and training.
"""

import argparse
import hashlib
import io
import os
import pathlib
import re
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from typing import NamedTuple

MEMORY_MIB = 3_000  # TensorFlow alone takes about 500.
SECONDS_PER_CASE = 10
MAX_BYTES = 16_384


class Target(NamedTuple):
    """A parser: what it is given, and good files to begin with."""

    try_on: Callable[[bytes, pathlib.Path], None]
    seeds: Callable[[], list[bytes]]


def source(name: str, prefix: str = "") -> Callable[[bytes, pathlib.Path], None]:
    """Opens the bytes, in a file of this name, as a source, and reads its images."""

    def try_on(data: bytes, folder: pathlib.Path) -> None:
        from pipelines.data.sources import open_source

        path = folder / name
        path.write_bytes(data)
        for image in open_source(f"{prefix}{folder if prefix else path}"):
            image.name.encode(), image.class_name.encode()
            image.content.read()

    return try_on


def image(data: bytes, folder: pathlib.Path) -> None:
    """Does what ingest does with an image by its header, and with its EXIF data."""
    from pipelines.data.images import inspect
    from pipelines.data.packing import upright

    (facts,) = inspect([data], check="header")
    if facts.problem is None and facts.height * facts.width < 10**6:
        (facts,) = inspect([data])
        if facts.problem is None:
            (made,) = inspect([upright(data)])
            assert made.problem is None, made


def other_image(data: bytes, folder: pathlib.Path) -> None:
    from pipelines.data.image_header import Problem
    from pipelines.data.images import inspect
    from pipelines.data.other_formats import decodable

    try:
        made = decodable(data, 10**6)
    except Problem:
        return
    assert made == data or inspect([made])[0].problem is None


def blocks(data: bytes, folder: pathlib.Path) -> None:
    from pipelines.data.examples import Examples

    (folder / "train.blocks").write_bytes(data)
    Examples(folder, ("a", "b"), {"train": 3}).blocks("train")


def devkit(data: bytes, folder: pathlib.Path) -> None:
    from pipelines.data.sources.devkit import DevKit

    (folder / "meta.mat").write_bytes(data)
    DevKit(folder).synsets()


def tars() -> list[bytes]:
    made = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            long = "x" * (90 if form == tarfile.USTAR_FORMAT else 120)
            for name in ("a/1.jpg", "b/ü.jpg", f"b/{long}.jpg"):
                info = tarfile.TarInfo(name)
                info.size = 3
                archive.addfile(info, io.BytesIO(b"123"))
        made.append(file.getvalue()[:8192])
    return made


def zips() -> list[bytes]:
    made = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as archive:
            for name in ("a/1.jpg", "b/ü.jpg"):
                archive.writestr(name, name * 9)
        made.append(file.getvalue())
    return made


def records() -> list[bytes]:
    import tensorflow as tf

    from tests.pipelines.mutations import framed

    serialized = []
    for label in (1, 2):
        features = tf.train.Features()
        features.feature["image/encoded"].bytes_list.value.append(b"image")
        features.feature["image/class/label"].int64_list.value.append(label)
        features.feature["image/class/text"].bytes_list.value.append(b"cat%d" % label)
        example = tf.train.Example(features=features)
        serialized.append(framed(example.SerializeToString()))
    return [b"".join(serialized), serialized[0]]


def mats() -> list[bytes]:
    import numpy as np
    import scipy.io

    rows = [(1, "n02119789", 0), (2, "n02100735", 0)]
    names = ("ILSVRC2012_ID", "WNID", "num_children")
    table = np.array(rows, [(name, object) for name in names])
    made = []
    for packed in (False, True):
        file = io.BytesIO()
        scipy.io.savemat(file, {"synsets": table}, do_compression=packed)
        made.append(file.getvalue())
    return made


def arrays() -> list[bytes]:
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.array([[0, 0, 2], [0, 99, 1]], np.int64))
    return [file.getvalue()]


def images() -> list[bytes]:
    from tests.pipelines.mutations import whole_images

    made = whole_images()
    return [*made.values(), made["turned JPEG"] + b"\0\0\0\x18ftypmp42\xff\xd9\xff\xda"]


def other_images() -> list[bytes]:
    from PIL import Image

    from tests.pipelines.mutations import encode

    drawn = Image.radial_gradient("L").resize((24, 16))
    made = [encode(drawn.convert("RGB"), "AVIF")]
    for compression in (None, "tiff_lzw", "jpeg", "packbits"):
        made.append(encode(drawn, "TIFF", compression=compression))
    return made


def tables(text: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode()]


ROWS = 'path,label,split\n1.jpg,cat,train\n"2.jpg",dog,val\n'
LINES = '{"path": "1.jpg", "label": 1}\n{"path": "2.jpg", "label": "dog"}\n'

TARGETS = {
    "tar": Target(source("x.tar"), tars),
    "zip": Target(source("x.zip"), zips),
    "tfrecord": Target(source("x.tfrecord"), records),
    "csv": Target(source("x.csv"), tables(ROWS)),
    "jsonl": Target(source("x.jsonl"), tables(LINES)),
    "npy": Target(blocks, arrays),
    "mat": Target(devkit, mats),
    "image": Target(image, images),
    "other_image": Target(other_image, other_images),
}


def with_right_checksums(data: bytes) -> bytes:
    """Frames what is between the checksums of a TFRecord file anew, as it is."""
    from tests.pipelines.mutations import framed

    made, start = b"", 0
    while start + 16 <= len(data):
        (size,) = struct.unpack_from("<Q", data, start)
        end = start + 12 + min(size, len(data))
        made += framed(data[start + 12 : end], size)
        start = end + 4
    return made + data[start:]


def work(name: str, findings: pathlib.Path, arguments: list[str]) -> None:
    """Fuzzes one parser in this process, which the first finding ends."""
    import atheris

    with atheris.instrument_imports(
        include=["pipelines.data", "zipfile", "csv", "json", "numpy.lib", "scipy.io"]
    ):
        from pipelines.data import examples, images, other_formats, packing, sources
        from pipelines.errors import UserError

        del examples, images, other_formats, packing, sources
    limit = MEMORY_MIB * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    folder = pathlib.Path(tempfile.mkdtemp())
    for image_name in ("1.jpg", "2.jpg"):
        (folder / image_name).write_bytes(b"image")

    def once(data: bytes) -> None:
        if name == "tfrecord" and len(data) % 2:
            data = with_right_checksums(data)
        try:
            TARGETS[name].try_on(data, folder)
        except UserError as error:
            assert "\n" not in str(error), str(error)
        except Exception:
            digest = hashlib.sha256(data).hexdigest()[:12]
            (findings / f"{name}-{digest}").write_bytes(data)
            raise

    atheris.Setup([sys.argv[0], *arguments], once)
    atheris.Fuzz()


def supervise(name: str, seconds: int, findings: pathlib.Path) -> tuple[int, int]:
    """Fuzzes a parser in processes of its own; returns executions and findings."""
    corpus = pathlib.Path(tempfile.mkdtemp())
    for number, seed in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed{number}").write_bytes(seed)
    executed, found, left = 0, 0, seconds
    while left > 5 and found < 20:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.fuzz_parsers", f"--worker={name}"]
            + [f"--findings={findings}"]
            + [str(corpus), f"-artifact_prefix={findings}/{name}-"]
            + [f"-max_total_time={left}", f"-timeout={SECONDS_PER_CASE}"]
            + [f"-max_len={MAX_BYTES}", f"-rss_limit_mb={MEMORY_MIB}"]
            + ["-print_final_stats=1", "-verbosity=1"],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            errors="replace",
        )
        units = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
        executed += int(units[-1]) if units else 0
        spent = re.findall(r"Done \d+ runs in (\d+)", done.stderr)
        if done.returncode == 0:
            break
        found += 1
        print(f"--- {name}, exit status {done.returncode}\n{done.stdout[-500:]}")
        print(done.stderr[-3000:], flush=True)
        left -= int(spent[-1]) if spent else max(5, seconds // 10)
    print(f"{name:12} {executed:9,} executions, {found} findings", flush=True)
    return executed, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="for all parsers")
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--findings", type=pathlib.Path, default=tempfile.mkdtemp())
    parser.add_argument("--worker", choices=TARGETS, help=argparse.SUPPRESS)
    arguments, others = parser.parse_known_args()
    if arguments.worker:
        work(arguments.worker, arguments.findings, others)
        return
    names = arguments.target or list(TARGETS)
    arguments.findings.mkdir(parents=True, exist_ok=True)
    results = [
        supervise(name, arguments.seconds // len(names), arguments.findings)
        for name in names
    ]
    executed, found = (sum(column) for column in zip(*results, strict=True))
    print(f"{executed:,} executions, {found} findings in {arguments.findings}")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
