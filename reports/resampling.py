"""Bootstrap totals of two arms by resampling what is independent: seeds, not rows.

Where every trial has a seed of its own, a seed is a row. Where both arms used the same seeds, these
are drawn once for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.arm import Arm, same_seeds
from reports.proportions import Floats, Interval, order_statistic

RESAMPLES = 9999
"""So that the limits at 95 % are the 250th and the 9,750th of 10,000 gaps."""

Statistic = Callable[[Floats, Floats], Floats]
"""From two arms' totals, shape (columns, resamples), to a number for each resample."""


def seed_totals(arm: Arm, *columns: Floats | NDArray[np.bool_]) -> Floats:
    """Return each column's total for every seed of an arm; shape (columns, seeds)."""
    weights = [np.asarray(column, dtype=np.float64) for column in columns]
    return np.array(
        [np.bincount(arm.clusters, weights=one, minlength=arm.seeds) for one in weights]
    )


def seeds_confidence(confidence: float, first: Arm, second: Arm) -> float:
    """Return the confidence at which percentiles over few seeds hold that of an interval.

    Percentiles of G resampled means are narrower than Student's interval by sqrt((G − 1)/G) and the
    quantile of the normal distribution over that of t with G − 1 degrees of freedom: with 5 seeds
    95 % are 85 %. Arms without shared seeds keep their confidence.

    Source: Hesterberg 2015, The American Statistician 69, pages 371 to 386 (expanded percentiles).
    """
    seeds = min((arm.seeds for arm in (first, second) if arm.clustered), default=0)
    if seeds < 2:
        return confidence
    t = float(stats.t.isf((1 - confidence) / 2, seeds - 1))
    return float(1 - 2 * stats.norm.sf(math.sqrt(seeds / (seeds - 1)) * t))


def bootstrap_interval(
    first: Arm,
    second: Arm,
    totals_1: Floats,
    totals_2: Floats,
    statistic: Statistic,
    confidence: float,
    seed: int,
) -> Interval | None:
    """Return the percentile interval of a statistic of two arms' totals.

    The statistic may be infinite, never NaN. None is returned where resampling can say nothing: an
    arm has fewer than two seeds, or every resample gives the same value.

    Source: `scipy.stats.bootstrap` over index arrays. Its own interval interpolates with
    `np.percentile`, which gives NaN next to an infinite value, so the limits are order statistics.
    """
    if min(first.seeds, second.seeds) < 2:
        return None
    together = first.clustered and second.clustered and same_seeds(first, second)
    samples = (np.arange(first.seeds), np.arange(second.seeds))
    data = samples[:1] if together else samples

    # A resample's members along the first axis are added whole rows at a time: 16 times as fast
    # as `totals[:, chosen].sum(axis=-1)`, which adds them in the same order.
    rows_1, rows_2 = np.ascontiguousarray(totals_1.T), np.ascontiguousarray(totals_2.T)

    def of(*chosen: NDArray[np.int64], axis: int = -1) -> Floats:
        of_1 = rows_1.take(np.moveaxis(chosen[0], axis, 0), axis=0).sum(axis=0)
        of_2 = rows_2.take(np.moveaxis(chosen[-1], axis, 0), axis=0).sum(axis=0)
        return statistic(of_1.T, of_2.T)

    with np.errstate(all="ignore"):
        found = stats.bootstrap(
            data, of, n_resamples=RESAMPLES, batch=500, vectorized=True, paired=False,
            confidence_level=confidence, method="percentile", rng=np.random.default_rng(seed),
        ).bootstrap_distribution  # fmt: skip
    values = np.asarray(found, dtype=np.float64)
    if np.all(values == values[0]):
        return None
    tail = (1 - confidence) / 2
    return Interval(order_statistic(values, tail), order_statistic(values, 1 - tail))
