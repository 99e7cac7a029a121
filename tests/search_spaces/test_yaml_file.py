"""What a YAML file of a person may hold, and how anything else is refused."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.model import UserError
from search_spaces.yaml_file import MAX_BYTES, parse_value, parse_yaml, read_yaml

CHARACTERS = st.one_of(
    st.sampled_from("\t\n :-[]{},&*!|>'\"#%@`?~=.\\"),
    st.sampled_from(string.printable),
    st.characters(),
)
TOKENS = st.sampled_from(
    ["!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!int ", "!!float ", "!!bool ",
     "!!null ", "!!str ", "!!map ", "!!seq ", "!!merge ", "!x ", "!!python/name:os ", "<<: ", "? ",
     ": ", "- ", "&a ", "*a ", "\n", "\n  ", "{", "}", "[", "]", ", ", "|\n ", ">-\n ", "---\n",
     "...\n", "%YAML 1.1\n", "%TAG ! tag:x:\n", "2001-13-41", "2001-01-01T25:00:00Z", "0x", "0o9",
     "0b1", "1_000", ".inf", ".nan", "1e999", "-", "=", "~", "a", "T: ", "'", '"', "\\ud800",
     "summary: s\n", "knobs: ", "fixed: ", "kind: int\n"]
)  # fmt: skip
YAMLISH = st.text(CHARACTERS, max_size=80) | st.lists(TOKENS, max_size=25).map("".join)
"""Text in which YAML's own characters are frequent."""


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a:\n\tb: 1", "line 2"),
        ("a: 1\na: 2", "duplicate key"),
        ("a: !!python/object/apply:os.system ['true']", "python"),
        ("a: [1", "Not valid YAML"),
        ("- 1\n- 2", "names and values"),
        ("1: a", "text keys"),
        ("", "empty"),
        ("a: *b", "undefined alias"),
        ("&a {x: *a}", "too deeply"),
        ("a: " + "[" * 30 + "]" * 30, "too deeply"),
        ("---\na: 1\n---\nb: 2", "Not valid YAML"),
    ],
)
def test_what_is_no_plain_mapping_is_refused_in_one_line(text: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "x.yaml")
    assert part in str(caught.value)
    assert "x.yaml" in str(caught.value)


def test_aliases_that_stand_for_billions_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(UserError, match="more than 10000 values"):
        parse_yaml("\n".join(lines), "bomb.yaml")


def test_yaml_is_version_1_2() -> None:
    assert parse_yaml("a: yes\nb: 010\nc: 1e-3\nd: 12:30:45\ne: 0o10", "x") == {
        "a": "yes", "b": 10, "c": 0.001, "d": "12:30:45", "e": 8,
    }  # fmt: skip


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: ä".encode("latin-1"))
    (tmp_path / "large.yaml").write_text("a: " + "x" * MAX_BYTES)
    for name, part in (
        ("absent.yaml", "No such file"),
        ("latin.yaml", "not UTF-8"),
        ("large.yaml", "larger than"),
        (".", "directory"),
    ):
        with pytest.raises(UserError, match=part):
            read_yaml(tmp_path / name)


@given(YAMLISH)
def test_no_text_gives_anything_but_a_value_or_a_user_error(text: str) -> None:
    try:
        parse_value(text, "x")
        parse_yaml(text, "x")
    except UserError as error:
        assert "\n" not in str(error)
