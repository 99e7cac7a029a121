"""Hit probabilities and their ratio, against closed forms, enumeration and the literature."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from reports.proportions import (
    EVERYTHING,
    equal_success,
    exact_interval,
    melded_equal_success,
    never_matched,
    order_statistic,
    ratio_interval,
    trials_to_match,
    whole_trials,
)

Z = stats.norm.ppf(0.975)


def score_statistic(x1: int, n1: int, x2: int, n2: int, ratio: float) -> float:
    """Return the Miettinen–Nurminen statistic from a grid search of the constrained likelihood."""
    p2 = np.linspace(1e-9, min(1, 1 / ratio) - 1e-9, 400_001)
    p1 = ratio * p2
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = sum(
            np.where(count > 0, count * np.log(p), 0)
            for count, p in ((x1, p1), (n1 - x1, 1 - p1), (x2, p2), (n2 - x2, 1 - p2))
        )
    best = int(np.nanargmax(likelihood))
    p1, p2 = p1[best], p2[best]
    variance = p1 * (1 - p1) / n1 + ratio**2 * p2 * (1 - p2) / n2
    variance *= (n1 + n2) / (n1 + n2 - 1)
    return (x1 / n1 - ratio * x2 / n2) / math.sqrt(variance)


@pytest.mark.parametrize(
    "counts",
    [(8, 20, 12, 100), (20, 20, 50, 100), (20, 20, 95, 100), (3, 7, 5, 9), (5, 20, 0, 100)],
)
def test_the_limits_are_where_the_score_test_of_a_grid_search_reaches_the_critical_value(counts):
    limits = ratio_interval(*counts, 0.95)
    for limit, z in zip(limits, (Z, -Z), strict=True):
        if math.isfinite(limit):
            # The grid has 2.5e-6 steps in p, which move the statistic by less than 1e-3 here.
            assert score_statistic(*counts, limit) == pytest.approx(z, abs=1e-3)


def test_statsmodels_own_interval_is_wrong_when_saturated_and_ours_is_not():
    counts = (20, 20, 95, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = confint_proportions_2indep(*counts, compare="ratio", method="score")
    assert theirs[0] > 1  # "dynamic saves", though the test does not reject a ratio of 1:
    assert abs(score_statistic(*counts, 1.0)) < Z
    assert ratio_interval(*counts, 0.95).low < 1


def test_every_pair_of_small_counts_has_limits_around_its_ratio():
    for n1, n2 in ((1, 1), (1, 4), (3, 2)):
        for x1, x2 in itertools.product(range(n1 + 1), range(n2 + 1)):
            low, high = ratio_interval(x1, n1, x2, n2, 0.95)
            assert 0 <= low < high
            if x1 == x2 == 0:
                assert (low, high) == EVERYTHING
            elif x2 == 0:
                assert low > 0
                assert math.isinf(high)
            else:
                assert low <= (x1 / n1) / (x2 / n2) <= high < math.inf


def test_swapping_the_arms_inverts_the_limits():
    low, high = ratio_interval(8, 20, 12, 100, 0.95)
    other = ratio_interval(12, 100, 8, 20, 0.95)
    assert (1 / high, 1 / low) == pytest.approx(other, rel=1e-7)  # brentq's tolerance is 1e-10


@pytest.mark.parametrize("s", [0.1, 0.3, 0.5, 0.8])
def test_identical_arms_cover_a_ratio_of_1_at_the_nominal_level(s):
    """Coverage by enumeration of the binomial grid, no simulation.

    Hits are whole numbers, so each limit is exact only to half a step of the smaller arm's: a tail
    changes by the density there times half a step, φ(z)/(2σ), σ the standard deviation of its hits.
    """
    n1, n2 = 15, 25
    coverage = 0.0
    for x1, x2 in itertools.product(range(n1 + 1), range(n2 + 1)):
        low, high = ratio_interval(x1, n1, x2, n2, 0.95)
        if low <= 1 <= high:
            coverage += stats.binom.pmf(x1, n1, s) * stats.binom.pmf(x2, n2, s)
    half_steps = 2 * stats.norm.pdf(Z) / (2 * math.sqrt(n1 * s * (1 - s)))
    assert coverage == pytest.approx(0.95, abs=half_steps)


def test_clopper_pearson_covers_at_least_the_nominal_level_everywhere():
    n = 12
    limits = [exact_interval(x, n, 0.9) for x in range(n + 1)]
    for s in np.linspace(0.01, 0.99, 99):
        covered = sum(
            stats.binom.pmf(x, n, s) for x, (low, high) in enumerate(limits) if low <= s <= high
        )
        assert covered >= 0.9 - 1e-12


def test_a_share_of_nothing_is_anything_and_fractional_counts_lie_between_whole_ones():
    assert exact_interval(0, 0, 0.95) == (0, 1)
    low, high = exact_interval(2.5, 10, 0.95)
    assert exact_interval(2, 10, 0.95).low < low < exact_interval(3, 10, 0.95).low
    assert exact_interval(2, 10, 0.95).high < high < exact_interval(3, 10, 0.95).high
    assert exact_interval(0, 2.5, 0.95).low == 0
    assert exact_interval(2.5, 2.5, 0.95).high == 1


def test_trials_to_match_are_the_geometric_distributions_quantiles():
    for s in (0.02, 0.25, 0.5, 0.97):
        for q in (0.5, 0.1):
            expected = stats.geom.ppf(1 - q, s)
            assert whole_trials(trials_to_match(s, q)) == expected
        assert trials_to_match(s, None) == pytest.approx(stats.geom.mean(s), rel=1e-12)
    assert trials_to_match(1.0, 0.5) == 0
    assert whole_trials(0.0) == 1
    assert whole_trials(math.log(0.5625) / math.log(0.75)) == 2  # 2 and a rounding error


def test_after_no_match_the_one_sided_limit_is_the_rule_of_three():
    assert never_matched(100, 0.5, 0.95) == pytest.approx(0.231 * 100, rel=0.002)  # ln 2/ln 20
    assert never_matched(1000, None, 0.95) == pytest.approx(1000 / -math.log(0.05), rel=0.002)
    assert never_matched(0, 0.5, 0.95) == 0


def test_best_of_r_arms_have_an_equal_success_ratio_of_r():
    """If dynamic's one trial is the best of R periodic ones, 1 − s_D = (1 − s_P)^R, at every y."""
    for s in (0.05, 0.4):
        assert equal_success(1 - (1 - s) ** 4, s) == pytest.approx(4, rel=1e-12)
    assert equal_success(1.0, 0.5) is None
    assert equal_success(1.0, 1.0) is None
    assert equal_success(0.5, 0.0) is None
    assert equal_success(0.5, 1.0) == 0
    assert equal_success(0.0, 0.5) == 0


def test_the_melded_interval_of_equal_success_covers_at_least_the_nominal_level():
    """Enumerated at three truths; melding is conservative, and its grid is right to 3 digits."""
    n1, n2 = 8, 12
    limits = {
        (x1, x2): melded_equal_success(x1, n1, x2, n2, 0.9)
        for x1, x2 in itertools.product(range(n1 + 1), range(n2 + 1))
    }
    for s1, s2 in ((0.3, 0.3), (0.7, 0.2), (0.4, 0.6)):
        truth = equal_success(s1, s2)
        assert truth is not None
        covered = sum(
            stats.binom.pmf(x1, n1, s1) * stats.binom.pmf(x2, n2, s2)
            for (x1, x2), (low, high) in limits.items()
            if low <= truth <= high
        )
        assert covered >= 0.9


def test_melding_agrees_with_random_draws():
    """Oracle: 10⁶ draws of the two beta distributions; a tail share varies by √(p(1−p)/B)."""
    low, high = melded_equal_success(8, 20, 12, 100, 0.95)
    generator = np.random.default_rng(1)
    draws = 1_000_000
    least = np.log1p(-generator.beta(8, 13, draws)) / np.log1p(-generator.beta(13, 88, draws))
    most = np.log1p(-generator.beta(9, 12, draws)) / np.log1p(-generator.beta(12, 89, draws))
    six_sigma = 6 * math.sqrt(0.025 * 0.975 / draws)
    assert np.mean(least < low) == pytest.approx(0.025, abs=six_sigma)
    assert np.mean(most > high) == pytest.approx(0.025, abs=six_sigma)


def test_an_order_statistic_next_to_infinity_is_a_number_where_numpys_percentile_is_nan():
    values = np.array([1.0, 2.0, math.inf, math.inf])
    with np.errstate(invalid="ignore"):
        assert math.isnan(np.percentile(values, 97.5))
    assert order_statistic(values, 0.975) == math.inf
    assert order_statistic(values, 0.025) == 1
