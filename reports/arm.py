"""One side of a comparison: its trials that have ended, as hits, costs and seeds.

A match is a score of at least the target, ties included, at any epoch. A crashed or diverged trial
has not matched, whatever it had reached, and its cost counts in full. A trial that was stopped
early, and had not matched by then, might have matched: it counts as neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.table import Trials
from tuner.devices import all_kinds
from tuner.record_schema import END_STATES, FAILED_STATES

CUT_SHORT = ("pruned", "stopped")
NEVER = -1.0
"""Stands for the score of a trial that failed, or was never scored: below every score."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Arm:
    """The ended trials of one space; arrays have one entry per trial."""

    space: str
    trials: Trials
    scores: Floats
    """Best validation score; `NEVER` for failed trials."""
    failed: Bools
    cut: Bools
    """Stopped early: the final score is at least `scores`."""
    clusters: Ints
    """Index of the trial's seed among the arm's seeds, from 0."""
    chosen: bool
    """Whether a search may have chosen, or ended, trials by what others scored."""

    @property
    def n(self) -> int:
        """Number of trials."""
        return len(self.scores)

    @property
    def seeds(self) -> int:
        """Number of different seeds: what is independent."""
        return int(self.clusters.max()) + 1 if self.n else 0

    @property
    def clustered(self) -> bool:
        """Whether some seed was used by several trials."""
        return self.seeds < self.n

    @property
    def devices(self) -> set[str]:
        """Kinds of device the trials ran on, as far as they are said."""
        return set(all_kinds(self.trials.device))

    def hits(self, target: float | None) -> Bools:
        """Return which trials matched; none where there is no target."""
        if target is None:
            return np.zeros(self.n, dtype=np.bool_)
        return np.asarray(self.scores >= target)

    def maybe(self, target: float | None) -> Bools:
        """Return which trials matched or, stopped early, might have."""
        return self.hits(target) | self.cut

    def cost(self, column: str) -> Floats | None:
        """Return each trial's cost in a column of the table, or None where it is not known.

        A column without any cost, such as one of a tool that writes zeros, is not known either.
        """
        values: list[float | None] = getattr(self.trials, column)
        if not values or any(value is None for value in values) or not any(values):
            return None
        return np.asarray(values, dtype=np.float64)


def arm_of(trials: Trials, space: str) -> Arm:
    """Return the ended trials of a space: its census or, where there is none, its searches.

    A census draws configurations independently and stops nothing. A search does not, unless its
    space leaves nothing to choose, all of its trials went to their end, and no two share a seed.
    """
    ended = trials.where(space=space, states=END_STATES)
    census = ended.where(stage="census")
    chosen = census if len(census) else ended.where(stage="search")
    failed = np.array([state in FAILED_STATES for state in chosen.state], dtype=np.bool_)
    scores = np.array([NEVER if score is None else score for score in chosen.score])
    return Arm(
        space=space,
        trials=chosen,
        scores=np.where(failed, NEVER, scores).astype(np.float64),
        failed=failed,
        cut=np.array([state in CUT_SHORT for state in chosen.state], dtype=np.bool_),
        clusters=_numbered(chosen.seed),
        chosen=not len(census) and not _chose_nothing(trials, space),
    )


def same_seeds(one: Arm, other: Arm) -> bool:
    """Return whether two arms used exactly the same seeds, so that these are resampled together."""
    return set(one.trials.seed) == set(other.trials.seed)


def _chose_nothing(trials: Trials, space: str) -> bool:
    """Return whether a space's search trials are what a census of it would have been.

    A table that gives no trial's knobs may have left them out, so that nothing is known.
    """
    search = trials.where(space=space, stage="search")
    telling = {source for source, knobs in zip(trials.source, trials.knobs, strict=True) if knobs}
    told = zip(search.definition, search.source, strict=True)
    return (
        all(
            source in telling if definition is None else not json.loads(definition)[1]
            for definition, source in told
        )
        and not any(search.knobs)
        and set(search.state) <= {"completed", *FAILED_STATES}
        and len(set(search.seed)) == len(search)
    )


def _numbered(seeds: Sequence[int]) -> Ints:
    numbers = {seed: number for number, seed in enumerate(sorted(set(seeds)))}
    return np.array([numbers[seed] for seed in seeds], dtype=np.int64)
