"""What figures are drawn from, against records that were written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from reports.figures.runs import best_of, drawn_epochs, median, read_runs
from tests.reports.made_records import CENSUS, Ending, make_record
from tests.reports.made_trials import made_curve, made_run, made_trial
from tuner.record import Record


def test_curves_are_those_of_the_record(tmp_path: Path) -> None:
    folder = make_record(tmp_path / "d", "dynamic_constant", trials=2, epochs=5)
    (run,) = read_runs([folder])
    with Record.open(folder) as record:
        for trial in run.trials:
            rows = record.epochs(trial.row.number)
            curve = trial.curve
            assert curve.val_f1_E.tolist() == [row["val_f1"] for row in rows]
            assert curve.train_loss_E.tolist() == [row["train_loss"] for row in rows]
            assert curve.units == tuple(one["unit"] for one in rows[0]["units"])
            assert curve.w_EU.tolist() == [[one["w"] for one in row["units"]] for row in rows]


def test_a_trial_without_epochs_has_an_empty_curve(tmp_path: Path) -> None:
    folder = make_record(tmp_path / "p", trials=1, endings=[Ending("waiting")])
    (run,) = read_runs([folder])
    assert run.trials[0].curve.val_f1_E.shape == (0,)
    assert run.trials[0].curve.w_EU.shape == (0, 0)


def test_a_diverged_epoch_has_no_loss(tmp_path: Path) -> None:
    folder = make_record(tmp_path / "p", trials=1, epochs=2)
    with sqlite3.connect(folder / "record.db") as connection:
        connection.execute("UPDATE epoch SET train_loss = NULL WHERE epoch = 2")
    (run,) = read_runs([folder])
    assert np.isnan(run.trials[0].curve.train_loss_E[1])


def test_two_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [make_record(tmp_path / x, name="same", trials=1, epochs=2) for x in ("a", "b")]
    runs = read_runs(folders)
    assert [run.name for run in runs] == ["same", "same (2)"]
    assert len({trial.key for run in runs for trial in run.trials}) == 2


def test_the_best_trial_is_the_first_of_the_highest_and_never_one_that_failed() -> None:
    trials = [
        made_trial(0, made_curve([0.2])),
        made_trial(1, made_curve([0.4])),
        made_trial(2, made_curve([0.4])),
        made_trial(3, made_curve([0.9]), state="crashed"),
    ]
    assert best_of(trials) is trials[1]
    assert best_of(trials[3:]) is None


@pytest.mark.parametrize("count", [0, 1, 299, 300, 301, 60_000])
def test_thinned_lines_keep_both_ends_and_stay_short(count: int) -> None:
    epochs = drawn_epochs(count)
    assert len(epochs) <= 301
    assert epochs == sorted(set(epochs))
    assert epochs[:1] == [1][:count]
    assert epochs[-1:] == [count][:count]


def test_the_median_ignores_what_is_absent() -> None:
    assert median([3.0, None, 1.0]) == 2.0
    assert median([None]) is None


def test_a_runs_stage_is_the_studys_or_follows_from_how_it_drew(tmp_path: Path) -> None:
    study = {"name": "s", "digest": "d", "stage": "pilot"}
    folders = [
        make_record(tmp_path / "a", trials=1, **CENSUS),
        make_record(tmp_path / "b", trials=1),
        make_record(tmp_path / "c", trials=1, study=study, **CENSUS),
    ]
    assert [run.stage for run in read_runs(folders)] == ["census", "search", "pilot"]


@pytest.mark.parametrize(
    ("slot_s", "device", "told"),
    [
        (18.0, "cpu", "36 s of CPU slot time"),
        (179.0, "an A100", "5 min 58 s of GPU time"),
        (180.0, "cpu", "0.1 CPU slot-hours"),
        (9000.0, "an A100", "5 GPU-hours"),
        (0.0, "cpu", "0 CPU slot-hours"),
    ],
)
def test_below_a_tenth_of_an_hour_seconds_and_minutes_are_told(
    slot_s: float, device: str, told: str
) -> None:
    run = made_run([made_trial(i, slot_s=slot_s, device=device) for i in range(2)])
    assert run.told_hours(lambda row: row.slot_s) == told


def test_time_on_several_devices_is_told_in_the_unit_of_each() -> None:
    trials = [made_trial(0, slot_s=8.0, device="A"), made_trial(1, slot_s=7200.0, device="B")]
    assert made_run(trials).told_hours(lambda row: row.slot_s) == "8.0 s on A, 2 h on B"
