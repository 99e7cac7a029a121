"""Confirmed configurations: means, spreads, and Welch's interval against its own formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.confirmed import confirmed, welch
from reports.equivalence import equivalence
from reports.table import Trials
from tests.reports.made_tables import DYNAMIC, PERIODIC, joined, made


def fresh(space: str, tests: list[float | None], run: str, **columns: object) -> Trials:
    """Return confirm rows of one run, as a record gives them."""
    ids = [f"{run}/{i}" for i in range(len(tests))]
    return made(
        space, [0.5] * len(tests), stage="confirm", test_score=tests, config_id=ids,
        setting=run, **columns,
    )  # fmt: skip


def test_welchs_interval_is_that_of_his_formula() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.40, 0.02, 18), rng.normal(0.38, 0.005, 9)
    v, w = one.var(ddof=1) / 18, other.var(ddof=1) / 9
    freedom = (v + w) ** 2 / (v**2 / 17 + w**2 / 8)
    reach = stats.t.ppf(0.95, freedom) * math.sqrt(v + w)
    found = welch(one.tolist(), other.tolist(), 0.9)
    assert found is not None
    middle = one.mean() - other.mean()
    assert found == (pytest.approx(middle - reach), pytest.approx(middle + reach))


def test_a_single_training_has_neither_spread_nor_interval() -> None:
    trials = joined(
        made(PERIODIC, [0.5] * 7),
        fresh(DYNAMIC, [0.4], "confirm-d"),
        fresh(PERIODIC, [0.3], f"confirm-{PERIODIC}"),
    )
    for one in confirmed(trials, PERIODIC, DYNAMIC, 0.02, 0.95):
        assert (one.test_sd, one.limits, one.non_inferior_p) == (None, None, None)


def test_every_configuration_is_told_with_what_chose_it() -> None:
    dynamic, best, early = [0.40, 0.41, 0.42], [0.41, 0.43, 0.42], [0.30, 0.31, 0.29]
    trials = joined(
        made(PERIODIC, [0.5] * 7),
        fresh(DYNAMIC, dynamic, f"confirm-{DYNAMIC}"),
        fresh(PERIODIC, best, f"confirm-{PERIODIC}"),
        fresh(PERIODIC, early, f"confirm-{PERIODIC}-of-3"),
    )
    found = confirmed(trials, PERIODIC, DYNAMIC, 0.02, 0.95)
    assert [(one.space, one.selection) for one in found] == [
        (DYNAMIC, "at its default"),
        (PERIODIC, "tuned by the whole census (7 trials)"),
        (PERIODIC, "tuned by its first 3 trials"),
    ]
    assert found[0].difference is None
    for one, tests in zip(found[1:], (best, early), strict=True):
        assert one.test_mean == pytest.approx(np.mean(tests))
        assert one.test_sd == pytest.approx(np.std(tests, ddof=1))
        assert one.difference == pytest.approx(np.mean(dynamic) - np.mean(tests))
        assert one.limits == welch(dynamic, tests, 0.95)
        assert one.non_inferior_p == equivalence(dynamic, tests, 0.02).non_inferior_p


def test_trials_that_did_not_complete_or_have_no_test_score_are_left_out() -> None:
    states = ["completed", "crashed", "completed", "completed"]
    trials = joined(
        fresh(DYNAMIC, [0.4, 0.9, None, 0.5], "confirm-d", state=states),
        fresh(PERIODIC, [0.4, 0.42], "mine"),
    )
    dynamic, periodic = confirmed(trials, PERIODIC, DYNAMIC, None, 0.95)
    assert (dynamic.trials, dynamic.test_mean) == (2, pytest.approx(0.45))
    assert (periodic.selection, periodic.non_inferior_p) == ("not said", None)


def test_nothing_confirmed_is_nothing() -> None:
    assert confirmed(made(PERIODIC, [0.5]), PERIODIC, DYNAMIC, None, 0.95) == []
