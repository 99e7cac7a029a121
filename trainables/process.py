"""Make a process compute reproducibly, and say on what the bits of its results depend."""

from __future__ import annotations

import os
import platform

import torch


def prepare_process(device: str) -> None:
    """Make this process compute reproducibly, in true fp32, for a `device` such as "cpu".

    `Trial` does this itself; call it earlier where other torch code runs first.
    """
    # Two threads on busy cores were 2 to 3 times slower than one, and sums depend on their number.
    torch.set_num_threads(1)
    # No TF32, in products and convolutions.
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    # With benchmark, cuDNN would choose algorithms by timing them, differently in every process.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's deterministic mode
    # On a CPU this only guards against new nondeterministic operations. On a GPU it would refuse
    # the backward pass of max-pooling, which has no deterministic form.
    # (`use_deterministic_algorithms` does the same, but takes a second to import a compiler.)
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def numerics(device: torch.device) -> list[str]:
    """Return what decides a training's bits beside its own settings: libraries and processor."""
    if device.type == "cuda":
        kind = [torch.cuda.get_device_name(device), str(torch.version.cuda)]
        return [torch.__version__, *kind, str(torch.backends.cudnn.version())]  # type: ignore[no-untyped-call]
    return [torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability()]
