"""Print a listing as a table, JSON or CSV: the same rows, whatever the form."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

Row = Mapping[str, Any]


def emit(rows: Sequence[Row], columns: Sequence[str], format_: str) -> None:
    """Print rows on stdout; JSON keeps every field, the other forms those in `columns`."""
    if format_ == "json":
        click.echo(json.dumps(list(rows), indent=2))
    elif format_ == "csv":
        click.echo(as_csv(rows, columns), nl=False)
    else:
        width = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None
        click.echo(as_table(rows, columns, width))


def as_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return RFC 4180 text with a header line; absent values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_plain(row.get(column)) for column in columns] for row in rows])
    return text.getvalue()


def as_table(rows: Sequence[Row], columns: Sequence[str], width: int | None = None) -> str:
    """Return aligned text: numbers to the right, the last column cut if `width` asks for it.

    >>> print(as_table([{"name": "a", "n": 5}, {"name": "bcd", "n": 12}], ["name", "n"]))
    name   n
    a      5
    bcd   12
    """
    cells = [[_human(row.get(column)) for column in columns] for row in rows]
    right = [
        bool(rows) and all(isinstance(row.get(column), int | float | None) for row in rows)
        for column in columns
    ]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    lines = []
    for line in [list(columns), *cells]:
        padded = [
            text.rjust(size) if to_right else text.ljust(size)
            for text, size, to_right in zip(line, widths, right, strict=True)
        ]
        text = "  ".join(padded).rstrip()
        lines.append(text if width is None or len(text) <= width else text[: width - 1] + "…")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them.

    >>> duration(8.26), duration(75), duration(7380), duration(200000)
    ('8.3 s', '1 min 15 s', '2 h 3 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for size, unit, smaller, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {part}"
    return f"{whole // 60} min {whole % 60} s"


def plural(count: int, name: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "trial"), plural(0, "trial")
    ('1 trial', '0 trials')
    """
    return f"{count} {name}" + ("" if count == 1 else "s")


def moment(at: float | None) -> str:
    """Return Unix seconds as local date and time."""
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")


def knob_text(knobs: Mapping[str, Any]) -> str:
    """Return knobs in one line.

    >>> knob_text({"T": 3, "Constant": 0.123456})
    'T=3 Constant=0.1235'
    """
    return " ".join(f"{name}={_human(value)}" for name, value in knobs.items())


def range_text(knob: Any) -> str:
    """Return what a knob ranges over.

    >>> from search_spaces.space import load_space
    >>> range_text(load_space("periodic_T").knobs["T"])
    'whole numbers from 1 to epochs/2'
    """
    if knob.kind == "choice":
        return "one of " + ", ".join(map(str, knob.values))
    kind = "whole numbers" if knob.kind == "int" else "numbers"
    return f"{kind} from {knob.low} to {knob.high}" + (", on a log scale" if knob.log else "")


def score_text(score: float | None) -> str:
    """Return a macro-F1 with the four digits that are compared by eye."""
    return "–" if score is None else f"{score:.4f}"


def _human(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value
