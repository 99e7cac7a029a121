"""Replay many searches per policy over a census: what each would cost until it reaches a target.

Two uncertainties, kept apart. *Replay noise*: other random numbers, same recorded trials; more
searches narrow it (`replay_low`, `replay_high`, Clopper-Pearson). *Limits*: another census of the
same size; no number of searches narrows it. For the limits random halves of the recorded trials
(`reports/census.py`) are each replayed anew, and the central 95 % of the halves' results are given.
A half's result carries the noise of its fewer searches too, so limits err towards too wide.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from reports.census import Census, halves
from reports.replay import Policy, Replay, replay
from reports.search_costs import Combination, Outcome, combination
from search_spaces.model import Model, UserError
from tuner.samplers import check_sampler

CHUNK = 10
"""Searches per task of a process."""
SHARE_PER_HALF = 10
"""Each half is replayed by one tenth of the searches."""
FEW_HITS = 5
"""With fewer trials that reach the target, what halves of them tell is too coarse."""


class Pool(Model):
    """The census that was replayed."""

    space: str
    epochs: int
    trials: int
    configurations: int
    matches: int
    """Trials that reach the target when not stopped."""
    failed: int
    """Diverged or crashed trials; they match nothing."""


class Simulation(Model):
    """Result of `simulate`."""

    target: float
    trials: int
    concurrency: int
    halves: int
    """Halves of the census behind the limits."""
    pool: Pool
    combinations: list[Combination]
    warnings: list[str]
    devices: list[str] = []
    """Kinds of device that the recorded trials ran on; seconds of two kinds do not compare."""


class _Job(NamedTuple):
    policy: int
    part: int
    """0 for the whole census, else the number of the half."""
    searches: range


class _Work(NamedTuple):
    """What all processes know."""

    policies: Sequence[Policy]
    parts: Sequence[Census]
    target: float
    seed: int


def simulate(
    census: Census,
    policies: Sequence[Policy],
    target: float,
    *,
    searches: int = 500,
    num_halves: int = 100,
    seed: int = 0,
    nearest: bool = False,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Replay many searches per policy.

    Search i has the same seed under every policy, so that policies are compared on equal luck. The
    result does not depend on `jobs`.

    Parameters
    ----------
    census : Census
    policies : sequence of Policy
        With one number of trials and one concurrency.
    target : float
        Validation macro-F1 to reach, 0 to 1.
    searches : int, default 500
        Searches per policy.
    num_halves : int, default 100
        Halves of the census to replay for the limits, each by a tenth of the searches; 0: none.
    seed : int, default 0
    nearest : bool, default False
        Let the nearest recorded configuration answer a proposal that was never recorded.
    jobs : int, default 1
        Processes.
    progress : callable, optional
        Called with the searches done and all searches.

    Raises
    ------
    UserError
        If a proposal might find no answer, or a policy does not fit the space or its epochs.
    """
    missing = None if nearest else census.missing()
    if missing is not None:
        count, (name, value) = missing[0], next(iter(missing[1].items()), ("", ""))
        raise UserError(
            f"{count} configuration(s) of space {census.space.name} were never recorded, such as"
            f" {name}={value}. Record them too, or let --nearest answer with the nearest one."
        )
    for policy in policies:
        check_sampler(census.space, policy.sampler)
        policy.scheduler.build(census.epochs, "")
    pool = _pool(census, target)
    warnings = list(census.notes)
    found = halves(census, nearest, num_halves, seed) if num_halves else []
    if isinstance(found, str):
        warnings.append(f"No limits: {found}.")
        found = []
    if pool.matches in (0, pool.trials):
        none = "No" if pool.matches == 0 else "Every"
        warnings.append(f"{none} recorded trial reaches {target:g}: the census gives no limits.")
        found = []
    elif min(pool.matches, pool.trials - pool.matches) < FEW_HITS:
        warnings.append(
            f"{pool.matches} of {pool.trials} recorded trials reach {target:g}: limits that rest on"
            f" fewer than {FEW_HITS} trials of either kind are too narrow."
        )
    work = _Work(policies, [census, *found], target, seed)
    tasks = list(_tasks(len(policies), len(found), searches))
    outcomes: dict[tuple[int, int], list[Outcome]] = {}
    done, total = 0, sum(len(task.searches) for task in tasks)
    with _mapped(work, tasks, jobs) as results:
        for task, result in zip(tasks, results, strict=True):
            outcomes.setdefault((task.policy, task.part), []).extend(result)
            done += len(result)
            if progress is not None:
                progress(done, total)
    combinations = [
        combination(
            policy,
            outcomes[index, 0],
            [outcomes[index, part] for part in range(1, len(found) + 1)],
            census.timed,
        )
        for index, policy in enumerate(policies)
    ]
    return Simulation(
        target=target,
        trials=policies[0].trials,
        concurrency=policies[0].concurrency,
        halves=len(found),
        pool=pool,
        combinations=combinations,
        warnings=warnings,
        devices=list(census.devices),
    )


def search_seed(seed: int, part: int, number: int) -> int:
    """Return the seed of a simulated search, below 2^31."""
    digest = hashlib.sha256(f"simulate:{seed}:{part}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _tasks(policies: int, num_halves: int, searches: int) -> Iterator[_Job]:
    for policy in range(policies):
        for part in range(num_halves + 1):
            count = max(1, searches // SHARE_PER_HALF) if part else searches
            for start in range(0, count, CHUNK):
                yield _Job(policy, part, range(start, min(start + CHUNK, count)))


@contextmanager
def _mapped(work: _Work, tasks: Sequence[_Job], jobs: int) -> Iterator[Iterator[list[Outcome]]]:
    """Give the results of all tasks, in order."""
    if jobs == 1:
        yield (_run(work, task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads
    with ProcessPoolExecutor(jobs, context, _begin, (work,)) as pool:
        try:
            yield pool.map(_task, tasks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_work: _Work | None = None
"""In a worker process: what `_begin` was given."""


def _begin(work: _Work) -> None:
    global _work
    _work = work


def _task(task: _Job) -> list[Outcome]:
    assert _work is not None
    return _run(_work, task)


def _run(work: _Work, task: _Job) -> list[Outcome]:
    return [_outcome(work, task, number) for number in task.searches]


def _outcome(work: _Work, task: _Job, number: int) -> Outcome:
    census, target = work.parts[task.part], work.target
    seed = search_seed(work.seed, task.part, number)
    policy = work.policies[task.policy]
    return outcome(census, replay(census, policy, target, seed, to_target=task.part > 0), target)


def outcome(census: Census, done: Replay, target: float) -> Outcome:
    """Return what is kept of a simulated search; a false stop is one before the target."""
    stopped = [trial for trial in done.trials if trial.state == "pruned"]
    return Outcome(
        done.reached,
        done.cost,
        len(stopped),
        sum(
            census.curves[trial.curve].reaches(target)
            and census.curves[trial.curve].best[trial.epochs - 1] < target
            for trial in stopped
        ),
        sum(census.curves[trial.curve].reaches(target) for trial in done.trials),
        len(done.trials),
        sum(trial.distance > 0 for trial in done.trials),
        sum(trial.distance for trial in done.trials),
    )


def _pool(census: Census, target: float) -> Pool:
    return Pool(
        space=census.space.name,
        epochs=census.epochs,
        trials=len(census.curves),
        configurations=census.configurations,
        matches=sum(curve.reaches(target) for curve in census.curves),
        failed=sum(curve.state != "completed" for curve in census.curves),
    )
