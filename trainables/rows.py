"""What is kept of an epoch: plain values that survive JSON unchanged, None where there is none."""

from __future__ import annotations

from typing import Any, TypedDict


class EpochRow(TypedDict):
    """One epoch of one trial. Only the times differ between two trainings on a CPU."""

    epoch: int
    """From 1."""
    train_loss: float | None
    """Mean cross-entropy over the epoch's training steps, as trained (injected, with dropout)."""
    train_accuracy: float | None
    """Share of the epoch's training images predicted right, as trained."""
    val_loss: float | None
    """Mean cross-entropy over the validation split."""
    val_f1: float
    """Macro-F1 of the validation split; 0 in a diverged epoch."""
    val_accuracy: float | None
    """Accuracy on the validation split."""
    test_f1: float | None
    """Macro-F1 of the test split, in epochs whose `val_f1` was the trial's best so far."""
    best_val_f1: float
    """The trial's score so far: the largest `val_f1`."""
    best_epoch: int | None
    """The earliest epoch with that score; None if the first epoch diverged."""
    best_test_f1: float | None
    """`test_f1` of that epoch."""
    lr: float
    """Learning rate of the epoch."""
    update_norm: float | None
    """L2 norm of the change of all weights over the epoch."""
    weight_norm: float | None
    """L2 norm of all weights after the epoch."""
    injected_share: float
    """Share of the epoch's steps that were injected (dynamic: mean over the units)."""
    units: list[dict[str, Any]]
    """One entry per AutoReLU unit: see `trainables.injection.UnitReport`."""
    diverged: bool
    """Whether training ended here because it diverged."""
    reason: str | None
    """Why it counts as diverged."""
    shared: bool
    """Whether another trial computed it, and this one took it over from a trunk."""
    train_s: float
    """Seconds of training."""
    eval_s: float
    """Seconds of evaluation."""
    images_per_s: float
    """Training images per second of training."""
