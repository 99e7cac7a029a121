"""Each confirmed configuration: its scores on fresh seeds, and dynamic's difference to it on test.

The interval of a difference of means is Welch's, which does not take the spreads to be equal; p is
that of non-inferiority (`reports.equivalence`). Trials that did not complete, or have no test
score, are left out.
"""

from __future__ import annotations

import re
import statistics
from typing import NamedTuple

from reports.equivalence import configurations, confirmed_trials, equivalence, tests_of
from reports.proportions import Interval
from reports.table import Trials
from tuner.cli.formatting import plural


class Confirmed(NamedTuple):
    """One configuration, trained anew."""

    space: str
    selection: str
    """What chose it."""
    runs: tuple[str, ...]
    trials: int
    test_mean: float
    test_sd: float | None
    """None for a single training."""
    val_mean: float | None
    val_sd: float | None
    difference: float | None
    """Dynamic's mean test score minus this one's; None for dynamic itself."""
    limits: Interval | None
    """None with fewer than two trainings of either."""
    non_inferior_p: float | None


def confirmed(
    trials: Trials, periodic: str, dynamic: str, margin: float | None, confidence: float
) -> list[Confirmed]:
    """Return every confirmed configuration of both sides, dynamic's first.

    Differences are to dynamic's configuration, and are left out if it has several.
    """
    own = configurations(confirmed_trials(trials, dynamic))
    reference = tests_of(own[0]) if len(own) == 1 else []
    found = [_one(group, dynamic, "at its default", [], margin, confidence) for group in own]
    others = configurations(confirmed_trials(trials, periodic)) if periodic != dynamic else []
    census = len(trials.where(space=periodic, stage="census"))
    for group in others:
        selection = _selection(_runs(group), periodic, census)
        found.append(_one(group, periodic, selection, reference, margin, confidence))
    return found


def welch(first: list[float], second: list[float], confidence: float) -> Interval | None:
    """Return the limits of the difference of two means; None with fewer than two values of either.

    Source: Welch 1947, Biometrika 34, by `scipy.stats.ttest_ind`.

    >>> welch([0.5, 0.5], [0.4, 0.4], 0.95)
    Interval(low=0.09999999999999998, high=0.09999999999999998)
    """
    if min(len(first), len(second)) < 2:
        return None
    difference = statistics.fmean(first) - statistics.fmean(second)
    if max(max(one) - min(one) for one in (first, second)) < 1e-12:
        return Interval(difference, difference)
    from scipy import stats

    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return Interval(float(found.low), float(found.high))


def _one(
    rows: Trials,
    space: str,
    selection: str,
    reference: list[float],
    margin: float | None,
    confidence: float,
) -> Confirmed:
    tests = tests_of(rows)
    scores = [score for score in rows.score if score is not None]
    enough = min(len(tests), len(reference)) > 1
    tested = equivalence(reference, tests, margin) if enough else None
    return Confirmed(
        space=space,
        selection=selection,
        runs=_runs(rows),
        trials=len(tests),
        test_mean=statistics.fmean(tests),
        test_sd=_spread(tests),
        val_mean=statistics.fmean(scores) if scores else None,
        val_sd=_spread(scores),
        difference=statistics.fmean(reference) - statistics.fmean(tests) if reference else None,
        limits=welch(reference, tests, confidence),
        non_inferior_p=None if tested is None else tested.non_inferior_p,
    )


def _selection(runs: tuple[str, ...], space: str, census: int) -> str:
    """Return what chose a configuration, by the name of the study's run that confirmed it."""
    for run in runs:
        if run == f"confirm-{space}":
            return f"tuned by the whole census ({plural(census, 'trial')})"
        first = re.fullmatch(rf"confirm-{re.escape(space)}-of-(\d+)", run)
        if first:
            return f"tuned by its first {plural(int(first[1]), 'trial')}"
    return "not said"


def _runs(rows: Trials) -> tuple[str, ...]:
    """Return the runs that rows come from; `config_id` is RUN/NUMBER."""
    return tuple(dict.fromkeys(one.rpartition("/")[0] for one in rows.config_id))


def _spread(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
