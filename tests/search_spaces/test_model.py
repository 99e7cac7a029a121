"""How a mistake in a model is told."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from search_spaces.model import Model, Section, UserError, did_you_mean, rule, shown, validated


class Inner(Section):
    count: int = Field(1, ge=1)
    share: float = Field(0.5, gt=0, lt=1)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    label: str = Field("x", min_length=1)
    several: tuple[int, ...] = Field((1,), strict=False)


class Outer(Model):
    inner: Inner = Inner()
    required: Inner | int = 3


def told(values: dict[str, object], where: str = "file x") -> str:
    with pytest.raises(UserError) as caught:
        validated(Outer, values, where)
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("count", 0, "inner.count must be a whole number of at least 1, but got 0"),
        ("count", 2.5, "inner.count must be a whole number of at least 1, but got 2.5"),
        ("count", True, "inner.count must be a whole number of at least 1, but got true"),
        ("count", "3", "inner.count must be a whole number of at least 1, but got '3'"),
        ("share", 1, "inner.share must be a number greater than 0 and less than 1, but got 1"),
        ("share", float("nan"), "inner.share must be a number greater than 0 and less than 1, but"
         " got nan"),
        ("kind", "c", "inner.kind must be one of a, b, but got 'c'"),
        ("flag", 1, "inner.flag must be true or false, but got 1"),
        ("label", 1, "inner.label must be text, but got 1"),
        ("label", "", "inner.label must not be empty"),
        ("several", 1, "inner.several must be a list, but got 1"),
        ("cuont", 1, "Unknown inner field 'cuont'. Did you mean 'count'? Known: count, flag, kind,"
         " label, several, share"),
    ],
)  # fmt: skip
def test_each_mistake_names_field_rule_value_and_place(
    field: str, value: object, sentence: str
) -> None:
    assert told({"inner": {field: value}}) == f"{sentence} (file x)."


def test_what_is_known_is_told_once() -> None:
    line = told({"inner": {"x1": 1, "x2": 2}})
    assert line.startswith("Unknown inner field 'x1'; Unknown inner field 'x2'. Known: count,")
    assert line.count("Known:") == 1


def test_a_section_that_is_no_mapping_is_told() -> None:
    assert told({"inner": 3}) == "inner must be names and values, but got 3 (file x)."


def test_several_mistakes_share_one_line_up_to_a_limit() -> None:
    wrong = {"count": 0, "share": 0, "kind": 0, "flag": 0, "label": 0, "several": 0}
    line = told({"inner": wrong})
    assert line.count(" must ") == 4
    assert line.endswith("(file x); and 2 more.")


def test_a_place_function_chooses_name_and_place_for_each_field() -> None:
    with pytest.raises(UserError, match=r"^count must .* got 0 \(--count\)\.$"):
        validated(Outer, {"inner": {"count": 0}}, lambda path: (path[-1], f"--{path[-1]}"))


def test_a_user_error_is_one_line_whatever_the_value() -> None:
    assert "\n" not in str(UserError("a\nb\r\nc\u2028d"))


def test_shown_is_short_for_huge_and_recursive_values() -> None:
    recursive: list[object] = []
    recursive.append(recursive)
    huge: object = "x"
    for _ in range(50):
        huge = [huge] * 50
    for value in (recursive, huge, "y" * 10_000, 10**3000, {"k": huge}):
        assert len(shown(value)) <= 80


def test_unknown_names_get_the_closest_guess_or_none() -> None:
    assert "Did you mean 'asha'?" in did_you_mean("scheduler", "ahsa", ["asha", "median"])
    assert "Did you mean" not in did_you_mean("scheduler", "zzz", ["asha", "median"])


def test_a_described_member_of_a_union_is_told_by_its_description() -> None:
    share = Annotated[str, Field(pattern="^epochs$", description="the word epochs")]
    assert rule(int | share) == "a whole number, or the word epochs"  # type: ignore[operator]
