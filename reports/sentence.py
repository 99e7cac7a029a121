"""The claim: one sentence that says what the data allow, and no more.

"Saves" is said only where the interval lies above 1 and dynamic is not worse on test; otherwise the
sentence says what is missing.
"""

from __future__ import annotations

import math

from reports.contract import Arms, Saving, Savings, StoppedBounds
from reports.equivalence import Confirmation, is_significant
from reports.target import Chosen
from reports.words import limits_text, number, percent, stopped_before
from tuner.cli.formatting import plural

__all__ = ["DEFENSIBLE", "claim", "limits_text", "number"]

DEFENSIBLE = (100, 20)
"""Trials of periodic and of dynamic that a number needs to be defended."""


def claim(
    arms: Arms,
    savings: Savings,
    chosen: Chosen,
    confirmed: Confirmation,
    periodic: str,
    dynamic: str,
    confidence: float,
    bounds: StoppedBounds | None = None,
) -> str:
    """Return the sentence.

    Parameters
    ----------
    periodic, dynamic : str
        Names of the spaces.
    bounds : StoppedBounds, optional
        Both ends, where trials were stopped before they matched.
    """
    for space, arm in ((periodic, arms.periodic), (dynamic, arms.dynamic)):
        if arm.trials == 0:
            return f"Nothing can be said: {space} has no trials that have ended."
    if chosen.value is None:
        return (
            "Nothing can be said: no target was given, and the middle trial of"
            f" {dynamic} failed, so that its median is none."
        )
    goal = f"a validation score of {number(chosen.value)}"
    if arms.periodic.hits == arms.dynamic.hits == 0 and bounds is None:
        return (
            "Nothing can be said about savings: neither"
            f" {periodic} ({plural(arms.periodic.trials, 'trial')}) nor"
            f" {dynamic} ({plural(arms.dynamic.trials, 'trial')}) reached {goal}."
        )
    saving = savings.trials
    limits = f"{percent(confidence)} interval {limits_text(saving.low, saving.high)}"
    need = f"{periodic} {_times(saving)} as many trials as {dynamic} to reach {goal}"
    half = chosen.own_median and arms.dynamic.hit_probability.estimate == 0.5
    own = f"{dynamic}'s share is 1/2 by definition, at its own median" if half else ""
    known, first, why = saving.ratio is not None, "", ""
    if bounds is None:
        counts = (
            f"{arms.periodic.hits} of {arms.periodic.trials} against"
            f" {arms.dynamic.hits} of {arms.dynamic.trials} trials matched"
            f"{own and f', of which {own}'}"
        )
    else:
        counts = f"{_matched(arms, periodic, dynamic)}{own and f'; {own}'}"
        ends = _ends(saving, arms, bounds)
        known = ends[0] < math.inf and ends != (0.0, math.inf)
        if known:
            first = f"{_because(arms, periodic, dynamic)}, all that the trials tell is that "
            need = f"{periodic} needs {_between(*ends, dynamic)} to reach {goal}"
        else:
            why = f", also {_because(arms, periodic, dynamic)}"
    data = f"({limits}; {counts})"
    if saving.low > 1:
        missing = _missing(confirmed, periodic, dynamic, confidence)
        if missing is None:
            assert confirmed.result is not None
            return (
                f"{dynamic} saves tuning: {first}{need} {data}, and on test {dynamic} is"
                f" not worse by {number(confirmed.result.margin or 0)} or more"
                f" (p = {number(confirmed.result.non_inferior_p or 0)}){_size(arms)}."
            )
        return f"{first[:1].upper()}{first[1:]}{need} {data}, but no saving is claimed: {missing}."
    if saving.high is not None and saving.high < 1:
        return f"{dynamic} costs more tuning: {first}{need} {data}."
    if not known:
        return (
            f"No saving is shown: how many times as many trials {periodic} needs as {dynamic} to"
            f" reach {goal} is not known well enough{why} {data}."
        )
    return f"No saving is shown: {first}{need}, but 1 is in the interval {data}."


def _size(arms: Arms) -> str:
    enough = arms.periodic.trials >= DEFENSIBLE[0] and arms.dynamic.trials >= DEFENSIBLE[1]
    return "" if enough else "; so few trials show gross savings only"


def _times(saving: Saving) -> str:
    if saving.ratio is not None:
        return f"needs {number(saving.ratio)} times"
    return f"needs at least {number(saving.low)} times"


def _ends(saving: Saving, arms: Arms, bounds: StoppedBounds) -> tuple[float, float]:
    """Return the ratio if the stopped trials favoured dynamic least, and if they favoured it most.

    At its own median dynamic's share is a half, whatever share of its trials was seen to match.
    """
    told = arms.dynamic.hit_probability.estimate or 0.0
    if saving.ratio is None:  # none of periodic's trials matched, and none was stopped
        return (math.inf if told else 0.0), math.inf
    most, least = bounds.hit_probability.dynamic.most or 0.0, bounds.hit_probability.periodic.least
    share = max(told, most) if arms.dynamic.stopped else told
    return saving.ratio, max(saving.ratio, share / least) if least else math.inf


def _between(low: float, high: float, dynamic: str) -> str:
    than = f"as many trials as {dynamic}"
    if number(low) == number(high):
        return f"{number(low)} times {than}"
    if low == 0:
        return f"at most {number(high)} times {than}"
    if high < math.inf:
        return f"between {number(low)} and {number(high)} times {than}"
    if low < 1:  # "at least 0.6 times as many" would sound as if it were many
        return f"{number(low)} times {than}, or any number more,"
    return f"at least {number(low)} times {than}"


def _because(arms: Arms, periodic: str, dynamic: str) -> str:
    sides = ((periodic, arms.periodic), (dynamic, arms.dynamic))
    stopped = " and ".join(
        f"{arm.stopped} of {plural(arm.trials, 'trial')} of {space}"
        for space, arm in sides
        if arm.stopped
    )
    told = stopped_before(arms.periodic.stopped + arms.dynamic.stopped)
    return f"because {stopped} {told} match"


def _matched(arms: Arms, periodic: str, dynamic: str) -> str:
    """Return what was seen to match, where trials were stopped."""
    told = " and ".join(
        f"{arm.hits} of {plural(arm.trials, 'trial')} of {space}"
        for space, arm in ((periodic, arms.periodic), (dynamic, arms.dynamic))
    )
    return f"{told} matched"


def _missing(confirmed: Confirmation, periodic: str, dynamic: str, confidence: float) -> str | None:
    """Return what stands between a lower cost and a saving, or None if nothing does."""
    result = confirmed.result
    if result is None:
        reason = confirmed.notes[-1] if confirmed.notes else "There are no confirm rows"
        return f"{reason[0].lower()}{reason[1:]}, so that quality on test is unknown"
    if result.margin is None or result.non_inferior_p is None:
        return "no margin was given, so that quality on test cannot be judged"
    if is_significant(result.non_inferior_p, confidence):
        return None
    return (
        f"on test {dynamic} is not shown to be at most {number(result.margin)} worse than"
        f" {periodic} (p = {number(result.non_inferior_p)})"
    )
