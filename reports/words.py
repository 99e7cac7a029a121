"""Numbers, intervals and counts as a reader takes them in."""

from __future__ import annotations

import math
from decimal import Decimal


def number(value: float) -> str:
    """Return a number with the digits a reader can use.

    >>> [number(value) for value in (0.38124, 4.2345, 123.4, 12345, 0.00012, math.inf)]
    ['0.3812', '4.23', '123', '12,345', '0.00012', '∞']
    """
    if not math.isfinite(value):
        return "∞"
    if 0.1 <= abs(value) < 1:
        return f"{value:.4g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def limits_text(low: float | None, high: float | None) -> str:
    """Return an interval.

    >>> limits_text(1.5, 20), limits_text(3.2, None)
    ('1.5 to 20', '3.2 to ∞')
    """
    return " to ".join("∞" if one is None else number(one) for one in (low, high))


def stopped_before(count: int) -> str:
    """Return what became of so many trials whose final score is unknown.

    >>> stopped_before(1), stopped_before(4)
    ('was stopped before it could', 'were stopped before they could')
    """
    return "was stopped before it could" if count == 1 else "were stopped before they could"


def percent(share: float) -> str:
    """Return a share below 1 in per cent, with all its digits: "100 %" would be a lie.

    >>> [percent(share) for share in (0.95, 0.975, 0.57, 0.9999999999999999, 1e-9)]
    ['95 %', '97.5 %', '57 %', '99.99999999999999 %', '1e-07 %']
    """
    if share < 1e-6:
        return f"{share * 100:g} %"
    digits = f"{Decimal(repr(share)) * 100:f}"
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits} %"
