"""How the score depends on one knob: a plot for every knob of every space, axes as in the space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from reports.figures.chart import (
    SIZE,
    Column,
    Figure,
    Table,
    data,
    file_name,
    log_axis,
    scales,
    tooltips,
    whole_axis,
)
from reports.figures.runs import Floats, Run, Trial
from reports.figures.theme import STATES, Style
from search_spaces.space import ChoiceKnob, Knob, Space
from tuner.cli.formatting import plural
from tuner.record_schema import FAILED_STATES

MOST_BINS = 12
LEAST_FOR_MEDIANS = 12
FINAL, SO_FAR = "full training", "stopped early"
BySpace = dict[str, tuple[Space, list[Trial]]]
LOOK = [Style("ink", (1, 0), "circle"), STATES["pruned"]]


class Scored(NamedTuple):
    """A trial's value of a knob, and its score."""

    trial: str
    key: str
    value: Any
    score: float
    kind: str
    """`full training`, or `stopped early`: then the score is only what it had reached."""


class Middle(NamedTuple):
    """The median score of fully trained trials near a value."""

    value: Any
    median: float
    trials: int


class KnobScores(NamedTuple):
    """Scores over a knob."""

    space: str
    knob: str
    low: float | None
    """None for a choice."""
    high: float | None
    log: bool
    choices: tuple[str, ...]
    scored: tuple[Scored, ...]
    middles: tuple[Middle, ...]
    unscored: int
    """Trials that crashed or diverged, or have no epoch yet."""
    axis: str
    """What its axis is headed with: the knob and its unit, if it has one."""


def by_space(runs: Sequence[Run]) -> BySpace:
    """Return each space's trials; runs of one space and one number of epochs belong together."""
    found: BySpace = {}
    for run in runs:
        name, epochs = run.space.name, run.row.spec["epochs"]
        key = next((k for k in (name, f"{name}, {epochs} epochs", f"{name}, {run.name}")
                    if k not in found or found[k][0] == run.space), run.name)  # fmt: skip
        found.setdefault(key, (run.space, []))[1].extend(run.trials)
    return found


def knob_scores(label: str, space: Space, trials: Sequence[Trial], name: str) -> KnobScores:
    """Return the scores of a space's trials over one of its knobs."""
    knob = space.knobs[name]
    choice = isinstance(knob, ChoiceKnob)
    scored = []
    having = [trial for trial in trials if name in trial.row.knobs]
    for trial in having:
        row = trial.row
        if row.score is None or row.state in FAILED_STATES:
            continue
        value = str(row.knobs[name]) if choice else row.knobs[name]
        kind = FINAL if row.state == "completed" else SO_FAR
        scored.append(Scored(trial.label, trial.key, value, row.score, kind))
    return KnobScores(
        label,
        name,
        *_range(knob),
        tuple(map(str, knob.values)) if isinstance(knob, ChoiceKnob) else (),
        tuple(scored),
        tuple(_middles([one for one in scored if one.kind == FINAL], choice)),
        len(having) - len(scored),
        axis_title(name, having),
    )


def axis_title(knob: str, trials: Sequence[Trial]) -> str:
    """Return a knob with its unit; all knobs but T are shares, rates or names.

    >>> axis_title("Constant", [])
    'Constant'
    """
    if knob != "T":
        return knob
    units = {one.row.trial_config.get("injection", {}).get("interval_unit") for one in trials}
    return f"T ({' or '.join(f'{unit}s' for unit in sorted(units - {None})) or 'epochs'})"


def draw_knob(found: KnobScores) -> Figure:
    """Draw scores over a knob."""
    best = max(found.scored, key=lambda one: one.score)
    message = (
        f"The best score in {found.space}, {best.score:.3f}, was reached at {found.knob} ="
        f" {_told(best.value)} ({best.trial})."
    )
    if len(found.middles) > 1:
        top = max(found.middles, key=lambda one: one.median)
        low = min(found.middles, key=lambda one: one.median)
        message += (
            f" Medians go from {low.median:.3f} at {_told(low.value)} to {top.median:.3f} at"
            f" {_told(top.value)}."
        )
    notes = []
    if found.unscored:
        notes.append(
            f"Not drawn: {plural(found.unscored, 'trial')} that crashed, diverged or have no epoch."
        )
    if any(one.kind == SO_FAR for one in found.scored):
        notes.append(
            "What trials that did not end their training had reached is a lower bound of what they"
            " would have; medians leave them out."
        )
    columns = (
        Column("trial", "trial"),
        Column("value", found.knob),
        Column("val_f1", "validation F1", 4),
        Column("kind", "training"),
    )
    rows = tuple((one.trial, one.value, one.score, one.kind) for one in found.scored)
    return Figure(
        file_name(f"knob-{found.space}-{found.knob}"),
        f"Score over {found.knob} ({found.space})",
        message,
        (_scatter(found),),
        Table(columns, rows),
        tuple(notes),
    )


def _scatter(found: KnobScores) -> Any:
    import altair as alt

    kinds = [kind for kind in (FINAL, SO_FAR) if any(one.kind == kind for one in found.scored)]
    look = scales("kind", kinds, [LOOK[(FINAL, SO_FAR).index(kind)] for kind in kinds])
    rows: list[dict[str, Any]] = []
    seen: dict[Any, int] = {}
    for one in found.scored:
        seen[one.value] = seen.get(one.value, 0) + 1
        # Points of one choice are spread by the golden ratio: evenly, and always alike.
        spread = (seen[one.value] * (math.sqrt(5) - 1) / 2) % 1
        rows.append({**one._asdict(), "spread": spread})
    padded = alt.Scale(zero=False, padding=8)
    y = alt.Y("score:Q", title="best validation macro-F1", scale=padded)
    base = alt.Chart(data(rows))
    size, opacity = (40, 0.75) if len(rows) <= 200 else (16, 0.5)
    marks = base.mark_point(filled=True, size=size, opacity=opacity)
    told = tooltips("trial:N", alt.Tooltip("value", title=found.knob, type="nominal"),
                    alt.Tooltip("score:Q", format=".4f"), "kind:N")  # fmt: skip
    middle = alt.Chart(
        data(
            [
                {"value": m.value, "median": m.median, "trials": m.trials, "spread": 0.5}
                for m in found.middles
            ]
        )
    )
    y_middle = alt.Y("median:Q", title="best validation macro-F1")
    layers: list[Any]
    if found.low is None:
        domain = alt.Scale(domain=list(found.choices))
        x = alt.X("value:N", title=found.axis, scale=domain, axis=alt.Axis(labelAngle=0))
        offset = alt.XOffset("spread:Q", scale=alt.Scale(domain=[-1, 2]))
        layers = [
            marks.encode(
                x=x, y=y, xOffset=offset, color=look.color, shape=look.shape, tooltip=told
            ),
            middle.mark_tick(thickness=4, opacity=1, size=40, color="var(--dynamic)").encode(
                x=x, y=y_middle, xOffset=offset
            ),
        ]
    else:
        scale = alt.Scale(
            type="log" if found.log else "linear",
            domain=[found.low, found.high],
            nice=False,
            padding=8,
        )
        axis = alt.Axis()
        if found.log:
            axis = log_axis(found.low, found.high or found.low)
        elif all(isinstance(one.value, int) for one in found.scored):
            axis = whole_axis(int(found.low), int(found.high or 0))
        title = found.axis + (" (log scale)" if found.log else "")
        x_number = alt.X("value:Q", title=title, scale=scale, axis=axis)
        layers = [
            marks.encode(x=x_number, y=y, color=look.color, shape=look.shape, tooltip=told),
            middle.mark_line(
                strokeWidth=2.5, color="var(--dynamic)", point={"color": "var(--dynamic)"}
            ).encode(x=x_number, y=y_middle),
        ]
    return alt.layer(*(layers if len(found.middles) > 1 else layers[:1])).properties(**SIZE)


def _range(knob: Knob) -> tuple[float | None, float | None, bool]:
    if isinstance(knob, ChoiceKnob):
        return None, None, False
    return float(knob.low), float(knob.high), knob.log


def _middles(scored: Sequence[Scored], choice: bool) -> list[Middle]:
    """Return medians by value where there are few values, else in bins of equal counts."""
    values = sorted({one.value for one in scored})
    if choice or len(values) <= MOST_BINS:
        groups = [[one for one in scored if one.value == value] for value in values]
        if len(scored) < LEAST_FOR_MEDIANS or not groups:
            return []
    else:
        if len(scored) < LEAST_FOR_MEDIANS:
            return []
        ordered = sorted(scored, key=lambda one: (one.value, one.key))
        bins = min(MOST_BINS, round(math.sqrt(len(ordered))))
        groups = [list(part) for part in _parts(ordered, bins)]
    return [
        Middle(
            group[0].value if choice else float(np.median([one.value for one in group])),
            float(np.median([one.score for one in group])),
            len(group),
        )
        for group in groups
    ]


def _parts(ordered: Sequence[Scored], count: int) -> list[Sequence[Scored]]:
    edges: Floats = np.linspace(0, len(ordered), count + 1).round()
    return [ordered[int(a) : int(b)] for a, b in pairwise(edges)]


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
