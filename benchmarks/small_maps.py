"""Whether AutoReLU injects alike with `trainables.small_maps` and with torch's own convolution.

    python -m benchmarks.small_maps [--seeds 8] [--width 16] [--epochs 16]

What rounding leaves drives AutoReLU's w, and the two ways to compute deep convolutions round
differently. Every seed trains the same dynamic trial both ways, on synthetic faces at 48 px with
the quick preset's settings. Trainings that differ in rounding soon part, so distributions over
seeds are compared, by a paired permutation test over all signs.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import click
import numpy as np
from numpy.typing import NDArray

from trainables import small_maps
from trainables.config import TrialConfig
from trainables.data.packed import PackedData
from trainables.data.source import prepare
from trainables.train import Trial
from tuner.spec import build_spec

Floats = NDArray[np.float64]


class Behaviour(NamedTuple):
    """What injection did in one trial."""

    first_epoch: float
    """In which a unit first injects, mean over units; one past the last if it never does."""
    injected_share: float
    """Share of units × steps, mean over the epochs."""
    changes_per_epoch: float
    """Signs of units that differ from the epoch before."""
    best_val_f1: float


def behaviour(config: TrialConfig, data: PackedData) -> Behaviour:
    """Train one trial and return what injection did."""
    trial = Trial(config, data, None)
    while not trial.finished:
        trial.run_epoch()
    rows = trial.history
    injecting = np.array([[unit["injecting"] > 0 for unit in row["units"]] for row in rows])
    signs = np.array([[unit["sign"] for unit in row["units"]] for row in rows])
    first = np.where(injecting.any(axis=0), injecting.argmax(axis=0) + 1, len(rows) + 1)
    share = sum(row["injected_share"] for row in rows) / len(rows)
    changes = np.count_nonzero(np.diff(signs, axis=0)) / (len(rows) - 1)
    trial.close()
    return Behaviour(float(first.mean()), share, changes, rows[-1]["best_val_f1"])


def permutation_p(differences: Floats) -> float:
    """Return the two-sided P that paired differences have mean zero: every choice of signs."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    means = np.abs((signs * differences).mean(axis=1))
    return float((means >= abs(differences.mean()) - 1e-12).mean())


@click.command()
@click.option("--seeds", default=8, show_default=True)
@click.option("--width", default=16, show_default=True)
@click.option("--epochs", default=16, show_default=True)
def main(seeds: int, width: int, epochs: int) -> None:
    """Train every seed both ways and compare."""
    flags = {"space": "dynamic_constant", "epochs": epochs, "network": {"width": width}}
    spec = build_spec("quick", None, flags, {}, {})
    found: dict[str, list[Behaviour]] = {"products": [], "torch": []}
    with tempfile.TemporaryDirectory() as cache:
        data = prepare(spec.data, Path(cache))
        for seed in range(seeds):
            for way, values in found.items():
                most = small_maps.MOST_INSIDE if way == "products" else 0.0
                small_maps._pays.cache_clear()
                with mock.patch.object(small_maps, "MOST_INSIDE", most):
                    values.append(behaviour(spec.trial({"Constant": 1.0}, seed), data))
                told = "  ".join(f"{k} {v:.4g}" for k, v in values[-1]._asdict().items())
                click.echo(f"seed {seed}  {way:8}  {told}")
    for name in Behaviour._fields:
        ours, theirs = (np.array([getattr(one, name) for one in found[way]]) for way in found)
        click.echo(
            f"{name}: products {ours.mean():.4g} (sd {ours.std(ddof=1):.2g}),"
            f" torch {theirs.mean():.4g} (sd {theirs.std(ddof=1):.2g}),"
            f" P = {permutation_p(ours - theirs):.2f}"
        )


if __name__ == "__main__":
    main()
