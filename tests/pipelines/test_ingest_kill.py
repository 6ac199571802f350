"""Ingest killed with signal 9 at random moments ends in the same bytes."""

import json
import pathlib
import subprocess
import sys
import tarfile

import pytest
from photos import contents, make_folder

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize(
    "kills", [5, pytest.param(20, marks=pytest.mark.soak)], ids=["5", "20"]
)
def test_killed_ingest_goes_on_to_the_same_bytes(tmp_path, kills):
    make_folder(tmp_path / "photos", 400)
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "photos", ".")
    results = tmp_path / "results"
    results.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            HERE / "kill_ingest.py",
            tmp_path / "photos.tar.gz",
            results,
            str(kills),
            "0",
        ],
        cwd=HERE.parents[1],
        env={"PYTHONPATH": str(HERE.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert len(report["killed"]) == kills
    # Some of them left something to go on with.
    assert any(state["staged"] or state["shards"] for state in report["killed"])
    expected = contents(results / "undisturbed")
    assert len(expected) > 10
    for number in range(report["rounds"]):
        assert contents(results / str(number)) == expected
    names = {"undisturbed", *map(str, range(report["rounds"]))}
    assert {path.name for path in results.iterdir()} == names
