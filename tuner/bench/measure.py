"""What `tuner bench` measures, as plain values: one trial, many trials, a whole search."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.model import UserError
from trainables.config import TrialConfig, with_knobs
from tuner.bench.overhead import watch
from tuner.bench.pace import in_turns, side_by_side
from tuner.bench.worker import Job, Kind
from tuner.ray_session import local_cpus

BATCH_SIZE = 64


class Reference(NamedTuple):
    """A whole trial, in whose number per hour a pace is told."""

    title: str
    width: int
    epochs: int
    data: dict[str, Any]
    """A `DataConfig` of synthetic faces: speed does not depend on what is in an image."""


REFERENCES = {
    "cpu": Reference(
        "12 epochs of the quick preset", 8, 12, {"synthetic_train": 1500, "synthetic_eval": 700}
    ),
    "cuda": Reference(
        "60 epochs of FER2013's size", 64, 60, {"synthetic_train": 28_709, "synthetic_eval": 3_589}
    ),
}
"""By device."""


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
    """Return the pace of the plain loop and of ours, in turns, beside what bounds a step."""
    loaders = 0 if device == "cpu" else min(8, local_cpus())
    ways = [job(case, "plain", device, cache, loaders=loaders), job(case, "ours", device, cache)]
    if device != "cpu":
        ways.append(job(case, "eager", device, cache))
    rates, told = in_turns(ways, repeats=3 if quick else 5)
    plain, ours, *eager = rates
    floor = told[1]
    step_s = BATCH_SIZE / ours.median
    arithmetic_s, launch_s = floor["arithmetic_s"], floor.get("launch_s", 0.0)
    bound_s = max(arithmetic_s, launch_s)
    return {
        "case": case.title,
        "device": device,
        "batch_size": BATCH_SIZE,
        "bound": "its many kernels" if launch_s > arithmetic_s else "a large product",
        "plain_images_per_s": plain._asdict(),
        "ours_images_per_s": ours._asdict(),
        **({"eager_images_per_s": eager[0]._asdict()} if eager else {}),
        "plain_ms_per_step": 1000 * BATCH_SIZE / plain.median,
        "ours_ms_per_step": 1000 * step_s,
        "images_per_s_ratio": ours.median / plain.median,
        "reference_ms_per_step": 1000 * bound_s,
        "reference_share": bound_s / step_s,
        "reference": floor,
    }


def whole_machine(case: Case, cache: Path) -> dict[str, Any]:
    """Return the pace per core where every core of a CPU is busy.

    The plain loop gets the fastest of three ways: alone with torch's own number of threads, the
    same with processes that load, and one loop of one thread a core. Ours trains one trial a core.
    """
    count, seconds, repeats = local_cpus(), 5.0, 3
    alone = {"threads": None, "loaders": 0}
    ways = {
        "one loop, all threads": (alone, 1),
        f"one loop, all threads, {count} loaders": ({**alone, "loaders": count}, 1),
        f"{count} loops of one thread": ({}, count),
    }
    plain = {
        way: side_by_side(job(case, "plain", "cpu", cache, **more), loops, seconds, repeats).rate
        for way, (more, loops) in ways.items()
    }
    fastest, best = max(plain.items(), key=lambda way: way[1].median)
    ours = side_by_side(job(case, "ours", "cpu", cache), count, seconds, repeats).rate
    return {
        "case": case.title,
        "cores": count,
        "plain_images_per_s": {way: rate._asdict() for way, rate in plain.items()},
        "plain_fastest": fastest,
        "plain_images_per_s_per_core": best.median / count,
        "ours_images_per_s_per_core": ours.median / count,
        "images_per_s_per_core_ratio": ours.median / best.median,
    }


def many_trials(device: str, cache: Path, quick: bool) -> list[dict[str, Any]]:
    """Return the pace of 1, 2, 4 and 8 whole trials that share a GPU, or the cores of a CPU.

    Each trains epochs of the reference's size, and scores the validation split after each. Where a
    number cannot run, its row holds `error`, and no larger one is tried.
    """
    reference = REFERENCES["cpu" if device == "cpu" else "cuda"]
    trial = with_knobs(TrialConfig(), {"width": reference.width}, "tuner bench")
    job = Job(
        "ours", trial.model_dump(mode="json"), reference.data, str(cache), None, device,
        evaluate=True,
    )  # fmt: skip
    images = reference.epochs * (reference.data["synthetic_train"] // BATCH_SIZE) * BATCH_SIZE
    mps = mps_runs() if device != "cpu" else None
    seconds, repeats = (1.0, 2) if quick else (5.0, 3)
    rows: list[dict[str, Any]] = []
    for count in (1, 2, 4, 8):
        if count > local_cpus():
            break
        row: dict[str, Any] = {"trials_at_once": count, "trial": reference.title, "mps": mps}
        rows.append(row)
        try:
            found = side_by_side(job, count, seconds, repeats)
        except UserError as error:
            row["error"] = str(error)
            break
        row["images_per_s"] = found.rate._asdict()
        row["trials_per_hour"] = 3600 * found.rate.median / images
        row["used_bytes"] = found.used_bytes
        row["one_trial_ratio"] = row["trials_per_hour"] / rows[0]["trials_per_hour"]
    return rows


def a_search(device: str, cache: Path, quick: bool) -> dict[str, Any]:
    """Return what a search costs beside training, how it starts, and what its driver uses."""
    trials, epochs = (4, 4) if quick else (10, 18)
    arguments = [
        "--space", "baseline", "--trials", str(trials), "--epochs", str(epochs), "--no-share",
        "--scheduler", "none", *(["--gpus-per-trial", "0"] if device == "cpu" else []),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        found = watch([*arguments, "--cache", str(cache)], Path(folder), "search")
    return {
        "command": "tuner run " + " ".join(arguments),
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
        "cores_used": local_cpus(),
        "versions": versions(),
        "git_revision": git_revision(),
    }


def mps_runs() -> bool:
    """Whether NVIDIA's Multi-Process Service answers here."""
    try:
        done = subprocess.run(
            ["nvidia-cuda-mps-control"], input="get_server_list\n", capture_output=True, text=True,
            timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
