"""Optuna's samplers with every argument that matters pinned, each made anew for every proposal.

A sampler that lives as long as the run carries a state that a kill loses: a position in a random
stream, fitted lengthscales. One that is made for proposal k, seeded from the run's seed and k, and
that learns from the study alone, proposes the same after a kill as without one. What Optuna keeps
between proposals (Sobol's position, CMA-ES's distribution) it keeps as attributes of the study and
its trials; `Search` carries them into the record and back.

What each learns from: `tpe` from completed trials, then from pruned ones in order of how far they
came; `gp` and `cmaes` from completed trials only; failed ones count for none. `tpe` and `gp` take
running trials into account. `gp` draws conditional knobs at random; `cmaes` refuses them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, QMCSampler

from search_spaces.model import UserError
from search_spaces.space import ChoiceKnob, FloatKnob, IntKnob, Space, Value

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    from tuner.spec_sections import SamplerConfig

GRID_LIMIT = 100_000
"""A grid of more points is refused: no run finishes it, and a part of it is random search."""
PACKAGES = {"cmaes": ("cmaes",), "gp": ("scipy", "torch"), "sobol": ("scipy",)}
"""What a sampler imports beyond Optuna's own requirements."""


def check_sampler(space: Space, config: SamplerConfig) -> None:
    """Raise `UserError` if the sampler cannot search the resolved space on this machine."""
    missing = [
        name for name in PACKAGES.get(config.name, ()) if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise UserError(
            f"Sampler {config.name} needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    if config.name == "cmaes":
        for name, knob in space.knobs.items():
            if isinstance(knob, ChoiceKnob) or knob.when:
                what = "a choice" if isinstance(knob, ChoiceKnob) else "not always active"
                raise UserError(
                    f"Sampler cmaes searches numbers only, but knob {name} of space {space.name} is"
                    f" {what}. Hold it with --set {name}=VALUE, or use --sampler tpe, gp, random,"
                    " sobol or grid."
                )
    if config.name == "grid":
        found = sum(1 for _ in itertools.islice(grid_points(space), GRID_LIMIT + 1))
        if found > GRID_LIMIT:
            sizes = {name: len(_grid_values(knob)) for name, knob in space.knobs.items()}
            product = " × ".join(f"{size:,} of {name}" for name, size in sizes.items())
            raise UserError(
                f"A grid may have at most {GRID_LIMIT:,} points, but space {space.name} has"
                f" {product} = {math.prod(sizes.values()):,}. Narrow it with --range, or use"
                " --sampler sobol, random or tpe."
            )


def distribution(knob: IntKnob | FloatKnob | ChoiceKnob) -> BaseDistribution:
    """Return a resolved knob as Optuna knows it; a whole number stays one, so its order is kept."""
    match knob:
        case IntKnob(low=int() as low, high=int() as high):
            return IntDistribution(low, high, log=knob.log)
        case FloatKnob():
            return FloatDistribution(knob.low, knob.high, log=knob.log)
        case ChoiceKnob():
            return CategoricalDistribution(knob.values)
        case _:
            raise AssertionError(f"{knob} is not resolved")


def suggested(trial: Trial, name: str, knob: IntKnob | FloatKnob | ChoiceKnob) -> Any:
    """Return the trial's value of a resolved knob, which its sampler chooses now."""
    match knob:
        case IntKnob(low=int() as low, high=int() as high):
            return int(trial.suggest_int(name, low, high, log=knob.log))
        case FloatKnob():
            return float(trial.suggest_float(name, knob.low, knob.high, log=knob.log))
        case ChoiceKnob():
            return trial.suggest_categorical(name, knob.values)
        case _:
            raise AssertionError(f"{knob} is not resolved")


def build_sampler(space: Space, config: SamplerConfig, seed: int, number: int) -> BaseSampler:
    """Return the sampler that makes proposal `number`.

    Parameters
    ----------
    space : Space
        Resolved.
    config : SamplerConfig
        Any but `grid`, whose points are known: see `grid_points` and `PointSampler`.
    seed : int
        The run's seed.
    number : int
        Which proposal, from 0.
    """
    own, startup = derived_seed(space, seed, str(number)), config.startup_trials
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match config.name:
            case "random":
                return samplers.RandomSampler(seed=own)
            case "tpe":
                # multivariate: T and position interact. On -((T - best[position])/30)² the best of
                # 40 trials fell short by 0.00007 jointly, 0.0039 knob by knob, 0.0036 at random
                # (mean of 15 seeds); with one knob the two are the same.
                return samplers.TPESampler(
                    seed=own,
                    n_startup_trials=startup,
                    n_ei_candidates=24,
                    multivariate=True,
                    group=False,
                    constant_liar=True,  # else concurrent trials are proposed side by side
                )
            case "gp":
                return samplers.GPSampler(
                    seed=own,
                    n_startup_trials=startup,
                    deterministic_objective=False,
                    warn_independent_sampling=False,
                )
            case "cmaes":
                # with_margin, meant for whole numbers, was no better over T and is experimental.
                return samplers.CmaEsSampler(
                    seed=own,
                    n_startup_trials=startup,
                    consider_pruned_trials=False,  # a pruned trial's score is of fewer epochs
                    with_margin=False,
                    use_separable_cma=False,
                    warn_independent_sampling=False,
                )
            case "sobol":
                return _SobolSampler(space, derived_seed(space, seed, "scramble"))
            case "grid":
                raise AssertionError("a grid's points are known")


def conditions_last(space: Space) -> list[str]:
    """Return the knobs so that what a condition names, which has none itself, comes before it."""
    return sorted(space.knobs, key=lambda name: bool(space.knobs[name].when))


def grid_points(space: Space) -> Iterator[dict[str, Any]]:
    """Yield every point of a resolved space's grid once, active knobs only.

    Whole numbers and choices are taken all, a real number at its `grid` evenly spaced values.
    """

    def extended(point: dict[str, Any], rest: list[str]) -> Iterator[dict[str, Any]]:
        if not rest:
            yield point
        elif rest[0] not in space.active(point):
            yield from extended(point, rest[1:])
        else:
            for value in _grid_values(space.knobs[rest[0]]):
                yield from extended({**point, rest[0]: value}, rest[1:])

    return extended({}, conditions_last(space))


def grid_order(space: Space, seed: int) -> list[dict[str, Any]]:
    """Return the grid's points shuffled, so that the first part of a grid covers all of it."""
    points = list(grid_points(space))
    # RandomState's stream is frozen by numpy's policy; that of random.shuffle is not promised.
    shuffled = np.random.RandomState(derived_seed(space, seed, "grid")).permutation(len(points))
    return [points[index] for index in shuffled]


class PointSampler(BaseSampler):
    """Proposes the one point that it is given.

    Optuna's own grid sampler proposes points anew once all were proposed, and points apart that
    differ only in knobs that are not active.
    """

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = point

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: no knobs are proposed together."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing: no knobs are proposed together."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the point's value of a knob."""
        return self._point[param_name]


class _SobolSampler(QMCSampler):
    """Optuna's scrambled Sobol sequence over all knobs of the space, from the first proposal on.

    Optuna draws the first trial at random and takes the space from the first one that finished; a
    failed first trial, or a conditional knob, then leaves part of the points random without notice.
    """

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(
            qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False
        )
        found = {name: distribution(knob) for name, knob in sorted(space.knobs.items())}
        self._whole_space = {name: one for name, one in found.items() if not one.single()}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return every knob, also those that will not be active: each is a dimension."""
        return dict(self._whole_space)


def _grid_values(knob: IntKnob | FloatKnob | ChoiceKnob) -> Sequence[Value]:
    match knob:
        case IntKnob(low=int() as low, high=int() as high):
            return range(low, high + 1)
        case FloatKnob():
            spaced = np.geomspace if knob.log else np.linspace
            return list(dict.fromkeys(spaced(knob.low, knob.high, knob.grid).tolist()))
        case ChoiceKnob():
            return knob.values
        case _:
            raise AssertionError(f"{knob} is not resolved")


def derived_seed(space: Space, seed: int, purpose: str) -> int:
    """Return a seed below 2^32; it differs between spaces, so that arms stay independent."""
    digest = hashlib.sha256(f"proposal:{seed}:{space.name}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
