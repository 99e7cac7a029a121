"""A data set and configurations so small that training an epoch takes milliseconds."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.config import TrialConfig, with_knobs
from trainables.data.packed import PackedData, write_meta
from trainables.rows import EpochRow
from trainables.train import Trial

CLASSES = ("dark", "middle", "bright")
SPLITS = {"train": (0, 34), "validation": (34, 58), "test": (58, 82)}
SIDE = 16
TIMES = ("train_s", "eval_s", "images_per_s")
SHARED = ("shared",)
TINY = {"width": 1, "stem": "small", "batch_size": 8, "lr": 0.01, "epochs": 4}
"""Four steps an epoch, the last two images dropped."""


def tiny_trial(data: PackedData, **knobs: Any) -> Trial:
    """Return a fresh trial on the whole data set."""
    return Trial(tiny_config(**knobs), data, None)


def tiny_config(**knobs: Any) -> TrialConfig:
    """Return a small configuration with some fields replaced."""
    return with_knobs(TrialConfig(), {**TINY, **knobs}, "test")


def trained(trial: Trial) -> Trial:
    """Train to the end, with the global generator disturbed before every epoch."""
    while not trial.finished:
        torch.manual_seed(os.getpid() + trial.epoch)
        trial.run_epoch()
    return trial


def without_times(rows: list[EpochRow]) -> list[dict[str, Any]]:
    """Return rows as they must agree between two trainings."""
    return [{name: row[name] for name in row if name not in TIMES + SHARED} for row in rows]  # type: ignore[literal-required]


def digest_of(trial: Trial) -> str:
    """Return a digest of every bit of the weights, buffers and optimiser state."""
    parts = [trial.network.state_dict(), trial._rig.state()["optimizer"]["state"]]
    tensors = [
        (name, inner, tensor)
        for part in parts
        for name, value in part.items()
        for inner, tensor in (value.items() if isinstance(value, dict) else [("", value)])
    ]
    result = hashlib.sha256()
    for name, inner, tensor in tensors:
        result.update(f"{name} {inner} {tuple(tensor.shape)} {tensor.dtype}".encode())
        result.update(torch.as_tensor(tensor).contiguous().numpy().tobytes())
    return result.hexdigest()


def write_tiny_data(folder: Path, seed: int = 0) -> PackedData:
    """Pack gray images whose brightness tells the class, through noise, and open them."""
    source = np.random.default_rng(seed)
    labels_N = np.arange(SPLITS["test"][1]) % len(CLASSES)
    noise_NCHW = source.normal(0, 30, (len(labels_N), 1, SIDE, SIDE))
    images_NCHW = (noise_NCHW + 88 + 40 * labels_N[:, None, None, None]).clip(0, 255)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images_NCHW.astype(np.uint8))
    np.save(folder / "labels.npy", labels_N.astype(np.int64))
    return write_meta(folder, "tiny", CLASSES, SPLITS, provenance={})
