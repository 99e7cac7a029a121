"""The recorded full curves of a census, and which of them answers a proposed configuration.

A census is one or more runs of one space, trained in one way on one data set, in which nothing was
stopped early. A proposal is answered by a recorded trial of its own configuration, or, where the
user says so, by the nearest one that was recorded. Knobs lie at distances from 0 to 1 along their
range (of the logarithm on a log scale); unequal choices, and a knob that is active in one of the
two only, lie 1 apart; the whole distance is Euclidean.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_spaces.model import UserError, shown, validated
from search_spaces.space import ChoiceKnob, FloatKnob, Knob, Space
from trainables.config import TrialConfig, canonical_json
from trainables.schedule import clean_epochs
from tuner.devices import all_kinds, named
from tuner.record import Record
from tuner.record_rows import RunRow, TrialRow
from tuner.samplers import grid_points
from tuner.spec import RunSpec

ENDED = ("completed", "diverged", "crashed")
FREE = ("sampler", "scheduler", "seeds", "seed", "budget", "resources")
"""In these parts of their specification the runs of one census may differ."""
TIE = 1e-12
"""Distances that differ by no more than rounding are equal."""


@dataclass(frozen=True)
class Curve:
    """One recorded trial, from its first epoch to its end."""

    knobs: dict[str, Any]
    seed: int
    state: str
    """`completed`, `diverged` or `crashed`."""
    judged_from: int
    """First epoch that early stopping may judge."""
    clean: int
    """Whole epochs before its first injection."""
    raw: tuple[float, ...]
    """Validation macro-F1 of each epoch; NaN where it diverged."""
    best: tuple[float, ...]
    """Best validation macro-F1 up to each epoch."""
    seconds: tuple[float, ...]
    """How long each epoch took; one entry also where it crashed before its first ended."""
    slot_s: float
    """Slot-seconds that the trial was charged."""

    def reaches(self, target: float) -> bool:
        """Whether this trial, not stopped, matches the target; a failed one never does."""
        return self.state == "completed" and self.best[-1] >= target


class Answer(NamedTuple):
    """The recorded trials that may stand for a proposal."""

    curves: tuple[int, ...]
    """Indices; all of one configuration, or of several equally near ones."""
    distance: float
    """0 where the configuration itself was recorded."""


@dataclass(frozen=True)
class Census:
    """Recorded trials and the space that they were drawn from."""

    space: Space
    """Resolved."""
    epochs: int
    curves: tuple[Curve, ...]
    timed: bool
    """Whether durations were recorded, on one kind of device; else every epoch takes 1 s and
    slot-seconds are unknown."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know."""
    devices: tuple[str, ...] = ()
    """Kinds of device that the trials ran on, as far as they are said."""

    @property
    def configurations(self) -> int:
        """How many different configurations were recorded."""
        return len(self._recorded)

    def part(self, indices: Sequence[int]) -> Census:
        """Return the census of some of the trials."""
        curves = tuple(self.curves[index] for index in indices)
        return Census(self.space, self.epochs, curves, self.timed)

    def missing(self) -> tuple[int, dict[str, Any]] | None:
        """Return how many of the space's configurations were not recorded, and one; None if none.

        Raises
        ------
        UserError
            If a knob is a real number: hardly any of its values can have been recorded.
        """
        for name, knob in self.space.knobs.items():
            if isinstance(knob, FloatKnob) and knob.low < knob.high:
                raise UserError(
                    f"Knob {name} of space {self.space.name} is a real number, so nearly every"
                    " proposal was never recorded. --nearest answers with the nearest recorded one."
                )
        points = (point for point in grid_points(self.space) if _key(point) not in self._recorded)
        first = next(points, None)
        return None if first is None else (1 + sum(1 for _ in points), first)

    def answer(self, knobs: dict[str, Any]) -> Answer:
        """Return the recorded trials of a configuration, or those of the nearest recorded ones."""
        found = self._recorded.get(_key(knobs))
        if found is not None:
            return Answer(found, 0.0)
        squares = np.zeros(len(self.curves))
        for name, knob in self.space.knobs.items():
            apart = np.abs(self._places[name] - _place(knob, knobs.get(name)))
            if isinstance(knob, ChoiceKnob):
                apart = np.minimum(apart, 1.0)  # indices, of which only equality counts
            squares += np.where(np.isnan(apart), 1.0, apart) ** 2
            if name not in knobs:  # inactive in both: not apart
                squares -= np.isnan(self._places[name])
        distances = np.sqrt(squares)
        nearest = float(distances.min())
        return Answer(tuple(np.flatnonzero(distances <= nearest + TIE).tolist()), nearest)

    @cached_property
    def _recorded(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for index, curve in enumerate(self.curves):
            key = _key(curve.knobs)
            found[key] = (*found.get(key, ()), index)
        return found

    @cached_property
    def _places(self) -> dict[str, NDArray[np.float64]]:
        return {
            name: np.array([_place(knob, curve.knobs.get(name)) for curve in self.curves])
            for name, knob in self.space.knobs.items()
        }


def read_census(folders: Sequence[Path]) -> Census:
    """Return the census that some runs make up.

    Trials that have not ended, or that the user stopped, are left out, and a note says so.

    Parameters
    ----------
    folders : sequence of Path
        At least one run's folder.

    Raises
    ------
    UserError
        If a run stopped trials early, the runs differ in what they train, or no trial has ended.
    """
    found: list[tuple[RunRow, RunSpec]] = []
    curves: list[Curve] = []
    devices: list[str | None] = []
    notes: list[str] = []
    for folder in folders:
        with Record.open(folder) as record, record.transaction():
            run, trials = record.run(), record.trials()
            spec = validated(RunSpec, run.spec, f"run {run.name}")
            _check_census(run, spec, found[0] if found else None)
            images = int(run.data["images"]["train"])
            steps = spec.training.steps_per_epoch(images)
            ended = [trial for trial in trials if trial.state in ENDED]
            curves += [_curve(record, trial, steps) for trial in ended]
            devices += [named(trial.device, run.host) for trial in ended]
        found.append((run, spec))
        left = sum(trial.state not in ENDED for trial in trials)
        if left:
            notes.append(f"Run {run.name}: {left} trial(s) that have not ended are left out.")
        if spec.sampler.name not in ("random", "grid") and spec.space.knobs:
            notes.append(
                f"Run {run.name} was proposed by {spec.sampler.name}: its trials are no independent"
                " draws, and the limits do not hold."
            )
    names = " and ".join(run.name for run, _ in found)
    if not curves:
        raise UserError(f"Run {names} has no trial that has ended; there is nothing to replay.")
    twice = [name for name, n in Counter(run.name for run, _ in found).items() if n > 1]
    if twice:
        raise UserError(f"Run {twice[0]} is given twice; each trial may count once.")
    timed = all(min(curve.seconds) > 0 for curve in curves if curve.best)
    kinds = all_kinds(devices)
    if len(kinds) > 1:
        timed = False
        notes.append(
            f"The trials ran on different devices ({', '.join(kinds)}), whose seconds do not"
            " compare: every epoch counts as 1 s."
        )
    elif not timed:
        notes.append("Not all durations are recorded: every epoch counts as 1 s.")
    if not timed:
        curves = [
            Curve(**{**vars(curve), "seconds": (1.0,) * max(1, len(curve.best))})
            for curve in curves
        ]
    spec = found[0][1]
    space = spec.space.resolved(spec.epochs)
    return Census(space, spec.epochs, tuple(curves), timed, tuple(notes), tuple(kinds))


def halves(census: Census, nearest: bool, count: int, seed: int) -> list[Census] | str:
    """Return random halves of a census without repetition, or why they would tell nothing.

    The spread of a result over halves estimates its spread over censuses: a mean over half of n
    independent trials varies around the mean over all n by exactly as much as the latter varies
    around the truth (the delete-half jackknife; Shao and Wu 1989, Annals of Statistics 17). A
    bootstrap would not: a trial that is drawn twice answers no more proposals than one drawn once,
    so that the spread comes out too small.

    What is halved: trials of one seed share their data order and weights, so where a seed occurs
    more than once, seeds; otherwise trials, and if only recorded configurations are replayed,
    the trials of each configuration, because then the configurations are the whole space and only
    their outcomes are a sample. Odd numbers are halved up or down at random.

    Parameters
    ----------
    census : Census
    nearest : bool
        Whether a half may answer with the nearest configuration that it has.
    count : int
        Number of halves.
    seed : int
    """
    curves = census.curves
    by_seed = _grouped([str(curve.seed) for curve in curves])
    by_config = _grouped([_key(curve.knobs) for curve in curves])
    if len(by_seed) < len(curves):
        if len(by_seed) == 1:
            return "all trials share one seed, so that they are one draw"
        crossed = all(
            len({curves[index].seed for index in group}) == len(by_seed) for group in by_config
        )
        if not nearest and not crossed:
            return "seeds are shared, but not every configuration was trained on every seed"
        strata = [by_seed]
    elif nearest:
        strata = [[[index] for index in range(len(curves))]]
    else:
        strata = [[[index] for index in group] for group in by_config]
    if min(len(units) for units in strata) < 2:
        return "a configuration was trained only once, so that its spread is unknown"
    rng = np.random.RandomState(seed)
    return [
        census.part(sorted(index for units in strata for index in _half(units, rng)))
        for _ in range(count)
    ]


def _half(units: list[list[int]], rng: np.random.RandomState) -> list[int]:
    size = (len(units) + rng.randint(2)) // 2
    return [index for one in rng.permutation(len(units))[:size] for index in units[one]]


def _grouped(keys: Sequence[str]) -> list[list[int]]:
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [list(group) for _, group in itertools.groupby(order, key=keys.__getitem__)]


def _check_census(run: RunRow, spec: RunSpec, first: tuple[RunRow, RunSpec] | None) -> None:
    if spec.scheduler.name != "none":
        raise UserError(
            f"Run {run.name} stopped trials early (scheduler {spec.scheduler.name}), so its curves"
            " are not full. Record a census with: tuner run --sampler random --scheduler none"
        )
    if first is None:
        return
    for field in RunSpec.model_fields:
        mine, other = run.spec[field], first[0].spec[field]
        if field not in FREE and mine != other:
            values = f": {shown(other)} and {shown(mine)}" if field == "epochs" else ""
            raise UserError(
                f"Runs {first[0].name} and {run.name} differ in {field}{values}; a census is one"
                " space, trained in one way."
            )
    if run.data.get("fingerprint") != first[0].data.get("fingerprint"):
        raise UserError(f"Runs {first[0].name} and {run.name} were trained on different data.")


def _curve(record: Record, trial: TrialRow, steps: int) -> Curve:
    rows = record.epochs(trial.number)
    raw = tuple(math.nan if row["val_f1"] is None else float(row["val_f1"]) for row in rows)
    best = tuple(itertools.accumulate((float(row["best_val_f1"] or 0.0) for row in rows), max))
    seconds = tuple((row["train_s"] or 0.0) + (row["eval_s"] or 0.0) for row in rows)
    return Curve(
        trial.knobs,
        trial.seed,
        trial.state,
        trial.first_judged_epoch,
        clean_epochs(TrialConfig.model_validate(trial.trial_config), steps),
        raw,
        best,
        seconds or (trial.slot_s,),
        trial.stand_alone_slot_s,
    )


def _key(knobs: dict[str, Any]) -> str:
    return canonical_json(knobs)


def _place(knob: Knob, value: Any) -> float:
    """Return where a value lies along its knob, NaN where the knob is not active."""
    if value is None:
        return math.nan
    if isinstance(knob, ChoiceKnob):
        return float([(type(one), one) for one in knob.values].index((type(value), value)))
    scale = math.log if knob.log else float
    low, high = scale(float(knob.low)), scale(float(knob.high))
    return (scale(float(value)) - low) / (high - low) if high > low else 0.0
