"""Open a trial table's file, CSV, Parquet or JSON, as rows of cells that nobody has checked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.model import UserError
from tuner.record_file import FILE

EMPTY = "is empty; a trial table has a header and one row per trial."


class Source(NamedTuple):
    """One file's rows of raw cells, each with its number and what the file calls a row."""

    name: str
    columns: list[str]
    rows: Iterator[tuple[int, Sequence[Any]]]


def opened(path: Path) -> Source:
    """Return a table's raw cells.

    Raises
    ------
    UserError
        If it cannot be read, or is empty.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise UserError(f"{path} is neither a table nor a run: it has no {FILE}.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    if not content.strip():
        raise UserError(f"{path} {EMPTY}")
    if path.suffix.lower() in (".parquet", ".pq"):
        return _parquet(path, content)
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 text (row {line}).") from error
    return _json(path, decoded) if path.suffix.lower() == ".json" else _csv(path, decoded)


def _csv(path: Path, decoded: str) -> Source:
    reader = csv.reader(io.StringIO(decoded, newline=""))

    def rows() -> Iterator[tuple[int, Sequence[Any]]]:
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise UserError(f"{path} is no CSV: {error} (row {line}).") from error
            if any(cell.strip() for cell in cells):
                yield line, cells

    lines = rows()
    header = next(lines, None)
    if header is None:
        raise UserError(f"{path} {EMPTY}")
    return Source(str(path), list(header[1]), lines)


def _json(path: Path, decoded: str) -> Source:
    try:
        items = json.loads(decoded)
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}.") from error
    except RecursionError:
        raise UserError(f"{path} is no trial table: it is nested too deeply.") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError(f"{path} must be a list with one object per trial.")
    if not items:
        raise UserError(f"{path} holds no trials: its list is empty.")
    columns = list(dict.fromkeys(name for item in items for name in item))
    rows = ((i, [item.get(name) for name in columns]) for i, item in enumerate(items, start=1))
    return Source(str(path), columns, rows)


def _parquet(path: Path, content: bytes) -> Source:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{path} is no Parquet file: {reason}.") from error
    cells = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return Source(str(path), list(table.column_names), enumerate(cells, start=1))
