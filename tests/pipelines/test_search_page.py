"""The front, the importance of values, and the page that shows them."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from keras_resnet import NETWORKS
from pipelines.components.tuner import Hyperparameters
from pipelines.reports.search_page import nearest, write_search_page
from pipelines.runs.request import request
from pipelines.runs.trial import Trial
from pipelines.tuning.front import front, importances, ranked


def trial(number, error, cost, failure="", **values):
    config = request(data="<b>", model="resnet20", recipe="onecycle", settings=[])
    return Trial(
        number=number,
        config=config,
        values=values,
        error=error,
        epochs=1,
        costs={"multiply_adds": cost, "parameters": cost},
        seconds=1.0,
        failure=failure,
    )


def test_the_front_is_what_none_beats():
    trials = [trial(1, 0.3, 20), trial(2, 0.5, 10), trial(3, 0.4, 30)]
    trials += [trial(4, 0.3, 40), trial(5, 0.1, 50), trial(6, 0.0, 1, failure="memory")]
    assert [one.number for one in front(trials, "parameters")] == [2, 1, 5]
    assert [one.number for one in ranked(trials)] == [5, 1, 4, 3, 2, 6]


def test_importance_is_the_share_of_variance():
    random = np.random.default_rng(0)
    values = [
        {"large": int(a), "small": str(b), "none": float(c)}
        for a, b, c in zip(
            random.integers(0, 4, 400),
            random.integers(0, 2, 400),
            random.random(400),
            strict=True,
        )
    ]
    # Variances 1.25 * 0.04 = 0.05, 0.25 * 0.04 = 0.01, and 0.01 of noise.
    errors = [
        0.2 * one["large"] + 0.2 * int(one["small"]) + random.normal(0, 0.1)
        for one in values
    ]
    found = importances(values, errors)
    assert list(found) == ["large", "small", "none"]
    for name, share in {"large": 5 / 7, "small": 1 / 7, "none": 0.0}.items():
        assert found[name].share == pytest.approx(share, abs=0.06)
        low, high = found[name].interval
        assert low <= share + 0.02 and share - 0.02 <= high
    assert found["none"].interval[0] <= 0


def test_few_trials_say_nothing():
    assert importances([{"a": 1}] * 3, [0.1, 0.2, 0.3]) == {}
    assert importances([{"a": n} for n in range(8)], [0.5] * 8) == {}
    assert importances([{"a": 1}] * 8, list(np.linspace(0, 1, 8))) == {}


def test_the_nearest_published_network():
    changed = dataclasses.replace(
        NETWORKS["resnet50"], blocks_per_stage=(3, 4, 7, 3), name="mine"
    )
    assert nearest(changed) == NETWORKS["resnet50"]
    deep = dataclasses.replace(NETWORKS["resnet20"], blocks_per_stage=(9, 8, 9))
    assert nearest(deep) == NETWORKS["resnet56"]
    plain = dataclasses.replace(NETWORKS["resnet20"], shortcut="none")
    assert nearest(plain) == NETWORKS["plainnet20"]


class _Checker(HTMLParser):
    """Sees that what is opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [1, 12])
def test_the_page_shows_all_trials(tmp_path, count):
    random = np.random.default_rng(1)
    trials = [
        trial(
            number,
            float(random.random()),
            1000 * number,
            shortcut="AB"[number % 2],
            learning_rate=10.0 ** -(number % 4),
            **({"dropout": 0.1} if number % 3 else {}),
        )
        for number in range(1, 1 + count)
    ]
    trials.append(trial(99, 1.0, 5, failure="<out of memory>", shortcut="A"))
    trials = ranked(trials)
    found = Hyperparameters(
        tmp_path / "best.json",
        tuple(trials),
        tuple(front(trials, "multiply_adds")),
        "multiply_adds",
        importances([t.values for t in trials], [t.error for t in trials]),
    )
    page = write_search_page(tmp_path / "search.html", found).read_text()
    checker = _Checker()
    checker.feed(page)
    assert not checker.open
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == ["Front", "All values", "Importance", "Best network", "Trials"]
    assert "&lt;out of memory&gt;" in page and "<b>" not in page.split("</header>")[0]
    # A line for each trial that did not fail, and the nearest network.
    assert page.count('style="opacity') == count
    assert "resnet20" in page
    assert ("interval" in page.split("Importance")[-1]) == (count > 1)
