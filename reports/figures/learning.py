"""Learning curves of two arms side by side, as the paper's Figures 3 to 11 pair them.

The line is the arm's best trial by validation, as in the paper, which shows one training per arm.
Around it lies the spread over all trials of the arm that reached the epoch.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reports.figures.chart import SIZE, Column, Figure, Table, data, scales, tooltips, whole_axis
from reports.figures.runs import Floats, Trial, best_of, drawn_epochs

PAIRS = (
    ("baseline", "periodic", "3 and 4"),
    ("baseline", "dropout", "5 and 6"),
    ("dropout", "periodic+dropout", "7 and 8"),
    ("baseline", "periodic+dropout", "9"),
    ("periodic", "dynamic", "10 and 11"),
)
"""Arms that the paper draws together, and its figures' numbers."""
LEAST_FOR_SPREAD = 5
"""Fewer trials have no spread worth drawing."""
QUANTILES = (0.1, 0.5, 0.9)
"""Lower edge, middle and upper edge of the band."""


class Point(NamedTuple):
    """One arm at one epoch."""

    arm: str
    epoch: int
    loss: float | None
    """Of the best trial; so are the next two."""
    f1: float | None
    injected: float | None
    """Share of unit × steps injected."""
    trials: int
    """How many reached this epoch."""
    loss_low: float | None
    loss_median: float | None
    loss_high: float | None
    f1_low: float | None
    f1_median: float | None
    f1_high: float | None


class LearningCurves(NamedTuple):
    """The curves of some arms."""

    arms: tuple[str, ...]
    paper: str
    """Numbers of the paper's figures, or empty."""
    best: tuple[tuple[str, float, int], ...]
    """Per arm: its best trial, that trial's score, and the arm's number of trials."""
    points: tuple[Point, ...]
    last_epoch: int


def learning_curves(trials: Mapping[str, Sequence[Trial]]) -> list[LearningCurves]:
    """Return the pairs of the paper whose arms were both trained; arms without a pair come alone.

    Parameters
    ----------
    trials : mapping of str to sequence of Trial
        By arm.
    """
    curves = {arm: one for arm, of_arm in trials.items() if (one := _arm(arm, of_arm))}
    pairs = [pair for pair in PAIRS if pair[0] in curves and pair[1] in curves]
    paired = {arm for pair in pairs for arm in pair[:2]}
    alone = [(arm,) for arm in curves if arm not in paired]
    found = []
    for chosen, paper in [*((pair[:2], pair[2]) for pair in pairs), *((arm, "") for arm in alone)]:
        points = tuple(point for arm in chosen for point in curves[arm][1])
        last = max(point.epoch for point in points)
        found.append(
            LearningCurves(chosen, paper, tuple(curves[arm][0] for arm in chosen), points, last)
        )
    return found


def draw_learning(curves: LearningCurves) -> Figure:
    """Draw training loss and validation F1."""
    names = " and ".join(curves.arms)
    told = "; ".join(
        f"the best of {count} {arm} trial{'s' if count > 1 else ''} ({label}) reaches {score:.3f}"
        for arm, (label, score, count) in zip(curves.arms, curves.best, strict=True)
    )
    message = f"Validation macro-F1: {told}."
    injecting = injecting_arms(curves)
    if injecting:
        halves = " (above: {}, below: {})".format(*injecting) if len(injecting) == 2 else ""
        message += f" Shaded: epochs in which the {' and the '.join(injecting)} trial of the line"
        message += f" injected{halves}; the darker, the larger the share of units and steps."
    notes = _spread_notes(curves)
    if curves.last_epoch > len({point.epoch for point in curves.points}):
        notes.append(f"Thinned: {len({point.epoch for point in curves.points})} of"
                     f" {curves.last_epoch} epochs are drawn.")  # fmt: skip
    columns = (
        Column("arm", "arm"),
        Column("epoch", "epoch"),
        Column("train_loss", "training loss (nats)", 3),
        Column("val_f1", "validation F1", 3),
        Column("injected_share", "share injected", 2),
        Column("trials", "trials"),
        Column("train_loss_q10", "loss, 10 %", 3),
        Column("train_loss_median", "loss, median", 3),
        Column("train_loss_q90", "loss, 90 %", 3),
        Column("val_f1_q10", "F1, 10 %", 3),
        Column("val_f1_median", "F1, median", 3),
        Column("val_f1_q90", "F1, 90 %", 3),
    )
    paper = f" (as the paper's Figures {curves.paper})" if curves.paper else ""
    return Figure(
        "learning-" + "-".join(arm.replace("+", "-") for arm in curves.arms),
        f"Learning curves: {names}{paper}",
        message,
        tuple(
            _panel(curves, *which)
            for which in (("loss", "training loss (nats)"), ("f1", "validation macro-F1"))
        ),
        Table(columns, tuple(tuple(point) for point in curves.points)),
        tuple(notes),
    )


def injecting_arms(curves: LearningCurves) -> list[str]:
    """Return the arms whose best trial injected in some epoch."""
    return [arm for arm in curves.arms if any(p.arm == arm and p.injected for p in curves.points)]


def banded_arms(curves: LearningCurves) -> list[str]:
    """Return the arms with a band: at two neighbouring epochs at least, or there is no area."""
    found = []
    for arm in curves.arms:
        spread = [point.f1_low is not None for point in curves.points if point.arm == arm]
        if any(one and other for one, other in itertools.pairwise(spread)):
            found.append(arm)
    return found


def _spread_notes(curves: LearningCurves) -> list[str]:
    """Describe the bands that are drawn."""
    banded = banded_arms(curves)
    if not banded:
        return []
    none = [arm for arm in curves.arms if arm not in banded]
    fewer = f" (none for {' and '.join(none)}: fewer than {LEAST_FOR_SPREAD})" if none else ""
    note = "Band and thin line: 10 % to 90 % and median of the arm's trials that reached the epoch"
    counts = [{p.trials for p in curves.points if p.arm == arm} for arm in banded]
    if any(len(of_arm) > 1 for of_arm in counts):
        survivors = (
            " Trials that were stopped early are missing from later epochs, so that the band there"
            " shows survivors."
        )
    else:
        survivors = ""
    return [f"{note}{fewer}.{survivors}"]


def _panel(curves: LearningCurves, field: str, title: str) -> Any:
    import altair as alt

    rows = [
        {
            "arm": point.arm,
            "epoch": point.epoch,
            "value": getattr(point, field),
            "low": getattr(point, f"{field}_low"),
            "median": getattr(point, f"{field}_median"),
            "high": getattr(point, f"{field}_high"),
            "injected": point.injected,
            "trials": point.trials,
        }
        for point in curves.points
    ]
    look = scales("arm", curves.arms, lines=True)
    epochs = alt.Scale(domain=[0.5, curves.last_epoch + 0.5], nice=False)
    x = alt.X("epoch:Q", title="epoch", axis=whole_axis(1, curves.last_epoch), scale=epochs)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    base = alt.Chart(data(rows))
    injecting = injecting_arms(curves)
    layers: list[Any] = []
    for index, arm in enumerate(injecting):  # each takes its part of the height
        edges = [{"expr": f"height * {(index + end) / len(injecting):g}"} for end in (0, 1)]
        layers.append(
            base.mark_rect()
            .transform_filter(f"datum.arm === {json.dumps(arm)} && datum.injected > 0")
            .transform_calculate(left="datum.epoch - 0.5", right="datum.epoch + 0.5")
            .encode(
                x=alt.X("left:Q", title="epoch", scale=epochs),
                x2=alt.X2("right:Q"),
                y=alt.value(edges[0]),
                y2=alt.value(edges[1]),
                color=look.color,
                opacity=alt.Opacity(
                    "injected:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, 0.25])
                ),
            )
        )
    if banded_arms(curves):
        layers += [
            base.mark_area(opacity=0.18).encode(
                x=x, y=alt.Y("low:Q", title=title), y2=alt.Y2("high:Q"), color=look.color
            ),
            base.mark_line(strokeWidth=1, opacity=0.7).encode(
                x=x, y=alt.Y("median:Q", title=title), color=look.color, strokeDash=look.dash
            ),
        ]
    layers.append(
        base.mark_line(strokeWidth=2, point=curves.last_epoch == 1).encode(
            x=x,
            y=y,
            color=look.color,
            strokeDash=look.dash,
            tooltip=tooltips(
                "arm:N",
                "epoch:Q",
                alt.Tooltip("value:Q", title=title, format=".4f"),
                alt.Tooltip("injected:Q", title="share injected", format=".2f"),
                alt.Tooltip("trials:Q", title="trials"),
            ),
        )
    )
    return alt.layer(*layers).properties(**SIZE)


def _arm(
    arm: str, trials: Sequence[Trial]
) -> tuple[tuple[str, float, int], tuple[Point, ...]] | None:
    """Return an arm's best trial and points, or None if no trial of it finished an epoch."""
    trained = [trial for trial in trials if len(trial.curve.val_f1_E)]
    best = best_of(trained)
    if best is None:
        return None
    longest = max(len(trial.curve.val_f1_E) for trial in trained)
    loss_NE, f1_NE = (
        np.array([_padded(curve, longest) for curve in curves])
        for curves in (
            [trial.curve.train_loss_E for trial in trained],
            [trial.curve.val_f1_E for trial in trained],
        )
    )
    own = [_padded(curve, longest) for curve in (
        best.curve.train_loss_E, best.curve.val_f1_E, best.curve.injected_E
    )]  # fmt: skip
    points = []
    for epoch in drawn_epochs(longest):
        at = epoch - 1
        reached = sum(len(trial.curve.val_f1_E) >= epoch for trial in trained)
        loss, f1, injected = (_known(one[at]) for one in own)
        points.append(
            Point(
                arm,
                epoch,
                loss,
                f1,
                injected,
                reached,
                *_spread(loss_NE[:, at]),
                *_spread(f1_NE[:, at]),
            )
        )
    assert best.row.score is not None
    return (best.label, best.row.score, len(trials)), tuple(points)


def _padded(curve_E: Floats, length: int) -> Floats:
    return np.concatenate([curve_E, np.full(length - len(curve_E), np.nan)])


def _spread(values: Floats) -> tuple[float | None, float | None, float | None]:
    present = values[~np.isnan(values)]
    if len(present) < LEAST_FOR_SPREAD:
        return None, None, None
    low, middle, high = np.quantile(present, QUANTILES)
    return float(low), float(middle), float(high)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
