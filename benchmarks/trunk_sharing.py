"""What trunk sharing saves: the same searches with and without it, in one go.

    python -m benchmarks.trunk_sharing --rounds 2

Three searches on the quick preset and one fixed seed: 32 trials of `periodic_T` with TPE and ASHA,
and the full table of T × position without early stopping, once over every T there is and once over
the product's own range, up to half the epochs. Epochs are exact. Wall time is that of the driver,
from the first trial to the last, without Ray's start. Rounds alternate (alone, shared, shared,
alone …), so that a machine whose pace drifts does so for both. Scores are compared epoch by epoch,
to the last bit, wherever a configuration was trained in both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.searches import alternating
from tuner.record import Record

HERE = Path(__file__).parent
SHARING = ("--no-share", "--share")
SEARCHES = {
    "32 trials of periodic_T, TPE and ASHA": ["--space", "periodic_T", "--trials", "32"],
    "full table, T = 1…12 × position": [
        "--space", str(HERE / "every_T.yaml"), "--sampler", "grid", "--scheduler", "none",
        "--trials", "48",
    ],
    "full table, T = 1…6 × position": [
        "--space", "periodic", "--sampler", "grid", "--scheduler", "none", "--trials", "24",
    ],
}  # fmt: skip


def search(folder: Path, name: str, arguments: list[str]) -> dict[str, float]:
    """Run a search and return its cost."""
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "run", "--runs", str(folder), "--name", name,
         "--seeds", "fixed", "--format", "json", *arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    cost: dict[str, float] = json.loads(done.stdout)["cost"]
    return cost


def curves(folder: Path) -> dict[str, list[float]]:
    """Return each configuration's validation F1 by epoch, of the trial that went furthest."""
    found: dict[str, list[float]] = {}
    with Record.open(folder) as record:
        for trial in record.trials():
            curve = [row["val_f1"] for row in record.epochs(trial.number)]
            key = json.dumps(trial.knobs, sort_keys=True)
            found[key] = max(found.get(key, []), curve, key=len)
    return found


def same(one: dict[str, list[float]], other: dict[str, list[float]]) -> tuple[int, int]:
    """Return in how many configurations, and of how many, all common epochs are equal."""
    both = one.keys() & other.keys()
    equal = sum(all(a == b for a, b in zip(one[k], other[k], strict=False)) for k in both)
    return equal, len(both)


def row(what: str, costs: dict[str, list[dict[str, float]]], equal: int, of: int) -> str:
    """Return the table's row: epochs, the median wall time and every round's, equal curves."""
    cells = [what]
    for unit, digits in (("epochs", ""), ("wall_seconds", " s")):
        alone, shared = ([cost[unit] for cost in costs[share]] for share in SHARING)
        for values in (alone, shared):
            each = sorted({f"{value:.0f}" for value in values}, key=float)
            cells.append(f"{statistics.median(values):.0f}{digits}")
            if len(each) > 1:
                cells[-1] += f" ({', '.join(each)})"
        cells.append(f"{statistics.median(shared) / statistics.median(alone):.0%}")
    return f"| {' | '.join([*cells, f'{equal} of {of}'])} |"


@click.command()
@click.option("--concurrency", default="2", show_default=True, help="Trials at once.")
@click.option("--seed", default="0", show_default=True, help="Seed of search and trials.")
@click.option("--rounds", default=1, show_default=True, help="How often each search runs.")
@click.option("--only", default="", help="Only the searches whose description contains this.")
def main(concurrency: str, seed: str, rounds: int, only: str) -> None:
    """Run all searches and print a table."""
    click.echo("| search | epochs alone | shared | | wall time alone | shared | | equal curves |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for what, arguments in SEARCHES.items():
        if only not in what:
            continue
        costs: dict[str, list[dict[str, float]]] = {share: [] for share in SHARING}
        equal = of = 0
        with tempfile.TemporaryDirectory() as temporary:
            for number in range(rounds):
                found = {}
                for share in alternating(SHARING, number):
                    name = f"{number}{share}"
                    given = [*arguments, "--concurrency", concurrency, "--seed", seed, share]
                    costs[share].append(search(Path(temporary), name, given))
                    found[share] = curves(Path(temporary) / name)
                pairs = same(*(found[share] for share in SHARING))
                equal, of = equal + pairs[0], of + pairs[1]
        click.echo(row(what, costs, equal, of))


if __name__ == "__main__":
    main()
