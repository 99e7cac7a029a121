"""The controller of injection: sets the sign or the AutoReLU weights before each step, and reports.

Periodic injection multiplies features by a sign that is a tensor, so that a captured CUDA graph
serves clean and injected steps alike. While the sign is +1 the network computes, bit for bit, what
the network without injection computes. What is observed is accumulated on the device and read once
per epoch. Nothing here outlives an epoch, so a checkpoint needs none of it.
"""

# U AutoReLU units

from __future__ import annotations

import math
from typing import TypedDict

import torch
from torch import Tensor, nn

from trainables.autorelu import FLOOR, AutoReLU
from trainables.config import InjectionConfig
from trainables.schedule import injects


class UnitReport(TypedDict):
    """One AutoReLU unit over an epoch."""

    unit: str
    """Name of the batch normalisation before the unit, such as `layer1.0.bn1`."""
    w: float | None
    """Mean of the unit's w at the epoch's end; None if it is not finite."""
    sign: int
    """+1, or −1 where that mean is negative."""
    injecting: float
    """Share of the epoch's training steps in which the unit's w, as used, was negative."""
    floor_hits: int
    """Training steps in which |w|, as used, was below `FLOOR`."""


class EpochReport(TypedDict):
    """What injection did in an epoch's training steps."""

    injected_share: float
    """Periodic: share of steps with sign −1. Dynamic: mean of `injecting` over the units."""
    units: list[UnitReport]
    """Empty unless the method is dynamic."""


class Injection(nn.Module):
    """When features flip. One per network; the network's blocks say where.

    Parameters
    ----------
    config : InjectionConfig
    units : dict of str to AutoReLU
        The network's AutoReLU units by name; empty unless the method is dynamic.
    """

    sign: Tensor
    """+1 or −1, a 0-d tensor: the factor of features after the chosen batch normalisations."""
    _used_U: Tensor
    _negative_U: Tensor
    _floored_U: Tensor

    def __init__(self, config: InjectionConfig, units: dict[str, AutoReLU]) -> None:
        super().__init__()
        self._names = list(units)
        self._units = list(units.values())  # a plain list: the blocks own these modules
        for name, value in {
            "sign": torch.ones(()),
            "_used_U": torch.ones(len(units)),
            "_negative_U": torch.zeros(len(units), dtype=torch.int64),
            "_floored_U": torch.zeros(len(units), dtype=torch.int64),
        }.items():
            self.register_buffer(name, value, persistent=False)
        self.start(config)

    def start(self, config: InjectionConfig) -> None:
        """Prepare for a trial whose injection has other values, such as T, in the same places.

        What lies in buffers is set by whoever sets the network's.
        """
        self.config = config
        self._num_steps = 0
        self._num_injected = 0
        self._injecting = False

    def begin_step(self, step: int, epoch: int) -> None:
        """Count a training step and, in the periodic method, set its sign by Algorithm 1.

        It is the host's part of a step, before the forward or the replay of a captured one, and
        does not wait for the device.

        Parameters
        ----------
        step : int
            Optimiser step since the start of training, from 1.
        epoch : int
            Epoch, from 1.
        """
        if self.config.method == "periodic":
            assert self.config.T is not None  # TrialConfig checks it
            position = epoch if self.config.interval_unit == "epoch" else step
            self._injecting = injects(position, self.config.T)
            self.sign.fill_(-1.0 if self._injecting else 1.0)
        elif self.config.method == "dynamic":
            self._set_clean(False)
        self._num_steps += 1
        self._num_injected += self._injecting

    def begin_evaluation(self) -> None:
        """Prepare for validation or test; the next `begin_step` undoes it. Changes no weight."""
        clean = self.config.evaluated == "clean"
        if self.config.method == "periodic" and clean:
            self.sign.fill_(1.0)
        elif self.config.method == "dynamic":
            self._set_clean(clean)

    @torch.no_grad()
    def begin_forward(self) -> None:
        """Set every w to its mean (paper section 3.2.1, step 2), and count which are negative.

        It is the device's part of a training step; the network's forward calls it.
        """
        if not self._units:
            return
        weights: list[Tensor] = [unit.w for unit in self._units]
        if self.config.w_mean == "network":  # over all values, so wide units count for more
            self._used_U.copy_(torch.cat(weights).mean())
        else:
            self._used_U.copy_(torch.stack([w.mean() for w in weights]))
        for w, mean in zip(weights, self._used_U, strict=True):
            w.copy_(mean)
        self._negative_U += self._used_U < 0
        self._floored_U += self._used_U.abs() < FLOOR

    def epoch_report(self) -> EpochReport:
        """Return what was observed since the last report, and start anew. Waits for the device."""
        steps = max(1, self._num_steps)
        units: list[UnitReport] = []
        if self._units:
            w = torch.stack([unit.w.detach().mean() for unit in self._units]).tolist()
            negative, floored = self._negative_U.tolist(), self._floored_U.tolist()
            for index, name in enumerate(self._names):
                units.append(
                    {
                        "unit": name,
                        "w": w[index] if math.isfinite(w[index]) else None,
                        "sign": -1 if w[index] < 0 else 1,
                        "injecting": negative[index] / steps,
                        "floor_hits": floored[index],
                    }
                )
        share = (
            sum(unit["injecting"] for unit in units) / len(units)
            if units
            else self._num_injected / steps
        )
        self._negative_U.zero_()
        self._floored_U.zero_()
        self._num_steps = self._num_injected = 0
        return {"injected_share": share, "units": units}

    def _set_clean(self, clean: bool) -> None:
        for unit in self._units:
            unit.clean = clean
