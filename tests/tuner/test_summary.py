"""What follows from a record."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuner import simulation
from tests.tuner.made_runs import make_run, quick
from tests.tuner.simulation import row
from tuner.cli.texts import summary_text
from tuner.record import Record
from tuner.record_schema import OPEN_STATES
from tuner.spec import build_spec
from tuner.summary import exit_status, next_steps, remaining, slot_seconds_per_epoch, summary

THREE = [
    ({"T": 2}, [0.2, 0.5, 0.4], "completed"),
    ({"T": 3}, [0.3], "pruned"),
    ({"T": 4}, [0.6, 0.9], "crashed"),
]


def summed(folder: Path) -> dict[str, object]:
    with Record.open(folder) as record:
        return summary(record)


def test_the_summary_holds_what_programs_rely_on(tmp_path: Path) -> None:
    found = summed(make_run(tmp_path / "a", THREE))
    assert found["run"] == "a"
    assert found["folder"] == str(tmp_path / "a")
    assert found["state"] == "finished"
    assert found["trials"] == {"completed": 1, "pruned": 1, "crashed": 1}
    best = {"config": {"T": 2}, "score": 0.5, "test_score": 0.49, "epoch": 2}
    assert best.items() <= found["best"].items()  # type: ignore[attr-defined]
    cost = {"epochs": 6, "slot_seconds": 12.0}
    assert cost.items() <= found["cost"].items()  # type: ignore[attr-defined]


def test_a_run_without_a_score_has_no_best(tmp_path: Path) -> None:
    assert summed(make_run(tmp_path / "a", [({"T": 2}, [], "waiting")]))["best"] is None


def test_a_running_run_without_a_process_is_interrupted(tmp_path: Path) -> None:
    found = summed(make_run(tmp_path / "a", THREE, state="running", reason=None))
    assert found["state"] == "interrupted"
    assert "without notice" in str(found["reason"])


@pytest.mark.parametrize(
    ("state", "reason", "trials", "status"),
    [
        ("finished", "spent", {"completed": 2, "pruned": 1}, 0),
        ("finished", "spent", {"completed": 2, "crashed": 1}, 3),
        ("finished", "spent", {"completed": 2, "diverged": 1}, 3),
        ("interrupted", "interrupted", {"waiting": 1}, 130),
        ("interrupted", "the first 3 trials all crashed", {"crashed": 3}, 1),
        ("failed", "RuntimeError", {}, 1),
    ],
)
def test_the_exit_status_tells_how_it_ended(
    state: str, reason: str, trials: dict[str, int], status: int
) -> None:
    assert exit_status({"state": state, "reason": reason, "trials": trials}) == status


def test_next_steps_fit_how_it_ended(tmp_path: Path) -> None:
    ended = [command for command, _ in next_steps(summed(make_run(tmp_path / "a", THREE)), "a")]
    assert "tuner show a" in ended
    assert not any("resume" in command for command in ended)
    stopped = make_run(tmp_path / "b", THREE, state="interrupted", reason="interrupted")
    assert next_steps(summed(stopped), "b")[0][0] == "tuner resume b"


def test_the_time_left_is_the_trials_left_at_the_pace_and_length_so_far(tmp_path: Path) -> None:
    # 6 epochs in 6 s; two trials have ended after 3 and 1 epochs, mean 2; one runs at epoch 1 and
    # needs one more; 16 - 3 = 13 are to come.
    folder = make_run(tmp_path / "a", [*THREE[:2], ({"T": 4}, [0.6], "running")])
    with Record.open(folder) as record:
        going, totals = record.trials(OPEN_STATES), record.totals()
    left = remaining(going, totals, {"trials": 16}, epochs=12)
    assert left is not None
    assert left.seconds == pytest.approx(1 + 13 * 2)
    assert "2.0 epochs a trial" in left.how
    tighter = remaining(going, totals, {"trials": 16, "epochs": 10}, epochs=12)
    assert tighter is not None
    assert tighter.seconds == pytest.approx(5)
    hours = remaining(going, totals, {"gpu_hours": 20 / 3600}, epochs=12)
    assert hours is not None
    assert hours.seconds == pytest.approx(5)  # 10 slot-seconds left, two held each second
    wall = remaining(going, totals, {"wall_hours": 9 / 3600}, epochs=12)
    assert wall is not None
    assert wall.seconds == pytest.approx(4)


def test_nothing_is_estimated_before_the_first_epoch(tmp_path: Path) -> None:
    with Record.open(make_run(tmp_path / "a", [({"T": 2}, [], "waiting")])) as record:
        assert remaining(record.trials(OPEN_STATES), record.totals(), {"trials": 16}, 12) is None


def test_the_cost_of_an_epoch_comes_from_the_newest_run_like_it(tmp_path: Path) -> None:
    make_run(tmp_path / "old", THREE)
    wide = quick(network={"width": 16})
    make_run(tmp_path / "wide", THREE, spec=wide)
    folders = [tmp_path / "old", tmp_path / "wide"]
    plain = quick("dynamic").model_dump(mode="json")
    assert slot_seconds_per_epoch(folders, plain) == (2.0, "old")
    make_run(tmp_path / "dynamic", THREE, spec=quick("dynamic"))
    make_run(tmp_path / "new", THREE)
    folders += [tmp_path / "dynamic", tmp_path / "new"]
    assert slot_seconds_per_epoch(folders, plain) == (2.0, "dynamic")  # of the same space
    narrow = quick(network={"width": 4}).model_dump(mode="json")
    assert slot_seconds_per_epoch(folders, narrow) is None


def test_the_cost_of_an_epoch_depends_on_what_was_set_and_on_the_share_of_a_device(
    tmp_path: Path,
) -> None:
    plain = make_run(tmp_path / "plain", THREE)
    wide = build_spec("quick", None, {"space": "baseline"}, {"width": 16, "batch_size": 16}, {})
    make_run(tmp_path / "wide", [({}, [0.1], "completed")], spec=wide)
    folders = [plain, tmp_path / "wide"]
    assert slot_seconds_per_epoch(folders, wide.model_dump(mode="json")) == (2.0, "wide")
    assert slot_seconds_per_epoch(folders, quick().model_dump(mode="json")) == (2.0, "plain")
    two_cores = quick(resources={"cpus_per_trial": 2}).model_dump(mode="json")
    assert slot_seconds_per_epoch(folders, two_cores) is None


def test_a_damaged_record_tells_no_cost_and_hides_none(tmp_path: Path) -> None:
    make_run(tmp_path / "a", THREE)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.db").write_text("no database")
    folders = [tmp_path / "a", tmp_path / "b"]
    assert slot_seconds_per_epoch(folders, quick().model_dump(mode="json")) == (2.0, "a")


@pytest.mark.parametrize("injected_share", [0.0, 1.0])
def test_a_best_score_from_before_any_injection_is_told_as_such(
    tmp_path: Path, injected_share: float
) -> None:
    driver = simulation.open_driver(tmp_path / "run", simulation.spec(), simulation.Clock())
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_started(assignment.number, "cpu", "worker")
    first = simulation.row(1, 0.5, 0.5, 1, injected_share=injected_share)
    driver.on_row(assignment.number, first, 0.0)
    driver.on_row(assignment.number, simulation.row(2, 0.4, 0.5, 1, injected_share=1.0), 0.0)
    told = summary_text(summary(driver.record))
    driver.record.close()
    assert ("nothing had been injected by then" in told) == (injected_share == 0.0)


def share_epochs(folder: Path) -> Path:
    """Let the last trial of a made run take over two epochs, which saved three slot-seconds."""
    make_run(folder, [*THREE, ({"T": 5}, [], "waiting")])
    with Record.open(folder, write=True) as record:
        record.start_trial(3, 1000.0, "cpu", "here:1")
        record.add_epoch(3, row(1, 0.1, 0.1, 1, shared=True))
        record.add_epoch(3, row(2, 0.2, 0.2, 2, shared=True))
        record.add_epoch(3, row(3, 0.3, 0.3, 3))
        record.add_slot_time(3, 1.0)
        record.add_saved_time(3, 3.0, "shared")
        record.end_trial(3, "completed", None)
    return folder


def test_cost_is_told_as_run_and_stand_alone(tmp_path: Path) -> None:
    found = summed(share_epochs(tmp_path / "a"))
    assert found["cost"] == {
        "epochs": 6 + 1,
        "slot_seconds": 13.0,
        "stand_alone_epochs": 6 + 3,
        "stand_alone_slot_seconds": 16.0,
        "wall_seconds": 6.0,
    }
    text = summary_text(found)  # type: ignore[arg-type]
    assert "shared  2 of 9 epochs (22%) came from other trials; that saved 3.0 s" in text
    assert "shared" not in summary_text(summed(make_run(tmp_path / "b", THREE)))  # type: ignore[arg-type]


def test_shared_epochs_cost_no_time_to_come(tmp_path: Path) -> None:
    with Record.open(share_epochs(tmp_path / "a")) as record:
        found = remaining(record.trials(OPEN_STATES), record.totals(), {"trials": 8}, 12)
    assert found is not None
    # seven computed epochs by four ended trials in six seconds: so go the four trials to come
    assert found.seconds == pytest.approx(4 * (7 / 4) * (6 / 7))


@pytest.mark.parametrize(
    ("arm", "note"),
    [
        ("baseline", None),
        ("dropout", None),
        ("periodic", "nothing had been injected by then: the plain network scored this"),
        ("periodic+dropout", "nothing had been injected by then: dropout alone scored this"),
        ("dynamic", "no sign had flipped by then: CliffReLU alone scored this"),
        ("dynamic+dropout", "no sign had flipped by then: CliffReLU and dropout alone scored this"),
    ],
)
def test_what_scored_before_any_injection_is_told_by_arm(
    tmp_path: Path, arm: str, note: str | None
) -> None:
    found = summed(make_run(tmp_path / "a", THREE))
    found["best"] = {**found["best"], "arm": arm}  # type: ignore[dict-item]
    lines = [line for line in summary_text(found).splitlines() if line.startswith("  note")]
    assert lines == ([] if note is None else [f"  note    {note}"])
    assert all(len(line) <= 80 for line in lines)


def test_trials_of_a_run_without_a_process_wait(tmp_path: Path) -> None:
    curves = [*THREE, ({"T": 5}, [0.1], "running"), ({"T": 6}, [], "waiting")]
    found = summed(make_run(tmp_path / "a", curves, state="running", reason=None))
    assert found["trials"] == {"completed": 1, "pruned": 1, "crashed": 1, "waiting": 2}
