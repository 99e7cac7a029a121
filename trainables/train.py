"""Train one trial, epoch by epoch; an epoch is a pure function of state, configuration and seed.

    state_e = epoch(state_{e-1}, configuration, seed, e)

Whatever epoch e draws comes from generators seeded by (seed, e, purpose), so state is weights,
buffers, optimiser, learning-rate schedule and the rows so far, and nothing else. On a CPU,
interrupted and uninterrupted training, in a fresh or a used process, agree bit for bit.
"""

# P all weights

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainables.config import TrialConfig, canonical_json
from trainables.data.packed import PackedData
from trainables.lineage import history_digest, lineage
from trainables.networks import InjectedResNet
from trainables.process import numerics, prepare_process
from trainables.rig import Trained
from trainables.rig_pool import give_back, lease
from trainables.rows import EpochRow
from trainables.state import FORMAT, CheckpointMismatch, read_state, write_state, write_weights
from trainables.state_files import settle_best


class Trial:
    """One configuration and one seed in training.

    Parameters
    ----------
    config : TrialConfig
    data : PackedData
    limit : int or None
        Images used per split; None is all.
    device : str, default "cpu"
        A torch device, such as "cuda".
    graphs : bool, default True
        Whether a GPU replays captured steps; the numbers are the same without.

    Attributes
    ----------
    epoch : int
        Epochs trained so far.
    history : list of EpochRow
        Their rows, JSON-able.
    steps_per_epoch : int
    device_name : str
        "cpu", or what the GPU calls itself, and whether it trains without CUDA graphs.
    devices : list of str
        Names of the devices that trained its epochs, in order of first use.

    Notes
    -----
    After an exception out of `run_epoch` the trial is between two epochs: drop it, or `load`.
    """

    def __init__(
        self,
        config: TrialConfig,
        data: PackedData,
        limit: int | None,
        device: str = "cpu",
        graphs: bool = True,
    ) -> None:
        prepare_process(device, config.training.precision)
        self.config = config
        self.epoch = 0
        self.history: list[EpochRow] = []
        self.devices: list[str] = []
        self._device = torch.device(device)
        if self._device.index is not None:
            torch.cuda.set_device(self._device)
        self._fingerprint = data.used_fingerprint(limit)
        self._numerics = numerics(self._device)
        self._rig = lease(config, data, limit, self._device, graphs)
        self.device_name = device
        if self._device.type == "cuda":
            self.device_name = torch.cuda.get_device_name(self._device)
            if graphs and not self._rig.captured:
                self.device_name += " (without CUDA graphs)"
        self.steps_per_epoch = self._rig.steps_per_epoch
        self._facts = lineage(config, self.steps_per_epoch)
        self._best_digest: str | None = None

    def close(self) -> None:
        """Give network, optimiser and captured steps to the next trial; this one is over."""
        give_back(self._rig)
        del self._rig

    @property
    def network(self) -> InjectedResNet:
        """The network, with the weights as they are now."""
        return self._rig.network

    @property
    def diverged(self) -> bool:
        """Whether the last epoch diverged."""
        return bool(self.history) and self.history[-1]["diverged"]

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.diverged or self.epoch == self.config.epochs

    def run_epoch(self) -> EpochRow:
        """Train and evaluate the next epoch; append its row to `history` and return it."""
        assert not self.finished
        epoch = self.epoch + 1
        lr = self._rig.rate.value
        before_P = self._weights()
        started = time.perf_counter()
        trained = self._rig.train(epoch)
        after_P = self._weights()
        update_norm, weight_norm = _norm(after_P - before_P), _norm(after_P)
        train_s = time.perf_counter() - started
        observed = self.network.injection.epoch_report()
        reason = self._divergence(epoch, trained, weight_norm)
        if reason is None:
            validation = self._rig.validate()
            if not validation.finite:
                reason = f"validation loss was not finite in epoch {epoch}"
        best = self.history[-1] if self.history else None
        row: EpochRow = {
            "epoch": epoch,
            "train_loss": None,
            "train_accuracy": None,
            "val_loss": None,
            "val_f1": 0.0,
            "val_accuracy": None,
            "test_f1": None,
            "best_val_f1": best["best_val_f1"] if best else 0.0,
            "best_epoch": best["best_epoch"] if best else None,
            "best_test_f1": best["best_test_f1"] if best else None,
            "lr": lr,
            "update_norm": update_norm if math.isfinite(update_norm) else None,
            "weight_norm": weight_norm if math.isfinite(weight_norm) else None,
            "injected_share": observed["injected_share"],
            "units": cast(list[dict[str, Any]], observed["units"]),
            "diverged": reason is not None,
            "reason": reason,
            "shared": False,
            "train_s": train_s,
            "eval_s": 0.0,
            "images_per_s": trained.num_images / train_s,
        }
        if reason is None:
            row["train_loss"], row["train_accuracy"] = trained.loss, trained.accuracy
            row["val_loss"], row["val_f1"], row["val_accuracy"] = validation
            if best is None or row["val_f1"] > best["best_val_f1"]:  # a tie keeps the earlier epoch
                test = self._rig.test()
                row["test_f1"] = row["best_test_f1"] = test.f1
                row["best_val_f1"], row["best_epoch"] = row["val_f1"], epoch
            self._rig.rate.advance(row["val_f1"])
        row["eval_s"] = time.perf_counter() - started - train_s
        self.epoch = epoch
        self.history.append(row)
        self._trained_on([self.device_name])
        return row

    def save(self, folder: Path) -> None:
        """Make this the state in `folder`, and the weights of its best epoch `best.pt`.

        Call it after any epoch.
        """
        write_state(
            folder,
            {
                "config": canonical_json(self.config.model_dump(mode="json")),
                "digest": self.config.digest,
                "data": self._fingerprint,
                "epoch": self.epoch,
                "history": json.dumps(self.history, allow_nan=False),
                "best": self._best_digest,
                "devices": self.devices,
                **self._rig.state(),
            },
        )
        settle_best(folder, self._best_digest)

    def load(self, folder: Path) -> bool:
        """Take over the state in `folder`; return False, changing nothing, if there is none.

        Raises
        ------
        CheckpointMismatch
            If it belongs to another configuration, data set or version.
        CorruptCheckpoint
            If it and the one before it are damaged.
        """
        state = read_state(folder)
        if state is None:
            settle_best(folder, None)
            return False
        config = canonical_json(self.config.model_dump(mode="json"))
        if state["config"] != config:
            raise CheckpointMismatch(
                f"The checkpoint in {folder} is of another configuration:"
                f" {_difference(json.loads(state['config']), json.loads(config))}."
                " Use these settings, or another folder."
            )
        if state["data"] != self._fingerprint:
            raise CheckpointMismatch(
                f"The checkpoint in {folder} is of other data (fingerprint {state['data'][:12]},"
                f" but got {self._fingerprint[:12]}). Use that data, or another folder."
            )
        self._rig.restore(state)
        self.epoch, self.history = state["epoch"], json.loads(state["history"])
        self._best_digest, self.devices = state["best"], list(state.get("devices", []))
        settle_best(folder, self._best_digest)
        return True

    def key(self, epoch: int) -> str:
        """Return the address of this trial's state after an epoch, as 64 hexadecimal digits.

        Trials of one key have the same state: on a CPU bit for bit. It covers what the state
        depends on (`trainables.lineage`), the data, and the kind of machine and library.
        """
        parts = [FORMAT, self._fingerprint, self._numerics, history_digest(self._facts, epoch)]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()

    @property
    def best_digest(self) -> str | None:
        """SHA-256 of the weights that `save_best` wrote last, or None if there are none yet."""
        return self._best_digest

    @property
    def reproducible(self) -> bool:
        """Whether training it again gives the same bits.

        On a GPU the backward pass of the imagenet stem's max-pooling has no deterministic form.
        """
        return self._device.type == "cpu" or self.config.network.stem == "small"

    def fork(self, state: dict[str, Any]) -> None:
        """Take over the state that another trial had after an epoch which both have in common.

        What differs from then on stays this trial's own: its learning-rate schedule is replayed
        over the epochs taken over, whose rows are marked as shared.

        Parameters
        ----------
        state : dict
            What the other trial's `save` wrote.

        Raises
        ------
        CheckpointMismatch
            If the two do not have that state in common, or this trial is further already.
        """
        epoch, theirs = int(state["epoch"]), TrialConfig.model_validate_json(state["config"])
        facts = lineage(theirs, self.steps_per_epoch)
        alike = history_digest(facts, epoch) == history_digest(self._facts, epoch)
        if not alike or state["data"] != self._fingerprint or epoch <= self.epoch:
            raise CheckpointMismatch(
                f"A state after epoch {epoch} is of another training, and cannot be forked from."
            )
        rows: list[EpochRow] = json.loads(state["history"])
        self._rig.restore_weights(state)
        for row in rows[self.epoch :]:
            self._rig.rate.advance(row["val_f1"])
        self.history += [{**row, "shared": True} for row in rows[self.epoch :]]
        self.epoch, self._best_digest = epoch, state["best"]
        self._trained_on(state.get("devices", []))

    def save_best(self, folder: Path) -> None:
        """Write the weights as they are, which the next `save` makes `best.pt`.

        Call it after an epoch that is the best so far. A kill between the two leaves the weights
        and the state of before, which belong together.
        """
        self._best_digest = write_weights(folder, self.network.state_dict())

    def _divergence(self, epoch: int, trained: Trained, weight_norm: float) -> str | None:
        """Return why the epoch counts as diverged, or None."""
        max_loss = self.config.training.max_loss
        if not math.isfinite(trained.loss):
            return f"training loss was not finite in epoch {epoch}"
        if not math.isfinite(weight_norm):
            return f"weights were not finite after epoch {epoch}"
        if max_loss is not None and trained.loss > max_loss:
            return f"training loss {trained.loss:.4g} exceeded max_loss {max_loss:g}"
        return None

    def _trained_on(self, devices: Sequence[str]) -> None:
        self.devices += [name for name in devices if name not in self.devices]

    def _weights(self) -> Tensor:
        """Return a copy of all weights as one vector (P)."""
        return torch.cat([weight.detach().reshape(-1) for weight in self.network.parameters()])


def _norm(values_P: Tensor) -> float:
    """Return the L2 norm, in double precision: it overflows only if a value is not finite."""
    return float(torch.linalg.vector_norm(values_P, dtype=torch.float64))


def _difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Name the first field in which two configurations differ."""
    for name in sorted(theirs.keys() | ours.keys()):
        old, new = theirs.get(name), ours.get(name)
        if old != new:
            if isinstance(old, dict) and isinstance(new, dict):
                return _difference(old, new)
            return f"{name} is {old!r} there, but {new!r} here"
    raise AssertionError("equal configurations have equal canonical JSON")
