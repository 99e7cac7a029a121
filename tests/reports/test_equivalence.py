"""Non-inferiority and equivalence on test, against Welch's formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.equivalence import confirmation, equivalence, is_significant
from tests.reports.made_tables import DYNAMIC, PERIODIC, joined, made

ONE, TWO = [0.40, 0.42, 0.41, 0.39, 0.43], [0.41, 0.40, 0.44, 0.42]


def welch(one, other, shift):
    """Return t and its degrees of freedom for a difference of means of `shift`."""
    a, b = (np.var(x, ddof=1) / len(x) for x in (one, other))
    df = (a + b) ** 2 / (a**2 / (len(one) - 1) + b**2 / (len(other) - 1))
    return (np.mean(one) - np.mean(other) - shift) / math.sqrt(a + b), df


def test_the_p_values_are_welchs():
    found = equivalence(ONE, TWO, 0.02)
    t_low, df = welch(ONE, TWO, -0.02)
    t_high, _ = welch(ONE, TWO, 0.02)
    assert found.difference == pytest.approx(np.mean(ONE) - np.mean(TWO))
    assert found.non_inferior_p == pytest.approx(stats.t.sf(t_low, df))
    assert found.two_sided_p == pytest.approx(max(stats.t.sf(t_low, df), stats.t.cdf(t_high, df)))


def test_much_better_is_non_inferior_but_not_the_same():
    found = equivalence([x + 0.2 for x in ONE], TWO, 0.02)
    assert found.non_inferior_p < 0.001
    assert found.two_sided_p > 0.999


def test_pairs_are_compared_by_their_differences():
    one, other = np.array(ONE[:4]), np.array(TWO)
    found = equivalence(one, other, 0.02, paired=True)
    p = stats.ttest_1samp(one - other, -0.02, alternative="greater").pvalue
    assert found.non_inferior_p == pytest.approx(p)


@pytest.mark.parametrize(("shift", "p"), [(0.0, 0.0), (-0.05, 1.0), (0.05, 0.0)])
def test_without_spread_p_is_0_or_1_and_never_nan(shift, p):
    found = equivalence([0.4 + shift] * 3, [0.4] * 3, 0.02)
    assert found.non_inferior_p == p
    assert found.two_sided_p == (0.0 if shift == 0 else 1.0)
    assert equivalence([0.4 + shift] * 3, [0.4] * 3, 0.02, paired=True) == found


def test_without_a_margin_only_the_difference_is_told():
    assert equivalence(ONE, TWO, None)[2:] == (None, None)


def rows(space, tests, **columns):
    columns = {"stage": "confirm", "test_score": tests} | columns
    return made(space, [0.5] * len(tests), **columns)


def test_missing_confirm_rows_of_either_side_are_named():
    both = joined(made(DYNAMIC, [0.5]), rows(PERIODIC, TWO))
    found = confirmation(both, DYNAMIC, PERIODIC, 0.02)
    assert found == (None, [f"There are no confirm rows of {DYNAMIC}"])
    found = confirmation(made(DYNAMIC, [0.5]), DYNAMIC, PERIODIC, 0.02)
    assert found.notes == [f"There are no confirm rows of {DYNAMIC} or {PERIODIC}"]


def test_failed_confirm_trials_are_left_out_and_told():
    failed = rows(DYNAMIC, [*ONE, None], state=["completed"] * 5 + ["crashed"])
    found = confirmation(joined(failed, rows(PERIODIC, TWO)), DYNAMIC, PERIODIC, 0.02)
    assert found.result == equivalence(ONE, TWO, 0.02)
    assert "1 of 6 confirm trials of dynamic_default" in found.notes[0]


def test_of_several_configurations_the_least_favourable_counts():
    better = [x + 0.05 for x in TWO]
    two = rows(PERIODIC, TWO + better, knobs=[{"T": 3}] * 4 + [{"T": 9}] * 4)
    found = confirmation(joined(rows(DYNAMIC, ONE), two), DYNAMIC, PERIODIC, 0.02)
    assert found.result == equivalence(ONE, better, 0.02)
    assert any("least favourable" in note for note in found.notes)
    named = rows(PERIODIC, TWO + better, config_id=["a"] * 4 + ["b"] * 4)
    again = confirmation(joined(rows(DYNAMIC, ONE), named), DYNAMIC, PERIODIC, 0.02)
    assert again.result == found.result


def test_few_or_reused_seeds_are_told():
    confirmed = rows(DYNAMIC, ONE, seed=[1, 2, 3, 4, 5])
    census = made(DYNAMIC, [0.5, 0.6], seed=[5, 6])
    notes = confirmation(joined(census, confirmed, rows(PERIODIC, TWO)), DYNAMIC, PERIODIC, 0.02)[1]
    assert "dynamic_default has 5 confirm test scores; at least 18 are wanted." in notes
    assert "1 confirm trials of dynamic_default use seeds of the trials" in "".join(notes)


def test_fewer_than_two_scores_are_no_comparison():
    found = confirmation(joined(rows(DYNAMIC, [0.4]), rows(PERIODIC, TWO)), DYNAMIC, PERIODIC, 0.02)
    assert found.result is None
    assert found.notes == [f"There are fewer than 2 confirm test scores of {DYNAMIC}"]


def test_a_p_is_judged_at_one_minus_the_confidence():
    assert is_significant(0.049, 0.95)
    assert not is_significant(0.051, 0.95)
    assert not is_significant(None, 0.95)
