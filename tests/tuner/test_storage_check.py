"""A mark that another machine answers: the same place, seen and writable, folder or bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.object_server import ObjectServer
from trainables.object_store import ObjectStore
from tuner.storage_check import answer, answered, marked


def test_an_answer_arrives_and_nothing_is_left(server: ObjectServer, tmp_path: Path) -> None:
    bucket = server.uri("probed")
    for where in (str(tmp_path / "not" / "made"), bucket):
        with marked(where) as place:
            assert not answered(place, "node")
            assert answer(place, "node") is None
            assert answered(place, "node")
            assert not answered(place, "other")
    assert list(tmp_path.iterdir()) == []
    assert ObjectStore(bucket).names() == []


def test_another_folder_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    with marked(str(tmp_path)) as place:
        (Path(place) / "question").unlink()
        told = answer(place, "node")
    assert told == f"{tmp_path} is not there, or is another folder than here"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write in"), marked(str(tmp_path / "file")):
        pass
    with marked(str(tmp_path)) as place:
        told = answer(place, "no/such/folder")
    assert told is not None and told.startswith(f"it cannot write in {tmp_path}")


def test_a_bucket_without_the_mark_is_told(server: ObjectServer) -> None:
    with marked(server.uri("elsewhere")) as place:
        ObjectStore(place).remove("question")
        assert answer(place, "node") == "it does not see there what this machine put there"
