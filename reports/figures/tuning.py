"""What a number of trials buys: tuning curves with their bands, against trials and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reports.arm import Arm
from reports.contract import Answer
from reports.figures.chart import (
    SIZE,
    Column,
    Figure,
    Scales,
    Table,
    data,
    log_axis,
    scales,
    tooltips,
)
from reports.figures.theme import ARMS
from reports.sentence import number
from reports.tuning_curve import tuning_curve, why_no_band
from reports.words import percent, stopped_before
from tuner.cli.formatting import plural

MOST_TRIALS_DRAWN = 80
"""Points along a tuning curve."""


class CurvePoint(NamedTuple):
    """The median best score of k random trials."""

    arm: str
    trials: float
    epochs: float | None
    """Expected cost of so many trials; None where it is not known."""
    slot_hours: float | None
    score: float
    low: float | None
    """Simultaneous limits; None where trials are no independent draws."""
    high: float | None


class Stopped(NamedTuple):
    """Trials of an arm that were stopped before they could match."""

    num_stopped: int
    num_trials: int
    """All of the arm."""
    bound: str
    """What the answer gives: the fewest trials to match of periodic, the most of dynamic."""


class TuningCurves(NamedTuple):
    """The curves of the arms of a comparison."""

    labels: tuple[str, ...]
    arms: tuple[str, ...]
    """The kind of each, for its style."""
    points: tuple[CurvePoint, ...]
    target: float | None
    to_match: tuple[float | None, ...]
    """Per arm: median trials to match the target; where some were stopped only a bound of them."""
    why_no_band: tuple[str | None, ...]
    stopped: tuple[Stopped | None, ...]
    """Per arm: what makes its trials to match a bound."""
    random: bool
    """Whether all trials are independent random draws."""


def tuning_curves(
    sides: Sequence[tuple[Arm, str]], answer: Answer, confidence: float
) -> TuningCurves | None:
    """Return the tuning curves of a comparison, or None if no arm has an ended trial.

    Parameters
    ----------
    sides : sequence of (Arm, str)
        Periodic first, each with the kind of arm.
    answer : Answer
        Of the comparison, for the target and the trials to match it.
    confidence : float
    """
    points, kept = [], []
    mixed = len({device for arm, _ in sides for device in arm.devices}) > 1
    matches = ((answer.arms.periodic, "at least"), (answer.arms.dynamic, "at most"))
    for (arm, kind), (told, bound) in zip(sides, matches, strict=True):
        if arm.n == 0:
            continue
        reason = why_no_band(arm)
        ks = np.unique(np.geomspace(1, arm.n, MOST_TRIALS_DRAWN).round(2))
        costs = [_mean_cost(arm, "epochs"), None if mixed else _mean_cost(arm, "slot_seconds")]
        found = tuning_curve(arm.scores, ks.tolist(), confidence)
        for k, score, low, high in zip(*found[:4], strict=True):
            points.append(
                CurvePoint(
                    arm.space,
                    k,
                    None if costs[0] is None else k * costs[0],
                    None if costs[1] is None else k * costs[1] / 3600,
                    score,
                    None if reason else low,
                    None if reason else high,
                )
            )
        stopped = Stopped(told.stopped, told.trials, bound) if told.stopped else None
        kept.append((arm.space, kind, told.trials_to_match.median.estimate, reason, stopped))
    if not kept:
        return None
    labels, kinds, to_match, reasons, stops = zip(*kept, strict=True)
    random = not any(arm.chosen for arm, _ in sides)
    return TuningCurves(
        labels, kinds, tuple(points), answer.target.value, to_match, reasons, stops, random
    )


def draw_tuning(found: TuningCurves, slot_unit: str, confidence: float) -> Figure:
    """Draw the curves against trials, and against slot-hours where these are known."""
    told = " and ".join(_needed(found, index) for index in range(len(found.labels)))
    goal = "" if found.target is None else (
        f" To reach {number(found.target)} (dotted) with probability ½, {told}."
    )  # fmt: skip
    notes = []
    if any(point.low is not None for point in found.points):
        limits = f"simultaneous {percent(confidence)} limits"
        notes.append(f"Bands are {limits}, cut where they leave the plot.")
    if marks(found, "trials"):
        none = [label for label, one in zip(found.labels, found.stopped, strict=True) if one]
        but = f", but for {' and '.join(none)}, of which only a bound is known" if none else ""
        notes.append(f"Crosses: trials to match{but}.")
    notes.append("Costs are stand-alone: mean cost of a trial × trials.")
    notes += [
        f"{label} has no band: {reason}."
        for label, reason in zip(found.labels, found.why_no_band, strict=True)
        if reason
    ]
    random = "random " if found.random else ""
    trials = "random trials" if found.random else "trials taken at random from those of each arm"
    axes = [("trials", f"{random}trials")]
    if all(point.slot_hours for point in found.points):
        axes.append(("slot_hours", f"expected {slot_unit}"))
    elif all(point.epochs for point in found.points):
        axes.append(("epochs", "expected epochs"))
    columns = (
        Column("space", "space"),
        Column("trials", "trials", 2),
        Column("epochs", "expected epochs", 1),
        Column("slot_hours", f"expected {slot_unit}", 4),
        Column("score", "median best F1", 4),
        Column("low", "low", 4),
        Column("high", "high", 4),
    )
    return Figure(
        "tuning-curves",
        f"Tuning curves: the best of k {random}trials",
        f"Median of the best validation macro-F1 among k {trials}.{goal}",
        tuple(_curve_panel(found, *axis) for axis in axes),
        Table(columns, tuple(tuple(point) for point in found.points)),
        tuple(notes),
    )


def _curve_panel(found: TuningCurves, field: str, title: str) -> Any:
    import altair as alt

    look: Scales = scales("arm", found.labels, [ARMS[kind] for kind in found.arms], lines=True)
    rows = [{**point._asdict(), "at": getattr(point, field)} for point in found.points]
    base = alt.Chart(data(rows))
    log = max(point.trials for point in found.points) > 20
    ends = (min(row["at"] for row in rows), max(row["at"] for row in rows))
    x = alt.X(
        "at:Q",
        title=title + (" (log scale)" if log else ""),
        scale=alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False, nice=False),
        axis=log_axis(*ends) if log else alt.Axis(),
    )
    y_title = "median best validation F1"
    scores = [point.score for point in found.points]
    scores += [point.low for point in found.points if point.low is not None]
    bottom, top = min(scores), max(scores)
    room = max(0.02, (top - bottom) / 2)  # a band's upper limit is 1 from some trials on
    shown = alt.Scale(domain=[bottom, min(1.0, top + room)])
    banded = base.transform_filter("isValid(datum.low)")
    layers: list[Any] = []
    if any(point.low is not None for point in found.points):
        layers.append(
            banded.mark_area(opacity=0.18, clip=True).encode(
                x=x, y=alt.Y("low:Q", title=y_title), y2=alt.Y2("high:Q"), color=look.color
            )
        )
    layers.append(
        base.mark_line(strokeWidth=2).encode(
            x=x,
            y=alt.Y("score:Q", title=y_title, scale=shown),
            color=look.color,
            strokeDash=look.dash,
            tooltip=tooltips(
                "arm:N", "trials:Q", "epochs:Q", "slot_hours:Q", "score:Q", "low:Q", "high:Q"
            ),
        )
    )
    if found.target is not None:
        crosses = marks(found, field)
        goal = alt.Chart(data([{"target": found.target}]))
        layers.append(
            goal.mark_rule(strokeDash=[1, 3], strokeWidth=2, color="var(--ink)").encode(
                y=alt.Y("target:Q")
            )
        )
        if crosses:
            layers.append(
                alt.Chart(data(crosses))
                .mark_point(shape="cross", size=90, filled=True, opacity=1)
                .encode(x=alt.X("at:Q"), y=alt.Y("score:Q"), color=look.color)
            )
    return alt.layer(*layers).properties(**SIZE)


def _needed(found: TuningCurves, index: int) -> str:
    """Return how many trials an arm needs to match with probability ½; of some only a bound."""
    label, trials = found.labels[index], found.to_match[index]
    bound, why = "", ""
    if stopped := found.stopped[index]:
        of_all = f"{stopped.num_stopped} of its {plural(stopped.num_trials, 'trial')}"
        bound, why = f"{stopped.bound} ", f" ({of_all} {stopped_before(stopped.num_stopped)})"
    if trials is None:
        return f"{label} does not reach it in its trials{why}"
    return f"{label} needs {bound}{number(max(1.0, trials))} trial{'' if trials <= 1 else 's'}{why}"


def marks(found: TuningCurves, field: str) -> list[dict[str, Any]]:
    """Return where the arms match the target, left out where only a bound is known."""
    crosses = []
    for label, trials, stopped in zip(found.labels, found.to_match, found.stopped, strict=True):
        first = next(point for point in found.points if point.arm == label)
        unit = getattr(first, field)
        last = max(point.trials for point in found.points if point.arm == label)
        if trials is not None and not stopped and trials <= last and unit is not None:
            at = max(trials, 1.0) * unit / first.trials
            crosses.append({"arm": label, "at": at, "score": found.target})
    return crosses


def _mean_cost(arm: Arm, column: str) -> float | None:
    cost = arm.cost(column)
    return None if cost is None else float(cost.mean())
