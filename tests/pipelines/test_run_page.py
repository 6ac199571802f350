"""The report of a run in a real browser, at every stage of the run."""

import html
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from browser import brightness, facts_of
from made_examples import random_image, record

from pipelines import report
from pipelines.data import records
from pipelines.data.examples import Examples
from pipelines.errors import UserError
from pipelines.evaluation.metrics import Metrics, Mistake
from pipelines.evaluation.saved import Evaluation
from pipelines.reports.charts import lines
from pipelines.reports.run_page import make_report
from pipelines.runs.folder import Run
from pipelines.runs.record import record_start
from pipelines.runs.request import request
from pipelines.training.history import read_columns
from pipelines.training.model import model_fingerprint

NASTY = "<script>alert(\"x\")</script> & 'co' " + "long" * 40
HISTORY = (
    "epoch,images_per_second,learning_rate,loss,seconds,top1,top5,val_loss,val_top1,"
    "val_top5,gradient_norm,data_wait_share\n"
)


def start_run(directory, data="photos"):
    """Returns a run of three epochs of which nothing is done."""
    settings = ["learning_rate=0.3", "warmup=2 epochs", "model.shortcut=B"]
    run = Run(directory)
    run.write_config(
        request(
            data=data,
            model="resnet20",
            recipe="onecycle",
            settings=settings,
            epochs=3,
            seed=11,
        )
    )
    run.model_dir.mkdir()
    return run


def add_history(run, epochs):
    rows = [
        f"{epoch},{100 + epoch},0.1,{2.5 - epoch},30.5,0.5,0.9,{3 - epoch},"
        f"{0.4 + epoch / 10},0.8,{1 + epoch},0.25\n"
        for epoch in range(epochs)
    ]
    (run.model_dir / "history.csv").write_text("".join([HISTORY, *rows]))


def add_examples(run, classes, images=60):
    generator = np.random.default_rng(0)
    run.examples_dir.mkdir()
    serialized = [
        record(
            random_image(generator, 20, 30),
            number % len(classes),
            classes[number % len(classes)],
            filename=f"{number} {NASTY}",
        )
        for number in range(images)
    ]
    path = run.examples_dir / "validation-00000-of-00001.tfrecord"
    shard, blocks = records.write_shard(path, serialized, run.examples_dir)
    records.write_blocks(run.examples_dir, "validation", [blocks])
    Examples(
        run.examples_dir,
        tuple(classes),
        {"train": 540, "validation": images},
        (shard,),
        mean_bytes=shard.bytes // images,
        made_from={"source": NASTY, "fingerprint": "f1n9er"},
    ).save()


def add_evaluation(run, confusion, hardest, **changes):
    (run.model_dir / "model.json").write_text("{}")
    (run.model_dir / "model.keras").write_text("")
    images = int(confusion.sum())
    counts = confusion.sum(axis=1)
    wrong = counts - confusion.diagonal()
    metrics = Metrics(
        images=images,
        top1_error=float(wrong.sum() / images),
        top5_error=0.125,
        loss=1.2345,
        class_errors=tuple(
            float(bad / count) if count else None
            for bad, count in zip(wrong, counts, strict=True)
        ),
        class_images=tuple(counts.tolist()),
        images_per_second=100.0,
        hardest=hardest,
        confusion=confusion,
    )
    made_from = {"model": model_fingerprint(run.model_dir)}
    Evaluation(metrics, "validation", True, made_from).save(run.evaluation_path)


def words(run):
    """Returns what a reader sees of the page, spaces as one."""
    page = make_report(run).read_text(encoding="utf-8")
    body = page[page.index("<body>") :]
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", body)).split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of a class whose name tries to be markup."""
    run = start_run(tmp_path_factory.mktemp("runs") / "fine", data=NASTY)
    add_history(run, 3)
    add_examples(run, ["ant", NASTY, "cow", "dog"])
    confusion = np.array([[9, 6, 0, 0], [2, 13, 0, 0], [0, 0, 15, 0], [0, 0, 0, 0]])
    hardest = (
        Mistake(4, 0, 1, 1e-5, 0.9876),
        Mistake(9, 1, 0, 0.125, 0.5),
        Mistake(10, 0, 1, 0.2, 0.5),  # The record is one of another class.
        Mistake(999, 0, 1, 0.3, 0.4),  # There is no such record.
    )
    add_evaluation(run, confusion, hardest)
    steps = [
        f"{n // 1000},{n % 1000},{5 - n / 1000},1.5,0.1,90,0.2" for n in range(3000)
    ]
    steps[7] = "0,7,nan,inf,0.1,90,0.2"
    (run.model_dir / "steps.csv").write_text(
        "epoch,step,loss,gradient_norm,learning_rate,images_per_second,"
        "data_wait_share\n" + "\n".join(steps) + "\n2,1000,0.0"
    )
    (run.model_dir / "events.csv").write_text(
        f"epoch,step,event\n1,20,resumed\n2,5,skipped {'<b>step</b>'}\n"
    )
    (run.model_dir / "checkpoints").mkdir()
    (run.model_dir / "checkpoints" / "checkpoint-000003.npz").write_bytes(b"0" * 10**6)
    (run.directory / "data.html").write_text("")
    record_start(run.directory, {"replicas": 2})
    record_start(run.directory, {"replicas": 2})
    return run


@pytest.mark.parametrize(
    ("width", "dark"), [(1200, False), (390, True)], ids=["light", "narrow and dark"]
)
def test_finished_run_in_a_browser(finished, width, dark):
    facts = facts_of(make_report(finished), width, dark=dark)
    assert facts["images"] == facts["loaded"] == facts["described"] == 2
    assert facts["overflow"] == facts["bad"] == 0
    assert facts["errors"] == []
    assert facts["scripts"] == 1  # The probe itself: no name became a script.
    assert facts["charts"] == 7 + 5
    assert facts["headings"][0] == "Trained and evaluated"
    assert (brightness(facts["ground"]) < brightness(facts["ink"])) == dark


def test_finished_run_tells_everything(finished):
    told = words(finished)
    for sentence in (
        "Top-1 error 17.78% 8 of 45 validation images and their mirror images, "
        "95% interval 9.3% to 31.3%",
        "ant 40.00% 6 of 15, 95% interval 19.8% to 64.3%",
        "linear scale",
        "272,084 parameters and 40,812,800 multiply-adds for an image of 32 pixels",
        f"python -m pipelines.predict --model={finished.directory} photo.jpg",
        f"load_model('{finished.directory}/model/model.keras')",
        f"-v {finished.directory}/serving/resnet20:/models/resnet20",
        "Loss 1.2345",
        "3 of 3",
        "0:01:32",  # Three times 30.5 seconds, to the even one.
        "101 images/s",
        "dog",
        "is ant 0.00% taken for <script>",
        "98.76%",
        "seed 11",
        "learning_rate 0.3 0.2 as published",
        "shortcut B A as published",
        "f1n9er",
        "It was started 2 times.",
        "--recipe=onecycle --epochs=3 --set=learning_rate=0.3",
        "--seed=11 --replicas=2",
        "checkpoint-000003.npz 1.0 MB",
        "1 20 resumed",
        "skipped <b>step</b>",
        "All about the data: data.html",
    ):
        assert sentence in told
    assert told.count("The image is no longer in the records.") == 2


def test_published_values_are_folded(finished):
    page = make_report(finished).read_text(encoding="utf-8")
    folded = "".join(re.findall("<details>.*?</details>", page, re.DOTALL))
    for name in ("batch_size", "block"):
        assert f'<th scope="row">{name}</th>' in folded
    for name in ("learning_rate", "shortcut"):
        assert f'<th scope="row">{name}</th>' not in folded
        assert f'<th scope="row">{name}</th>' in page


def test_contents_lead_to_the_sections(finished):
    page = make_report(finished).read_text(encoding="utf-8")
    contents = re.search("<nav.*?</nav>", page)[0]
    links = re.findall('href="#([^"]*)"', contents)
    assert links == re.findall('<section id="([^"]*)">', page)
    assert len(set(links)) == len(links) > 8


def test_only_an_unfinished_run_is_looked_at_again(finished, tmp_path):
    again = '<meta http-equiv="refresh" content="30">'
    assert again not in make_report(finished).read_text(encoding="utf-8")
    run = start_run(tmp_path / "run")
    assert again in make_report(run).read_text(encoding="utf-8")


def test_the_same_folder_gives_the_same_page(finished):
    before = make_report(finished).read_bytes()
    assert make_report(finished).read_bytes() == before


def test_page_asks_for_nothing_from_elsewhere(finished):
    text = make_report(finished).read_text(encoding="utf-8")
    for address in re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', text):
        assert address.startswith(("data:image/", "#")) or address == "data.html"
    assert "url(" not in text and "@import" not in text and "<script" not in text
    assert "default-src 'none'" in text
    assert len(text) < 300_000


def test_confused_pairs_of_many_classes(tmp_path):
    run = start_run(tmp_path / "run")
    add_history(run, 1)
    confusion = 100 * np.eye(30, dtype=np.int64)
    confusion[3, 7], confusion[20, 1] = 25, 300
    add_evaluation(run, confusion, ())
    told = words(run)
    # Without the examples there are no names.
    assert "class 20 class 1 75.0% 300 of 400, 95% interval 70.5% to 79.0% " in told
    assert "class 3 class 7 20.0% 25 of 125, " in told
    assert "The 24 classes with the highest error, of 30." in told
    assert "Hardest mistakes There are none." in told
    assert facts_of(run.directory / "report.html")["charts"] == 7 + 1


def test_running_run_says_what_is_missing(tmp_path):
    run = start_run(tmp_path / "run")
    told = words(run)
    assert "Not finished" in told and "0 of 3" in told
    assert "Top-1 error unknown" in told
    assert "No epoch is finished yet" in told
    assert "The network is evaluated when it is trained." in told
    assert "no record of what it ran on" in told
    assert "No checkpoint is kept." in told

    add_history(run, 2)
    with (run.model_dir / "history.csv").open("a") as file:
        file.write("2,102,0.1,0.")
    told = words(run)
    assert "2 of 3" in told
    assert "Top-1 error 50.00% so far, validation after epoch 2" in told
    facts = facts_of(run.directory / "report.html")
    assert facts["overflow"] == facts["bad"] == 0
    assert facts["charts"] == 7


def test_older_run_lacks_columns(tmp_path):
    run = start_run(tmp_path / "run")
    (run.model_dir / "history.csv").write_text(
        "epoch,loss,top1,val_loss,val_top1\n0,nan,0.5,nan,0.25\n"
    )
    told = words(run)
    assert "Top-1 error 75.00%" in told
    assert "Top-5 error unknown" in told
    assert "Throughput unknown" in told
    assert facts_of(run.directory / "report.html")["charts"] == 1


def test_evaluation_of_an_older_version_is_no_evaluation(finished, tmp_path):
    run = start_run(tmp_path / "run")
    add_history(run, 3)
    add_evaluation(run, np.eye(3, dtype=np.int64), ())
    values = json.loads(run.evaluation_path.read_text())
    del values["hardest"]
    run.evaluation_path.write_text(json.dumps(values))
    told = words(run)
    assert "Trained, not evaluated" in told
    assert "makes one without training again" in told


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        make_report(Run(tmp_path))


def test_command_names_the_flag(tmp_path):
    with pytest.raises(UserError, match="write --run=runs/demo"):
        report.main(["runs/demo"])


def test_a_growing_table_is_read_to_its_last_whole_line(tmp_path):
    path = tmp_path / "history.csv"
    assert read_columns(path) == {}
    path.write_text("epoch,loss\n0,2.5\n1,\n2\n3,0.")
    columns = read_columns(path)
    np.testing.assert_array_equal(columns["epoch"], [0, 1, 2])
    np.testing.assert_array_equal(columns["loss"], [2.5, np.nan, np.nan])


def _places(svg):
    """Returns the points of the first line as they are drawn."""
    outline = re.search(r'class="curve[^"]*" d="M([^"]*)"', svg)[1]
    return np.array([point.split(",") for point in outline.split(" L")], float)


def test_lines_are_straight_where_values_are():
    places = _places(lines("x", {"train": [(x, 3 * x + 1) for x in range(1, 9)]}))
    steps = np.diff(places, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=0.2)
    assert steps[0, 0] > 0 > steps[0, 1]  # Down the page is less.


def test_wide_ranges_are_logarithmic():
    places = _places(lines("x", {"train": [(x, 10.0**x) for x in range(5)]}))
    steps = np.diff(places, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=0.2)


@pytest.mark.parametrize(
    "values", [[1.0], [2.0, 2.0], [np.nan, 1.0, np.inf, 3.0], [0.0, 0.0, 1e9]]
)
def test_every_finite_value_is_drawn(values):
    svg = lines("x", {"train": list(enumerate(values))})
    assert svg.count("<circle") == np.isfinite(values).sum()
    assert not re.search("nan|inf", svg)
    heights = [float(y) for y in re.findall(r'cy="([^"]*)"', svg)]
    assert all(20 <= y <= 222 for y in heights)


def test_command_makes_the_page(finished):
    command = [sys.executable, "-m", "pipelines.report", f"--run={finished.directory}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{finished.directory / 'report.html'}\n"
