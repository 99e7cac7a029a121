"""The trial table: one row per trial of one or more runs, as CSV, Parquet or JSON.

The exchange format that `tuner export` writes and `tuner compare` reads. Columns: stage, arm,
space, config_id, seed, state, score, test_score, epochs, slot_seconds, then knob.NAME for every
knob by name, also with the value at which a run's space holds it. Rows keep the order of the runs
given and, within one, of the trials' numbers. An absent value is empty in CSV and null elsewhere.
Trials that have not ended are in the table with their state and what they have reached. `epochs`
and `slot_seconds` are stand-alone costs; where trials shared epochs, `as_run_epochs` and
`as_run_slot_seconds` follow them; where any has run, so does `device`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from search_spaces.model import UserError, did_you_mean
from tuner.devices import named
from tuner.record import Record
from tuner.record_rows import RunRow
from tuner.whole_file import write_whole

STAGES = ("pilot", "census", "search", "confirm")
COLUMNS = {
    "stage": str,
    "arm": str,
    "space": str,
    "config_id": str,
    "seed": int,
    "state": str,
    "score": float,
    "test_score": float,
    "epochs": int,
    "slot_seconds": float,
}
"""Fixed columns in order, with their type."""
AS_RUN = {"as_run_epochs": int, "as_run_slot_seconds": float}
"""Columns that follow where trials shared epochs."""
DEVICE = {"device": str}
"""Follows where any trial has run: seconds of different devices do not compare."""

Format = Literal["csv", "parquet", "json"]


class TrialTable(NamedTuple):
    """Rows of plain values under column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def trial_table(records: Sequence[Record], stage: str | None = None) -> TrialTable:
    """Return the trial table of some runs.

    Parameters
    ----------
    records : sequence of Record
    stage : str, optional
        Stage of all rows. By default each run's own: see `default_stage`.

    Raises
    ------
    UserError
        If there is no such stage.
    """
    if stage is not None and stage not in STAGES:
        raise UserError(did_you_mean("stage", stage, STAGES))
    found = []
    for record in records:
        with record.transaction():  # one moment, also while the run goes on
            found.append((record.run(), record.trials()))
    knobs = sorted({name for _, trials in found for trial in trials for name in trial.knobs})
    shared = any(trial.sharing for _, trials in found for trial in trials)
    placed = any(trial.device for _, trials in found for trial in trials)
    rows = tuple(
        (
            stage or default_stage(run),
            trial.arm,
            run.spec["space"]["name"],
            f"{run.name}/{trial.config}",
            trial.seed,
            trial.state,
            trial.score,
            trial.test_score,
            trial.stand_alone_epochs,
            trial.stand_alone_slot_s,
            *((trial.as_run_epochs, trial.slot_s) if shared else ()),
            *((named(trial.device, run.host),) if placed else ()),
            *(trial.knobs.get(name, run.spec["space"]["fixed"].get(name)) for name in knobs),
        )
        for run, trials in found
        for trial in trials
    )
    columns = (
        *COLUMNS,
        *(AS_RUN if shared else ()),
        *(DEVICE if placed else ()),
        *(f"knob.{name}" for name in knobs),
    )
    return TrialTable(columns, rows)


def default_stage(run: RunRow) -> str:
    """Return the stage of a study's run; of another, `census` or `search`.

    A census is of i.i.d. random configurations that nothing stops early: if it learns, follows a
    grid, or stops, its rows are no independent draws. A space without knobs leaves the sampler
    nothing to choose. That such a run was a pilot or a confirmation only a study knows.
    """
    if run.spec.get("study"):
        return str(run.spec["study"]["stage"])
    drawn = run.spec["sampler"]["name"] == "random" or not run.spec["space"]["knobs"]
    return "census" if drawn and run.spec["scheduler"]["name"] == "none" else "search"


def encoded_table(table: TrialTable, format: Format) -> bytes:
    """Return the table as the bytes of a file; numbers are exact in every format."""
    if format == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([_csv_cell(value) for value in row] for row in table.rows)
        return text.getvalue().encode()
    if format == "json":
        items = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        return (json.dumps(items, indent=1, allow_nan=False) + "\n").encode()
    return _parquet(table)


def write_table(
    records: Sequence[Record],
    target: Path | BinaryIO,
    format: Format,
    stage: str | None = None,
) -> None:
    """Write the trial table of some runs to a file or an open binary stream.

    Raises
    ------
    UserError
        If there is no such stage, or the file cannot be written.
    """
    content = encoded_table(trial_table(records, stage), format)
    if not isinstance(target, Path):
        target.write(content)
        return
    write_whole(target, content)


def _csv_cell(value: object) -> object:
    """Return what the csv module writes: it uses repr for floats, and nothing for None."""
    return str(value).lower() if isinstance(value, bool) else value


def _parquet(table: TrialTable) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    arrays, names = [], []
    for index, name in enumerate(table.columns):
        values = [row[index] for row in table.rows]
        kind = {**COLUMNS, **AS_RUN, **DEVICE}.get(name) or _common_type(values)
        if kind is str:
            values = [None if value is None else str(_csv_cell(value)) for value in values]
        types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        arrays.append(pa.array(values, types[kind]))
        names.append(name)
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, names), stream)
    return stream.getvalue()


def _common_type(values: list[Any]) -> type:
    """Return the type that holds all values of a knob: text where they are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return float
    return kinds.pop() if len(kinds) == 1 else str
