"""The example under docs/example: its study file, table and report belong together."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from reports.answer import compare
from reports.table import read_trials
from tuner.study.spec import load_study, thawed

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "example"


@pytest.fixture(scope="module")
def spec():
    return load_study(str(FOLDER / "fer2013_slim.yaml"))


@pytest.fixture(scope="module")
def page() -> str:
    return (FOLDER / "report.html").read_text(encoding="utf-8")


def test_the_study_file_is_the_one_that_was_frozen_before_the_first_trial(spec, page):
    assert thawed(FOLDER).digest == spec.digest
    assert spec.digest in page
    assert spec.digest in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_committed_table_gives_the_reports_first_sentence(spec, page):
    answer = compare(
        read_trials([FOLDER / "trials.csv"]),
        periodic=spec.periodic.space.name,
        dynamic=spec.dynamic.space.name,
        margin=spec.margin,
        confidence=spec.confidence,
    )
    (sentence,) = re.findall(r'<p class="claim" id="claim">(.*?)</p>', page, flags=re.S)
    assert html.unescape(sentence).strip() == answer.claim
    assert answer.claim in (FOLDER / "README.md").read_text(encoding="utf-8").replace("\n> ", " ")


def test_the_table_holds_every_planned_trial(spec):
    trials = read_trials([FOLDER / "trials.csv"])
    for arm in spec.arms:
        assert len(trials.where(stage="census", space=arm.space.name)) == arm.trials
    assert len(trials.where(stage="pilot")) == spec.pilot.trials
    policy = spec.policy
    assert len(trials.where(stage="search")) == 2 * policy.searches * policy.trials
    assert len(trials.where(stage="confirm")) in (2 * spec.confirm.seeds, 3 * spec.confirm.seeds)


def test_no_image_is_in_the_report(page):
    content = page[: page.index("<script")]
    assert "<img" not in content
    assert "<image" not in content
