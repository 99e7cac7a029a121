"""What dynamic saves once the search for its own default is charged.

R_acc = K_P c_P / ((K_D + H/m) c_D): K the median trials to a match, at least 1, since nobody trains
less; c the mean cost of a trial, H trials spent on finding the default, m tasks that the default
serves. It breaks even at m* = H / (K_P c_P/c_D − K_D).
"""

from __future__ import annotations

import math
from typing import NamedTuple

TRIALS_SPENT = (0, 1, 2, 5, 10, 20, 50, 100, 200)
"""Values of H on the curve; the whole trials to tune periodic are added."""


class Accounting(NamedTuple):
    """The savings when H trials were spent on the default."""

    trials_spent: int
    """H."""
    ratio: float | None
    """R_acc if the default serves one task; None where either arm did not match."""
    break_even_tasks: float | None
    """m*; None where dynamic never breaks even."""


def accounting(
    k_periodic: float, k_dynamic: float, cost_periodic: float, cost_dynamic: float, spent: int
) -> Accounting:
    """Return the savings with H = `spent` charged; the trials K may be infinite, or below 1.

    >>> accounting(10, 2, 1.0, 1.0, 8)
    Accounting(trials_spent=8, ratio=1.0, break_even_tasks=1.0)
    """
    k_periodic, k_dynamic = max(1.0, k_periodic), max(1.0, k_dynamic)
    worth = k_periodic * cost_periodic / cost_dynamic
    if not (math.isfinite(worth) and math.isfinite(k_dynamic)):
        return Accounting(spent, None, None)
    gain = worth - k_dynamic
    return Accounting(spent, worth / (k_dynamic + spent), spent / gain if gain > 0 else None)


def curve(
    k_periodic: float, k_dynamic: float, cost_periodic: float, cost_dynamic: float
) -> tuple[Accounting, list[Accounting]]:
    """Return the point where H is as many trials as tuning periodic takes, and the whole curve.

    That H is the natural yardstick: a default that was as hard to find as T. Where periodic did not
    match it is not known, and the point says so.
    """
    spent = max(1, math.ceil(k_periodic - 1e-9)) if math.isfinite(k_periodic) else 0
    amounts = sorted({*TRIALS_SPENT, spent})
    points = [
        accounting(k_periodic, k_dynamic, cost_periodic, cost_dynamic, amount) for amount in amounts
    ]
    return points[amounts.index(spent)], points
