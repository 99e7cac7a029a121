"""What `tuner bench` measures, as plain values: one trial, many trials, a whole search."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from trainables.config import TrialConfig, with_knobs
from tuner.bench.overhead import watch
from tuner.bench.pace import Rate, SideBySide, in_turns, side_by_side
from tuner.bench.worker import Job, Kind
from tuner.cli.options import cores

BATCH_SIZE = 64
REFERENCE = {
    "cpu": ("the quick preset's", 12 * 23 * BATCH_SIZE),
    "cuda": ("60 epochs of FER2013", 60 * 448 * BATCH_SIZE),
}
"""By device, a trial in whose number per hour a pace is told, and the images it trains on."""


class Case(NamedTuple):
    """A network and images to train it on."""

    title: str
    knobs: dict[str, Any]
    size: int
    """Side of the images, in pixels."""
    steps: int
    """Steps timed at once."""


def cases(device: str, quick: bool) -> list[Case]:
    """Return what is measured on a device."""
    if device == "cpu":
        found = [
            Case("ResNet-18, width 8, 48 px", {"width": 8}, 48, 8 if quick else 23),
            Case("ResNet-18, width 64, 48 px", {"width": 64}, 48, 8),
        ]
        return found[:1] if quick else found
    found = []
    for size, steps in ((48, 100), (224, 20)):
        for precision in ("fp32", "tf32", "bf16"):
            title = f"ResNet-18, width 64, {size} px, {precision}"
            found.append(Case(title, {"width": 64, "precision": precision}, size, steps))
    return found[:1] if quick else found


def job(case: Case, kind: Kind, device: str, cache: Path, **more: Any) -> Job:
    """Return a worker's job for a case."""
    knobs = {"stem": "imagenet", "batch_size": BATCH_SIZE, **case.knobs}
    trial = with_knobs(TrialConfig(), knobs, "tuner bench").model_dump(mode="json")
    images = max(14, case.steps * BATCH_SIZE)
    data = {"size": case.size, "synthetic_train": images, "synthetic_eval": 14}
    return Job(kind, trial, data, str(cache), case.steps, device, **more)


def one_trial(case: Case, device: str, cache: Path, quick: bool) -> dict[str, Any]:
    """Return the pace of the plain loop and of ours, in turns, and the share of the floor."""
    loaders = 0 if device == "cpu" else min(8, cores())
    ways = [job(case, "plain", device, cache, loaders=loaders), job(case, "ours", device, cache)]
    if device != "cpu":
        ways.append(job(case, "eager", device, cache))
    rates, told = in_turns(ways, repeats=3 if quick else 5)
    plain, ours, *eager = rates
    floor = told[1]
    step_s = BATCH_SIZE / ours.median
    bound_s = max(floor["arithmetic_s"], floor.get("launch_s", 0.0))
    return {
        "case": case.title,
        "device": device,
        "plain_images_per_s": plain._asdict(),
        "ours_images_per_s": ours._asdict(),
        **({"eager_images_per_s": eager[0]._asdict()} if eager else {}),
        "plain_ms_per_step": 1000 * BATCH_SIZE / plain.median,
        "ours_ms_per_step": 1000 * step_s,
        "images_per_s_ratio": ours.median / plain.median,
        "floor_ms_per_step": 1000 * bound_s,
        "floor_share": bound_s / step_s,
        "floor": floor,
    }


def whole_machine(case: Case, cache: Path) -> dict[str, Any]:
    """Return the pace per core where every core of a CPU is busy.

    The plain loop gets the machine to itself, with torch's own number of threads, and with or
    without processes that load, whichever is faster; ours trains one trial a core.
    """
    count, seconds, repeats = cores(), 5.0, 5
    plain: list[Rate] = []
    for loaders in (0, count):
        alone = job(case, "plain", "cpu", cache, threads=None, loaders=loaders)
        plain.append(side_by_side(alone, 1, seconds, repeats).rate)
    best = max(plain)
    ours = side_by_side(job(case, "ours", "cpu", cache), count, seconds, repeats).rate
    return {
        "case": case.title,
        "cores": count,
        "plain_images_per_s_per_core": best.median / count,
        "ours_images_per_s_per_core": ours.median / count,
        "images_per_s_per_core_ratio": ours.median / best.median,
    }


def many_trials(case: Case, device: str, cache: Path, quick: bool) -> list[dict[str, Any]]:
    """Return the pace of 1, 2, 4 and 8 trials that share a GPU, or the cores of a CPU."""
    most = min(8, cores())
    name, images = REFERENCE["cpu" if device == "cpu" else "cuda"]
    rows: list[dict[str, Any]] = []
    for count in (1, 2, 4, 8):
        if count > most:
            break
        found = trials_at_once(case, device, cache, count, quick)
        rows.append(
            {
                "trials_at_once": count,
                "images_per_s": found.rate._asdict(),
                "trials_per_hour": 3600 * found.rate.median / images,
                "trial": name,
                "used_bytes": found.used_bytes,
                "mps": mps_runs() if device != "cpu" else None,
            }
        )
        rows[-1]["one_trial_ratio"] = found.rate.median / rows[0]["images_per_s"]["median"]
    return rows


def trials_at_once(case: Case, device: str, cache: Path, count: int, quick: bool) -> SideBySide:
    """Time so many trials side by side."""
    seconds, repeats = (1.0, 2) if quick else (5.0, 3)
    return side_by_side(job(case, "ours", device, cache), count, seconds, repeats)


def a_search(cache: Path, quick: bool) -> dict[str, Any]:
    """Return what a search costs beside training, how it starts, and what its driver uses."""
    trials, epochs = (4, 4) if quick else (10, 18)
    arguments = [
        "--space", "baseline", "--trials", str(trials), "--epochs", str(epochs), "--no-share",
        "--scheduler", "none", "--cache", str(cache),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        found = watch(arguments, Path(folder), "search")
    return {
        "command": "tuner run " + " ".join(arguments[:-2]),
        "to_first_step_s": found.to_first_step_s,
        "start_s": found.start_s,
        "overhead": asdict(found.overhead) if found.overhead else None,
        "driver_core_share": found.driver_share,
        "results_per_s": found.results_per_s,
    }


def about(command: list[str]) -> dict[str, Any]:
    """Return what every result is to be read with: hardware, versions, date, command."""
    from tuner.provenance import git_revision, host, versions

    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(command),
        "host": {name: value for name, value in host().items() if name != "hostname"},
        "cores_used": cores(),
        "versions": versions(),
        "git_revision": git_revision(),
    }


def mps_runs() -> bool:
    """Whether NVIDIA's Multi-Process Service answers here."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    return Path(folder, "control").exists()
