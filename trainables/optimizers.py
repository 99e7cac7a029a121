"""The configured optimiser and learning-rate schedule, all of them torch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from trainables.config import TrainingConfig


def build_optimizer(network: nn.Module, config: TrainingConfig) -> Optimizer:
    """Return the configured optimiser over all weights, AutoReLU's w among them.

    On a GPU its learning rate is a tensor there, and Adam counts its steps there, so that a step
    can be captured as a CUDA graph.
    """
    weights = list(network.parameters())
    on_gpu = weights[0].device.type == "cuda"
    lr = torch.tensor(config.lr, device=weights[0].device) if on_gpu else config.lr
    # Fused: the same formulas in one pass over the weights instead of ten. With one thread and
    # width 8 a step of Adam takes 0.34 ms instead of 1.33 ms, 7 % of the training step.
    if config.optimizer == "sgd":
        return SGD(
            weights,
            lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    kind = Adam if config.optimizer == "adam" else AdamW
    return kind(
        weights,
        lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
        capturable=on_gpu,
    )


def optimizer_state(optimizer: Optimizer, lr: float) -> dict[str, Any]:
    """Return an optimiser's state dict; `lr` is told, as a GPU holds it in less than its digits."""
    state = optimizer.state_dict()
    groups = [{**group, "lr": lr} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


@torch.no_grad()
def restore_moments(optimizer: Optimizer, moments: dict[int, dict[str, Any]]) -> None:
    """Take over another optimiser's moments, in place: a captured graph knows their addresses.

    Parameters
    ----------
    optimizer : Optimizer
    moments : dict
        ``state`` of a state dict: by weight, in the order of the network's. What is missing in it
        is zero, as before the first step.
    """
    (group,) = optimizer.param_groups
    if not optimizer.state:
        if moments:
            own = optimizer.state_dict()
            optimizer.load_state_dict({**own, "state": moments})
            # It keeps the order in memory that they were saved in, such as a GPU's, but fused
            # kernels of a CPU take it for the weight's own.
            for weight in group["params"]:
                for name, value in optimizer.state[weight].items():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        optimizer.state[weight][name] = torch.empty_like(weight).copy_(value)
        return
    for index, weight in enumerate(group["params"]):
        given = moments.get(index, {})
        for name, value in optimizer.state[weight].items():
            if isinstance(value, Tensor):
                source = given.get(name)
                value.zero_() if source is None else value.copy_(source)


class LearningRate:
    """An optimiser's learning rate, moved from epoch to epoch by one of torch's schedulers.

    The scheduler acts on a stand-in of one weight, because the rate of a captured optimiser must
    stay one tensor.
    """

    def __init__(self, optimizer: Optimizer, config: TrainingConfig, epochs: int) -> None:
        self._optimizer = optimizer
        self._stand_in = SGD([nn.Parameter(torch.zeros(()))], config.lr)
        self._schedule = build_schedule(self._stand_in, config, epochs)
        self._stand_in.step()  # or the scheduler warns that it is called before its optimiser
        self._apply()

    @property
    def value(self) -> float:
        """The rate of the next epoch."""
        return float(self._stand_in.param_groups[0]["lr"])

    def advance(self, val_f1: float) -> None:
        """Move on by an epoch, whose validation F1 this was."""
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(val_f1)
        elif self._schedule is not None:
            self._schedule.step()
        self._apply()

    def state_dict(self) -> dict[str, Any] | None:
        """Return the scheduler's state; None if there is no scheduler."""
        return None if self._schedule is None else self._schedule.state_dict()

    def restore(self, value: float, state: dict[str, Any] | None) -> None:
        """Continue at a rate, and from a scheduler's state."""
        if self._schedule is not None and state is not None:
            self._schedule.load_state_dict(state)
        self._stand_in.param_groups[0]["lr"] = value
        self._apply()

    def _apply(self) -> None:
        (group,) = self._optimizer.param_groups
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(self.value)
        else:
            group["lr"] = self.value


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
