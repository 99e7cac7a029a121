"""Hit probabilities, trials to a match, and the ratio of two hit probabilities.

s = P(a random trial scores at least the target). Trials to the first match are geometric:
E[N] = 1/s, and K_q = ln q / ln(1 − s) trials match with probability 1 − q. The savings in trials,
R = s_D / s_P, is a relative risk. Unbounded limits are `inf` here, and null in the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Two-sided limits; `low` may be 0 and `high` infinite."""

    low: float
    high: float


EVERYTHING = Interval(0.0, math.inf)
"""What is known about a ratio when nothing is."""


def exact_interval(hits: float, trials: float, confidence: float) -> Interval:
    """Return Clopper–Pearson limits of a proportion.

    Parameters
    ----------
    hits, trials : float
        Counts; not whole where the seeds of a clustered arm are counted as single trials: then the
        limits are those of `scipy.stats.beta`, of which the exact ones are a special case.
    confidence : float, 0 to 1

    >>> low, high = exact_interval(0, 10, 0.95)
    >>> low, round(high, 4)  # 1 - 0.025 ** (1 / 10)
    (0.0, 0.3085)
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    if float(hits).is_integer() and float(trials).is_integer():
        found = stats.binomtest(int(hits), int(trials)).proportion_ci(confidence, method="exact")
        return Interval(float(found.low), float(found.high))
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(stats.beta.isf(tail, hits + 1, trials - hits))
    return Interval(low, high)


def trials_to_match(s: float, q: float | None) -> float:
    """Return K_q, the trials that match with probability 1 − q, or E[N] if q is None.

    >>> trials_to_match(0.5, 0.5), trials_to_match(0.1, None), trials_to_match(0.0, 0.5)
    (1.0, 10.0, inf)
    """
    if s <= 0:
        return math.inf
    if q is None:
        return 1 / s
    return 0.0 if s >= 1 else math.log(q) / math.log1p(-s)


def whole_trials(k: float) -> int:
    """Return the number of trials to plan for: the ceiling, at least 1.

    K is exact only to rounding: ln(0.5625)/ln(0.75) is 2 and a little.
    """
    return max(1, math.ceil(k - 1e-9))


def never_matched(trials: int, q: float | None, confidence: float) -> float:
    """Return the one-sided lower limit of K_q or E[N] after so many trials without a match.

    >>> round(never_matched(100, 0.5, 0.95), 1), round(never_matched(100, None, 0.95), 1)
    (23.1, 33.9)
    """
    if trials == 0:
        return 0.0 if q is not None else 1.0
    return trials_to_match(-math.expm1(math.log(1 - confidence) / trials), q)


def ratio_interval(
    hits_1: float, trials_1: float, hits_2: float, trials_2: float, confidence: float
) -> Interval:
    """Return the limits of s_1 / s_2: the Miettinen–Nurminen score test, inverted.

    statsmodels' own interval of this kind is wrong where an arm is saturated (it takes the root of
    a two-sided p value between the estimate and a Wald limit, which need not enclose it): for 20 of
    20 against 95 of 100 it gives 1.043 as the lower limit, where the test itself does not reject 1.

    Source: Miettinen and Nurminen 1985, equation 10; `test_proportions_2indep`.
    """
    if trials_1 == 0 or trials_2 == 0 or hits_1 == hits_2 == 0:
        return EVERYTHING
    from statsmodels.stats.proportion import test_proportions_2indep

    critical = float(stats.norm.isf((1 - confidence) / 2))
    start = math.log((hits_1 + 0.5) / (trials_1 + 1)) - math.log((hits_2 + 0.5) / (trials_2 + 1))

    def above(log_ratio: float, z: float) -> float:
        with np.errstate(all="ignore"):  # it divides by zero for an odds ratio we do not ask for
            statistic, _ = test_proportions_2indep(
                hits_1, trials_1, hits_2, trials_2, math.exp(log_ratio),
                compare="ratio", method="score", correction=True, return_results=False,
            )  # fmt: skip
        # Both arms saturated and a ratio of 1: no variance, and no difference either.
        return (0.0 if math.isnan(statistic) else float(statistic)) - z

    low, high = 0.0, math.inf
    if hits_1 > 0:
        low = math.exp(_root(above, critical, start))
    if hits_2 > 0:
        high = math.exp(_root(above, -critical, start))
    return Interval(low, high)


def _root(above: Callable[[float, float], float], z: float, start: float) -> float:
    """Return where the falling function `above(x, z)` is 0, searching outwards from `start`."""
    left = right = start
    step = 0.5
    while above(left, z) < 0:
        left, step = left - step, 2 * step
    step = 0.5
    while above(right, z) > 0:
        right, step = right + step, 2 * step
    return start if left == right else float(brentq(above, left, right, args=(z,), xtol=1e-10))


def equal_success(s_1: float, s_2: float) -> float | None:
    """Return ln(1 − s_1) / ln(1 − s_2): how many trials of 2 have the success of one trial of 1.

    None where it is unbounded, or, with two proportions of 1 or of 0, undefined.
    """
    if s_1 >= 1 or s_2 <= 0:
        return None
    return 0.0 if s_2 >= 1 else math.log1p(-s_1) / math.log1p(-s_2)


POINTS = 1500
"""Quantiles by which a confidence distribution is represented: limits are right to 3 digits."""


def melded_equal_success(
    hits_1: float, trials_1: float, hits_2: float, trials_2: float, confidence: float
) -> Interval:
    """Return the limits of ln(1 − s_1) / ln(1 − s_2), by melding two Clopper–Pearson intervals.

    Each limit takes for either arm the confidence distribution that is worse for it, Beta(h, n−h+1)
    or Beta(h+1, n−h), and the quantile of the ratio of independent draws. Here the draws are a grid
    of quantiles, so that the same counts always give the same limits.

    Source: Fay, Proschan and Brittain 2015, Biometrics 71, section 2.
    """
    if trials_1 == 0 or trials_2 == 0:
        return EVERYTHING
    tail = (1 - confidence) / 2
    least, most = lower_draws(hits_1, trials_1), upper_draws(hits_1, trials_1)
    least_2, most_2 = lower_draws(hits_2, trials_2), upper_draws(hits_2, trials_2)
    return Interval(
        order_statistic(success_ratios(least[:, None], most_2[None, :]).ravel(), tail),
        order_statistic(success_ratios(most[:, None], least_2[None, :]).ravel(), 1 - tail),
    )


def success_ratios(s_1: Floats, s_2: Floats) -> Floats:
    """Return `equal_success` of arrays, infinite where it is unbounded."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log1p(-s_1) / np.log1p(-s_2)
    return np.where((s_1 >= 1) | (s_2 <= 0), np.inf, ratios)


def lower_draws(hits: float, trials: float) -> Floats:
    """Return quantiles of the lower confidence distribution of a proportion (0 without hits)."""
    if hits == 0:
        return np.zeros(1)
    return np.asarray(stats.beta.ppf(_LEVELS, hits, trials - hits + 1), dtype=np.float64)


def upper_draws(hits: float, trials: float) -> Floats:
    """Return quantiles of the upper confidence distribution (1 if all are hits)."""
    if hits == trials:
        return np.ones(1)
    return np.asarray(stats.beta.ppf(_LEVELS, hits + 1, trials - hits), dtype=np.float64)


_LEVELS = (np.arange(POINTS) + 0.5) / POINTS


def order_statistic(values: Floats, level: float) -> float:
    """Return an empirical quantile, towards the outside; infinite values are allowed.

    `np.percentile` interpolates, and gives NaN next to an infinite value.
    """
    index = level * (len(values) - 1)
    position = math.floor(index) if level < 0.5 else math.ceil(index)
    return float(np.partition(values, position)[position])
