"""What searches cost until they reached a target: summaries of many, with limits from parts.

Definitions. The *cost* of a search runs up to the epoch in which its best so far reached the
target (validation macro-F1, at least), and is right-censored at the end of its budget. Over the
searches of a policy:

- success: share that reached it;
- median and quantiles: Kaplan-Meier; None where survival stays above;
- restricted mean: mean cost of a search that ends at the target or with its budget;
- expected running time (ERT): all cost, censored included, per success.

Limits are the central 95 % of the same number over parts of the census, each searched anew: see
`reports/simulate.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from search_spaces.model import Model

if TYPE_CHECKING:  # the samplers' imports take most of a second, which reports do without
    from reports.replay import Policy, Spent

CONFIDENCE = 0.95
QUANTILES = (0.025, 0.1, 0.25, 0.75, 0.9, 0.975)
"""The outermost enclose the central 95 %."""


class Estimate(Model):
    """A number with its limits."""

    estimate: float | None
    """None if the searches did not come so far."""
    low: float | None
    """None if there are no limits."""
    high: float | None
    """None if there are no limits, or the upper one is beyond what the halves reached."""
    reached: bool
    """Whether the estimate is a number."""


class Success(Model):
    """Share of searches that reached the target, 0 to 1."""

    estimate: float
    low: float | None
    """Limits over other censuses of this size; None if the census cannot tell them."""
    high: float | None
    replay_low: float
    """Limits over other replays of this census (Clopper-Pearson)."""
    replay_high: float


class Cost(Model):
    """Distribution of the cost to the target, in one unit."""

    median: Estimate
    restricted_mean: Estimate
    ert: Estimate
    """Expected running time."""
    quantiles: dict[str, float | None]
    """By probability; None if not reached."""


class EarlyStopping(Model):
    """What stopping did in the searches, each run to the end of its budget."""

    stopped: int
    """Trials stopped, over all searches."""
    would_have_reached: int
    """Those of them whose recorded curve reaches the target after it was stopped."""
    share: float | None
    """The latter as a share of the stopped; None if none was stopped."""
    share_of_matches_lost: float | None
    """The same as a share of all trials asked for whose recorded curve reaches the target."""


class Nearest(Model):
    """How many proposals were answered by another configuration than their own."""

    proposals: int
    share: float
    mean_distance: float | None
    """Of those; the range of each knob has length 1."""


class Combination(Model):
    """A sampler and a scheduler."""

    sampler: str
    scheduler: str
    searches: int
    success: Success
    epochs: Cost
    trials: Cost
    slot_seconds: Cost | None
    """None if durations were not recorded."""
    early_stopping: EarlyStopping
    nearest: Nearest


class Outcome(NamedTuple):
    """What is kept of one simulated search."""

    reached: bool
    cost: Spent
    stopped: int
    would_have_reached: int
    matches: int
    """Trials asked for whose recorded curve reaches the target."""
    proposals: int
    nearest: int
    distance: float
    """Sum over proposals."""


def combination(
    policy: Policy, whole: Sequence[Outcome], parts: Sequence[Sequence[Outcome]], timed: bool
) -> Combination:
    """Return what the searches of a policy cost.

    Parameters
    ----------
    policy : Policy
    whole : sequence of Outcome
        At least one search over the whole census.
    parts : sequence of sequences of Outcome
        Searches over parts of it, for the limits; none: no limits.
    timed : bool
        Whether slot-seconds are known.
    """
    from scipy import stats

    reached = sum(one.reached for one in whole)
    exact = stats.binomtest(reached, len(whole)).proportion_ci(CONFIDENCE, method="exact")
    low, high = _limits([sum(one.reached for one in part) / len(part) for part in parts])
    stopped = sum(one.stopped for one in whole)
    regretted = sum(one.would_have_reached for one in whole)
    matches, proposals = sum(one.matches for one in whole), sum(one.proposals for one in whole)
    nearest = sum(one.nearest for one in whole)
    return Combination(
        sampler=policy.sampler.name,
        scheduler=policy.scheduler.name,
        searches=len(whole),
        success=Success(
            estimate=reached / len(whole),
            low=low,
            high=high,
            replay_low=float(exact.low),
            replay_high=float(exact.high),
        ),
        trials=_cost(whole, parts, 0),
        epochs=_cost(whole, parts, 1),
        slot_seconds=_cost(whole, parts, 2) if timed else None,
        early_stopping=EarlyStopping(
            stopped=stopped,
            would_have_reached=regretted,
            share=regretted / stopped if stopped else None,
            share_of_matches_lost=regretted / matches if matches else None,
        ),
        nearest=Nearest(
            proposals=proposals,
            share=nearest / proposals,
            mean_distance=sum(one.distance for one in whole) / nearest if nearest else None,
        ),
    )


def quantile(cost: NDArray[np.float64], reached: NDArray[np.bool_], q: float) -> float:
    """Return the Kaplan-Meier quantile of right-censored costs, infinite if it is not reached.

    Of equal costs the reached ones come first, as is usual. Source: Kaplan and Meier 1958, JASA 53.

    >>> quantile(np.array([3.0, 1.0, 5.0]), np.array([True, True, False]), 0.5)
    3.0
    """
    curve = stats.ecdf(stats.CensoredData(uncensored=cost[reached], right=cost[~reached])).sf
    # Rounding must not move a quantile: of n searches, a share is known to 1/n.
    below = np.flatnonzero(curve.probabilities <= 1 - q + 1e-9)
    return float(curve.quantiles[below[0]]) if len(below) else math.inf


def _cost(whole: Sequence[Outcome], parts: Sequence[Sequence[Outcome]], unit: int) -> Cost:
    def measured(outcomes: Sequence[Outcome]) -> dict[str, float]:
        cost = np.array([one.cost[unit] for one in outcomes], float)
        reached = np.array([one.reached for one in outcomes])
        total, hits = float(cost.sum()), int(reached.sum())
        return {
            "median": quantile(cost, reached, 0.5),
            "restricted_mean": total / len(outcomes),
            "ert": total / hits if hits else math.inf,
            **{f"{q:g}": quantile(cost, reached, q) for q in QUANTILES},
        }

    found, spread = measured(whole), [measured(part) for part in parts]

    def estimate(name: str) -> Estimate:
        low, high = _limits([one[name] for one in spread])
        value = _finite(found[name])
        return Estimate(estimate=value, low=low, high=high, reached=value is not None)

    return Cost(
        median=estimate("median"),
        restricted_mean=estimate("restricted_mean"),
        ert=estimate("ert"),
        quantiles={f"{q:g}": _finite(found[f"{q:g}"]) for q in QUANTILES},
    )


def _limits(values: list[float]) -> tuple[float | None, float | None]:
    """Return the central share of the values; order statistics, so that infinity may be one."""
    if not values:
        return None, None
    ordered = sorted(values)
    outside = int(len(ordered) * (1 - CONFIDENCE) / 2)
    return _finite(ordered[outside]), _finite(ordered[-1 - outside])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
