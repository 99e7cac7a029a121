"""Fork points against counting by hand, and the epochs of a shared search against a real store."""

from __future__ import annotations

import random
from typing import Any

import pytest

from trainables.schedule import algorithm_1
from tuner.forks import Forks, SharedEpochs, configurations, ends_count
from tuner.spec import RunSpec, build_spec

IMAGES = 640
"""Ten steps an epoch at batch 64."""


def spec(space: str = "periodic_T", sets: dict[str, Any] | None = None, **flags: Any) -> RunSpec:
    return build_spec("quick", None, {"space": space, "seeds": "fixed", **flags}, sets or {}, {})


def forks(specification: RunSpec, **knobs: Any) -> list[int]:
    return Forks(specification, IMAGES).of(specification.trial(knobs, 5))


def test_a_trial_is_left_where_another_interval_injects_otherwise() -> None:
    # By the listing: all that another T in 1…6 has in common with this one, where it ends.
    for T in range(1, 7):
        mine = algorithm_1(T, 12)
        ends = {
            next(e for e in range(12) if mine[e] != theirs[e])
            for theirs in (algorithm_1(other, 12) for other in range(1, 7) if other != T)
        }
        assert forks(spec(), T=T) == sorted(ends)


def test_positions_fork_where_the_first_injection_is() -> None:
    for T in (1, 2, 3, 6):
        fixed = spec("periodic_position", {"T": T})
        assert forks(fixed, position="bn2") == [max(T, 2) - 1]


def test_a_grid_of_both_forks_wherever_either_does() -> None:
    assert forks(spec("periodic"), T=4, position="bn2") == [1, 2, 3]


def test_what_differs_from_the_start_has_no_fork() -> None:
    for space, knobs in {
        "dynamic": {"Constant": 1.0, "w_init": 0.1, "position": "bn1"},
        "dropout": {"dropout_rate": 0.1},
        "baseline": {},
    }.items():
        assert forks(spec(space), **knobs) == []


def test_the_baseline_publishes_the_trunk_where_other_runs_may_fork_from_it() -> None:
    shared = spec("baseline", resources={"trunks": "/somewhere"})
    assert forks(shared) == [1, 2, 3, 4, 5]  # T from 1 to half of 12 epochs
    dropout = spec("dropout", resources={"trunks": "/somewhere"})
    assert forks(dropout, dropout_rate=0.1) == [1, 2, 3, 4, 5]


def test_a_full_trunk_of_60_epochs_stays_within_the_default_bound() -> None:
    """134 MB a state of a full ResNet-18 with Adam, 45 MB of best weights; docs/trunks.md."""
    shared = spec("baseline", epochs=60, resources={"trunks": "/somewhere"})
    kept = len(forks(shared)) + 1  # and its end
    assert kept == 30
    assert kept * (134.2e6 + 44.8e6) < 5.4e9 < shared.resources.trunks_gb * 1e9


def test_a_schedule_that_varies_forks_where_the_rate_first_changes() -> None:
    fixed = spec("periodic_T", {"T": 6, "schedule": "step"})
    knob = {"kind": "int", "low": 2, "high": 4, "source": "test"}
    values = fixed.model_dump()
    values["space"]["knobs"] = {"schedule_step": knob}
    varied = RunSpec.model_validate(values)
    assert forks(varied, schedule_step=3) == [2, 3]


def test_ended_trials_are_kept_where_they_may_be_asked_for_again() -> None:
    assert ends_count(spec("periodic"))
    assert not ends_count(spec("dynamic_constant"))
    assert ends_count(spec("dynamic_constant", resources={"trunks": "/somewhere"}))


def test_a_space_too_large_to_list_is_sampled() -> None:
    found = configurations(spec("periodic", epochs=2000).space.resolved(2000))
    assert len(found) <= 2000
    assert {one["T"] for one in found} >= {1, 1000}


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_full_table_computes_the_trunk_once_and_each_trial_from_its_first_injection(
    seeds: int,
) -> None:
    specification = spec("periodic")
    shared = SharedEpochs(Forks(specification, IMAGES), ends=True)
    trials = [
        (specification.trial(knobs, 0), seed)
        for knobs in configurations(specification.space.resolved(12))
        for seed in range(seeds)
    ]
    random.Random(1).shuffle(trials)  # the order changes nothing
    computed = sum(shared.computed(trial, seed, 12) for trial, seed in trials)
    own = 4 * (sum(12 - T + 1 for T in range(2, 7)) + 12 - 2)  # T = 1 and 2 share epoch 2
    assert computed == seeds * (5 + own)
    assert sum(shared.computed(trial, seed, 12) for trial, seed in trials) == 0  # all there


def test_a_stopped_trial_is_gone_on_with_from_where_it_ended() -> None:
    specification = spec()
    shared = SharedEpochs(Forks(specification, IMAGES), ends=True)
    trial = specification.trial({"T": 2}, 0)
    assert shared.computed(trial, 0, 6) == 6
    assert shared.computed(trial, 0, 12) == 6
