"""What names on the command line stand for: runs, folders of runs, tables, a study."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reports.sources import sources
from search_spaces.model import UserError
from tests.reports.made_records import make_record
from tests.reports.made_studies import make_study

TABLE = "arm,space,config_id,seed,state,score\nperiodic,periodic_T,0,1,completed,0.3\n"


def test_a_folder_of_runs_stands_for_all_of_them_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    for name in ("b", "a"):
        make_record(tmp_path / "some" / name, trials=1, epochs=2)
    found = sources([tmp_path / "some"])
    assert [path.name for path in found.folders] == ["a", "b"]
    assert found.paths == found.folders


def test_a_folder_without_runs_and_a_source_given_twice_are_refused(tmp_path: Path) -> None:
    folder = make_record(tmp_path / "a", trials=1, epochs=2)
    (tmp_path / "empty").mkdir()
    table = tmp_path / "t.csv"
    table.write_text(TABLE, encoding="utf-8")
    with pytest.raises(UserError, match=r"empty is no run and holds none"):
        sources([tmp_path / "empty"])
    with pytest.raises(UserError, match="Run a is given twice"):
        sources([folder, tmp_path])
    with pytest.raises(UserError, match=r"Table t\.csv is given twice"):
        sources([table, table])


def test_tables_and_runs_keep_their_order_and_a_table_is_known_by_its_digest(
    tmp_path: Path,
) -> None:
    table = tmp_path / "t.csv"
    table.write_text(TABLE, encoding="utf-8")
    folder = make_record(tmp_path / "a", trials=2, epochs=2)
    found = sources([table, folder / "record.db"])
    assert (found.paths, found.folders) == ((table, folder), (folder,))
    trials = found.trials()
    assert trials.source == [str(table), str(folder), str(folder)]
    (file,) = found.tables(trials)
    assert file == (str(table), hashlib.sha256(TABLE.encode()).hexdigest(), 1)
    assert [row.name for row in found.rows()] == ["a"]


def test_runs_without_trials_are_no_mistake_but_an_empty_table_is(tmp_path: Path) -> None:
    folder = make_record(tmp_path / "a", trials=0)
    assert len(sources([folder]).trials()) == 0
    table = tmp_path / "t.csv"
    table.write_text(TABLE.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no trials"):
        sources([folder, table]).trials()


def test_a_studys_runs_come_in_the_order_of_its_stages(tmp_path: Path) -> None:
    found = sources([make_study(tmp_path / "s", "search")])
    assert found.study is not None
    assert [path.name for path in found.folders] == [
        "pilot-dynamic_default",
        "census-periodic_T",
        "census-dynamic_default",
        "census-baseline",
        *(f"search-{space}-{i}" for i in (1, 2, 3) for space in ("periodic_T", "dynamic_default")),
    ]


def test_a_study_that_has_only_been_frozen_has_no_trials(tmp_path: Path) -> None:
    found = sources([make_study(tmp_path / "s", "frozen")])
    assert found.folders == ()
    assert len(found.trials()) == 0


def test_a_study_stands_alone(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", "pilot")
    run = make_record(tmp_path / "a", trials=1)
    with pytest.raises(UserError, match=r"A study stands alone, but .*s is one of 2 sources"):
        sources([study, run])
