"""A file is there as a whole, or as it was."""

from __future__ import annotations

import os

import pytest

from search_spaces.model import UserError
from tuner.whole_file import check_place, unfinished_path, write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    for content in (b"first", b"second"):
        write_whole(tmp_path / "a.txt", content)
        assert (tmp_path / "a.txt").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_is_followed_and_what_is_no_file_is_written_into(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"old")
    (tmp_path / "link.txt").symlink_to("b.txt")
    write_whole(tmp_path / "link.txt", b"new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "b.txt").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    check_place(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_whole(tmp_path / "a.txt", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^Cannot write .*a\.txt: No space left on device\.$"):
        write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert not unfinished_path(tmp_path / "a.txt").exists()


def test_a_missing_folder_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"Cannot write .*: No such file or directory"):
        write_whole(tmp_path / "none" / "a.txt", b"")


def test_a_place_where_no_file_can_be_is_refused_before_any_work(tmp_path):
    (tmp_path / "folder").mkdir()
    check_place(tmp_path / "new.html")
    with pytest.raises(UserError, match="that is a folder"):
        check_place(tmp_path / "folder")
    with pytest.raises(UserError, match=r"there is no folder .*none; make it first\.$"):
        check_place(tmp_path / "none" / "a.txt")
    assert not (tmp_path / "new.html").exists()
