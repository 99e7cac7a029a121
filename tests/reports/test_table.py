"""Reading tables and records: exact values, and each mistake in one line with file, row, column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.table import COLUMN_NAMES, read_trials
from search_spaces.model import UserError
from tests.tuner.made_runs import make_run
from tuner.record import Record
from tuner.table import write_table

HEADER = "stage,arm,space,config_id,seed,state,score,test_score,epochs,slot_seconds,knob.T\n"
ROW = "census,periodic,periodic_T,a,1,completed,0.31,0.3,12,30.5,3\n"


@pytest.fixture
def csv(tmp_path: Path):
    def write(text: str, name: str = "t.csv") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def message(path: Path, *more: Path) -> str:
    with pytest.raises(UserError) as error:
        read_trials([path, *more])
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{path.parent}/", "")


def test_a_row_is_read_with_its_types_and_place(csv):
    path = csv(HEADER + ROW + ",dynamic,dynamic_default,b,2.0,crashed,,,,,\n")
    trials = read_trials([path])
    assert len(trials) == 2
    assert [trials.stage, trials.arm] == [["census", "census"], ["periodic", "dynamic"]]
    assert [trials.seed, trials.score] == [[1, 2], [0.31, None]]
    assert [trials.test_score, trials.epochs] == [[0.3, None], [12, None]]
    assert trials.as_run_slot_seconds == [30.5, None]
    assert trials.knobs == [{"T": 3}, {}]
    assert (trials.source, trials.row) == ([str(path)] * 2, [2, 3])


def test_only_the_needed_columns_are_needed_and_foreign_ones_are_ignored(csv):
    text = "arm,space,config_id,seed,state,score,notes\nperiodic,P,a,1,completed,0.5,hello\n"
    trials = read_trials([csv("\ufeff" + text)])  # Excel begins with a byte order mark
    assert (trials.stage, trials.epochs, trials.test_score) == (["census"], [None], [None])


def test_quoted_lines_and_blank_lines_do_not_shift_the_row_numbers(csv):
    text = HEADER + "\n" + ROW.replace(",a,", ',"a\nb",') + ROW.replace("0.31", "high")
    assert "row 5" in message(csv(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" , ,\n,\n", "t.csv is empty; a trial table has a header and one row per trial."),
        ("", "t.csv is empty; a trial table has a header and one row per trial."),
        (HEADER, "t.csv holds no trials: it has a header, but no rows."),
        (
            HEADER.replace(",score,", ",") + ROW,
            "Column score is missing (t.csv, row 1); needed are arm, space, config_id, seed, state,"
            " score.",
        ),
        (
            HEADER.replace(",", ";") + ROW,
            "Column arm is missing (t.csv, row 1); needed are arm, space, config_id, seed, state,"
            " score. Its columns must be separated by commas.",
        ),
        (
            HEADER.replace("test_score", "tst_score") + ROW,
            "Unknown column 'tst_score'. Did you mean 'test_score'?",
        ),
        (HEADER.replace("epochs", "seed") + ROW, "Column seed is there twice (t.csv, row 1)."),
        (
            HEADER + ROW.replace("0.31", "high"),
            "score must be a number from 0 to 1, but got 'high' (t.csv, row 2, column score).",
        ),
        (
            HEADER + ROW + ROW.replace("0.31", "39.1"),
            "score must be a number from 0 to 1, but got '39.1' (t.csv, row 3, column score).",
        ),
        (
            HEADER + ROW.replace("0.31", "nan"),
            "score must be a number from 0 to 1, but got 'nan' (t.csv, row 2, column score).",
        ),
        (
            HEADER + ROW.replace("0.31", ""),
            "score is required for a completed trial, but is empty (t.csv, row 2, column score).",
        ),
        (
            HEADER + ROW.replace("periodic,", "periodc,", 1),
            "Unknown arm 'periodc'. Did you mean 'periodic'?",
        ),
        (
            HEADER + ROW.replace("completed", "complete"),
            "Unknown state 'complete'. Did you mean 'completed'?",
        ),
        (
            HEADER + ROW.replace("census", "senses"),
            "Unknown stage 'senses'. Did you mean 'census'?",
        ),
        (
            HEADER + ROW.replace(",1,", ",one,"),
            "seed must be a whole number of at least 0, but got 'one' (t.csv, row 2, column seed).",
        ),
        (
            HEADER + ROW.replace(",a,", ",,"),
            "config_id is required, but is empty (t.csv, row 2, column config_id).",
        ),
        (
            HEADER + ROW.replace("30.5", "-1"),
            "slot_seconds must be a number from 0 to 1e+12, but got '-1' (t.csv, row 2, column"
            " slot_seconds).",
        ),
        (
            HEADER + ROW.replace(",12,", ",1.5,"),
            "epochs must be a whole number of at least 0, but got '1.5' (t.csv, row 2, column"
            " epochs).",
        ),
        (HEADER + ROW.replace(",3\n", "\n"), "Expected 11 columns, but got 10 (t.csv, row 2)."),
        (
            HEADER + ROW + ROW,
            "Trial periodic_T a with seed 1 is there twice (t.csv, row 2 and t.csv, row 3, columns"
            " config_id and seed).",
        ),
        (
            HEADER.replace("knob.T", "metric")
            + ROW.replace(",3\n", ",macro-F1\n")
            + ROW.replace(",a,", ",b,").replace(",3\n", ",accuracy\n"),
            "Scores of two metrics cannot be compared: 'macro-F1' (t.csv, row 2) and 'accuracy'"
            " (t.csv, row 3), column metric.",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_file_row_and_column(csv, text, expected):
    assert message(csv(text)).startswith(expected)


HUGE = "9" * 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROW.replace("0.31", HUGE), "score must be a number from 0 to 1, but got '999"),
        (ROW.replace(",1,", f",{HUGE},"), "seed must be at most 18446744073709551615, but got '99"),
        (ROW.replace(",12,", f",{HUGE},"), "epochs must be at most 1000000000, but got '999"),
        (
            ROW.replace("30.5", "1e308"),
            "slot_seconds must be a number from 0 to 1e+12, but got '1e",
        ),
        (ROW.replace(",3\n", f",{HUGE}\n"), "knob.T must be at most 1e+300 in size, but got '999"),
        (ROW.replace(",3\n", f",-{HUGE}\n"), "knob.T must be at most 1e+300 in size, but got '-9"),
        (ROW.replace(",3\n", f",{HUGE * 20}\n"), "knob.T must be at most 1e+300 in size, but got"),
    ],
)
def test_a_number_that_nothing_can_reckon_with_is_told_in_one_short_line(csv, text, expected):
    found = message(csv(HEADER + text))
    assert found.startswith(expected)
    assert "(t.csv, row 2, column " in found
    assert len(found) < 200


def test_huge_numbers_of_json_are_told_with_row_and_column(csv):
    names, values = HEADER.strip().split(","), ROW.strip().split(",")
    cells = dict(zip(names, values, strict=True))
    for name in ("score", "seed", "epochs", "slot_seconds", "knob.T"):
        items = [{**cells, name: int(HUGE)}]
        assert f"(t.json, row 1, column {name})" in message(csv(json.dumps(items), "t.json"))


def test_json_that_is_nested_too_deeply_is_told(csv):
    found = message(csv("[" * 100_000, "t.json"))
    assert found == "t.json is no trial table: it is nested too deeply."


def test_less_than_a_nanosecond_is_no_time(csv):
    assert read_trials([csv(HEADER + ROW.replace("30.5", "1e-320"))]).slot_seconds == [0.0]


@pytest.mark.parametrize(
    "name",
    [
        "dates",
        "date",
        "dataset",
        "epoch",
        "val_score",
        "status",
        "stages",
        "metrics",
        "device_id",
        "scores",
        "name",
        "time",
    ],
)
def test_a_foreign_column_is_ignored_where_the_one_it_resembles_is_there(csv, name):
    header, row = HEADER.strip() + ",metric,device,data", ROW.strip() + ",F1,cpu,abc"
    trials = read_trials([csv(f"{header},{name}\n{row},x\n")])
    assert (trials.epochs, trials.metric, trials.data) == ([12], ["F1"], ["abc"])


@pytest.mark.parametrize(
    "name", ["dates", "dataset", "val_score", "status", "f1", "name", "train_score"]
)
def test_a_foreign_column_is_ignored_where_it_only_resembles_an_absent_one(csv, name):
    text = f"arm,space,config_id,seed,state,score,{name}\nperiodic,P,a,1,completed,0.5,x\n"
    assert read_trials([csv(text)]).score == [0.5]


@pytest.mark.parametrize(
    "name", ["tst_score", "epoch", "stages", "slot_second", "devices", "metrics"]
)
def test_a_misspelt_column_that_is_absent_is_told(csv, name):
    text = f"arm,space,config_id,seed,state,score,{name}\nperiodic,P,a,1,completed,0.5,1\n"
    assert message(csv(text)).startswith(f"Unknown column '{name}'. Did you mean '")


@pytest.mark.parametrize("blank", ["", "   ", "\t", ",,,,,", " , ,"])
def test_empty_lines_of_a_table_by_hand_are_ignored_and_counted(csv, blank):
    text = f"{blank}\n{HEADER}{blank}\n{ROW}{blank}\n"
    trials = read_trials([csv(text)])
    assert (len(trials), trials.row) == (1, [4])
    assert "row 6" in message(csv(text + ROW.replace("0.31", "high")))


@pytest.mark.parametrize("header", ["", ",", ",,", ", ,"])
@pytest.mark.parametrize("row", ["", ",", ",,", " , "])
def test_trailing_commas_are_ignored(csv, header, row):
    trials = read_trials([csv(HEADER.strip() + header + "\n" + ROW.strip() + row + "\n")])
    assert (trials.score, trials.knobs) == ([0.31], [{"T": 3}])


def test_a_value_without_a_column_is_told(csv):
    text = HEADER + ROW.strip() + ",7\n"
    assert message(csv(text)) == "Expected 11 columns, but got 12 (t.csv, row 2)."


def test_further_mistakes_of_a_file_are_counted(csv):
    text = HEADER + ROW.replace("0.31", "x").replace(",12,", ",y,") + ROW.replace("0.31", "z")
    assert message(csv(text)).endswith("(t.csv, row 2, column score); and 2 more mistakes there.")


def test_one_metric_may_be_written_in_two_ways(csv):
    text = HEADER.replace("knob.T", "metric") + ROW.replace(",3\n", ",Macro F1\n")
    other = ROW.replace(",a,", ",b,").replace(",3\n", ",macro_f1\n")
    assert len(read_trials([csv(text + other)])) == 2


def test_what_is_no_table_is_told(csv, tmp_path: Path):
    assert message(tmp_path / "none.csv") == "Cannot read none.csv: No such file or directory."
    assert "neither a table nor a run" in message(tmp_path)
    (tmp_path / "bad.csv").write_bytes(b"arm,space\n\xff\xfe\n")
    assert message(tmp_path / "bad.csv") == "bad.csv is not UTF-8 text (row 2)."
    parquet = message(csv("hello", "t.parquet"))
    assert parquet.startswith("t.parquet is no Parquet file: ")
    assert parquet.endswith(".")
    assert not parquet.endswith("..")
    assert "is no JSON" in message(csv("{", "t.json"))
    assert "must be a list" in message(csv("{}", "t.json"))
    assert message(csv("[]", "t.json")) == "t.json holds no trials: its list is empty."
    with pytest.raises(UserError, match="No trials"):
        read_trials([])


def test_a_record_and_its_exports_are_the_same_trials(tmp_path: Path):
    curves = [
        ({"T": 2}, [0.2, 0.3], "completed"),
        ({"T": 5}, [0.2], "pruned"),
        ({"T": 6}, [], "crashed"),
        ({"T": 4}, [0.1], "running"),
    ]
    run = make_run(tmp_path / "one", curves)
    with Record.open(run) as record:
        for ending in ("csv", "parquet", "json"):
            write_table([record], tmp_path / f"t.{ending}", ending)
    direct = read_trials([run])
    only_in_records = {"metric", "device", "data", "copies", "setting", "conditions", "definition"}
    same = set(COLUMN_NAMES) - {"source", "row"} - only_in_records
    for ending in ("csv", "parquet", "json"):
        table = read_trials([tmp_path / f"t.{ending}"])
        for name in same:
            assert getattr(table, name) == getattr(direct, name), name
    assert direct.score == [0.3, 0.2, None, 0.1]
    assert direct.config_id == ["one/0", "one/1", "one/2", "one/3"]
    assert set(direct.metric) == {"macro-F1"}
    assert read_trials([run / "record.db"]).score == direct.score


def test_a_table_of_another_data_set_cannot_be_mixed_with_a_run(tmp_path: Path, csv):
    run = make_run(tmp_path / "one", [({"T": 2}, [0.2], "completed")])
    other = csv(HEADER.replace("knob.T", "data") + ROW.replace(",3\n", ",elsewhere\n"))
    assert "Scores of two data sets cannot be compared" in message(run, other)


def test_one_run_given_twice_is_refused(tmp_path: Path):
    run = make_run(tmp_path / "one", [({"T": 2}, [0.2], "completed")])
    assert "is there twice" in message(run, run)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_makes_anything_but_a_user_error(tmp_path_factory, content: bytes):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(HEADER.encode() + content)
    try:
        read_trials([path])
    except UserError as error:
        assert "\n" not in str(error)
