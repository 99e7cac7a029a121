"""The generated documents, against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search_spaces.space import known_spaces
from trainables.config import SECTIONS
from tuner.cli import COMMANDS
from tuner.docs import cli_document, spaces_document

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (*ROOT.glob("*.md"), *DOCS.rglob("*.md"))


@pytest.mark.parametrize(
    ("name", "text"), [("cli.md", cli_document()), ("spaces.md", spaces_document())]
)
def test_the_document_is_what_the_code_writes(name: str, text: str) -> None:
    found = (DOCS / name).read_text(encoding="utf-8")
    assert found == text, f"docs/{name} has drifted: run python -m tuner.docs"


def test_every_command_space_and_knob_is_documented() -> None:
    cli, spaces = cli_document(), spaces_document()
    for command in COMMANDS:
        assert f"## tuner {command}\n" in cli
    for name in (
        *known_spaces(),
        *(field for one in SECTIONS.values() for field in one.model_fields),
    ):
        assert name in spaces


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def headings(page: Path) -> set[str]:
    """Return a page's anchors, as code hosts make them from its headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in found)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in shown}
