"""The queue's promises, on made jobs: capacity, order, fairness, and that nobody starves."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuner.service.packing import Packing
from tuner.service.models import Raise
from tuner.service.queue import (
    PATIENCE_S,
    can_ever_run,
    gpus_held,
    ordered,
    share,
    starts,
    units,
)
from tuner.service.ray_jobs import Machine
from tuner.service.tables import JobRow

NOW = 1_800_000_000.0
NEW: dict[str, float] = {}
"""Nobody has waited for long."""
SERVER = Machine(cpus=28, gpus=2)


def job(number: int, user: str = "ann", gpus: float = 1.0, cpus: int = 1, **more: Any) -> JobRow:
    """Return a job that waits."""
    fields: dict[str, Any] = {
        "id": f"job-{number}", "kind": "run", "user_name": user, "key": "k", "content": "c",
        "spec": {}, "digest": "d", "fingerprint": None, "space": None, "command": [],
        "priority": 0, "exclusive": True, "gpus": gpus, "cpus": cpus, "state": "queued",
        "wanted": "run", "reason": None, "more": Raise(), "attempt": 0, "fruitless": 0,
        "epochs": 0, "number": number, "arrival": number, "changed": number,
        "created_at": NOW, "queued_at": NOW, "started_at": None, "ended_at": None,
        "told": False,
    }  # fmt: skip
    return JobRow(**{**fields, **more})


def ids(jobs: list[JobRow]) -> list[int]:
    return [one.number for one in jobs]


def start(
    waiting: list[JobRow], holding: list[JobRow] | None = None, machine: Machine = SERVER
) -> list[int]:
    held = Packing(machine)
    for one in holding or []:
        held.place(one)
    return ids(starts(waiting, holding or [], machine, {}, NEW, held.names()))


def test_priority_then_who_holds_least_then_who_used_least_then_arrival() -> None:
    waiting = [
        job(1, "ann"), job(2, "ann"), job(3, "bob"), job(4, "cat"), job(5, "dan", priority=1),
    ]  # fmt: skip
    assert ids(ordered(waiting, [], {}, NEW)) == [5, 1, 3, 4, 2]
    assert ids(ordered(waiting, [job(9, "ann")], {}, NEW)) == [5, 3, 4, 1, 2]
    assert ids(ordered(waiting, [], {"ann": 10.0, "bob": 1.0}, NEW)) == [5, 4, 3, 1, 2]


def test_users_take_turns_while_they_wait_however_much_one_submits() -> None:
    waiting = [job(number, "ann") for number in range(1, 9)] + [job(9, "bob"), job(10, "bob")]
    assert ids(ordered(waiting, [], {}, NEW)) == [1, 9, 2, 10, 3, 4, 5, 6, 7, 8]


def test_who_was_interrupted_by_a_fault_goes_on_before_all_others() -> None:
    assert ids(ordered([job(1, priority=10), job(7, arrival=0)], [], {}, NEW)) == [7, 1]


def test_who_has_waited_a_day_goes_before_any_priority_and_share() -> None:
    waiting = [job(1, "bob", priority=10), job(2, "ann", priority=-10)]
    for waited_s, order in ((PATIENCE_S, [2, 1]), (PATIENCE_S - 1, [1, 2])):
        waited = {"job-2": waited_s}
        assert ids(ordered(waiting, [job(9, "ann")], {"ann": 1e9}, waited)) == order


@pytest.mark.parametrize(
    ("gpus", "exclusive", "held"),
    [(1, True, 1), (0.5, True, 1), (0.5, False, 0.5), (2, False, 2), (1.5, False, 2), (0, True, 0)],
)
def test_only_a_shared_job_of_less_than_one_gpu_shares_one(
    gpus: float, exclusive: bool, held: float
) -> None:
    assert gpus_held(job(1, gpus=gpus, exclusive=exclusive)) == held


def test_shared_jobs_meet_on_one_gpu_and_leave_the_other_whole() -> None:
    halves = [job(number, gpus=0.5, exclusive=False) for number in (1, 2)]
    assert start([*halves, job(3), job(4)]) == [1, 2, 3]
    thirds = [job(number, gpus=1 / 3, exclusive=False) for number in range(1, 4)]
    assert start([*thirds, job(4)], machine=Machine(28, 1)) == [1, 2, 3]
    sixths = [job(number, gpus=1 / 6, exclusive=False) for number in range(1, 8)]
    assert start([*sixths, job(9)]) == [1, 2, 3, 4, 5, 6, 7]  # as Ray cuts off, six are one
    # 0.6 and 0.6 do not fit on one, nor does an exclusive half beside a shared one
    large = [job(number, gpus=0.6, exclusive=False) for number in (1, 2, 3)]
    assert start(large) == [1, 2]
    assert start([job(1, gpus=0.5, exclusive=False), job(2, gpus=0.5)], machine=Machine(9, 1)) == [
        1
    ]


def test_halves_that_are_left_on_two_gpus_leave_no_whole_one() -> None:
    half = {"gpus": 0.5, "exclusive": False}
    held = [job(8, **half), job(9, **half)]
    apart = {"job-8": "0", "job-9": "1"}
    assert starts([job(1)], held, SERVER, {}, NEW, apart) == []
    assert ids(starts([job(1)], held, SERVER, {}, NEW, dict.fromkeys(apart, "1"))) == [1]
    assert ids(starts([job(1, gpus=0.6, exclusive=False)], held, SERVER, {}, NEW, apart)) == []
    # nor is one counted on before it is known where they lie
    assert starts([job(1)], held, SERVER, {}, NEW, {}) == []


def test_fractions_of_several_sizes_start_one_after_the_other() -> None:
    """In another order, 0.4, 0.4, 0.6 and 0.6, Ray would find no place for the last."""
    sizes = (0.6, 0.4, 0.6, 0.4)
    parts = [job(number, gpus=size, exclusive=False) for number, size in enumerate(sizes, 1)]
    assert start(parts) == [1, 3]
    assert start(parts[1:], [parts[0]]) == [2, 4]
    assert ids(starts(parts[1:], parts[:1], SERVER, {}, NEW, {})) == [3]
    assert start([*parts[:2], job(5, cpus=28, gpus=0)]) == [1]  # who waits is not overtaken


def test_a_search_that_needs_both_gpus_is_not_kept_waiting_by_small_ones() -> None:
    small = [job(number, "bob") for number in range(2, 6)]
    assert start([job(1, gpus=2), *small], [job(9, "cat")]) == []


def test_who_takes_nothing_that_is_waited_for_may_overtake() -> None:
    both = job(1, gpus=2, cpus=4)
    held = [job(9, "cat", cpus=4)]
    assert start([both, job(2, gpus=0, cpus=4)], held) == [2]
    assert start([both, job(2, gpus=0, cpus=21)], held) == []  # 28 - 4 - 21 are less than 4
    many_cores = job(1, gpus=0, cpus=28)
    assert start([many_cores, job(2, cpus=1)], held) == []


def test_what_no_machine_can_hold_waits_and_blocks_nobody() -> None:
    assert start([job(1, gpus=3), job(2), job(3, cpus=29)]) == [2]
    assert not can_ever_run(job(1, gpus=3), SERVER)


def test_cores_alone_are_allotted_where_there_is_no_gpu() -> None:
    waiting = [job(number, gpus=0, cpus=3) for number in range(1, 5)]
    assert start(waiting, machine=Machine(8, 0)) == [1, 2]


def test_a_machine_that_has_shrunk_starts_nothing_and_breaks_nothing() -> None:
    held = [job(8, gpus=2, cpus=20), job(9, gpus=1, cpus=20)]
    assert start([job(1), job(2, gpus=0.5, exclusive=False)], held) == []


USERS = st.sampled_from(["ann", "bob", "cat"])
JOBS = st.builds(
    lambda number, user, gpus, cpus, exclusive, priority: job(
        number, user, gpus, cpus, exclusive=exclusive, priority=priority
    ),
    st.integers(1, 1000), USERS, st.sampled_from([0, 0.25, 1 / 3, 0.5, 0.6, 1, 2, 3]),
    st.integers(1, 12), st.booleans(), st.integers(-2, 2),
)  # fmt: skip
WAITING = st.lists(JOBS, max_size=10, unique_by=lambda one: one.number)
MACHINES = st.builds(Machine, st.integers(1, 28), st.integers(0, 3))
USAGE = st.dictionaries(USERS, st.floats(0, 1e6))
WAITED = st.dictionaries(
    st.integers(1, 1000).map("job-{}".format), st.sampled_from([60.0, 2 * PATIENCE_S])
)
RANDOM = st.randoms(use_true_random=False)


@given(WAITING, MACHINES, USAGE, WAITED)
def test_whoever_is_first_starts(
    waiting: list[JobRow], machine: Machine, usage: dict[str, float], waited: dict[str, float]
) -> None:
    started = starts(waiting, [], machine, usage, waited, {})
    order = ordered(waiting, [], usage, waited)
    assert started[:1] == [one for one in order if can_ever_run(one, machine)][:1]


@pytest.mark.parametrize("seed", range(40))
def test_what_starts_is_placed_by_ray_at_once_wherever_the_others_lie(seed: int) -> None:
    """Ray takes what it is told in any order, and processes tell late where they lie."""
    rng = random.Random(seed)
    machine = Machine(100, 1 + seed % 3)
    ray, number = Packing(machine), 0
    sizes = rng.sample([0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.6, 0.75], 1 + seed % 4)
    inbox: list[JobRow] = []
    known: dict[str, str] = {}
    for _ in range(60):
        for one in list(ray.jobs.values()):
            if rng.random() < 0.4:
                ray.end(one)
        known |= {id: name for id, name in ray.names().items() if rng.random() < 0.7}
        waiting = []
        for _ in range(rng.randint(0, 5)):
            number += 1
            gpu = rng.choice([*sizes, *sizes, 1, 2])
            waiting.append(job(number, f"user-{number}", gpu, exclusive=gpu >= 1))
        placed = {id: name for id, name in known.items() if id in ray.jobs}
        inbox += starts(waiting, [*ray.jobs.values(), *inbox], machine, {}, NEW, placed)
        rng.shuffle(inbox)
        for one in inbox[: rng.choice([0, len(inbox), len(inbox)])]:
            assert ray.place(one), f"{one.id}, {units(one)} of {ray.free}"
            inbox.remove(one)


@given(WAITING, WAITING, MACHINES)
def test_what_ray_can_place_starts_if_it_is_first(
    waiting: list[JobRow], more: list[JobRow], machine: Machine
) -> None:
    ray = Packing(machine)
    held = [
        one for one in (replace(one, id=f"held-{one.number}") for one in more) if ray.place(one)
    ]
    for first in [one for one in ordered(waiting, held, {}, NEW) if can_ever_run(one, machine)][:1]:
        started = starts(waiting, held, machine, {}, NEW, ray.names())
        assert (started[:1] == [first]) == ray.place(first)


@given(WAITING, MACHINES, USAGE, WAITED, RANDOM)
def test_the_same_jobs_give_the_same_order_however_they_come(
    waiting: list[JobRow],
    machine: Machine,
    usage: dict[str, float],
    waited: dict[str, float],
    rng: random.Random,
) -> None:
    shuffled = list(waiting)
    rng.shuffle(shuffled)
    assert ordered(shuffled, [], usage, waited) == ordered(waiting, [], usage, waited)
    assert starts(shuffled, [], machine, usage, waited, {}) == starts(
        waiting, [], machine, usage, waited, {}
    )


@given(WAITING, WAITING, MACHINES, USAGE, WAITED)
def test_who_is_overtaken_could_start_no_sooner_without_it(
    waiting: list[JobRow],
    more: list[JobRow],
    machine: Machine,
    usage: dict[str, float],
    waited: dict[str, float],
) -> None:
    """Whatever subset of what is held ends, a blocked job fits beside whoever passed it."""
    others = [replace(one, id=f"held-{one.number}") for one in more]
    before = Packing(machine)
    held = [one for one in others if before.place(one)]
    order = ordered(waiting, held, usage, waited)
    started = starts(waiting, held, machine, usage, waited, before.names())
    for place, blocked in enumerate(order):
        if blocked in started or not can_ever_run(blocked, machine):
            continue
        first = [*held, *(one for one in order[:place] if one in started)]
        passing = [one for one in order[place:] if one in started]
        for subset in range(2 ** min(len(held), 5)):
            ended = [one for index, one in enumerate(held) if subset >> index & 1]
            if would_fit(blocked, first, ended, machine):
                assert would_fit(blocked, [*first, *passing], ended, machine)


def would_fit(job: JobRow, held: list[JobRow], ended: list[JobRow], machine: Machine) -> bool:
    ray = Packing(machine)
    for one in held:
        assert ray.place(one)
    for one in ended:
        ray.end(one)
    return ray.place(job)


@given(WAITING, USAGE)
def test_no_user_gets_a_second_turn_before_all_have_had_one_of_the_same_size(
    waiting: list[JobRow], usage: dict[str, float]
) -> None:
    alike = [replace(one, gpus=1.0, cpus=1, priority=0) for one in waiting]
    order = ordered(alike, [], usage, NEW)
    users = {one.user_name for one in alike}
    assert {one.user_name for one in order[: len(users)]} == users
    given: dict[str, float] = dict.fromkeys(users, 0.0)
    left = {user: sum(one.user_name == user for one in alike) for user in users}
    for one in order:
        assert given[one.user_name] <= min(given[user] for user in users if left[user]) + 1e-9
        given[one.user_name] += share(one)
        left[one.user_name] -= 1


def days_until_a_humble_search_starts(seed: int, most: int) -> float:
    """Return how long a search of low priority that needs both GPUs waits, amid a stream of small
    ones, of higher priority and of users who hold nothing, that alone would fill the machine."""
    rng, now, number = random.Random(seed), 0.0, 1
    humble = job(0, "ann", 2.0, priority=-5, arrival=1)
    waiting, holding = [humble], [(3600.0, job(1000 + gpu, "ann")) for gpu in (0, 1)]
    came_at = {humble.id: now}
    while now < most * PATIENCE_S:
        holding = [(end, one) for end, one in holding if end > now]
        for _ in range(3):
            number += 1
            waiting.append(job(number, f"new-{number}"))
            came_at[waiting[-1].id] = now
        held, waited = [one for _, one in holding], {id: now - at for id, at in came_at.items()}
        for one in starts(waiting, held, SERVER, {"ann": 1e6}, waited, {}):
            if one is humble:
                return now / PATIENCE_S
            waiting.remove(one)
            holding.append((now + rng.uniform(0, LONGEST_S), one))
        now += 1800.0
    return float(most)


LONGEST_S = 6 * 3600.0


@pytest.mark.parametrize("seed", range(5))
def test_nobody_starves(seed: int) -> None:
    # no later than when, after its day of patience, the machine has been drained for it
    assert 1 <= days_until_a_humble_search_starts(seed, 3) <= 1 + (LONGEST_S + 1800) / PATIENCE_S


def test_without_patience_one_would_starve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.service.queue.PATIENCE_S", math.inf)
    assert days_until_a_humble_search_starts(0, 3) == 3
