"""docs/comparison.md against the code: its example is run, its contract is complete."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from reports.answer import compare
from reports.contract import Answer
from reports.format import WIDTH
from reports.table import _CELLS, read_trials

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found[1]


def test_the_example_gives_the_sentence_it_is_said_to_give(tmp_path: Path):
    (tmp_path / "ten.csv").write_text(block("csv"), encoding="utf-8")
    trials = read_trials([tmp_path / "ten.csv"])
    found = compare(trials, periodic="periodic_T", dynamic="dynamic_default", target=0.37)
    assert textwrap.fill(found.claim, WIDTH) + "\n" == block("text")


def names(model: type[BaseModel]) -> set[str]:
    """Return the names of all fields of a model and of the models in it."""
    found = set(model.model_fields)
    pending: list[Any] = [field.annotation for field in model.model_fields.values()]
    while pending:
        one = pending.pop()
        pending += get_args(one)
        if isinstance(one, type) and issubclass(one, BaseModel):
            found |= names(one)
    return found


def test_every_field_of_the_answer_and_every_column_is_documented():
    words = set(re.findall(r"[a-z_0-9]+", TEXT))
    assert names(Answer) <= words
    assert set(_CELLS) <= words
