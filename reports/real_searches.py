"""What real searches cost until they reached a target, in the terms of the replayed ones.

The cost of a search runs up to the epoch in which a trial that did not fail first reached the
target; a search that never did is censored at the end of its budget. An epoch is taken to have
ended when its trial had begun and trained as long as its epochs up to then lasted. Where a trial
was interrupted that is too early, which matters only where several trials ran at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tuner.devices import all_kinds, named
from tuner.record import Record
from tuner.record_rows import TrialRow
from tuner.record_schema import END_STATES, FAILED_STATES


class RealSearch(NamedTuple):
    """One search that was run."""

    run: str
    space: str
    finished: bool
    """Whether it spent its budget."""
    reached: bool
    trials: int
    """Begun up to the epoch that reached the target, else in all."""
    epochs: int
    """Ended up to then, as if it had trained them all itself."""
    computed: int
    """Those of them that it trained itself, rather than took over from another trial."""
    slot_seconds: float | None
    """Held up to then; None if that was on devices of several kinds."""


def real_search(folder: Path, target: float) -> RealSearch:
    """Return what a recorded search cost.

    Parameters
    ----------
    folder : Path
        Of the run.
    target : float
        Validation macro-F1 to reach.
    """
    with Record.open(folder) as record, record.transaction():
        run = record.run()
        trials = [one for one in record.trials() if one.started_at is not None]
        epochs = {one.number: record.epochs(one.number) for one in trials}
    ends = {one.number: _ends(one, epochs[one.number]) for one in trials}
    hits = [
        ends[one.number][index]
        for one in trials
        if one.state in END_STATES and one.state not in FAILED_STATES
        for index, row in enumerate(epochs[one.number])
        if (row["best_val_f1"] or 0.0) >= target
    ]
    at = min(hits, default=np.inf)
    return RealSearch(
        run=run.name,
        space=str(run.spec["space"]["name"]),
        finished=run.state == "finished",
        reached=bool(hits),
        trials=sum((one.started_at or 0.0) <= at for one in trials),
        epochs=sum(int(np.count_nonzero(of <= at)) for of in ends.values()),
        computed=sum(
            int(np.count_nonzero(of[[not row["shared"] for row in epochs[number]]] <= at))
            for number, of in ends.items()
        ),
        slot_seconds=(
            None
            if len(all_kinds(named(one.device, run.host) for one in trials)) > 1
            else sum(one.stand_alone_slot_s * _held(one, at) for one in trials)
        ),
    )


def inside(search: RealSearch, quantiles: dict[str, float | None]) -> bool | None:
    """Return whether a search's epochs lie within the central 95 % of the replayed ones.

    Parameters
    ----------
    search : RealSearch
    quantiles : dict
        Of the replayed epochs by probability, None where the replays did not come so far.

    A search that was censored lies inside if the upper end is beyond what the replays reached.
    None if it has neither reached the target nor spent its budget.
    """
    low, high = (quantiles[name] for name in ("0.025", "0.975"))
    if not search.reached:
        return high is None if search.finished else None
    return low is not None and low <= search.epochs and (high is None or search.epochs <= high)


def _ends(trial: TrialRow, rows: list[dict[str, float | None]]) -> np.ndarray:
    """Return when each epoch ended, Unix seconds."""
    seconds = [(row["train_s"] or 0.0) + (row["eval_s"] or 0.0) for row in rows]
    ends = (trial.started_at or 0.0) + np.cumsum(seconds)
    return np.minimum(ends, np.inf if trial.ended_at is None else trial.ended_at)


def _held(trial: TrialRow, at: float) -> float:
    """Return the share of its time that a trial had held its slot by a moment."""
    start, end = trial.started_at or 0.0, trial.ended_at
    if end is None or end <= at:
        return 1.0
    return float(np.clip((at - start) / (end - start), 0.0, 1.0))
