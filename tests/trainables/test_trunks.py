"""The store of shared states: whole files or none, damage found, a size that is kept."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from trainables.state import read_payload, write_state
from trainables.state_files import BEST
from trainables.trunks import ABANDONED_S, TrunkStore


def trial(folder: Path, text: str, size: int = 1000) -> str:
    """Write a state and best weights into a trial's folder; return the digest of the weights."""
    write_state(folder, {"text": text, "filling": "x" * size})
    content = text.encode() * size
    (folder / BEST).unlink(missing_ok=True)  # a store may hold a link to it
    (folder / BEST).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def states(store: Path) -> set[str]:
    return {path.stem for path in store.glob("*.pt") if not path.name.startswith("best-")}


@pytest.fixture(params=["links", "no links"])
def linking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Test with hard links, and as on a file system that has none."""
    if request.param == "no links":

        def refused(*_: object, **__: object) -> None:
            raise OSError("Operation not supported")

        monkeypatch.setattr(os, "link", refused)
    return str(request.param)


def test_what_was_published_is_read_again_whole(tmp_path: Path, linking: str) -> None:
    store = TrunkStore(tmp_path / "store", 10**6)
    digest = trial(tmp_path / "trial", "a")
    assert not store.has("k1")
    store.publish("k1", tmp_path / "trial", digest)
    assert store.has("k1")
    trial(tmp_path / "trial", "b")  # the trial goes on; what was published stays
    assert read_payload(store.path("k1"))["text"] == "a"
    assert store.take_best(digest, tmp_path / "other" / "best.pt")
    assert (tmp_path / "other" / "best.pt").read_bytes() == b"a" * 1000
    assert not list((tmp_path / "store").glob("*.new"))


def test_publishing_again_changes_nothing(tmp_path: Path, linking: str) -> None:
    store = TrunkStore(tmp_path / "store", 10**6)
    store.publish("k1", tmp_path / "one", trial(tmp_path / "one", "a"))
    store.publish("k1", tmp_path / "two", trial(tmp_path / "two", "b"))
    assert read_payload(store.path("k1"))["text"] == "a"


def test_damaged_weights_are_found_and_removed(tmp_path: Path) -> None:
    store = TrunkStore(tmp_path / "store", 10**6)
    digest = trial(tmp_path / "trial", "a")
    store.publish("k1", tmp_path / "trial", digest)
    (tmp_path / "store" / f"best-{digest}.pt").unlink()
    (tmp_path / "store" / f"best-{digest}.pt").write_bytes(b"torn")
    assert not store.take_best(digest, tmp_path / "other" / "best.pt")
    assert not (tmp_path / "other" / "best.pt").exists()
    assert not store.take_best(digest, tmp_path / "other" / "best.pt")  # gone by now
    assert not list((tmp_path / "store").glob("best-*"))


def test_a_full_store_lets_go_of_what_was_used_longest_ago(tmp_path: Path) -> None:
    store = TrunkStore(tmp_path / "store", 40_000)
    for number in range(8):  # 11 kB each, with weights
        store.publish(
            f"k{number}", tmp_path / "trial", trial(tmp_path / "trial", f"{number}", 5000)
        )
        if store.has("k0"):
            os.utime(store.path("k0"), (time.time() + 100, time.time() + 100))
        store.used("k0")
        for age, path in enumerate(sorted((tmp_path / "store").iterdir(), key=os.path.getmtime)):
            os.utime(path, (age, age))  # the clock may be coarse
    total = sum(path.stat().st_size for path in (tmp_path / "store").iterdir())
    assert total <= 40_000
    assert "k0" in states(tmp_path / "store")  # used again and again
    assert "k7" in states(tmp_path / "store")
    assert "k1" not in states(tmp_path / "store")


def test_weights_that_many_states_need_do_not_go_before_them(tmp_path: Path) -> None:
    store = TrunkStore(tmp_path / "store", 10**6)
    digest = trial(tmp_path / "trial", "a")
    for number in range(3):
        store.publish(f"k{number}", tmp_path / "trial", digest)
        for path in (tmp_path / "store").iterdir():
            os.utime(path, (number, number))
    write_state(tmp_path / "trial", {"text": "b"})
    store.publish("k3", tmp_path / "trial", digest)
    by_age = sorted((tmp_path / "store").iterdir(), key=os.path.getmtime)
    assert {path.name for path in by_age[-2:]} == {"k3.pt", f"best-{digest}.pt"}


def test_a_store_that_cannot_be_written_fails_no_trial(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = TrunkStore(tmp_path / "file" / "store", 10**6)
    store.publish("k1", tmp_path / "trial", trial(tmp_path / "trial", "a"))
    assert not store.has("k1")
    assert store.claim("k1", 1.0)


def test_what_nobody_finished_is_collected_once_it_is_old(tmp_path: Path) -> None:
    store = TrunkStore(tmp_path, 10**6)
    for name, age_s in {"new.claim": 1.0, "old.claim": ABANDONED_S + 60}.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    (tmp_path / "k.pt.0123.new").write_bytes(b"half")
    os.utime(tmp_path / "k.pt.0123.new", (0, 0))
    store.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["new.claim"]


def test_one_at_a_time_holds_a_claim_until_it_is_released_or_too_old(tmp_path: Path) -> None:
    one, other = TrunkStore(tmp_path, 10**6), TrunkStore(tmp_path, 10**6)
    assert one.claim("k", 5.0)
    assert not other.claim("k", 5.0)
    assert other.claimed("k")
    one.release("k")
    assert not other.claimed("k")
    assert other.claim("k", 5.0)
    os.utime(tmp_path / "k.claim", (time.time() - 6,) * 2)
    assert one.claim("k", 5.0)


def publish_for_ever(folder: Path, start: int, about_to: Connection) -> None:
    """Publish one state after another, and tell before each."""
    store = TrunkStore(folder / "store", 10**9)
    for number in itertools.count(start):
        digest = trial(folder / "trial", str(number), 100_000)
        about_to.send(number)
        store.publish(f"k{number}", folder / "trial", digest)


def test_a_kill_at_any_moment_of_publishing_leaves_whole_entries_or_none(
    tmp_path: Path, linking: str
) -> None:
    seed = 4
    moments = random.Random(seed)
    processes = multiprocessing.get_context("fork")
    ended: set[str] = set()
    for kill in range(20):
        told, telling = processes.Pipe(duplex=False)
        arguments = (tmp_path, kill * 1000, telling)
        process = processes.Process(target=publish_for_ever, args=arguments)
        process.start()
        begun = [told.recv() for _ in range(moments.randint(1, 3))]
        ended |= {f"k{number}" for number in begun[:-1]}
        time.sleep(moments.uniform(0, 0.004))  # publishing takes 1 to 3 ms
        process.kill()
        process.join()
    store = TrunkStore(tmp_path / "store", 10**9)
    found = states(tmp_path / "store")
    assert found >= ended, f"seed {seed}"
    for key in found:
        assert read_payload(store.path(key))["text"] == key[1:], f"seed {seed}"
    for path in (tmp_path / "store").glob("best-*.pt"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem.removeprefix("best-")
