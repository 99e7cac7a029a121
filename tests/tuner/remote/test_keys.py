"""Keys of requests: kept until there is an answer, and one at a time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tuner.remote.keys import kept_key, state_folder

WHAT = {"spec": {"epochs": 12}, "server": "http://127.0.0.1:8642"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "tuner" / "keys"


def test_a_key_without_an_answer_is_used_again_for_the_same_alone(state: Path) -> None:
    with kept_key(WHAT) as first:
        pass
    with pytest.raises(RuntimeError), kept_key(WHAT) as second:
        raise RuntimeError
    with kept_key({**WHAT, "server": "http://127.0.0.1:8643"}) as other:
        other.answered = True
    assert first.text == second.text != other.text
    with kept_key(WHAT) as third:
        third.answered = True
    assert third.text == first.text
    assert list(state.iterdir()) == []
    with kept_key(WHAT) as fourth:
        assert fourth.text != first.text


def test_a_killed_process_leaves_its_key(state: Path) -> None:
    code = f"""
from tuner.remote.keys import kept_key
import os
with kept_key({WHAT!r}) as key:
    print(key.text, flush=True)
    os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    with kept_key(WHAT) as key:
        assert key.text == killed.stdout.strip()


def test_of_many_at_once_each_that_is_answered_has_a_key_of_its_own(state: Path) -> None:
    def submit(_: int) -> str:
        with kept_key(WHAT) as key:
            key.answered = True
            return key.text

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(submit, range(200)))
    assert len(set(keys)) == 200
    assert list(state.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="Cannot keep the request's key"), kept_key(WHAT):
        pass
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path.home() / ".local" / "state" / "tuner"
