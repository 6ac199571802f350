"""Versions on their way to a server, by the command: whole, once, and back."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from pipelines import files
from pipelines.components.blessed import blessing_of, own_checks
from pipelines.components.pushed import listed, push
from pipelines.data import folders
from pipelines.errors import UserError
from pipelines.evaluation.judgement import Threshold
from pipelines.evaluation.metrics import Metrics
from pipelines.evaluation.saved import Evaluation
from pipelines.serving.versions import MADE_FROM, next_version, read_made_from

ABOUT = {"examples": "e" * 64, "weights_licence": "apache-2.0", "top1_error": 0.125}


def make_version(folder, content):
    """Writes what is like a version of a SavedModel."""

    def write(version):
        (version / "saved_model.pb").write_text(content)
        (version / "variables").mkdir()
        (version / "variables" / "variables.index").write_text(content * 2)

    fingerprints = {"model.keras": content * 64, "model.json": content}
    return next_version(folder, {"model": fingerprints}, write, ABOUT)


@pytest.fixture
def sources(tmp_path):
    """Two versions of a run's model."""
    served = tmp_path / "run" / "serving" / "resnet20"
    return make_version(served, "a"), make_version(served, "b")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.push", *map(str, arguments)]
        + ["--infra_validation=false"],
        capture_output=True,
        text=True,
    )


def content(version):
    """Returns a version's files, but for what it notes."""
    return {
        path.relative_to(version): path.read_bytes()
        for path in version.rglob("*")
        if path.is_file() and path.name != MADE_FROM.name
    }


def test_push_list_and_roll_back(sources, tmp_path):
    first, second = sources
    to = tmp_path / "models" / "demo"
    for number, source in enumerate(sources, 1):
        result = command(f"--model={source}", f"--to={to}")
        assert result.stdout == f"version {number} of {to} is live: {source}\n"
        assert content(to / str(number)) == content(source)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    # The run's newest is the second.
    result = command(f"--model={tmp_path / 'run'}", f"--to={to}")
    assert "version 2" in result.stdout and "nothing is pushed" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    result = command("--rollback", f"--to={to}")
    assert result.stdout == f"version 3 of {to} is live: version 1 again\n"
    assert content(to / "3") == content(first)
    assert content(to / "2") == content(second), "nothing is lost"
    result = command("--rollback", f"--to={to}")
    assert (result.returncode, result.stdout) == (2, "")
    assert "has no version before 1 to go back to" in result.stderr
    assert push(second, to)[0].name == "4"

    lines = command("--list", f"--to={to}").stdout.splitlines()
    numbers = [line.partition("  ")[0] for line in lines[1:]]
    assert numbers == ["1", "2", "3", "4, live"]
    for number, line, model in zip("1234", lines[1:], "abab", strict=True):
        assert model * 12 in line and "e" * 12 in line
        assert "12.50%" in line and "apache-2.0" in line
        assert read_made_from(to / number)["made"][:10] in line
    assert str(first) in lines[1] and "version 1 again" in lines[3]
    assert sorted(os.listdir(to)) == ["1", "2", "3", "4"]


def test_killed_anywhere_only_whole_versions_are_there(sources, tmp_path):
    to = tmp_path / "demo"
    push(sources[0], to)
    script = pathlib.Path(__file__).with_name("kill_push.py")
    result = subprocess.run(
        [sys.executable, str(script), str(sources[1]), str(to)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    assert len(found) > 50
    assert {tuple(numbers) for numbers in found} >= {(1,), (1, 2)}
    for number, values in listed(to).items():
        assert content(to / str(number)) in map(content, sources)
        assert values["files"].keys() == set(map(str, content(to / str(number))))
    assert push(sources[1], to)[0].parent == to
    assert sorted(os.listdir(to)) == sorted(map(str, listed(to)))


def test_what_is_refused(sources, tmp_path):
    source, to = sources[0], tmp_path / "demo"
    with folders.held(to):
        result = command(f"--model={source}", f"--to={to}")
    assert result.returncode == 2
    assert f"another process ({os.getpid()} on " in result.stderr
    (tmp_path / "file").touch()
    for arguments, sentence in (
        ((f"--model={source}",), "no --to given"),
        (("--list", "--rollback", f"--to={to}"), "three wishes; give one"),
        (("--list", f"--to={to}"), "holds no versions"),
        (("--rollback", f"--to={to}"), "holds no versions"),
        ((f"--model={tmp_path}", f"--to={to}"), "holds no exported model"),
        ((f"--model={tmp_path / 'no'}", f"--to={to}"), "holds no exported model"),
        ((f"--model={source}", f"--to={tmp_path / 'file'}"), "is a file; give a"),
        ((f"--model={source}", f"--to={tmp_path}"), "in it, and no version"),
        ((source,), "write --model="),
    ):
        result = command(*arguments)
        assert (result.returncode, result.stdout) == (2, ""), arguments
        (line,) = result.stderr.splitlines()
        assert sentence in line
    assert not to.exists()


def test_a_damaged_version_is_not_pushed(sources, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(sources[0], damaged)
    (damaged / "variables" / "variables.index").write_text("torn")
    with pytest.raises(UserError, match="variables.index is not what was written"):
        push(damaged, tmp_path / "demo")
    (damaged / "saved_model.pb").unlink()
    with pytest.raises(UserError, match="saved_model.pb is not what was written"):
        push(damaged, tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_a_full_disk_leaves_nothing(sources, tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    push(sources[0], tmp_path / "demo")
    monkeypatch.setattr(files, "sync", full)
    for to in (tmp_path / "demo", tmp_path / "new"):
        with pytest.raises(OSError, match="No space left"):
            push(sources[1], to)
    assert os.listdir(tmp_path / "demo") == ["1"]
    assert not (tmp_path / "new").exists()


def test_versions_of_others_are_pushed_once_too(tmp_path):
    other = tmp_path / "other" / "7"
    other.mkdir(parents=True)
    (other / "saved_model.pb").write_text("of another program")
    to = tmp_path / "demo"
    (to / "lost+found").mkdir(parents=True)
    assert [push(other, to) for _ in range(2)] == [(to / "1", True), (to / "1", False)]


def write_blessing(folder, models, passed=True, baseline=()):
    """Writes a verdict as `python -m pipelines.evaluate` does."""
    check = {"passed": passed, "sentence": "top1_error is 0.3, asked for is at most 1"}
    values = {
        "blessed": passed,
        "reasons": [] if passed else [check["sentence"]],
        "checks": [check],
        "made_from": {"models": list(models), "baseline": list(baseline)},
    }
    folder.mkdir(exist_ok=True)
    (folder / "blessing.json").write_text(json.dumps(values))
    return folder / "blessing.json"


def test_only_what_is_blessed_is_pushed(sources, tmp_path):
    model, other = (read_made_from(source)["model"] for source in sources)
    source, folder, to = sources[0], tmp_path / "evaluation", tmp_path / "demo"
    path = write_blessing(folder, [model], passed=False)
    result = command(f"--model={source}", f"--to={to}", f"--blessing={path}")
    assert (result.returncode, result.stdout) == (1, "")
    told = "not blessed: top1_error is 0.3, asked for is at most 1"
    assert result.stderr.splitlines()[-1] == told

    for models, sentence in (
        ([other], f"is of another model than {source} was made from"),
        ([model, other], "is of 2 other models than"),
    ):
        write_blessing(folder, models)
        with pytest.raises(UserError, match=sentence):
            blessing_of(source, folder, to)
    path.write_text(path.read_text().replace("true", "false", 1))
    with pytest.raises(UserError, match="the verdict is not what its checks say"):
        blessing_of(source, path, to)
    path.unlink()
    with pytest.raises(UserError, match=f"there is no blessing {path}"):
        blessing_of(source, folder, to)
    assert not to.exists()

    write_blessing(folder, [model], baseline=[other])
    (check,) = blessing_of(source, folder, to)
    push(source, to, [check.sentence])
    assert " yes " in command("--list", f"--to={to}").stdout
    assert blessing_of(source, folder, to) == [check], "it is live itself"
    push(make_version(tmp_path / "third", "c"), to)
    with pytest.raises(UserError, match=f"compares with another .* {to}/2, which is"):
        blessing_of(source, folder, to)


def test_the_runs_own_evaluation(sources, tmp_path):
    run, source = tmp_path / "run", sources[1]

    def checked(threshold):
        return own_checks(source, [Threshold.parse(threshold)])

    with pytest.raises(UserError, match="lies in no run's folder"):
        checked("top1_error<=0.25")
    (run / "run.json").touch()
    with pytest.raises(UserError, match="evaluation.json is no evaluation of the mod"):
        checked("top1_error<=0.25")
    with pytest.raises(UserError, match="does not tell macro_f1, only top1_error,"):
        checked("macro_f1>=0.5")
    metrics = Metrics(10, 0.3, 0.1, 1.5, (0.3,), (10,), 5.0)
    made_from = {"model": read_made_from(source)["model"], "examples": "e"}
    evaluation = Evaluation(metrics, "validation", False, made_from)
    evaluation.save(run / "evaluation.json")
    assert checked("loss<=2")[0].passed
    (check,) = checked("top1_error<=0.25")
    assert not check.passed
    assert check.sentence == "top1_error is 0.3, asked for is at most 0.25"
