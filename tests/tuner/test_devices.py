"""Kinds of device: what a trial's is called after a move, and whose seconds are never added."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.arm import arm_of
from reports.census import read_census
from reports.cost import arms_cost_ratio
from reports.figures.runs import read_runs
from reports.figures.searches import draw_progress, progress
from reports.real_searches import real_search
from reports.sections.provenance import facts, overview
from reports.sections.trials import as_table
from reports.table import read_trials
from tests.reports.drawing import assert_drawn
from tests.tuner import simulation
from tests.tuner.made_runs import make_run, quick
from tests.tuner.simulation import Clock, spec
from tuner.cli.texts import summary_text
from tuner.devices import UNKNOWN, by_device, joined, named
from tuner.driver import Driver
from tuner.record import Record
from tuner.summary import slot_seconds_per_epoch, summary
from tuner.table import trial_table

A, B = "NVIDIA A100", "NVIDIA H100"
CENSUS = {"sampler": {"name": "random"}, "scheduler": {"name": "none"}}
CURVES = [({"T": 2}, [0.2, 0.5], "completed"), ({"T": 3}, [0.3, 0.6], "completed")]


def run_on(folder: Path, *devices: str, space: str = "periodic_T") -> Path:
    """Return a run whose trials trained on these devices, one after another."""
    curves = [({} if "default" in space else {"T": 2 + i}, [0.2, 0.5], "completed")
              for i in range(len(devices))]  # fmt: skip
    make_run(folder, curves, quick(space, **CENSUS))
    with Record.open(folder, write=True) as record:
        for number, device in enumerate(devices):
            record._update("trial", {"device": device}, number)
    return folder


def started(tmp_path: Path, device: str = "gpu") -> tuple[Driver, int]:
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 1}), Clock())
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_started(assignment.number, device, "worker")
    return driver, assignment.number


def test_a_trial_that_moves_names_both_and_an_event_says_so(tmp_path: Path) -> None:
    driver, number = started(tmp_path)
    driver.on_placed(number, A, "10.0.0.1:1")
    driver.on_row(number, simulation.row(1, 0.2, 0.2, 1), 0.0)
    driver.on_retry(number, "The actor died")
    driver.on_started(number, "gpu", "worker")
    assert driver.record.trial(number).device == A
    driver.on_placed(number, B, "10.0.0.2:1")
    assert driver.record.trial(number).device == f"{A} + {B}"
    assert driver.record.trial(number).worker == "10.0.0.2:1"
    moved = [event for event in driver.record.events() if event.kind == "moved"]
    assert [(event.message, event.trial) for event in moved] == [
        (f"trained partly on {A} + {B}", number)
    ]
    driver.record.close()


def test_a_trial_that_goes_on_where_it_was_names_one(tmp_path: Path) -> None:
    driver, number = started(tmp_path, "cpu")
    for attempt in range(2):
        driver.on_placed(number, "cpu", f"10.0.0.1:{attempt}")
        driver.on_row(number, simulation.row(1 + attempt, 0.2, 0.2, 1), 0.0)
        driver.on_retry(number, "The actor died")
        driver.on_started(number, "cpu", "worker")
    assert driver.record.trial(number).device == "cpu"
    assert not [event for event in driver.record.events() if event.kind == "moved"]
    driver.record.close()


@pytest.mark.parametrize(("kinds", "device"), [((A, B), f"{UNKNOWN} + {B}"), ((B,), B)])
def test_seconds_of_an_attempt_that_never_told_are_told_as_such(
    tmp_path: Path, kinds: tuple[str, ...], device: str
) -> None:
    driver, number = started(tmp_path)
    driver.kinds = kinds
    driver.on_retry(number, "The actor died")
    driver.on_started(number, "gpu", "worker")
    driver.on_placed(number, B, "10.0.0.2:1")
    assert driver.record.trial(number).device == device
    driver.record.close()


def test_names_stand_for_the_recorded_machines_own() -> None:
    host = {"cpu": "AMD EPYC", "gpus": [{"name": A}]}
    assert named("cpu + Intel Xeon", host) == "AMD EPYC + Intel Xeon"
    assert named("gpu", host) == A
    assert named(None, host) is None
    assert joined(f"{A} + {B}", 4, f"{B} + {A}") == f"{A} + {B}"


def test_a_runs_summary_tells_seconds_by_device_and_counts_in_all(tmp_path: Path) -> None:
    with Record.open(run_on(tmp_path / "mixed", A, B, f"{A} + {B}")) as record:
        found = summary(record)
    assert found["cost"]["epochs"] == 6
    assert found["cost"]["slot_seconds"] is found["cost"]["stand_alone_slot_seconds"] is None
    assert found["cost"]["slot_seconds_by_device"] == {A: 4.0, B: 4.0, f"{A} + {B}": 4.0}
    text = summary_text(found)
    assert "6 epochs, 6.0 s of wall time; slot time of several kinds of device:" in text
    assert f"4.0 s on {A} + {B}" in text
    with Record.open(run_on(tmp_path / "one", A, A)) as record:
        found = summary(record)
    assert found["cost"]["slot_seconds"] == 8.0
    assert "slot_seconds_by_device" not in found["cost"]


def test_a_mixed_run_tells_no_cost_of_an_epoch(tmp_path: Path) -> None:
    values = quick("periodic_T", **CENSUS).model_dump(mode="json")
    one, mixed = run_on(tmp_path / "one", A, A), run_on(tmp_path / "mixed", A, B)
    assert slot_seconds_per_epoch([one, mixed], values) == (2.0, "one")
    assert slot_seconds_per_epoch([mixed], values) is None


def test_an_exported_table_names_the_device_so_that_a_comparison_sees_it(tmp_path: Path) -> None:
    with Record.open(run_on(tmp_path / "mixed", A, f"{A} + {B}")) as record:
        table = trial_table([record])
    assert [row[table.columns.index("device")] for row in table.rows] == [A, f"{A} + {B}"]


@pytest.mark.parametrize(
    ("periodic", "dynamic", "compared"),
    [((A, A), (A, A), True), ((A, A), (B, B), False), ((f"{A} + {B}",) * 2, (A, A), False),
     ((f"{A} + {B}",) * 2, (f"{A} + {B}",) * 2, False)],
)  # fmt: skip
def test_a_comparison_leaves_out_seconds_of_several_kinds_but_keeps_epochs(
    tmp_path: Path, periodic: tuple[str, ...], dynamic: tuple[str, ...], compared: bool
) -> None:
    folders = [run_on(tmp_path / "p", *periodic),
               run_on(tmp_path / "d", *dynamic, space="dynamic_default")]  # fmt: skip
    trials = read_trials(folders)
    arms = [arm_of(trials, space) for space in ("dynamic_default", "periodic_T")]
    assert arms_cost_ratio(*arms, 0.4, "epochs", 0.95, 0) is not None
    for column in ("slot_seconds", "as_run_slot_seconds"):
        assert (arms_cost_ratio(*arms, 0.4, column, 0.95, 0) is not None) == compared


def test_a_report_adds_hours_of_one_kind_only(tmp_path: Path) -> None:
    one, other = run_on(tmp_path / "a", A, A), run_on(tmp_path / "b", B, f"{A} + {B}")
    (alone,) = read_runs([one])
    found = progress([alone])
    assert found is not None and found.steps[-1].slot_hours == 8 / 3600
    assert dict(facts(alone, 0).items)["Held"] == "8.0 s of GPU time"
    both = read_runs([one, other])
    found = progress(both)
    assert found is not None
    assert {step.slot_hours for step in found.steps} == {None}
    assert [step.epochs for step in found.steps if step.run == "b"] == [2, 4]
    figure = draw_progress(found)
    assert_drawn(figure)
    assert len(figure.charts) == 1
    assert "Slot-hours are of different devices, and left out." in figure.notes
    hours = "4.0 s on"
    assert dict(facts(both[1], 1).items)["Held"] == f"{hours} {B}, {hours} {A} + {B}"
    held = [row[5] for row in overview(both).rows]
    assert held[1] == f"{hours} {B}, {hours} {A} + {B}"
    table = as_table(both)
    column = [one.name for one in table.columns].index("device")
    assert [row[column] for row in table.rows] == [A, A, B, f"{A} + {B}"]


def test_two_kinds_of_gpu_are_two_kinds(tmp_path: Path) -> None:
    """Both are GPU-hours, but a second of one is not worth one of the other."""
    found = progress(read_runs([run_on(tmp_path / "a", A), run_on(tmp_path / "b", B)]))
    assert found is not None and found.slot_unit == "slot-hours of different devices"


def test_a_real_search_on_several_kinds_keeps_its_counts(tmp_path: Path) -> None:
    mixed = real_search(run_on(tmp_path / "mixed", A, B), 0.9)
    assert (mixed.trials, mixed.epochs, mixed.slot_seconds) == (2, 4, None)
    assert real_search(run_on(tmp_path / "one", A, A), 0.9).slot_seconds == 8.0


def test_a_census_on_several_kinds_replays_without_seconds(tmp_path: Path) -> None:
    one = read_census([run_on(tmp_path / "one", A, A)])
    assert (one.timed, one.devices) == (True, (A,))
    mixed = read_census([run_on(tmp_path / "mixed", A, B)])
    assert (mixed.timed, mixed.devices) == (False, (A, B))
    assert {seconds for curve in mixed.curves for seconds in curve.seconds} == {1.0}
    assert any("different devices" in note and A in note for note in mixed.notes)
    apart = read_census([run_on(tmp_path / "x", A), run_on(tmp_path / "y", B)])
    assert not apart.timed


def test_seconds_are_summed_by_device() -> None:
    assert by_device([(A, 1.0), (None, 2.0), (A, 3.0)]) == {A: 4.0, UNKNOWN: 2.0}
