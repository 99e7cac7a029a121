"""A job's folder as one file to take away: record, specification, curves and errors.

Left out are states and weights of trials and shared epochs, with which alone a run could go on, and
which may take gigabytes; also Optuna's own file, which is made from the record.
"""

from __future__ import annotations

import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from tuner.record_file import FILE as RECORD
from tuner.study.spec import FILE as STUDY

LOG_NAME = "log.txt"
COPIED = ("spec.json", STUDY, "replay-*.json", "tensorboard/**/*", "trials/*/error.txt", "*.html")
"""What is taken of a run's or study's folder beside the record."""


def write_archive(folder: Path, log: Path, target: Path) -> None:
    """Write a tar.gz of a job's folder, whose one top folder has the job's name.

    Parameters
    ----------
    folder : Path
        Of a run, or of a study with runs in it.
    log : Path
        What the job's process wrote; need not exist.
    target : Path
        File to write.
    """
    parts = [folder, *sorted(path.parent for path in folder.glob(f"*/{RECORD}"))]
    with tarfile.open(target, "w:gz", compresslevel=6) as archive:
        for part in parts:
            inside = f"{folder.name}/{part.relative_to(folder)}".removesuffix("/.")
            if (part / RECORD).is_file():
                with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
                    copy = Path(temporary) / RECORD
                    copy_record(part / RECORD, copy)
                    archive.add(copy, f"{inside}/{RECORD}", recursive=False)
            for path in _chosen(part):
                archive.add(path, f"{inside}/{path.relative_to(part)}", recursive=False)
        if log.is_file():
            archive.add(log, f"{folder.name}/{LOG_NAME}", recursive=False)


def copy_record(source: Path, target: Path) -> None:
    """Copy a record that may be written at the same time, as it is at one moment."""
    uri = f"file:{quote(str(source.absolute()))}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True, timeout=30)) as original,
        closing(sqlite3.connect(target)) as copy,
    ):
        original.backup(copy)


def _chosen(folder: Path) -> Iterator[Path]:
    """Yield regular files alone: a link could lead anywhere."""
    for pattern in COPIED:
        for path in sorted(folder.glob(pattern)):
            inside = path.relative_to(folder).parents
            linked = path.is_symlink() or any((folder / one).is_symlink() for one in inside)
            if path.is_file() and not linked:
                yield path
