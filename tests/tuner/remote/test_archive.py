"""Archives from a server, also hostile ones: nothing is written outside, nothing is followed."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from search_spaces.model import UserError
from tuner.remote import archive as module
from tuner.remote.archive import unpack


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def made(path: Path, *members: tarfile.TarInfo, content: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_and_folders_come_out_below_the_top_folder(tmp_path: Path) -> None:
    packed = made(
        tmp_path / "a.tar.gz",
        member("job", tarfile.DIRTYPE),
        member("job/record.db", mode=0o777, uid=0),
        member("./job/tensorboard/3/events"),
        member("job/empty", tarfile.DIRTYPE),
    )
    unpack(packed, "job", tmp_path / "out")
    files = ["empty", "record.db", "tensorboard", "tensorboard/3", "tensorboard/3/events"]
    assert tree(tmp_path / "out") == files
    assert (tmp_path / "out" / "record.db").read_bytes() == b"x"
    assert not os.access(tmp_path / "out" / "record.db", os.X_OK)


@pytest.mark.parametrize(
    "info",
    [
        member("../evil"),
        member("job/../../evil"),
        member("job/sub/../../../evil"),
        member("/tmp/evil"),
        member("other/evil"),
        member("job"),  # a file in the folder's place
        member("jobevil"),
        member(""),
        member(".."),
        member("job/link", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("job/link", tarfile.LNKTYPE, linkname="job/record.db"),
        member("job/pipe", tarfile.FIFOTYPE),
        member("job/device", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("job/device", tarfile.BLKTYPE),
        member("job/record.db"),  # twice
        member("job/record.db/x"),  # below a file
        member(f"job/{'n' * 300}"),
        member("job/" + "d/" * 3000 + "x"),
    ],
    ids=lambda info: ascii(info.name[:20]) + info.type.decode(),
)
def test_a_hostile_member_is_refused_in_one_line(tmp_path: Path, info: tarfile.TarInfo) -> None:
    home = tmp_path / "deep" / "deeper"
    home.mkdir(parents=True)
    packed = made(home / "a.tar.gz", member("job/record.db"), info)
    with pytest.raises(UserError) as told:
        unpack(packed, "job", home / "out")
    assert "\n" not in str(told.value)
    assert {path.name for path in tmp_path.rglob("*evil*")} == set()
    assert all(path.is_file() or path.is_dir() for path in home.rglob("*"))


class Damage(NamedTuple):
    what: str
    of: Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "damage",
    [
        Damage("cut", lambda content: content[: len(content) // 2]),
        Damage("cut tail", lambda content: content[:-4]),
        Damage("empty", lambda content: b""),
        Damage("no gzip", lambda content: b"<html>" + content),
        Damage("flipped", lambda content: content[:40] + bytes([content[40] ^ 255]) + content[41:]),
        Damage("no tar", lambda content: gzip.compress(b"hello" * 1000)),
    ],
    ids=lambda damage: damage.what,
)
def test_a_damaged_archive_is_told(tmp_path: Path, damage: Damage) -> None:
    packed = made(tmp_path / "a.tar.gz", member("job/record.db"), content=os.urandom(5000))
    packed.write_bytes(damage.of(packed.read_bytes()))
    with pytest.raises(UserError, match=r"damaged|unpack"):
        unpack(packed, "job", tmp_path / "out")


def test_more_than_the_disk_holds_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = made(tmp_path / "a.tar.gz", member("job/a"), member("job/b"), content=b"0" * 10_000)
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module, "SPARE_BYTES", usage.free - 15_000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="No room"):
        unpack(packed, "job", tmp_path / "out")
    assert tree(tmp_path / "out") == ["a"]
