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
    value, cutoff = _apart(decision.value, decision.cutoff)
    cut = "" if cutoff is None else f"; the cut is {cutoff}"
    return (
        f"{bracket}epoch {decision.rung}: {value} ranks {decision.rank} of {decision.entries}{cut}"
    )


def _apart(value: float, cutoff: float | None) -> tuple[str, str | None]:
    """Return both with four digits, or with so many that they are seen to differ.

    >>> _apart(0.518329, 0.518349), _apart(0.5, 0.5)
    (('0.51833', '0.51835'), ('0.5000', '0.5000'))
    """
    if cutoff is None:
        return f"{value:.4f}", None
    told = [(f"{value:.{digits}f}", f"{cutoff:.{digits}f}") for digits in range(4, 10)]
    return next((both for both in told if both[0] != both[1]), told[0])
