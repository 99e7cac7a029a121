"""Objects of a real S3 server: whole, there on return, and an outage is waited for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.object_server import ObjectServer
from trainables.object_store import ObjectStore, StoreUnreachable, check_address, under


def test_what_is_put_is_there_and_comes_back_as_it_was(
    server: ObjectServer, tmp_path: Path
) -> None:
    store = ObjectStore(server.uri("back"))
    for name, size in (("a/state.pt", 12_000_001), ("a/best.pt", 3), ("empty", 0)):
        content = os.urandom(size)
        (tmp_path / "put").write_bytes(content)
        store.put(name, tmp_path / "put")
        assert store.take(name, tmp_path / "new" / "taken")
        assert (tmp_path / "new" / "taken").read_bytes() == content
    assert store.names() == ["a/best.pt", "a/state.pt", "empty"]
    store.remove("a/best.pt")
    store.remove("a/best.pt")  # it is gone already
    assert store.names() == ["a/state.pt", "empty"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["taken"]


def test_an_object_replaces_the_one_before_it(server: ObjectServer) -> None:
    store = ObjectStore(server.uri("again"))
    store.put_bytes("x", b"longer than the next")
    store.put_bytes("x", b"next")
    assert store.read_bytes("x") == b"next"


def test_a_moved_object_replaces_what_had_its_name(server: ObjectServer) -> None:
    store = ObjectStore(server.uri("renamed"))
    store.put_bytes("best", b"old")
    store.put_bytes("next", b"new")
    store.move("next", "best")
    assert store.names() == ["best"]
    assert store.read_bytes("best") == b"new"
    with pytest.raises(FileNotFoundError):
        store.move("next", "best")
    assert store.read_bytes("best") == b"new"


def test_what_is_not_there_is_told_and_leaves_nothing(server: ObjectServer, tmp_path: Path) -> None:
    store = ObjectStore(server.uri("nothing"))
    (tmp_path / "here").write_text("mine")
    assert not store.take("state.pt", tmp_path / "here")
    assert (tmp_path / "here").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert store.read_bytes("state.pt") is None
    assert store.names() == []


@pytest.mark.slow
def test_an_outage_is_waited_for(server: ObjectServer) -> None:
    store = ObjectStore(server.uri("outage"), patience_s=60)
    store.put_bytes("before", b"1")
    server.stop()
    back = threading.Timer(1.0, server.start)
    back.start()
    store.put_bytes("after", b"2")
    back.join()
    assert (store.read_bytes("before"), store.read_bytes("after")) == (b"1", b"2")


def test_a_store_that_stays_away_is_told_in_one_line() -> None:
    where = "s3://faces/runs?endpoint_override=127.0.0.1:1&scheme=http"
    with pytest.raises(StoreUnreachable) as raised:
        ObjectStore(where, patience_s=0).put_bytes("x", b"1")
    told = str(raised.value)
    assert where in told and "failed to put x" in told and "Could not connect" in told
    assert "\n" not in told


def test_wrong_credentials_are_not_tried_again(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    with pytest.raises(StoreUnreachable, match=r"INVALID_ACCESS_KEY_ID|ACCESS_DENIED|SIGNATURE"):
        ObjectStore(server.uri("theirs"), patience_s=3600).put_bytes("x", b"1")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://key:secret@faces/runs", "must not hold a password"),
        ("s3://faces/runs?access_key=k", "got the option 'access_key'"),
        ("s3:///runs", "must be a folder or s3://BUCKET/PREFIX"),
        ("gs://faces/runs", "must be a folder or s3://BUCKET/PREFIX"),
        ("s3://Faces/runs", "must be a folder or s3://BUCKET/PREFIX"),
    ],
)
def test_an_address_of_another_form_is_refused(address: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_address(address)


def test_a_prefix_below_another_keeps_the_options() -> None:
    assert under("s3://b", "x") == "s3://b/x"
    assert under("s3://b/p/?a=1", "x/y") == "s3://b/p/x/y?a=1"
