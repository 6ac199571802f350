"""Ingest: the folder that is written, by one process at a time, whole or not there."""

import os
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
from photos import contents, image_file, ingest, made, make_folder, refusal
from PIL import Image

from pipelines.data import records
from pipelines.data.examples import Examples
from pipelines.data.ingest import survey
from pipelines.data.ingest.ledger import Ledger
from pipelines.data.ingest.workspace import workspace
from pipelines.errors import UserError


def test_examples_are_made_once(folder, tmp_path):
    directory = tmp_path / "out"
    first = ingest(folder, directory)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    # An image that changes unseen shows that it is not looked at again.
    path = folder / "ant" / "0.png"
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ingest(folder, directory) == first
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_share_of_bad_images_is_watched_on_the_second_run_too(folder, tmp_path):
    for number in range(4):
        (folder / "ant" / f"bad {number}.png").write_bytes(b"")
    ingest(folder, tmp_path / "out", max_bad_share=0.1)
    with pytest.raises(UserError, match="4 of 64 images"):
        ingest(folder, tmp_path / "out", max_bad_share=0.01)


@pytest.mark.parametrize("change", ["data", "parameter", "source"])
def test_examples_of_something_else_are_kept(folder, tmp_path, change):
    directory = tmp_path / "out"
    before = made(ingest(folder, directory))
    parameters = {}
    if change == "data":
        (folder / "ant" / "new.png").write_bytes(image_file(99))
    elif change == "source":
        folder = make_folder(tmp_path / "others")
    else:
        parameters = {"validation_share": 0.2}
    with pytest.raises(UserError, match="--examples_dir") as caught:
        ingest(folder, directory, **parameters)
    assert str(directory) in str(caught.value)
    assert made(Examples.load(directory)) == before


def test_folder_with_other_files_is_refused(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        ingest(folder, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


def test_file_in_place_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        ingest(folder, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_damaged_manifest(folder, tmp_path):
    ingest(folder, tmp_path / "out")
    (tmp_path / "out" / "examples.json").write_text("{")
    with pytest.raises(UserError, match=r"examples\.json is damaged"):
        ingest(folder, tmp_path / "out")


def test_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="holds no examples"):
        Examples.load(tmp_path)


def test_empty_folder_may_be_there_already(folder, tmp_path):
    (tmp_path / "out").mkdir()
    assert ingest(folder, tmp_path / "out").counts["train"] == 54


@pytest.fixture
def small_disk(tmp_path, request):
    """A file system of as many kilobytes as the test asks for."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(path)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield path
    subprocess.run(["umount", str(path)], check=True)


# Six images of 152 kB in a stream: not even room for the ledger, for the images as they
# come, or for the shards beside them.
@pytest.mark.parametrize(
    "small_disk", [16, 700, 1400], ids=["ledger", "read", "write"], indirect=True
)
def test_full_disk(small_disk, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 220, 230, 3), np.uint8)
    for number, image in enumerate(pixels):
        path = tmp_path / "photos" / f"{number % 2}" / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "photos", ".")
    sentence = refusal(small_disk / "out", tmp_path / "photos.tar.gz")
    assert str(small_disk / "out") in sentence
    assert "No space left on device" in sentence


def test_directory_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to .*Not a directory"):
        ingest(folder, tmp_path / "file" / "out")


def test_data_that_changes_while_it_is_read(folder, tmp_path, monkeypatch):
    order = Ledger.order

    def change_and_order(*arguments):
        (folder / "bee" / "1.png").write_bytes(image_file(999))
        order(*arguments)

    monkeypatch.setattr(Ledger, "order", change_and_order)
    assert "bee/1.png has changed" in refusal(tmp_path / "out", folder)


# Going on


@pytest.fixture
def small_steps(monkeypatch):
    """Ten images are entered at once, by one thread."""
    monkeypatch.setattr(survey, "_CHUNK_IMAGES", 10)
    return {"shard_bytes": 1000, "workers": 1}


def counted(monkeypatch, module, name, interrupted_after=None):
    """Counts the calls of a function, and interrupts when there are too many."""
    calls = []
    function = getattr(module, name)

    def counting(*arguments, **options):
        if len(calls) == interrupted_after:
            raise KeyboardInterrupt
        calls.append(arguments)
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, counting)
    return calls


@pytest.mark.parametrize(
    "name, module, before", [("look_at", survey, 3), ("write_shard", records, 4)]
)
def test_interrupted_ingest_goes_on(
    folder, tmp_path, monkeypatch, small_steps, name, module, before
):
    expected = contents(ingest(folder, tmp_path / "first", **small_steps).directory)
    with monkeypatch.context() as patch:
        counted(patch, module, name, interrupted_after=before)
        with pytest.raises(KeyboardInterrupt):
            ingest(folder, tmp_path / "out", **small_steps)
    assert not (tmp_path / "out").exists()
    looked = counted(monkeypatch, survey, "look_at")
    written = counted(monkeypatch, records, "write_shard")
    examples = ingest(folder, tmp_path / "out", **small_steps)
    assert contents(tmp_path / "out") == expected
    steps = {"look_at": (6, looked), "write_shard": (len(examples.shards), written)}
    total, calls = steps[name]
    assert len(calls) == total - before
    if name == "write_shard":
        assert not looked
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first",
        "out",
        "photos",
    ]


@pytest.mark.parametrize("left", ["other parameters", "something unknown"])
def test_what_cannot_be_gone_on_with_is_replaced(
    folder, tmp_path, monkeypatch, small_steps, left
):
    expected = contents(ingest(folder, tmp_path / "first", **small_steps).directory)
    partial = tmp_path / "out.partial"
    if left == "other parameters":
        with monkeypatch.context() as patch:
            counted(patch, records, "write_shard", interrupted_after=2)
            with pytest.raises(KeyboardInterrupt):
                ingest(folder, tmp_path / "out", shuffle_seed=1, **small_steps)
        assert len(list(partial.glob("examples/*.tfrecord"))) == 2
    else:
        (partial / "examples").mkdir(parents=True)
        (partial / "train-00000-of-00001.tfrecord").write_bytes(b"half")
        (partial / "examples" / "train-00001-of-00099.tfrecord").write_bytes(b"half")
    ingest(folder, tmp_path / "out", **small_steps)
    assert contents(tmp_path / "out") == expected
    assert not partial.exists()


def test_too_many_bad_images_cost_no_work(folder, tmp_path, monkeypatch, small_steps):
    for number in range(4):
        (folder / "ant" / f"bad {number}.png").write_bytes(b"")
    expected = contents(
        ingest(folder, tmp_path / "first", max_bad_share=0.1, **small_steps).directory
    )
    assert "without reading them again" in refusal(
        tmp_path / "out", folder, **small_steps
    )
    looked = counted(monkeypatch, survey, "look_at")
    ingest(folder, tmp_path / "out", max_bad_share=0.1, **small_steps)
    assert contents(tmp_path / "out") == expected
    assert not looked


def test_damaged_ledger_is_told(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        counted(patch, records, "write_shard", interrupted_after=0)
        with pytest.raises(KeyboardInterrupt):
            ingest(folder, tmp_path / "out")
    (tmp_path / "out.partial" / "ledger.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(UserError, match="not a database.*run again"):
        ingest(folder, tmp_path / "out")
    assert ingest(folder, tmp_path / "out").counts["train"] == 54


def test_only_one_process_writes(folder, tmp_path):
    partial = tmp_path / "out.partial"
    with workspace(partial, {}):
        with pytest.raises(
            UserError, match=r"another process \(\d+ on .* is writing .*out\.partial"
        ):
            ingest(folder, tmp_path / "out")
        assert partial.exists()
    assert ingest(folder, tmp_path / "out").counts["train"] == 54


def test_rest_of_a_process_killed_at_the_very_end_is_removed(folder, tmp_path):
    first = ingest(folder, tmp_path / "out")
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "staging").write_bytes(b"images")
    assert ingest(folder, tmp_path / "out") == first
    assert not (tmp_path / "out.partial").exists()
