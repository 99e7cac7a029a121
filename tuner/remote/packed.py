"""A packed data set as the bytes of a tar archive, made while they are sent."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from search_spaces.model import UserError

FILES = ("meta.json", "labels.npy", "images.npy")
"""What a packed set consists of; the large one last, so that what is no set is refused soon."""
PART_BYTES = 1 << 20
BLOCK = tarfile.BLOCKSIZE


def tar_length(folder: Path) -> int:
    """Return how many bytes `tar_parts` yields."""
    sizes = [(folder / name).stat().st_size for name in FILES]
    return sum(BLOCK + -(-size // BLOCK) * BLOCK for size in sizes) + 2 * BLOCK


def tar_parts(folder: Path, progress: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the archive, telling after each part how many bytes there were so far.

    Raises
    ------
    UserError
        If a file changes meanwhile: the length was promised.
    """
    done = 0
    for part in _parts(folder):
        yield part
        done += len(part)
        progress(done)


def _parts(folder: Path) -> Iterator[bytes]:
    for name in FILES:
        size = (folder / name).stat().st_size
        info = tarfile.TarInfo(name)
        info.size = size
        yield info.tobuf(tarfile.GNU_FORMAT)
        left = size
        with (folder / name).open("rb") as file:
            while left:
                part = file.read(min(PART_BYTES, left))
                if not part:
                    raise UserError(f"{folder / name} changed while it was sent; send it again.")
                left -= len(part)
                yield part
        yield b"\0" * (-size % BLOCK)
    yield b"\0" * (2 * BLOCK)
