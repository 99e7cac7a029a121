"""Cost per match, and its ratio between two arms, in epochs or in slot-seconds.

C = (all cost charged, failures and stopped trials included) / (matches). It is never the number of
trials to a match times the cost of a completed trial: which trials end early is part of the cost.
Where a search stopped trials, C is what that search, with its stopping, spent per match.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reports.arm import Arm, Bools, Floats
from reports.proportions import EVERYTHING, Interval, exact_interval, ratio_interval
from reports.resampling import bootstrap_interval, seed_totals

FEWEST_HITS = 5
"""With fewer matches in an arm, resampling them says little, and the score interval is used."""


class CostPerMatch(NamedTuple):
    """Cost per match; infinite where there is no match."""

    estimate: float
    low: float
    high: float


class CostRatio(NamedTuple):
    """C of the second arm / C of the first: what the first saves."""

    ratio: float
    low: float
    high: float
    method: str


def cost_per_match(
    arm: Arm, hits: Bools, cost: Floats, confidence: float, seed: int
) -> CostPerMatch:
    """Return an arm's cost per match.

    From 5 matches on the limits bootstrap matches per cost and invert; below, they are the mean
    cost of a trial over the exact limits of the hit probability.
    """
    found, total = int(hits.sum()), float(cost.sum())
    limits = None
    if found >= FEWEST_HITS:
        totals = seed_totals(arm, hits, cost)
        limits = bootstrap_interval(
            arm, arm, totals, totals, lambda one, _: _quotient(one[0], one[1]), confidence, seed
        )
    if limits is None:
        scale = arm.seeds / arm.n
        exact = exact_interval(found * scale, arm.seeds, confidence)
        limits = Interval(exact.low * arm.n / total, exact.high * arm.n / total)
    return CostPerMatch(
        total / found if found else math.inf,
        1 / limits.high,
        1 / limits.low if limits.low > 0 else math.inf,
    )


def cost_ratio(
    first: Arm,
    second: Arm,
    hits_1: Bools,
    hits_2: Bools,
    cost_1: Floats,
    cost_2: Floats,
    confidence: float,
    seed: int,
) -> CostRatio:
    """Return C₂/C₁ with its interval.

    From 5 matches in each arm on, 1/R_c is bootstrapped, which stays finite when no match of the
    second arm is drawn, and inverted. Below, the interval of the ratio of hit probabilities is
    multiplied by the ratio of mean costs.
    """
    found_1, found_2 = int(hits_1.sum()), int(hits_2.sum())
    ratio = (
        math.nan
        if found_1 == found_2 == 0
        else math.inf
        if found_2 == 0
        else (cost_2.sum() / found_2) / (cost_1.sum() / found_1)
        if found_1
        else 0.0
    )
    if min(found_1, found_2) >= FEWEST_HITS:
        inverse = bootstrap_interval(
            first,
            second,
            seed_totals(first, hits_1, cost_1),
            seed_totals(second, hits_2, cost_2),
            lambda one, two: _quotient(one[1] * two[0], one[0] * two[1]),
            confidence,
            seed,
        )
        if inverse is not None:
            high = 1 / inverse.low if inverse.low > 0 else math.inf
            low = 1 / inverse.high if inverse.high > 0 else math.inf
            return CostRatio(float(ratio), low, high, "percentile bootstrap of the inverse")
    means = float(cost_2.mean() / cost_1.mean())
    limits = (
        EVERYTHING
        if min(first.seeds, second.seeds) < 2 and (first.clustered or second.clustered)
        else ratio_interval(
            found_1 * first.seeds / first.n, first.seeds,
            found_2 * second.seeds / second.n, second.seeds, confidence,
        )
    )  # fmt: skip
    few = f"fewer than {FEWEST_HITS} matches in an arm"
    method = f"ratio of mean costs × Miettinen–Nurminen score interval ({few})"
    return CostRatio(float(ratio), limits.low * means, limits.high * means, method)


def arms_cost_ratio(
    first: Arm,
    second: Arm,
    target: float | None,
    column: str,
    confidence: float,
    seed: int,
    melded: Interval | None = None,
) -> CostRatio | None:
    """Return the ratio in a column of the table.

    None where there is no target, a cost is not known, or slot-seconds are of different devices.

    Parameters
    ----------
    melded : Interval, optional
        Limits of the ratio in trials where the target is the first arm's own median: no resampling
        of costs would know of that.
    """
    cost_1, cost_2 = first.cost(column), second.cost(column)
    mixed = "slot_seconds" in column and len(first.devices | second.devices) > 1
    if target is None or cost_1 is None or cost_2 is None or mixed:
        return None
    hits_1, hits_2 = first.hits(target), second.hits(target)
    found = cost_ratio(first, second, hits_1, hits_2, cost_1, cost_2, confidence, seed)
    if melded is None:
        return found
    means = float(cost_2.mean() / cost_1.mean())
    method = "ratio of mean costs × melded intervals"
    return CostRatio(found.ratio, melded.low * means, melded.high * means, method)


def _quotient(one: Floats, two: Floats) -> Floats:
    """Return one / two; infinite where `two` is 0, also where both are: nothing was matched."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(two == 0, np.inf, one / two)
