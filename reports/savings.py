"""What dynamic saves in trials: the ratio of hit probabilities, whatever the data are like.

Independent trials: Miettinen–Nurminen. Several trials per seed: seeds are resampled. A target that
is dynamic's own median: melded. Trials that were stopped early: the interval around both ends, and
the end that favours dynamic least.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reports.arm import Arm, Bools, Floats
from reports.own_median import at_own_median
from reports.proportions import (
    EVERYTHING,
    Interval,
    equal_success,
    exact_interval,
    melded_equal_success,
    ratio_interval,
    success_ratios,
)
from reports.resampling import bootstrap_interval, seed_totals

SCORE = "Miettinen–Nurminen score interval"
MELDED = "melded Clopper–Pearson intervals"
OWN = "melded intervals (the target is dynamic's own median)"
SEEDS = "percentile bootstrap over seeds"


class Ratio(NamedTuple):
    """A ratio of trials, periodic over dynamic; None where it is unbounded or undefined."""

    ratio: float | None
    low: float
    high: float
    method: str


UNKNOWN = Ratio(None, *EVERYTHING, "nothing to compare")


class TrialSavings(NamedTuple):
    """The two meanings of "times as many trials"."""

    trials: Ratio
    """s_D / s_P: expected trials to the first match."""
    equal_success: Ratio
    """ln(1 − s_D) / ln(1 − s_P): trials for the same chance of a match."""
    melded: Interval | None = None
    """Limits of `trials` where the target is dynamic's own median."""


def share_interval(arm: Arm, hits: Bools, confidence: float, seed: int) -> Interval:
    """Return limits of an arm's hit probability: exact or, where it is clustered, over seeds."""
    if arm.clustered:
        totals = seed_totals(arm, hits, np.ones(arm.n))
        found = bootstrap_interval(
            arm, arm, totals, totals, lambda one, _: one[0] / one[1], confidence, seed
        )
        if found is not None:
            return found
    counted, seeds = _per_seed(arm, hits)
    return exact_interval(counted, seeds, confidence)


def trial_savings(
    dynamic: Arm,
    periodic: Arm,
    target: float | None,
    own_median: bool,
    confidence: float,
    seed: int,
) -> TrialSavings:
    """Return the savings in trials at a target.

    Parameters
    ----------
    dynamic, periodic : Arm
    target : float or None
        None where none could be set: then nothing is known.
    own_median : bool
        Whether the target is the median of dynamic's own scores.
    """
    trials, success = _ratios(dynamic, periodic, target, own_median, confidence, seed, both=True)
    melded = own_median and trials is not UNKNOWN
    return TrialSavings(trials, success, Interval(trials.low, trials.high) if melded else None)


def trials_ratio(
    dynamic: Arm,
    periodic: Arm,
    target: float | None,
    own_median: bool,
    confidence: float,
    seed: int,
) -> Ratio:
    """Return `trial_savings(…).trials` alone: in 2 ms instead of 25 for independent trials."""
    return _ratios(dynamic, periodic, target, own_median, confidence, seed, both=False)[0]


def _ratios(
    dynamic: Arm,
    periodic: Arm,
    target: float | None,
    own_median: bool,
    confidence: float,
    seed: int,
    both: bool,
) -> tuple[Ratio, ...]:
    """Return the ratio of expected trials and, if both are asked for, that of equal success."""
    if target is None or dynamic.n == 0 or periodic.n == 0:
        return UNKNOWN, UNKNOWN
    hits_d, hits_p = dynamic.hits(target), periodic.hits(target)
    bounds = bool((dynamic.maybe(target) ^ hits_d).any() or (periodic.maybe(target) ^ hits_p).any())
    least_p = periodic.maybe(target)  # what favours dynamic least: all that were stopped matched
    s_p, s_d = float(least_p.mean()), float(hits_d.mean())
    if own_median:
        own = at_own_median(dynamic, periodic, target, confidence, seed)
        s_d = own.share
        limits = [own.ratio, own.equal_success]
        names = [OWN, OWN]
    else:
        low = _intervals(dynamic, hits_d, periodic, least_p, confidence, seed, both)
        high = low
        if bounds:
            most_d = dynamic.maybe(target)
            high = _intervals(dynamic, most_d, periodic, hits_p, confidence, seed, both)
        limits = [Interval(a.low, b.high) for a, b in zip(low, high, strict=True)]
        clustered = dynamic.clustered or periodic.clustered
        names = [SEEDS, SEEDS] if clustered else [SCORE, MELDED]
    if bounds:
        names = [f"{name} around both ends of what stopped trials allow" for name in names]
    trials = Ratio(s_d / s_p if s_p > 0 else None, *limits[0], names[0])
    if not both:
        return (trials,)
    return trials, Ratio(equal_success(s_d, s_p), *limits[1], names[1])


def _intervals(
    dynamic: Arm,
    hits_d: Bools,
    periodic: Arm,
    hits_p: Bools,
    confidence: float,
    seed: int,
    both: bool,
) -> tuple[Interval, ...]:
    """Return the limits of the ratio of trials and, if asked for, of equal success."""
    counts = (*_per_seed(dynamic, hits_d), *_per_seed(periodic, hits_p))

    def plain() -> tuple[Interval, ...]:
        found = ratio_interval(*counts, confidence)
        return (found, melded_equal_success(*counts, confidence)) if both else (found,)

    if not (dynamic.clustered or periodic.clustered):
        return plain()
    if min(dynamic.seeds, periodic.seeds) < 2:
        return (EVERYTHING, EVERYTHING) if both else (EVERYTHING,)
    totals_d = seed_totals(dynamic, hits_d, np.ones(dynamic.n))
    totals_p = seed_totals(periodic, hits_p, np.ones(periodic.n))

    def inverse(one: Floats, two: Floats) -> Floats:
        s_1, s_2 = one[0] / one[1], two[0] / two[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(s_1 == 0, np.inf, s_2 / s_1)

    def success(one: Floats, two: Floats) -> Floats:
        return success_ratios(one[0] / one[1], two[0] / two[1])

    sides = (dynamic, periodic, totals_d, totals_p)
    limits = [
        bootstrap_interval(*sides, statistic, confidence, seed)
        for statistic in ((inverse, success) if both else (inverse,))
    ]
    saturated = any(hits.all() or not hits.any() for hits in (hits_d, hits_p))
    known = [one for one in limits if one is not None]
    if saturated or len(known) < len(limits):
        return plain()
    return Interval(_inverted(known[0].high), _inverted(known[0].low)), *known[1:]


def _inverted(value: float) -> float:
    return 1 / value if value > 0 else math.inf


def _per_seed(arm: Arm, hits: Bools) -> tuple[float, int]:
    """Return hits and trials, counting a seed as one trial where several trials share it.

    An arm's seed means vary at most as single trials do, so limits from these counts are valid.
    They serve where resampling seeds says nothing, since all have the same share of hits.
    """
    return (float(hits.sum()) * arm.seeds / arm.n if arm.n else 0.0), arm.seeds
