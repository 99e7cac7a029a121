"""docs/results: files, tables, reports and page of the studies of real faces belong together."""

from __future__ import annotations

import html
import itertools
import math
import re

import pytest

from benchmarks.faces.chances import chance_of_drawn
from benchmarks.faces.committed import (
    CLEAN,
    EVIDENCE,
    FIRST,
    FOLDER,
    PAGE,
    STUDIES,
    files_of,
    found,
)
from benchmarks.faces.differences import CONFIDENCE, Difference, Ratio
from benchmarks.faces.page import PAGES, filled
from reports.table import read_trials
from tuner.study.spec import thawed

PAGE_OF = {CLEAN: PAGE, FIRST: EVIDENCE}
"""Where a study's digest and first sentence stand."""
each_study = pytest.mark.parametrize("study", STUDIES)


def read_report(study: str) -> str:
    return files_of(study).report.read_text(encoding="utf-8")


@each_study
def test_the_study_file_is_the_one_that_was_frozen_before_the_first_trial(study):
    spec = found(study).spec
    assert spec.confidence == CONFIDENCE
    assert thawed(files_of(study).folder).digest == spec.digest
    assert spec.digest in read_report(study)
    assert spec.digest in PAGE_OF[study].read_text(encoding="utf-8")


@each_study
def test_the_table_holds_every_planned_trial(study):
    spec, trials = found(study).spec, found(study).trials
    for arm in spec.arms:
        assert len(trials.where(stage="census", space=arm.space.name)) == arm.trials
    assert len(trials.where(stage="pilot")) == spec.pilot.trials
    policy = spec.policy
    assert len(trials.where(stage="search")) == 2 * policy.searches * policy.trials
    assert len(trials.where(stage="confirm")) in (2 * spec.confirm.seeds, 3 * spec.confirm.seeds)


@each_study
def test_what_was_run_beside_it_is_what_its_scripts_say(study):
    scripts = {FIRST: ("sides.sh", "copies.sh"), CLEAN: ("clean_sides.sh",)}[study]
    lines = "".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts)
    planned = dict(re.findall(r'^run (\w+) \d+ (?:"\$\w+" )?\w+ (\d+) ', lines + "\n", re.M))
    planned |= dict(re.findall(r"^run (\w+) \d+ \w+ (\d+)$", lines, re.M))
    planned |= {f"shared_{number}": "15" for number in range(1, 6)}
    sides = files_of(study).sides
    assert {name: len(read_trials([sides / f"{name}.csv"])) for name in planned} == {
        name: int(count) for name, count in planned.items()
    }
    assert {file.stem for file in sides.iterdir()} == set(planned)


@each_study
def test_the_committed_tables_give_the_reports_first_sentence(study):
    claim = found(study).answer.claim
    (sentence,) = re.findall(
        r'<p class="claim" id="claim">(.*?)</p>', read_report(study), flags=re.S
    )
    assert html.unescape(sentence).strip() == claim
    assert f"> {claim}\n" in PAGE_OF[study].read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_of_a_page_is_made_from_the_committed_ones(page):
    assert filled(page) == page.read_text(encoding="utf-8")


def test_what_is_not_told_apart_from_nothing_is_not_decided():
    assert Ratio(1.4, 1.03, 1.84).decided
    assert Ratio(0.35, 0.17, 0.66).decided
    assert not Ratio(1.27, 0.93, 1.69).decided
    assert not Ratio(None, 0.0, math.inf).decided
    assert Difference(-0.02, -0.04, -0.003).decided
    assert not Difference(0.004, -0.0025, 0.0106).decided


@each_study
def test_no_image_is_in_the_report(study):
    content = read_report(study)
    content = content[: content.index("<script")]
    assert "<img" not in content
    assert "<image" not in content


def test_drawn_epochs_hold_a_good_one_as_often_as_counting_says():
    for epochs, good, drawn in ((4, 1, 2), (6, 3, 2), (5, 0, 3), (5, 4, 2)):
        draws = list(itertools.combinations(range(epochs), drawn))
        counted = sum(any(epoch < good for epoch in draw) for draw in draws) / len(draws)
        assert chance_of_drawn([good], [drawn], epochs).tolist() == [[pytest.approx(counted)]]
