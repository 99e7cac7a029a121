"""Ends are told by webhook and command, once, again where that fails, and never in the way."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.made_runs import make_run
from tests.tuner.service.stores import Clock, free, new
from tuner.service.models import Raise
from tuner.service.notify import FIRST_RETRY_S, TRIES, Notifier
from tuner.service.settings import Settings
from tuner.service.store import Store, StoreFull
from tuner.service.tables import JobRow


class Listener:
    """A web server that keeps what it is sent."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.status = 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.told.append(json.loads(body))
                self.send_response(listener.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with a job that has finished and one that runs."""
    store = Store(f"sqlite:///{tmp_path / 'service.db'}", Clock())
    for name, state in (("it", "finished"), ("going", "running")):
        store.create_job(new(key=f"key-{name:>5}"), name, True, free)
        store.set_state(name, ("queued",), state, reason="the budget is spent.")  # type: ignore[arg-type]
    return store


def test_a_webhook_is_told_once_of_what_has_ended(
    tmp_path: Path, store: Store, listener: Listener
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "it").mkdir()
    make_run(tmp_path / "runs" / "it", [({"T": 3}, [0.25, 0.5], "completed")])
    settings = Settings(tmp_path / "runs", tmp_path / "cache", webhook=listener.url)
    notifier = Notifier(settings, store)
    notifier.step()
    notifier.step()
    (told,) = listener.told
    assert (told["job"], told["user"], told["state"]) == ("it", "ann", "finished")
    assert told["text"] == (
        "tuner: job it of ann finished: the budget is spent. Best validation macro-F1 0.5000."
    )
    assert told["best"]["config"] == {"T": 3}
    Notifier(settings, store).step()  # the next service
    assert len(listener.told) == 1


def test_what_fails_is_told_again_later_and_given_up_at_last(
    tmp_path: Path, store: Store, listener: Listener
) -> None:
    clock = Clock()
    listener.status = 500
    settings = Settings(tmp_path / "runs", tmp_path / "cache", webhook=listener.url)
    notifier = Notifier(settings, store, clock)
    notifier.step()
    notifier.step()
    assert len(listener.told) == 1
    clock.now_s += FIRST_RETRY_S
    listener.status = 200
    notifier.step()
    notifier.step()
    assert len(listener.told) == 2
    store.set_state("it", ("finished",), "failed", told=False)
    listener.status = 500
    for _ in range(TRIES + 3):
        notifier.step()
        clock.now_s += 1e6
    assert len(listener.told) == 2 + TRIES
    assert store.untold() == []


def test_a_command_gets_it_as_json_without_a_shell(tmp_path: Path, store: Store) -> None:
    script = tmp_path / "tell me.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "pathlib.Path(sys.argv[1]).write_text(json.load(sys.stdin)['job'] + sys.argv[2])\n"
    )
    out = tmp_path / "out"
    command = f"{sys.executable} '{script}' {out} '$HOME;rm'"
    settings = Settings(tmp_path / "runs", tmp_path / "cache", notify_command=command)
    Notifier(settings, store).step()
    assert out.read_text() == "it$HOME;rm"
    assert store.untold() == []


@pytest.mark.parametrize("command", ["false", "/no/such/program"])
def test_a_command_that_fails_breaks_nothing(tmp_path: Path, store: Store, command: str) -> None:
    settings = Settings(tmp_path / "runs", tmp_path / "cache", notify_command=command)
    Notifier(settings, store).step()
    assert [job.id for job in store.untold()] == ["it"]


def counting(tmp_path: Path) -> tuple[str, Path, Path]:
    """Return a command that notes its calls in a file and fails while another file is there."""
    script, calls, broken = tmp_path / "count.py", tmp_path / "calls", tmp_path / "broken"
    script.write_text(
        "import json, pathlib, sys\n"
        "with open(sys.argv[1], 'a') as calls:\n"
        "    print(json.load(sys.stdin)['job'], file=calls)\n"
        "sys.exit(pathlib.Path(sys.argv[2]).exists())\n"
    )
    broken.touch()
    return f"{sys.executable} {script} {calls} {broken}", calls, broken


def test_each_way_tells_once_though_the_other_fails(
    tmp_path: Path, store: Store, listener: Listener
) -> None:
    command, calls, broken = counting(tmp_path)
    settings = Settings(
        tmp_path / "runs", tmp_path / "cache", webhook=listener.url, notify_command=command
    )
    clock = Clock()
    notifier = Notifier(settings, store, clock)
    for _ in range(2):
        notifier.step()
        clock.now_s += 1e6
    Notifier(settings, store).step()  # the next service
    assert (len(listener.told), calls.read_text()) == (1, "it\n" * 3)
    broken.unlink()
    Notifier(settings, store).step()
    assert (len(listener.told), calls.read_text()) == (1, "it\n" * 4)
    assert store.untold() == []
    broken.touch()
    store.resume("it", Raise(more_trials=1))
    store.set_state("it", ("queued",), "finished", ended_at=5.0)
    Notifier(settings, store).step()
    assert len(listener.told) == 2  # of the end after the resume


def test_a_job_that_cannot_be_told_of_silences_no_other(
    tmp_path: Path, store: Store, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_job(new(key="key-after"), "after", True, free)
    store.set_state("after", ("queued",), "finished")
    original = Notifier._news

    def broken(self: Notifier, job: JobRow) -> dict[str, Any]:
        if job.id == "it":
            raise RuntimeError("of this job alone")
        return original(self, job)

    monkeypatch.setattr(Notifier, "_news", broken)
    settings = Settings(tmp_path / "runs", tmp_path / "cache", webhook=listener.url)
    Notifier(settings, store).step()
    assert [one["job"] for one in listener.told] == ["after"]
    assert [job.id for job in store.untold()] == ["it"]


def test_only_the_end_that_was_told_of_counts_as_told(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is resumed and ends again while the first end is being told."""

    def meanwhile(self: Notifier, job: JobRow) -> bool:
        store.resume(job.id, Raise(more_trials=1))
        store.set_state(job.id, ("queued",), "failed", ended_at=7.0)
        return True

    monkeypatch.setattr(Notifier, "_tell", meanwhile)
    settings = Settings(tmp_path / "runs", tmp_path / "cache", webhook="http://127.0.0.1:9/x")
    Notifier(settings, store).step()
    assert [(job.id, job.ended_at) for job in store.untold()] == [("it", 7.0)]


def no_room(*_: object) -> None:
    raise StoreFull("The disk is full.")


def test_a_full_database_makes_nothing_be_told_twice(
    tmp_path: Path, store: Store, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    settings = Settings(tmp_path / "runs", tmp_path / "cache", webhook=listener.url)
    notifier = Notifier(settings, store, clock)
    with monkeypatch.context() as patch:
        patch.setattr(store, "set_told", no_room)
        for _ in range(TRIES + 1):
            notifier.step()
            clock.now_s += 1e6
    notifier.step()
    assert len(listener.told) == 1
    assert store.untold() == []


def test_a_full_disk_makes_this_service_tell_nothing_twice(
    tmp_path: Path, store: Store, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.service.notify.write_whole", no_room)
    clock = Clock()
    settings = Settings(
        tmp_path / "runs", tmp_path / "cache", webhook=listener.url, notify_command="false"
    )
    notifier = Notifier(settings, store, clock)
    for _ in range(3):
        notifier.step()
        clock.now_s += 1e6
    assert len(listener.told) == 1


@pytest.mark.parametrize(
    "webhook",
    [
        "{url}-SECRET",  # answers 500
        "http://127.0.0.1:1/hooks/SECRET",  # nobody listens
        "http://no.such.host.invalid/SECRET",
        "http://[SECRET",
        "http://127.0.0.1:99999/SECRET",
        "http://SECRET\\x.y:z/",
    ],
)
def test_the_webhooks_address_and_the_command_never_reach_the_log(
    tmp_path: Path,
    store: Store,
    listener: Listener,
    webhook: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tuner")
    listener.status = 500
    address = webhook.replace("{url}", listener.url)
    for command in ("false SECRET", "/no/such/SECRET", "'SECRET"):
        settings = Settings(
            tmp_path / "runs", tmp_path / "cache", webhook=address, notify_command=command
        )
        Notifier(settings, store).step()
        assert "SECRET" not in repr(settings)
    assert len(caplog.messages) == 6
    assert "SECRET" not in caplog.text


def test_nobody_is_told_where_nobody_is_named_nor_later_of_what_was(
    tmp_path: Path, store: Store, listener: Listener
) -> None:
    Notifier(Settings(tmp_path / "runs", tmp_path / "cache"), store).step()
    Notifier(Settings(tmp_path / "runs", tmp_path / "cache", webhook=listener.url), store).step()
    assert listener.told == []


def test_the_thread_tells_when_woken_and_ends(
    tmp_path: Path, store: Store, listener: Listener
) -> None:
    settings = Settings(tmp_path / "runs", tmp_path / "cache", webhook=listener.url)
    notifier = Notifier(settings, store)
    notifier.start()
    notifier.wake()
    for _ in range(200):
        if store.untold() == []:
            break
        threading.Event().wait(0.02)
    notifier.stop()
    assert len(listener.told) == 1
