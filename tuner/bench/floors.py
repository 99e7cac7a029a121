"""What bounds a training step on a device: its arithmetic, and on a GPU the number of kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode

from trainables.config import Precision
from trainables.rig import Rig
from trainables.small_maps import Geometry, share_inside

SIDE = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices whose product shows the device's pace."""
SMALL_KERNELS = 1000
REPEATS = 5


def floors(rig: Rig, precision: Precision) -> dict[str, Any]:
    """Return what a step of a rig would take if nothing but its bounds counted.

    Returns
    -------
    dict
        ``flop``: floating-point operations of a step's products and convolutions, forward and
        backward, but none with a map's padding; ``flop_per_s``: the fastest of a few large matrix
        products here, in the same precision; ``arithmetic_s``: their quotient. On a GPU also
        ``kernels`` (of a step, launched one by one), ``kernel_s`` (of one that does next to
        nothing, within a graph) and ``launch_s``, their product.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_NEEDED)
    with counter:
        rig.train_once()
    flop, pace = counter.get_total_flops(), _matrix_pace(rig.device, precision)
    found: dict[str, Any] = {"flop": flop, "flop_per_s": pace, "arithmetic_s": flop / pace}
    if rig.device.type == "cuda":
        kernels, kernel_s = _kernels_of(rig.train_once), _kernel_seconds(rig.device)
        found |= {"kernels": kernels, "kernel_s": kernel_s, "launch_s": kernels * kernel_s}
    return found


def _share_inside(x_BCHW: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> float:
    height, width = x_BCHW.shape[2:]
    return share_inside(Geometry(height, width, weight.shape[2], stride[0], padding[0]))


def _forward(*arguments: Any, out_val: Any) -> int:
    x_BCHW, weight, _, stride, padding = arguments[:5]
    whole = flop_counter.conv_flop(*arguments, out_val=out_val)
    return round(_share_inside(x_BCHW, weight, stride, padding) * whole)


def _backward(*arguments: Any, out_val: Any) -> int:
    x_BCHW, weight, _, stride, padding = arguments[1:6]
    whole = flop_counter.conv_backward_flop(*arguments, out_val=out_val)
    return round(_share_inside(x_BCHW, weight, stride, padding) * whole)


def _added_product(_: Tensor, left: Tensor, right: Tensor, **__: Any) -> int:
    return 2 * left.shape[0] * left.shape[1] * right.shape[1]


for _formula in (_forward, _backward, _added_product):
    _formula.__dict__["_get_raw"] = True  # torch's word for: tensors, not shapes
_NEEDED = {
    torch.ops.aten.convolution: _forward,
    torch.ops.aten.convolution_backward: _backward,
    torch.ops.aten.addmm_: _added_product,
}
"""What torch counts otherwise, or not at all."""


def _matrix_pace(device: torch.device, precision: Precision) -> float:
    """Return floating-point operations per second of a large matrix product."""
    side = SIDE[device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(REPEATS):
        _wait(device)
        started = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds)


def _kernels_of(step: Callable[[], None]) -> int:
    """Return how many kernels and copies a step launches."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    on_gpu = torch.autograd.DeviceType.CUDA  # type: ignore[attr-defined]
    return sum(event.device_type == on_gpu for event in profiler.events() or ())


def _kernel_seconds(device: torch.device) -> float:
    """Return the time of one small kernel among many in a graph."""
    number = torch.zeros((), device=device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(SMALL_KERNELS):
            number += 1
    seconds = []
    for _ in range(REPEATS):
        _wait(device)
        started = time.perf_counter()
        graph.replay()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds) / SMALL_KERNELS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
