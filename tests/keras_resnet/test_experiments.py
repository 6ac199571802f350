"""The table of claims, and how a verdict comes about."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

from keras_resnet.experiments import BUDGETS, CLAIMS, judge
from keras_resnet.experiments.figures import figure
from keras_resnet.experiments.measurements import MEASURES, Point, shattering
from keras_resnet.experiments.verdicts import interval
from keras_resnet.networks import NETWORKS
from keras_resnet.training import RECIPES
from keras_resnet.training.overrides import override, parse_settings

CLAIM = CLAIMS["short_paths"]


def verdict(*values):
    return judge(CLAIM, [{"relative_length": value} for value in values])


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
def test_claims_are_whole(claim):
    assert claim.measure in MEASURES
    assert claim.published
    assert {name for name, _ in claim.budgets} <= set(BUDGETS)
    for contrast in claim.contrasts:
        assert contrast.direction in ("above", "below")
    for _, budget in claim.budgets:
        assert budget.seeds >= 5
        for training in budget.trainings:
            assert training.network in NETWORKS
            recipe, network = parse_settings(list(training.overrides))
            override(RECIPES[training.recipe], recipe, "recipe")
            override(NETWORKS[training.network], network, "model")


def test_verdicts():
    """The claim is that a mean lies below 2/3."""
    assert verdict(0.4, 0.5, 0.45).verdict == "confirmed"
    assert verdict(0.9, 0.95, 0.92).verdict == "contradicted"
    assert verdict(0.4, 0.9, 0.6).verdict == "not shown at this scale"
    assert verdict(0.4, math.nan, 0.4).verdict == "not shown at this scale"
    assert verdict(0.5, 0.5).findings[0].interval == (0.5, 0.5)
    with pytest.raises(ValueError, match="takes at least 2, got 1"):
        verdict(0.4)


def test_one_contradiction_decides():
    claim = CLAIMS["shattered_gradients"]
    good, bad = {"plain_rate": -1.0, "residual_exponent": -0.5}, {"plain_rate": 0.0}
    assert judge(claim, [good] * 5).verdict == "confirmed"
    assert judge(claim, [{**good, **bad}] * 5).verdict == "contradicted"


def test_intervals_as_scipy_has_them():
    stats = pytest.importorskip("scipy.stats")
    values = [1.0, 2.5, 2.0, 7.0, 3.0]
    mean, found = interval(values, 0.95)
    expected = stats.t.interval(0.95, 4, loc=mean, scale=stats.sem(values))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        interval(values[:2], 0.99)[1],
        stats.t.interval(0.99, 1, loc=1.75, scale=stats.sem(values[:2])),
        rtol=1e-4,
    )


def test_another_setting_is_another_version():
    (name, budget), *_ = CLAIM.budgets
    cheaper = dataclasses.replace(budget, settings=(*budget.settings, ("more", 1)))
    changed = dataclasses.replace(CLAIM, budgets=((name, cheaper),))
    reworded = dataclasses.replace(CLAIM, sentence="Another sentence.")
    assert CLAIM.version(name) != changed.version(name)
    assert CLAIM.version(name) == reworded.version(name)


def test_claims_are_plain_data():
    values = json.loads(json.dumps([dataclasses.asdict(c) for c in CLAIMS.values()]))
    assert [one["name"] for one in values] == list(CLAIMS)


def test_shattering_follows_its_law():
    """2^-L in plain networks; the setting is smaller than the table's."""
    found = shattering(0, None, width=128, count=64, plain=(1, 2), residual=(2, 8))
    assert found.effects["plain_rate"] == pytest.approx(-1, abs=0.2)
    assert -1 < found.effects["residual_exponent"] < -0.2
    keras.backend.clear_session()


def test_figures_have_a_panel_and_a_line_for_each(tmp_path):
    points = [
        Point(panel, series, x, y)
        for panel in ("layer; std", "sorted; std")
        for series in ("plain", "residual")
        for x in (1, 2)
        for y in (0.5, 0.7)
    ]
    drawn = figure(CLAIM, points)
    assert [axes.get_xlabel() for axes in drawn.axes] == ["layer", "sorted"]
    for axes in drawn.axes:
        assert [line.get_label() for line in axes.lines] == ["plain", "residual"]
        np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.6, 0.6])
