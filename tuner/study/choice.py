"""What a study takes from its own results on the way: the target, and what tuning has chosen.

The statistics are those of `reports`, read from the same records, so that the study and its report
cannot disagree.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.model import UserError
from tuner.study.spec import StudySpec


class Tuned(NamedTuple):
    """The best configuration by validation among the first so many trials of a census."""

    suffix: str
    """What follows the space's name in the name of the run that confirms it."""
    knobs: dict[str, Any]
    trials: int
    """How many trials it was chosen from."""
    score: float
    """Its validation score among them, the mean where it was trained on several seeds."""


def target_of(spec: StudySpec, folder: Path) -> float:
    """Return the score that counts as a match: as frozen, else the pilot's median.

    Raises
    ------
    UserError
        If the pilot's median is a failed trial.
    """
    if spec.target is not None:
        return spec.target
    from reports.arm import arm_of
    from reports.table import read_trials
    from reports.target import chosen_target

    space = spec.dynamic.space.name
    pilot = read_trials([folder / f"pilot-{space}"])
    value = chosen_target(pilot, arm_of(pilot, space), None, None).value
    if value is None:
        raise UserError(f"The pilot of {folder.name} has no trial that has ended.")
    return value


def tuned(spec: StudySpec, folder: Path) -> list[Tuned]:
    """Return what tuning periodic chooses: of the whole census, and of its first K trials.

    K is the file's budget or, without one, the whole trials for an even chance of a match that the
    census shows. Both are one where they choose the same configuration, and none is there if no
    trial has completed.

    Raises
    ------
    UserError
        If there is no target.
    """
    from reports.arm import arm_of
    from reports.proportions import trials_to_match, whole_trials
    from reports.table import read_trials

    space = spec.periodic.space.name
    trials = read_trials([folder / f"census-{space}"])
    budget = spec.confirm.budget
    if budget is None:
        hits = int(arm_of(trials, space).hits(target_of(spec, folder)).sum())
        budget = len(trials)
        if hits:
            budget = min(budget, whole_trials(trials_to_match(hits / len(trials), 0.5)))
    found: list[Tuned] = []
    for suffix, count in (("", len(trials)), (f"-of-{budget}", budget)):
        scores: dict[str, list[float]] = {}
        knobs: dict[str, dict[str, Any]] = {}
        first = trials.take(range(count))
        for config, values, state, score in zip(
            first.config_id, first.knobs, first.state, first.score, strict=True
        ):
            if state == "completed" and score is not None:
                scores.setdefault(config, []).append(score)
                knobs[config] = values
        if scores:
            best = max(scores, key=lambda config: statistics.fmean(scores[config]))
            chosen = Tuned(suffix, knobs[best], count, statistics.fmean(scores[best]))
            if chosen.knobs not in [one.knobs for one in found]:
                found.append(chosen)
    return found
