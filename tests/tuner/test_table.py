"""The trial table: exact values, a stable order, the same content in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from reports.table import read_trials
from search_spaces.model import UserError
from tests.reports.made_records import make_record
from tests.tuner.test_record import RUN, TRIAL, epoch_row
from tests.tuner.test_summary import share_epochs
from trainables.config import TrialConfig
from tuner.record import Record
from tuner.table import TrialTable, default_stage, encoded_table, trial_table, write_table

FIXED = [
    *("stage", "arm", "space", "config_id", "seed"),
    *("state", "score", "test_score", "epochs", "slot_seconds"),
]
DYNAMIC = TrialConfig(injection={"method": "dynamic"}).model_dump(mode="json")


def run_of(folder: Path, name: str, trials: list[tuple[dict[str, Any], dict[str, Any]]]) -> Record:
    """Make a run whose trials have these knobs and settings; trial 0 has one epoch."""
    record = Record.create(folder / name, **(RUN | {"name": name}))
    for number, (knobs, config) in enumerate(trials):
        record.add_config(number, knobs, {}, {})
        record.add_trial(number, number, 2**62 + number, knobs, config, False, 1)
    record.add_epoch(0, epoch_row(1, 0.1 + 0.2))
    record.add_slot_time(0, 1 / 3)
    record.end_trial(0, "pruned", "rung 7")
    return record


@pytest.fixture
def records(tmp_path: Path):
    first = run_of(tmp_path, "first", [({"T": 3, "position": "bn1"}, TRIAL), ({"T": 7}, TRIAL)])
    second = run_of(tmp_path, "second", [({"Constant": 0.1}, DYNAMIC)])
    with first, second:
        yield [first, second]


def test_the_table_has_the_columns_of_the_exchange_format_then_all_knobs_by_name(records):
    table = trial_table(records)
    assert list(table.columns) == [*FIXED, "knob.Constant", "knob.T", "knob.position"]
    score, slot, seed = 0.30000000000000004, 1 / 3, 2**62
    ended = ("pruned", score, score - 0.01, 1, slot)
    waiting = ("waiting", None, None, 0, 0.0)
    periodic = ("census", "periodic", "periodic_T")
    assert table.rows == (
        (*periodic, "first/0", seed, *ended, None, 3, "bn1"),
        (*periodic, "first/1", seed + 1, *waiting, None, 7, None),
        ("census", "dynamic", "periodic_T", "second/0", seed, *ended, 0.1, None, None),
    )


def test_a_knob_that_a_run_holds_at_a_value_has_it_in_the_table(tmp_path: Path):
    make_record(tmp_path / "all", "periodic", 2)
    make_record(tmp_path / "one", "periodic_T", 2)  # holds the position at bn1
    with Record.open(tmp_path / "all") as first, Record.open(tmp_path / "one") as second:
        table = trial_table([first, second])
        varied = [trial.knobs["position"] for trial in first.trials()]
    column = table.columns.index("knob.position")
    assert [row[column] for row in table.rows] == [*varied, "bn1", "bn1"]


def test_csv_is_exactly_this(records):
    assert encoded_table(trial_table(records[:1], "pilot"), "csv").decode() == (
        ",".join(FIXED) + ",knob.T,knob.position\n"
        "pilot,periodic,periodic_T,first/0,4611686018427387904,pruned,0.30000000000000004,"
        "0.29000000000000004,1,0.3333333333333333,3,bn1\n"
        "pilot,periodic,periodic_T,first/1,4611686018427387905,waiting,,,0,0.0,7,\n"
    )


def test_every_format_holds_the_same_values(records):
    table = trial_table(records)
    expected = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert json.loads(encoded_table(table, "json")) == expected
    stored = parquet.read_table(io.BytesIO(encoded_table(table, "parquet")))
    assert stored.to_pylist() == expected
    text = encoded_table(table, "csv").decode()
    as_text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in expected]
    assert list(csv.DictReader(io.StringIO(text))) == as_text


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
            st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\r"))),
        ),
        max_size=5,
    )
)
def test_numbers_and_text_come_back_exactly(cells):
    table = TrialTable(("knob.x", "knob.name"), tuple(cells))
    text = encoded_table(table, "csv").decode()
    back = list(csv.reader(io.StringIO(text, newline="")))[1:]
    for (number, name), (number_text, name_text) in zip(cells, back, strict=True):
        assert (float(number_text) if number_text else None) == number
        assert name_text == (name or "")
    stored = parquet.read_table(io.BytesIO(encoded_table(table, "parquet"))).to_pylist()
    assert [(row["knob.x"], row["knob.name"]) for row in stored] == list(cells)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], "int64"),
        ([1, 0.5], "double"),
        ([True, False], "bool"),
        (["bn1", None], "string"),
        ([1, "auto"], "string"),
        ([], "string"),
    ],
)
def test_a_knob_column_has_the_type_that_holds_all_its_values(values, kind):
    table = TrialTable(("knob.k",), tuple((value,) for value in values))
    stored = parquet.read_table(io.BytesIO(encoded_table(table, "parquet")))
    assert str(stored.schema.field("knob.k").type) == kind


def test_an_empty_table_keeps_the_types_of_its_columns(tmp_path: Path):
    with Record.create(tmp_path / "none", **RUN) as record:
        table = trial_table([record])
    stored = parquet.read_table(io.BytesIO(encoded_table(table, "parquet")))
    assert stored.num_rows == 0 and stored.column_names == FIXED
    assert str(stored.schema.field("score").type) == "double"
    assert encoded_table(table, "csv").decode() == ",".join(FIXED) + "\n"


@pytest.mark.parametrize(
    ("sampler", "knobs", "scheduler", "stage"),
    [
        ("random", {"T": {}}, "none", "census"),
        ("tpe", {"T": {}}, "none", "search"),
        ("grid", {"T": {}}, "none", "search"),
        ("sobol", {"T": {}}, "none", "search"),
        ("random", {"T": {}}, "asha", "search"),
        ("tpe", {}, "none", "census"),
    ],
)
def test_a_run_is_a_census_only_if_its_draws_are_independent_and_finish(
    tmp_path: Path, sampler, knobs, scheduler, stage
):
    spec = {
        "space": {"name": "s", "knobs": knobs},
        "sampler": {"name": sampler},
        "scheduler": {"name": scheduler},
    }
    with Record.create(tmp_path / "r", **(RUN | {"spec": spec})) as record:
        assert default_stage(record.run()) == stage


def test_an_unknown_stage_is_refused_in_one_line(records):
    with pytest.raises(UserError, match=r"Unknown stage 'cencus'\. Did you mean 'census'"):
        trial_table(records, "cencus")


def test_a_table_is_written_whole_or_not_at_all(records, tmp_path: Path):
    target = tmp_path / "trials.csv"
    write_table(records, target, "csv")
    stream = io.BytesIO()
    write_table(records, stream, "csv")
    assert target.read_bytes() == stream.getvalue()
    with pytest.raises(UserError, match=r"Cannot write .*nowhere"):
        write_table(records, tmp_path / "nowhere" / "trials.csv", "csv")
    assert not list(tmp_path.glob(".*"))


def test_where_trials_shared_epochs_costs_are_stand_alone_and_as_run(tmp_path: Path) -> None:
    with Record.open(share_epochs(tmp_path / "a")) as record:
        table = trial_table([record])
    shared = dict(zip(table.columns, table.rows[3], strict=True))
    assert (shared["epochs"], shared["slot_seconds"]) == (3, 4.0)
    assert (shared["as_run_epochs"], shared["as_run_slot_seconds"]) == (1, 1.0)
    path = tmp_path / "t.csv"
    path.write_bytes(encoded_table(table, "csv"))
    for read in (read_trials([path]), read_trials([tmp_path / "a"])):
        assert (read.epochs[3], read.as_run_epochs[3]) == (3, 1)
        assert (read.slot_seconds[3], read.as_run_slot_seconds[3]) == (4.0, 1.0)
