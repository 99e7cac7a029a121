"""Is dynamic's test score as good as tuned periodic's? Non-inferiority and two-sided equivalence.

Fresh trainings of the chosen configurations (stage `confirm`) are compared on `test_score`.
Non-inferiority: one-sided Welch test against a difference of −δ. "The same quality" needs both
sides (TOST). A difference that is "not significant" is neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reports.table import Trials
from trainables.config import canonical_json
from tuner.cli.formatting import plural
from tuner.record_schema import END_STATES

FEWEST = 18
"""Fresh trainings of each side that a comparison on test should have."""


class Equivalence(NamedTuple):
    """A comparison of two mean scores against a margin."""

    margin: float | None
    """δ, fixed in advance; None if it was not."""
    difference: float
    """Mean of the first minus mean of the second."""
    non_inferior_p: float | None
    """p of the hypothesis that the first is worse by δ or more."""
    two_sided_p: float | None
    """p of the hypothesis that they differ by δ or more, either way."""


def equivalence(
    first: Sequence[float], second: Sequence[float], margin: float | None, paired: bool = False
) -> Equivalence:
    """Compare two samples of at least two scores each.

    Parameters
    ----------
    first, second : sequence of float
        Test scores; in the same order of seeds where `paired`.
    margin : float or None
        δ > 0. Without it only the difference is told.
    paired : bool, default False
        Test the differences of pairs instead of Welch's.

    Source: `statsmodels.stats.weightstats.ttost_ind` and `ttost_paired`. Without any spread the t
    statistic is infinite or undefined; p is then 0 or 1, by the side on which the means lie.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    difference = float(one.mean() - other.mean())
    if margin is None:
        return Equivalence(None, difference, None, None)
    spread = np.ptp(one - other) if paired else max(np.ptp(one), np.ptp(other))
    if spread < 1e-12:
        p_low, p_high = float(difference <= -margin), float(difference >= margin)
        return Equivalence(margin, difference, p_low, max(p_low, p_high))
    from statsmodels.stats.weightstats import ttost_ind, ttost_paired

    if paired:
        p, lower, _ = ttost_paired(one, other, -margin, margin)
    else:
        p, lower, _ = ttost_ind(one, other, -margin, margin, usevar="unequal")
    return Equivalence(margin, difference, float(lower[1]), float(p))


class Confirmation(NamedTuple):
    """The comparison of all confirmed configurations, or why there is none."""

    result: Equivalence | None
    notes: list[str]


def confirmation(trials: Trials, first: str, second: str, margin: float | None) -> Confirmation:
    """Compare the `confirm` rows of two spaces on the test score.

    Where a side confirmed several configurations, every pair is tested and the one with the largest
    p is told: dynamic must not be worse than any (an intersection–union test, so that no adjustment
    is needed). Without a margin the pair with the smallest difference is told.
    """
    notes: list[str] = []
    sides = {}
    counts = {space: len(confirmed_trials(trials, space)) for space in (first, second)}
    absent = " or ".join(space for space, count in counts.items() if not count)
    if absent:
        return Confirmation(None, [f"There are no confirm rows of {absent}"])
    for space in (first, second):
        rows = confirmed_trials(trials, space)
        left_out = sum(score is None or bad for score, bad in zip(*_quality(rows), strict=True))
        if left_out:
            notes.append(
                f"{left_out} of {len(rows)} confirm trials of {space} did not complete, or have no"
                " test score, and are left out of the comparison on test."
            )
        found = [tests_of(group) for group in configurations(rows)]
        groups = [group for group in found if len(group) > 1]
        if groups and len(groups) < len(found):
            notes.append(
                f"{len(found) - len(groups)} confirmed configurations of {space} have one test"
                " score only, and are left out of the comparison on test."
            )
        if not groups:
            reason = f"There are fewer than 2 confirm test scores of {space}"
            return Confirmation(None, [*notes, reason])
        sides[space] = groups
    for space, groups in sides.items():
        notes += _thin(trials, space, min(map(len, groups)))
    pairs = [equivalence(one, other, margin) for one in sides[first] for other in sides[second]]
    if len(pairs) > 1:
        notes.append(
            f"{plural(len(sides[first]), 'confirmed configuration')} of {first} and"
            f" {len(sides[second])} of {second}: the comparison on test is the least favourable"
            " pair."
        )
    worst = max(pairs, key=lambda one: (one.non_inferior_p or 0.0, -one.difference))
    if worst.two_sided_p is not None:  # may be another pair's
        worst = worst._replace(two_sided_p=max(one.two_sided_p or 0.0 for one in pairs))
    return Confirmation(worst, notes)


def confirmed_trials(trials: Trials, space: str) -> Trials:
    """Return the ended `confirm` trials of a space."""
    return trials.where(space=space, stage="confirm", states=END_STATES)


def _thin(trials: Trials, space: str, fewest: int) -> list[str]:
    """Say where the confirm trials of a space are few, or not fresh."""
    found = []
    if fewest < FEWEST:
        found.append(f"{space} has {fewest} confirm test scores; at least {FEWEST} are wanted.")
    used = {
        seed
        for seed, other, stage in zip(trials.seed, trials.space, trials.stage, strict=True)
        if other == space and stage in ("census", "search")
    }
    again = sum(seed in used for seed in confirmed_trials(trials, space).seed)
    if again:
        found.append(
            f"{again} confirm trials of {space} use seeds of the trials that were selected from:"
            " they are not fresh."
        )
    return found


def _quality(rows: Trials) -> tuple[list[float | None], list[bool]]:
    return rows.test_score, [state != "completed" for state in rows.state]


def configurations(rows: Trials) -> list[Trials]:
    """Return the completed trials with a test score of each confirmed configuration.

    A run that repeats fixed knobs calls each repetition a configuration, so what counts is the
    setting, from a record, or the knobs; `config_id` counts where it is repeated itself.
    """
    repeated = len(set(rows.config_id)) < len(rows)
    groups: dict[str, list[int]] = {}
    for i, (score, bad) in enumerate(zip(*_quality(rows), strict=True)):
        if score is None or bad:
            continue
        name = rows.config_id[i] if repeated else ""
        key = rows.setting[i] or canonical_json([rows.knobs[i], name])
        groups.setdefault(key, []).append(i)
    return [rows.take(indices) for indices in groups.values()]


def tests_of(rows: Trials) -> list[float]:
    """Return the test scores that there are."""
    return [score for score in rows.test_score if score is not None]


def is_significant(p: float | None, confidence: float) -> bool:
    """Return whether a test at the level 1 − confidence rejects."""
    return p is not None and math.isfinite(p) and p < 1 - confidence
