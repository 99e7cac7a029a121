"""A run's side of trunk sharing: which epochs a trial's worker is to take over and to publish."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from trainables.config import TrialConfig
from trainables.sharing_plan import TrunkPlan
from trainables.trunks import TrunkStore
from tuner.forks import Forks, ends_count
from tuner.record import Record
from tuner.spec import RunSpec

GB = 10**9


class RunSharing:
    """What the trials of one run share, and where.

    Parameters
    ----------
    spec : RunSpec
        One that shares.
    base : Path
        Where the run keeps its trials' states, absolute.
    train_images : int
        Images of the training split, after any limit.
    """

    def __init__(self, spec: RunSpec, base: Path, train_images: int) -> None:
        given = spec.resources.trunks
        self._folder = own_trunks(base) if given is None else Path(given)
        self._limit_bytes = math.floor(spec.resources.trunks_gb * GB)
        self._forks = Forks(spec, train_images)
        self._ends = ends_count(spec)

    def plan(self, trial: TrialConfig) -> TrunkPlan:
        """Return what a trial's worker needs to know."""
        return {
            "folder": str(self._folder),
            "limit_bytes": self._limit_bytes,
            "forks": self._forks.of(trial),
            "ends": self._ends,
        }

    def keep(self, key: str, trial_folder: Path, best_digest: str | None) -> None:
        """Publish the state of a trial that was stopped early."""
        if self._ends:
            TrunkStore(self._folder, self._limit_bytes).publish(key, trial_folder, best_digest)


def own_trunks(base: Path) -> Path:
    """Return where a run keeps trunks that no other run uses, beside its trials' states."""
    return base / "trunks"


def drop_trunks(run_folder: Path, base: Path | None = None) -> None:
    """Remove a run's own trunks once it has finished; one that was interrupted goes on."""
    with Record.open(run_folder) as record:
        if record.run().state == "finished":
            shutil.rmtree(own_trunks(base or run_folder), ignore_errors=True)
