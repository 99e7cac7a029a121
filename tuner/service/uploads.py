"""Data sets that clients send: a tar of a packed folder, checked to the last byte, then kept.

Nothing of a tar is believed: only three plain files of known names are taken out of it, by their
contents, and the fingerprint is computed anew from the pixels.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np

from search_spaces.model import UserError
from trainables.data.packed import PackedData, fingerprint_of
from trainables.data.source import SYNTHETIC, describe
from trainables.state_files import sync_folder
from tuner.service.disk import FULL, check_room, is_full
from tuner.service.settings import Settings
from tuner.service.store import StoreFull
from tuner.service.submission import is_text
from tuner.service.tables import DataSetRow

LOG = logging.getLogger("tuner.service")

FILES = ("images.npy", "labels.npy", "meta.json")
INCOMING = ".incoming-"
"""Begins the names of folders that are being checked."""
MAX_META_BYTES = 4 * 2**20
"""It names every image that could not be read; this is room for tens of thousands."""
MAX_HEADER_BYTES = 64 * 2**10
"""Of what stands before a file in a tar, such as its long name; `tarfile` reads it at once."""
MOST_CLASSES, LONGEST_CLASS = 10_000, 200
"""Everyone's list of data sets tells the classes of each."""


class _Header(tarfile.TarInfo):
    """A header that takes little memory to read, whatever it announces."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE or (
            self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) and self.size > MAX_HEADER_BYTES
        ):
            raise UserError("The tar must hold plain files with short names and nothing else.")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise UserError("The tar must hold plain files, not sparse ones.")


def received(tar: Path, fingerprint: str, name: str, user: str, settings: Settings) -> DataSetRow:
    """Check a tar of a packed folder, put the folder in its place, and return what it holds.

    Parameters
    ----------
    tar : Path
        An uncompressed tar with `FILES` and nothing else, each once.
    fingerprint : str
        What its pixels must come to.
    name : str
        What a specification calls its source.
    user : str
        Who sent it.

    Raises
    ------
    UserError
        If it is anything else.
    NoRoom, StoreFull
        If the disk is full.
    """
    with _made(settings) as folder:
        check_room(folder, tar.stat().st_size, "This data set")
        try:
            _unpack(tar, folder)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"The body must be a tar, uncompressed: {error}.") from error
        return _placed(folder, fingerprint, name, user, settings)


def adopt(packed: PackedData, name: str, user: str, settings: Settings) -> DataSetRow:
    """Copy a packed data set of this machine to the service's own, and return what it holds.

    Raises
    ------
    UserError
        If it is damaged, or its name is no name.
    StoreFull
        If the disk is full.
    """
    with _made(settings) as folder:
        for file in FILES:
            shutil.copyfile(packed.folder / file, folder / file)
        return _placed(folder, packed.fingerprint, name, user, settings)


class _made:  # noqa: N801 - used like a function
    """A new folder beside the data sets, removed again unless it was moved away."""

    def __init__(self, settings: Settings) -> None:
        self._parent = settings.data_sets

    def __enter__(self) -> Path:
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=INCOMING, dir=self._parent))
        except OSError as error:
            raise StoreFull(f"Cannot write in {self._parent}: {error.strerror}.") from error
        return self._folder

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if is_full(error):
            raise StoreFull(FULL)


def _unpack(tar: Path, folder: Path) -> None:
    left = set(FILES)
    with tarfile.open(tar, "r:", tarinfo=_Header) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
            if name not in left or not plain:
                raise UserError(
                    f"The tar must hold the files {', '.join(FILES)} and nothing else, each once,"
                    f" but got {member.name[:100]!r}."
                )
            if name == "meta.json" and member.size > MAX_META_BYTES:
                raise UserError(f"meta.json must be at most {MAX_META_BYTES:,} bytes.")
            left.remove(name)
            source = archive.extractfile(member)
            assert source is not None
            with (folder / name).open("wb") as target:
                _copy(source, target, member.size)
    if left:
        raise UserError(f"The tar lacks {', '.join(sorted(left))}.")


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    shutil.copyfileobj(source, target, 1 << 20)
    if target.tell() != size:
        raise UserError("The tar ends in the middle of a file; send it again.")


def _share(folder: Path, parent: Path) -> None:
    """Let equal pixels under other names, beside which a folder will lie, be on the disk once."""
    for other in parent.glob("*/images.npy"):
        same_size = other.stat().st_size == (folder / other.name).stat().st_size
        if same_size and is_sound(other.parent, parent.name):
            (folder / other.name).unlink()
            os.link(other, folder / other.name)
            return


def is_sound(folder: Path, fingerprint: str) -> bool:
    """Return whether a packed folder holds what its fingerprint says, to the last byte."""
    try:
        data, found = _read(folder)
    except (UserError, OSError):
        return False
    return found == fingerprint == data.fingerprint


def _read(folder: Path) -> tuple[PackedData, str]:
    """Return a packed folder and the fingerprint that its pixels come to.

    Raises
    ------
    UserError
        If it is damaged.
    """
    try:
        data = PackedData.open(folder)
        describe(data)
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)
        return data, fingerprint_of(images, labels, data.classes, data.splits)
    except UserError as error:
        raise UserError(str(error).replace(str(folder), "The data set")) from error
    except OSError:
        raise
    except Exception as error:  # numpy's reader of headers raises whatever Python's parser does
        raise UserError("The data set is damaged or incomplete; pack it again.") from error


def _put(folder: Path, target: Path) -> None:
    """Move a checked folder to its place, unless its like is there; replace a damaged one.

    A search that reads the damaged one keeps its files until it ends.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if is_sound(target, target.parent.name):
            return
        LOG.warning("The data set in %s is damaged, and is replaced.", target)
        damaged = folder.with_name(f"{folder.name}-damaged")
        target.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    _share(folder, target.parent)
    for file in FILES:
        with (folder / file).open("rb") as written:
            os.fsync(written.fileno())
    folder.chmod(0o755)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # another has put the same pixels there meanwhile
    sync_folder(target.parent)


def _placed(folder: Path, fingerprint: str, name: str, user: str, settings: Settings) -> DataSetRow:
    """Check a packed folder and move it to where its data set belongs."""
    if name == SYNTHETIC:
        raise UserError(f"A data set cannot be called {SYNTHETIC}: that names made-up faces.")
    data, found = _read(folder)
    if len(data.classes) > MOST_CLASSES or not all(
        is_text(name) and len(name) <= LONGEST_CLASS for name in data.classes
    ):
        raise UserError(
            f"A data set must have at most {MOST_CLASSES:,} classes, called by Unicode text of at"
            f" most {LONGEST_CLASS} characters without zero characters."
        )
    if data.channels not in (1, 3) or not 8 <= data.size <= 1024:
        raise UserError("A data set must have 1 or 3 channels and sides of 8 to 1024 pixels.")
    if not found == fingerprint == data.fingerprint:
        raise UserError(
            f"The data set's pixels come to fingerprint {found[:12]}…, but {fingerprint[:12]}… was"
            f" announced and {data.fingerprint[:12]}… stands in it; send it again."
        )
    _put(folder, settings.data_folder(fingerprint, name))
    return DataSetRow(
        fingerprint=fingerprint,
        name=name,
        images={split: end - start for split, (start, end) in data.splits.items()},
        classes=list(data.classes),
        size=data.size,
        channels=data.channels,
        added_by=user,
        added_at=time.time(),
    )
