"""The table of T × position as a plain Ray Tune script: a function trainable, and Ray's defaults.

    python -m benchmarks.plain_ray_tune --trials 24 --slots 2

Written after Ray's own guide: `tune.Tuner` over `grid_search`, one core a trial, one report an
epoch, `max_concurrent_trials`. Ray starts a process for every trial, unless `--reuse-actors` sets
the flag of that name. The last line of stdout is a JSON object.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from ray import tune

from benchmarks.plain_trial import POSITIONS, train
from trainables.config import DataConfig
from trainables.data.cache import default_cache
from trainables.data.packed import PackedData
from trainables.data.source import prepare


def trial(config: dict[str, Any]) -> None:
    """Train a trial in a worker of Ray's."""
    data = PackedData.open(Path(config["data"]))
    for f1 in train(config["T"], config["position"], config["epochs"], data):
        tune.report({"f1": f1})


@click.command()
@click.option("--trials", default=24, show_default=True, help="4 × the largest T.")
@click.option("--epochs", default=6, show_default=True, help="Epochs of a trial.")
@click.option("--slots", default=2, show_default=True, help="Trials at once, a core each.")
@click.option("--reuse-actors", is_flag=True, help="Keep a worker for the next trial.")
@click.option("--storage", type=click.Path(path_type=Path), help="Folder; Ray's own by default.")
def main(trials: int, epochs: int, slots: int, reuse_actors: bool, storage: Path | None) -> None:
    """Train T = 1, 2, … at every position and print what was found."""
    data = prepare(DataConfig(), default_cache())
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={
            "T": tune.grid_search(list(range(1, trials // len(POSITIONS) + 1))),
            "position": tune.grid_search(list(POSITIONS)),
            "epochs": epochs,
            "data": str(data.folder),
        },
        tune_config=tune.TuneConfig(
            metric="f1", mode="max", max_concurrent_trials=slots, reuse_actors=reuse_actors
        ),
        run_config=tune.RunConfig(
            storage_path=None if storage is None else str(storage.absolute())
        ),
    )
    results = tuner.fit()
    best = results.get_best_result(scope="all")
    found = {
        "trials": len(results) - results.num_errors,
        "epochs": sum(result.metrics.get("training_iteration", 0) for result in results),
        "best": max(best.metrics_dataframe["f1"]),
    }
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
