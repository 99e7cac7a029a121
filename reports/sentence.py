"""The claim: one sentence that says what the data allow, and no more.

"Saves" is said only where the interval lies above 1 and dynamic is not worse on test; otherwise the
sentence says what is missing.
"""

from __future__ import annotations

from reports.contract import Arms, Saving, Savings
from reports.equivalence import Confirmation, is_significant
from reports.target import Chosen
from reports.words import limits_text, number, percent
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
    *,
    bounded: bool,
) -> str:
    """Return the sentence.

    Parameters
    ----------
    periodic, dynamic : str
        Names of the spaces.
    bounded : bool
        Whether trials were stopped before they matched, so that only bounds are known.
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
    counts = (
        f"{arms.periodic.hits} of {arms.periodic.trials} against"
        f" {arms.dynamic.hits} of {arms.dynamic.trials} trials matched"
    )
    if chosen.own_median and arms.dynamic.hit_probability.estimate == 0.5:
        counts += f", of which {dynamic}'s share is 1/2 by definition, at its own median"
    if bounded:
        counts += f", {arms.periodic.stopped + arms.dynamic.stopped} were stopped before they could"
    if arms.periodic.hits == arms.dynamic.hits == 0 and not bounded:
        return (
            "Nothing can be said about savings: neither"
            f" {periodic} ({plural(arms.periodic.trials, 'trial')}) nor"
            f" {dynamic} ({plural(arms.dynamic.trials, 'trial')}) reached {goal}."
        )
    saving = savings.trials
    limits = f"{percent(confidence)} interval {limits_text(saving.low, saving.high)}"
    need = f"{periodic} {_times(saving, bounded)} as many trials as {dynamic} to reach {goal}"
    data = f"({limits}; {counts})"
    if saving.low > 1:
        missing = _missing(confirmed, periodic, dynamic, confidence)
        if missing is None:
            assert confirmed.result is not None
            return (
                f"{dynamic} saves tuning: {need} {data}, and on test {dynamic} is"
                f" not worse by {number(confirmed.result.margin or 0)} or more"
                f" (p = {number(confirmed.result.non_inferior_p or 0)}){_size(arms)}."
            )
        return f"{need} {data}, but no saving is claimed: {missing}."
    if saving.high is not None and saving.high < 1:
        return f"{dynamic} costs more tuning: {need} {data}."
    if saving.ratio is None:
        return (
            f"No saving is shown: how many times as many trials {periodic} needs as {dynamic} to"
            f" reach {goal} is not known well enough {data}."
        )
    return f"No saving is shown: {need}, but 1 is in the interval {data}."


def _size(arms: Arms) -> str:
    enough = arms.periodic.trials >= DEFENSIBLE[0] and arms.dynamic.trials >= DEFENSIBLE[1]
    return "" if enough else "; so few trials show gross savings only"


def _times(saving: Saving, bounded: bool) -> str:
    if saving.ratio is not None and not bounded:
        return f"needs {number(saving.ratio)} times"
    least = saving.low if saving.ratio is None else saving.ratio
    if least < 1:  # "at least 0.6 times as many" would sound as if it were many
        return f"may need only {number(least)} times"
    return f"needs at least {number(least)} times"


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
