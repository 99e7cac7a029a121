"""A report on trial tables, alone or with runs: what their columns allow, and what is left out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reports.figures.runs import read_runs
from reports.page import page
from reports.paper import all_figures, write_figures
from reports.sections.contents import Contents, contents
from reports.sections.verdict import Asked
from reports.sources import sources
from tests.reports.made_records import CENSUS, make_record
from tests.tuner.test_cli_compare import TEN as TABLE
from tuner.cli import cli

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert('x')</script>"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of ten trials."""
    (tmp_path / "ten.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path / "ten.csv"


def made(*paths: Path, **asked: Any) -> Contents:
    """Return a report's contents."""
    found = sources(paths)
    trials = found.trials()
    return contents(read_runs(found.folders), trials, Asked(**asked), found.tables(trials))


def test_a_table_alone_has_verdict_curves_savings_selection_and_table_1(table: Path) -> None:
    found = made(table, target=0.37)
    assert found.verdict.answer is not None
    assert found.verdict.sentence == found.verdict.answer.claim
    assert [figure.name for figure in all_figures(found)] == [
        "hidden-knob", "tuning-curves", "savings-by-target", "selected-test",
    ]  # fmt: skip
    rows = {(row.arm, row.quantity): row for row in found.paper.rows}
    validation = rows["periodic", "validation macro-F1"]
    assert (validation.best, validation.median, validation.trials) == (0.39, 0.33, 5)
    assert rows["dynamic", "test macro-F1"].median == 0.37
    assert rows["dynamic", "training loss (nats)"].best is None
    assert found.title == "Tuning report: periodic_T against dynamic_default"


def test_its_page_names_the_file_and_says_what_is_left_out(table: Path) -> None:
    text = page(made(table, target=0.37), bundle=False)
    assert hashlib.sha256(TABLE.encode()).hexdigest() in text
    assert f"<dt>{table}</dt><dd>10 rows" in text
    assert text.count('id="left-out"') == 1
    assert "Left out: a trial table has no curves." in text
    assert "with 10 rows" in text


def test_its_rows_are_listed_as_they_are(table: Path, tmp_path: Path) -> None:
    found = made(table)
    titles = [column.title for column in found.rows.columns]
    first = dict(zip(titles, found.rows.rows[0], strict=True))
    assert (first["row"], first["validation F1"], first["test F1"], first["T"]) == (2, 0.31, 0.3, 3)
    assert len(found.rows.rows) == 10
    written = {path.name for path in write_figures(found, tmp_path / "figures")}
    assert {"trial-tables.csv", "table-1.csv", "tuning-curves.svg"} <= written


def test_one_side_alone_says_what_its_best_was_and_in_which_row(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("\n".join(TABLE.splitlines()[:7]) + "\n", encoding="utf-8")
    found = made(tmp_path / "p.csv")
    assert found.verdict.sentence.startswith(
        "The best of 6 trials reached a validation macro-F1 of 0.3900 (test 0.3700;"
    )
    assert "p.csv, row 5, T=4)" in found.verdict.sentence
    page(found, bundle=False)


def test_a_table_of_failures_makes_a_page(tmp_path: Path) -> None:
    lines = [TABLE.splitlines()[0], *(f"periodic,p,{i},{i},crashed,,,1,1," for i in range(3))]
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = made(tmp_path / "p.csv")
    assert found.verdict.sentence.startswith("All 3 trials failed. No comparison")
    page(found, bundle=False)


def test_runs_and_tables_mix_and_each_is_shown_as_far_as_it_goes(
    table: Path, tmp_path: Path
) -> None:
    run = make_record(tmp_path / "p", "periodic", 16, 8, **CENSUS)
    found = made(run, table, target=0.37, periodic="periodic")
    names = {figure.name for figure in all_figures(found)}
    assert {"knob-periodic-T", "learning-periodic"} <= names
    assert not any("periodic-T-T" in name for name in names)
    counts = {(row.arm, row.quantity): row.trials for row in found.paper.rows}
    of_run, of_table = "periodic (periodic)", "periodic (periodic_T)"
    assert counts[of_run, "validation macro-F1"] == counts[of_run, "training loss (nats)"] == 16
    assert counts[of_table, "validation macro-F1"] == 5
    assert counts[of_table, "training loss (nats)"] == 0
    assert (len(found.runs), len(found.rows.rows)) == (1, 10)
    page(found, bundle=False)


def test_a_tables_searches_and_pilots_are_not_its_census(tmp_path: Path) -> None:
    header, *rows = TABLE.splitlines()
    staged = [f"stage,{header}", *(f"census,{row}" for row in rows)]
    for stage, seed in (("search", 50), ("pilot", 60), ("confirm", 70)):
        staged.append(f"{stage},periodic,periodic_T,{stage},{seed},completed,0.9,0.9,12,30,3")
    (tmp_path / "s.csv").write_text("\n".join(staged) + "\n", encoding="utf-8")
    found = made(tmp_path / "s.csv", target=0.37)
    rows_of = {(row.arm, row.quantity): row for row in found.paper.rows}
    assert rows_of["periodic", "validation macro-F1"].best == 0.39


def test_what_a_table_says_is_escaped(tmp_path: Path) -> None:
    lines = TABLE.replace("knob.T", f"knob.{EVIL}").replace("dynamic_default,0", f"{EVIL},0")
    path = tmp_path / "<script>.csv"
    path.write_text(lines, encoding="utf-8")
    text = page(made(path), bundle=False)
    assert EVIL not in text
    assert text.count("<script") == 2


def test_the_command_takes_csv_json_and_a_target_from_a_table(table: Path, tmp_path: Path) -> None:
    names = TABLE.splitlines()[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in TABLE.splitlines()[1:]]
    again = tmp_path / "ten.json"
    again.write_text(json.dumps(rows), encoding="utf-8")
    pilot = tmp_path / "pilot.csv"
    last = TABLE.splitlines()[-1].replace("14", "99")
    pilot.write_text(f"{TABLE.splitlines()[0]}\n{last}\n", encoding="utf-8")
    told = []
    for source in (table, again):
        arguments = ["report", str(source), "--target-from", str(pilot)]
        result = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "r.html")])
        assert result.exit_code == 0, result.output
        told.append(result.stdout)
    assert told[0] == told[1]
    assert "a validation score of 0.39" in told[0]


def test_mistakes_in_a_table_are_told_in_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(TABLE.replace("0.35", "35"), encoding="utf-8")
    missing = tmp_path / "none.csv"
    for path, message in ((bad, "column score"), (missing, "Cannot read")):
        result = CliRunner().invoke(cli, ["report", str(path)])
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def test_it_works_where_torch_and_ray_cannot_be_imported(table: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    for name in ("torch", "torchvision", "ray"):
        (shadow / f"{name}.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(shadow), str(ROOT)])
    output = tmp_path / "r.html"
    command = [sys.executable, "-m", "tuner", "report", str(table), "--target", "0.37"]
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([*command, "-o", str(output)], check=True, env=environment)
    assert "periodic_T needs 6 times" in output.read_text(encoding="utf-8")
