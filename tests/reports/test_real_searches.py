"""What a recorded search cost until the target, counted by hand, and whether replays agree."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from reports.real_searches import RealSearch, inside, real_search
from tests.reports.made_records import EPOCH_S, Ending, make_record

EPOCHS = 4


def search(folder: Path, curves: list[list[float]], **fields: object) -> Path:
    """Write a search of two trials at once: pairs begin together, epochs end together."""
    made = make_record(folder, trials=len(curves), epochs=EPOCHS, **fields)  # type: ignore[arg-type]
    with sqlite3.connect(made / "record.db") as connection:
        for trial, curve in enumerate(curves):
            for epoch in range(1, EPOCHS + 1):
                best = max(curve[:epoch])
                connection.execute(
                    "UPDATE epoch SET best_val_f1 = ? WHERE trial = ? AND epoch = ?",
                    (best, trial, epoch),
                )
    connection.close()
    return made


def test_the_cost_runs_up_to_the_epoch_that_reached_the_target(tmp_path: Path) -> None:
    curves = [[0.1] * 4, [0.1] * 4, [0.1] * 4, [0.1, 0.2, 0.5, 0.6]]
    found = real_search(search(tmp_path / "r", curves), 0.5)
    # Two trials of 4 epochs, then 3 epochs each of two more.
    assert (found.reached, found.finished, found.trials, found.epochs) == (True, True, 4, 14)
    assert found.slot_seconds == pytest.approx(14 * EPOCH_S)


def test_epochs_that_were_taken_over_are_told_apart(tmp_path: Path) -> None:
    folder = search(tmp_path / "r", [[0.1] * 4, [0.1] * 4, [0.1, 0.5, 0.6, 0.6]])
    with sqlite3.connect(folder / "record.db") as connection:
        connection.execute("UPDATE epoch SET shared = 1 WHERE trial > 0 AND epoch IN (1, 4)")
    connection.close()
    found = real_search(folder, 0.5)
    # The last trial's fourth epoch comes after the target.
    assert (found.epochs, found.computed) == (10, 7)


def test_a_search_that_never_reaches_it_is_charged_in_full(tmp_path: Path) -> None:
    found = real_search(search(tmp_path / "r", [[0.1] * 4] * 3), 0.5)
    assert (found.reached, found.trials, found.epochs) == (False, 3, 12)
    assert found.slot_seconds == pytest.approx(12 * EPOCH_S)


def test_a_trial_that_failed_has_not_reached_anything(tmp_path: Path) -> None:
    folder = search(tmp_path / "r", [[0.9] * 4], endings=[Ending("diverged")])
    assert not real_search(folder, 0.5).reached


def test_a_search_without_trials_has_cost_nothing(tmp_path: Path) -> None:
    found = real_search(make_record(tmp_path / "r", trials=0, state="running"), 0.5)
    assert (found.reached, found.finished, found.trials, found.epochs) == (False, False, 0, 0)


def made(epochs: int, reached: bool, finished: bool = True) -> RealSearch:
    """Return a search that cost so many epochs."""
    return RealSearch("r", "s", finished, reached, 1, epochs, epochs, 1.0)


@pytest.mark.parametrize(
    ("real", "low", "high", "expected"),
    [
        (made(10, True), 5, 20, True),
        (made(5, True), 5, 20, True),
        (made(20, True), 5, 20, True),
        (made(4, True), 5, 20, False),
        (made(21, True), 5, 20, False),
        (made(21, True), 5, None, True),
        (made(21, True), None, None, False),
        (made(30, False), 5, None, True),
        (made(30, False), 5, 20, False),
        (made(30, False, finished=False), 5, 20, None),
    ],
)
def test_a_search_lies_inside_the_central_95_percent_or_not(
    real: RealSearch, low: float | None, high: float | None, expected: bool | None
) -> None:
    assert inside(real, {"0.025": low, "0.975": high}) is expected
