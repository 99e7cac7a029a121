"""What a report or a comparison is made from: runs, trial tables, or one study."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reports.study import Study, parts, read_study
from reports.table import Trials, read_trials
from search_spaces.model import UserError
from tuner.record import Record
from tuner.record_file import FILE
from tuner.record_rows import RunRow
from tuner.study.spec import FILE as STUDY

TABLES = (".csv", ".parquet", ".pq", ".json")
"""How the names of trial tables end; a file of another name is read as CSV."""


class TableFile(NamedTuple):
    """A trial table."""

    path: str
    """As it was given."""
    sha256: str
    rows: int


class Sources(NamedTuple):
    """Where trials come from."""

    paths: tuple[Path, ...]
    """Runs' folders and tables, in the order given."""
    folders: tuple[Path, ...]
    """Those that are runs."""
    study: Study | None

    def trials(self) -> Trials:
        """Return all trials; there may be none if there are only runs."""
        return read_trials(self.paths, none=len(self.folders) == len(self.paths))

    def rows(self) -> list[RunRow]:
        """Return what each run says of itself."""
        found = []
        for folder in self.folders:
            with Record.open(folder) as record:
                found.append(record.run())
        return found

    def tables(self, trials: Trials) -> tuple[TableFile, ...]:
        """Return the tables, with what tells them apart."""
        return tuple(
            TableFile(
                str(path),
                hashlib.sha256(path.read_bytes()).hexdigest(),
                trials.source.count(str(path)),
            )
            for path in self.paths
            if path not in self.folders
        )


def sources(paths: Sequence[Path]) -> Sources:
    """Find the runs and tables behind some paths.

    Parameters
    ----------
    paths : sequence of Path
        Each is a run's folder, a folder that holds runs, or a table; or one is a study's folder.

    Raises
    ------
    UserError
        If a path is none of these, a study is not alone, or a run is named twice.
    """
    studies = [path for path in paths if (path / STUDY).is_file()]
    if studies:
        if len(paths) > 1:
            raise UserError(
                f"A study stands alone, but {studies[0]} is one of {len(paths)} sources; give it"
                " without the others, or give runs of it, such as"
                f" {studies[0] / 'census-SPACE'}."
            )
        study = read_study(studies[0])
        order = {part.run: index for index, part in enumerate(parts(study))}
        inside = sorted(
            (one.parent for one in studies[0].glob(f"*/{FILE}")),
            key=lambda folder: (order.get(folder.name, len(order)), folder.name),
        )
        return Sources(tuple(inside), tuple(inside), study)
    found: list[Path] = []
    folders: list[Path] = []
    for path in (path.parent if path.name == FILE else path for path in paths):
        if path.is_dir():
            folders += (runs := _runs(path))
            found += runs
        else:
            found.append(path)
    resolved = [path.resolve() for path in found]
    for index, one in enumerate(resolved):
        if one in resolved[:index]:
            what = "Run" if found[index] in folders else "Table"
            raise UserError(f"{what} {one.name} is given twice; each may count once.")
    return Sources(tuple(found), tuple(folders), None)


def _runs(path: Path) -> list[Path]:
    inside = sorted(one.parent for one in path.glob(f"**/{FILE}"))
    if not inside:
        raise UserError(f"{path} is no run and holds none: there is no {FILE} in it.")
    return [path] if path in inside else inside
