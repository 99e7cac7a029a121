"""The ratio of two hit probabilities when the target is the median of one arm's own scores.

Treating such a target as known covers 64 to 87 % at nominal 95 %: it varies with the sample. Here
the unknown is R at the arm's *true* median, and the interval melds (Fay, Proschan and Brittain
2015) the median's confidence distribution with Clopper and Pearson's for the other arm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.arm import NEVER, Arm, Floats
from reports.proportions import EVERYTHING, Interval, order_statistic, success_ratios

DRAWS = 20_000
"""Of each confidence distribution; a limit at 95 % then rests on 500 draws beyond it."""
HIGHEST = 1.0
"""The best score there is: what a trial that was stopped early might have reached."""


class OwnMedian(NamedTuple):
    """What can be said at the median of the first arm."""

    ratio: Interval
    """Limits of s_1 / s_2."""
    equal_success: Interval
    """Limits of ln(1 − s_1) / ln(1 − s_2)."""


def median_score(arm: Arm) -> float | None:
    """Return the median of an arm's scores, failed trials being the worst; None if that is failure.

    Where the two middle trials are a failed and a scored one, the scored one decides.
    """
    if arm.n == 0:
        return None
    ordered = np.sort(arm.scores)
    low, high = float(ordered[(arm.n - 1) // 2]), float(ordered[arm.n // 2])
    if high == NEVER:
        return None
    return high if low == NEVER else (low + high) / 2


def median_share(arm: Arm, target: float) -> float:
    """Return an arm's share at or above `target`, its own median.

    That is a half by definition, however many of its trials lie there (2 of 3, say); where scores
    are tied at the median, the share that lies there.
    """
    tied = int(np.count_nonzero(arm.scores == target))
    return float(np.mean(arm.hits(target))) if tied > 1 else 0.5


def at_own_median(
    first: Arm, second: Arm, target: float, confidence: float, seed: int
) -> OwnMedian:
    """Return the comparison of two arms at `target`, the median of the first.

    With V the ordered ranks F(Y) of the first arm's n scores, which are n ordered uniforms, the
    median lies between the scores j and j + 1, where j is the number of V below a half. The lower
    end goes with the second arm's upper confidence distribution, and the other way round. Where
    scores j and j + 1 are tied, the median is that score, and the first arm's share at or above it
    is between the 1 − V around the tie; else it is a half.
    """
    if second.n == 0:
        return OwnMedian(EVERYTHING, EVERYTHING)
    lows, highs = _one_per_seed(first)
    n = len(lows)
    generator = np.random.default_rng(seed)
    ranks = generator.random((DRAWS, n))
    below = np.count_nonzero(ranks < 0.5, axis=1)
    least = np.concatenate([[NEVER - 1], lows])[below]
    most = np.concatenate([highs, [HIGHEST + 1]])[below]
    share_low, share_high = np.full(DRAWS, 0.5), np.full(DRAWS, 0.5)
    if np.any(highs != lows):
        share_high[:] = 1.0
    else:
        atom = least == most
        start = np.searchsorted(lows, least)  # first of the tied scores, from 0
        rows = np.arange(DRAWS)
        if atom.any():  # half the time of all this, for nothing where no scores are tied
            ranks.sort(axis=1)
        share_low = np.where(atom, 1 - ranks[rows, np.minimum(start, n - 1)], 0.5)
        share_high = np.where(
            atom & (start > 0), 1 - ranks[rows, start - 1], np.where(atom, 1, 0.5)
        )
    scale = second.seeds / second.n  # 1, unless the second arm is clustered: then seeds count
    might = _at_least(np.where(second.cut, HIGHEST, second.scores), least) * scale
    did = _at_least(second.scores, most) * scale
    misses = second.seeds - did
    upper = _beta(generator, might + 1, second.seeds - might, 1.0)
    lower = 1 - _beta(generator, misses + 1, did, 1.0)
    tail = (1 - confidence) / 2
    # As 1/R, which is finite also where the second arm has no hit.
    largest = order_statistic(upper / share_low, 1 - tail)
    smallest = order_statistic(lower / share_high, tail)
    return OwnMedian(
        Interval(1 / largest, 1 / smallest if smallest > 0 else math.inf),
        Interval(
            order_statistic(success_ratios(share_low, upper), tail),
            order_statistic(success_ratios(share_high, lower), 1 - tail),
        ),
    )


def _one_per_seed(arm: Arm) -> tuple[Floats, Floats]:
    """Return ascending scores, one per seed (its lower median), as they are and might be."""
    might = np.where(arm.cut, HIGHEST, arm.scores)
    lows, highs = [], []
    for seed in range(arm.seeds):
        chosen = arm.clusters == seed
        middle = (np.count_nonzero(chosen) - 1) // 2
        lows.append(np.sort(arm.scores[chosen])[middle])
        highs.append(np.sort(might[chosen])[middle])
    return np.sort(lows), np.sort(highs)


def _at_least(scores: Floats, limits: Floats) -> Floats:
    """Return how many scores reach each limit."""
    reached = len(scores) - np.searchsorted(np.sort(scores), limits, side="left")
    return np.asarray(reached, dtype=np.float64)


def _beta(
    generator: np.random.Generator, a: Floats, b: Floats, at_zero: float
) -> NDArray[np.float64]:
    """Draw from Beta(a, b); where b is 0 all its mass lies at `at_zero`."""
    draws = generator.beta(a, np.where(b > 0, b, 1.0))
    return np.where(b > 0, draws, at_zero)
