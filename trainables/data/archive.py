"""One view of a folder, a zip and a tar: named files that are read in place, never extracted.

Names are relative, with forward slashes. Since nothing is written, a name such as ``../../x`` in an
archive is only a name. Hidden files and macOS's ``__MACOSX`` folders are not seen.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import os
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from search_spaces.model import UserError

ZIP_BEGINS = b"PK\x03\x04"
MAX_FILE_BYTES = 1 << 28
"""No image or annotation has 256 MB; an archive member that claims more is a bomb, or not ours."""
MAX_HEADER_BYTES = 4096
"""A first line longer than this is not a header."""
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError
)  # fmt: skip
"""What reading an archive raises, besides OSError; the last is a compression Python lacks."""
MAX_DEPTH = 3
"""How many folders may lie around a layout's marker files."""


class Files(ABC):
    """The files of one source.

    Attributes
    ----------
    path : Path
        The folder or archive.
    names : tuple of str
        Every regular file, sorted.
    """

    path: Path
    names: tuple[str, ...]

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading; FileNotFoundError if there is none of this name."""

    @abstractmethod
    def position(self, name: str) -> tuple[int, str]:
        """Return a sort key by which a pass over many files reads the storage forwards."""

    @abstractmethod
    def bytes_of(self, name: str) -> int:
        """Return a file's uncompressed size in bytes."""

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises
        ------
        OSError, ValueError, or one of `DAMAGE`
            If it is missing, damaged, or larger than `MAX_FILE_BYTES`.
        """
        size = self.bytes_of(name)
        if size > MAX_FILE_BYTES:
            raise ValueError(f"has {size} bytes, more than {MAX_FILE_BYTES}")
        with self.open(name) as stream:
            return stream.read(MAX_FILE_BYTES)

    @cached_property
    def known(self) -> frozenset[str]:
        """`names`, for look-ups."""
        return frozenset(self.names)

    def find(self, pattern: str) -> list[str]:
        """Return the names of which the part after at most `MAX_DEPTH` folders matches `pattern`.

        Parameters
        ----------
        pattern : str
            Regular expression for the whole of what follows the folders.
        """
        around = re.compile(rf"(?:[^/]+/){{0,{MAX_DEPTH}}}?(?:{pattern})", re.DOTALL)
        return [name for name in self.names if around.fullmatch(name)]

    def shown(self, most: int = 4) -> str:
        """Return the first few names, for an error line."""
        if not self.names:
            return "no files"
        more = ", …" if len(self.names) > most else ""
        files = "1 file" if len(self.names) == 1 else f"{len(self.names)} files"
        return f"{files}: {', '.join(map(printable, self.names[:most]))}{more}"


class FolderFiles(Files):
    """A folder on disk. Links are followed; a loop of links is walked once."""

    def __init__(self, path: Path, names: Sequence[str] | None = None) -> None:
        self.path = path
        self.names = tuple(sorted(_walk(path))) if names is None else tuple(names)

    def open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")

    def position(self, name: str) -> tuple[int, str]:
        return 0, name

    def bytes_of(self, name: str) -> int:
        status = (self.path / name).stat()
        if not stat.S_ISREG(status.st_mode):  # a folder, a pipe or a device would block or fail
            raise ValueError("is not a regular file")
        return status.st_size


class ZipFiles(Files):
    """A zip archive, stored or compressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = zipfile.ZipFile(path)
        members = [item for item in self._zip.infolist() if not item.is_dir()]
        if any(item.flag_bits & 1 for item in members):
            raise UserError(f"{path} is encrypted; give an archive without a password.")
        self._members = {item.filename: item for item in members if not _hidden(item.filename)}
        self.names = tuple(sorted(self._members))

    def open(self, name: str) -> IO[bytes]:
        return self._zip.open(self._member(name))

    def position(self, name: str) -> tuple[int, str]:
        member = self._members.get(name)
        return (member.header_offset if member else -1), name

    def bytes_of(self, name: str) -> int:
        return self._member(name).file_size

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise FileNotFoundError(name)
        return self._members[name]


class TarFiles(Files):
    """A tar archive; a compressed one is fast only when read in the order of `position`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar = tarfile.open(path)  # noqa: SIM115 (kept open as long as this object)
        members = {item.name.removeprefix("./"): item for item in self._tar if item.isreg()}
        self._members = {name: item for name, item in members.items() if not _hidden(name)}
        self.names = tuple(sorted(self._members))

    def open(self, name: str) -> IO[bytes]:
        stream = self._tar.extractfile(self._member(name))
        assert stream is not None  # only regular files are members
        return stream

    def position(self, name: str) -> tuple[int, str]:
        member = self._members.get(name)
        return (member.offset if member else -1), name

    def bytes_of(self, name: str) -> int:
        return self._member(name).size

    def _member(self, name: str) -> tarfile.TarInfo:
        if name not in self._members:
            raise FileNotFoundError(name)
        return self._members[name]


def open_files(path: Path) -> Files:
    """Return the view of a folder, a zip, a tar, or a single CSV file (with what it names).

    Raises
    ------
    UserError
        If the path does not exist, cannot be read, or is none of these.
    """
    with damage_told(path):
        if path.is_dir():
            return FolderFiles(path)
        if path.suffix.lower() == ".csv":
            with path.open("rb"):
                return FolderFiles(path.parent, [path.name])
        if zipfile.is_zipfile(path):
            return ZipFiles(path)
        if tarfile.is_tarfile(path):
            return TarFiles(path)
        with path.open("rb") as file:
            if file.read(4) == ZIP_BEGINS:
                raise UserError(
                    f"{printable(path)} is a zip that is incomplete or damaged; get it again."
                )
    raise UserError(f"{printable(path)} is neither a folder, a zip, a tar nor a CSV file.")


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn a failure to read a source, whichever library found it, into one line."""
    try:
        yield
    except OSError as error:
        reason = printable(error.strerror or error)
        raise UserError(f"Cannot read {printable(error.filename or path)}: {reason}.") from error
    except DAMAGE as error:
        raise UserError(f"{printable(path)} is damaged: {printable(error)}.") from error


def beside(name: str, relative: str) -> str:
    """Return the name of a file that a list called `name` refers to as `relative`.

    >>> beside("set/lists/all.csv", "../images/1.png")
    'set/images/1.png'
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), relative))


def text_of(files: Files, name: str) -> IO[str]:
    """Open a text file as UTF-8, with or without a byte-order mark."""
    return io.TextIOWrapper(files.open(name), encoding="utf-8-sig", newline="")


def header_of(files: Files, name: str) -> list[str]:
    """Return the cells of a CSV file's first line, without the spaces around them."""
    with files.open(name) as stream:
        line = stream.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace")
    return [cell.strip().strip('"') for cell in line.split(",")]


def printable(value: object) -> str:
    """Return a text on one line that any terminal and JSON can hold, whatever a file is called."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _walk(root: Path) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=_raise, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _hidden(name))
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else inside + "/"
        yield from (prefix + name for name in files if not _hidden(name))


def _raise(error: OSError) -> None:
    raise error


def _hidden(name: str) -> bool:
    parts = name.split("/")
    return any(p == "__MACOSX" or (p.startswith(".") and p not in (".", "..")) for p in parts)
