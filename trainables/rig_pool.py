"""The rigs that a worker's process keeps between trials.

A rig is built for a *shape*: everything that decides which operations run on how much memory. What
may differ between two trials of one shape, such as T, Constant, w_init, learning rate and seed, are
values in its memory. On a GPU, building one means capturing CUDA graphs, which takes longer than
many an epoch. No state survives: `Rig.start` makes every bit as it would be in a new one.
"""

from __future__ import annotations

import gc
from collections import OrderedDict

import torch

from trainables.config import TrialConfig, canonical_json
from trainables.data.packed import PackedData
from trainables.feed import DeviceData
from trainables.rig import Rig

VALUES = {
    "injection": {"T", "interval_unit", "Constant", "w_init"},
    "training": {"lr", "schedule", "schedule_step", "schedule_factor", "max_loss"},
}
"""Fields of `TrialConfig` that are values in a rig's memory, or matter to the host alone."""
KEPT = {"cpu": 1, "cuda": 4}
"""Rigs that a worker has at most, the one in use included: one for each position of a ResNet-18."""
FREE_SHARE = 0.25
"""Of a GPU's memory: where less is free, a worker keeps the rig that it used last, and no other."""

_idle: OrderedDict[str, Rig] = OrderedDict()
_data: dict[tuple[str, str], DeviceData] = {}


def lease(
    config: TrialConfig, data: PackedData, limit: int | None, device: torch.device, graphs: bool
) -> Rig:
    """Return a rig started for a trial: an idle one of its shape, or a new one."""
    fingerprint = data.used_fingerprint(limit)
    shape = _shape(config, fingerprint, device, graphs)
    if shape in _idle:
        rig = _idle.pop(shape)
        rig.start(config)
        return rig
    key = fingerprint, str(device)
    if key not in _data:  # a worker trains on one data set
        drop_idle()
        _data.clear()
    _drop_all_but(KEPT[device.type] - 1)

    def build() -> Rig:
        if key not in _data:
            _data[key] = DeviceData(data, limit, device)
        return Rig(config, _data[key], graphs, shape)

    try:
        return build()
    except RuntimeError:  # CUDA's libraries have many words for being out of memory
        if device.type == "cpu" or not _idle:
            gc.collect()  # the half-built rig refers to itself
            raise
    drop_idle()
    return build()


def share_gpu() -> None:
    """Keep one rig only, since other trials hold the same GPU and need its memory."""
    KEPT["cuda"] = 1


def give_back(rig: Rig) -> None:
    """Keep a rig for the next trial of its shape; its trial may not use it any more."""
    _idle[rig.shape] = rig
    most = KEPT[rig.device.type]
    if rig.device.type == "cuda":
        free_bytes, total_bytes = torch.cuda.mem_get_info(rig.device)
        if free_bytes < FREE_SHARE * total_bytes:
            most = 1
    _drop_all_but(most)


def drop_idle() -> None:
    """Free what is kept for later trials."""
    _drop_all_but(0)
    gc.collect()


def _drop_all_but(count: int) -> None:
    """Free the rigs that were used longest ago."""
    if len(_idle) <= count:
        return
    while len(_idle) > count:
        _idle.popitem(last=False)[1].close()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _shape(config: TrialConfig, fingerprint: str, device: torch.device, graphs: bool) -> str:
    values = config.model_dump(mode="json")
    sections = {
        name: {k: v for k, v in values[name].items() if k not in VALUES.get(name, ())}
        for name in ("network", "injection", "training")
    }
    return canonical_json([sections, fingerprint, str(device), graphs])
