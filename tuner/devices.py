"""Kinds of device that trials ran on: whose seconds may be added up, and whose may not.

A trial's device in the record is what it calls itself, such as "NVIDIA GeForce RTX 3090". "cpu" is
the processor, and "gpu" the GPU, of the machine that the record names. Where a trial was trained
partly on another kind, all are named, in order. A second of one kind is not worth one of another:
seconds are told by kind and never added over kinds. Knows neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

JOIN = " + "
UNKNOWN = "unknown device"
"""Of an attempt that ended before it could say where it ran, among machines of several kinds."""


def kinds(device: str | None) -> tuple[str, ...]:
    """Return the kinds that a trial's device names.

    >>> kinds("NVIDIA A100 + NVIDIA H100")
    ('NVIDIA A100', 'NVIDIA H100')
    """
    return tuple(device.split(JOIN)) if device else ()


def joined(recorded: str | None, epochs: int, device: str) -> str:
    """Return a trial's device once it trains on `device`, too.

    Parameters
    ----------
    recorded : str or None
        What the record has.
    epochs : int
        Epochs that the record has. Before the first, a device is only what was expected.
    device : str

    >>> joined("gpu", 0, "NVIDIA A100"), joined("NVIDIA A100", 3, "NVIDIA H100")
    ('NVIDIA A100', 'NVIDIA A100 + NVIDIA H100')
    """
    known = [kind for kind in kinds(recorded) if epochs or kind == UNKNOWN]
    return JOIN.join(dict.fromkeys([*known, *kinds(device)]))


def named(device: str | None, host: Mapping[str, Any]) -> str | None:
    """Return a trial's device with the names of the recorded machine's own."""
    own = {
        "gpu": (host.get("gpus") or [{}])[0].get("name", "GPU"),
        "cpu": host.get("cpu") or "CPU",
    }
    return JOIN.join(own.get(kind, kind) for kind in kinds(device)) or None


def all_kinds(devices: Iterable[str | None]) -> list[str]:
    """Return every kind that some trials' devices name, in order of first use."""
    return list(dict.fromkeys(kind for device in devices for kind in kinds(device)))


def by_device(seconds: Iterable[tuple[str | None, float]]) -> dict[str, float]:
    """Return (device, seconds) of trials summed by device; None stands for one that is not known.

    >>> by_device([("A", 1.0), ("B", 2.0), ("A", 3.0), ("A + B", 4.0)])
    {'A': 4.0, 'B': 2.0, 'A + B': 4.0}
    """
    found: dict[str, float] = {}
    for device, one in seconds:
        name = device or UNKNOWN
        found[name] = found.get(name, 0.0) + one
    return found
