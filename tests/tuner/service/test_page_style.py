"""The page's files: the reports' colours, nothing from elsewhere, no markup made of data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reports.figures.theme import switched_css
from tuner.service.app import STATIC

FILES = sorted(path for path in STATIC.iterdir() if path.suffix in (".js", ".css", ".html", ".svg"))


def test_the_page_has_the_colours_of_the_reports() -> None:
    found = (STATIC / "colours.css").read_text(encoding="utf-8")
    assert found == switched_css(), (
        "colours.css has drifted: run"
        " python -m reports.figures.theme > tuner/service/static/colours.css"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_needs_nothing_from_elsewhere_and_makes_no_markup_of_data(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    outside = re.findall(r"""["'(](?:https?:)?//[\w.]+""", text)
    assert [found for found in outside if not found.endswith("//www.w3.org")] == []
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text) == []
    )
    assert re.findall(r"<style|\sstyle=|\son\w+=\"|javascript:", text) == []


def test_every_module_says_first_what_it_is_for_and_is_short() -> None:
    for path in STATIC.glob("*.js"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("// ") and len(lines) <= 350, path.name
