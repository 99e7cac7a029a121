"""The queue as people see it: places, and when each may start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuner.service.serving import Serving
from tuner.service import board
from tuner.service.board import expected_starts
from tuner.service.models import Capacity
from tuner.service.tables import JobRow

TWO = Capacity(gpus=2, cpus=8)


@pytest.fixture
def row(tmp_path: Path) -> JobRow:
    return Serving(tmp_path).add_job("x", state="queued", curves=None)


def job(row: JobRow, name: str, gpus: float, cpus: int = 1) -> JobRow:
    return replace(row, id=name, gpus=gpus, cpus=cpus)


def test_what_fits_starts_now(row: JobRow) -> None:
    order = [job(row, "a", 1), job(row, "b", 1)]
    assert expected_starts(order, [], TWO) == {"a": 0.0, "b": 0.0}


def test_a_job_starts_when_enough_before_it_has_ended(row: JobRow) -> None:
    held = [(300.0, job(row, "h1", 1)), (100.0, job(row, "h2", 1))]
    order = [job(row, "a", 1), job(row, "b", 1)]
    assert expected_starts(order, held, TWO) == {"a": 100.0, "b": 300.0}
    assert expected_starts([job(row, "a", 2)], held, TWO) == {"a": 300.0}


def test_what_waits_for_an_unknown_end_has_no_estimate(row: JobRow) -> None:
    held = [(None, job(row, "h1", 1)), (100.0, job(row, "h2", 1))]
    order = [job(row, "a", 1), job(row, "b", 1), job(row, "c", 1)]
    assert expected_starts(order, held, TWO) == {"a": 100.0, "b": None, "c": None}


def test_nobody_is_estimated_to_overtake(row: JobRow) -> None:
    held = [(50.0, job(row, "h", 1))]
    order = [job(row, "large", 2), job(row, "small", 1)]
    assert expected_starts(order, held, TWO) == {"large": 50.0, "small": None}


def test_cores_count_too(row: JobRow) -> None:
    held = [(50.0, job(row, "h", 0, 6))]
    order = [job(row, "a", 0, 2), job(row, "b", 0, 1)]
    assert expected_starts(order, held, Capacity(gpus=0, cpus=8)) == {"a": 0.0, "b": 50.0}


def test_the_board_is_made_once_a_second_but_never_older_than_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = Serving(tmp_path)
    made = []
    original = board.Board._made
    monkeypatch.setattr(board.Board, "_made", lambda self: made.append(1) or original(self))
    for _ in range(5):
        serving.client().get("/api/v1/queue")
    assert len(made) == 1
    serving.add_job("new", state="queued", curves=None)
    queue = serving.client().get("/api/v1/queue").json()
    assert [one["id"] for one in queue["waiting"]] == ["new"]


def test_a_place_is_foretold_as_it_will_be_given(tmp_path: Path) -> None:
    from tests.tuner.service.serving import submission

    serving = Serving(tmp_path)
    serving.add_job("first", "bob", "queued", None)
    serving.add_job("second", "bob", "queued", None)
    for body in (submission(), submission(priority=-3)):
        foretold = serving.client().post("/api/v1/jobs/check", json=body).json()["position"]
        assert serving.client().post("/api/v1/jobs", json=body).json()["position"] == foretold
