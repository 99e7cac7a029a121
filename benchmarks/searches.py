"""Whole searches of ours and of plain scripts with Ray Tune and Optuna: the same trials and slots.

    python -m benchmarks.searches --rounds 1

Every way trains the full table of T × position on the quick preset's synthetic faces, each trial to
its end with the same seed: ours (`tuner run`, without and with trunk sharing), `plain_ray_tune.py`
(Ray's defaults, and once more with `reuse_actors`), and `plain_optuna.py`. The plain trials do
less: they score no test split and write no state. Each way is one process, timed from its start to
its end: imports, Ray's start and stop, everything. Only the images are packed beforehand. Rounds
alternate (first to last, last to first, …), so that a machine whose pace drifts does so for all.

Trials are short, so what surrounds them weighs more than in a search of hours; `--epochs` makes
them longer. With sharing fewer epochs are computed; the table says how many. Keys of the JSON
object that end in `_ratio` are speeds, ours over theirs: above 1, ours is faster.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from tuner.provenance import host, versions

EVERY_T = str(Path(__file__).parent / "every_T.yaml")
POSITIONS = 4
OURS = {"alone": "ours", "shared": "ours, trunks shared"}
THEIRS = {
    "ray": "Ray Tune",
    "ray_reusing": "Ray Tune, `reuse_actors`",
    "optuna": "Optuna, `n_jobs`",
}
WAYS = {**OURS, **THEIRS}


class Search(NamedTuple):
    """What one search took and found."""

    wall_s: float
    """From the process's start to its end."""
    trials: int
    """Completed, all different."""
    epochs: int
    """Computed."""
    best: float
    """The highest macro-F1 on validation, of all trials and epochs."""


def command(way: str, trials: int, epochs: int, slots: int, folder: Path) -> list[str]:
    """Return the arguments of Python that run a search and write into a folder."""
    if way in OURS:
        return [
            "-m", "tuner", "run", "--space", EVERY_T, "--range", f"T=1:{trials // POSITIONS}",
            "--sampler", "grid", "--scheduler", "none", "--seeds", "fixed", "--format", "json",
            "--trials", f"{trials}", "--epochs", f"{epochs}", "--concurrency", f"{slots}",
            "--runs", str(folder), "--share" if way == "shared" else "--no-share",
        ]  # fmt: skip
    module = "benchmarks.plain_optuna" if way == "optuna" else "benchmarks.plain_ray_tune"
    given = ["-m", module, "--trials", f"{trials}", "--epochs", f"{epochs}", "--slots", f"{slots}"]
    if way != "optuna":
        given += ["--storage", str(folder)]
    return [*given, "--reuse-actors"] if way == "ray_reusing" else given


def search(way: str, trials: int, epochs: int, slots: int) -> Search:
    """Run a search in a process of its own, and in folders that are deleted afterwards.

    Raises
    ------
    click.ClickException
        If it fails, or trains other trials than it was asked to.
    """
    with tempfile.TemporaryDirectory(prefix="searches-", ignore_cleanup_errors=True) as folder:
        environment = {
            "RAY_AUTH_MODE": "disabled",  # else Ray writes a token into the home folder
            "RAY_USAGE_STATS_ENABLED": "0",
            **os.environ,
            "RAY_TMPDIR": folder,
        }
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command(way, trials, epochs, slots, Path(folder) / "runs")],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        wall_s = time.perf_counter() - started
    if done.returncode != 0:
        raise click.ClickException(f"{WAYS[way]} failed:\n{done.stderr.strip()[-2000:]}")
    found = _ours(done.stdout) if way in OURS else json.loads(done.stdout.splitlines()[-1])
    result = Search(wall_s, found["trials"], found["epochs"], found["best"])
    if result.trials != trials or (way != "shared" and result.epochs != trials * epochs):
        raise click.ClickException(
            f"{WAYS[way]} must complete {trials} trials of {epochs} epochs,"
            f" but completed {result.trials} in {result.epochs} epochs."
        )
    return result


def _ours(text: str) -> dict[str, Any]:
    summed = json.loads(text)
    trials, epochs = summed["trials"].get("completed", 0), summed["cost"]["epochs"]
    return {"trials": trials, "epochs": epochs, "best": summed["best"]["score"]}


def facts(searches: dict[str, list[Search]]) -> dict[str, Any]:
    """Return what was measured as plain JSON values: for every way, and ours over theirs."""
    medians = {
        way: statistics.median(each.wall_s for each in found) for way, found in searches.items()
    }
    ways = {
        way: {
            "name": WAYS[way],
            "wall_s": [round(each.wall_s, 2) for each in found],
            "median_wall_s": round(medians[way], 2),
            "trials_per_hour": round(3600 * found[0].trials / medians[way], 1),
            "epochs": [each.epochs for each in found],
            "best_val_f1": [each.best for each in found],
        }
        for way, found in searches.items()
    }
    ratios = {
        f"{ours}_over_{theirs}_ratio": round(medians[theirs] / medians[ours], 3)
        for ours in OURS
        for theirs in THEIRS
    }
    return {"ways": ways, **ratios}


def table(measured: dict[str, Any]) -> list[str]:
    """Return the lines of a Markdown table; its ratios are wall times over that of ours."""
    lines = [
        "| search | wall time | trials per hour | epochs | best F1 | ÷ ours | ÷ ours, shared |",
        "|---|---|---|---|---|---|---|",
    ]
    for of in measured["ways"].values():
        wall = f"{of['median_wall_s']:.1f} s"
        if len(of["wall_s"]) > 1:
            wall += f" ({', '.join(f'{seconds:.1f}' for seconds in of['wall_s'])})"
        cells = [
            of["name"],
            wall,
            f"{of['trials_per_hour']:.0f}",
            ", ".join(map(str, sorted(set(of["epochs"])))),
            f"{max(of['best_val_f1']):.3f}",
            *(f"{of['median_wall_s'] / measured['ways'][o]['median_wall_s']:.2f}" for o in OURS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def alternating(ways: Sequence[str], number: int) -> list[str]:
    """Return the ways in the order of a round, counted from 0.

    >>> alternating(["a", "b"], 1)
    ['b', 'a']
    """
    return list(ways) if number % 2 == 0 else list(reversed(ways))


@click.command()
@click.option("--rounds", default=1, show_default=True, help="How often each search runs.")
@click.option("--trials", default=24, show_default=True, help="4 × the largest T.")
@click.option("--epochs", default=6, show_default=True, help="Epochs of a trial.")
@click.option("--slots", default=2, show_default=True, help="Trials at once, a core each.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table")
def main(rounds: int, trials: int, epochs: int, slots: int, format_: str) -> None:
    """Run all searches and print how fast each was."""
    if trials % POSITIONS or not 2 * POSITIONS <= trials <= POSITIONS * epochs:
        raise click.UsageError(
            f"--trials must be a multiple of {POSITIONS} from {2 * POSITIONS} to {POSITIONS} ×"
            f" --epochs, but got {trials} with {epochs} epochs."
        )
    from trainables.config import DataConfig
    from trainables.data.cache import default_cache
    from trainables.data.source import prepare

    prepare(DataConfig(), default_cache())
    searches: dict[str, list[Search]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in alternating(list(WAYS), number):
            searches[way].append(search(way, trials, epochs, slots))
            click.echo(f"{WAYS[way]}: {searches[way][-1].wall_s:.1f} s", err=True)
    asked = {"rounds": rounds, "trials": trials, "epochs": epochs, "slots": slots}
    measured = {**asked, "host": host(), "versions": versions(), **facts(searches)}
    if format_ == "json":
        click.echo(json.dumps(measured, indent=2))
    else:
        click.echo("\n".join(table(measured)))


if __name__ == "__main__":
    main()
