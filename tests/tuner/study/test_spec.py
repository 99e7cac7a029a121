"""A study's file: what it may say, what it freezes, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.model import UserError
from search_spaces.space import load_space
from tuner.spec import build_spec
from tuner.study.spec import (
    FILE,
    PRESETS,
    RULES,
    StudySpec,
    known_studies,
    load_study,
    thawed,
)

SMALL = """
title: Small
demonstration: true
preset: quick
epochs: 4
margin: 0.05
periodic: {space: periodic_T, trials: 6}
dynamic: {space: dynamic_default, trials: 4}
"""


def written(tmp_path: Path, text: str = SMALL, name: str = "small.yaml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", known_studies())
def test_every_study_that_comes_with_the_product_is_valid(name):
    flags = {} if name == "quick" else {"data": {"source": "/data/fer2013.zip"}}
    spec = load_study(name, flags)
    assert spec.demonstration == (name == "quick")
    assert spec.periodic.trials >= 40
    assert spec.dynamic.trials >= 10


def test_standard_is_the_smallest_design_to_defend():
    spec = load_study("standard", {"data": {"source": "/data/fer2013.zip"}})
    assert (spec.periodic.trials, spec.dynamic.trials) == (100, 20)


def test_the_presets_are_packaged():
    text = Path("pyproject.toml").read_text(encoding="utf-8")
    assert "study/presets/*.yaml" in text
    assert list(PRESETS.glob("*.yaml"))


def test_what_is_frozen_is_read_back_as_it_was(tmp_path):
    spec = load_study(written(tmp_path))
    (tmp_path / FILE).write_text(spec.frozen(), encoding="utf-8")
    assert thawed(tmp_path) == spec


def test_the_digest_is_that_of_all_but_where_it_runs(tmp_path):
    spec = load_study(written(tmp_path))
    path = written(tmp_path)
    here = load_study(path, {"resources": {"concurrency": 2}})
    assert here.digest == spec.digest
    real = "demonstration: true\ndata: {source: %s}\n"
    one, other, third = (
        load_study(written(tmp_path, SMALL.replace("demonstration: true\n", real % source)))
        for source in ("/here/fer2013.zip", "/there/fer2013.zip", "/here/cifar10.zip")
    )
    assert one.digest == other.digest != third.digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("margin: 0.05", "margin: 0.06"),
        ("epochs: 4", "epochs: 5"),
        ("trials: 6", "trials: 7"),
        ("title: Small", "title: Smaller"),
        ("epochs: 4", "epochs: 4\nseed: 1"),
        ("epochs: 4", "epochs: 4\ntarget: 0.3"),
        ("epochs: 4", "epochs: 4\nconfirm: {seeds: 20}"),
        ("space: periodic_T,", "space: periodic_T, range: {T: [1, 1]},"),
    ],
)
def test_every_decision_changes_the_digest(tmp_path, before, after):
    one = load_study(written(tmp_path))
    other = load_study(written(tmp_path, SMALL.replace(before, after)))
    assert one.digest != other.digest


def test_an_arm_may_hold_and_narrow_knobs(tmp_path):
    text = SMALL.replace(
        "{space: periodic_T, trials: 6}",
        "{space: periodic, name: early, set: {position: bn2}, range: {T: [1, 2]}, trials: 6}",
    )
    space = load_study(written(tmp_path, text)).periodic.space
    assert space.name == "early"
    assert list(space.knobs) == ["T"]
    assert (space.knobs["T"].low, space.knobs["T"].high) == (1, 2)
    assert space.fixed["position"] == "bn2"


WRONG = [
    ("margin: 0.05", "", "margin is required"),
    ("margin: 0.05", "margin: 0", "margin must be a number greater than 0"),
    ("demonstration: true\n", "", "data must name real images"),
    ("{space: dynamic_default, trials: 4}", "{space: dynamic}", "only the seed varies"),
    ("space: periodic_T,", "space: baseline,", "periodic must have a knob to tune"),
    ("epochs: 4", "epochs: 4\nothers: [periodic_T]", "periodic_T is there twice"),
    ("epochs: 4", "epochs: 4\nothers: [baselin]", "Did you mean 'baseline'"),
    ("epochs: 4", "epochs: 4\ncensus: {seeds: 4}", "multiple of the census's 4 seeds"),
    ("epochs: 4", "epochs: 4\ncensus: {seeds: 1}", "fresh or a whole number"),
    ("epochs: 4", "epochs: 4\npilot: {trials: 9}", "of at least 10|from 10"),
    ("epochs: 4", "epochs: 4\nconfirm: {seeds: 17}", "from 18"),
    ("epochs: 4", "epochs: 4\npolicy: {searches: 2}", "from 3"),
    ("epochs: 4", "epochs: 4\nconfirm: {budget: 7}", "at most the 6 periodic trials"),
    ("epochs: 4", "epochs: 4\ncentre: {t: 2}", "centre must name T"),
    ("epochs: 4", "epochs: 4\ncentre: {T: 3}", "T of centre must be a whole number from 1 to 2"),
    ("epochs: 4", "epochs: 4\ncentre: {T: x}", "T of centre must be .* but got 'x'"),
    ("epochs: 4", "epochs: 4\ncentre: {T: 1.5}", r"T of centre must be .* but got 1\.5"),
    ("epochs: 4", "epochs: 4\ncentre: {T: true}", "T of centre must be .* but got true"),
    ("epochs: 4", "epochs: 4\nothers: baseline", r"list of arms, such as \[baseline\]"),
    ("epochs: 4", "epochs: 4\nbudget: {trials: 9}", r"no budget: .* policy\.trials"),
    ("epochs: 4", "epochs: 4\nscheduler: {name: none}", "put it under policy"),
    ("epochs: 4", "epochs: 4\npresett: quick", "Did you mean 'preset'"),
    ("epochs: 4", "epochs: 4\nspace: periodic_T", "Unknown field 'space'"),
    ("epochs: 4", "epochs: 4\nbudget: 1\nscheduler: 1", "A study has no budget"),
    (
        "epochs: 4",
        "epochs: 4\npolicy: {schedular: 1}",
        "Unknown policy field 'schedular'. Did you mean",
    ),
    ("epochs: 4", "epochs: 4\nmargins: 0.1", "Did you mean 'margin'"),
    ("preset: quick", "preset: quik", "Did you mean 'quick'"),
    ("space: periodic_T,", "space: periodic_T, set: [T],", "set must be names and values"),
    ("space: periodic_T,", "space: periodic_T, range: {T: 2},", r"must be \[low, high\]"),
    ("space: periodic_T,", "space: periodic_T, range: {T: [1, 9]},", "must stay within 1:2"),
    ("space: periodic_T,", "space: periodic_T, sets: {T: 2},", "Unknown periodic field 'sets'"),
    ("periodic: {space: periodic_T, trials: 6}", "periodic: 3", "names and values"),
    ("margin: 0.05", "margin: 0.05\nmargin: 0.05", "margin"),
]


@pytest.mark.parametrize(("before", "after", "said"), WRONG)
def test_a_mistake_is_told_in_one_line_that_names_the_file(tmp_path, before, after, said):
    assert before in SMALL
    with pytest.raises(UserError, match=said) as caught:
        load_study(written(tmp_path, SMALL.replace(before, after)))
    assert "\n" not in str(caught.value)
    assert "small.yaml" in str(caught.value)


def test_a_flags_mistake_names_the_flag_and_a_products_study_its_name():
    with pytest.raises(UserError, match=r"but got 0 \(--epochs\)\.$"):
        load_study("quick", {"epochs": 0})
    with pytest.raises(UserError, match=r"data must name real images .* \(study standard\)\.$"):
        load_study("standard")


def test_a_file_of_another_kind_is_told_what_it_goes_with(tmp_path):
    space = "summary: x\nfixed: {method: periodic}\nknobs: {T: {kind: int, low: 1, high: 2}}\n"
    with pytest.raises(UserError, match=r"tuner run --space .*s\.yaml$"):
        load_study(written(tmp_path, space, "s.yaml"))
    with pytest.raises(UserError, match=r"tuner run --config .*run\.yaml$"):
        load_study(written(tmp_path, "space: periodic_T\nepochs: 3\n", "run.yaml"))
    with pytest.raises(UserError, match=r"tuner study .*small\.yaml$"):
        load_space(written(tmp_path))
    with pytest.raises(UserError, match=r"tuner study .*small\.yaml$"):
        build_spec("quick", Path(written(tmp_path)), {}, {}, {})


def test_searches_judge_as_runs_do_and_replay_by_the_nearest_unless_the_file_says_otherwise(
    tmp_path,
):
    policy = load_study(written(tmp_path, SMALL + "policy: {trials: 3}\n")).policy
    assert (policy.scheduler.before_injection, policy.nearest) == ("auto", True)
    text = SMALL + "policy: {nearest: false, scheduler: {before_injection: false}}\n"
    policy = load_study(written(tmp_path, text)).policy
    assert (policy.scheduler.before_injection, policy.nearest) == (False, False)


def test_an_unknown_study_is_guessed():
    with pytest.raises(UserError, match="Did you mean 'quick'"):
        load_study("quik")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read .*none\.yaml"):
        load_study(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held["study"].update(margin=0.2), "changed after it was frozen"),
        (lambda held: held.update(digest="0"), "changed after it was frozen"),
        (lambda held: held["rules"].update(match="score > target"), "under other rules"),
        (lambda held: held.pop("rules"), "must hold digest, rules and study"),
        (lambda held: held.update(study=[]), "study must be names and values"),
        (lambda held: held["study"].pop("periodic"), "periodic is required"),
    ],
)
def test_a_frozen_file_that_was_changed_is_refused(tmp_path, change, said):
    held = json.loads(load_study(written(tmp_path)).frozen())
    change(held)
    (tmp_path / FILE).write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        thawed(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff"])
def test_what_is_no_frozen_file_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=FILE):
        thawed(tmp_path)


def test_what_every_study_fixes_is_part_of_its_digest(tmp_path, monkeypatch):
    spec = load_study(written(tmp_path))
    digest = spec.digest
    monkeypatch.setitem(RULES, "match", "score > target")
    assert spec.digest != digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.floats(-1, 2) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(list(StudySpec.model_fields)), JSON, max_size=4))
def test_no_value_of_any_field_gives_a_traceback(tmp_path_factory, values: dict[str, Any]):
    path = tmp_path_factory.mktemp("any") / "any.yaml"
    base = {"title": "x", "demonstration": True, "margin": 0.1, "epochs": 4,
            "periodic": "periodic_T", "dynamic": "dynamic_default"}  # fmt: skip
    path.write_text(json.dumps({**base, **values}), encoding="utf-8")
    try:
        load_study(str(path))
    except UserError as error:
        assert "\n" not in str(error)
