"""The command that measures claims: what it keeps, goes on with and refuses."""

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from keras_resnet.experiments import CLAIMS, Budget, Contrast
from keras_resnet.experiments.measurements import MEASURES, Measured, Point
from pipelines.components import reproducer
from pipelines.errors import UserError
from pipelines.reports import claims as reports

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def measured(monkeypatch):
    """The seeds that a claim was measured for, by a measurement of no cost."""
    seeds = []

    def measure(seed, materials, *, limit=99):
        if seed >= limit:
            raise KeyboardInterrupt
        seeds.append(seed)
        return Measured({"seed": seed + 1.0}, [Point("x; y", "line", seed, 1.0)])

    monkeypatch.setitem(MEASURES, "measure", measure)
    return seeds


@pytest.fixture
def claim(monkeypatch):
    changed = dataclasses.replace(
        CLAIMS["short_paths"],
        measure="measure",
        contrasts=(Contrast("seed", "a number", "above", 0.0),),
        budgets=(("miniature", Budget(5, "nothing", 0)),),
    )
    monkeypatch.setitem(CLAIMS, "short_paths", changed)
    return changed


def run(claim, directory, budget="miniature", **options):
    arguments = {"data": "drawings", "checkpoints": Path("nowhere"), **options}
    return reproducer.reproduce(
        claim, budget, directory, console=Console(quiet=True), **arguments
    )


def test_a_verdict_with_its_interval(claim, measured, tmp_path):
    result = run(claim, tmp_path)
    values = json.loads((tmp_path / "short_paths/miniature/verdict.json").read_text())
    assert values["verdict"] == result.verdict.verdict == "confirmed"
    assert values["effect"] == {"seed": 3.0}
    low, high = values["interval"]["seed"]
    assert low == pytest.approx(3 - 2.776 * 0.7071, abs=1e-3)
    assert values["seeds"] == 5
    assert (tmp_path / "short_paths/miniature/figure.png").stat().st_size
    assert run(claim, tmp_path).effects == result.effects
    assert measured == [0, 1, 2, 3, 4]


def test_an_interrupted_claim_goes_on(claim, measured, tmp_path, monkeypatch):
    whole = MEASURES["measure"]
    monkeypatch.setitem(
        MEASURES, "measure", lambda seed, workshop: whole(seed, workshop, limit=2)
    )
    with pytest.raises(KeyboardInterrupt):
        run(claim, tmp_path)
    monkeypatch.setitem(MEASURES, "measure", whole)
    run(claim, tmp_path)
    assert measured == [0, 1, 2, 3, 4]


def test_another_version_is_refused(claim, measured, tmp_path):
    run(claim, tmp_path)
    stricter = dataclasses.replace(
        claim, contrasts=(Contrast("seed", "a number", "above", 1.0),)
    )
    with pytest.raises(UserError, match="another version of the claim's setting"):
        run(stricter, tmp_path)
    with pytest.raises(UserError, match="no budget 'paper'; give --budget=miniature"):
        run(claim, tmp_path, budget="paper")


def test_what_is_missing_is_named(tmp_path):
    claim = CLAIMS["deleting_a_block"]
    with pytest.raises(UserError, match="the published resnet56 that this claim"):
        run(claim, tmp_path)
    workshop = reproducer.Workshop(
        tmp_path, dict(claim.budgets)["miniature"], 0, "drawings:40", tmp_path, None
    )
    images, labels = workshop.images(10, seed=1)
    assert images.shape == (10, 32, 32, 3)
    again, _ = workshop.images(10, seed=1)
    assert (images == again).all() and labels.max() < 12
    with pytest.raises(UserError, match="and 900 are needed; give more"):
        workshop.images(900, seed=1)


def test_commands_ask_for_the_runs_that_a_claim_finds(tmp_path):
    claim, out = CLAIMS["plain_nets_degrade"], tmp_path / "claims"
    assert not reproducer.commands(claim, "miniature", out, "cifar.tar.gz")
    prepare, *lines = reproducer.commands(claim, "paper", out, "my cifar.tar.gz")
    assert f"--data='my cifar.tar.gz' --output_dir={out}/data-all" in prepare
    assert len(lines) == 5 * 4
    assert f"--output_dir={out}/runs/plain-20-seed-1" in lines[4]
    for word in (f"--data={out}/data-all", "--model=plainnet20", "--seed=1"):
        assert word in lines[4]


@pytest.mark.soak
@pytest.mark.parametrize("name", ["shattered_gradients", "norm_preservation"])
def test_miniatures_are_confirmed(name, tmp_path):
    assert run(CLAIMS[name], tmp_path).verdict.verdict == "confirmed"


def test_results_are_published(claim, measured, tmp_path):
    result = run(claim, tmp_path / "runs")
    docs = tmp_path / "docs"
    for _ in range(2):
        reports.publish([result], tmp_path / "runs", docs)
    (read,) = reports.read_results(docs)
    assert read == result
    page = (docs / "reproduction.md").read_text()
    assert "**confirmed** at the budget miniature" in page
    assert (docs / reports.figure_of(result)).exists()
    (also,) = reproducer.finished(tmp_path / "runs")
    assert also == result
    reports.write_claims_page(tmp_path / "runs" / "claims.html", [also])
    assert "data:image/png" in (tmp_path / "runs" / "claims.html").read_text()


def test_the_documentation_is_what_its_table_makes():
    results = reports.read_results(ROOT / "docs")
    text = (ROOT / "docs" / "reproduction.md").read_text()
    assert text == reports.reproduction(results)
    assert len(results) >= 8
