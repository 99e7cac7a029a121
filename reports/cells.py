"""Check and convert one cell of a trial table, as text from CSV or as a value from Parquet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from search_spaces.model import did_you_mean, shown

MOST_SEED = 2**64 - 1
"""Largest seed: that of an unsigned 64-bit number."""
MOST_EPOCHS = 10**9
MOST_SECONDS = 1e12
"""Thirty thousand years: above, a cell is no duration, and sums of it lose their meaning."""
LEAST_SECONDS = 1e-9
"""A nanosecond: below, a duration is none."""
MOST_KNOB = 1e300
"""Largest size of a knob's number, so that a mean of them is still one."""


class Mistake(ValueError):  # noqa: N818 (the user's, told as such)
    """What is wrong with a cell: the end of "COLUMN …", or, if `whole`, the whole sentence."""

    def __init__(self, message: str, whole: bool = False) -> None:
        super().__init__(message)
        self.whole = whole


def text(cell: Any) -> str:
    """Return a cell as text; 7 and "7" are one name."""
    return str(cell)


def one_of(kind: str, known: Sequence[str]) -> Callable[[Any], str]:
    """Return a check for one of a few names."""

    def check(cell: Any) -> str:
        if cell not in known:
            raise Mistake(did_you_mean(kind, str(cell), known).removesuffix("."), whole=True)
        return str(cell)

    return check


def fraction(cell: Any) -> float:
    """Return a score.

    >>> fraction("0.39")
    0.39
    >>> fraction("39")
    Traceback (most recent call last):
    reports.cells.Mistake: must be a number from 0 to 1, but got '39'
    """
    value = _number(cell)
    if value is None or not 0 <= value <= 1:  # also refuses NaN, which opda ranks as the best
        raise Mistake(f"must be a number from 0 to 1, but got {shown(cell)}")
    return value


def seconds(cell: Any) -> float:
    """Return a duration that is not negative, nor longer than any.

    >>> seconds("1e12"), seconds("1e-320")
    (1000000000000.0, 0.0)
    >>> seconds("1e308")
    Traceback (most recent call last):
    reports.cells.Mistake: must be a number from 0 to 1e+12, but got '1e308'
    """
    value = _number(cell)
    if value is None or not 0 <= value <= MOST_SECONDS:
        raise Mistake(f"must be a number from 0 to {MOST_SECONDS:g}, but got {shown(cell)}")
    return value if value >= LEAST_SECONDS else 0.0


def count(most: int) -> Callable[[Any], int]:
    """Return a check for a whole number of at least 0; pandas writes 3 as 3.0 in a gappy column.

    >>> seed = count(MOST_SEED)
    >>> seed("3"), seed("3.0"), seed(2**62 + 1)
    (3, 3, 4611686018427387905)
    """

    def check(cell: Any) -> int:
        value = None
        if not isinstance(cell, bool):
            try:
                value = int(cell) if isinstance(cell, str | int) else _whole(cell)
            except ValueError:
                value = _whole(_number(cell))
        if value is None or value < 0:
            raise Mistake(f"must be a whole number of at least 0, but got {shown(cell)}")
        if value > most:
            raise Mistake(f"must be at most {most}, but got {shown(cell)}")
        return value

    return check


def knob_value(cell: Any) -> Any:
    """Return a knob's value: text of a number as one, `true` and `false` as such.

    >>> [knob_value(cell) for cell in ("3", "0.5", "true", "bn1", "nan", 7)]
    [3, 0.5, True, 'bn1', 'nan', 7]
    """
    if isinstance(cell, str):
        if cell in ("true", "false"):
            return cell == "true"
        value = _parsed(cell)
    else:
        value = cell
    huge = isinstance(value, int | float) and MOST_KNOB < abs(value) < math.inf
    if huge or (isinstance(cell, str) and cell.isdigit() and not isinstance(value, int)):
        raise Mistake(f"must be at most {MOST_KNOB:g} in size, but got {shown(cell)}")
    return value


def _parsed(cell: str) -> Any:
    """Return text of a finite number as one."""
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        return value if isinstance(value, int) or math.isfinite(value) else cell
    return cell


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except OverflowError:  # of a whole number with more than 308 digits
        return math.inf
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    exact = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    return int(value) if exact else None
