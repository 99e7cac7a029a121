"""What early stopping judged in a run: every trial at every rung, and what became of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from reports.figures.chart import SIZE, Column, Figure, Table, data, file_name, scales, tooltips
from reports.figures.runs import Run
from reports.figures.theme import STATES

MOST_RUNGS_APART = 8
"""With more rungs, the order of arrival within each cannot be shown."""


class Judgement(NamedTuple):
    """A trial at a rung."""

    trial: str
    rung_epoch: int
    value: float
    cutoff: float | None
    verdict: str
    """continued, stopped, or exempt (would have been stopped, but was audited)."""
    rank: int
    entries: int
    tied: int


class Stopping(NamedTuple):
    """What early stopping did in a run."""

    run: str
    scheduler: str
    judgements: tuple[Judgement, ...]


def stopping(run: Run) -> Stopping | None:
    """Return what early stopping judged in a run, or None if it judged nothing."""
    if not run.rungs:
        return None
    labels = {trial.row.number: trial.label for trial in run.trials}
    judgements = tuple(
        Judgement(
            labels[rung.trial],
            rung.rung_epoch,
            rung.value,
            rung.cutoff,
            "stopped" if rung.stop else "exempt" if rung.would_stop else "continued",
            rung.rank,
            rung.entries,
            rung.tied,
        )
        for rung in run.rungs
    )
    return Stopping(run.name, str(run.row.spec["scheduler"]["name"]), judgements)


def draw_stopping(found: Stopping) -> Figure:
    """Draw every judgement by rung."""
    import altair as alt

    verdicts = {"continued": "completed", "stopped": "pruned", "exempt": "diverged"}
    present = [v for v in verdicts if any(j.verdict == v for j in found.judgements)]
    look = scales("verdict", present, [STATES[verdicts[v]] for v in present])
    epochs = sorted({j.rung_epoch for j in found.judgements})
    entered = {
        epoch: max(j.entries for j in found.judgements if j.rung_epoch == epoch) for epoch in epochs
    }
    rows = [
        {
            "trial": j.trial,
            "rung": j.rung_epoch,
            "value": j.value,
            "cutoff": j.cutoff,
            "verdict": j.verdict,
            "order": (j.entries - 0.5) / entered[j.rung_epoch],
        }
        for j in found.judgements
    ]
    apart = len(epochs) <= MOST_RUNGS_APART
    title = "epoch of the rung"
    horizontal: dict[str, Any] = (
        {
            "x": alt.X("rung:O", title=title, axis=alt.Axis(labelAngle=0)),
            "xOffset": alt.XOffset("order:Q", scale=alt.Scale(domain=[-0.1, 1.1])),
        }
        if apart
        else {"x": alt.X("rung:Q", title=title, scale=alt.Scale(zero=False, padding=8))}
    )
    chart = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=45, opacity=0.75)
        .encode(
            **horizontal,
            y=alt.Y(
                "value:Q",
                title="best validation F1 up to the rung",
                scale=alt.Scale(zero=False, padding=8),
            ),
            color=look.color,
            shape=look.shape,
            tooltip=tooltips("trial:N", "rung:O", "value:Q", "cutoff:Q", "verdict:N"),
        )
        .properties(**SIZE)
    )
    told = []
    for epoch in epochs:
        there = [j for j in found.judgements if j.rung_epoch == epoch]
        stopped = sum(j.verdict == "stopped" for j in there)
        told.append(f"{stopped} of {len(there)} at epoch {epoch}")
    exempt = sum(j.verdict == "exempt" for j in found.judgements)
    tied = sum(j.tied > 0 for j in found.judgements)
    notes = ["Within a rung, from left to right in the order of arrival." if apart else ""]
    notes = ["A trial that was stopped is never continued.", *filter(None, notes)]
    if exempt:
        notes.append(f"{exempt} would have been stopped, but were exempt as an audit.")
    if tied:
        notes.append(f"{tied} tied with an earlier value; equals rank in the order of arrival.")
    columns = (
        Column("trial", "trial"),
        Column("rung_epoch", "rung (epoch)"),
        Column("value", "best validation F1", 4),
        Column("cutoff", "cutoff", 4),
        Column("verdict", "verdict"),
        Column("rank", "rank"),
        Column("entries", "of"),
        Column("tied", "tied"),
    )
    rung_text = "; ".join(told[:8]) + ("; …" if len(told) > 8 else "")
    return Figure(
        f"stopping-{file_name(found.run)}",
        f"Early stopping in {found.run} ({found.scheduler})",
        f"Stopped: {rung_text}.",
        (chart,),
        Table(columns, tuple(tuple(j) for j in found.judgements)),
        tuple(notes),
    )
