"""A packed data set as a tar archive, against the standard library's reader."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tuner.remote.packed import BLOCK, FILES, tar_length, tar_parts


def write(folder: Path, sizes: tuple[int, ...]) -> dict[str, bytes]:
    contents = {
        name: bytes(i % 251 for i in range(size)) for name, size in zip(FILES, sizes, strict=True)
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return contents


@pytest.mark.parametrize("sizes", [(0, 1, 511), (512, 513, 3_000_000), (1024, 0, 1 << 20)])
def test_the_archive_holds_the_files_and_is_as_long_as_promised(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    contents = write(tmp_path, sizes)
    told: list[int] = []
    archive = b"".join(tar_parts(tmp_path, told.append))
    assert len(archive) == tar_length(tmp_path) == told[-1]
    assert told == sorted(told)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        found = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    assert found == contents


def test_sizes_beyond_8_gb_are_written_so_that_they_are_read(tmp_path: Path) -> None:
    write(tmp_path, (1, 1, 1))
    with (tmp_path / FILES[-1]).open("wb") as file:
        file.truncate(9 * 2**30)
    parts = tar_parts(tmp_path, lambda done: None)
    heads = b"".join(next(parts) for _ in range(7))  # two small files and the large one's head
    with tarfile.open(fileobj=io.BytesIO(heads), mode="r|") as tar:
        sizes = []
        with pytest.raises(tarfile.ReadError):
            sizes = [one.size for one in iter(tar.next, None) if not sizes.append(one.size)]
    assert sizes[-1] == 9 * 2**30
    assert tar_length(tmp_path) == 9 * 2**30 + (3 + 2 + 2) * BLOCK


def test_a_file_that_shrinks_while_it_is_sent_is_told(tmp_path: Path) -> None:
    write(tmp_path, (10, 10, 3_000_000))
    parts = tar_parts(tmp_path, lambda done: None)
    for _ in range(8):
        next(parts)
    (tmp_path / FILES[-1]).write_bytes(b"")
    with pytest.raises(UserError, match="changed while it was sent"):
        list(parts)
