"""How a trial uses a trunk store: it takes over what others have computed, and publishes its own.

Before an epoch that other trials need too, a trial looks whether somebody has published a state
ahead of it and continues there. If somebody is computing that state at the moment, it waits, but
never longer than to compute it would take; else it announces the state, computes and publishes it.
"""

from __future__ import annotations

import time
from pathlib import Path

from trainables.sharing_plan import TrunkPlan
from trainables.state import CheckpointMismatch, CorruptCheckpoint, read_payload
from trainables.state_files import NEXT
from trainables.train import Trial
from trainables.trunks import TrunkStore

FIRST_EPOCH_S = 15.0
"""What an epoch is taken to last before any has been seen: how long the first is waited for."""
POLL_S = 0.05


class TrunkUser:
    """One trial's use of a store.

    Parameters
    ----------
    trial : Trial
    folder : Path
        The trial's own folder.
    plan : TrunkPlan

    Attributes
    ----------
    waited_s : float
        Seconds spent waiting for states that others were computing.
    """

    def __init__(self, trial: Trial, folder: Path, plan: TrunkPlan) -> None:
        self._trial, self._folder = trial, folder
        self._store = TrunkStore(Path(plan["folder"]), plan["limit_bytes"])
        last = trial.config.epochs
        self._forks = sorted(epoch for epoch in plan["forks"] if epoch <= last)
        self._published = {*self._forks, *([last] if plan["ends"] else [])}
        self._keys = {epoch: trial.key(epoch) for epoch in range(1, last + 1)}
        self._claimed: str | None = None
        self._begun = False
        self.waited_s = 0.0

    @property
    def key(self) -> str:
        """Address of the trial's present state."""
        return self._keys[self._trial.epoch]

    def catch_up(self) -> bool:
        """Continue from the furthest published state ahead; return whether there was one.

        Call it before every epoch. Where somebody computes the next fork, this waits for it first.
        """
        ahead = [epoch for epoch in self._forks if epoch > self._trial.epoch]
        if self._begun and not ahead:
            return False
        self._begun = True
        if self._take():
            return True
        if not ahead or self._claimed is not None:
            return False
        key = self._keys[ahead[0]]
        patience_s = self._epoch_s() * (ahead[0] - self._trial.epoch)
        if self._store.claim(key, patience_s):
            self._claimed = key
            return self._take()  # it may have been published just before
        started = time.monotonic()
        while self._store.claimed(key) and time.monotonic() - started < patience_s:
            time.sleep(POLL_S)
        self.waited_s += time.monotonic() - started
        return self._take()

    def publish(self) -> None:
        """Publish the trial's state if others need it; call it after the trial's `save`."""
        if self._trial.diverged:
            self.release()
        elif self._trial.epoch in self._published:
            self._store.publish(self.key, self._folder, self._trial.best_digest)
            self.release()

    def release(self) -> None:
        """Take back what this trial has announced, if anything."""
        if self._claimed is not None:
            self._store.release(self._claimed)
            self._claimed = None

    def _take(self) -> bool:
        for epoch in range(self._trial.config.epochs, self._trial.epoch, -1):
            key = self._keys[epoch]
            if self._store.has(key) and self._fork(key):
                self._store.used(key)
                self.release()
                self._trial.save(self._folder)
                return True
        return False

    def _fork(self, key: str) -> bool:
        """Continue from a published state; return False, discarding it, if it is of no use."""
        taken = self._folder / NEXT  # they become the best ones with the state, in `save`
        try:
            state = read_payload(self._store.path(key))
            if state["best"] is not None and not self._store.take_best(state["best"], taken):
                raise CorruptCheckpoint("The best weights that belong to it are gone.")
            self._trial.fork(state)
        except FileNotFoundError:  # the store was full and let it go
            return False
        except (CorruptCheckpoint, CheckpointMismatch):
            self._store.discard(key)
            taken.unlink(missing_ok=True)
            return False
        return True

    def _epoch_s(self) -> float:
        """Return about how long an epoch takes."""
        if not self._trial.history:
            return FIRST_EPOCH_S
        last = self._trial.history[-1]
        return last["train_s"] + last["eval_s"]
