"""Train one trial, epoch by epoch; an epoch is a pure function of state, configuration and seed.

    state_e = epoch(state_{e-1}, configuration, seed, e)

Whatever epoch e draws comes from generators seeded by (seed, e, purpose), so state is weights,
buffers, optimiser, learning-rate schedule and the rows so far, and nothing else. On a CPU,
interrupted and uninterrupted training, in a fresh or a used process, agree bit for bit.
"""

# B batch, C channels, H height, W width (pixels), K classes, P all weights, N images of an epoch

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trainables.batches import (
    DeviceSplit,
    Normaliser,
    augmented,
    draw_augmentation,
    training_order,
    training_statistics,
)
from trainables.config import TrialConfig, canonical_json
from trainables.data.packed import PackedData
from trainables.evaluate import evaluate
from trainables.lineage import history_digest, lineage
from trainables.networks import build_network
from trainables.optimizers import build_optimizer, build_schedule
from trainables.process import numerics, prepare_process
from trainables.rows import EpochRow
from trainables.seeds import derived_seed
from trainables.state import FORMAT, CheckpointMismatch, read_state, write_state, write_weights

CHECK_EVERY = 50
"""Steps between checks that the loss is finite; each waits for the device once."""


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

    Attributes
    ----------
    epoch : int
        Epochs trained so far.
    history : list of EpochRow
        Their rows, JSON-able.
    steps_per_epoch : int
    device_name : str
        "cpu", or what the GPU calls itself.

    Notes
    -----
    After an exception out of `run_epoch` the trial is between two epochs: drop it, or `load`.
    """

    def __init__(
        self, config: TrialConfig, data: PackedData, limit: int | None, device: str = "cpu"
    ) -> None:
        prepare_process(device)
        self.config = config
        self.epoch = 0
        self.history: list[EpochRow] = []
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        self.device_name = torch.cuda.get_device_name(self._device) if on_gpu else device
        self._fingerprint = data.used_fingerprint(limit)
        self._numerics = numerics(self._device)
        self._side, self._num_classes = data.size, len(data.classes)
        self._train_split, self._val_split, self._test_split = (
            DeviceSplit(data.split(name, limit), self._device)
            for name in ("train", "validation", "test")
        )
        self.steps_per_epoch = config.training.steps_per_epoch(len(self._train_split))
        self._facts = lineage(config, self.steps_per_epoch)
        # Measured with one thread of an AMD EPYC (Zen 5), 48 px, batch 64, all arms: channels last
        # trains networks of width 8 and 16 1.2x faster, width 64 as fast.
        layout = torch.contiguous_format if on_gpu else torch.channels_last
        self._normalise = Normaliser(training_statistics(data, limit), self._device, layout)
        torch.manual_seed(
            derived_seed(config.seed, 0, "weights")
        )  # drawn on the CPU for any device
        network = build_network(config.network, config.injection, data.channels, self._num_classes)
        self.network = network.to(self._device, memory_format=layout)  # type: ignore[call-overload]
        self._optimizer = build_optimizer(self.network, config.training)
        self._schedule = build_schedule(self._optimizer, config.training, config.epochs)
        self._best_digest: str | None = None

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
        lr = self._optimizer.param_groups[0]["lr"]
        before_P = self._weights()
        started = time.perf_counter()
        trained = self._train(epoch)
        after_P = self._weights()
        update_norm, weight_norm = _norm(after_P - before_P), _norm(after_P)
        train_s = time.perf_counter() - started
        observed = self.network.injection.epoch_report()
        reason = self._divergence(epoch, trained, weight_norm)
        if reason is None:
            validation = evaluate(self.network, self._val_split, self._normalise, self._num_classes)
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
                test = evaluate(self.network, self._test_split, self._normalise, self._num_classes)
                row["test_f1"] = row["best_test_f1"] = test.f1
                row["best_val_f1"], row["best_epoch"] = row["val_f1"], epoch
            self._step_schedule(row["val_f1"])
        row["eval_s"] = time.perf_counter() - started - train_s
        self.epoch = epoch
        self.history.append(row)
        return row

    def save(self, folder: Path) -> None:
        """Make this the state in `folder`; call it after any epoch."""
        write_state(
            folder,
            {
                "config": canonical_json(self.config.model_dump(mode="json")),
                "digest": self.config.digest,
                "data": self._fingerprint,
                "epoch": self.epoch,
                "history": json.dumps(self.history, allow_nan=False),
                "best": self._best_digest,
                "network": self.network.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict() if self._schedule else None,
            },
        )

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
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])
        self.epoch, self.history = state["epoch"], json.loads(state["history"])
        self._best_digest = state["best"]
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
        """SHA-256 of the `best.pt` that `save_best` wrote last, or None if there is none yet."""
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
        self.network.load_state_dict(state["network"])
        moments = {**self._optimizer.state_dict(), "state": state["optimizer"]["state"]}
        self._optimizer.load_state_dict(moments)
        with warnings.catch_warnings():  # it misses the optimiser's steps, which others made
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            for row in rows[self.epoch :]:
                self._step_schedule(row["val_f1"])
        self.history += [{**row, "shared": True} for row in rows[self.epoch :]]
        self.epoch, self._best_digest = epoch, state["best"]

    def save_best(self, folder: Path) -> None:
        """Write the weights as they are to `best.pt`.

        Call it after an epoch that is the best so far and before `save`: then a kill between the
        two repeats the epoch and writes the same file again.
        """
        self._best_digest = write_weights(folder, self.network.state_dict())

    def _step_schedule(self, val_f1: float) -> None:
        """Advance the learning-rate schedule by an epoch."""
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(val_f1)
        elif self._schedule is not None:
            self._schedule.step()

    def _train(self, epoch: int) -> _Trained:
        """Train one epoch, or until the loss is seen not to be finite."""
        config, network = self.config.training, self.network
        batches = training_order(
            len(self._train_split),
            config.batch_size,
            self.config.seed,
            epoch,
            self._train_split.index_device,
        )
        augmentation = draw_augmentation(
            config.augment,
            sum(map(len, batches)),
            self._side,
            self.config.seed,
            epoch,
            self._device,
        )
        torch.manual_seed(derived_seed(self.config.seed, epoch, "dropout"))
        network.train()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        num_images = 0
        for index, positions_B in enumerate(batches):
            images_BCHW, labels_B = self._train_split.take(positions_B)
            if augmentation is not None:
                how = augmentation.batch(num_images, len(positions_B))
                images_BCHW = augmented(images_BCHW, how)
            network.injection.begin_step((epoch - 1) * self.steps_per_epoch + index + 1, epoch)
            logits_BK = network(self._normalise(images_BCHW))
            loss = cross_entropy(logits_BK, labels_B)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.clip_norm > 0:
                nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            self._optimizer.step()
            network.injection.observe()
            # Sums stay on the device, which therefore never waits for the host.
            loss_sum += loss.detach()
            correct += (logits_BK.detach().argmax(dim=1) == labels_B).sum()
            num_images += len(positions_B)
            if (index + 1) % CHECK_EVERY == 0 and not math.isfinite(loss_sum.item()):
                break
        return _Trained(loss_sum.item() / (index + 1), correct.item() / num_images, num_images)

    def _divergence(self, epoch: int, trained: _Trained, weight_norm: float) -> str | None:
        """Return why the epoch counts as diverged, or None."""
        max_loss = self.config.training.max_loss
        if not math.isfinite(trained.loss):
            return f"training loss was not finite in epoch {epoch}"
        if not math.isfinite(weight_norm):
            return f"weights were not finite after epoch {epoch}"
        if max_loss is not None and trained.loss > max_loss:
            return f"training loss {trained.loss:.4g} exceeded max_loss {max_loss:g}"
        return None

    def _weights(self) -> Tensor:
        """Return a copy of all weights as one vector (P)."""
        return torch.cat([weight.detach().reshape(-1) for weight in self.network.parameters()])


class _Trained(NamedTuple):
    """What an epoch's training steps saw."""

    loss: float
    accuracy: float
    num_images: int


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
