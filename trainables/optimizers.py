"""The configured optimiser and learning-rate schedule, all of them torch's own."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from trainables.config import TrainingConfig


def build_optimizer(network: nn.Module, config: TrainingConfig) -> Optimizer:
    """Return the configured optimiser over all weights, AutoReLU's w among them."""
    weights = network.parameters()
    # Fused: the same formulas in one pass over the weights instead of ten. With one thread and
    # width 8 a step of Adam takes 0.34 ms instead of 1.33 ms, 7 % of the training step.
    if config.optimizer == "sgd":
        return SGD(
            weights,
            config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    kind = Adam if config.optimizer == "adam" else AdamW
    return kind(
        weights,
        config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )


def build_schedule(
    optimizer: Optimizer, config: TrainingConfig, epochs: int
) -> LRScheduler | ReduceLROnPlateau | None:
    """Return the configured schedule, to be advanced once per epoch; None if there is none."""
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=epochs)
    if config.schedule == "step":
        return StepLR(optimizer, config.schedule_step, config.schedule_factor)
    if config.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer,
            mode="max",
            factor=config.schedule_factor,
            patience=config.schedule_step - 1,  # torch reduces after one more than `patience`
            threshold=0.0,
            eps=0.0,
        )
    return None
