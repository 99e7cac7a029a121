"""The claim about positions, against a Welch interval from its textbook formula."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from reports.figures.positions import positions, positions_sentence
from reports.figures.runs import Trial
from tests.reports.made_records import made_spec
from tests.reports.made_trials import made_curve, made_trial

SPACE = made_spec("periodic_position", 12).space.resolved(12)


def trials(scores: dict[str, list[float]]) -> list[Trial]:
    """Return completed trials by position."""
    pairs = [(position, score) for position, of in scores.items() for score in of]
    return [
        made_trial(i, made_curve([score]), knobs={"position": position})
        for i, (position, score) in enumerate(pairs)
    ]


def test_intervals_are_welchs_at_bonferronis_level() -> None:
    a, b, c = [0.30, 0.32, 0.35], [0.31, 0.36], [0.30, 0.31, 0.33, 0.36]
    found = positions("s", SPACE, trials({"bn1": a, "bn2": b, "shortcut": c}))
    assert found is not None
    first = next(one for one in found.single if (one.one, one.other) == ("bn1", "bn2"))

    def part(values: list[float]) -> float:
        mean = sum(values) / len(values)
        return sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)

    error = math.sqrt(part(a) + part(b))
    df = error**4 / (part(a) ** 2 / (len(a) - 1) + part(b) ** 2 / (len(b) - 1))
    reach = stats.t.ppf(1 - 0.05 / 3 / 2, df) * error
    difference = sum(a) / len(a) - sum(b) / len(b)
    assert first.difference == pytest.approx(difference)
    assert (first.low, first.high) == pytest.approx((difference - reach, difference + reach))
    assert found.all_together == ()


def test_a_clear_difference_contradicts_the_paper_and_a_small_one_proves_nothing() -> None:
    clear = positions("s", SPACE, trials({"bn1": [0.3, 0.301, 0.302], "bn2": [0.1, 0.101, 0.102]}))
    assert clear is not None
    assert "is contradicted here" in positions_sentence(clear)
    small = positions("s", SPACE, trials({"bn1": [0.3, 0.35], "bn2": [0.31, 0.34]}))
    assert small is not None
    assert "not proof that there is none" in positions_sentence(small)


def test_all_together_is_compared_with_each_single_position() -> None:
    found = positions("s", SPACE, trials({"bn1": [0.3, 0.301], "all": [0.1, 0.101]}))
    assert found is not None
    assert [(one.one, one.other) for one in found.all_together] == [("all", "bn1")]
    assert "all together is worse than bn1" in positions_sentence(found)


def test_equal_scores_and_single_trials_give_no_nan() -> None:
    found = positions("s", SPACE, trials({"bn1": [0.3, 0.3], "bn2": [0.3, 0.3]}))
    assert found is not None
    assert (found.single[0].low, found.single[0].high) == (0.0, 0.0)
    assert positions("s", SPACE, trials({"bn1": [0.3], "bn2": [0.3]})) is None
    plain = made_spec("periodic_T", 12).space.resolved(12)
    assert positions("s", plain, [made_trial(0)]) is None
