"""Rebuild from the record what a run holds in memory and in its projections.

Used by `resume` after any ending, a kill included: nothing else is trusted, not Optuna's study,
not Ray's files, not TensorBoard's.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuner.driver import SCORED, Driver
from tuner.groups import Group
from tuner.record import ConfigRow, Record, TrialRow
from tuner.search import Told

ENDED = ("completed", "pruned", "diverged", "crashed", "stopped")


def groups(record: Record) -> dict[int, Group]:
    """Return every configuration's trials with their running bests and final states."""
    found: dict[int, Group] = {}
    for trial in record.trials():
        group = found.setdefault(trial.config, Group([]))
        group.trials.append(trial.number)
        group.best[trial.number] = {
            row["epoch"]: row["best_val_f1"] for row in record.epochs(trial.number)
        }
        if trial.state in ENDED:
            group.states[trial.number] = trial.state
    return found


def told(configs: Sequence[ConfigRow], of: dict[int, Group]) -> list[Told]:
    """Return what Optuna had been told, configuration by configuration."""
    result = []
    for config in configs:
        group = of[config.number]
        epochs = sorted({epoch for best in group.best.values() for epoch in best})
        means = {epoch: group.mean(epoch) for epoch in epochs}
        result.append(
            Told(
                number=config.number,
                knobs=config.knobs,
                state=config.state,
                value=config.value,
                reports={epoch: mean for epoch, mean in means.items() if mean is not None},
                attrs=config.optuna_attrs,
            )
        )
    return result


def adopt(driver: Driver, of: dict[int, Group]) -> None:
    """Give a fresh driver the run's unfinished trials, its best so far, and its TensorBoard files.

    Trials that were running go back to waiting: they continue from their last epoch.
    """
    record = driver.record
    trials = record.trials()
    for trial in trials:
        if trial.state == "running":
            record.interrupt_trial(trial.number, "the run ended without notice", driver.clock())
    driver.queue.extend(trial.number for trial in trials if trial.state not in ENDED)
    driver.groups = {number: group for number, group in of.items() if not group.ended}
    driver.best = max(
        ((t.score, -t.number) for t in trials if t.state in SCORED and t.score is not None),
        default=None,
    )
    _remove_files(driver, trials)
    _rewrite_board(driver, trials)


def _remove_files(driver: Driver, trials: Sequence[TrialRow]) -> None:
    """Delete what a driver deletes when a trial ends, where it was killed before it could."""
    best = None if driver.best is None else -driver.best[1]
    ended = [trial for trial in trials if trial.state in ENDED]
    driver.storage.tidy(
        states={trial.number for trial in ended if trial.state != "crashed"},
        weights={trial.number for trial in ended if trial.number != best},
    )


def _rewrite_board(driver: Driver, trials: Sequence[TrialRow]) -> None:
    for trial in trials:
        if trial.epochs and not driver.board.is_complete(trial.number):
            rows = driver.record.epochs(trial.number)
            driver.board.rewrite(trial.number, trial.knobs, rows)
            if trial.state in ENDED:
                driver.board.end(trial.number, trial.knobs)
