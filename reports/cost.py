"""Cost per match, and its ratio between two arms, in epochs or in slot-seconds.

C = (all cost charged, failures and stopped trials included) / (matches). It is never the number of
trials to a match times the cost of a completed trial: which trials end early is part of the cost.
Where a search stopped trials, the cost is what that search, with its stopping, has spent; how many
of them would have matched is not known, so C has two ends.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reports.arm import Arm, Bools, Floats
from reports.effective import seeds_with_match
from reports.proportions import Interval
from reports.resampling import bootstrap_interval, seed_totals, seeds_confidence
from reports.savings import BOUNDS, SEEDS, Ratio, arms_ratio_interval, share_interval

FEWEST_HITS = 5
"""With fewer matches in an arm, or seeds with one, resampling says little."""
BOOTSTRAP = "percentile bootstrap of the inverse"
SCORE = "ratio of mean costs × Miettinen–Nurminen score interval"
OWN = "ratio of mean costs × melded intervals"


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
    cost of a trial over the limits of the hit probability. Where trials share seeds, 5 seeds must
    have a match, and the wider of both counts at either end: what is known of the cost is never
    surer than what is known of the hit probability.
    """
    found, total = int(hits.sum()), float(cost.sum())
    share = share_interval(arm, hits, confidence)
    plain = Interval(share.low * arm.n / total, share.high * arm.n / total)
    limits = None
    if seeds_with_match(arm, hits) >= FEWEST_HITS:
        totals = seed_totals(arm, hits, cost)
        limits = bootstrap_interval(
            arm, arm, totals, totals, lambda one, _: _quotient(one[0], one[1]),
            seeds_confidence(confidence, arm, arm), seed,
        )  # fmt: skip
    if limits is None:
        limits = plain
    elif arm.clustered:
        limits = _around(limits, plain)
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
    multiplied by the ratio of mean costs. Where trials share seeds, 5 seeds must have a match, and
    the wider of both counts at either end.
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
    clustered = first.clustered or second.clustered
    resampled = None
    if min(seeds_with_match(first, hits_1), seeds_with_match(second, hits_2)) >= FEWEST_HITS:
        resampled = bootstrap_interval(
            first,
            second,
            seed_totals(first, hits_1, cost_1),
            seed_totals(second, hits_2, cost_2),
            lambda one, two: _quotient(one[1] * two[0], one[0] * two[1]),
            seeds_confidence(confidence, first, second),
            seed,
        )
    if resampled is not None:
        low, high = (1 / one if one > 0 else math.inf for one in reversed(resampled))
        resampled = Interval(low, high)
        if not clustered:
            return CostRatio(float(ratio), *resampled, BOOTSTRAP)
    means = float(cost_2.mean() / cost_1.mean())
    score = arms_ratio_interval(first, hits_1, second, hits_2, confidence)
    limits = Interval(score.low * means, score.high * means)
    if resampled is not None:
        method = f"wider of {BOOTSTRAP} and {SCORE}; {SEEDS}"
        return CostRatio(float(ratio), *_around(resampled, limits), method)
    few = (
        f" (fewer than {FEWEST_HITS} {'seeds with a match' if clustered else 'matches'} in an arm)"
    )
    return CostRatio(float(ratio), *limits, f"{SCORE}{few}{f'; {SEEDS}' if clustered else ''}")


def arms_cost_ratio(
    first: Arm,
    second: Arm,
    target: float | None,
    column: str,
    confidence: float,
    seed: int,
    own: Ratio | None = None,
) -> CostRatio | None:
    """Return the ratio in a column of the table.

    None where there is no target, a cost is not known, or slot-seconds are of different devices.
    Where trials were stopped before they matched, the limits enclose both ends of what they allow,
    and the ratio is the end that favours the first arm least, as with the ratio in trials.

    Parameters
    ----------
    own : Ratio, optional
        The ratio in trials where the target is the first arm's own median: no resampling of costs
        would know of that, so it is multiplied by the ratio of mean costs.
    """
    cost_1, cost_2 = first.cost(column), second.cost(column)
    mixed = "slot_seconds" in column and len(first.devices | second.devices) > 1
    if target is None or cost_1 is None or cost_2 is None or mixed:
        return None
    hits_1, hits_2 = first.hits(target), second.hits(target)
    maybe_1, maybe_2 = first.maybe(target), second.maybe(target)
    bounds = bool((hits_1 ^ maybe_1).any() or (hits_2 ^ maybe_2).any())
    if own is not None:
        means = float(cost_2.mean() / cost_1.mean())
        ratio = math.inf if own.ratio is None else own.ratio
        method = f"{OWN} {BOUNDS}" if bounds else OWN
        return CostRatio(ratio * means, own.low * means, own.high * means, method)
    low = cost_ratio(first, second, hits_1, maybe_2, cost_1, cost_2, confidence, seed)
    if not bounds:
        return low
    high = cost_ratio(first, second, maybe_1, hits_2, cost_1, cost_2, confidence, seed)
    methods = " or ".join(dict.fromkeys((low.method, high.method)))
    return CostRatio(low.ratio, low.low, high.high, f"{methods} {BOUNDS}")


def _around(one: Interval, other: Interval) -> Interval:
    return Interval(min(one.low, other.low), max(one.high, other.high))


def _quotient(one: Floats, two: Floats) -> Floats:
    """Return one / two; infinite where `two` is 0, also where both are: nothing was matched."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(two == 0, np.inf, one / two)
