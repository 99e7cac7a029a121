"""Searches over time: the best so far against its cost, and the timeline.

Costs of this file are as-run: what the search did cost here, stopped and failed trials included.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from reports.figures.chart import (
    HEIGHT,
    WIDTH,
    Column,
    Figure,
    Table,
    data,
    file_name,
    scales,
    tooltips,
)
from reports.figures.runs import Run, Trial
from reports.figures.theme import ARMS, STATES, Style
from tuner.cli.formatting import duration, plural
from tuner.devices import all_kinds
from tuner.record_schema import FAILED_STATES

DASHES = ((1, 0), (6, 2), (2, 2), (8, 3, 2, 3))
UNITS = (("days", 1440.0), ("hours", 60.0), ("minutes", 1.0), ("seconds", 1 / 60))
"""Of a timeline, with their size in minutes."""
MOST_MARKED = 60
"""With more trials than this, a timeline marks only those that did not complete."""
MOST_RUNS = 6
"""More searches than this in one plot cannot be told apart."""


class Step(NamedTuple):
    """A search after one more of its trials has ended."""

    run: str
    trial: str
    epochs: int
    """Epochs computed so far, in trials that have ended."""
    slot_hours: float | None
    """None where the searches' devices are of several kinds: their hours do not compare."""
    best: float | None
    """Best validation macro-F1 so far."""


class Progress(NamedTuple):
    """How searches came along."""

    runs: tuple[str, ...]
    arms: tuple[str, ...]
    """Of each run."""
    steps: tuple[Step, ...]
    slot_unit: str


class Bar(NamedTuple):
    """A trial on the slot that held it."""

    trial: str
    slot: int
    """From 1; the first that was free."""
    start_min: float
    """Minutes since the run's first trial started."""
    end_min: float
    state: str
    score: float | None


class Timeline(NamedTuple):
    """A run's trials on its slots."""

    run: str
    began: str
    """UTC."""
    bars: tuple[Bar, ...]
    slots: int
    unstarted: int


def progress(runs: Sequence[Run]) -> Progress | None:
    """Return the best so far of each run by cost, or None if no trial has ended.

    Steps at which the best stays the same are left out, but for the first and the last.
    """
    steps: list[Step] = []
    mixed = len(all_kinds(device for run in runs for device in run.devices)) > 1
    for run in runs:
        ended = [trial for trial in run.trials if trial.row.ended_at is not None]
        ended.sort(key=lambda trial: (trial.row.ended_at, trial.row.number))
        epochs, slot_s, best = 0, 0.0, None
        for trial in ended:
            row = trial.row
            epochs, slot_s = epochs + row.as_run_epochs, slot_s + row.slot_s
            if row.score is not None and row.state not in FAILED_STATES:
                best = row.score if best is None else max(best, row.score)
            step = Step(run.name, trial.label, epochs, None if mixed else slot_s / 3600, best)
            within = [old for old in steps[-2:] if old.run == run.name]
            if len(within) == 2 and within[0].best == within[1].best == best:
                steps.pop()
            steps.append(step)
    if not any(step.best is not None for step in steps):
        return None
    shown = [run for run in runs if any(step.run == run.name for step in steps)]
    return Progress(
        tuple(run.name for run in shown),
        tuple(run.trials[0].row.arm for run in shown),
        tuple(steps),
        "slot-hours of different devices" if mixed else runs[0].slot_unit,
    )


def draw_progress(found: Progress) -> Figure:
    """Draw the best so far against epochs and against slot-hours."""
    lasts = {step.run: step for step in found.steps}
    firsts = {(step.run, step.best): step for step in reversed(found.steps)}
    told = "; ".join(
        f"{run} reached {last.best:.3f} after {firsts[run, last.best].epochs} epochs"
        for run, last in list(lasts.items())[:MOST_RUNS]
        if last.best is not None
    )
    columns = (
        Column("run", "run"),
        Column("trial", "trial that ended"),
        Column("epochs", "epochs so far"),
        Column("slot_hours", f"{found.slot_unit} so far", 4),
        Column("best_val_f1", "best validation F1 so far", 4),
    )
    more = len(lasts) - MOST_RUNS
    notes = [
        "A step is made when a trial ends; trials that are still running are not in it. Runs of one"
        " arm share a colour."
    ]
    if more > 0:
        notes.append(f"The message names the first {MOST_RUNS} runs; {more} more are drawn.")
    panels = [_steps(found, "epochs", "epochs computed")]
    if all(step.slot_hours is not None for step in found.steps):
        panels.append(_steps(found, "hours", found.slot_unit))
    else:
        notes.append("Slot-hours are of different devices, and left out.")
    return Figure(
        "best-so-far",
        "Best so far against cost",
        f"Best validation macro-F1 of each search: {told}.",
        tuple(panels),
        Table(columns, tuple(tuple(step) for step in found.steps)),
        tuple(notes),
    )


def timeline(run: Run) -> Timeline | None:
    """Return a run's trials on slots, or None if none has started."""
    started = [trial for trial in run.trials if trial.row.started_at is not None]
    if not started:
        return None
    started.sort(key=lambda trial: (trial.row.started_at, trial.row.number))
    first = started[0].row.started_at or 0.0
    latest = max(_until(trial) for trial in started)
    free: list[float] = []
    bars = []
    for trial in started:
        start = trial.row.started_at or 0.0
        end = latest if trial.row.ended_at is None else _until(trial)
        slot = next((i for i, since in enumerate(free) if since <= start + 0.5), len(free))
        free[slot : slot + 1] = [end]
        bars.append(
            Bar(
                trial.label,
                slot + 1,
                (start - first) / 60,
                (end - first) / 60,
                trial.row.state,
                trial.row.score,
            )
        )
    began = datetime.fromtimestamp(first, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Timeline(run.name, began, tuple(bars), len(free), len(run.trials) - len(started))


def draw_timeline(found: Timeline) -> Figure:
    """Draw trials as bars on slots."""
    import altair as alt

    states = [state for state in STATES if any(bar.state == state for bar in found.bars)]
    minutes = max(bar.end_min for bar in found.bars)
    unit, size = next((u, s) for u, s in UNITS if minutes > 3 * s or s < 1)
    rows = [
        {
            "trial": bar.trial,
            "slot": bar.slot,
            "start": bar.start_min / size,
            "end": bar.end_min / size,
            "state": bar.state,
            "score": bar.score,
        }
        for bar in found.bars
    ]
    look = scales("state", states, [STATES[state] for state in states])
    x = alt.X("start:Q", title=f"{unit} since {found.began}")
    y = alt.Y("slot:O", title="slot")
    told = [alt.Tooltip(name) for name in ("trial:N", "state:N", "score:Q")]
    base = alt.Chart(data(rows))
    bars = base.mark_bar(stroke="var(--page)", strokeWidth=0.5, opacity=0.55).encode(
        x=x, x2=alt.X2("end:Q"), y=y, color=look.color, tooltip=told
    )
    many = len(rows) > MOST_MARKED
    marked = base.transform_filter("datum.state !== 'completed'") if many else base
    ends = marked.mark_point(filled=True, size=30, opacity=1).encode(
        x=alt.X("end:Q"), y=y, color=look.color, shape=look.shape, tooltip=told
    )
    counts = ", ".join(
        f"{sum(bar.state == state for bar in found.bars)} {state}" for state in states
    )
    waiting = f" {plural(found.unstarted, 'trial')} never started." if found.unstarted else ""
    height = min(900, max(110, 70 + 22 * found.slots))
    columns = (
        Column("trial", "trial"),
        Column("slot", "slot"),
        Column("start_min", "start (min)", 2),
        Column("end_min", "end (min)", 2),
        Column("state", "state"),
        Column("val_f1", "validation F1", 4),
    )
    return Figure(
        f"timeline-{file_name(found.run)}",
        f"Timeline of {found.run}",
        f"{plural(len(found.bars), 'trial')} on {plural(found.slots, 'slot')} in"
        f" {duration(60 * minutes)}: {counts}.{waiting}",
        (alt.layer(bars, ends).properties(width=2 * WIDTH, height=height),),
        Table(columns, tuple(tuple(bar) for bar in found.bars)),
        (
            "A bar goes from a trial's first start to its end, with interruptions; trials are put"
            " on the first slot that was free. The marker at the end is the state"
            f"{', where that is not completed' if many else ''}.",
        ),
    )


def _steps(found: Progress, field: str, title: str) -> Any:
    import altair as alt

    rows = [
        {
            "run": step.run,
            "trial": step.trial,
            "epochs": step.epochs,
            "hours": step.slot_hours,
            "best": step.best,
        }
        for step in found.steps
        if step.best is not None
    ]
    styles = [
        Style(
            ARMS[arm].colour, DASHES[found.arms[:index].count(arm) % len(DASHES)], ARMS[arm].shape
        )
        for index, arm in enumerate(found.arms)
    ]
    look = scales("run", found.runs, styles)
    return (
        alt.Chart(data(rows))
        .mark_line(interpolate="step-after", point={"size": 20})
        .encode(
            x=alt.X(f"{field}:Q", title=title),
            y=alt.Y("best:Q", title="best validation F1 so far", scale=alt.Scale(zero=False)),
            color=look.color,
            strokeDash=look.dash,
            tooltip=tooltips("run:N", "trial:N", "epochs:Q", "hours:Q", "best:Q"),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )


def _until(trial: Trial) -> float:
    row = trial.row
    return max(row.started_at or 0.0, row.ended_at or 0.0)
