"""`--gpus-per-trial auto`: how many trials share a GPU, found by training some on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from search_spaces.model import UserError
from trainables.config import DataConfig, TrialConfig
from tuner.bench.pace import Worker, timed_together, workers
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

    Each holds the whole data set, as in the search. A failure with more than one counts as not
    fitting, since CUDA's libraries have many words for being out of memory.

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
    ready: list[Worker] = []
    with contextlib.ExitStack() as stack:
        for count in COUNTS:
            if count > most:
                break
            try:
                ready += stack.enter_context(workers([job] * (count - len(ready))))
                reached = timed_together(ready, seconds, REPEATS)
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
    tight = [tried.trials for tried in found if not _fits(tried) and tried is not chosen]
    if tight:
        reason += f"; {tight[0]} cannot run at once"
    return Packing(chosen.trials, reason)


def with_packing(spec: RunSpec, cache: Path, notice: Callable[[str], None]) -> RunSpec:
    """Return a specification in which a number stands for `auto`, and say why it does.

    It is measured with the trial of the largest batch and network. `concurrency` stays a limit: no
    more trials share a GPU than it lets run, and where fewer can, it is lowered.

    Raises
    ------
    UserError
        If one trial alone cannot be trained on this machine's GPU.
    """
    resources = spec.resources
    if resources.gpus_per_trial != "auto":
        return spec
    gpus, cpus = int(local_gpus()), local_cpus()
    if gpus == 0:
        notice("--gpus-per-trial 0: this machine shows no GPU.")
        return _holding(spec, 0.0, resources.concurrency)
    notice("Measuring how many trials share a GPU …")
    most = max(1, cpus // gpus // resources.cpus_per_trial)
    wanted = resources.concurrency
    if wanted is not None:
        most = min(most, -(-wanted // gpus))
    packing = choose(measure(_largest(spec), spec.data, cache, most))
    notice(f"--gpus-per-trial {1 / packing.trials:g}: {packing.reason}.")
    slots = gpus * packing.trials
    return _holding(spec, 1 / packing.trials, wanted if wanted is None else min(wanted, slots))


def _holding(spec: RunSpec, share: float, concurrency: int | None) -> RunSpec:
    update = {"gpus_per_trial": share, "concurrency": concurrency}
    return spec.model_copy(update={"resources": spec.resources.model_copy(update=update)})


def _largest(spec: RunSpec) -> TrialConfig:
    """Return the trial that takes the most memory and time a step."""
    return max(
        spec.examples(),
        key=lambda trial: (trial.training.batch_size, trial.network.width, trial.network.depth),
    )


def _fits(tried: Tried) -> bool:
    if tried.images_per_s == 0:
        return False
    if tried.used_bytes is None or tried.total_bytes is None:
        return True
    return tried.used_bytes <= MEMORY_SHARE * tried.total_bytes


def _gain(last_two: Sequence[Tried]) -> float:
    before, after = last_two
    return after.images_per_s / before.images_per_s
