"""What a study's design buys, before it is run: power, and what its limits can be at all.

Assumptions: trials are independent, one fresh seed each; the target is fixed in advance and is
dynamic's median, so that s_D = 1/2 and, for true savings of R, s_P = s_D / R. A pilot's median is
that only nearly. A target that is dynamic's own median has wider limits (`reports/own_median.py`),
hence less power than is told here.

R is *found* if the two-sided Miettinen–Nurminen interval that `proportions.ratio_interval` reports
lies wholly above 1. That interval inverts the score test, and so excludes 1 exactly where the test
at a ratio of 1 rejects. All chances are sums over both binomials, not simulations. Unbounded limits
are `inf`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from reports import proportions
from reports.proportions import Interval
from reports.sentence import DEFENSIBLE
from reports.warn import GROSS

RATIOS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
"""True savings R that `power` tells about."""
S_DYNAMIC = 0.5
"""Chance that a dynamic trial reaches the target: its median, at the default."""


class PowerRow(NamedTuple):
    """What a design shows if the true savings in trials are `ratio`."""

    ratio: float
    """R = s_D / s_P."""
    s_periodic: float
    """Chance that a random periodic trial matches."""
    power: float
    """Chance that the interval of R lies wholly above 1; at R = 1 that of a false claim."""
    hits_dynamic: int
    """Expected hits, rounded to whole ones; a half is rounded against dynamic: down here."""
    hits_periodic: int
    """Expected hits, rounded to whole ones; a half is rounded against dynamic: up here."""
    interval: Interval
    """Limits of R that would be reported for these hits."""
    no_hits: float
    """Chance that no periodic trial matches, so that R has no upper limit."""
    median_trials: float
    """K_1/2, the periodic trials that match with probability 1/2."""


class NeverMatched(NamedTuple):
    """One-sided lower limits where no periodic trial matches."""

    median_trials: float
    """Of K_1/2: 0.231 n at a confidence of 0.95."""
    expected_trials: float
    """Of E[N]: about n / 3 at a confidence of 0.95."""


def power(n_periodic: int, n_dynamic: int, confidence: float) -> tuple[PowerRow, ...]:
    """Return what a census shows for each of `RATIOS`, exactly.

    Parameters
    ----------
    n_periodic, n_dynamic : int
        Trials of either side, at least 1.
    confidence : float
        Of the two-sided interval of R.

    Source: sums of binomial probabilities over all pairs of hits; the interval is that of
    `proportions.ratio_interval`.
    """
    bounds = _boundary(n_periodic, n_dynamic, confidence)
    hits_dynamic = math.ceil(n_dynamic * S_DYNAMIC - 0.5)
    rows = []
    for ratio in RATIOS:
        s = S_DYNAMIC / ratio
        hits = min(n_periodic, math.floor(n_periodic * s + 0.5))
        rows.append(
            PowerRow(
                ratio=ratio,
                s_periodic=s,
                power=_chance(bounds, n_periodic, s),
                hits_dynamic=hits_dynamic,
                hits_periodic=hits,
                interval=proportions.ratio_interval(
                    hits_dynamic, n_dynamic, hits, n_periodic, confidence
                ),
                no_hits=(1 - s) ** n_periodic,
                median_trials=proportions.trials_to_match(s, 0.5),
            )
        )
    return tuple(rows)


def detectable(
    n_periodic: int, n_dynamic: int, confidence: float, power: float = 0.8
) -> float | None:
    """Return the smallest true R, at least 1, that is found with this power; None if none is.

    Even infinite savings, s_P = 0, are not always found: dynamic must have hits, too.
    """
    bounds = _boundary(n_periodic, n_dynamic, confidence)

    def missing(s_periodic: float) -> float:
        return _chance(bounds, n_periodic, s_periodic) - power

    if missing(S_DYNAMIC) >= 0:
        return 1.0
    if missing(0.0) < 0:
        return None
    s: float = brentq(missing, 0.0, S_DYNAMIC)
    return S_DYNAMIC / s if s > 0 else math.inf


def never_matched(n: int, confidence: float = 0.95) -> NeverMatched:
    """Return the one-sided lower limits of the trials to a match if none of n matches.

    >>> [round(limit, 2) for limit in never_matched(100)]
    [23.14, 33.88]
    """
    return NeverMatched(*(proportions.never_matched(n, q, confidence) for q in (0.5, None)))


def confirm_sd(
    n_confirm: int, margin: float | None, confidence: float, power: float = 0.8
) -> float | None:
    """Return the largest standard deviation of test scores at which quality is shown to be kept.

    With it on both sides, and truly equal means, the one-sided test against −margin at the level
    1 − confidence rejects with this power. None without a margin, or with one training a side.

    Formula: noncentral t with 2(n − 1) degrees of freedom and noncentrality δ/(σ√(2/n)), that of
    the pooled test. Welch's has fewer, estimated ones: where 0.8 is asked for, its power is 0.799
    with 18 a side, 0.786 with 5 and 0.738 with 3.
    """
    if margin is None or n_confirm < 2:
        return None
    level, df = 1 - confidence, 2 * (n_confirm - 1)
    if power <= level:
        return math.inf
    critical = stats.t.isf(level, df)

    def missing(noncentrality: float) -> float:
        return float(stats.nct.sf(critical, df, noncentrality)) - power

    high = 1.0
    while missing(high) < 0:
        high *= 2
    needed: float = brentq(missing, 0.0, high)
    return margin / (needed * math.sqrt(2 / n_confirm))


def label(n_periodic: int, n_dynamic: int) -> str:
    """Return what a census of so many trials is good for.

    >>> label(100, 20), label(40, 10), label(39, 10)
    ('defensible', 'gross savings only', 'too small even for gross savings')
    """
    if n_periodic >= DEFENSIBLE[0] and n_dynamic >= DEFENSIBLE[1]:
        return "defensible"
    enough = n_periodic >= GROSS["periodic"] and n_dynamic >= GROSS["dynamic"]
    return "gross savings only" if enough else "too small even for gross savings"


def _boundary(n_periodic: int, n_dynamic: int, confidence: float) -> NDArray[np.int64]:
    """Return, per number of dynamic hits, the fewest periodic hits that are not significant.

    Found by bisection: where s_D > s_P the statistic falls with every further periodic hit, since
    the difference loses more than the standard deviation under the null hypothesis can.
    """
    critical = float(stats.norm.isf((1 - confidence) / 2))

    def least(hits_d: int) -> int:
        return bisect_left(
            range(n_periodic + 1),
            True,
            key=lambda hits_p: _score(hits_d, n_dynamic, hits_p, n_periodic) <= critical,
        )

    return np.array([least(hits_d) for hits_d in range(n_dynamic + 1)], dtype=np.int64)


def _score(hits_1: int, trials_1: int, hits_2: int, trials_2: int) -> float:
    """Return the Miettinen–Nurminen statistic at a ratio of 1, where proportions are pooled."""
    trials = trials_1 + trials_2
    pooled = (hits_1 + hits_2) / trials
    if pooled in (0, 1):
        return 0.0  # no variance, and no difference either
    variance = pooled * (1 - pooled) * (1 / trials_1 + 1 / trials_2) * trials / (trials - 1)
    return (hits_1 / trials_1 - hits_2 / trials_2) / math.sqrt(variance)


def _chance(bounds: NDArray[np.int64], n_periodic: int, s_periodic: float) -> float:
    """Return the chance that dynamic is significantly better; `bounds` is that of `_boundary`."""
    n_dynamic = len(bounds) - 1
    hits_d = stats.binom.pmf(np.arange(n_dynamic + 1), n_dynamic, S_DYNAMIC)
    fewer = stats.binom.cdf(bounds - 1, n_periodic, s_periodic)
    return min(1.0, float(hits_d @ fewer))  # a sum of probabilities is right to rounding only
