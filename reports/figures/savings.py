"""How the savings depend on what was fixed: the target, and the price of dynamic's own default."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from reports.arm import Arm
from reports.contract import Answer
from reports.figures.chart import SIZE, Column, Figure, Table, data, log_axis, tooltips
from reports.savings import trials_ratio
from reports.sentence import limits_text, number
from reports.words import percent

MOST_TARGETS = 30
LARGEST_DRAWN_RATIO = 1000.0
"""An unbounded limit is drawn up to here, and the table leaves it empty."""


class TargetPoint(NamedTuple):
    """The savings in trials if another score were the target."""

    target: float
    periodic_hits: int
    dynamic_hits: int
    ratio: float | None
    low: float
    high: float | None


class SavingsByTarget(NamedTuple):
    """R as a function of the target."""

    points: tuple[TargetPoint, ...]
    chosen: float | None
    confidence: float


def savings_by_target(
    periodic: Arm, dynamic: Arm, chosen: float | None, confidence: float, seed: int
) -> SavingsByTarget | None:
    """Return the savings at each score that some trial reached, or None without two such scores."""
    scores = np.unique(np.concatenate([periodic.scores, dynamic.scores]))
    scores = scores[scores >= 0]
    if periodic.n == 0 or dynamic.n == 0 or len(scores) < 2:
        return None
    if len(scores) > MOST_TARGETS:
        at = np.linspace(0, len(scores) - 1, MOST_TARGETS).round().astype(int)
        scores = scores[at]
    points = []
    for target in scores.tolist():
        saving = trials_ratio(dynamic, periodic, target, False, confidence, seed)
        points.append(
            TargetPoint(
                target,
                int(periodic.hits(target).sum()),
                int(dynamic.hits(target).sum()),
                saving.ratio,
                saving.low,
                saving.high if math.isfinite(saving.high) else None,
            )
        )
    return SavingsByTarget(tuple(points), chosen, confidence)


def draw_savings_by_target(found: SavingsByTarget) -> Figure:
    """Draw the ratio over the target with pointwise limits."""
    import altair as alt

    known = [point for point in found.points if point.ratio]
    ratios = [point.ratio or 0.0 for point in known]
    message = (
        f"from {number(min(ratios))} to {number(max(ratios))}, depending on the target."
        if known
        else "at no target do both arms match."
    )
    largest = max([10.0, *(2 * ratio for ratio in ratios)])
    top = min(largest, LARGEST_DRAWN_RATIO)
    bottom = min([0.1, *(ratio / 2 for ratio in ratios)])
    rows = [
        {
            **point._asdict(),
            "drawn_low": max(point.low, bottom),
            "drawn_high": min(top, point.high or top),
            "told": limits_text(point.low, point.high),
        }
        for point in found.points
    ]
    scale = alt.Scale(type="log", domain=[bottom, top], clamp=True)
    axis = log_axis(bottom, top)
    base = alt.Chart(data(rows))
    x = alt.X("target:Q", title="target: validation macro-F1", scale=alt.Scale(zero=False))
    title = "trials periodic / dynamic (log scale)"
    layers: list[Any] = [
        base.mark_area(opacity=0.2, color="var(--dynamic)").encode(
            x=x,
            y=alt.Y("drawn_low:Q", scale=scale, title=title, axis=axis),
            y2=alt.Y2("drawn_high:Q"),
        ),
        alt.Chart(data([{"one": 1}])).mark_rule(strokeDash=[4, 3]).encode(y=alt.Y("one:Q")),
        base.transform_filter("datum.ratio > 0")
        .mark_line(color="var(--dynamic)", strokeWidth=2, point={"color": "var(--dynamic)"})
        .encode(
            x=x,
            y=alt.Y("ratio:Q", scale=scale, title=title, axis=axis),
            tooltip=tooltips("target:Q", "ratio:Q", "told:N", "periodic_hits:Q", "dynamic_hits:Q"),
        ),
    ]
    if found.chosen is not None:
        layers.append(
            alt.Chart(data([{"target": found.chosen}]))
            .mark_rule(strokeDash=[1, 3], strokeWidth=2, color="var(--ink)")
            .encode(x=alt.X("target:Q"))
        )
    columns = (
        Column("target", "target", 4),
        Column("periodic_hits", "periodic hits"),
        Column("dynamic_hits", "dynamic hits"),
        Column("ratio", "ratio", 3),
        Column("low", "low", 3),
        Column("high", "high", 3),
    )
    return Figure(
        "savings-by-target",
        "Savings in trials as a function of the target",
        f"How many times as many trials periodic needs: {message}",
        (alt.layer(*layers).properties(**SIZE),),
        Table(columns, tuple(tuple(point) for point in found.points)),
        (
            f"Limits are pointwise {percent(found.confidence)} ones and exploratory: only the"
            " dotted target was to be judged. An unbounded limit is drawn to the edge.",
        ),
    )


def draw_hidden_knob(answer: Answer) -> Figure | None:
    """Draw the savings if dynamic's default had cost trials to find, or None if undefined."""
    import altair as alt

    points = [point for point in answer.hidden_knob.curve if point.ratio]
    if not points:
        return None
    rows = [point.model_dump() for point in points]
    line = (
        alt.Chart(data(rows))
        .mark_line(point={"color": "var(--dynamic)"}, color="var(--dynamic)")
        .encode(
            x=alt.X("trials_spent:Q", title="trials spent on finding the default",
                    scale=alt.Scale(type="symlog")),
            y=alt.Y("ratio:Q", title="savings, default charged"),
            tooltip=tooltips("trials_spent:Q", "ratio:Q", "break_even_tasks:Q"),
        )
    )  # fmt: skip
    one = alt.Chart(data([{"one": 1}])).mark_rule(strokeDash=[4, 3]).encode(y=alt.Y("one:Q"))
    even = answer.hidden_knob.break_even_tasks
    told = (
        "Dynamic never breaks even if its default was as hard to find as T."
        if even is None
        else f"If the default took as many trials to find as tuning periodic, it pays from"
        f" {number(even)} tasks on."
    )
    columns = (
        Column("trials_spent", "trials spent"),
        Column("ratio", "savings", 3),
        Column("break_even_tasks", "break-even tasks", 2),
    )
    return Figure(
        "hidden-knob",
        "The price of dynamic's own constant",
        told,
        (alt.layer(line, one).properties(**SIZE),),
        Table(columns, tuple((p.trials_spent, p.ratio, p.break_even_tasks) for p in points)),
        ("The default serves one task here; with m tasks, read the curve at trials / m.",),
    )
