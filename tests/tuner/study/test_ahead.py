"""How far a study has come by its plan, with runs at every stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.made_studies import EPOCHS, made_study, make_study
from tuner.record import Record
from tuner.record_file import record_folders
from tuner.study.ahead import Planned, ahead, planned
from tuner.summary import Standing, standing

STUDY = made_study()
ALL = 10 + (30 + 12 + 4) + 3 * 2 * 6 + 3 * 18
"""Trials of pilot, census, searches and, at most, of confirmation."""


def standings(folder: Path) -> dict[str, Standing]:
    found = {}
    for run in record_folders(folder):
        with Record.open(run) as record:
            found[run.name] = standing(record)
    return found


def test_all_runs_are_planned() -> None:
    runs = planned(STUDY, "s")
    assert sum(run.trials for run in runs) == ALL
    assert [run.stage for run in runs] == (
        ["pilot"] + 3 * ["census"] + 6 * ["search"] + 3 * ["confirm"]
    )


@pytest.mark.parametrize(
    ("until", "trials"), [("frozen", 0), ("pilot", 10), ("census", 56), ("search", 92)]
)
def test_the_share_counts_trials_of_all_stages(tmp_path: Path, until: str, trials: int) -> None:
    now = standings(make_study(tmp_path / "s", until))
    found = ahead(planned(STUDY, "s"), now, EPOCHS)
    assert found == (pytest.approx(trials / ALL), None)


def test_runs_that_confirm_count_whatever_they_are_called(tmp_path: Path) -> None:
    now = standings(make_study(tmp_path / "s", "confirm"))
    found = ahead(planned(STUDY, "s"), now, EPOCHS)
    assert found.share_done == pytest.approx(
        sum(one.totals.num_ended for one in now.values()) / ALL
    )


def test_what_remains_is_the_rest_of_the_run_under_way_and_all_to_come(tmp_path: Path) -> None:
    """Two of twelve trials are left there, and four of the next run."""
    folder = make_study(tmp_path / "s", "pilot") / "pilot-dynamic_default"
    with Record.open(folder, write=True) as record:
        record.set_run("running")
        record.set_budget({"trials": 12})
        now = {"pilot-dynamic_default": standing(record)}
    going = now["pilot-dynamic_default"]
    assert going.driven and going.remaining is not None
    pace_s = going.totals.active_s / going.totals.epochs
    runs = [Planned("pilot-dynamic_default", "pilot", 12), Planned("census-x", "census", 4)]
    found = ahead(runs, now, EPOCHS)
    assert found.remaining_s == pytest.approx(going.remaining.seconds + 4 * EPOCHS * pace_s)
    assert going.remaining.seconds == pytest.approx(2 * EPOCHS * pace_s)
