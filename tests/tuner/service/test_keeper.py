"""How jobs are started and looked after, step by step, against a Ray that does as it is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from tests.tuner.service.made_service import Made
from tuner.record_file import lock_file
from tuner.service import job_files
from tuner.service.job_files import NOW, OUTCOME, REQUEST
from tuner.service.keeper import (
    ASK_AGAIN_S,
    FULL_WAIT_S,
    LONGEST_PAUSE_S,
    MOST_TRIES,
    OUTLIVE_S,
    PLACE_WAIT_S,
    epochs_of,
)
from tuner.service.models import Assignment, Raise
from tuner.service.ray_jobs import Machine, Process


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_a_job_runs_through_its_states_and_is_told_what_it_holds(made: Made) -> None:
    made.submit("it", gpus=0.5, exclusive=False, cpus=3)
    made.step()
    assert made.state("it") == "starting"
    order = made.ray.orders["it-1"]
    assert (order.gpus, order.cpus) == (0.5, 3)
    assert order.metadata == {"user": "ann", "kind": "run", "digest": "d" * 64, "attempt": "1"}
    text = (made.settings.job_folder("it") / REQUEST).read_bytes()
    assignment = Assignment.model_validate_json(text)
    assert (assignment.job, assignment.attempt, assignment.gpus) == ("it", 1, 0.5)
    assert assignment.submission == order.submission == f"it-1-{made.store.tag}"
    made.ray.begin()
    made.step()
    job = made.job("it")
    assert (job.state, job.started_at, job.reason) == ("running", made.wall.now_s, None)
    made.end("it", "finished", "the budget of 3 trials is spent")
    made.step()
    job = made.job("it")
    assert (job.state, job.reason) == ("finished", "the budget of 3 trials is spent")
    assert job.ended_at == made.wall.now_s


def test_data_are_named_by_where_they_lie_on_the_server(made: Made) -> None:
    made.submit("it", fingerprint="f" * 64, spec={"data": {"source": "fer", "limit": 3}})
    made.step()
    text = (made.settings.job_folder("it") / REQUEST).read_bytes()
    data = Assignment.model_validate_json(text).spec["data"]
    assert data == {"source": str(made.settings.data_folder("f" * 64, "fer")), "limit": 3}


@pytest.mark.parametrize(
    ("asked", "on_the_way", "at_last"),
    [("pause", "pausing", "paused"), ("stop", "stopping", "stopped"),
     ("stop_now", "stopping", "stopped")],
)  # fmt: skip
def test_what_a_user_asks_is_done_once_and_resumed_under_the_next_attempt(
    made: Made, asked: Any, on_the_way: str, at_last: str
) -> None:
    made.submit("it")
    made.run("it")
    made.store.want("it", asked)
    for _ in range(3):
        made.step()
    assert made.state("it") == on_the_way
    assert made.ray.stops == ["it-1"]  # a second SIGINT would stop it amid an epoch
    now = made.settings.job_folder("it") / NOW
    assert (
        (now.read_text() == f"it-1-{made.store.tag}") if asked == "stop_now" else not now.exists()
    )
    made.step(ASK_AGAIN_S)
    assert made.ray.stops == ["it-1"] * 2  # the first request may have been lost
    made.end("it", "interrupted", "interrupted")
    made.step()
    assert made.state("it") == at_last
    made.step()
    assert made.state("it") == at_last
    made.store.resume("it", Raise(more_trials=2))
    made.step()
    assert list(made.ray.orders) == ["it-1", "it-2"]
    text = (made.settings.job_folder("it") / REQUEST).read_bytes()
    assert Assignment.model_validate_json(text).more == Raise(more_trials=2)


def test_a_stop_before_its_process_was_started_needs_no_process(made: Made) -> None:
    made.submit("it")
    made.step()
    made.ray.processes.clear()  # as if the service had been killed before it asked Ray
    made.store.want("it", "stop")
    made.step()
    assert made.state("it") == "stopped"


def test_an_answer_that_is_lost_is_no_second_process(made: Made) -> None:
    made.ray.loses_answers = True
    made.submit("it")
    made.step()
    assert made.state("it") == "starting"
    made.ray.begin()
    made.step()
    assert (made.state("it"), list(made.ray.orders)) == ("running", ["it-1"])


def test_what_ended_while_ray_was_away_is_known_from_its_own_words(made: Made) -> None:
    made.submit("it")
    made.run("it")
    made.ray.there = None
    made.end("it", "finished")
    made.step()
    assert made.state("it") == "finished"


def test_a_head_that_was_started_anew_has_lost_the_process_and_the_job_goes_on(made: Made) -> None:
    made.submit("it")
    made.run("it")
    for name in ("second", "third"):
        made.submit(name, "bob", priority=10)
    made.ray.processes.clear()
    made.ray.orders.clear()
    made.step()
    assert made.state("it") == "starting"  # before all others: it did not give up its place
    assert made.job("it").attempt == 2
    assert list(made.ray.orders) == ["it-2", "second-1"]


def test_a_process_that_the_record_still_knows_is_waited_for(made: Made) -> None:
    made.submit("it")
    made.record("it")
    with lock_file(made.settings.run_folder("it")):
        made.step()
        assert "earlier process" in str(made.job("it").reason)
        assert made.ray.orders == {}
    made.step()
    assert list(made.ray.orders) == ["it-1"]


def test_three_lost_processes_without_an_epoch_between_them_are_a_failure(made: Made) -> None:
    made.submit("it")
    for attempt in range(1, 4):
        made.run("it")
        assert made.job("it").attempt == attempt
        made.ray.lose(f"it-{attempt}", "Job entrypoint command failed with exit code 137.")
        made.step()
        if attempt < 3:
            assert made.state("it") == "starting"
    job = made.job("it")
    assert job.state == "failed"
    assert "3 times in a row" in str(job.reason)
    assert "exit code 137" in str(job.reason)
    made.store.resume("it", Raise())
    made.run("it")
    made.ray.lose("it-4")
    made.step()
    assert made.state("it") == "starting"  # counted anew


def test_a_lost_process_that_made_progress_counts_from_zero(made: Made) -> None:
    made.submit("it")
    for attempt in range(1, 6):
        made.run("it")
        if attempt == 2:
            made.record("it")
            assert epochs_of(made.settings.run_folder("it")) > 0
        made.ray.lose(f"it-{attempt}")
        made.step()
        fruitless = {1: 1, 2: 0, 3: 1, 4: 2, 5: 3}[attempt]
        assert made.job("it").fruitless == fruitless
    assert made.state("it") == "failed"


def test_what_ray_could_not_place_is_tried_again_for_ever(made: Made) -> None:
    made.submit("it")
    for attempt in range(1, MOST_TRIES + 3):
        made.step()
        made.step()
        made.step(PLACE_WAIT_S)
        assert "waits for Ray to give" in str(made.job("it").reason)
        made.ray.processes[f"it-{attempt}"] = Process("ended", "not within 900 s", False, True)
        made.step()
    assert (made.state("it"), made.job("it").fruitless) == ("starting", 0)


@pytest.mark.parametrize(
    ("ends", "becomes", "told"),
    [
        (("failed", "--gpus-per-trial must be at most 1."), "failed", "--gpus-per-trial"),
        (("interrupted", "interrupted"), "starting", None),
        (("crashed", "TypeError: x"), "starting", None),
    ],
)
def test_ends_that_nobody_asked_for(
    made: Made, ends: tuple[Any, str], becomes: str, told: str | None
) -> None:
    made.submit("it")
    made.run("it")
    made.end("it", *ends)
    made.step()
    assert made.state("it") == becomes
    if told:
        assert told in str(made.job("it").reason)


def test_a_process_that_was_killed_for_not_stopping_is_stopped(made: Made) -> None:
    made.submit("it")
    made.run("it")
    made.store.want("it", "stop")
    made.step()
    made.ray.lose("it-1", "Job was intentionally stopped.")
    made.step()
    assert made.state("it") == "stopped"
    assert "ended by itself first" in str(made.job("it").reason)


def test_on_a_full_disk_jobs_wait_and_go_on_when_there_is_room(made: Made) -> None:
    made.submit("it")
    made.run("it")
    made.end("it", "full", "The disk is full.")
    made.step()
    assert made.state("it") == "queued"
    assert made.job("it").reason == "The disk is full. It goes on once there is room"
    made.step(FULL_WAIT_S / 2)
    assert made.state("it") == "queued"
    made.step(FULL_WAIT_S / 2)
    assert (made.state("it"), made.job("it").fruitless) == ("starting", 0)


def test_half_an_outcome_is_none(made: Made) -> None:
    made.submit("it")
    made.run("it")
    (made.settings.job_folder("it") / OUTCOME).write_text("{")
    made.step()
    assert made.state("it") == "running"
    made.ray.lose("it-1")
    made.step()
    assert (made.state("it"), made.job("it").attempt) == ("starting", 2)


def refused(made: Made, attempt: int) -> None:
    made.ray.refuses = "Ray at … answers 500: no agent"
    made.ray.processes.pop(f"it-{attempt}")


def ended_before_it_began(made: Made, attempt: int) -> None:
    made.ray.lose(f"it-{attempt}", "runtime_env setup failed", began=False)


@pytest.mark.parametrize("not_started", [refused, ended_before_it_began])
def test_what_ray_does_not_start_is_tried_after_longer_and_longer_pauses_and_fails_at_last(
    made: Made, not_started: Callable[[Made, int], None]
) -> None:
    made.submit("it")
    made.step()
    for attempt in range(1, MOST_TRIES):
        not_started(made, attempt)
        made.step(0.0)
        assert f"try {attempt + 1} of" in str(made.job("it").reason)
        pause_s = min(2.0 ** (attempt - 1), LONGEST_PAUSE_S)
        made.step(pause_s - 0.1)
        assert (made.state("it"), made.job("it").attempt) == ("queued", attempt)
        made.ray.refuses = ""
        made.step(0.1)
        assert (made.state("it"), made.job("it").attempt) == ("starting", attempt + 1)
    not_started(made, MOST_TRIES)
    made.step(0.0)
    reason = str(made.job("it").reason)
    assert made.state("it") == "failed"
    assert f"{MOST_TRIES} times in a row" in reason
    assert "no agent" in reason or "runtime_env" in reason
    made.ray.refuses = ""
    made.store.resume("it", Raise())
    made.step()
    assert made.state("it") == "starting"


def test_a_process_that_begins_ends_the_count_of_those_that_did_not(made: Made) -> None:
    made.submit("it")
    made.step()
    for _ in range(2):
        for _ in range(MOST_TRIES - 1):
            ended_before_it_began(made, made.job("it").attempt)
            made.step()
            made.step(LONGEST_PAUSE_S)
        made.ray.begin()
        made.step()
        assert made.state("it") == "running"
        made.end("it", "interrupted", "interrupted")
        made.step()
        assert made.state("it") == "starting"


def test_on_a_full_disk_a_stop_reaches_ray_all_the_same(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise UserError(f"Cannot write {path}: No space left on device.")

    made.submit("it")
    made.run("it")
    monkeypatch.setattr(job_files, "write_whole", full)
    made.store.want("it", "stop_now")
    made.step()
    assert made.ray.stops == ["it-1"]
    assert "No space left" in made.supervisor.notes[-1]


def test_a_stop_at_once_reaches_a_process_while_ray_is_away(made: Made) -> None:
    made.submit("it")
    made.run("it")
    made.ray.there = None
    with made.living("it"):
        made.store.want("it", "stop_now")
        made.step()
        now = made.settings.job_folder("it") / NOW
        assert now.read_text() == made.submission("it")
        made.say("it", "interrupted", "interrupted at once")
        made.step()
        assert made.state("it") == "stopping"
    made.step()
    assert made.state("it") == "stopped"


def test_an_outcome_of_another_database_with_such_a_job_is_not_believed(made: Made) -> None:
    made.submit("it")
    made.run("it")
    made.say("it", "finished", submission="it-1-beefbeef")
    made.ray.lose("it-1")
    made.step()
    assert (made.state("it"), made.job("it").attempt) == ("starting", 2)


def test_a_process_that_starts_after_its_job_was_stopped_finds_nothing_to_do(made: Made) -> None:
    """Ray took the order, but its answer was lost, and it does not know it for some time."""
    made.ray.loses_answers = True
    made.submit("it")
    made.step()
    late = made.ray.processes.pop("it-1")
    request = made.settings.job_folder("it") / REQUEST
    assert request.exists()
    made.store.want("it", "stop")
    made.step()
    assert made.state("it") == "stopped"
    assert not request.exists()
    made.ray.processes["it-1"] = late
    made.ray.begin()
    made.step()
    assert made.state("it") == "stopped"


def test_a_process_that_has_just_started_is_stopped_before_its_job_is(made: Made) -> None:
    made.submit("it")
    made.step()
    late = made.ray.processes.pop("it-1")
    made.store.want("it", "stop")
    with made.living("it"):
        made.step()
        assert made.state("it") == "stopping"
        made.ray.processes["it-1"] = late
        made.ray.begin()
        made.step()
        assert made.ray.stops == ["it-1"]
    made.end("it", "interrupted", "interrupted")
    made.step()
    assert made.state("it") == "stopped"


def test_a_process_that_starts_while_its_job_is_being_stopped_keeps_it_open(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.submit("it")
    made.step()
    made.ray.processes.clear()
    made.store.want("it", "stop")
    with contextlib.ExitStack() as process, monkeypatch.context() as patch:
        # it has read what it is to do, just before that is taken back
        patch.setattr(job_files, "take_back", lambda _: process.enter_context(made.living("it")))
        made.step()
        assert made.state("it") == "stopping"
    made.step()
    assert made.state("it") == "stopped"


def test_a_process_that_hangs_after_its_outcome_keeps_its_gpus_and_is_stopped(made: Made) -> None:
    made.ray.there = Machine(28, 1)
    made.submit("it")
    made.run("it")
    made.submit("next", "bob")
    made.say("it", "finished", "the budget is spent")
    made.step()
    made.step(OUTLIVE_S - 1)
    assert (made.state("it"), made.state("next"), made.ray.stops) == ("running", "queued", [])
    made.step()
    assert made.ray.stops == ["it-1"]
    assert "does not end" in str(made.job("it").reason)
    assert made.state("next") == "queued"
    made.ray.lose("it-1")
    made.step()
    assert (made.state("it"), made.job("it").reason) == ("finished", "the budget is spent")
    assert made.state("next") == "starting"


def test_a_process_that_ray_has_lost_keeps_its_gpus_and_is_stopped(made: Made) -> None:
    made.ray.there = Machine(28, 1)
    made.submit("it")
    made.run("it")
    made.submit("next", "bob")
    now = made.settings.job_folder("it") / NOW
    with made.living("it"):
        made.ray.processes.clear()
        made.step()
        made.step(OUTLIVE_S - 1)
        assert (made.job("it").attempt, made.state("next"), now.exists()) == (1, "queued", False)
        made.step()
        assert now.read_text() == made.submission("it")
        assert "process 4711" in str(made.job("it").reason)
    made.step()
    assert (made.state("it"), made.job("it").attempt) == ("starting", 2)
