"""What rests on the comparison: savings in cost, what would change the answer, tuning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.ablation import space_ablation
from reports.arm import Arm, arm_of
from reports.contract import Answer
from reports.cost import arms_cost_ratio
from reports.figures import evidence, savings, tuning
from reports.figures.chart import Column, Figure, Table
from reports.figures.runs import Run, best_of
from reports.savings import Ratio
from reports.sections.verdict import Asked, Verdict
from reports.selection import selected_test
from reports.sensitivity import holds
from reports.sentence import limits_text
from reports.table import Trials
from reports.words import percent
from search_spaces.space import ChoiceKnob

MOST_SELECTED = 40
"""Points of the selected-test curve."""


def costs(sides: Sequence[Arm], told: Verdict, asked: Asked) -> Table | None:
    """Return the savings in cost, stand-alone and as it was run with what trials shared."""
    if told.answer is None or told.answer.target.value is None:
        return None
    periodic, dynamic = sides
    found = told.answer.savings.trials
    own = None
    if _own_median(told.answer):
        most = math.inf if found.high is None else found.high
        own = Ratio(found.ratio, found.low, most, found.method)
    rows = []
    for what, columns in (
        ("epochs per match", ("epochs", "as_run_epochs")),
        ("slot-seconds per match", ("slot_seconds", "as_run_slot_seconds")),
    ):
        if all(len({tuple(getattr(arm.trials, c)) for c in columns}) == 1 for arm in sides):
            continue  # nothing was shared: the verdict's own table says it all
        for how, column in zip(("plain tuning", "cheapest tuning here (as run)"), columns,
                               strict=True):  # fmt: skip
            ratio = arms_cost_ratio(
                dynamic,
                periodic,
                told.answer.target.value,
                column,
                asked.confidence,
                asked.seed,
                own,
            )
            if ratio is not None:
                value = None if ratio.ratio is None or not np.isfinite(ratio.ratio) else ratio.ratio
                high = ratio.high if np.isfinite(ratio.high) else None
                rows.append((what, how, value, limits_text(ratio.low, high), ratio.method))
    columns_ = (
        Column("what", ""),
        Column("against", "periodic tuned by"),
        Column("ratio", "periodic / dynamic", 2),
        Column("limits", f"{percent(asked.confidence)} interval"),
        Column("method", "method"),
    )
    return Table(columns_, tuple(rows)) if rows else None


def change(runs: Sequence[Run], sides: Sequence[Arm], told: Verdict, asked: Asked) -> list[Figure]:
    """Return what would change the verdict."""
    if told.answer is None:
        return []
    found = []
    target = told.answer.target.value
    spaces = [run.space for run in runs if run.space.name == told.periodic]
    best = best_of(t for run in runs if run.space.name == told.periodic for t in run.trials)
    if target is not None and best is not None and sides[0].n and sides[1].n:
        space, centre = spaces[0], best.row.knobs if asked.centre is None else asked.centre
        numeric = {n: k for n, k in space.knobs.items() if not isinstance(k, ChoiceKnob)}
        values = [k[name] for k in sides[0].trials.knobs for name in numeric if name in k]
        inside = all(holds(knob, centre.get(name)) for name, knob in numeric.items())
        # A trial table may hold anything.
        if numeric and inside and all(isinstance(value, int | float) for value in values):
            ablated = space_ablation(
                sides[0],
                sides[1],
                space,
                centre,
                target,
                own_median=_own_median(told.answer),
                confidence=asked.confidence,
                seed=asked.seed,
            )
            at = ", ".join(f"{name} = {centre[name]:.4g}" for name in numeric)
            frozen = asked.centre is not None
            point = f"{'the values fixed beforehand' if frozen else 'the best seen'} ({at})"
            found.append(evidence.draw_ablation(ablated, point, frozen))
    charged = savings.draw_hidden_knob(told.answer)
    return [*found, charged] if charged else found


def tuning_curves(
    runs: Sequence[Run],
    sides: Sequence[Arm],
    kinds: dict[str, str],
    told: Verdict,
    asked: Asked,
    trials: Trials,
) -> list[Figure]:
    """Return tuning curves, savings by target, and what validation selects on test."""
    found = []
    if told.answer is not None:
        units = {run.slot_unit for run in runs if run.space.name in (told.periodic, told.dynamic)}
        unit = units.pop() if len(units) == 1 else "slot-hours"
        pairs = [(arm, kinds[arm.space]) for arm in sides]
        curves = tuning.tuning_curves(pairs, told.answer, asked.confidence)
        if curves:
            found.append(tuning.draw_tuning(curves, unit, asked.confidence))
        by_target = savings.savings_by_target(
            sides[0], sides[1], told.answer.target.value, asked.confidence, asked.seed
        )
        if by_target:
            found.append(savings.draw_savings_by_target(by_target))
    selected = []
    for arm in sides or [arm_of(trials, space) for space in trials.spaces]:
        ks = np.unique(np.geomspace(1, max(1, arm.n), MOST_SELECTED).round().astype(int)).tolist()
        curve = selected_test(arm.trials, asked.confidence, asked.seed, ks)
        if curve is not None:
            selected.append((arm.space, kinds[arm.space], curve))
    if selected:
        found.append(evidence.draw_selected_test(selected, asked.confidence))
    return found


def _own_median(answer: Answer) -> bool:
    return answer.target.source.endswith("itself")
