"""What the samplers propose, against closed forms, scipy's Sobol sequence, and brute force."""

from __future__ import annotations

import importlib.util
import itertools
import math
import statistics
import time
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import qmc

from search_spaces.model import UserError
from search_spaces.space import ChoiceKnob, IntKnob, Space, load_space
from tests.tuner.test_search import CONDITIONAL, NUMBERS, SAMPLERS, space_of
from tuner.samplers import (
    GRID_LIMIT,
    build_sampler,
    check_sampler,
    derived_seed,
    distribution,
    grid_order,
    grid_points,
    suggested,
)
from tuner.spec_sections import SamplerConfig

PERIODIC_T = load_space("periodic_T").resolved(60)


def proposals(
    space: Space, name: str, seed: int, count: int, score: Any = None, startup: int = 10
) -> list[dict[str, Any]]:
    """Return what a sampler proposes, told `score` of each; a score of None fails the trial."""
    config = SamplerConfig.model_validate({"name": name, "startup_trials": startup})
    study = optuna.create_study(direction="maximize")
    result = []
    for number in range(count):
        study.sampler = build_sampler(space, config, seed, number)
        trial = study.ask()
        knobs = {key: suggested(trial, key, knob) for key, knob in space.knobs.items()}
        value = score(knobs) if score else 0.5
        study.tell(number, value, TrialState.FAIL if value is None else TrialState.COMPLETE)
        result.append(knobs)
    return result


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_learning_beats_random_on_a_quadratic_over_T(name: str) -> None:
    def score(knobs: dict[str, Any]) -> float:
        return -(((knobs["T"] - 11) / 30) ** 2)

    def mean(name: str, seed: int) -> float:
        told = proposals(PERIODIC_T, name, seed, 40, score)[10:]
        return statistics.mean(score(knobs) for knobs in told)

    seeds = range(15)
    learnt, drawn = [mean(name, seed) for seed in seeds], [mean("random", seed) for seed in seeds]
    error = math.hypot(statistics.stdev(learnt), statistics.stdev(drawn)) / math.sqrt(len(seeds))
    exact = statistics.mean(-(((T - 11) / 30) ** 2) for T in range(1, 31))
    print(
        f"{name} {statistics.mean(learnt):.4f}, random {statistics.mean(drawn):.4f} ± {error:.4f}"
    )
    assert abs(statistics.mean(drawn) - exact) < 6 * error
    assert statistics.mean(learnt) - statistics.mean(drawn) > 6 * error


def test_gp_finds_the_best_T_of_a_quadratic_within_one() -> None:
    # A Gaussian process interpolates a quadratic: 8 points and 7 proposals leave no doubt.
    told = proposals(PERIODIC_T, "gp", 0, 15, lambda knobs: -(((knobs["T"] - 11) / 30) ** 2), 8)
    assert abs(told[-1]["T"] - 11) <= 1


def test_sobol_points_equal_scipys() -> None:
    space = space_of(
        {
            "T": {"kind": "int", "low": 1, "high": 30},
            "position": {"kind": "choice", "values": ["bn1", "bn2", "all"]},
            "Constant": {"kind": "float", "low": 0.05, "high": 5.0, "log": True},
        }
    )
    sequence = qmc.Sobol(3, scramble=True, seed=derived_seed(space, 3, "scramble")).random(16)
    for knobs, (constant, T, position) in zip(
        proposals(space, "sobol", 3, 16), sequence, strict=True
    ):
        assert knobs["Constant"] == pytest.approx(0.05 * 100**constant, rel=1e-12)
        assert knobs["T"] == 1 + math.floor(30 * T)
        assert knobs["position"] == ("bn1", "bn2", "all")[math.floor(3 * position)]


def test_the_first_16_sobol_points_over_16_values_are_all_of_them_though_trials_fail() -> None:
    space = space_of({"T": {"kind": "int", "low": 1, "high": 16}})
    told = proposals(space, "sobol", 0, 16, lambda knobs: None if knobs["T"] % 2 else 0.5)
    assert sorted(knobs["T"] for knobs in told) == list(range(1, 17))


def test_random_proposals_are_uniform_and_differ_between_numbers_seeds_and_spaces() -> None:
    # Under uniformity chi-squared with 29 degrees of freedom has mean 29 and variance 58.
    count = 1500
    drawn = [knobs["T"] for knobs in proposals(PERIODIC_T, "random", 0, count)]
    tallies = np.bincount(drawn, minlength=31)[1:]
    statistic = float(((tallies - count / 30) ** 2 / (count / 30)).sum())
    assert abs(statistic - 29) < 6 * math.sqrt(58)
    other_seed = [knobs["T"] for knobs in proposals(PERIODIC_T, "random", 1, 50)]
    renamed = PERIODIC_T.model_copy(update={"name": "other"})
    other_space = [knobs["T"] for knobs in proposals(renamed, "random", 0, 50)]
    assert len({tuple(drawn[:50]), tuple(other_seed), tuple(other_space)}) == 3


def test_a_whole_number_stays_ordered_and_a_choice_unordered() -> None:
    T, constant = NUMBERS.knobs["T"], NUMBERS.knobs["Constant"]
    assert distribution(T) == optuna.distributions.IntDistribution(1, 30)
    assert distribution(constant) == optuna.distributions.FloatDistribution(0.05, 5.0, log=True)
    position = CONDITIONAL.knobs["position"]
    choices = optuna.distributions.CategoricalDistribution(["bn1", "bn2", "all"])
    assert distribution(position) == choices


def test_a_grid_is_the_product_of_its_values_with_exact_ends() -> None:
    space = space_of(
        {
            "T": {"kind": "int", "low": 2, "high": 4},
            "a": {"kind": "float", "low": 0.05, "high": 0.5, "grid": 4},
            "b": {"kind": "float", "low": 0.01, "high": 1.0, "log": True, "grid": 3},
            "c": {"kind": "float", "low": 0.3, "high": 0.3},
        }
    )
    found = [tuple(point[name] for name in "Tabc") for point in grid_points(space)]
    wanted = list(itertools.product((2, 3, 4), (0.05, 0.2, 0.35, 0.5), (0.01, 0.1, 1.0), (0.3,)))
    assert np.asarray(found) == pytest.approx(np.asarray(wanted), rel=1e-12)
    assert {point[1] for point in found} >= {0.05, 0.5}
    assert {point[2] for point in found} >= {0.01, 1.0}
    assert {type(value) for point in found for value in point} == {int, float}


def test_a_grid_holds_points_that_differ_in_inactive_knobs_only_once() -> None:
    rates = np.linspace(0.05, 0.5, 3).tolist()
    brute = {
        tuple(sorted((name, point[name]) for name in CONDITIONAL.active(point)))
        for T, position, rate in itertools.product(range(1, 9), ("bn1", "bn2", "all"), rates)
        for point in [{"T": T, "position": position, "dropout_rate": rate}]
    }
    points = [tuple(sorted(point.items())) for point in grid_points(CONDITIONAL)]
    assert len(points) == len(brute)
    assert set(points) == brute


def test_a_grids_order_is_a_shuffle_by_seed() -> None:
    points = [point["T"] for point in grid_points(PERIODIC_T)]
    first, second = ([one["T"] for one in grid_order(PERIODIC_T, seed)] for seed in (0, 1))
    assert sorted(first) == sorted(second) == points
    assert len({tuple(points), tuple(first), tuple(second)}) == 3
    assert first == [one["T"] for one in grid_order(PERIODIC_T, 0)]


@pytest.mark.parametrize("high", [GRID_LIMIT + 1, 2**31 - 1])
def test_a_huge_grid_is_refused_at_once_with_its_size(high: int) -> None:
    space = space_of({"T": {"kind": "int", "low": 1, "high": high}})
    start = time.perf_counter()
    with pytest.raises(UserError, match=rf"100,000 points.*{high:,}.*--range"):
        check_sampler(space, SamplerConfig(name="grid"))
    assert time.perf_counter() - start < 5
    check_sampler(space, SamplerConfig(name="tpe"))


def test_a_grid_of_just_the_limit_is_taken() -> None:
    space = space_of({"T": {"kind": "int", "low": 1, "high": GRID_LIMIT}})
    check_sampler(space, SamplerConfig(name="grid"))


@pytest.mark.parametrize(("space", "knob"), [("periodic", "position"), ("dynamic", "position")])
def test_cmaes_refuses_what_it_would_draw_at_random_and_names_others(space: str, knob: str) -> None:
    with pytest.raises(UserError, match=rf"cmaes.*{knob}.*--set {knob}=.*tpe, gp, random"):
        check_sampler(load_space(space).resolved(60), SamplerConfig(name="cmaes"))


def test_cmaes_refuses_a_conditional_knob() -> None:
    space = space_of(
        {
            "T": {"kind": "int", "low": 1, "high": 8},
            "x": {"kind": "float", "low": 0, "high": 1, "when": {"T": [1, 2]}},
        }
    )
    with pytest.raises(UserError, match="x of space made is not always active"):
        check_sampler(space, SamplerConfig(name="cmaes"))


@pytest.mark.parametrize(
    ("name", "package"), [("cmaes", "cmaes"), ("gp", "scipy"), ("sobol", "scipy")]
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda wanted: None if wanted == package else found(wanted)
    )
    with pytest.raises(UserError, match=f"Sampler {name} needs {package}: pip install {package}"):
        check_sampler(PERIODIC_T, SamplerConfig.model_validate({"name": name}))
    check_sampler(PERIODIC_T, SamplerConfig(name="tpe"))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("space", ["baseline", "dropout", "periodic_T", "dynamic_constant"])
def test_every_sampler_takes_every_space_of_numbers(name: str, space: str) -> None:
    resolved = load_space(space).resolved(60)
    assert not any(isinstance(knob, ChoiceKnob) for knob in resolved.knobs.values())
    check_sampler(resolved, SamplerConfig.model_validate({"name": name}))


def test_a_range_of_one_value_is_proposed_by_all() -> None:
    space = space_of({"T": {"kind": "int", "low": 3, "high": 3}})
    assert isinstance(space.knobs["T"], IntKnob)
    for name in ("tpe", "random", "gp", "cmaes", "sobol"):
        told = proposals(space, name, 0, 5, startup=2)
        assert told == [{"T": 3}] * 5
    assert grid_order(space, 0) == [{"T": 3}]
