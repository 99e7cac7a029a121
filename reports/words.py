"""Numbers, intervals and counts as a reader takes them in."""

from __future__ import annotations

import math


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


def plural(count: int, name: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "trial"), plural(0, "trial")
    ('1 trial', '0 trials')
    """
    return f"{count} {name}" + ("" if count == 1 else "s")
