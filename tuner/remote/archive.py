"""Unpack what a server sends of a run: regular files below one folder, and nothing else.

What a server sends is not trusted: an archive can name files elsewhere, links, devices, or more
than the disk holds.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from search_spaces.model import UserError, shown

SPARE_BYTES = 100 * 10**6
"""Left free on the disk."""


def unpack(archive: Path, top: str, folder: Path) -> None:
    """Unpack the one top folder of a gzipped tar archive into a folder that is made for it.

    Raises
    ------
    UserError
        If a member lies outside, is there twice, is no regular file, or there is no room; the
        folder then holds what came before it.
    """
    room = shutil.disk_usage(archive.parent).free - SPARE_BYTES
    try:
        folder.mkdir()
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                target = folder / _inside(member, top)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                room -= member.size
                if room < 0:
                    raise UserError(
                        f"No room for the run on the disk of {folder.parent}: free some space, or"
                        " choose a folder elsewhere with -o."
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None  # it is a regular file
                with target.open("xb") as file:
                    shutil.copyfileobj(content, file)
            while stream.read(1 << 20):  # to its end, where the checksum stands
                pass
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"The server's archive is damaged ({error}); fetch it again.") from error
    except FileExistsError as error:
        raise UserError(
            f"The server's archive is refused: {Path(error.filename).name} is there twice."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot unpack into {folder}: {error.strerror or error}.") from error


def _inside(member: tarfile.TarInfo, top: str) -> PurePosixPath:
    """Return a member's path below the top folder if it is a file or folder of the run."""
    path = PurePosixPath(member.name)
    if path.parts[:1] != (top,) or ".." in path.parts:
        raise UserError(f"The server's archive is refused: {shown(member.name)} lies outside.")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise UserError(
            f"The server's archive is refused: {shown(member.name)} is neither a file nor a folder."
        )
    return path.relative_to(top)
