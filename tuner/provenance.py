"""Where a run's numbers come from: versions, machine, source revision. Imports no torch or ray."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from trainables.processor import processor_name

PACKAGES = (
    "tuner", "torch", "torchvision", "ray", "optuna", "pydantic", "numpy", "pillow", "tensorboardX",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that can change a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def host() -> dict[str, Any]:
    """Return what the machine is: name, system, processor, cores, memory in bytes, GPUs."""
    return {
        "hostname": platform.node(),
        "system": platform.platform(),
        "cpu": processor_name(),
        "cpu_cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, str]]:
    """Return name, memory (MiB) and driver of each NVIDIA GPU, as nvidia-smi tells them."""
    if shutil.which("nvidia-smi") is None:
        return []
    names = ("name", "memory.total", "driver_version")
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in text.stdout.splitlines() if line.strip()]
    return [
        dict(zip(names, (part.strip() for part in line.split(",")), strict=True)) for line in lines
    ]


def git_revision() -> str | None:
    """Return this source's git commit, with ``+changes`` if files differ from it, or None."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return result.stdout.strip()


@functools.cache
def source_digest() -> str:
    """Return a digest of this program's own code, which one version number may not tell apart."""
    root, digest = Path(__file__).resolve().parent.parent, hashlib.sha256()
    for package in ("reports", "search_spaces", "trainables", "tuner"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)} ".encode() + path.read_bytes())
    return digest.hexdigest()
