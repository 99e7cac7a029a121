"""Check and convert one cell of a trial table, as text from CSV or as a value from Parquet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from search_spaces.model import did_you_mean, shown


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
    """Return a duration that is not negative."""
    value = _number(cell)
    if value is None or not 0 <= value < math.inf:
        raise Mistake(f"must be a number of at least 0, but got {shown(cell)}")
    return value


def count(cell: Any) -> int:
    """Return a whole number of at least 0; pandas writes 3 as 3.0 where a column has gaps.

    >>> count("3"), count("3.0"), count(2**62 + 1)
    (3, 3, 4611686018427387905)
    """
    value = None
    if not isinstance(cell, bool):
        try:
            value = int(cell) if isinstance(cell, str | int) else _whole(cell)
        except ValueError:
            value = _whole(_number(cell))
    if value is None or value < 0:
        raise Mistake(f"must be a whole number of at least 0, but got {shown(cell)}")
    return value


def knob_value(cell: Any) -> Any:
    """Return a knob's value: text of a number as one, `true` and `false` as such.

    >>> [knob_value(cell) for cell in ("3", "0.5", "true", "bn1", "nan", 7)]
    [3, 0.5, True, 'bn1', 'nan', 7]
    """
    if not isinstance(cell, str):
        return cell
    if cell in ("true", "false"):
        return cell == "true"
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        return value if math.isfinite(value) else cell
    return cell


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    exact = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    return int(value) if exact else None
