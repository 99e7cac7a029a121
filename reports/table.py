"""Read any mix of run records and trial tables into one validated set of trials.

A table is CSV, Parquet or JSON with the columns of `tuner.table`. `stage`, `test_score`, `epochs`
and `slot_seconds` may be absent or empty; so may `metric` (name of the score), `device` (type of
machine), `data` (fingerprint of the data set), `as_run_epochs` and `as_run_slot_seconds`, which
other tools may add. Every cell is checked: a mistake is told in one line with file, row, column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from reports.cells import (
    MOST_EPOCHS,
    MOST_SEED,
    Mistake,
    count,
    fraction,
    knob_value,
    one_of,
    seconds,
    text,
)
from reports.raw_table import opened
from search_spaces.model import UserError, shown
from trainables.config import Arm as ArmName
from trainables.config import canonical_json
from tuner.devices import named
from tuner.record_file import FILE
from tuner.record_schema import TRIAL_STATES
from tuner.spec import in_effect
from tuner.table import STAGES, default_stage

ARMS = get_args(ArmName)
REQUIRED = ("arm", "space", "config_id", "seed", "state", "score")
MISSPELT = 0.85
"""Likeness from which a foreign column is taken for a known one that is absent: `tst_score`, not
`val_score`."""
RECORD_METRIC = "macro-F1"
"""What a run's record holds as score."""

_CELLS: dict[str, Callable[[Any], Any]] = {
    "stage": one_of("stage", STAGES),
    "arm": one_of("arm", ARMS),
    "space": text,
    "config_id": text,
    "seed": count(MOST_SEED),
    "state": one_of("state", TRIAL_STATES),
    "score": fraction,
    "test_score": fraction,
    "epochs": count(MOST_EPOCHS),
    "slot_seconds": seconds,
    "as_run_epochs": count(MOST_EPOCHS),
    "as_run_slot_seconds": seconds,
    "metric": text,
    "device": text,
    "data": text,
}
"""Every column but the knobs, with what checks and converts a cell that is not empty."""


@dataclass(frozen=True)
class Trials:
    """Trials as columns of equal length, one entry per trial; None where a value is unknown."""

    stage: list[str]
    """pilot, census, search or confirm."""
    arm: list[str]
    """baseline, dropout, periodic, …"""
    space: list[str]
    """Name of the search space."""
    config_id: list[str]
    """Which configuration; several seeds of one share it."""
    seed: list[int]
    """The training's seed."""
    state: list[str]
    """waiting, running, completed, pruned, diverged, crashed or stopped."""
    score: list[float | None]
    """Best validation score, 0 to 1."""
    test_score: list[float | None]
    """Test score of the best epoch, 0 to 1."""
    epochs: list[int | None]
    """Epochs of the trial's own training, shared or not (stand-alone cost)."""
    slot_seconds: list[float | None]
    """Seconds × share of a device held (stand-alone cost)."""
    as_run_epochs: list[int | None]
    """Epochs that were computed for it."""
    as_run_slot_seconds: list[float | None]
    """Slot-seconds that were spent on it."""
    metric: list[str | None]
    """Name of the score, where it is said."""
    device: list[str | None]
    """Kind of device, where it is said; several that trained a trial are joined by ` + `."""
    data: list[str | None]
    """Fingerprint of the data set, where it is said."""
    knobs: list[dict[str, Any]]
    """Knob name → value."""
    setting: list[str | None]
    """Everything that decides a trial but its seed, as canonical JSON; from records only."""
    conditions: list[str | None]
    """What should be equal in all arms (network, training, epochs), as JSON; from records only."""
    definition: list[str | None]
    """The space's knobs with their ranges, and what it fixes, as JSON; from records only."""
    copies: list[int | None]
    """Validation images that are training images, too, where it is known; from records only."""
    source: list[str]
    """File or run it comes from."""
    row: list[int]
    """Line of a CSV, row of another table from 1, or number of a run's trial."""

    def __len__(self) -> int:
        return len(self.space)

    def take(self, indices: Iterable[int]) -> Trials:
        """Return the trials at these positions, in this order."""
        chosen = list(indices)
        return Trials(*([getattr(self, name)[i] for i in chosen] for name in COLUMN_NAMES))

    def where(
        self,
        *,
        space: str | None = None,
        stage: str | None = None,
        arm: str | None = None,
        states: Iterable[str] | None = None,
    ) -> Trials:
        """Return the trials that have all the values given."""
        wanted = {"space": space, "stage": stage, "arm": arm}
        tests = [(getattr(self, key), value) for key, value in wanted.items() if value is not None]
        allowed = None if states is None else set(states)
        return self.take(
            i
            for i in range(len(self))
            if all(column[i] == value for column, value in tests)
            and (allowed is None or self.state[i] in allowed)
        )

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of all spaces, in order of appearance."""
        return tuple(dict.fromkeys(self.space))


COLUMN_NAMES = tuple(field.name for field in fields(Trials))


def read_trials(paths: Iterable[Path | str], none: bool = False) -> Trials:
    """Read run folders and tables, in the order given.

    Parameters
    ----------
    paths : iterable of Path or str
        Folders of runs (with `record.db`), or files ending in .csv, .parquet or .json; another
        ending is read as CSV.
    none : bool, default False
        Whether there may be no trial at all, as in runs that have planned none yet.

    Raises
    ------
    UserError
        One line for the first mistake, with the number of further ones in the same file.
    """
    rows: list[dict[str, Any]] = []
    for path in map(Path, paths):
        folder = path.parent if path.name == FILE else path
        rows += _record_rows(folder) if (folder / FILE).is_file() else _table_rows(path)
    if not rows and not none:
        raise UserError("No trials: give at least one run or trial table.")
    _check_together(rows)
    return Trials(*([row[name] for row in rows] for name in COLUMN_NAMES))


def census_spaces(trials: Trials) -> set[str]:
    """Return the spaces of which there is a census, so that no search need stand in for it."""
    stages = zip(trials.space, trials.stage, strict=True)
    return {space for space, stage in stages if stage == "census"}


def of_census(stage: str, space: str, having: set[str]) -> bool:
    """Return whether a trial counts where a census is described: a search's if there is none.

    Parameters
    ----------
    stage, space : str
        The trial's.
    having : set of str
        Spaces of which there is a census.
    """
    return stage == "census" or (stage == "search" and space not in having)


def _table_rows(path: Path) -> list[dict[str, Any]]:
    source = opened(path)
    columns = [name.strip() for name in source.columns]
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        hint = " Its columns must be separated by commas." if len(columns) == 1 else ""
        raise UserError(
            f"Column {missing[0]} is missing ({source.name}, row 1); needed are"
            f" {', '.join(REQUIRED)}.{hint}"
        )
    absent = [name for name in _CELLS if name not in columns]
    for name in columns:
        close = get_close_matches(name, absent, n=1, cutoff=MISSPELT)
        if name not in _CELLS and close:
            raise UserError(
                f"Unknown column {shown(name)}. Did you mean {close[0]!r}? Rename it, or leave it"
                f" out ({source.name}, row 1)."
            )
        if name and columns.count(name) > 1:
            raise UserError(f"Column {name} is there twice ({source.name}, row 1).")
    rows, mistakes = [], []
    for number, cells in source.rows:
        place = f"({source.name}, row {number}"
        cells = _fitted(cells, columns)
        if len(cells) != len(columns):
            mistakes.append(f"Expected {len(columns)} columns, but got {len(cells)} {place})")
            continue
        values, wrong = _row(dict(zip(columns, cells, strict=True)))
        mistakes += [f"{message} {place}, column {name})" for name, message in wrong]
        rows.append({**values, "source": source.name, "row": number})
    if mistakes:
        more = len(mistakes) - 1
        tail = f"; and {more} more mistake{'s' if more > 1 else ''} there." if more else "."
        raise UserError(mistakes[0] + tail)
    if not rows:
        raise UserError(f"{source.name} holds no trials: it has a header, but no rows.")
    return rows


def _fitted(cells: Sequence[Any], columns: Sequence[str]) -> Sequence[Any]:
    """Return a row without the empty cells that trailing commas add to it or to the header."""
    cells = list(cells)
    while len(cells) > len(columns) and not str(cells[-1]).strip():
        cells.pop()
    while len(cells) < len(columns) and not columns[len(cells)]:
        cells.append("")
    return cells


def _row(cells: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return a row's values, and each wrong cell's column with what is wrong."""
    values: dict[str, Any] = dict.fromkeys(COLUMN_NAMES)
    wrong = []
    knobs = {}
    for name, raw in cells.items():
        cell = raw.strip() if isinstance(raw, str) else raw
        empty = cell is None or cell == ""
        if name.startswith("knob."):
            try:
                if not empty:
                    knobs[name.removeprefix("knob.")] = knob_value(cell)
            except Mistake as mistake:
                wrong.append((name, f"{name} {mistake}"))
            continue
        if name not in _CELLS:
            continue  # other tools may have columns of their own
        try:
            if not empty:
                values[name] = _CELLS[name](cell)
            elif name in REQUIRED and name != "score":
                raise Mistake("is required, but is empty")
        except Mistake as mistake:
            wrong.append((name, str(mistake) if mistake.whole else f"{name} {mistake}"))
    if values["state"] == "completed" and values["score"] is None and not wrong:
        wrong.append(("score", "score is required for a completed trial, but is empty"))
    values["stage"] = values["stage"] or "census"
    for name in ("epochs", "slot_seconds"):
        if values[f"as_run_{name}"] is None:
            values[f"as_run_{name}"] = values[name]
    return {**values, "knobs": knobs}, wrong


def _record_rows(folder: Path) -> list[dict[str, Any]]:
    from tuner.record import Record

    with Record.open(folder) as record, record.transaction():
        run, trials = record.run(), record.trials()
    parts = {
        "network": in_effect(run.spec, "network"),
        "training": in_effect(run.spec, "training"),
        "epochs": run.spec.get("epochs"),
    }
    return [
        {
            "stage": default_stage(run),
            "arm": trial.arm,
            "space": run.spec["space"]["name"],
            "config_id": f"{run.name}/{trial.config}",
            "seed": trial.seed,
            "state": trial.state,
            "score": trial.score,
            "test_score": trial.test_score,
            "epochs": trial.stand_alone_epochs,
            "slot_seconds": trial.stand_alone_slot_s,
            "as_run_epochs": trial.as_run_epochs,
            "as_run_slot_seconds": trial.slot_s,
            "metric": RECORD_METRIC,
            "device": named(trial.device, run.host),
            "data": run.data.get("fingerprint"),
            "copies": run.data.get("copies_of_train", {}).get("validation"),
            "knobs": trial.knobs,
            "setting": canonical_json({**trial.trial_config, "seed": None}),
            "conditions": canonical_json(parts),
            "definition": canonical_json([run.spec["space"][name] for name in ("fixed", "knobs")]),
            "source": str(folder),
            "row": trial.number,
        }
        for trial in trials
    ]


def _check_together(rows: list[dict[str, Any]]) -> None:
    """Refuse what no row can show alone: a trial that is there twice, two metrics, two data sets.

    Raises
    ------
    UserError
        That names both places.
    """
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("stage", "arm", "space", "config_id", "seed"))
        if key in seen:
            raise UserError(
                f"Trial {row['space']} {row['config_id']} with seed {row['seed']} is there twice"
                f" ({_place(seen[key])} and {_place(row)}, columns config_id and seed)."
            )
        seen[key] = row
    for column, what in (("metric", "metrics"), ("data", "data sets")):
        said = [row for row in rows if row[column]]
        for row in said:
            if _same(row[column]) != _same(said[0][column]):
                raise UserError(
                    f"Scores of two {what} cannot be compared: {said[0][column]!r}"
                    f" ({_place(said[0])}) and {row[column]!r} ({_place(row)}), column {column}."
                )


def _place(row: dict[str, Any]) -> str:
    return f"{row['source']}, row {row['row']}"


def _same(name: str) -> str:
    """Return a metric's name without what people write differently: "Macro F1" is "macro-f1"."""
    return "".join(character for character in name.casefold() if character.isalnum())
