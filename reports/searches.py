"""Replicated searches, with any sampler, as survival data: what a whole search costs.

A search's time to the target is the cost it has spent when its best score first reaches it,
right-censored at its budget. The unit is a whole search: its trials depend on one another, so
nothing here counts trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from reports.proportions import Interval, exact_interval
from reports.table import Trials
from tuner.record_schema import END_STATES, FAILED_STATES

LEAST_FOR_TEST = 5
"""Searches a side below which a log-rank test, which rests on many, is not told."""


class Search(NamedTuple):
    """One search."""

    cost: float
    """Spent until the target was reached, or in all."""
    matched: bool


class Searches(NamedTuple):
    """Several searches of one kind."""

    searches: int
    matched: int
    success: Interval
    """Exact limits of the chance that a search reaches the target within its budget."""
    median: float | None
    """Kaplan–Meier median cost; None: not reached, more than half survive."""
    median_limits: Interval
    """From the pointwise log-log limits of the survival curve."""
    horizon: float
    """Up to which cost the restricted mean is taken."""
    restricted_mean: float
    """Mean cost up to the horizon: the area under the survival curve."""
    expected: float | None
    """ERT: all cost, of unsuccessful searches too, over successes; None without any."""


class Step(NamedTuple):
    """A survival curve: from each cost on, the share of searches still without a match."""

    cost: tuple[float, ...]
    survival: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def searches_of(trials: Trials, space: str, target: float, column: str) -> list[Search]:
    """Return the searches of a space: one for each run, its trials in their order.

    Parameters
    ----------
    column : str
        What is charged: `epochs`, `slot_seconds`, `as_run_epochs` or `as_run_slot_seconds`. A
        search in which any cost is unknown is left out.
    """
    rows = trials.where(space=space, states=END_STATES)
    groups: dict[tuple[str, str], list[int]] = {}
    for i in range(len(rows)):
        run = rows.config_id[i].rpartition("/")[0]  # `tuner export` writes RUN/NUMBER
        groups.setdefault((rows.source[i], run), []).append(i)
    costs = getattr(rows, column)
    found = []
    for group in groups.values():
        spent, matched = 0.0, False
        if any(costs[i] is None for i in group):
            continue
        for i in group:
            spent += costs[i]
            score = rows.score[i]
            matched = score is not None and score >= target and rows.state[i] not in FAILED_STATES
            if matched:
                break
        found.append(Search(spent, matched))
    return found


def survival(searches: Sequence[Search], confidence: float = 0.95) -> Step:
    """Return the Kaplan–Meier curve with pointwise log-log limits (`scipy.stats.ecdf`)."""
    found = stats.ecdf(_censored(searches)).sf
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # Where nothing has happened yet, and where nothing is left, it warns and gives NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        limits = found.confidence_interval(confidence_level=confidence, method="log-log")
    low = np.nan_to_num(limits.low.probabilities, nan=0.0)
    high = np.nan_to_num(limits.high.probabilities, nan=1.0)
    columns = (found.quantiles, found.probabilities, low, high)
    return Step(*(tuple(map(float, column)) for column in columns))


def summary(
    searches: Sequence[Search], horizon: float | None = None, confidence: float = 0.95
) -> Searches:
    """Summarise at least one search.

    Parameters
    ----------
    horizon : float, optional
        For the restricted mean; give both arms the same. Default: the largest cost.

    Source: `lifelines.utils.restricted_mean_survival_time` of the fitted model, which is exact;
    of a table of the curve it would join the steps by straight lines.
    """
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    costs = np.array([search.cost for search in searches])
    events = np.array([search.matched for search in searches])
    until = float(costs.max()) if horizon is None else horizon
    curve = survival(searches, confidence)
    matched = int(events.sum())
    fitted = KaplanMeierFitter().fit(costs, events)
    return Searches(
        searches=len(searches),
        matched=matched,
        success=exact_interval(matched, len(searches), confidence),
        median=_first_at_most_half(curve.cost, curve.survival),
        median_limits=Interval(
            _first_at_most_half(curve.cost, curve.low) or 0.0,
            _first_at_most_half(curve.cost, curve.high) or math.inf,
        ),
        horizon=until,
        restricted_mean=float(restricted_mean_survival_time(fitted, t=until)),
        expected=float(costs.sum()) / matched if matched else None,
    )


def log_rank(first: Sequence[Search], second: Sequence[Search]) -> float | None:
    """Return the two-sided p of equal survival; None where no search matched."""
    if not any(search.matched for search in (*first, *second)):
        return None
    with np.errstate(all="ignore"):
        p = float(stats.logrank(_censored(first), _censored(second)).pvalue)
    return p if math.isfinite(p) else None


def _censored(searches: Sequence[Search]) -> Any:
    return stats.CensoredData(
        uncensored=[search.cost for search in searches if search.matched],
        right=[search.cost for search in searches if not search.matched],
    )


def _first_at_most_half(costs: Sequence[float], shares: Sequence[float]) -> float | None:
    return next(
        (cost for cost, share in zip(costs, shares, strict=True) if share <= 0.5 + 1e-12), None
    )
