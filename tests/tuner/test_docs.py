"""The generated documents, against the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.space import known_spaces
from trainables.config import SECTIONS
from tuner.cli import COMMANDS
from tuner.docs import cli_document, spaces_document

DOCS = Path(__file__).resolve().parents[2] / "docs"


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
