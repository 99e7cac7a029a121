"""CliffReLU and AutoReLU, the activations of dynamic injection (paper section 3.2.1).

AutoReLU is y = CliffReLU(x·w) / |w|. Where 0 < x·w < Constant it is y = x·sign(w): w > 0 acts like
a ReLU that drops large values, w < 0 passes the negative features with their sign flipped, which is
the injection. Between those edges y does not depend on |w|, so the true gradient of w is zero.

The formula is written as the paper prints it and left to autograd. Its backward pass subtracts two
nearly equal sums, and the rounding error that remains is what Adam sees as the gradient of w
(docs/method.md). Fusing, reordering or simplifying these operations would change the method.
"""

# B batch, C channels, H height, W width (pixels)

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

FLOOR = 1e-12
"""Smallest |w| that divides. Far below the step of any optimiser (1e-5 and more), so that it acts
only to avert a NaN; far above 1e-38, so that neither x·w nor its derivative x/|w| leaves fp32."""


def cliff_relu(x: Tensor, Constant: float | Tensor) -> Tensor:
    """Return x where 0 < x < Constant, else 0 (equation 1); NaN stays NaN, as in ReLU.

    >>> cliff_relu(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]), 1.0)
    tensor([0.0000, 0.0000, 0.5000, 0.0000, 0.0000])
    """
    return torch.where((x <= 0) | (x >= Constant), 0.0, x)


def floored(w: Tensor) -> Tensor:
    """Return w with |w| at least `FLOOR` and the sign kept; both zeros count as positive."""
    return torch.where(w.abs() < FLOOR, torch.where(w < 0, -FLOOR, FLOOR), w)


class AutoReLU(nn.Module):
    """CliffReLU(x·w) / |w| with a learned w.

    Parameters
    ----------
    num_weights : int
        Values of w: the number of channels of the input, or 1 for a w common to all channels.
    Constant : float
        Upper edge of CliffReLU.
    w_init : float
        Initial value of every w, in (0, 1). Nothing is drawn from a random generator.
    divide_by : "abs_w" or "w"
        "divided by absolute value of w" (text and Figure 2d), or / w (as equation 2 prints it).
    gradient : "autograd" or "exact"
        `exact` computes the same output but gives w its true gradient, 0. It stays a gradient, so
        that an optimiser's weight decay acts on w.
    """

    Constant: Tensor
    """0-d, so that a captured graph serves every value."""

    def __init__(
        self,
        num_weights: int,
        Constant: float,
        w_init: float,
        divide_by: Literal["abs_w", "w"],
        gradient: Literal["autograd", "exact"],
    ) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((num_weights,), w_init))
        self.register_buffer("Constant", torch.tensor(Constant), persistent=False)
        self.divide_by = divide_by
        self.gradient = gradient
        self.clean = False
        """Compute with |w|: no injection."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        w: Tensor = _ZeroGradient.apply(self.w) if self.gradient == "exact" else self.w
        w = floored(w.abs() if self.clean else w).view(-1, 1, 1)
        divisor = w.abs() if self.divide_by == "abs_w" else w
        return cliff_relu(x_BCHW * w, self.Constant) / divisor

    def extra_repr(self) -> str:
        return f"{self.w.numel()}, Constant={self.Constant.item():g}, divide_by={self.divide_by}"


class _ZeroGradient(torch.autograd.Function):
    """The identity, with a derivative of 0 rather than none at all."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return w.view_as(w)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.zeros_like(gradients[0])
