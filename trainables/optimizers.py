"""The configured optimiser and learning-rate schedule, all of them torch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from trainables.config import TrainingConfig


class WeightOptimizer:
    """The configured optimiser of all weights of a network, AutoReLU's w among them.

    torch's fused kernels of a CPU walk memory as it lies. So torch's optimiser is given each weight
    in its order in memory: those that lie channels last as O×H×W×I, through a view. Otherwise it
    would copy each of their gradients in every step (3 % of a step of width 64), and misread one
    that autograd laid out otherwise.

    Parameters
    ----------
    network : nn.Module
        Its weights must stay where they are.
    config : TrainingConfig

    Attributes
    ----------
    rule : Optimizer
        torch's.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        self._weights = list(network.parameters())
        self._views = [
            weight if weight.is_contiguous() else nn.Parameter(_as_it_lies(weight.detach()))
            for weight in self._weights
        ]
        self.rule = _rule(self._views, config)

    def forget_gradients(self) -> None:
        """Leave no gradient, so that the next backward pass writes and does not add."""
        for weight, view in zip(self._weights, self._views, strict=True):
            weight.grad = view.grad = None

    def step(self) -> None:
        """Change the weights by their gradients."""
        for weight, view in zip(self._weights, self._views, strict=True):
            if view is not weight and weight.grad is not None:
                view.grad = _as_it_lies(weight.grad)
            if view.grad is not None and not view.grad.is_contiguous():
                view.grad = view.grad.contiguous()
        self.rule.step()

    def state(self, lr: float) -> dict[str, Any]:
        """Return torch's state dict, as it would be without views.

        Parameters
        ----------
        lr : float
            The learning rate to tell: a GPU holds it in less than its digits.
        """
        told = self.rule.state_dict()
        moments = {
            index: {name: self._in_weights_order(index, value) for name, value in values.items()}
            for index, values in told["state"].items()
        }
        groups = [{**group, "lr": lr} for group in told["param_groups"]]
        return {"state": moments, "param_groups": groups}

    @torch.no_grad()
    def restore(self, moments: dict[int, dict[str, Any]]) -> None:
        """Take over the moments of a state, in place: a captured graph knows their addresses.

        Parameters
        ----------
        moments : dict
            ``state`` of what `state` returns, on whatever device and in whatever order of memory
            it was saved. What is missing in it is zero, as before the first step.
        """
        if not self.rule.state:
            if not moments:
                return
            zero = {index: _zeros(values, self._views[index]) for index, values in moments.items()}
            self.rule.load_state_dict({**self.rule.state_dict(), "state": zero})
        for index, view in enumerate(self._views):
            given = moments.get(index, {})
            for name, value in self.rule.state[view].items():
                if isinstance(value, Tensor):
                    own, source = self._in_weights_order(index, value), given.get(name)
                    own.zero_() if source is None else own.copy_(source)

    def _in_weights_order(self, index: int, value: Any) -> Any:
        """Return a moment seen as its weight is; other values as they are."""
        seen_as_it_lies = self._views[index] is not self._weights[index]
        if seen_as_it_lies and isinstance(value, Tensor) and value.ndim == 4:
            return value.permute(0, 3, 1, 2)
        return value


def _as_it_lies(weight: Tensor) -> Tensor:
    """Return a view of a channels-last tensor in its order in memory."""
    return weight.permute(0, 2, 3, 1)


def _zeros(values: dict[str, Any], view: Tensor) -> dict[str, Any]:
    """Return what to load so that the optimiser makes memory of its own for these moments."""
    return {
        name: torch.zeros_like(view if value.ndim else value)
        if isinstance(value, Tensor)
        else value
        for name, value in values.items()
    }


def _rule(weights: list[nn.Parameter], config: TrainingConfig) -> Optimizer:
    """Return torch's optimiser.

    On a GPU its learning rate is a tensor there, and Adam counts its steps there, so that a step
    can be captured as a CUDA graph.
    """
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


class LearningRate:
    """An optimiser's learning rate, moved from epoch to epoch by one of torch's schedulers.

    The scheduler acts on a stand-in of one weight, because the rate of a captured optimiser must
    stay one tensor.
    """

    def __init__(self, rule: Optimizer, config: TrainingConfig, epochs: int) -> None:
        self._rule = rule
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
        (group,) = self._rule.param_groups
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
