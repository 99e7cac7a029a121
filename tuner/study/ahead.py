"""How far a study has come, and how long it will still take, by the runs that its file plans."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tuner.study.spec import StudySpec
from tuner.study.stages import Stage, before_confirming, confirming
from tuner.summary import Standing


class Planned(NamedTuple):
    """One run of a study."""

    name: str
    stage: Stage
    trials: int


class Ahead(NamedTuple):
    """Where a study stands."""

    share_done: float
    """Of the trials of all its runs, 0 to 1."""
    remaining_s: float | None
    """An estimate, without the time of replays; None unless one of its runs is going on."""


def planned(study: StudySpec, name: str) -> tuple[Planned, ...]:
    """Return all runs of a study, of those that confirm as many as there may be."""
    runs = [*before_confirming(study, name), *confirming(study, name)]
    return tuple(Planned(run.name, run.stage, run.spec.budget.trials or 0) for run in runs)


def ahead(runs: Sequence[Planned], standings: Mapping[str, Standing], epochs: int) -> Ahead:
    """Return where a study stands.

    Epochs go on at the pace of its runs so far, and trials to come are trained in full, but those
    of searches for as long as the trials of searches that have ended were on average.

    Parameters
    ----------
    runs : sequence of Planned
    standings : mapping
        By name, those that have begun. A run that confirms may be called otherwise than planned,
        since its name tells what was chosen.
    epochs : int
        Of a trial that is not stopped.
    """
    unplanned = sorted(set(standings) - {run.name for run in runs})
    ended, left_s = 0, 0.0
    pace_s, searched = _pace_s(standings.values()), _searched(runs, standings)
    for run in runs:
        now = standings.get(run.name)
        if now is None and run.stage == "confirm" and unplanned:
            now = standings[unplanned.pop(0)]
        done = min(run.trials, now.totals.num_ended) if now else 0
        ended += done
        if now and now.state == "finished":
            continue
        coming = now.remaining if now else None
        mean = searched if run.stage == "search" and searched is not None else epochs
        left_s += coming.seconds if coming else (run.trials - done) * mean * (pace_s or 0.0)
    going = any(now.driven for now in standings.values())
    total = sum(run.trials for run in runs)
    return Ahead(ended / total if total else 1.0, left_s if going and pace_s else None)


def _pace_s(standings: Collection[Standing]) -> float | None:
    """Return the seconds of an epoch so far."""
    epochs = sum(one.totals.epochs for one in standings)
    seconds = sum(one.totals.active_s for one in standings)
    return seconds / epochs if epochs and seconds else None


def _searched(runs: Sequence[Planned], standings: Mapping[str, Standing]) -> float | None:
    """Return the mean epochs of the trials of searches that have ended."""
    found = [standings[run.name].totals for run in runs
             if run.stage == "search" and run.name in standings]  # fmt: skip
    ended = sum(totals.num_ended for totals in found)
    return sum(totals.ended_epochs for totals in found) / ended if ended else None
