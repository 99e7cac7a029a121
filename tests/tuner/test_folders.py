"""Where a run may be written, and what it may be called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.tuner.simulation import spec
from tuner.folders import new_folder, told_twin


def test_a_run_without_a_name_gets_the_next_free_one(tmp_path: Path) -> None:
    first = new_folder(tmp_path, None, spec())
    first.mkdir()
    second = new_folder(tmp_path, None, spec())
    assert second == first.with_name(f"{first.name}-2")
    assert told_twin(first, spec()) is told_twin(second, spec()) is None  # the first is no run yet
    (first / "record.db").touch()
    assert told_twin(first, spec()) is None
    assert f"run {first.name} has the same specification" in str(told_twin(second, spec()))


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "-x", "a b", "x" * 101])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--name must be"):
        new_folder(tmp_path, name, spec())


def test_a_folder_that_holds_no_run_is_not_told_to_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    with pytest.raises(UserError, match="holds no run; delete it"):
        new_folder(tmp_path, "half", spec())
    (tmp_path / "half" / "record.db").touch()
    with pytest.raises(UserError, match="tuner resume half"):
        new_folder(tmp_path, "half", spec())


@pytest.mark.parametrize("below", ["", "runs", "a/b"])
def test_a_file_where_the_folder_of_runs_should_be_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file"):
        new_folder(tmp_path / "file" / below, None, spec())


def test_a_folder_that_cannot_be_written_is_refused_and_one_to_be_made_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_folder(tmp_path / "a" / "b", None, spec())
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may do anything
    with pytest.raises(UserError, match="can be written"):
        new_folder(tmp_path / "a" / "b", None, spec())
