"""What follows from a run's record: its summary, its exit status, and how long it will take.

The summary is the JSON object that `tuner run --format json` prints. Nothing here writes or waits.
Slot-seconds are seconds × the fraction of a GPU, or × CPU cores, that a trial held.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.model import UserError
from tuner.devices import all_kinds
from tuner.fetched import is_fetched
from tuner.record_file import writer
from tuner.record_read import RecordReader
from tuner.record_rows import RunRow, Totals, TrialRow
from tuner.record_schema import FAILED_STATES, OPEN_STATES
from tuner.spec import in_effect

DONE, FAILED, SOME_FAILED, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses."""


class Remaining(NamedTuple):
    """How long a run will still take."""

    seconds: float
    how: str
    """On what the estimate rests."""


class Standing(NamedTuple):
    """How a run stands at one moment, by its record and by whether a process writes it."""

    run: RunRow
    totals: Totals
    best: TrialRow | None
    begun: list[TrialRow]
    """Trials that wait or run."""
    held: dict[str, float]
    """Slot-seconds by device."""
    driven: bool
    """Whether a living process carries it out."""
    copied: bool
    """Whether this is how it stood when it was fetched from a server, and it may go on there."""

    @property
    def as_recorded(self) -> bool:
        """Whether what the record calls running is so, here or where a copy came from."""
        return self.driven or self.copied

    @property
    def lost(self) -> bool:
        """Whether its process ended without notice."""
        return self.run.state == "running" and not self.as_recorded

    @property
    def state(self) -> str:
        """That of the run; a process that ended without notice has interrupted it."""
        return "interrupted" if self.lost else self.run.state

    @property
    def trials(self) -> dict[str, int]:
        """Trials by state, without states of which there are none."""
        counts = self.totals.trials if self.as_recorded else without_process(self.totals.trials)
        return {state: count for state, count in counts.items() if count}

    @property
    def remaining(self) -> Remaining | None:
        """How long it will still take; None unless it is going on."""
        if not self.driven:
            return None
        epochs = int(self.run.spec["epochs"])
        return remaining(self.begun, self.totals, self.run.budget, epochs)


def standing(record: RecordReader) -> Standing:
    """Return how a run stands."""
    with record.transaction():
        return Standing(
            run=record.run(),
            totals=record.totals(),
            best=record.best(),
            begun=record.trials(OPEN_STATES),
            held=record.slot_seconds_by_device(),
            driven=is_driven(record),
            copied=is_fetched(record.folder),
        )


def is_driven(record: RecordReader) -> bool:
    """Return whether a living process carries a run out."""
    return record.run().state == "running" and writer(record.folder) is not None


def summary(record: RecordReader) -> dict[str, Any]:
    """Return what a run is and found, as plain JSON values."""
    now = standing(record)
    run, totals, best, held = now.run, now.totals, now.best, now.held
    mixed = len(all_kinds(held)) > 1
    reason = run.reason
    if now.lost:
        reason = "its process ended without notice"
    elif now.copied and now.state == "running":
        reason = "so it stood when this copy was fetched"
    return {
        "run": run.name,
        "folder": str(record.folder),
        "state": now.state,
        "reason": reason,
        "space": run.spec["space"]["name"],
        "trials": now.trials,
        "best": None if best is None else _best(best, record.epochs(best.number)),
        "cost": {
            "epochs": totals.epochs,
            "slot_seconds": None if mixed else round(totals.slot_s, 3),
            "stand_alone_epochs": totals.stand_alone_epochs,
            "stand_alone_slot_seconds": None if mixed else round(totals.stand_alone_slot_s, 3),
            **({"slot_seconds_by_device": rounded(held)} if mixed else {}),
            "wall_seconds": round(totals.active_s, 3),
        },
        "digest": run.digest,
        "created_at": run.created_at,
    }


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """Return seconds by device to the millisecond."""
    return {device: round(one, 3) for device, one in seconds.items()}


def without_process(trials: dict[str, int]) -> dict[str, int]:
    """Return trials by state if no process trains them: what was running waits for a resume.

    >>> without_process({"waiting": 1, "running": 2, "completed": 3})
    {'waiting': 3, 'running': 0, 'completed': 3}
    """
    return {**trials, "waiting": trials.get("waiting", 0) + trials.get("running", 0), "running": 0}


def exit_status(summed: dict[str, Any]) -> int:
    """Return the exit status that a summary calls for.

    >>> exit_status({"state": "finished", "trials": {"completed": 3, "crashed": 1}})
    3
    """
    if summed["state"] == "interrupted" and str(summed["reason"]).startswith("interrupted"):
        return INTERRUPTED
    if summed["state"] != "finished":
        return FAILED
    return SOME_FAILED if failures(summed) else DONE


def failures(summed: dict[str, Any]) -> int:
    """Return how many trials of a summary crashed or diverged."""
    return sum(summed["trials"].get(state, 0) for state in FAILED_STATES)


def next_steps(summed: dict[str, Any], reference: str) -> list[tuple[str, str]]:
    """Return what a user may want to do next, as (command, why); `reference` names the run."""
    steps = []
    if summed["state"] != "finished":
        steps.append((f"tuner resume {reference}", "go on where it stopped"))
    if failures(summed):
        steps.append((f"tuner show {reference}", "see which trials failed, and why"))
    elif summed["state"] == "finished":
        steps.append((f"tuner show {reference}", "see the best trials and what was judged"))
    steps.append((f"tuner export {reference} -o trials.csv", "take the trials elsewhere"))
    steps.append((f"tuner tensorboard {reference}", "look at the curves"))
    return steps


def remaining(
    going: Sequence[TrialRow], totals: Totals, budget: dict[str, Any], epochs: int
) -> Remaining | None:
    """Estimate how long a run will still take, or None before the first epoch.

    Trials to come are taken to last as long as those that have ended did on average, and running
    ones at least to their next epoch; epochs go on at the pace of the run so far. Where several
    limits are set, the one that is reached first counts.

    Parameters
    ----------
    going : sequence of TrialRow
        Those that wait or run.
    totals : Totals
    budget : dict
        As recorded: trials, epochs, gpu_hours, wall_hours, each a number or None.
    epochs : int
        Epochs of a trial that is not stopped.
    """
    if not totals.epochs or not totals.active_s:
        return None
    pace_s = totals.active_s / totals.epochs
    ended = totals.num_ended
    mean = totals.ended_epochs / ended if ended else float(epochs)
    done = [trial.epochs for trial in going if trial.epochs < epochs]
    begun = sum(min(epochs - one, max(mean - one, 1)) for one in done)
    limits = []
    if budget.get("trials") is not None:
        to_ask = max(0, budget["trials"] - totals.num_trials)
        basis = f"{mean:.1f} epochs a trial as so far" if ended else f"all {epochs} epochs a trial"
        limits.append(((begun + to_ask * mean) * pace_s, basis))
    if budget.get("epochs") is not None:
        limits.append(((budget["epochs"] - totals.epochs) * pace_s, "the budget of epochs"))
    if budget.get("gpu_hours") is not None:
        held = totals.slot_s / totals.active_s
        left_s = budget["gpu_hours"] * 3600 - totals.slot_s
        limits.append((left_s / held if held else 0.0, "the budget of slot-hours"))
    if budget.get("wall_hours") is not None:
        limits.append((budget["wall_hours"] * 3600 - totals.active_s, "the budget of hours"))
    seconds, how = min(limits)
    return Remaining(max(seconds, begun * pace_s), f"{how}, {pace_s:.2g} s an epoch")


def slot_seconds_per_epoch(
    folders: Sequence[Path], spec: dict[str, Any]
) -> tuple[float, str] | None:
    """Return what an epoch costs by the newest run like `spec`, and that run's name, or None.

    Like means: the same network, data, training and device share, and at least one epoch; one of
    the same space, too, goes before all others. A record that cannot be read tells nothing, nor
    does a run on devices of several kinds.
    """
    from tuner.record import Record

    other: tuple[float, str] | None = None
    for folder in reversed(folders):
        try:
            with Record.open(folder) as record:
                run = record.run()
                if _what_costs(run.spec) != _what_costs(spec):
                    continue
                totals, held = record.totals(), record.slot_seconds_by_device()
        except UserError:
            continue
        if totals.epochs and len(all_kinds(held)) <= 1:
            cost = totals.slot_s / totals.epochs, run.name
            if run.spec["space"]["name"] == spec["space"]["name"]:
                return cost
            other = other or cost
    return other


def _what_costs(spec: dict[str, Any]) -> list[Any]:
    """Return what the cost of an epoch depends on."""
    share = [spec["resources"][name] for name in ("gpus_per_trial", "cpus_per_trial")]
    return [in_effect(spec, "network"), in_effect(spec, "training"), spec["data"], share]


def _best(trial: TrialRow, epochs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    until_best = [row for row in epochs if row["epoch"] <= (trial.best_epoch or 0)]
    return {
        "config": trial.knobs,
        "score": trial.score,
        "test_score": trial.test_score,
        "epoch": trial.best_epoch,
        "trial": trial.number,
        "seed": trial.seed,
        "state": trial.state,
        "injected_before": any(row["injected_share"] > 0 for row in until_best),
        "arm": trial.arm,
    }
