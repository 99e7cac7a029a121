"""The paper's claim about positions (section 4.3), tested.

"There was no significant difference in performance depending on where the noise was injected", and
injecting all units of a block together brought no improvement.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from reports.figures.runs import Trial
from search_spaces.space import Space

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Mean score at one position minus that at another."""

    one: str
    other: str
    difference: float
    low: float
    high: float


class Positions(NamedTuple):
    """The paper's claim about positions, tested."""

    space: str
    trials: tuple[tuple[str, int, float], ...]
    """Position, number of fully trained trials, mean score."""
    single: tuple[Difference, ...]
    """Every pair of single positions."""
    all_together: tuple[Difference, ...]
    """`all` minus each single position."""


def positions(label: str, space: Space, trials: Sequence[Trial]) -> Positions | None:
    """Return differences between positions with Bonferroni-corrected Welch intervals, or None.

    Each of the two families, pairs of single positions and `all` against each, holds together at
    95 %. Needs at least two fully trained trials at two positions.
    """
    from scipy import stats

    if "position" not in space.knobs:
        return None
    scores: dict[str, list[float]] = {}
    for trial in trials:
        if trial.row.state == "completed" and trial.row.score is not None:
            scores.setdefault(str(trial.row.knobs["position"]), []).append(trial.row.score)
    known = {name: values for name, values in sorted(scores.items()) if len(values) > 1}

    def differences(pairs: list[tuple[str, str]]) -> tuple[Difference, ...]:
        found = []
        for one, other in pairs:
            a, b = known[one], known[other]
            level = 1 - (1 - CONFIDENCE) / len(pairs)
            low = high = difference = float(np.mean(a) - np.mean(b))
            if np.ptp(a) > 0 or np.ptp(b) > 0:
                test = stats.ttest_ind(a, b, equal_var=False)
                low, high = test.confidence_interval(level)
            found.append(Difference(one, other, difference, float(low), float(high)))
        return tuple(found)

    singles = [name for name in known if name != "all"]
    pairs = list(combinations(singles, 2))
    against = [("all", name) for name in singles] if "all" in known else []
    if not pairs and not against:
        return None
    return Positions(
        label,
        tuple((name, len(values), float(np.mean(values))) for name, values in known.items()),
        differences(pairs),
        differences(against),
    )


def positions_sentence(found: Positions) -> str:
    """Return what the intervals say about the paper's two claims."""
    said = []
    if found.single:
        largest = max(found.single, key=lambda one: abs(one.difference))
        apart = [one for one in found.single if one.low > 0 or one.high < 0]
        verdict = (
            "so the paper's finding that the position matters little is contradicted here"
            if apart
            else "so no difference is shown, which is not proof that there is none"
        )
        said.append(
            f"Between single positions the largest difference of mean validation F1 is"
            f" {_difference(largest)}, {verdict}"
        )
    if found.all_together:
        better = [one for one in found.all_together if one.low > 0]
        worse = [one for one in found.all_together if one.high < 0]
        nearest = max(found.all_together, key=lambda one: one.difference)
        verdict = (
            "all together is better than " + ", ".join(one.other for one in better)
            if better
            else "all together is worse than " + ", ".join(one.other for one in worse)
            if worse
            else "neither better nor worse is shown"
        )
        said.append(f"All positions together: {_difference(nearest)}; {verdict}")
    return ". ".join(said) + "."


def _difference(one: Difference) -> str:
    return (
        f"{one.difference:+.3f} ({one.one} − {one.other}; simultaneous 95 % interval"
        f" {one.low:+.3f} to {one.high:+.3f})"
    )
