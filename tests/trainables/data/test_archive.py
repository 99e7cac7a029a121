import tarfile
import zipfile
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.trainables.data.layouts import write_folder, write_tar, write_zip
from trainables.data.archive import MAX_FILE_BYTES, open_files, printable

CONTENT = {
    "top/a/1.png": b"one",
    "top/b/été \n #2.png": b"two",
    "top/z.txt": b"",
    "top/a/.DS_Store": b"junk",
    "__MACOSX/top/a/._1.png": b"junk",
}
SEEN = ("top/a/1.png", "top/b/été \n #2.png", "top/z.txt")


@pytest.mark.parametrize("kind", ["folder", "zip", "deflated.zip", "tar", "tar.gz"])
def test_every_kind_shows_the_same_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"set.{kind}"
    if kind == "folder":
        write_folder(path, CONTENT)
    elif kind.endswith("zip"):
        method = zipfile.ZIP_DEFLATED if "deflated" in kind else zipfile.ZIP_STORED
        write_zip(path, CONTENT, method)
    else:
        write_tar(path, CONTENT)
    files = open_files(path)
    assert files.names == SEEN
    assert {name: files.read(name) for name in files.names} == {n: CONTENT[n] for n in SEEN}
    with pytest.raises(FileNotFoundError):
        files.read("top/absent.png")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_positions_follow_the_storage_not_the_names(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    files = open_files(write(tmp_path / "set", {"z.png": b"1", "a.png": b"2", "m.png": b"3"}))
    assert sorted(files.names, key=files.position) == ["z.png", "a.png", "m.png"]


def test_names_that_point_outside_are_read_but_nothing_is_written(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = write_zip(inner / "evil.zip", {"../evil.png": b"x", "/abs.png": b"y"})
    files = open_files(path)
    assert [files.read(name) for name in files.names] == [b"x", b"y"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["evil.zip", "inner"]


def test_tar_links_and_devices_are_not_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link = tarfile.TarInfo("passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert open_files(tmp_path / "links.tar").names == ()


def test_markers_are_found_inside_three_folders_but_not_four(tmp_path: Path) -> None:
    files = open_files(write_folder(tmp_path, {"a/b/c/m.txt": b"", "a/b/c/d/m.txt": b""}))
    assert files.find(r"m\.txt") == ["a/b/c/m.txt"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/1.png": b"x"})
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert open_files(tmp_path).names == ("a/1.png",)


def test_a_member_that_claims_to_be_huge_is_refused_unread(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("bomb.png", "w", force_zip64=True) as stream,
    ):
        for _ in range(MAX_FILE_BYTES // (1 << 24) + 1):
            stream.write(bytes(1 << 24))
    with pytest.raises(ValueError, match="more than"):
        open_files(tmp_path / "bomb.zip").read("bomb.png")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.zip", None, "Cannot read .*absent.zip: No such file"),
        ("text.zip", b"hello", "neither a folder, a zip, a tar nor a CSV"),
        ("half.zip", b"PK\x03\x04 and no end", "half.zip is a zip that is incomplete or damaged"),
        ("half.tar.gz", "half", "half.tar.gz is damaged"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_line(
    tmp_path: Path, name: str, content: bytes | str | None, message: str
) -> None:
    path = tmp_path / name
    if content == "half":
        whole = write_tar(path, {f"{i}.png": bytes(range(256)) * i for i in range(99)}).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        open_files(path)
    assert "\n" not in str(caught.value)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "secret.zip", {"a.png": b"x"})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="encrypted"):
        open_files(path)


def test_printable_keeps_letters_and_escapes_what_breaks_a_line() -> None:
    assert printable("é\n\udcff\x1b[0m") == "é\\n\\udcff\\x1b[0m"
