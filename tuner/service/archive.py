"""A job's folder as one file to take away: record, specification, curves and errors.

Left out are states and weights of trials and shared epochs, with which alone a run could go on, and
which may take gigabytes; also Optuna's own file, which is made from the record. The job may be
running: each file is taken as it is at one moment, what vanishes before it is reached is left out,
and what shrinks while it is read is a conflict.
"""

from __future__ import annotations

import errno
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from tuner.record_file import FILE as RECORD
from tuner.record_file import primary_code, record_folders, reraise
from tuner.service.disk import check_room
from tuner.service.store import Conflict
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

    Raises
    ------
    NoRoom
        If the disk might not hold it.
    Conflict
        If the folder changes in a way that leaves nothing consistent to take.
    UserError
        If a record is damaged.
    """
    records = record_folders(folder)
    parts = list(dict.fromkeys((folder, *records)))
    files = [(path, _inside(folder, path)) for part in parts for path in _chosen(part)]
    if log.is_file():
        files.append((log, f"{folder.name}/{LOG_NAME}"))
    # what is compressed is smaller, beside it a record lies once more
    check_room(target.parent, _size([*(one / RECORD for one in records), *(f for f, _ in files)]),
               f"An archive of {folder.name}")  # fmt: skip
    with tarfile.open(target, "w:gz", compresslevel=6, dereference=True) as archive:
        for part in records:
            with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
                copy = Path(temporary) / RECORD
                copy_record(part / RECORD, copy)
                archive.add(copy, _inside(folder, part / RECORD), recursive=False)
        for path, name in files:
            _add(archive, path, name)


def copy_record(source: Path, target: Path) -> None:
    """Copy a record that may be written at the same time, as it is at one moment.

    Raises
    ------
    Conflict
        If it has vanished.
    UserError
        If it is damaged.
    OSError
        If the disk is full.
    """
    uri = f"file:{quote(str(source.absolute()))}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=30)) as original,
            closing(sqlite3.connect(target)) as copy,
        ):
            original.backup(copy)
    except sqlite3.Error as error:
        if not source.exists():
            raise Conflict(f"Run {source.parent.name} was removed while it was read.") from error
        if primary_code(error) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, str(error)) from error
        reraise(error, source.parent)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file as long as it is now; what is appended meanwhile is left out."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        info = archive.gettarinfo(arcname=name, fileobj=file)
        try:
            archive.addfile(info, file)
        except OSError as error:
            if error.errno is None:  # tarfile's own, of a file that ended too early
                raise Conflict(f"{name} changed while it was read; try again.") from error
            raise


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())


def _inside(folder: Path, path: Path) -> str:
    """Return how a file of a folder is called in the archive."""
    return f"{folder.name}/{path.relative_to(folder)}"


def _chosen(folder: Path) -> Iterator[Path]:
    """Yield regular files alone: a link could lead anywhere."""
    for pattern in COPIED:
        for path in sorted(folder.glob(pattern)):
            inside = path.relative_to(folder).parents
            linked = path.is_symlink() or any((folder / one).is_symlink() for one in inside)
            if path.is_file() and not linked:
                yield path
