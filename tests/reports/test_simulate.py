"""Simulated searches: against closed forms, and against the run's own state machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from reports.census import Census, Curve, halves, read_census
from reports.replay import Policy, Replay, replay
from reports.search_costs import quantile
from reports.simulate import search_seed, simulate
from search_spaces.model import UserError
from search_spaces.space import Space
from tests.tuner import simulation
from tests.tuner.made_runs import make_run, quick
from trainables.config import TrialConfig
from tuner.cli import cli
from tuner.record import Record
from tuner.rungs import default_first_rung
from tuner.samplers import grid_order
from tuner.spec_sections import SamplerConfig, SchedulerConfig

EPOCHS = 12
SIGMAS = 6
"""A check of random numbers fails by chance once in 500 million."""


def int_space(high: int) -> Space:
    knob = {"kind": "int", "low": 1, "high": high, "source": "test"}
    return Space.model_validate({"name": "test", "summary": "test", "knobs": {"T": knob}})


def curve(best: Sequence[float], knobs: dict[str, Any] | None = None, **changes: Any) -> Curve:
    """Return a completed trial of one second and two slot-seconds an epoch."""
    values: dict[str, Any] = {
        "knobs": knobs or {},
        "seed": 0,
        "state": "completed",
        "judged_from": 1,
        "clean": 0,
        "raw": tuple(best),
        "best": tuple(best),
        "seconds": (1.0,) * len(best),
        "slot_s": 2.0 * len(best),
    }
    return Curve(**{**values, **changes})


def census_of(curves: Sequence[Curve], space: Space | None = None) -> Census:
    """Return a census; unless they have some, its trials get seeds of their own."""
    space = space or int_space(len(curves))
    return Census(space, EPOCHS, tuple(curves), timed=True)


def levels(values: Sequence[float], **changes: Any) -> Census:
    """Return a census whose trial of T = 1, 2, … stays at the value of that place."""
    return census_of(
        [
            curve([value] * EPOCHS, {"T": T}, seed=T, **changes)
            for T, value in enumerate(values, start=1)
        ]
    )


def policy(
    sampler: str = "random",
    scheduler: str = "none",
    trials: int = 8,
    slots: int = 1,
    **more: Any,
) -> Policy:
    return Policy(
        SamplerConfig.model_validate({"name": sampler}),
        SchedulerConfig.model_validate({"name": scheduler, **more}),
        trials,
        slots,
    )


def ordered(curves: Sequence[Curve], seed: int = 0) -> Census:
    """Return a census that a grid search of this seed asks for in the order of the curves."""
    space = int_space(len(curves))
    points = grid_order(space, seed)
    return census_of(
        [Curve(**{**vars(one), "knobs": point}) for one, point in zip(curves, points, strict=True)],
        space,
    )


def states(done: Replay) -> list[str]:
    return [trial.state for trial in done.trials]


def test_random_searches_reach_the_target_after_a_geometric_number_of_trials() -> None:
    share, searches = 0.25, 300
    census = levels([0.5] * 5 + [0.2] * 15)
    found = [replay(census, policy(trials=200), 0.4, n, to_target=True) for n in range(searches)]
    trials = np.array([one.cost.trials for one in found])
    spread = math.sqrt(1 - share) / share
    assert abs(trials.mean() - 1 / share) < SIGMAS * spread / math.sqrt(searches)
    for k in (1, 2, 4, 8):
        survival = (1 - share) ** k
        error = math.sqrt(survival * (1 - survival) / searches)
        assert abs((trials > k).mean() - survival) < SIGMAS * error
    assert all(one.cost.epochs == (one.cost.trials - 1) * EPOCHS + 1 for one in found)


def test_the_distribution_of_random_searches_is_the_geometric_one_cut_at_the_budget() -> None:
    share, budget, searches = 0.25, 6, 200
    census = levels([0.5] * 5 + [0.2] * 15)
    result = simulate(census, [policy(trials=budget)], 0.4, searches=searches, num_halves=0)
    (one,) = result.combinations
    success = 1 - (1 - share) ** budget
    error = math.sqrt(success * (1 - success) / searches)
    assert abs(one.success.estimate - success) < SIGMAS * error
    assert one.success.replay_low < one.success.estimate < one.success.replay_high
    mean = success / share  # the sum of survival at 0, 1, … budget - 1
    assert one.trials.restricted_mean.estimate == pytest.approx(
        mean, abs=SIGMAS * math.sqrt(1 - share) / share / math.sqrt(searches)
    )
    cut_mean, ert = one.trials.restricted_mean.estimate, one.trials.ert.estimate
    assert cut_mean is not None
    assert ert == pytest.approx(cut_mean / one.success.estimate)
    assert one.trials.median.estimate == 3  # 0.75² = 0.5625 survive two, 0.42 three trials
    assert result.pool.model_dump() == {
        "space": "test", "epochs": 12, "trials": 20, "configurations": 20, "matches": 5,
        "failed": 0,
    }  # fmt: skip


def test_where_all_curves_are_equal_every_search_costs_the_same() -> None:
    rising = [epoch / 100 for epoch in range(1, EPOCHS + 1)]
    census = census_of([curve(rising, {"T": T}, seed=T) for T in range(1, 7)])
    policies = [policy("random"), policy("tpe", "asha", trials=12), policy("grid", "median", 6)]
    result = simulate(census, policies, 0.05, searches=10)
    assert any("Every recorded trial reaches 0.05" in one for one in result.warnings)
    for one in result.combinations:
        assert one.slot_seconds is not None
        for cost, expected in ((one.trials, 1), (one.epochs, 5), (one.slot_seconds, 10)):
            found = {cost.median.estimate, cost.ert.estimate, cost.restricted_mean.estimate}
            assert found | set(cost.quantiles.values()) == {expected}
            assert cost.ert.low is None
        assert (one.success.estimate, one.success.low, one.success.replay_high) == (1, None, 1)
        assert one.early_stopping.would_have_reached == one.early_stopping.stopped or (
            one.scheduler != "asha"
        )


def test_a_target_that_no_recorded_trial_reaches_is_not_reached_and_never_infinite() -> None:
    result = simulate(levels([0.2] * 6), [policy("tpe", "asha", 12)], 0.9, searches=10)
    (one,) = result.combinations
    assert one.success.estimate == 0
    assert one.success.low is one.success.high is None
    assert one.trials.ert.model_dump() == {
        "estimate": None, "low": None, "high": None, "reached": False,
    }  # fmt: skip
    assert one.trials.median.reached is False
    assert one.trials.restricted_mean.estimate == 12
    # Equal scores rank in the order of arrival: only the first passes the rung at epoch 2.
    assert one.epochs.restricted_mean.estimate == EPOCHS + 11 * default_first_rung(EPOCHS, 3)
    assert one.early_stopping.stopped == 11 * 10
    assert one.early_stopping.share == 0
    assert one.early_stopping.share_of_matches_lost is None
    json.dumps(result.model_dump(), allow_nan=False)


def test_halving_that_stops_all_but_the_first_third_is_charged_and_blamed_for_it() -> None:
    # The first third arrive in rising order, so each is the best so far; the others are worse than
    # all of those, and of n <= 12 entries ceil(n / 3) <= 4 survive. All reach 0.9 at their end.
    kept = [[0.5 + place / 100] * (EPOCHS - 1) + [0.9] for place in range(4)]
    lost = [[0.4 - place / 100] * (EPOCHS - 1) + [0.9] for place in range(8)]
    census = ordered([curve(best, seed=n) for n, best in enumerate([*kept, *lost])])
    done = replay(census, policy("grid", "asha", 12), 0.95, 0)
    assert states(done) == ["completed"] * 4 + ["pruned"] * 8
    assert not done.reached
    assert done.cost == (12, 4 * EPOCHS + 8 * 2, 2.0 * (4 * EPOCHS + 8 * 2))
    result = simulate(census, [policy("grid", "asha", 12)], 0.9, searches=1, num_halves=0)
    grid_seed = search_seed(0, 0, 0)
    again = replay(census, policy("grid", "asha", 12), 0.9, grid_seed)
    early = result.combinations[0].early_stopping
    assert early.stopped == early.would_have_reached == states(again).count("pruned") > 0
    assert early.share == 1
    assert early.share_of_matches_lost == early.stopped / 12


def test_a_trial_that_reached_the_target_before_it_was_stopped_counts_as_reached() -> None:
    census = ordered([curve([0.9] * EPOCHS, seed=1), curve([0.5, *[0.8] * 11], seed=2)])
    done = replay(census, policy("grid", "asha", 2), 0.8, 0)
    assert states(done) == ["completed", "pruned"]
    assert done.cost.epochs == 1
    high = replay(census.part([1, 0]), policy("grid", "asha", 2), 0.8, 0)
    assert high.cost == done.cost


def test_failed_trials_match_nothing_but_are_charged() -> None:
    failed = curve([0.9] * 3, seed=1, state="diverged", slot_s=30.0)
    crashed = curve([], seed=2, state="crashed", seconds=(7.0,), slot_s=7.0)
    fine = curve([0.1, 0.8], seed=3)
    done = replay(ordered([failed, crashed, fine]), policy("grid", "none", 3), 0.8, 0)
    assert states(done) == ["diverged", "crashed", "completed"]
    assert done.reached
    assert done.cost == (3, 5, 30.0 + 7.0 + 4.0)


def test_a_trial_that_is_stopped_before_it_fails_never_fails() -> None:
    census = ordered([curve([0.9] * EPOCHS, seed=1), curve([0.85] * 5, seed=2, state="diverged")])
    done = replay(census, policy("grid", "asha", 2), 0.85, 0)
    assert states(done) == ["completed", "pruned"]


def test_trials_are_not_judged_before_their_first_judged_epoch() -> None:
    worse = curve([0.1] * EPOCHS, seed=2, judged_from=3)
    census = ordered([curve([0.9] * EPOCHS, seed=1), worse])
    done = replay(census, policy("grid", "asha", 2), 1.0, 0)
    assert [trial.epochs for trial in done.trials] == [EPOCHS, 6]  # the rungs are 2 and 6


def test_concurrent_trials_are_charged_for_the_part_of_an_epoch_that_has_passed() -> None:
    slow = curve([0.1] * EPOCHS, seed=1, seconds=(10.0,) * EPOCHS, slot_s=60.0)  # half a slot
    fast = curve([0.1, 0.5, *[0.5] * 10], seed=2)
    census = ordered([slow, fast])
    together = replay(census, policy("grid", "none", 2, slots=2), 0.5, 0)
    assert together.cost == (2, 2, 2 * 2.0 + 2 * 0.5)
    alone = replay(census, policy("grid", "none", 2), 0.5, 0)
    assert alone.cost == (2, EPOCHS + 2, 60.0 + 2 * 2.0)


def test_a_configuration_asked_twice_is_answered_by_another_recorded_trial() -> None:
    space = Space(name="none", summary="no knobs")
    census = census_of([curve([0.1 * n] * EPOCHS, seed=n) for n in range(1, 6)], space)
    done = replay(census, policy(trials=10), 1.0, 3)
    first, second = [trial.curve for trial in done.trials[:5]], done.trials[5:]
    assert sorted(first) == sorted(trial.curve for trial in second) == list(range(5))


@pytest.mark.parametrize(
    ("space", "sampler", "scheduler", "more"),
    [
        ("periodic_T", "tpe", "asha", {}),
        ("periodic_T", "tpe", "asha", {"brackets": 3}),
        ("periodic_T", "tpe", "asha", {"before_injection": True}),
        ("periodic_T", "tpe", "asha", {"before_injection": "auto"}),
        ("periodic", "tpe", "median", {}),
        ("periodic_T", "sobol", "none", {}),
    ],
)
def test_a_replay_equals_the_run_that_the_driver_makes_of_the_same_curves(
    tmp_path: Path, space: str, sampler: str, scheduler: str, more: dict[str, Any]
) -> None:
    def made(trial: TrialConfig, epoch: int) -> float:
        injection = trial.injection
        level = 0.6 - 0.02 * abs((injection.T or 5) - 5) - 0.01 * len(injection.position or "")
        return level * (1 - 0.8**epoch) + 0.02 * math.sin(epoch * (injection.T or 1))

    given: dict[str, Any] = {"epochs": 16, "seed": 5}
    whole = simulation.spec(
        space, sampler={"name": "grid"}, scheduler={"name": "none"}, budget={"trials": 64}, **given
    )
    simulation.run(tmp_path / "census", whole, made)
    searched = simulation.spec(
        space, sampler={"name": sampler}, budget={"trials": 14},
        scheduler={"name": scheduler, "before_injection": False, **more}, **given,
    )  # fmt: skip
    simulation.run(tmp_path / "search", searched, made)
    with Record.open(tmp_path / "search") as record:
        expected = [(row.knobs, row.epochs, row.state, row.score) for row in record.trials()]
    census = read_census([tmp_path / "census"])
    done = replay(census, policy(sampler, scheduler, 14, **more), 1.0, seed=5)
    found = [
        (one.knobs, one.epochs, one.state, census.curves[one.curve].best[one.epochs - 1])
        for one in done.trials
    ]
    assert found == expected
    assert (scheduler == "none") == ("pruned" not in states(done))


def test_the_same_seed_gives_the_same_result_whatever_the_number_of_processes() -> None:
    rng = np.random.RandomState(1)
    census = levels(rng.uniform(0.2, 0.6, 24).tolist())
    policies = [policy("tpe", "asha", 12, slots=3), policy("random", "median", 12)]

    def run(jobs: int, seed: int = 0) -> dict[str, Any]:
        return simulate(
            census, policies, 0.5, searches=20, num_halves=4, nearest=True, jobs=jobs, seed=seed
        ).model_dump()

    assert run(1) == run(2) == run(3)
    assert run(1) != run(1, seed=1)


def test_the_progress_counts_every_search() -> None:
    told: list[tuple[int, int]] = []
    census = levels([0.2, 0.3, 0.4, 0.5])
    simulate(
        census, [policy()], 0.5, searches=20, num_halves=3, nearest=True,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1] == (20 + 3 * 2, 26)


def test_what_was_not_recorded_is_refused_unless_the_nearest_may_answer() -> None:
    census = census_of([curve([0.5] * EPOCHS, {"T": T}, seed=T) for T in (1, 2, 9)], int_space(10))
    with pytest.raises(UserError, match=r"7 configuration.* such as T=3\..*--nearest"):
        simulate(census, [policy()], 0.4)
    result = simulate(census, [policy(trials=40)], 0.6, searches=10, num_halves=0, nearest=True)
    nearest = result.combinations[0].nearest
    assert nearest.proposals == 400
    assert abs(nearest.share - 0.7) < SIGMAS * math.sqrt(0.7 * 0.3 / 400)
    real = Space.model_validate({
        "name": "real", "summary": "s",
        "knobs": {"Constant": {"kind": "float", "low": 0.1, "high": 1.0, "source": "s"}},
    })  # fmt: skip
    with pytest.raises(UserError, match=r"Constant of space real is a real number.*--nearest"):
        simulate(census_of([curve([0.5], {"Constant": 0.2})], real), [policy()], 0.4)


def test_the_nearest_is_found_on_the_scale_of_each_knob() -> None:
    knobs = {
        "method": {"kind": "choice", "values": ["a", "b"], "source": "s"},
        "C": {"kind": "float", "low": 0.01, "high": 100.0, "log": True, "source": "s"},
        "p": {"kind": "float", "low": 0.0, "high": 1.0, "when": {"method": ["b"]}, "source": "s"},
    }
    space = Space.model_validate({"name": "mixed", "summary": "s", "knobs": knobs})
    recorded: list[dict[str, Any]] = [
        {"method": "a", "C": 0.01},
        {"method": "a", "C": 1.0},
        {"method": "b", "C": 1.0, "p": 0.5},
        {"method": "a", "C": 100.0},
    ]
    census = census_of([curve([0.5], one, seed=n) for n, one in enumerate(recorded)], space)
    assert census.answer({"method": "a", "C": 1.0}) == ((1,), 0.0)
    indices, distance = census.answer({"method": "a", "C": 10.0})
    assert indices == (1, 3)  # one decade of four from either
    assert distance == pytest.approx(0.25)
    indices, distance = census.answer({"method": "b", "C": 0.01, "p": 0.25})
    assert indices == (2,)
    assert distance == pytest.approx(math.hypot(0.5, 0.25))
    # Another method, a knob that is active on one side only, and a decade: the method weighs more.
    assert census.answer({"method": "b", "C": 0.1, "p": 1.0}).curves == (2,)


def test_the_spread_of_half_means_is_the_standard_error_of_the_mean() -> None:
    rng = np.random.RandomState(4)
    values = rng.uniform(size=31)
    census = levels(values.tolist())
    count = 4000
    found = halves(census, nearest=True, count=count, seed=1)
    assert not isinstance(found, str)
    means = [np.mean([one.best[0] for one in half.curves]) for half in found]
    expected = values.var(ddof=1) / len(values)
    # Halves of 15 and of 16, equally often: the mean of 1/15 - 1/31 and 1/16 - 1/31.
    expected *= len(values) * ((1 / 15 + 1 / 16) / 2 - 1 / 31)
    assert np.var(means) == pytest.approx(expected, rel=SIGMAS * math.sqrt(2 / count))


def test_seeds_are_halved_whole_and_configurations_keep_trials() -> None:
    blocked = [curve([0.5], {"T": T}, seed=seed) for T in (1, 2, 3) for seed in range(6)]
    found = halves(census_of(blocked, int_space(3)), nearest=False, count=20, seed=0)
    assert not isinstance(found, str)
    for half in found:
        seeds = {one.seed for one in half.curves}
        assert len(seeds) == 3
        assert len(half.curves) == 9
        assert half.missing() is None
    fresh = [curve([0.5], {"T": T}, seed=10 * T + n) for T in (1, 2, 3) for n in range(5)]
    found = halves(census_of(fresh, int_space(3)), nearest=False, count=20, seed=0)
    assert not isinstance(found, str)
    assert {len(half.curves) for half in found} <= set(range(6, 10))
    assert all(half.missing() is None for half in found)


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        ([(1, 7), (2, 7)], "all trials share one seed"),
        ([(1, 7), (1, 8), (2, 7)], "not every configuration was trained on every seed"),
        ([(1, 7), (1, 8), (2, 9)], "a configuration was trained only once"),
    ],
)
def test_there_are_no_limits_where_the_census_cannot_tell_them(
    trials: list[tuple[int, int]], reason: str
) -> None:
    curves = [curve([0.1 * seed] * EPOCHS, {"T": T}, seed=seed) for T, seed in trials]
    result = simulate(census_of(curves, int_space(2)), [policy()], 0.75, searches=10)
    assert any(reason in warning for warning in result.warnings)
    one = result.combinations[0]
    assert one.success.low is one.success.high is one.trials.ert.low is None
    assert result.halves == 0


def test_more_searches_narrow_the_replay_noise_but_not_the_limits() -> None:
    space = Space(name="none", summary="no knobs")
    census = census_of([curve([0.5 if n < 8 else 0.2] * EPOCHS, seed=n) for n in range(24)], space)
    few, many = (
        simulate(census, [policy(trials=2)], 0.4, searches=n, num_halves=40).combinations[0].success
        for n in (60, 480)
    )
    assert many.replay_high - many.replay_low < 0.5 * (few.replay_high - few.replay_low)
    assert many.low is not None
    assert many.high is not None
    # Half of 24 with 8 matches: the number of matches has standard deviation 1.2, so the share's is
    # 0.1 and that of the success at two trials, of derivative 2 (1 - 1/3), 0.13.
    assert many.high - many.low > 2 * 0.13
    assert many.low < many.estimate < many.high


@pytest.mark.slow
def test_limits_cover_the_truth_of_the_population() -> None:
    share, budget, censuses = 0.3, 3, 40
    truth = 1 - (1 - share) ** budget
    rng = np.random.RandomState(11)
    space = Space(name="none", summary="no knobs")
    covered = 0
    for _ in range(censuses):
        levels_ = np.where(rng.uniform(size=40) < share, 0.5, 0.2)
        census = census_of(
            [curve([level], seed=n) for n, level in enumerate(levels_.tolist())], space
        )
        result = simulate(census, [policy(trials=budget)], 0.4, searches=200, num_halves=60)
        success = result.combinations[0].success
        assert success.low is not None
        assert success.high is not None
        covered += success.low <= truth <= success.high
    assert covered / censuses > 0.95 - 3 * math.sqrt(0.95 * 0.05 / censuses)


def test_quantiles_of_censored_costs_are_those_of_the_product_limit() -> None:
    from scipy import stats

    rng = np.random.RandomState(0)
    for _ in range(50):
        size = rng.randint(1, 40)
        cost = rng.randint(1, 12, size).astype(float)
        reached = rng.uniform(size=size) < 0.6
        data = stats.CensoredData(uncensored=cost[reached], right=cost[~reached])
        survival = stats.ecdf(data).sf
        for q in (0.1, 0.5, 0.9):
            below = survival.quantiles[survival.probabilities <= 1 - q + 1e-9]
            expected = below[0] if len(below) else math.inf
            assert quantile(cost, reached, q) == expected


def recorded(folder: Path, **flags: Any) -> Path:
    """Write a census of two trials for each T of 1 to 6; those of T = 3 reach 0.5."""
    curves = [
        ({"T": T}, [0.2 + 0.01 * n] * 11 + [0.55 if T == 3 else 0.3], "completed")
        for n in range(2)
        for T in range(1, 7)
    ]
    spec = quick(sampler={"name": "random"}, scheduler={"name": "none"}, **flags)
    return make_run(folder, curves, spec)


def test_a_census_is_read_from_its_records(tmp_path: Path) -> None:
    curves = [
        ({"T": 3}, [0.1, 0.3, 0.2], "completed"),
        ({"T": 2}, [0.1], "crashed"),
        ({"T": 1}, [], "crashed"),
        ({"T": 4}, [0.4, 0.4], "stopped"),
        ({"T": 5}, [], "waiting"),
    ]
    spec = quick(sampler={"name": "random"}, scheduler={"name": "none"})
    census = read_census([make_run(tmp_path / "census", curves, spec)])
    assert [one.state for one in census.curves] == ["completed", "crashed", "crashed"]
    assert census.curves[0].best == (0.1, 0.3, 0.3)
    assert census.curves[0].seconds == pytest.approx((1.1, 1.1, 1.1))
    assert census.curves[0].slot_s == 6.0
    assert "2 trial(s) that have not ended" in census.notes[0]
    assert census.timed
    assert census.space.knobs["T"].high == 6  # type: ignore[union-attr]


def test_runs_that_make_no_census_are_refused_in_one_line(tmp_path: Path) -> None:
    asha = make_run(tmp_path / "asha", [({"T": 3}, [0.1], "pruned")], quick())
    with pytest.raises(UserError, match=r"asha stopped trials early.*--scheduler none"):
        read_census([asha])
    one, other = recorded(tmp_path / "one"), recorded(tmp_path / "two", epochs=14)
    with pytest.raises(UserError, match="one and two differ in epochs: 12 and 14"):
        read_census([one, other])
    with pytest.raises(UserError, match="given twice"):
        read_census([one, one])
    empty = make_run(
        tmp_path / "none", [({"T": 3}, [], "waiting")], quick(scheduler={"name": "none"})
    )
    with pytest.raises(UserError, match="none has no trial that has ended"):
        read_census([empty])


def test_the_command_prints_the_same_numbers_in_every_format(tmp_path: Path) -> None:
    recorded(tmp_path / "census")
    given = ["simulate", "census", "--runs", str(tmp_path), "--target", "0.5", "--searches", "20"]
    given += ["--trials", "9", "--scheduler", "asha", "--scheduler", "none", "--jobs", "1"]
    given += ["--halves", "20"]
    printed = {
        form: CliRunner().invoke(cli, [*given, "--format", form])
        for form in ("table", "json", "csv")
    }
    assert all(one.exit_code == 0 for one in printed.values()), printed["json"].stderr
    result = json.loads(printed["json"].stdout)
    lines = [line.split(",") for line in printed["csv"].stdout.splitlines()]
    assert [one["scheduler"] for one in result["combinations"]] == ["asha", "none"]
    assert len(lines) == 1 + 2 * 3
    row = dict(zip(lines[0], lines[1], strict=True))
    one = result["combinations"][0]
    assert row["unit"] == "trials"
    assert float(row["success"]) == one["success"]["estimate"]
    assert float(row["ert"]) == one["trials"]["ert"]["estimate"]
    assert f"{one['success']['estimate']:.3f}" in printed["table"].stdout
    assert max(map(len, printed["table"].stdout.splitlines())) <= 80
    assert "2 of 12 recorded trials reach 0.5" in printed["table"].stderr


def test_mistakes_on_the_command_line_are_told_in_one_line(tmp_path: Path) -> None:
    recorded(tmp_path / "census")
    given = ["simulate", "census", "--runs", str(tmp_path)]
    for more, told in (
        (["--target", "0.5", "--first-rung", "12"], "first_rung must be less than epochs (12)"),
        (["--target", "1.5"], "less than 1, got 1.5"),
        ([], "--target"),
        (["--target", "0.5", "--sampler", "bayes"], "bayes"),
    ):
        result = CliRunner().invoke(cli, [*given, *more])
        assert result.exit_code == 2
        assert told in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_the_command_works_where_torch_and_ray_cannot_be_imported(tmp_path: Path) -> None:
    recorded(tmp_path / "runs" / "census")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("torch", "ray"):
        (hidden / f"{name}.py").write_text("raise ImportError('hidden')", encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    given = ["--runs", str(tmp_path / "runs"), "--target", "0.5", "--searches", "5", "--jobs", "2"]
    given += ["--halves", "2"]
    result = subprocess.run(
        [sys.executable, "-m", "tuner", "simulate", "census", *given],
        env={"PYTHONPATH": f"{hidden}:{root}", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "success" in result.stdout


@pytest.mark.slow
def test_500_searches_of_30_trials_fit_in_two_minutes_on_two_cores() -> None:
    rng = np.random.RandomState(2)
    space = int_space(30)
    curves = []
    for seed in range(100):
        T = int(rng.randint(1, 31))
        level = 0.6 - 0.01 * abs(T - 8) + 0.03 * rng.normal()
        best = np.maximum.accumulate(level * (1 - 0.93 ** np.arange(1, 61))).tolist()
        curves.append(curve(best, {"T": T}, seed=seed, judged_from=min(2 * T, 60)))
    census = Census(space, 60, tuple(curves), timed=True)
    searches = 50
    started = time.process_time()
    simulate(census, [policy("tpe", "asha", 30)], 0.6, searches=searches, nearest=True)
    assert time.process_time() - started < 2 * 120 * searches / 500


@pytest.mark.parametrize("target", ["nan", "0", "1", "-0.1", "1.5", "inf"])
def test_a_target_outside_the_scores_is_refused_before_anything_is_read(target, tmp_path):
    given = ["simulate", "none", f"--target={target}", "--runs", str(tmp_path)]
    result = CliRunner().invoke(cli, given)
    assert result.exit_code == 2
    expected = f"--target must be greater than 0 and less than 1, got {float(target)}.\n"
    assert result.stderr == expected
