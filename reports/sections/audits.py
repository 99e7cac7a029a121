"""What the audited trials say about early stopping, run by run: sentences and a table of rungs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from reports.audit import Audit, Rank, Share, audit, sentences
from reports.figures.chart import Column, Table
from reports.figures.runs import Run
from search_spaces.model import validated
from tuner.spec import RunSpec


class AuditFacts(NamedTuple):
    """The audit of one run."""

    run: str
    told: tuple[str, ...]
    table: Table


def audits(runs: Sequence[Run], target: float | None) -> tuple[AuditFacts, ...]:
    """Return the audits of the runs that judged anything.

    Parameters
    ----------
    runs : sequence of Run
    target : float or None
        Of the comparison; without one each run has its own (`reports/audit.py`).
    """
    found = []
    for run in runs:
        if not run.rungs:
            continue
        spec = validated(RunSpec, run.row.spec, f"run {run.name}")
        one = audit(run.name, spec, [trial.row for trial in run.trials], run.rungs, target)
        found.append(AuditFacts(run.name, (*sentences(one), *one.warnings), audit_table(one)))
    return tuple(found)


def audit_table(found: Audit) -> Table:
    """Return one row per rung, and one for all of them; no rows if nothing was audited."""
    columns = (
        Column("bracket", "bracket"),
        Column("rung", "rung (epoch)"),
        Column("judgements", "judged"),
        Column("stopped", "stopped"),
        Column("audited", "audited"),
        Column("would_stop", "would have been stopped"),
        Column("known", "n"),
        Column("reached", "reached it later"),
        Column("share", "false-stop rate", 3),
        Column("limits", "95 % interval"),
        Column("spearman", "rank correlation", 2),
        Column("spearman_limits", "95 % interval"),
        Column("spearman_n", "n"),
    )
    rows = [
        (one.bracket, one.rung, one.judgements, one.stopped, one.audited,
         *_share(one.false_stops), *_rank(one.rank))
        for one in found.rungs
    ]  # fmt: skip
    if not found.audited:
        return Table(columns, ())
    rows.append(
        (None, "all", found.judgements, found.stopped, found.audited, *_share(found.false_stops),
         None, "–", None)
    )  # fmt: skip
    return Table(columns, tuple(rows))


def _share(one: Share) -> tuple[Any, ...]:
    return (one.would_stop, one.known, one.reached, one.share, limits(one.low, one.high))


def _rank(one: Rank) -> tuple[Any, ...]:
    return (one.spearman, limits(one.low, one.high), one.n)


def limits(low: float | None, high: float | None) -> str:
    """Return an interval with two decimals.

    >>> limits(0.1, 0.456), limits(None, None)
    ('0.10 to 0.46', '–')
    """
    return "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"
