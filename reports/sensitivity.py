"""How much the score depends on the knobs: basin width, and the importance of each knob.

Basin width W_δ: the share of the space within δ of the best. Importance: fANOVA and PED-ANOVA, each
named, because they disagree. Both ignore trials that were stopped early, which moves their result
(0.87 to 0.70 for one knob when the worst 40 % were pruned), so how many were left out is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from reports.arm import Arm
from reports.proportions import Interval, exact_interval
from reports.table import Trials
from search_spaces.space import ChoiceKnob, FloatKnob, IntKnob, Space

BINS = 10
"""Equal parts of a knob's range, on its own scale, where it has more values than that."""


class Basin(NamedTuple):
    """W_δ of an arm."""

    best: float
    source: str
    """`re-trained`, or `best seen`: the luckiest trial, which makes the basin look narrow."""
    delta: float
    trials: int
    within: int
    share: float
    limits: Interval


class KnobBin(NamedTuple):
    """One part of a knob's range."""

    label: str
    trials: int
    within: int


class KnobBasin(NamedTuple):
    """W_δ along one knob, whatever the others are."""

    knob: str
    bins: list[KnobBin]
    share: float | None
    """Share of the parts with trials in which at least half of these are within δ."""


class Importance(NamedTuple):
    """Shares of the knobs that sum to 1, by one evaluator."""

    evaluator: str
    """`fANOVA` or `PED-ANOVA`."""
    shares: dict[str, float]
    trials: int
    """Completed trials that it rests on."""
    left_out: int
    """Trials that were stopped, failed, have no score, or lie outside the space."""


def basin(
    arm: Arm, delta: float, retrained: Sequence[float] = (), confidence: float = 0.95
) -> Basin | None:
    """Return the share of an arm's random trials within δ of the best; None without scores.

    Parameters
    ----------
    delta : float
        δ ≥ 0 in validation score.
    retrained : sequence of float
        Validation scores of fresh trainings of the best configuration; their mean is the best.
    """
    if arm.n == 0 or arm.failed.all():
        return None
    best = float(np.mean(retrained)) if len(retrained) else float(arm.scores.max())
    within = int(np.count_nonzero(arm.scores >= best - delta))
    return Basin(
        best=best,
        source="re-trained" if len(retrained) else "best seen",
        delta=delta,
        trials=arm.n,
        within=within,
        share=within / arm.n,
        limits=exact_interval(within * arm.seeds / arm.n, arm.seeds, confidence),
    )


def knob_basins(arm: Arm, space: Space, best: float, delta: float) -> list[KnobBasin]:
    """Return W_δ along each knob of a space with numeric bounds."""
    found = []
    for name, knob in space.knobs.items():
        labels = _labels(knob)
        counts = np.zeros((len(labels), 2), dtype=int)
        for knobs, score in zip(arm.trials.knobs, arm.scores, strict=True):
            if name in knobs and holds(knob, knobs[name]):
                counts[_part(knob, knobs[name], len(labels))] += (1, int(score >= best - delta))
        seen = counts[counts[:, 0] > 0]
        found.append(
            KnobBasin(
                knob=name,
                bins=[
                    KnobBin(label, int(trials), int(within))
                    for label, (trials, within) in zip(labels, counts, strict=True)
                ],
                share=float(np.mean(2 * seen[:, 1] >= seen[:, 0])) if len(seen) else None,
            )
        )
    return found


def importance(trials: Trials, space: Space, seed: int = 0) -> list[Importance]:
    """Return each evaluator's shares of the knobs that every completed trial has.

    Empty where fewer than two trials completed, no knob varies, or all scores are equal.
    """
    rows = [
        (knobs, score)
        for knobs, score, state in zip(trials.knobs, trials.score, trials.state, strict=True)
        if state == "completed"
        and score is not None
        and all(name not in space.knobs or holds(space.knobs[name], knobs[name]) for name in knobs)
    ]
    names = [
        name
        for name in space.knobs
        if all(name in knobs for knobs, _ in rows)
        and len({repr(knobs[name]) for knobs, _ in rows}) > 1
    ]
    if len(rows) < 2 or not names or len({score for _, score in rows}) < 2:
        return []
    import optuna
    from optuna.importance import (
        FanovaImportanceEvaluator,
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        scales = {name: _distribution(space.knobs[name]) for name in names}
        for knobs, score in rows:
            params = {name: knobs[name] for name in names}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=scales, value=score)
            )
        evaluators = {
            "fANOVA": FanovaImportanceEvaluator(seed=seed),
            "PED-ANOVA": PedAnovaImportanceEvaluator(),
        }
        found = {
            name: get_param_importances(study, evaluator=evaluator, params=names)
            for name, evaluator in evaluators.items()
        }
    finally:
        optuna.logging.set_verbosity(verbosity)
    left_out = len(trials) - len(rows)
    return [
        Importance(name, {knob: float(shares[knob]) for knob in names}, len(rows), left_out)
        for name, shares in found.items()
        if all(math.isfinite(share) for share in shares.values())
    ]


def holds(knob: IntKnob | FloatKnob | ChoiceKnob, value: Any) -> bool:
    """Return whether a space with numeric bounds has this value."""
    if isinstance(knob, ChoiceKnob):
        return value in knob.values
    return isinstance(value, int | float) and float(knob.low) <= value <= float(knob.high)


def _distribution(knob: IntKnob | FloatKnob | ChoiceKnob) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(knob, ChoiceKnob):
        return CategoricalDistribution(knob.values)
    if isinstance(knob, IntKnob):
        return IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return FloatDistribution(knob.low, knob.high, log=knob.log)


def _labels(knob: IntKnob | FloatKnob | ChoiceKnob) -> list[str]:
    if isinstance(knob, ChoiceKnob):
        return [str(value) for value in knob.values]
    if isinstance(knob, IntKnob) and int(knob.high) - int(knob.low) < BINS:
        return [str(value) for value in range(int(knob.low), int(knob.high) + 1)]
    edges = _edges(knob)
    return [f"{low:.3g}–{high:.3g}" for low, high in pairwise(edges)]


def _edges(knob: IntKnob | FloatKnob) -> list[float]:
    low, high = float(knob.low), float(knob.high)
    spaced = np.geomspace(low, high, BINS + 1) if knob.log else np.linspace(low, high, BINS + 1)
    return [float(edge) for edge in spaced]


def _part(knob: IntKnob | FloatKnob | ChoiceKnob, value: Any, parts: int) -> int:
    """Return the part of the range that holds a value."""
    if isinstance(knob, ChoiceKnob):
        return knob.values.index(value)
    if isinstance(knob, IntKnob) and int(knob.high) - int(knob.low) < BINS:
        return int(value) - int(knob.low)
    return int(np.clip(np.searchsorted(_edges(knob)[1:-1], value, side="right"), 0, parts - 1))
