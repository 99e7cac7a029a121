"""The answer as text: one set of numbers in four forms, for any answer there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.answer import compare
from reports.contract import Answer
from reports.format import FORMATS, WIDTH, formatted, sections
from tests.reports.made_tables import DYNAMIC, PERIODIC, hits, joined, made
from tests.reports.test_answer import EDGES, answer, study


def test_the_table_starts_with_the_claim_and_fits_80_columns():
    for trials in (study(), *EDGES.values()):
        found = answer(trials)
        text = formatted(found, "table")
        assert text.replace("\n", " ").startswith(found.claim)
        assert max(map(len, text.splitlines())) <= WIDTH
        assert "nan" not in text
        assert "inf" not in text


def test_json_is_the_contract_and_comes_back():
    found = answer(EDGES["no periodic hits"])
    text = formatted(found, "json")
    assert Answer.model_validate(json.loads(text)) == found
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    assert json.loads(text)["savings"]["trials"]["high"] is None


def test_every_form_has_every_number_of_the_sections():
    found = answer(study())
    cells = {
        cell
        for section in sections(found, 0.95)
        for row in section.rows
        for cell in row
        if re.fullmatch(r"[\d.,]+( \(.*\))?", cell)
    }
    assert len(cells) > 15
    for format in ("table", "markdown", "latex"):
        text = formatted(found, format)
        assert all(cell in text for cell in cells)


def test_names_cannot_break_out_of_markdown_or_latex():
    odd = "a|b_c$%&{x}*<b>"
    trials = joined(hits(odd, 3, 9, arm="periodic"), hits(DYNAMIC, 3, 9))
    found = compare(trials, periodic=odd, dynamic=DYNAMIC, target=0.5)
    assert odd in found.claim
    markdown, latex = (formatted(found, format) for format in ("markdown", "latex"))
    assert "a\\|b\\_c" in markdown
    assert "\\<b>" in markdown
    assert r"a|b\_c\$\%\&\{x\}*\textless{}b\textgreater{}" in latex
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5)


def test_the_warnings_have_a_heading_in_every_form():
    found = answer(EDGES["a search"])
    headings = {
        "table": "\n\nTo be said beside it\n- ",
        "markdown": "\n\n### To be said beside it\n\n- ",
        "latex": "\n\\paragraph{To be said beside it}\n\\begin{itemize}\n",
    }
    for format, heading in headings.items():
        assert heading in formatted(found, format)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path: Path):
    body = formatted(answer(study()), "latex")
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "t.tex").write_text(head + "\n" + body + r"\end{document}", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "t.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_the_headings_name_the_confidence():
    found = answer(study(), confidence=0.9)
    assert "90 % interval" in formatted(found, "table", 0.9)
    assert "90 % interval" in found.claim


@pytest.mark.parametrize("format", FORMATS)
def test_text_ends_with_one_newline(format):
    text = formatted(answer(made_alone()), format)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def made_alone():
    return joined(made(PERIODIC, [0.4, 0.6]), made(DYNAMIC, [0.6]))


def test_trials_to_a_match_are_told_with_the_whole_ones_to_plan_for():
    """All of dynamic's 20 trials match, so that K is 0; 12 of 100 of periodic's: 5.42."""
    found = answer(joined(hits(PERIODIC, 12, 100), hits(DYNAMIC, 20, 20)))
    rows = sections(found, 0.95)[0].rows
    at = [row[0] for row in rows].index("trials, even chance")
    assert rows[at][1].startswith("5.42 (")
    assert rows[at][2].startswith("0 (0 to ")
    assert rows[at + 1] == ("in whole trials", "6", "1")
    assert rows[at + 3] == ("in whole trials", "19", "1")
    never = answer(joined(hits(PERIODIC, 0, 100), hits(DYNAMIC, 20, 20)))
    assert sections(never, 0.95)[0].rows[at + 1] == ("in whole trials", "–", "1")


def test_a_comparison_without_a_target_says_so_once():
    found = answer(joined(hits(PERIODIC, 2, 9), made(DYNAMIC, [None] * 3)), target=None)
    told = "Target: none (no target was given, and dynamic_default has no median)."
    assert told in formatted(found, "table").replace("\n", " ")


def test_the_highest_confidence_is_not_called_100_percent():
    found = answer(study(), confidence=0.9999999999999999)
    text = formatted(found, "table", 0.9999999999999999)
    assert "100 %" not in text
    assert "99.99999999999999 % interval" in text
