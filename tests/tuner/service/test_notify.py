"""Ends are told by webhook and command, once, again where that fails, and never in the way."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.made_runs import make_run
from tests.tuner.service.test_store import Clock, free, new
from tuner.service.notify import FIRST_RETRY_S, TRIES, Notifier
from tuner.service.settings import Settings
from tuner.service.store import Store


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
