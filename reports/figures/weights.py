"""When dynamic injection injects: each unit's w, and how much was injected, over the epochs.

AutoReLU injects while its w is negative. The paper says that dynamic injection injects more often
and less regularly than periodic injection; these figures let one see whether it did here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from reports.figures.chart import SIZE, Column, Figure, Table, data, scales, tooltips, whole_axis
from reports.figures.runs import Trial, best_of, drawn_epochs

INJECTING = ("periodic", "periodic+dropout", "dynamic", "dynamic+dropout")
LEGIBLE_UNITS = 10
"""So many units have names beside the axis that can be read."""


class UnitPoint(NamedTuple):
    """One unit in one epoch."""

    unit: str
    epoch: int
    w: float | None
    injecting: float | None
    """Share of the epoch's steps with a negative w."""


class Weights(NamedTuple):
    """The units of the best dynamic trial."""

    arm: str
    trial: str
    units: tuple[str, ...]
    points: tuple[UnitPoint, ...]
    epochs: int


class SharePoint(NamedTuple):
    """One arm in one epoch, over its trials."""

    arm: str
    epoch: int
    trials: int
    """How many reached it."""
    mean: float
    """Mean share of unit × steps injected."""


class Shares(NamedTuple):
    """How much each arm injected, and how often it changed between injecting and not."""

    arms: tuple[str, ...]
    points: tuple[SharePoint, ...]
    injected: tuple[float, ...]
    """Per arm: share of unit × steps injected, over all epochs of all trials."""
    changes: tuple[float, ...]
    """Per arm: mean number of epochs in which a trial's share crossed one half."""


def weights(trials: Mapping[str, Sequence[Trial]]) -> list[Weights]:
    """Return the units of the best trial of each dynamic arm."""
    found = []
    for arm in ("dynamic", "dynamic+dropout"):
        best = best_of(trial for trial in trials.get(arm, ()) if trial.curve.units)
        if best is None:
            continue
        curve = best.curve
        points = tuple(
            UnitPoint(unit, epoch, _known(curve.w_EU[epoch - 1, u]),
                      _known(curve.injecting_EU[epoch - 1, u]))
            for u, unit in enumerate(curve.units)
            for epoch in drawn_epochs(len(curve.val_f1_E))
        )  # fmt: skip
        found.append(Weights(arm, best.label, curve.units, points, len(curve.val_f1_E)))
    return found


def shares(trials: Mapping[str, Sequence[Trial]]) -> Shares | None:
    """Return how much the arms injected, or None if none of them can."""
    names, points, totals, changes = [], [], [], []
    for arm in INJECTING:
        curves = [t.curve.injected_E for t in trials.get(arm, ()) if len(t.curve.injected_E)]
        curves = [curve for curve in curves if not np.isnan(curve).any()]
        if not curves:
            continue
        names.append(arm)
        longest = max(map(len, curves))
        for epoch in drawn_epochs(longest):
            values = [curve[epoch - 1] for curve in curves if len(curve) >= epoch]
            points.append(SharePoint(arm, epoch, len(values), float(np.mean(values))))
        totals.append(float(np.concatenate(curves).mean()))
        changes.append(float(np.mean([_crossings(curve) for curve in curves])))
    if not names:
        return None
    return Shares(tuple(names), tuple(points), tuple(totals), tuple(changes))


def draw_weights(found: Weights) -> Figure:
    """Draw w as lines, and the share of steps in which each unit injected as a map."""
    last = {p.unit: p for p in found.points}
    negative = [unit for unit, p in last.items() if p.w is not None and p.w < 0]
    ever = {p.unit for p in found.points if p.injecting}
    message = (
        f"In {found.trial}, the best {found.arm} trial, {len(ever)} of {len(found.units)} units"
        f" injected at some time; after the last epoch w is negative in {len(negative)}."
    )
    columns = (
        Column("unit", "unit"),
        Column("epoch", "epoch"),
        Column("w", "w", 4),
        Column("injecting_share", "share of steps injecting", 3),
    )
    return Figure(
        f"w-{found.arm.replace('+', '-')}",
        f"w and injection by unit ({found.arm})",
        message,
        (_lines(found), _map(found)),
        Table(columns, tuple(tuple(point) for point in found.points)),
        ("w is the mean over a unit's channels at the end of the epoch.",),
    )


def draw_shares(found: Shares) -> Figure:
    """Draw the share of units and steps that were injected, by arm."""
    import altair as alt

    told = "; ".join(
        f"{arm} injected in {share:.0%} of all units and steps and changed {changes:.1f} times per"
        " trial"
        for arm, share, changes in zip(found.arms, found.injected, found.changes, strict=True)
    )
    rows = [
        {"arm": p.arm, "epoch": p.epoch, "share": p.mean, "trials": p.trials} for p in found.points
    ]
    look = scales("arm", found.arms)
    last = max(p.epoch for p in found.points)
    chart = (
        alt.Chart(data(rows))
        .mark_line(point=last == 1)
        .encode(
            x=_epoch_axis("epoch", last),
            y=alt.Y(
                "share:Q",
                title="share of units × steps injecting",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%"),
            ),
            color=look.color,
            strokeDash=look.dash,
            tooltip=tooltips("arm:N", "epoch:Q", alt.Tooltip("share:Q", format=".1%"), "trials:Q"),
        )
        .properties(**SIZE)
    )
    columns = (
        Column("arm", "arm"),
        Column("epoch", "epoch"),
        Column("trials", "trials"),
        Column("injected_share", "share injecting", 3),
    )
    return Figure(
        "injected-share",
        "How much was injected, by arm",
        f"{told[0].upper()}{told[1:]}.",
        (chart,),
        Table(columns, tuple(tuple(point) for point in found.points)),
        ("Mean over the arm's trials that reached the epoch. A change is counted where a trial's"
         " share crosses one half from one epoch to the next.",),
    )  # fmt: skip


def _lines(found: Weights) -> Any:
    import altair as alt

    rows = [{"unit": p.unit, "epoch": p.epoch, "w": p.w} for p in found.points if p.w is not None]
    legible = len(found.units) <= LEGIBLE_UNITS
    lines = (
        alt.Chart(data(rows))
        .mark_line(strokeWidth=1.5, point=found.epochs == 1)
        .encode(
            x=_epoch_axis("epoch", found.epochs),
            y=alt.Y("w:Q", title="w"),
            color=alt.Color(
                "unit:N",
                sort=list(found.units),
                scale=alt.Scale(scheme="viridis"),
                legend=alt.Legend(title="unit", columns=3, labelLimit=100) if legible else None,
            ),
            strokeDash=alt.StrokeDash("unit:N", sort=list(found.units), legend=None),
            tooltip=tooltips("unit:N", "epoch:Q", alt.Tooltip("w:Q", format=".4g")),
        )
    )
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(strokeDash=[2, 2]).encode(y=alt.Y("zero:Q"))
    return alt.layer(lines, zero).properties(**SIZE)


def _map(found: Weights) -> Any:
    import altair as alt

    drawn = drawn_epochs(found.epochs)
    width = max((b - a for a, b in pairwise(drawn)), default=1)
    rows = [
        {"unit": p.unit, "from": p.epoch - 0.5, "to": p.epoch - 0.5 + width, "epoch": p.epoch,
         "share": p.injecting}
        for p in found.points
        if p.injecting is not None
    ]  # fmt: skip
    return (
        alt.Chart(data(rows))
        .mark_rect()
        .encode(
            x=_epoch_axis("from", found.epochs),
            x2=alt.X2("to:Q"),
            y=alt.Y("unit:N", sort=list(found.units), title="unit, input first"),
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(scheme="cividis", domain=[0, 1]),
                legend=alt.Legend(title="share of steps injecting", format="%"),
            ),
            tooltip=tooltips("unit:N", "epoch:Q", alt.Tooltip("share:Q", format=".1%")),
        )
        .properties(**SIZE)
    )


def _epoch_axis(field: str, last: int) -> Any:
    import altair as alt

    return alt.X(
        f"{field}:Q",
        title="epoch",
        axis=whole_axis(1, last),
        scale=alt.Scale(domain=[0.5, last + 0.5], nice=False),
    )


def _crossings(curve: Any) -> int:
    return int(np.count_nonzero(np.diff((curve > 0.5).astype(int))))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
