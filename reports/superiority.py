"""The chance that a random trial of one arm beats a random trial of the other.

p = P(X > Y) + ½ P(X = Y). 1 − p, with X the untuned default and Y a random periodic trial, is how
often tuning periodic blindly, with one trial, already wins.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reports.arm import Arm, Floats
from reports.own_median import HIGHEST
from reports.proportions import Interval, exact_interval, order_statistic
from reports.resampling import RESAMPLES, seeds_confidence


class Superiority(NamedTuple):
    """An estimated probability and its limits."""

    probability: float | None
    low: float
    high: float


def beats(first: Arm, second: Arm, confidence: float, seed: int) -> Superiority:
    """Return P(first > second) + ½ ties; failed trials are the worst, and tie with one another.

    Where trials were stopped early their scores are only known to be at least what was seen: the
    limits then enclose both extremes, and the estimate is the one with the first arm's at their
    best, the second's as seen.
    """
    if first.n == 0 or second.n == 0:
        return Superiority(None, 0.0, 1.0)
    best = _interval(first, _might(first), second, second.scores, confidence, seed)
    if not (first.cut.any() or second.cut.any()):
        return best
    worst = _interval(first, first.scores, second, _might(second), confidence, seed)
    return Superiority(best.probability, worst.low, best.high)


def _might(arm: Arm) -> Floats:
    return np.where(arm.cut, HIGHEST, arm.scores)


def _interval(
    first: Arm, xs: Floats, second: Arm, ys: Floats, confidence: float, seed: int
) -> Superiority:
    wins = (xs[:, None] > ys[None, :]) + 0.5 * (xs[:, None] == ys[None, :])
    p = float(wins.mean())
    if first.clustered or second.clustered:
        limits = _by_seeds(wins, first, second, confidence, seed)
    else:
        limits = _rank_interval(xs, ys, confidence)
    if limits is None:
        # Of min(n₁, n₂) pairs without a common trial each is won with probability p, independently:
        # an exact interval for these is valid, if wide.
        pairs = min(first.seeds, second.seeds)
        limits = Interval(
            exact_interval(math.floor(p * pairs), pairs, confidence).low,
            exact_interval(math.ceil(p * pairs), pairs, confidence).high,
        )
    return Superiority(p, max(0.0, limits.low), min(1.0, limits.high))


def _rank_interval(xs: Floats, ys: Floats, confidence: float) -> Interval | None:
    """Return Brunner and Munzel's interval, or None at complete separation, where it is NaN."""
    if min(len(xs), len(ys)) < 2:
        return None
    from statsmodels.stats.nonparametric import rank_compare_2indep

    with np.errstate(all="ignore"):
        low, high = rank_compare_2indep(xs, ys, use_t=True).conf_int(alpha=1 - confidence)
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        return None
    return Interval(float(low), float(high))


def _by_seeds(
    wins: Floats, first: Arm, second: Arm, confidence: float, seed: int
) -> Interval | None:
    """Return the expanded percentile interval over resampled seeds; None where it says nothing."""
    if min(first.seeds, second.seeds) < 2:
        return None
    cells = np.zeros((first.seeds, second.seeds))
    np.add.at(cells, (first.clusters[:, None], second.clusters[None, :]), wins)
    sizes_1, sizes_2 = np.bincount(first.clusters), np.bincount(second.clusters)
    generator = np.random.default_rng(seed)
    times_1 = _draws(generator, first.seeds)
    times_2 = _draws(generator, second.seeds)
    won = np.einsum("bi,ij,bj->b", times_1, cells, times_2, optimize=True)
    values = won / ((times_1 @ sizes_1) * (times_2 @ sizes_2))
    if np.all(values == values[0]):
        return None
    tail = (1 - seeds_confidence(confidence, first, second)) / 2
    return Interval(order_statistic(values, tail), order_statistic(values, 1 - tail))


def _draws(generator: np.random.Generator, seeds: int) -> Floats:
    """Return how often each seed is drawn; shape (resamples, seeds)."""
    return generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES).astype(float)
