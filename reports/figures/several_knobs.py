"""How the score depends on several knobs together: parallel coordinates and heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np

from reports.figures.chart import (
    HEIGHT,
    SIZE,
    WIDTH,
    Column,
    Figure,
    Table,
    data,
    file_name,
    tooltips,
)
from reports.figures.knobs import axis_title
from reports.figures.runs import Trial
from search_spaces.space import ChoiceKnob, Knob, Space
from tuner.cli.formatting import plural

MOST_LINES = 200
"""More lines than this hide one another."""
MOST_MAPS = 3
CELLS = 8
"""Cells along a numeric knob."""


class Line(NamedTuple):
    """A trial across all knobs."""

    trial: str
    score: float
    values: tuple[Any, ...]
    places: tuple[float | None, ...]
    """Where each value lies in its range, 0 to 1 along the knob's own scale; None if inactive."""


class Parallel(NamedTuple):
    """Fully trained trials across a space's knobs."""

    space: str
    knobs: tuple[str, ...]
    ends: tuple[tuple[str, str], ...]
    """Text at the lower and upper end of each axis."""
    lines: tuple[Line, ...]
    """Best first."""
    left_out: int


class Cell(NamedTuple):
    """Fully trained trials with two knobs in two ranges."""

    one: str
    other: str
    median: float
    trials: int


class HeatMap(NamedTuple):
    """Median scores over two knobs."""

    space: str
    one: str
    other: str
    one_labels: tuple[str, ...]
    other_labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    axes: tuple[str, str]
    """Titles of both axes, with units."""


def parallel(label: str, space: Space, trials: Sequence[Trial]) -> Parallel | None:
    """Return the trials across the knobs; None with fewer than two knobs or two trials."""
    knobs = tuple(space.knobs)
    done = _trained(trials)
    if len(knobs) < 2 or len(done) < 2:
        return None
    done = sorted(done, key=lambda trial: -(trial.row.score or 0.0))
    chosen = done
    if len(done) > MOST_LINES:  # the best half of what fits, and the rest evenly by rank
        half = MOST_LINES // 2
        step = (len(done) - half) / (MOST_LINES - half)
        chosen = done[:half] + [done[half + int(i * step)] for i in range(MOST_LINES - half)]
    lines = tuple(
        Line(
            trial.label,
            trial.row.score or 0.0,
            tuple(trial.row.knobs.get(name) for name in knobs),
            tuple(_place(space.knobs[name], trial.row.knobs.get(name)) for name in knobs),
        )
        for trial in chosen
    )
    ends = tuple(_ends(space.knobs[name]) for name in knobs)
    return Parallel(label, knobs, ends, lines, len(done) - len(chosen))


def heat_maps(label: str, space: Space, trials: Sequence[Trial]) -> list[HeatMap]:
    """Return a map for each pair of knobs, for at most the first `MOST_MAPS` pairs."""
    done = _trained(trials)
    maps = []
    for one, other in list(combinations(space.knobs, 2))[:MOST_MAPS]:
        groups: dict[tuple[str, str], list[float]] = {}
        labels = [_labels(space.knobs[name]) for name in (one, other)]
        for trial in done:
            values = [trial.row.knobs.get(name) for name in (one, other)]
            if None in values:
                continue
            cell = tuple(
                _label(space.knobs[name], value, texts)
                for name, value, texts in zip((one, other), values, labels, strict=True)
            )
            groups.setdefault((cell[0], cell[1]), []).append(trial.row.score or 0.0)
        if len(groups) > 1:
            cells = tuple(
                Cell(*key, float(np.median(scores)), len(scores))
                for key, scores in sorted(groups.items())
            )
            texts = tuple(labels[0]), tuple(labels[1])
            axes = axis_title(one, trials), axis_title(other, trials)
            maps.append(HeatMap(label, one, other, *texts, cells, axes))
    return maps


def draw_parallel(found: Parallel) -> Figure:
    """Draw one line per trial, coloured by its score."""
    import altair as alt

    rows = [
        {
            "trial": line.trial,
            "score": line.score,
            "knob": knob,
            "place": place,
            "value": str(value),
        }
        for line in reversed(found.lines)
        for knob, value, place in zip(found.knobs, line.values, line.places, strict=True)
        if place is not None
    ]
    x = alt.X("knob:N", sort=list(found.knobs), title=None, axis=alt.Axis(labelAngle=0))
    lines = (
        alt.Chart(data(rows))
        .mark_line(opacity=0.6, strokeWidth=1.5)
        .encode(
            x=x,
            y=alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08], nice=False)),
            detail=alt.Detail("trial:N"),
            color=alt.Color(
                "score:Q",
                scale=alt.Scale(scheme="viridis"),
                legend=alt.Legend(title="best validation macro-F1"),
            ),
            tooltip=tooltips("trial:N", "score:Q", "knob:N", "value:N"),
        )
    )
    ends = alt.Chart(
        data(
            [
                {"knob": knob, "place": place, "text": text}
                for knob, pair in zip(found.knobs, found.ends, strict=True)
                for place, text in zip((-0.05, 1.05), pair, strict=True)
            ]
        )
    )
    texts = ends.mark_text().encode(x=x, y=alt.Y("place:Q", axis=None), text=alt.Text("text:N"))
    best = found.lines[0]
    told = ", ".join(
        f"{knob} = {_told(value)}" for knob, value in zip(found.knobs, best.values, strict=True)
        if value is not None
    )  # fmt: skip
    columns = (
        Column("trial", "trial"),
        Column("val_f1", "validation F1", 4),
        *(Column(f"knob.{knob}", knob) for knob in found.knobs),
    )
    left = (
        f"{found.left_out} trials are not drawn: the best {MOST_LINES // 2} are, and of the rest \
every one at equal steps of rank."
    )
    width = max(WIDTH, 130 * len(found.knobs))
    return Figure(
        f"parallel-{file_name(found.space)}",
        f"All knobs together ({found.space})",
        f"One line per fully trained trial. The best, {best.trial}: {told}.",
        (alt.layer(lines, texts).properties(width=width, height=HEIGHT),),
        Table(columns, tuple((line.trial, line.score, *line.values) for line in found.lines)),
        (left,) if found.left_out else (),
    )


def draw_heat_map(found: HeatMap) -> Figure:
    """Draw median scores as a map, with the number of trials in each cell."""
    import altair as alt

    best = max(found.cells, key=lambda cell: cell.median)
    rows = [cell._asdict() for cell in found.cells]
    x = alt.X("one:N", sort=list(found.one_labels), title=found.axes[0],
              scale=alt.Scale(domain=list(found.one_labels)),
              axis=alt.Axis(labelAngle=-40 if len(found.one_labels) > 5 else 0))  # fmt: skip
    y = alt.Y("other:N", sort=list(found.other_labels), title=found.axes[1],
              scale=alt.Scale(domain=list(found.other_labels)))  # fmt: skip
    base = alt.Chart(data(rows))
    cells = base.mark_rect().encode(
        x=x,
        y=y,
        color=alt.Color(
            "median:Q",
            scale=alt.Scale(scheme="viridis"),
            legend=alt.Legend(title="median validation macro-F1"),
        ),
        tooltip=tooltips("one:N", "other:N", alt.Tooltip("median:Q", format=".4f"), "trials:Q"),
    )
    middle = (min(cell.median for cell in found.cells) + best.median) / 2
    counts = base.mark_text(fontSize=10).encode(
        x=x, y=y, text=alt.Text("trials:Q"),
        color=alt.condition(f"datum.median > {middle}", alt.value("#111"), alt.value("#fff")),
    )  # fmt: skip
    columns = (
        Column("one", found.one),
        Column("other", found.other),
        Column("median_val_f1", "median validation F1", 4),
        Column("trials", "trials"),
    )
    return Figure(
        f"heat-{file_name(found.space)}-{file_name(found.one)}-{file_name(found.other)}",
        f"{found.one} and {found.other} ({found.space})",
        f"The best cell has a median of {best.median:.3f} over {plural(best.trials, 'trial')}:"
        f" {found.one} {best.one}, {found.other} {best.other}.",
        (alt.layer(cells, counts).properties(**SIZE),),
        Table(columns, tuple(tuple(cell) for cell in found.cells)),
        ("Numbers are counts of fully trained trials; empty cells were never tried.",),
    )


def _trained(trials: Sequence[Trial]) -> list[Trial]:
    return [t for t in trials if t.row.state == "completed" and t.row.score is not None]


def _place(knob: Knob, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(knob, ChoiceKnob):
        return knob.values.index(value) / max(1, len(knob.values) - 1)
    low, high, at = float(knob.low), float(knob.high), float(value)
    if knob.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low) if high > low else 0.5


def _ends(knob: Knob) -> tuple[str, str]:
    if isinstance(knob, ChoiceKnob):
        return str(knob.values[0]), str(knob.values[-1])
    return _told(knob.low), _told(knob.high)


def _labels(knob: Knob) -> list[str]:
    """Return the names of the cells along a knob."""
    if isinstance(knob, ChoiceKnob):
        return [str(value) for value in knob.values]
    if knob.kind == "int" and int(knob.high) - int(knob.low) < 2 * CELLS:
        return [str(value) for value in range(int(knob.low), int(knob.high) + 1)]
    edges = _edges(knob)
    return [f"{_short(a)}–{_short(b)}" for a, b in pairwise(edges)]


def _label(knob: Knob, value: Any, labels: list[str]) -> str:
    if str(value) in labels:
        return str(value)
    inner = _edges(knob)[1:-1]
    return labels[int(np.searchsorted(inner, float(value), side="right"))]


def _edges(knob: Knob) -> list[float]:
    assert not isinstance(knob, ChoiceKnob)
    low, high = float(knob.low), float(knob.high)
    if knob.log:
        return [float(edge) for edge in np.geomspace(low, high, CELLS + 1)]
    return [float(edge) for edge in np.linspace(low, high, CELLS + 1)]


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
