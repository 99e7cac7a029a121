"""`--gpus-per-trial auto`: how many trials share a GPU, found by training some on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from search_spaces.model import UserError
from trainables.config import DataConfig, TrialConfig
from tuner.bench.pace import side_by_side
from tuner.bench.worker import Job
from tuner.ray_session import local_cpus, local_gpus
from tuner.spec import RunSpec

COUNTS = (1, 2, 4, 8)
"""Trials a GPU that are tried, one after another."""
STEPS, SECONDS, REPEATS = 50, 3.0, 2
ENOUGH = 1.05
"""A number of trials must be this much faster than a smaller one to be preferred."""
MEMORY_SHARE = 0.9
"""Of a GPU's memory that trials may take together: data and evaluation vary a little."""


class Tried(NamedTuple):
    """What so many trials on one GPU reached."""

    trials: int
    images_per_s: float
    """Of all of them together; 0 if they did not fit."""
    used_bytes: int | None
    total_bytes: int | None


class Packing(NamedTuple):
    """How many trials share a GPU, and why."""

    trials: int
    reason: str


def measure(
    trial: TrialConfig,
    data: DataConfig,
    cache: Path,
    most: int,
    device: str = "cuda",
    seconds: float = SECONDS,
) -> list[Tried]:
    """Train 1, 2, 4 … trials side by side until more of them gain nothing or do not fit.

    Parameters
    ----------
    trial : TrialConfig
        One of those that are to be run.
    data : DataConfig
        Packed in `cache` already.
    cache : Path
    most : int
        Trials that the CPU cores of one GPU allow.
    device : str
    seconds : float
        How long each number is timed at once.
    """
    job = Job(
        "ours",
        trial.model_dump(mode="json"),
        data.model_dump(mode="json"),
        str(cache),
        STEPS,
        device,
    )
    found: list[Tried] = []
    for count in COUNTS:
        if count > most:
            break
        try:
            reached = side_by_side(job, count, seconds, REPEATS)
        except UserError:
            if count == 1:
                raise
            found.append(Tried(count, 0.0, None, None))
            break
        found.append(Tried(count, reached.rate.median, reached.used_bytes, reached.total_bytes))
        if not _fits(found[-1]) or (count > 1 and _gain(found[-2:]) < ENOUGH):
            break
    return found


def choose(found: Sequence[Tried]) -> Packing:
    """Return the number of trials worth sharing a GPU, with the figures that say so.

    The fewest whose pace no larger number beats by `ENOUGH`, and that fit into memory.
    """
    fitting = [tried for tried in found if _fits(tried)] or [found[0]]
    best = max(tried.images_per_s for tried in fitting)
    chosen = next(tried for tried in fitting if tried.images_per_s * ENOUGH > best)
    paces = ", ".join(
        f"{tried.trials}: {tried.images_per_s:,.0f}" if tried.images_per_s else f"{tried.trials}: –"
        for tried in found
    )
    reason = f"{chosen.trials} a GPU; images/s by trials at once {paces}"
    if chosen.used_bytes is not None and chosen.total_bytes is not None:
        used, total = (value / 2**30 for value in (chosen.used_bytes, chosen.total_bytes))
        reason += f"; {used:.1f} of {total:.1f} GiB in use"
    tight = [tried.trials for tried in found if not _fits(tried)]
    if tight:
        reason += f"; {tight[0]} do not fit"
    return Packing(chosen.trials, reason)


def with_packing(spec: RunSpec, cache: Path, notice: Callable[[str], None]) -> RunSpec:
    """Return a specification in which a number stands for `auto`, and say why it does.

    Raises
    ------
    UserError
        If one trial alone cannot be trained on this machine's GPU.
    """
    resources = spec.resources
    if resources.gpus_per_trial != "auto":
        return spec
    gpus, cpus = local_gpus(), local_cpus()
    share = 0.0
    if gpus == 0:
        notice("--gpus-per-trial 0: this machine shows no GPU.")
    else:
        notice("Measuring how many trials share a GPU …")
        most = max(1, cpus // gpus // resources.cpus_per_trial)
        packing = choose(measure(spec.examples()[0], spec.data, cache, most))
        share = 1 / packing.trials
        notice(f"--gpus-per-trial {share:g}: {packing.reason}.")
    found = resources.model_copy(update={"gpus_per_trial": share})
    return spec.model_copy(update={"resources": found})


def _fits(tried: Tried) -> bool:
    if tried.images_per_s == 0:
        return False
    if tried.used_bytes is None or tried.total_bytes is None:
        return True
    return tried.used_bytes <= MEMORY_SHARE * tried.total_bytes


def _gain(last_two: Sequence[Tried]) -> float:
    before, after = last_two
    return after.images_per_s / before.images_per_s
