"""Make a process compute reproducibly, and say on what the bits of its results depend."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from search_spaces.model import UserError
from trainables.config import Precision

ORDER_OF_SUMS = "small maps"
"""Named anew when our own code begins to sum in another order: states of before are not shared."""


def prepare_process(device: str, precision: Precision = "fp32") -> None:
    """Make this process compute reproducibly, for a `device` such as "cpu".

    `Trial` does this itself; call it earlier where other torch code runs first. With `bf16` the
    rest, such as the optimiser, stays in true fp32; see `autocast`.
    """
    if precision == "tf32" and device == "cpu":
        raise UserError("precision tf32 needs a GPU, but the device is cpu; use fp32.")
    # Two threads on busy cores were 2 to 3 times slower than one, and sums depend on their number.
    torch.set_num_threads(1)
    set_precision(precision)
    # With benchmark, cuDNN would choose algorithms by timing them, differently in every process.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's deterministic mode
    # On a CPU this only guards against new nondeterministic operations. On a GPU it would refuse
    # the backward pass of max-pooling, which has no deterministic form.
    # (`use_deterministic_algorithms` does the same, but takes a second to import a compiler.)
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def set_precision(precision: Precision) -> None:
    """Compute fp32 products and convolutions in TF32 if that is asked for, and else in true fp32.

    Each library is told by itself, because up to torch 2.12 cuDNN's convolutions do not heed the
    switch for all (pytorch#179445).
    """
    chosen = "tf32" if precision == "tf32" else "ieee"
    backends: Any = torch.backends
    for switch in (backends, backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
        switch.fp32_precision = chosen


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context of a forward pass and its loss; without `bf16` it changes nothing."""
    return torch.autocast(
        device.type,
        torch.bfloat16,
        enabled=precision == "bf16",
        cache_enabled=False,  # a captured graph must cast the weights anew in every replay
    )


def numerics(device: torch.device) -> list[str]:
    """Return what decides a training's bits beside its own settings: code and processor."""
    if device.type == "cuda":
        kind = [torch.cuda.get_device_name(device), str(torch.version.cuda)]
        return [torch.__version__, *kind, str(torch.backends.cudnn.version())]  # type: ignore[no-untyped-call]
    processor = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return [torch.__version__, *processor, ORDER_OF_SUMS]
