"""The table of T × position as a plain Optuna script: `study.optimize` with threads.

    python -m benchmarks.plain_optuna --trials 24 --slots 2

Written after Optuna's own guide: an objective, `GridSampler`, `n_jobs`. All trials share one
process, and torch's generator, so that scores differ a little from run to run. The last line of
stdout is a JSON object.
"""

from __future__ import annotations

import json
from typing import Any

import click
import optuna

from benchmarks.plain_trial import POSITIONS, train
from trainables.config import DataConfig
from trainables.data.cache import default_cache
from trainables.data.source import prepare


@click.command()
@click.option("--trials", default=24, show_default=True, help="4 × the largest T.")
@click.option("--epochs", default=6, show_default=True, help="Epochs of a trial.")
@click.option("--slots", default=2, show_default=True, help="Trials at once, a thread each.")
def main(trials: int, epochs: int, slots: int) -> None:
    """Train T = 1, 2, … at every position and print what was found."""
    data = prepare(DataConfig(), default_cache())
    largest = trials // len(POSITIONS)

    def objective(trial: optuna.Trial) -> float:
        T = trial.suggest_int("T", 1, largest)
        position = trial.suggest_categorical("position", list(POSITIONS))
        best = 0.0
        for epoch, f1 in enumerate(train(T, position, epochs, data), start=1):
            trial.report(f1, epoch)
            best = max(best, f1)
        return best

    grid: dict[str, list[Any]] = {"T": list(range(1, largest + 1)), "position": list(POSITIONS)}
    study = optuna.create_study(sampler=optuna.samplers.GridSampler(grid), direction="maximize")
    study.optimize(objective, n_trials=trials, n_jobs=slots)
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    found = {
        "trials": len({(trial.params["T"], trial.params["position"]) for trial in done}),
        "epochs": sum(len(trial.intermediate_values) for trial in done),
        "best": study.best_value,
    }
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
