"""What a run would do and cost, before it starts: `tuner run --dry-run`. Writes nothing.

Expected epochs come from a simulation: configurations drawn from the space, scores that say nothing
(each trial has one random rank), the real stopping rule, one trial after another. A sampler that
learns stops later, because its trials improve; the bounds hold for any.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.space import ChoiceKnob, Space
from trainables.config import DataConfig, TrialConfig
from trainables.schedule import first_judged_epoch, warnings_for
from tuner.cli.formatting import range_text
from tuner.forks import Forks, SharedEpochs, ends_count
from tuner.rungs import Halving, MedianStopping
from tuner.spec import FLAGS, RunSpec, in_effect
from tuner.summary import slot_seconds_per_epoch

SIMULATED_TRIALS = 300
"""As many are simulated at most: the mean then has a standard error of 4 % at 60 epochs."""
DRAWN_CONFIGS = 50
"""Configurations drawn to know when trials may be judged; the search for w's zero is not free."""

UNKNOWN_COST = (
    "not known before the first epoch: no earlier run has this network, data, training and share of"
    " a device"
)


class KnownImages(NamedTuple):
    """What is known of the images before they are packed, or because they were."""

    train: int | None = None
    """Training images, at most; None where only packing can tell."""
    copies: int = 0
    """Validation images that are training images, too; 0 also where only packing can tell."""
    read: bool = True
    """Whether they were packed, or are made here: what was not read may yet be refused."""

    def warnings(self) -> tuple[str, ...]:
        """Return what a user should know of them before anything is trained."""
        if not self.copies:
            return ()
        return (
            f"{self.copies} of the validation images are training images, too: learning by heart"
            " scores better on them; --copies drop leaves them out",
        )


class Plan(NamedTuple):
    """What is planned; epochs and slot-seconds are over all trials."""

    space: str
    arms: tuple[str, ...]
    digest: str
    trials: int | None
    """Trials that will be asked for; None where only the budget's other limits say."""
    seeds_each: int
    """On so many seeds each configuration is trained."""
    limits: dict[str, float]
    epochs_per_trial: int
    scheduler: str
    rungs: tuple[int, ...]
    """Epochs at which trials are judged."""
    brackets: tuple[dict[str, Any], ...]
    """Rungs of each, and the share of trials that is drawn into it; empty where there is one."""
    never_judged: float
    """Share of configurations drawn from the space whose injection comes too late for any rung."""
    epochs_a_trial: float
    """Expected, one trial, shared ones included."""
    epochs_least: float | None
    """If every trial stops at the first rung that may judge it."""
    epochs_expected: float | None
    epochs_most: float | None
    """If none stops."""
    epochs_computed: float | None
    """Expected, each epoch that trials share counted once."""
    slot_seconds_expected: float | None
    cost_from: str | None
    """Where the cost of an epoch comes from; None where it is not known."""
    varies: dict[str, str]
    """What each knob ranges over, by name; empty where trials differ in their seeds alone."""
    search: dict[str, str]
    """Sampler, scheduler, and whether each trial has a seed of its own."""
    training: dict[str, Any]
    data: dict[str, Any]
    """Source, training images at most (None where only packing can tell), limit per split."""
    network: dict[str, Any]
    warnings: tuple[str, ...]
    writes: dict[str, str]


def plan(
    spec: RunSpec,
    folder: Path,
    cache: Path,
    temp: Path,
    others: Sequence[Path],
    known: KnownImages,
) -> Plan:
    """Return the plan of a run.

    Parameters
    ----------
    spec : RunSpec
    folder, cache, temp : Path
        Where the run, packed data and Ray's temporary files go.
    others : sequence of Path
        Folders of earlier runs, the oldest first: what an epoch cost there is taken for this one.
    known : KnownImages
        What is known of the images; without their number, trials whose injection is timed in steps
        are taken to be judged as early as any.
    """
    images = known.train
    rng = random.Random(spec.seed)
    drawn = [spec.trial(knobs, 0) for knobs in _proposed(spec, rng)]
    steps = None if images is None else drawn[0].training.steps_per_epoch(images)
    judged_from = [_judged_from(one, steps) for one in drawn]
    clean_until = [spec.clean_until(one, steps or 1) for one in drawn]
    each_least, each_mean, each_computed = _epochs_a_trial(
        spec, drawn, judged_from, clean_until, images, rng
    )
    values = spec.model_dump(mode="json")
    trials, per_epoch = _trials(spec), slot_seconds_per_epoch(others, values)
    if trials is None and spec.budget.epochs is not None:
        trials = math.ceil(spec.budget.epochs / each_computed)
    if trials is None and spec.budget.gpu_hours is not None and per_epoch is not None:
        trials = math.ceil(spec.budget.gpu_hours * 3600 / (each_computed * per_epoch[0]))
    expected = None if trials is None else trials * each_mean
    computed = None if trials is None else trials * each_computed
    rungs = _rungs(spec.stopping(), spec.epochs)
    untimed = steps is None and any(_counts_steps(one) for one in drawn)
    late = [
        start
        for start, clean in zip(judged_from, clean_until, strict=True)
        if not any(rung >= start or rung <= clean for rung in rungs)
    ]
    return Plan(
        space=spec.space.name,
        arms=tuple(sorted({one.injection.arm for one in drawn})),
        digest=spec.digest,
        trials=trials,
        seeds_each=spec.seeds_each,
        limits={key: value for key, value in spec.budget.model_dump().items() if value},
        epochs_per_trial=spec.epochs,
        scheduler=spec.scheduler.name,
        rungs=rungs,
        brackets=_brackets(spec.stopping()),
        never_judged=round(len(late) / len(judged_from), 4),
        epochs_a_trial=round(each_mean, 2),
        epochs_least=None if trials is None else round(trials * each_least, 1),
        epochs_expected=None if expected is None else round(expected, 1),
        epochs_most=None if trials is None else float(trials * spec.epochs),
        epochs_computed=None if computed is None else round(computed, 1),
        slot_seconds_expected=(
            None if computed is None or per_epoch is None else round(computed * per_epoch[0], 1)
        ),
        cost_from=(
            None
            if per_epoch is None
            else f"{per_epoch[0]:.3g} slot-seconds an epoch, as in run {per_epoch[1]}"
        ),
        varies={
            name: range_text(knob) for name, knob in spec.space.resolved(spec.epochs).knobs.items()
        },
        search={
            "sampler": spec.sampler.name,
            "scheduler": spec.scheduler.name,
            "seeds": str(spec.seeds),
        },
        training=in_effect(values, "training"),
        data={
            "source": spec.data.source,
            "train_images": images,
            "limit": spec.data.limit,
            "read": known.read,
        },
        network=in_effect(values, "network"),
        warnings=(
            *known.warnings(),
            *_left_over(spec),
            *_warnings(drawn, steps),
            *([_untimed(spec.data)] if untimed else []),
        ),
        writes={
            "run": str(folder),
            "packed_data": str(cache),
            "ray_temporary": str(temp),
        },
    )


def _judged_from(trial: TrialConfig, steps: int | None) -> int:
    """Return the first epoch that may be judged; 1 where it depends on unknown steps."""
    if steps is None and _counts_steps(trial):
        return 1
    return first_judged_epoch(trial, steps or 1)


def _counts_steps(trial: TrialConfig) -> bool:
    """Return whether a trial's injection is timed in optimiser steps."""
    injection = trial.injection
    in_steps = injection.method == "periodic" and injection.interval_unit == "step"
    return injection.method == "dynamic" or in_steps


def _rungs(
    stopping: Halving | MedianStopping | None, epochs: int, bracket: int = 0
) -> tuple[int, ...]:
    if stopping is None:
        return ()
    return tuple(epoch for epoch in range(1, epochs + 1) if stopping.is_rung(epoch, bracket))


def _brackets(stopping: Halving | MedianStopping | None) -> tuple[dict[str, Any], ...]:
    if not isinstance(stopping, Halving) or len(stopping.weights) == 1:
        return ()
    return tuple(
        {"rungs": stopping.rungs[index:], "share": round(weight / sum(stopping.weights), 4)}
        for index, weight in enumerate(stopping.weights)
    )


def _trials(spec: RunSpec) -> int | None:
    """Return how many trials the budget and a grid allow, in whole configurations."""
    seeds = spec.seeds_each
    limits = [] if spec.budget.trials is None else [spec.budget.trials // seeds]
    if spec.sampler.name == "grid":
        from tuner.samplers import grid_points  # imports optuna, which takes a second

        limits.append(sum(1 for _ in grid_points(spec.space.resolved(spec.epochs))))
    return min(limits) * seeds if limits else None


def _epochs_a_trial(
    spec: RunSpec,
    drawn: Sequence[TrialConfig],
    judged_from: Sequence[int],
    clean_until: Sequence[int],
    images: int | None,
    rng: random.Random,
) -> tuple[float, float, float]:
    """Return a trial's epochs if it stops as early as it may, and two means of the simulation.

    One counts all epochs of a trial, the other only those that are computed for it.
    """
    epochs = spec.epochs
    seeds = spec.seeds_each
    forks = Forks(spec, images or spec.training.batch_size) if spec.shares else None
    count = min(_trials(spec) or SIMULATED_TRIALS, SIMULATED_TRIALS)
    least = mean = computed = 0
    for repeat in range(math.ceil(SIMULATED_TRIALS / count)):
        stopping = spec.stopping()
        shared = None if forks is None else SharedEpochs(forks, ends_count(spec))
        for number in range(count):
            index = ((repeat * count + number) // seeds) % len(judged_from)
            start, clean, ended = judged_from[index], clean_until[index], epochs
            worth, exempt = rng.random(), rng.random() < spec.scheduler.audit
            bracket = 0 if stopping is None else stopping.bracket(number)
            open_rungs = [
                rung for rung in _rungs(stopping, epochs, bracket) if rung >= start or rung <= clean
            ]
            least += epochs if exempt or not open_rungs else open_rungs[0]
            for rung in open_rungs:
                assert stopping is not None  # there are rungs
                decision = stopping.judge(number, rung, worth, start, exempt, clean)
                if decision is not None and decision.stop:
                    ended = rung
                    break
            mean += ended
            seed = 0 if spec.seeds != "fresh" else number
            computed += (
                ended
                if shared is None
                else shared.computed(drawn[index], seed + number % seeds, ended)
            )
    simulated = math.ceil(SIMULATED_TRIALS / count) * count
    return least / simulated, mean / simulated, computed / simulated


def _proposed(spec: RunSpec, rng: random.Random) -> list[dict[str, Any]]:
    """Return configurations as the sampler may propose them: a grid's own points, or draws."""
    space = spec.space.resolved(spec.epochs)
    if spec.sampler.name == "grid":
        from tuner.samplers import grid_points

        return list(itertools.islice(grid_points(space), SIMULATED_TRIALS))
    return _draws(space, rng)


def _draws(space: Space, rng: random.Random) -> list[dict[str, Any]]:
    """Return configurations drawn at random from a resolved space."""
    result = []
    for _ in range(DRAWN_CONFIGS if space.knobs else 1):
        values: dict[str, Any] = {}
        for name, knob in space.knobs.items():
            if isinstance(knob, ChoiceKnob):
                values[name] = rng.choice(knob.values)
                continue
            low, high = float(knob.low), float(knob.high)
            if knob.log:
                drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
            else:
                drawn = rng.uniform(low, high)
            values[name] = min(max(round(drawn) if knob.kind == "int" else drawn, low), high)
            if knob.kind == "int":
                values[name] = int(values[name])
        result.append({name: values[name] for name in space.active(values)})
    return result


def _left_over(spec: RunSpec) -> list[str]:
    """Say where the budget's trials are no whole number of configurations."""
    budget, seeds, left = spec.budget.trials, spec.seeds_each, 0
    if budget is not None and _trials(spec) == budget // seeds * seeds:  # else a grid is smaller
        left = budget % seeds
    told = (
        f"each configuration is trained on {seeds} seeds: of {budget} trials {left} are left over"
    )
    return [told] if left else []


def _untimed(data: DataConfig) -> str:
    """Say that nobody knows yet when injection begins, and what tells."""
    words = ["tuner", "data", data.source]
    for name, field in DataConfig.model_fields.items():
        flag, value = FLAGS.get(f"data.{name}"), getattr(data, name)
        if flag is not None and name not in ("source", "limit") and value != field.default:
            words += [flag, str(value)]
    return (
        "how many images there are is only known once they are packed, so when injection begins is"
        " not known either: all trials are taken to be judged from the first rung on. This packs"
        f" them: {shlex.join(words)}"
    )


def _warnings(drawn: Sequence[TrialConfig], steps: int | None) -> list[str]:
    """Return what drawn trials warn of; lines that differ in numbers only are told once."""
    seen: dict[str, list[str]] = {}
    for trial in drawn:
        for line in warnings_for(trial, steps):
            seen.setdefault(re.sub(r"[0-9][0-9.e-]*", "#", line), []).append(line)
    return [
        lines[0] if len(lines) == len(drawn) else f"{len(lines)} of {len(drawn)} drawn: {lines[0]}"
        for lines in seen.values()
    ]
