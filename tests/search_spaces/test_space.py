"""Search spaces: those that come with the product, those of users, and what may be done to them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from search_spaces.model import UserError
from search_spaces.space import Space, known_spaces, load_space
from tests.search_spaces.test_yaml_file import YAMLISH

CONDITIONAL = {
    "summary": "s",
    "fixed": {"method": "none"},
    "knobs": {
        "dropout_kind": {"kind": "choice", "values": ["element", "channel"], "source": "s"},
        "dropout_rate": {
            "kind": "float", "low": 0.1, "high": 0.4, "source": "s",
            "when": {"dropout_kind": ["element"]},
        },
    },
}  # fmt: skip

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["int", "float", "choice", "epochs", "epochs/2", "T", "periodic", "bn1", 1, 0]),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(["T", "position", "Constant", "method", "kind", "low", "high", "log", "when",
                     "values", "source", "grid", "depth", "seed"]),
    st.text(max_size=6),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)
)
KNOBS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["int", "float", "choice", "in"]), "source": st.just("s")},
    optional=dict.fromkeys(("low", "high", "log", "grid", "when", "values"), VALUES),
)
SPACES = st.fixed_dictionaries(
    {"summary": st.just("s")},
    optional={
        "fixed": st.dictionaries(NAMES, VALUES, max_size=3) | VALUES,
        "knobs": st.dictionaries(NAMES, KNOBS | VALUES, max_size=3) | VALUES,
        "name": VALUES,
    },
)
"""Mappings that look like a space, each part of which may be anything."""


def space_of(folder: Path, values: dict[str, Any], name: str = "own.yaml") -> Space:
    path = folder / name
    YAML().dump(values, path)
    return load_space(str(path))


@pytest.mark.parametrize("name", known_spaces())
@pytest.mark.parametrize("epochs", [2, 12, 60, 100_000])
def test_every_range_of_a_shipped_space_is_cited_and_not_empty(name: str, epochs: int) -> None:
    space = load_space(name)
    assert space.name == name
    for knob in space.resolved(epochs).knobs.values():
        assert knob.source
        assert knob.kind == "choice" or knob.low <= knob.high


def test_a_share_of_the_epochs_is_rounded_down_but_at_least_one() -> None:
    knobs = load_space("periodic_T")
    bounds = {epochs: knobs.resolved(epochs).knobs["T"].high for epochs in (1, 3, 12, 60)}
    assert bounds == {1: 1, 3: 1, 12: 6, 60: 30}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"knobs": {"T": {"kind": "in", "source": "s"}}}, "must be of kind 'int', 'float'"),
        ({"knobs": {"T": {"source": "s"}}}, "knobs.T must say its 'kind'"),
        ({"knobs": {"T": {"kind": "int", "low": 1, "source": "s"}}}, "knobs.T.high is required"),
        ({"knobs": {"T": {"kind": "int", "low": 5, "high": 2, "source": "s"}}}, "at most high"),
        ({"knobs": {"T": {"kind": "int", "low": 1.5, "high": 2, "source": "s"}}},
         "knobs.T.low must be a whole number, or a share such as epochs/2, but got 1.5"),
        ({"knobs": {"T": {"kind": "int", "low": 0, "high": "epochs", "log": True, "source": "s"}}},
         "greater than 0 on a log scale"),
        ({"knobs": {"T": {"kind": "int", "low": 1, "high": "epochs/0", "source": "s"}}},
         "knobs.T.high must be"),
        ({"knobs": {"p": {"kind": "choice", "values": [], "source": "s"}}}, "must not be empty"),
        ({"knobs": {"p": {"kind": "choice", "values": [1, 1], "source": "s"}}}, "must differ"),
        ({"name": "other"}, "must equal the file's name"),
        ({"fxied": {}}, "Did you mean 'fixed'"),
        ({"fixed": {"dropout_rate": 0.1}}, "both fixed and a knob"),
    ],
)  # fmt: skip
def test_a_users_space_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], part: str
) -> None:
    with pytest.raises(UserError) as caught:
        space_of(tmp_path, {**CONDITIONAL, **change})
    assert part in str(caught.value)


def test_unknown_spaces_are_guessed_and_absent_files_told() -> None:
    with pytest.raises(UserError, match="Did you mean 'periodic_T'"):
        load_space("periodc_T")
    with pytest.raises(UserError, match=r"Cannot read none\.yaml"):
        load_space("./none.yaml")


def test_a_conditional_knob_is_active_only_with_its_condition(tmp_path: Path) -> None:
    space = space_of(tmp_path, CONDITIONAL)
    assert space.active({"dropout_kind": "element"}) == ["dropout_kind", "dropout_rate"]
    assert space.active({"dropout_kind": "channel"}) == ["dropout_kind"]


def test_holding_a_knob_removes_it_and_what_then_never_or_always_acts(tmp_path: Path) -> None:
    space = space_of(tmp_path, CONDITIONAL)
    held = space.with_fixed("dropout_kind", "element")
    assert list(held.knobs) == ["dropout_rate"]
    assert not held.knobs["dropout_rate"].when
    with pytest.raises(UserError, match="dropout_rate is only active when dropout_kind"):
        space.with_fixed("dropout_kind", "channel")


@pytest.mark.parametrize(
    ("low", "high", "part"),
    [
        ("2", "7", "T must stay within 1:6, its range in the space, but got 2:7"),
        ("0", "3", "within 1:6"),
        ("4", "3", "low must be at most high"),
        ("a", "3", "low of T must be a whole number"),
        ("2.5", "3", "low of T must be a whole number"),
        ("nan", "inf", "low of T"),
        ("2", "epochs", "within 1:6"),
    ],
)
def test_a_range_is_only_narrowed(low: str, high: str, part: str) -> None:
    with pytest.raises(UserError, match=part):
        load_space("periodic_T").with_range("T", low, high, epochs=12)


def test_a_narrowed_range_keeps_the_rest_of_the_knob() -> None:
    knob = load_space("periodic_T").with_range("T", "2", "epochs/3", epochs=12).knobs["T"]
    assert (knob.low, knob.high) == (2, "epochs/3")
    assert knob.source == load_space("periodic_T").knobs["T"].source


def test_a_choice_has_no_range() -> None:
    with pytest.raises(UserError, match="position is a choice"):
        load_space("periodic").with_range("position", "0", "1", epochs=12)


@given(values=SPACES, epochs=st.integers(1, 100))
def test_no_mapping_gives_anything_but_a_space_or_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], epochs: int
) -> None:
    text = io.StringIO()
    try:
        YAML(typ="safe", pure=True).dump(values, text)
    except Exception:  # a text that the writer cannot write back
        return
    no_traceback(tmp_path_factory, text.getvalue(), epochs)


@given(YAMLISH)
def test_no_text_gives_anything_but_a_space_or_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    no_traceback(tmp_path_factory, text, 12)


def no_traceback(factory: pytest.TempPathFactory, text: str, epochs: int) -> None:
    path = factory.getbasetemp() / "own.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        space = load_space(str(path)).resolved(epochs)
        space.with_fixed("T", 3).with_range("dropout_rate", "0.1", "0.2", epochs)
    except UserError as error:
        assert "\n" not in str(error)
