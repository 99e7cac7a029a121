"""Event streams: what is pushed when, that a reconnect loses nothing, and that many listen cheaply.

A real server in a thread: streams never end, which no test client can bear.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn

from tests.browser import eventually
from tests.tuner.service.serving import Serving
from tests.tuner.service.test_api import log_of
from tests.tuner.simulation import row
from tuner.record import Record
from tuner.service import events, limits
from tuner.service.events import Listener, Position
from tuner.service.store import Store
from tuner.service.tables import UserRow


class Event(NamedTuple):
    """One event as it arrives."""

    kind: str
    data: Any
    id: str | None


@contextmanager
def served(serving: Serving) -> Iterator[str]:
    """Serve at a port of this machine; yield the URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    limits.cut_off_stalled(listening)
    server = uvicorn.Server(
        uvicorn.Config(serving.app, log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        serving.app.state.hub.close()
        server.should_exit = True
        thread.join(10)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


@pytest.fixture
def url(serving: Serving) -> Iterator[str]:
    with served(serving) as found:
        yield found


class Stream:
    """A client of a stream, that reads in a thread until it is closed."""

    def __init__(self, url: str, path: str, token: str, **headers: str) -> None:
        self.events: list[Event] = []
        self.status = 0
        self.ended = threading.Event()
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}", **headers}, timeout=30
        )
        self._thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        self._closing = False
        self._thread.start()

    def _read(self, path: str) -> None:
        try:
            with self._client.stream("GET", path) as answer:
                self.status = answer.status_code
                fields: dict[str, str] = {}
                for line in answer.iter_lines():
                    if self._closing:
                        return
                    if line:
                        name, _, value = line.partition(": ")
                        fields[name] = value
                    elif "data" in fields:
                        self.events.append(
                            Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
                        )
                        fields = {}
                    else:
                        fields = {}
        except httpx.HTTPError:
            pass
        finally:
            self.ended.set()

    def wait(self, what: Callable[[list[Event]], bool], within_s: float = 60) -> None:
        """Return once the events so far are as wanted."""
        deadline = time.monotonic() + within_s
        while not what(self.events):
            assert time.monotonic() < deadline, self.events
            time.sleep(0.02)

    def of(self, kind: str) -> list[Any]:
        """Return the data of the events of a kind."""
        return [one.data for one in list(self.events) if one.kind == kind]

    def close(self) -> None:
        """Hang up."""
        self._closing = True
        self._client.close()


def job_stream(serving: Serving, url: str, query: str = "", **headers: str) -> Stream:
    return Stream(url, f"/api/v1/jobs/going/events{query}", serving.tokens["alice"], **headers)


def points(stream: Stream) -> list[tuple[int, int]]:
    return [(p["trial"], p["epoch"]) for data in stream.of("curves") for p in data["points"]]


def log_text(stream: Stream) -> str:
    return "".join(data["text"] for data in stream.of("log"))


ALL = [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2), (3, 1), (3, 2)]


def test_a_new_listener_is_told_everything_so_far(serving: Serving, url: str) -> None:
    serving.add_job("going")
    log_of(serving, "going", b"one\n")
    stream = job_stream(serving, url)
    stream.wait(lambda _: log_text(stream) != "")
    assert stream.events[0].kind == "job"
    assert stream.of("job")[0]["progress"]["best"] == 0.5
    assert [one["number"] for one in stream.of("trials")[0]["rows"]] == [0, 1, 2, 3]
    assert points(stream) == ALL
    assert log_text(stream) == "one\n"
    stream.close()


def test_changes_are_pushed_and_only_what_changed(serving: Serving, url: str) -> None:
    serving.add_job("going")
    log_of(serving, "going", b"one\n")
    stream = job_stream(serving, url)
    stream.wait(lambda _: log_text(stream) != "")
    with Record.open(serving.settings.run_folder("going"), write=True) as record:
        record.add_epoch(3, row(3, 0.8, 0.8, 3))
        stream.wait(lambda _: (3, 3) in points(stream))
        log_of(serving, "going", b"one\ntwo\n")
        stream.wait(lambda _: log_text(stream) == "one\ntwo\n")
        stream.wait(lambda _: stream.of("job")[-1]["progress"]["best"] == 0.8)
    rows = [one["number"] for data in stream.of("trials")[1:] for one in data["rows"]]
    assert set(rows) == {3}
    assert points(stream) == [*ALL, (3, 3)]
    stream.close()


def test_what_happens_while_disconnected_is_told_on_return(serving: Serving, url: str) -> None:
    """From every event's id, whatever it was an id of: nothing is lost or told twice."""
    serving.add_job("going")
    log_of(serving, "going", "é1\n".encode())
    first = job_stream(serving, url)
    first.wait(lambda _: log_text(first) != "")
    first.close()
    seen = list(first.events)
    with Record.open(serving.settings.run_folder("going"), write=True) as record:
        record.add_epoch(3, row(3, 0.8, 0.8, 3))
        record.end_trial(3, "completed", "all epochs trained")
    log_of(serving, "going", "é1\né2\n".encode())
    for count, event in enumerate(seen, start=1):
        before = seen[:count]
        again = job_stream(serving, url, **{"Last-Event-ID": str(event.id)})
        again.wait(lambda _, again=again: log_text(again).endswith("é2\n"))  # type: ignore[misc]
        again.events[:0] = before
        assert points(again) == [*ALL, (3, 3)], event
        assert log_text(again) == "é1\né2\n", event
        rows = {one["number"]: one for data in again.of("trials") for one in data["rows"]}
        assert sorted(rows) == [0, 1, 2, 3]
        assert rows[3]["state"] == "completed"
        again.close()


def test_cursors_of_the_query_go_on_where_get_ended(serving: Serving, url: str) -> None:
    serving.add_job("going")
    log_of(serving, "going", b"one\n")
    client = serving.client()
    cursors = [client.get(f"/api/v1/jobs/going/{kind}").json()["cursor"] for kind in
               ("trials", "curves")]  # fmt: skip
    log_of(serving, "going", b"one\ntwo\n")
    query = f"?trials={cursors[0]}&curves={cursors[1]}&log=4"
    stream = job_stream(serving, url, query)
    stream.wait(lambda _: log_text(stream) != "")
    assert log_text(stream) == "two\n"
    assert points(stream) == [] and stream.of("trials") == []
    stream.close()


def test_listeners_that_come_and_go_all_see_everything_once(serving: Serving, url: str) -> None:
    """While the record grows, listeners join at any moment, and some reconnect at each event."""
    serving.add_job("going")
    log_of(serving, "going", b"")
    log = serving.settings.log_file("going")
    stop = threading.Event()

    def write() -> None:
        with Record.open(serving.settings.run_folder("going"), write=True) as record:
            for epoch in range(3, 50):
                record.add_epoch(3, row(epoch, 0.8, 0.8, 3))
                with log.open("a") as file:
                    file.write(f"epoch {epoch}\n")
                time.sleep(0.1)
            stop.set()

    writing = threading.Thread(target=write)
    writing.start()
    steady = [job_stream(serving, url)]
    hops: list[Event] = []
    last: dict[str, str] = {}
    while not stop.is_set():
        hopping = job_stream(serving, url, **last)
        time.sleep(1.7)
        hopping.wait(lambda seen: any(one.id for one in seen))
        hopping.close()
        count = len(hopping.events)
        hops += hopping.events[:count]
        last = {"Last-Event-ID": next(one.id for one in reversed(hops) if one.id)}
        if len(steady) < 5:
            steady.append(job_stream(serving, url))
    writing.join()
    expected = [*ALL, *((3, epoch) for epoch in range(3, 50))]
    text = "".join(f"epoch {epoch}\n" for epoch in range(3, 50))
    for stream in steady:
        stream.wait(lambda _, stream=stream: log_text(stream) == text)  # type: ignore[misc]
        assert points(stream) == expected
        stream.close()
    final = job_stream(serving, url, **last)
    final.events[:0] = hops
    final.wait(lambda _: log_text(final) == text)
    final.wait(lambda _: points(final) == expected)
    final.close()


def test_no_more_than_one_of_each_a_second(serving: Serving, url: str) -> None:
    serving.add_job("going")
    log_of(serving, "going", b"x\n")
    stream = job_stream(serving, url)
    stream.wait(lambda _: log_text(stream) != "")
    began, first = time.monotonic(), len(stream.events)
    with Record.open(serving.settings.run_folder("going"), write=True) as record:
        for epoch in range(3, 40):
            record.add_epoch(3, row(epoch, 0.8, 0.8, 3))
            time.sleep(0.1)
    kinds = [one.kind for one in stream.events[first:]]
    for kind in ("job", "trials", "curves"):
        assert 1 <= kinds.count(kind) <= time.monotonic() - began + 1
    stream.close()


def test_a_finished_job_ends_its_log(serving: Serving, url: str) -> None:
    serving.add_job("going", curves=None)
    log_of(serving, "going", b"x\n")
    stream = job_stream(serving, url)
    stream.wait(lambda _: log_text(stream) != "")
    assert not stream.of("log")[-1]["ended"]
    serving.store.set_state("going", ("running",), "finished")
    stream.wait(lambda _: stream.of("log")[-1]["ended"])
    assert stream.of("job")[-1]["state"] == "finished"
    assert log_text(stream) == "x\n"
    stream.close()


def test_the_queue_and_ones_jobs_are_pushed(serving: Serving, url: str) -> None:
    serving.add_job("going")
    stream = Stream(url, "/api/v1/events", serving.tokens["alice"])
    stream.wait(lambda _: bool(stream.of("jobs")))
    assert [one["id"] for one in stream.of("queue")[0]["held"]] == ["going"]
    assert [one["id"] for one in stream.of("jobs")[0]] == ["going"]
    serving.add_job("secret", "bob", "queued", None)
    stream.wait(lambda _: len(stream.of("queue")[-1]["waiting"]) == 1)
    assert stream.of("queue")[-1]["waiting"][0]["id"] == "–"
    assert [one["id"] for one in stream.of("jobs")[-1]] == ["going"]
    serving.add_job("next", "alice", "queued", None)
    stream.wait(lambda _: [one["id"] for one in stream.of("jobs")[-1]] == ["next", "going"])
    assert "secret" not in json.dumps(stream.events)
    stream.close()


def test_a_stream_beats_and_ends_when_its_token_is_revoked(
    serving: Serving, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.3)
    serving.add_job("going", curves=None)
    stream = job_stream(serving, url)
    stream.wait(lambda _: len(stream.of("heartbeat")) >= 2)
    serving.store.revoke_user("alice")
    assert stream.ended.wait(10)


def test_many_listeners_cost_one_look(
    serving: Serving, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.add_job("going")
    looks = []
    original = Store.job

    def counted(self: Store, id: str) -> Any:
        looks.append(threading.current_thread().name)
        return original(self, id)

    streams = [job_stream(serving, url) for _ in range(40)]
    for stream in streams:
        stream.wait(lambda _, stream=stream: points(stream) == ALL)  # type: ignore[misc]
    monkeypatch.setattr(Store, "job", counted)
    time.sleep(3)
    monkeypatch.setattr(Store, "job", original)
    assert 1 <= len(looks) <= 5
    for stream in streams:
        stream.close()


def test_a_user_opens_only_so_many_streams(
    serving: Serving, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_OF_USER", 2)
    serving.add_job("going", curves=None)
    streams = [job_stream(serving, url) for _ in range(2)]
    for stream in streams:
        stream.wait(lambda _, stream=stream: bool(stream.of("job")))  # type: ignore[misc]
    third = job_stream(serving, url)
    assert third.ended.wait(10)
    assert third.status == 429
    root = Stream(url, "/api/v1/jobs/going/events", serving.tokens["root"])
    root.wait(lambda _: bool(root.of("job")))
    for stream in (*streams, root):
        stream.close()


def test_a_client_that_reads_nothing_is_cut_off_and_others_miss_nothing(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALLED_S", 1.0)
    serving.add_job("going", curves=None)
    log_of(serving, "going", b"begin\n")
    line = b"x" * 1000 + b"\n"
    with served(serving) as url:
        hub = serving.app.state.hub
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as stalled:
            head = (
                "GET /api/v1/jobs/going/events HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {serving.tokens['alice']}\r\n\r\n"
            )
            stalled.sendall(head.encode())
            reader = job_stream(serving, url)
            reader.wait(lambda _: log_text(reader) == "begin\n")
            assert eventually(lambda: hub.count == 2)
            log, size = serving.settings.log_file("going"), 6

            def cut_off() -> bool:
                nonlocal size
                with log.open("ab") as file:  # until all buffers on the way are full
                    size += file.write(1000 * line)
                reader.wait(lambda _: len(log_text(reader)) == size)
                return hub.count == 1

            assert eventually(cut_off, 300)
            assert not reader.ended.is_set()
        reader.close()


def test_what_a_listener_has_not_taken_is_bounded() -> None:
    async def taken(items: Sequence[str | None]) -> list[str | None]:
        listener = Listener(UserRow("ann", "0" * 64, False, 0.0, None, None))
        for item in items:
            listener.put(item)
        found = [await listener.take()]
        while found[-1] is not None:
            found.append(await asyncio.wait_for(listener.take(), 60))  # type: ignore[arg-type]
        return found  # type: ignore[return-value]

    few, large = ["x"] * events.MOST_BEHIND, "x" * events.MOST_BEHIND_CHARACTERS
    assert asyncio.run(taken([*few[1:], None])) == [None]
    assert asyncio.run(taken([*few, "x"])) == [None]
    assert asyncio.run(taken([large, "x", "x"])) == [None]


@pytest.mark.parametrize("id", ["x", "0.0", "0.0.x", "0.0.--1", "..", "a.b.0", "0.0.9" + "9" * 30])
def test_a_made_up_id_is_refused(serving: Serving, id: str) -> None:
    serving.add_job("going", curves=None)
    answer = serving.client().get("/api/v1/jobs/going/events", headers={"Last-Event-ID": id})
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]


def test_positions_are_read_as_they_were_written() -> None:
    for position in (Position(), Position("abc", "d-_", 17)):
        assert Position.read(position.id) == position
