"""Executors give the same results in the same order, whoever does the work."""

import contextlib
import functools
import operator
import os
import pickle
import sys
import threading
import time

import pytest

from pipelines.data.ingest.executors import Beam, Threads
from pipelines.errors import UserError

IN_ONE_PROCESS = "--direct_running_mode=in_memory"


@pytest.fixture(params=["1 thread", "3 threads", "Beam"])
def executor(request, tmp_path):
    if request.param == "Beam":
        pytest.importorskip("apache_beam")
        return Beam(IN_ONE_PROCESS, tmp_path / "tasks")
    return Threads(int(request.param[0]))


def slow_first(task):
    time.sleep(0.05 if task == 0 else 0)
    return task * task


def test_results_are_in_the_order_of_the_tasks(executor):
    expected = [task * task for task in range(30)]
    assert list(executor.map(slow_first, range(30))) == expected


def test_no_tasks(executor):
    assert list(executor.map(slow_first, [])) == []


def test_equal_tasks_each_have_a_result(executor):
    double = functools.partial(operator.mul, 2)
    assert list(executor.map(double, [4, 4, 5])) == [8, 8, 10]


def refuse(task):
    if task == 2:
        raise UserError(f"{task} is refused")
    return task


def test_errors_of_the_function_arrive(executor):
    results = executor.map(refuse, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(UserError, match="^2 is refused$"):
        next(results)


def test_threads_read_only_a_little_ahead():
    asked = []

    def tasks():
        for task in range(1000):
            asked.append(task)
            yield task

    results = Threads(2).map(operator.neg, tasks())
    next(results)
    assert len(asked) <= 6
    results.close()
    assert len(asked) <= 6


def test_threads_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)
    results = Threads(3).map(lambda _: meeting.wait() >= 0, range(3))
    assert all(results)


def note(folder, task):
    (folder / f"{task}-{os.getpid()}").touch()
    return task


def test_beam_does_no_task_again_that_is_done(tmp_path):
    pytest.importorskip("apache_beam")
    done = tmp_path / "done"
    done.mkdir()
    for count in (3, 5):
        results = Beam(IN_ONE_PROCESS, tmp_path / "tasks").map(
            functools.partial(note, done), range(count)
        )
        assert list(results) == list(range(count))
        assert len(list(done.iterdir())) == count
        for path in done.iterdir():
            path.rename(path.with_name(path.name.partition("-")[0]))


class Planted:
    """What a pickle of runs when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", ["task", "result"])
def test_nothing_in_the_folder_is_executed(tmp_path, kind):
    pytest.importorskip("apache_beam")
    beam = Beam(IN_ONE_PROCESS, tmp_path / "tasks")
    list(beam.map(operator.neg, [1]))
    (planted,) = (tmp_path / "tasks").glob(f"*.{kind}")
    planted.write_bytes(pickle.dumps(Planted(tmp_path / "executed")))
    with contextlib.suppress(UserError):
        list(beam.map(operator.neg, [1]))
    assert not (tmp_path / "executed").exists()


def test_a_failure_is_tried_again(tmp_path):
    pytest.importorskip("apache_beam")
    beam = Beam(IN_ONE_PROCESS, tmp_path / "tasks")
    missing = [str(tmp_path / "there")]
    with pytest.raises(FileNotFoundError, match="there"):
        list(beam.map(os.path.getsize, missing))
    (tmp_path / "there").write_text("now")
    assert list(beam.map(os.path.getsize, missing)) == [3]


def test_beam_works_in_processes(tmp_path):
    pytest.importorskip("apache_beam")
    # A function that the workers can import; this file they cannot.
    tasks = [f"(__import__('os').getpid(), {number})" for number in range(8)]
    results = list(Beam("--direct_num_workers=2", tmp_path / "tasks").map(eval, tasks))
    assert [number for _, number in results] == list(range(8))
    assert os.getpid() not in {process for process, _ in results}


def test_beam_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(UserError, match="pip install apache-beam"):
        Beam("", tmp_path)


@pytest.mark.parametrize(
    "arguments", ["--runner='FlinkRunner", "--direct_running_mode=nonsense"]
)
def test_arguments_that_beam_does_not_understand(tmp_path, arguments):
    pytest.importorskip("apache_beam")
    with pytest.raises(UserError, match="does not understand --beam_args="):
        Beam(arguments, tmp_path)


def test_pipeline_that_fails(tmp_path):
    pytest.importorskip("apache_beam")
    beam = Beam("--runner=NoSuchRunner", tmp_path / "tasks")
    with pytest.raises(UserError, match="NoSuchRunner.*must see") as caught:
        list(beam.map(operator.neg, [1]))
    assert "\n" not in str(caught.value)
