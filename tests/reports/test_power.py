"""What a design buys, against enumeration by the interval itself, closed forms and simulation."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower

import reports.power as module
from reports.equivalence import equivalence, is_significant
from reports.power import (
    RATIOS,
    PowerRow,
    confirm_sd,
    detectable,
    label,
    never_matched,
    power,
)
from reports.proportions import ratio_interval

SIZES = [(9, 6), (7, 12), (4, 4)]


@functools.cache
def found(hits_d: int, n_d: int, hits_p: int, n_p: int, confidence: float) -> bool:
    """Return whether the reported interval lies wholly above 1."""
    return ratio_interval(hits_d, n_d, hits_p, n_p, confidence).low > 1


def enumerated(n_p: int, n_d: int, confidence: float, ratio: float) -> float:
    """Return the power by brute force: every pair of hits, each with its interval."""
    return sum(
        stats.binom.pmf(d, n_d, 0.5) * stats.binom.pmf(p, n_p, 0.5 / ratio)
        for d, p in itertools.product(range(n_d + 1), range(n_p + 1))
        if found(d, n_d, p, n_p, confidence)
    )


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("n_p", "n_d"), SIZES)
def test_the_interval_excludes_1_exactly_where_the_score_test_at_1_rejects(n_p, n_d, confidence):
    bounds = module._boundary(n_p, n_d, confidence)
    for d, p in itertools.product(range(n_d + 1), range(n_p + 1)):
        assert (p < bounds[d]) == found(d, n_d, p, n_p, confidence)


@pytest.mark.parametrize(("n_p", "n_d"), [(100, 20), (40, 10)])
def test_at_the_boundary_of_a_real_design_one_hit_more_loses_the_claim(n_p, n_d):
    for d, bound in enumerate(module._boundary(n_p, n_d, 0.95).tolist()):
        assert bound == 0 or found(d, n_d, bound - 1, n_p, 0.95)
        assert not found(d, n_d, bound, n_p, 0.95)


def test_the_statistic_falls_with_every_periodic_hit_as_long_as_dynamic_is_ahead():
    for n_p, n_d in [*SIZES, (1, 1), (1, 9), (100, 20)]:
        for d in range(n_d + 1):
            scores = [module._score(d, n_d, p, n_p) for p in range(n_p + 1)]
            ahead = [score for score in scores if score > 0]
            assert ahead == scores[: len(ahead)]
            assert ahead == sorted(set(ahead), reverse=True)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("n_p", "n_d"), SIZES)
def test_power_is_what_brute_force_over_all_intervals_gives(n_p, n_d, confidence):
    rows = power(n_p, n_d, confidence)
    assert tuple(row.ratio for row in rows) == RATIOS
    for row in rows:
        expected = enumerated(n_p, n_d, confidence, row.ratio)
        assert row.power == pytest.approx(expected, abs=1e-12)  # 100 sums of rounded doubles


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("sizes", [*SIZES, (40, 10), (100, 20), (400, 100)])
def test_false_claims_are_as_rare_as_half_of_what_the_confidence_leaves(sizes, confidence):
    """Exact to half a step of the smaller arm's hits, which moves a tail by φ(z) / (2σ)."""
    tail = (1 - confidence) / 2
    sigma = math.sqrt(min(sizes)) / 2
    half_step = stats.norm.pdf(stats.norm.isf(tail)) / (2 * sigma)
    assert 0 < power(*sizes, confidence)[0].power <= tail + half_step


def test_power_grows_with_the_true_savings_and_with_the_census():
    small, large = power(40, 10, 0.95), power(100, 20, 0.95)
    for rows in (small, large):
        assert all(one.power < two.power <= 1 for one, two in itertools.pairwise(rows))
    assert all(one.power < two.power for one, two in zip(small[1:], large[1:], strict=True))


def test_power_agrees_with_simulated_studies():
    """Oracle: 4000 studies of true savings 3; their share varies by √(p(1−p)/B)."""
    n_p, n_d, studies = 30, 12, 4000
    generator = np.random.default_rng(3)
    hits_d = generator.binomial(n_d, 1 / 2, studies).tolist()
    hits_p = generator.binomial(n_p, 1 / 6, studies).tolist()
    share = np.mean([found(d, n_d, p, n_p, 0.95) for d, p in zip(hits_d, hits_p, strict=True)])
    row = power(n_p, n_d, 0.95)[RATIOS.index(3.0)]
    six_sigma = 6 * math.sqrt(row.power * (1 - row.power) / studies)
    assert share == pytest.approx(row.power, abs=six_sigma)


def test_a_row_tells_the_interval_at_the_expected_hits_and_how_often_there_are_none():
    for row in power(40, 10, 0.9):
        assert row.s_periodic == pytest.approx(0.5 / row.ratio, rel=1e-15)
        assert abs(row.hits_dynamic - 5) <= 0.5
        assert abs(row.hits_periodic - 20 / row.ratio) <= 0.5
        assert row.interval == ratio_interval(row.hits_dynamic, 10, row.hits_periodic, 40, 0.9)
        assert row.no_hits == pytest.approx(stats.binom.pmf(0, 40, row.s_periodic), rel=1e-12)
        # K_1/2 trials all miss with probability 1/2.
        assert (1 - row.s_periodic) ** row.median_trials == pytest.approx(0.5, rel=1e-12)


def test_half_a_hit_is_rounded_against_dynamic():
    row = power(25, 5, 0.95)[RATIOS.index(5.0)]
    assert (row.hits_dynamic, row.hits_periodic) == (2, 3)  # 2.5 are expected of both


def test_where_no_periodic_hit_is_expected_the_reported_interval_has_no_upper_limit():
    row = power(15, 10, 0.95)[RATIOS.index(20.0)]
    assert row.hits_periodic == 0
    assert math.isinf(row.interval.high)
    assert row.interval.low > 1


def test_the_score_test_is_run_for_few_of_the_pairs_of_hits(monkeypatch):
    """Bisection among n + 1 counts takes at most log2(n + 1) + 1 tests; all pairs were 40501."""
    calls = []
    original = module._score
    monkeypatch.setattr(module, "_score", lambda *args: calls.append(args) or original(*args))
    power(400, 100, 0.95)
    assert len(calls) <= 101 * (math.floor(math.log2(401)) + 1)


@pytest.mark.parametrize("wanted", [0.5, 0.8])
@pytest.mark.parametrize(("n_p", "n_d"), [(9, 6), (7, 12)])
def test_the_detectable_ratio_has_the_wanted_power_and_a_smaller_one_less(n_p, n_d, wanted):
    ratio = detectable(n_p, n_d, 0.8, wanted)
    # The root is right to 2e-12 in s_P, and a binomial chance changes by at most n per unit of it.
    assert enumerated(n_p, n_d, 0.8, ratio) == pytest.approx(wanted, abs=1e-10)
    assert enumerated(n_p, n_d, 0.8, ratio * 0.99) < wanted


@pytest.mark.parametrize("sizes", [(40, 10), (100, 20), (400, 100)])
def test_the_detectable_ratio_lies_where_the_rows_pass_the_wanted_power(sizes):
    ratio = detectable(*sizes, 0.95)
    assert ratio is not None
    assert all((row.power >= 0.8) == (row.ratio >= ratio) for row in power(*sizes, 0.95))


def test_no_ratio_is_detectable_where_dynamic_alone_misses_too_often():
    """A claim needs a dynamic hit at least: of n dynamic trials one hits with chance 1 − 2^−n."""
    assert detectable(1000, 2, 0.95) is None  # 1 − 1/4 is less than 0.8
    assert detectable(1000, 3, 0.95, 0.87) is not None
    assert detectable(1000, 3, 0.95, 0.88) is None  # 1 − 1/8 is less
    assert detectable(1, 1000, 0.95) is None  # one periodic miss proves nothing


def test_a_power_below_that_of_a_false_claim_needs_no_savings():
    assert detectable(100, 20, 0.95, 0.02) == 1


@pytest.mark.parametrize("n", [1, 20, 100, 1000])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_at_the_limits_no_match_in_n_has_the_chance_that_confidence_leaves(n, confidence):
    limits = never_matched(n, confidence)
    assert (1 - 1 / limits.expected_trials) ** n == pytest.approx(1 - confidence, rel=1e-9)
    assert 0.5 ** (n / limits.median_trials) == pytest.approx(1 - confidence, rel=1e-9)


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_never_matched_is_about_a_quarter_and_a_third_of_the_trials(n):
    limits = never_matched(n)
    assert limits.median_trials == pytest.approx(0.231 * n, rel=0.0005 / 0.231)  # 3 digits
    # 1/(1 − e^−x) is between 1/x + 1/2 and 1/x + 1/2 + x/12, with x = ln 20 / n.
    x = math.log(20) / n
    assert 0.5 <= limits.expected_trials - n / math.log(20) <= 0.5 + x / 12
    assert limits.expected_trials > n / 3


def welch_power(n: int, level: float, noncentrality: float) -> float:
    """Return the exact power of Welch's test where both sides have the same spread.

    The statistic depends on the sum of the two sample variances, its degrees of freedom on the
    share B ~ Beta((n−1)/2, (n−1)/2) of one of them, which is independent of the sum.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    share = (nodes + 1) / 2
    df = (n - 1) / (share**2 + (1 - share) ** 2)
    powers = stats.nct.sf(stats.t.isf(level, df), 2 * (n - 1), noncentrality)
    return float(weights / 2 * stats.beta.pdf(share, (n - 1) / 2, (n - 1) / 2) @ powers)


@pytest.mark.parametrize("n", [2, 5, 18, 100])
@pytest.mark.parametrize(("confidence", "wanted"), [(0.95, 0.8), (0.9, 0.5)])
def test_at_the_largest_spread_the_other_librarys_t_test_has_the_wanted_power(
    n, confidence, wanted
):
    effect = 0.01 / confirm_sd(n, 0.01, confidence, wanted)
    theirs = TTestIndPower().power(effect, n, 1 - confidence, alternative="larger")
    # The root is right to 2e-12 in the noncentrality, by which a power changes by less than 1.
    assert theirs == pytest.approx(wanted, abs=1e-11)


@pytest.mark.parametrize(("n", "documented"), [(18, 0.799), (5, 0.786), (3, 0.738)])
def test_welchs_power_at_that_spread_is_what_the_documentation_says(n, documented):
    noncentrality = 0.01 / confirm_sd(n, 0.01, 0.95) / math.sqrt(2 / n)
    assert round(welch_power(n, 0.05, noncentrality), 3) == documented
    assert str(documented) in confirm_sd.__doc__


@pytest.mark.parametrize("n", [5, 18])
def test_simulated_confirmations_at_that_spread_pass_as_often_as_wanted(n):
    """100,000 comparisons of equal means; the share that passes varies by √(p(1−p)/B).

    Welch's degrees of freedom are between n − 1 and 2(n − 1): so is its power between the two.
    """
    margin, rounds = 0.01, 100_000
    spread = confirm_sd(n, margin, 0.95)
    generator = np.random.default_rng(18)
    one, other = generator.normal(0.4, spread, (2, rounds, n))
    p = stats.ttest_ind(one + margin, other, axis=1, equal_var=False, alternative="greater").pvalue
    passed = p < 0.05
    noncentrality = margin / spread / math.sqrt(2 / n)
    least = stats.nct.sf(stats.t.isf(0.05, n - 1), 2 * (n - 1), noncentrality)
    six_sigma = 6 * math.sqrt(0.8 * 0.2 / rounds)
    assert least - six_sigma < passed.mean() < 0.8 + six_sigma
    assert passed.mean() == pytest.approx(welch_power(n, 0.05, noncentrality), abs=six_sigma)
    for i in range(100):  # and that is the product's own test and level
        result = equivalence(one[i], other[i], margin)
        assert is_significant(result.non_inferior_p, 0.95) == passed[i]


def test_the_largest_spread_is_proportional_to_the_margin_and_grows_with_the_trainings():
    assert confirm_sd(18, 0.02, 0.95) == pytest.approx(2 * confirm_sd(18, 0.01, 0.95), rel=1e-12)
    spreads = [confirm_sd(n, 0.01, 0.95) for n in (2, 5, 18, 100, 1000)]
    assert spreads == sorted(spreads)


def test_without_a_margin_or_with_one_training_a_side_there_is_no_test():
    assert confirm_sd(18, None, 0.95) is None
    assert confirm_sd(1, 0.01, 0.95) is None


def test_a_power_that_is_not_above_the_level_is_had_at_any_spread():
    assert confirm_sd(18, 0.01, 0.5, 0.4) == math.inf


@pytest.mark.parametrize(
    ("n_p", "n_d", "expected"),
    [
        (100, 20, "defensible"),
        (400, 100, "defensible"),
        (99, 20, "gross savings only"),
        (100, 19, "gross savings only"),
        (40, 10, "gross savings only"),
    ],
)
def test_only_from_100_and_20_on_a_design_is_called_defensible(n_p, n_d, expected):
    assert label(n_p, n_d) == expected


def test_rows_are_plain_data():
    row = power(10, 5, 0.95)[1]
    assert isinstance(row, PowerRow)
    assert {type(value) for value in row if not isinstance(value, tuple)} == {float, int}
    assert {type(value) for value in row.interval} == {float}
