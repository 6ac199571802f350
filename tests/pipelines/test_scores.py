"""Scores, intervals, calibration and comparisons against others' and by hand."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.special
import scipy.stats
from predicted import predictions

from pipelines.errors import UserError
from pipelines.evaluation.calibration import (
    Calibration,
    calibration_error,
    fit_temperature,
    reliability,
)
from pipelines.evaluation.comparison import compare, mcnemar
from pipelines.evaluation.curves import GRID, Curves
from pipelines.evaluation.intervals import bootstrap, wilson
from pipelines.evaluation.judgement import (
    Judged,
    Judgement,
    Threshold,
    bless,
)
from pipelines.evaluation.predictions import Predictions, ensemble
from pipelines.evaluation.saved import save_judgement
from pipelines.evaluation.scores import Outcomes, class_scores, scores
from pipelines.evaluation.slices import slices


def test_curves_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    found = predictions()
    scored = np.round(found.logarithms, 1)  # So that many images are equally probable.
    labels = np.where(found.labels == 6, 0, found.labels)  # A class without images.
    curves = Curves.of(scored, labels)
    rows = range(6)
    own = [labels == row for row in rows]
    auroc = [metrics.roc_auc_score(own[row], scored[:, row]) for row in rows]
    average = [
        metrics.average_precision_score(own[row], scored[:, row]) for row in rows
    ]
    np.testing.assert_allclose(curves.auroc[:6], auroc, rtol=1e-12)
    np.testing.assert_allclose(curves.average_precision[:6], average, rtol=1e-12)
    assert np.isnan([curves.auroc[6], curves.average_precision[6]]).all()
    macro = curves.macro()
    assert macro["macro_auroc"] == pytest.approx(np.mean(auroc))
    assert macro["macro_average_precision"] == pytest.approx(np.mean(average))
    false, true, _ = metrics.roc_curve(own[0], scored[:, 0], drop_intermediate=False)
    np.testing.assert_allclose(curves.roc[0], np.interp(GRID, false, true))
    for threshold in (-3.0, -1.0, -0.5):
        taken = scored[:, 0] >= np.float32(threshold)
        recall, precision = taken[own[0]].mean(), own[0][taken].mean()
        above = curves.precision[0][np.flatnonzero(recall <= GRID)[0] - 1]
        assert above >= precision or recall in GRID


def test_scores_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    found = predictions()
    # A class without images, and one that is never predicted.
    keep = found.labels != 3
    logarithms = found.logarithms[keep].astype(float)
    logarithms[:, 5] -= 30
    logarithms = scipy.special.log_softmax(logarithms, axis=1)
    labels = found.labels[keep]
    outcomes = Outcomes.of([(logarithms, labels)])
    guesses = logarithms.argmax(axis=1)
    np.testing.assert_array_equal(outcomes.predictions, guesses)
    ours = scores(outcomes, 7)
    assert ours["top1_error"] == pytest.approx(
        1 - metrics.accuracy_score(labels, guesses)
    )
    probabilities, every = np.exp(logarithms), np.arange(7)
    assert ours["top5_error"] == pytest.approx(
        1 - metrics.top_k_accuracy_score(labels, probabilities, k=5, labels=every)
    )
    assert ours["loss"] == pytest.approx(
        metrics.log_loss(labels, probabilities, labels=every)
    )
    by_class = class_scores(outcomes, 7)
    theirs = metrics.precision_recall_fscore_support(
        labels, guesses, labels=every, zero_division=0
    )
    for name, values in zip(
        ("precision", "recall", "f1", "images"), theirs, strict=True
    ):
        np.testing.assert_allclose(getattr(by_class, name), values)
    macro = metrics.precision_recall_fscore_support(
        labels, guesses, average="macro", zero_division=0
    )
    named = ("macro_precision", "macro_recall", "macro_f1")
    assert [ours[name] for name in named] == pytest.approx(list(macro[:3]))


def test_images_that_count_several_times_are_as_if_they_were_there_so_often():
    found = Outcomes.of(predictions(60).chunks())
    times = np.random.default_rng(1).integers(0, 4, 60)
    repeated = found.of_rows(np.repeat(np.arange(60), times))
    assert scores(found, 7, times) == pytest.approx(scores(repeated, 7))


@pytest.mark.parametrize(("count", "total"), [(0, 5), (5, 5), (8, 45), (300, 1000)])
def test_wilson_is_scipys(count, total):
    theirs = scipy.stats.binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count, total) == pytest.approx((theirs.low, theirs.high))


def test_bootstrap_is_scipys():
    wrong = np.random.default_rng(0).random(400) < 0.3

    def error(times):
        return {"error": float(times @ wrong / len(wrong))}

    (ours,) = bootstrap(error, 400, samples=4000).values()
    theirs = scipy.stats.bootstrap(
        (wrong,), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.006)


@pytest.mark.parametrize("counts", [(1, 7), (0, 0), (40, 25), (3000, 3210)])
def test_mcnemar_is_scipys_sign_test(counts):
    total = sum(counts)
    expected = scipy.stats.binomtest(min(counts), total).pvalue if total else 1.0
    assert mcnemar(*counts) == pytest.approx(expected, rel=1e-6)


def test_the_better_of_two_is_told():
    good = Outcomes.of(predictions().chunks())
    found = predictions()
    noise = np.random.default_rng(3).normal(size=found.logarithms.shape)
    bad = Outcomes.of([((found.logarithms + 3 * noise).astype(float), found.labels)])
    better = compare(good, bad, 7, samples=200)
    low, high = better.intervals["top1_error"]
    assert low < better.differences["top1_error"] < high < 0
    assert better.p_value < 0.01
    assert better.only_first > better.only_second
    same = compare(good, good, 7, samples=50)
    assert same.p_value == 1 and set(same.intervals["loss"]) == {0.0}


def test_calibration_error_by_hand():
    confidences = np.array([0.95, 0.98, 0.51, 0.52])
    right = np.array([True, False, True, True])
    bins = reliability(confidences, right)
    assert [(one.images, one.accuracy) for one in bins] == [(2, 1.0), (2, 0.5)]
    expected = (2 * abs(0.515 - 1) + 2 * abs(0.965 - 0.5)) / 4
    assert calibration_error(bins) == pytest.approx(expected)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_temperature_undoes_what_was_done(sharpness):
    found = predictions(4000, sharpness=sharpness)
    assert fit_temperature(found.logarithms, found.labels) == pytest.approx(
        sharpness, rel=0.1
    )
    shown = Calibration.of(found.logarithms, found.labels, found.records)
    assert shown.images == 2000
    assert shown.errors[1] < 0.05
    assert shown.loss_after <= shown.loss_before + 5e-3
    if sharpness == 3.0:
        assert shown.errors[0] > 0.1


def test_ensemble_is_the_mean_of_probabilities(tmp_path):
    members = [predictions(seed=seed, images=1500) for seed in range(3)]
    together = ensemble(members, tmp_path / "all.npy")
    mean = np.mean([np.exp(one.logarithms) for one in members], axis=0)
    np.testing.assert_allclose(np.exp(together.logarithms), mean, rtol=1e-5)
    with pytest.raises(ValueError, match="same images"):
        ensemble([members[0], predictions(20)], tmp_path / "all.npy")


def test_slices_share_the_images_out():
    numbers = np.random.default_rng(0).integers(10, 500, 101).astype(float).tolist()
    parts = list(slices("size", numbers))
    assert len(parts) == 4
    assert np.sum([one.rows for one in parts], axis=0).tolist() == [1] * 101
    assert {int(one.rows.sum()) for one in parts} <= {24, 25, 26, 27}
    kinds = list(slices("kind", ["png"] * 3 + ["jpeg"] * 2 + [""]))
    assert [(one.value, one.rows.sum()) for one in kinds] == [
        ("none", 1),
        ("jpeg", 2),
        ("png", 3),
    ]
    many = list(slices("name", [f"n{index % 20:02}" for index in range(60)]))
    assert len(many) == 13 and many[-1].value == "others"


def test_blessing_says_what_does_not_hold():
    found = predictions()
    parts = list(slices("brightness", found.brightness.tolist()))
    judgement = Judgement.of(found, parts)
    error = judgement.scores["top1_error"]
    asked = (f"top1_error<={error + 0.01}", "macro_f1>=0.99", "slices.top1_error<=1")
    checks = bless(judgement, map(Threshold.parse, asked))
    assert [check.passed for check in checks] == [True, False, True, True, True, True]
    assert "macro_f1 is" in checks[1].sentence and "at least 0.99" in checks[1].sentence
    for wrong in ("top1_error<0.5", "top1_error<=x", "speed<=1", ""):
        with pytest.raises(UserError, match="is no threshold|no score is called"):
            Threshold.parse(wrong)


def test_a_model_that_is_worse_beyond_its_interval_is_not_blessed():
    good = predictions()
    # On dark images alone the other one guesses.
    dark = good.brightness < 64
    logarithms = good.logarithms.copy()
    logarithms[dark] = np.roll(logarithms[dark], 1, axis=1)
    bad = Predictions(good.records, good.labels, logarithms, good.brightness)
    parts = list(slices("brightness", good.brightness.tolist()))
    checks = bless(Judgement.of(bad, parts, other=good), ())
    assert [check.passed for check in checks] == [False, False, True, True, True]
    assert all(check.passed for check in bless(Judgement.of(good, parts, bad), ()))


def test_a_network_that_gives_no_numbers_is_wrong_and_not_blessed(tmp_path):
    found = predictions(60)
    nothing = np.full_like(found.logarithms, np.nan)
    judgement = Judgement.of(dataclasses.replace(found, logarithms=nothing))
    judged = Judged(
        judgement, tuple("abcdefg"), ("photo.jpg",) * 60, found.records, {}, ("it",)
    )
    asked = ("top1_error<=0.5", "loss<=9", "calibration_error<=1")
    save_judgement(judged, bless(judgement, map(Threshold.parse, asked)), tmp_path)
    values, verdict = (
        json.loads((tmp_path / name).read_text(), parse_constant=pytest.fail)
        for name in ("evaluation.json", "blessing.json")
    )
    assert values["top1_error"] == 1 and values["loss"] is None
    assert not verdict["blessed"] and len(verdict["reasons"]) == 3
