"""Judge a running trial, put the judgement on record, and say why it must stop, if it must."""

from __future__ import annotations

from tuner.live import Live
from tuner.record import Record
from tuner.rungs import Decision, Halving, Stopping


def judged(
    stopping: Stopping | None, record: Record, number: int, live: Live, epoch: int
) -> str | None:
    """Return why a trial that has finished an epoch must stop, or None if it may go on.

    Parameters
    ----------
    stopping : Stopping or None
        The run's rule; None stops nobody.
    record : Record
        Gets the judgement, if there is one, and what must be told of it.
    number : int
    live : Live
        What is known of the trial, its best score included.
    epoch : int
    """
    if stopping is None:
        return None
    decision = stopping.judge(
        number, epoch, live.best, live.judged_from, live.audited, live.clean_until
    )
    if decision is None:
        return None
    record.add_rung(
        number,
        decision.rung,
        decision.value,
        decision.cutoff,
        decision.rank,
        decision.entries,
        decision.tied,
        decision.stop,
        decision.would_stop,
    )
    if decision.tied:
        record.add_event(
            "tie",
            f"{decision.tied} earlier trial(s) score exactly {decision.value:.4f} too at epoch"
            f" {decision.rung}; equals rank by arrival",
            trial=number,
        )
    return _why(decision, stopping, number) if decision.stop else None


def _why(decision: Decision, stopping: Stopping, number: int) -> str:
    several = isinstance(stopping, Halving) and len(stopping.weights) > 1
    bracket = f"bracket {stopping.bracket(number)}, " if several else ""
    cut = "" if decision.cutoff is None else f"; the cut is {decision.cutoff:.4f}"
    return (
        f"{bracket}epoch {decision.rung}: {decision.value:.4f} ranks {decision.rank}"
        f" of {decision.entries}{cut}"
    )
