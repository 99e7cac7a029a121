"""The one file of this package that knows Ray: a trial as a Ray Tune class Trainable.

One call of `step` is one epoch, or all those that the trial takes over from a trunk at once. The
trial's own folder, not Ray's checkpoints, carries its state: `step` has written the epoch before it
returns it. Whoever starts the trial again, in whatever process, therefore continues after the last
finished epoch, and first hands over again the rows that the driver has not acknowledged. Delivery
is at least once; the driver drops what it knows.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import tune

from search_spaces.model import UserError
from trainables.config import TrialConfig
from trainables.data.bring import here
from trainables.data.packed import PackedData
from trainables.processor import processor_name
from trainables.rows import EpochRow
from trainables.state_files import remove_state

JOIN = " + "
"""Between the names of devices, as in the record."""


class RayTrial(tune.Trainable):  # type: ignore[misc]
    """Trains one trial, an epoch a step.

    Tune's `config` holds: `number`; `trial` (a `TrialConfig` as a dict); `data` (packed folder),
    its `fingerprint` and `limit` (images per split or None); `folder` (the trial's own, absolute),
    or `store` (its own prefix of the object store `storage`); `processor` (the CPU that the record
    calls "cpu"); `acknowledged` (epochs that the driver has already recorded); `trunk` (a
    `TrunkPlan`, or None: no sharing).

    A result holds `number`, `rows` (the metrics of one or more epochs as JSON text), `startup_s`
    (age of this process when it first trained; 0.0 in a reused one), `device` (all that the trial
    has trained on), `worker`, and, if
    the trial shares, `shared`: `key` and `best` (address and best weights of its state, as in the
    store), `waited_s` (since the last result), `exact` (whether sharing changes no bit).
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Remember what to train; torch is imported by the first step, which may be retried."""
        self._assignment = config
        self._trial: Any = None
        self._trunk: Any = None
        self._remote: Any = None
        self._unsent: list[EpochRow] = []
        self._startup_s = time.time() - psutil.Process().create_time()

    def step(self) -> dict[str, Any]:
        """Return the epochs that the driver has not acknowledged, training one if there is none."""
        if self._trial is None:
            self._begin()
        if not self._unsent:
            self._unsent = self._advance()
        rows, self._unsent = self._unsent, []
        result = {
            "number": self._assignment["number"],
            "rows": json.dumps(rows, allow_nan=False),
            "startup_s": self._startup_s,
            "device": JOIN.join([*self._trial.devices] or [self._trial.device_name]),
            "worker": f"{ray.util.get_node_ip_address()}:{os.getpid()}",
        }
        if self._trunk is not None:
            result["shared"] = {
                "key": self._trunk.key,
                "best": self._trial.best_digest,
                "waited_s": self._trunk.waited_s,
                "exact": self._trial.reproducible,
            }
            self._trunk.waited_s = 0.0
        return result

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this process; nothing of the last one is kept."""
        self.cleanup()
        self.setup(new_config)
        self._startup_s = 0.0
        return True

    def cleanup(self) -> None:
        """Give the trial's network and memory to the next one in this process."""
        trial, trunk, remote = self._trial, self._trunk, self._remote
        self._trial = self._trunk = self._remote = None
        try:
            if trunk is not None:
                trunk.release()
        finally:
            if trial is not None:
                trial.close()
            if remote is not None:
                remote.close()

    def _advance(self) -> list[EpochRow]:
        """Take over what others have computed, or train an epoch; return the new rows."""
        before = self._trial.epoch
        if self._trunk is None or not self._trunk.catch_up():
            row = self._trial.run_epoch()
            if row["best_epoch"] == row["epoch"]:
                self._trial.save_best(self._folder)
            self._trial.save(self._folder)
            if self._trunk is not None:
                self._trunk.publish()
        if self._remote is not None:
            self._remote.keep(self._trial.best_digest)
        rows: list[EpochRow] = self._trial.history[before:]
        return rows

    def _begin(self) -> None:
        import torch

        from trainables.remote_folder import RemoteFolder
        from trainables.rig_pool import share_gpu
        from trainables.sharing import TrunkUser
        from trainables.state import CorruptCheckpoint
        from trainables.train import Trial

        assignment = self._assignment
        device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"
        if 0 < ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0) < 1:
            share_gpu()
        self._folder = Path(assignment["folder"])
        trial = Trial(
            TrialConfig.model_validate(assignment["trial"]),
            self._data(),
            assignment["limit"],
            device,
        )
        if device == "cpu" and assignment["processor"] not in (None, processor_name()):
            trial.device_name = processor_name()
        try:
            if assignment["store"] is not None:
                self._remote = RemoteFolder(assignment["store"])
                self._folder = self._remote.folder
                self._remote.bring()
            try:
                if trial.load(self._folder) and self._remote is not None:
                    self._remote.holds(trial.best_digest)
            except CorruptCheckpoint:  # an epoch is a pure function: train all again, to equal bits
                remove_state(self._folder)
            if assignment["trunk"] is not None:
                self._trunk = TrunkUser(trial, self._folder, assignment["trunk"])
        except BaseException:
            trial.close()
            raise
        self._unsent = trial.history[assignment["acknowledged"] :]
        self._trial = trial

    def _data(self) -> PackedData:
        folder, fingerprint = Path(self._assignment["data"]), self._assignment["fingerprint"]
        data = here(folder, fingerprint, self._assignment["storage"])
        if data is None:
            raise UserError(f"The data are not in {folder} on {ray.util.get_node_ip_address()}.")
        return data
