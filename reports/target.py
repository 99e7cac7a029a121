"""The score that counts as a match, and where it comes from.

Best fixed in advance, or the median of a pilot that is then discarded. Failing both it is the
median of dynamic's own scores, which the intervals must allow for (`reports.own_median`).
"""

from __future__ import annotations

from typing import NamedTuple

from reports.arm import Arm, arm_of
from reports.own_median import median_score
from reports.table import Trials
from search_spaces.model import UserError, did_you_mean
from tuner.cli.formatting import plural
from tuner.record_schema import END_STATES


class Chosen(NamedTuple):
    """A target."""

    value: float | None
    source: str
    own_median: bool
    """Whether it was estimated from the dynamic trials that are compared."""
    pilot: int | None
    """Trials of the pilot, where there was one."""


def chosen_target(
    trials: Trials,
    dynamic: Arm,
    target: float | None,
    target_from: Trials | None,
    source: str = "given",
) -> Chosen:
    """Return the target: as given, else a pilot's median, else dynamic's own median.

    `source` is where a given target comes from.

    Raises
    ------
    UserError
        If the pilot shares trials with the arm, or has no scores.
    """
    if target is not None:
        return Chosen(target, source, False, None)
    pilot = trials.where(space=dynamic.space, stage="pilot", states=END_STATES)
    if target_from is not None:
        pilot = _pilot(target_from, dynamic)
    if len(pilot):
        value = median_score(_as_arm(pilot, dynamic.space))
        if value is None:
            raise UserError(f"The median of the pilot is a failed trial ({pilot.source[0]}).")
        return Chosen(value, f"median of {plural(len(pilot), 'pilot trial')}", False, len(pilot))
    value = median_score(dynamic)
    if value is None:
        return Chosen(None, f"no target was given, and {dynamic.space} has no median", True, None)
    count = plural(dynamic.n, "trial")
    return Chosen(value, f"median of the {count} of {dynamic.space} itself", True, None)


def check_target(trials: Trials, target: float) -> None:
    """Refuse a target that no trial of any table lies on either side of: it is likely a mistake.

    Raises
    ------
    UserError
        If every score is below the target, or every score is at least the target.
    """
    scores = [score for score in trials.score if score is not None]
    if scores and not min(scores) <= target <= max(scores):
        raise UserError(
            f"--target must lie within the scores of the data, {min(scores):.4g} to"
            f" {max(scores):.4g}, but got {target:g}: {'every' if target < min(scores) else 'no'}"
            " trial matches, and nothing can be compared."
        )


def _pilot(table: Trials, dynamic: Arm) -> Trials:
    """Return a table's rows of the dynamic space, or all if it has one other space."""
    ended = table.where(states=END_STATES)
    if dynamic.space in ended.spaces:
        ended = ended.where(space=dynamic.space)
    elif len(ended.spaces) > 1:
        raise UserError(did_you_mean("space", dynamic.space, ended.spaces))
    if not len(ended):
        raise UserError(f"The pilot has no ended trials ({table.source[0]}).")
    staged = ended.where(stage="pilot")
    ended = staged if len(staged) else ended
    own = set(_keys(dynamic.trials))
    for key, source, row in zip(_keys(ended), ended.source, ended.row, strict=True):
        if key in own:
            raise UserError(
                f"A pilot must be other trials than those compared, but {key[0]} {key[1]} with seed"
                f" {key[2]} is in both ({source}, row {row}); leave the pilot out, and the interval"
                " allows for a target from the same trials."
            )
    return ended


def _keys(trials: Trials) -> list[tuple[str, str, int]]:
    return list(zip(trials.space, trials.config_id, trials.seed, strict=True))


def _as_arm(pilot: Trials, space: str) -> Arm:
    """Return the pilot as an arm; its stage is what makes it one."""
    as_census = Trials(
        **{
            **{name: getattr(pilot, name) for name in vars(pilot)},
            "stage": ["census"] * len(pilot),
            "space": [space] * len(pilot),
        }
    )
    return arm_of(as_census, space)
