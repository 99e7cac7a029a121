"""docs/results: study file, tables, report and page of the study of real faces belong together."""

from __future__ import annotations

import html
import re

import pytest

from benchmarks.faces import FOLDER, PAGE, SIDES, filled, found
from reports.table import read_trials
from tuner.study.spec import thawed


@pytest.fixture(scope="module")
def spec():
    return found().spec


@pytest.fixture(scope="module")
def trials():
    return found().trials


@pytest.fixture(scope="module")
def report() -> str:
    return (FOLDER / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_study_file_is_the_one_that_was_frozen_before_the_first_trial(spec, report, page):
    assert thawed(FOLDER).digest == spec.digest
    assert spec.digest in report
    assert spec.digest in page


def test_the_table_holds_every_planned_trial(spec, trials):
    for arm in spec.arms:
        assert len(trials.where(stage="census", space=arm.space.name)) == arm.trials
    assert len(trials.where(stage="pilot")) == spec.pilot.trials
    policy = spec.policy
    assert len(trials.where(stage="search")) == 2 * policy.searches * policy.trials
    assert len(trials.where(stage="confirm")) in (2 * spec.confirm.seeds, 3 * spec.confirm.seeds)


def test_what_was_run_beside_it_is_what_its_scripts_say():
    script = (FOLDER / "sides.sh").read_text(encoding="utf-8")
    planned = dict(re.findall(r'^run (\w+) \d+ "\$\w+" \w+ (\d+) ', script, re.M))
    planned |= {f"shared_{number}": "15" for number in range(1, 6)}
    assert len(planned) == 11
    later = (FOLDER / "copies.sh").read_text(encoding="utf-8")
    planned |= dict(re.findall(r"^run (\w+) \d+ \w+ (\d+)", later, re.M))
    assert len(planned) == 15
    for name, count in planned.items():
        assert len(read_trials([SIDES / f"{name}.csv"])) == int(count), name


def test_the_committed_tables_give_the_reports_first_sentence(report, page):
    answer = found().answer
    (sentence,) = re.findall(r'<p class="claim" id="claim">(.*?)</p>', report, flags=re.S)
    assert html.unescape(sentence).strip() == answer.claim
    assert f"> {answer.claim}\n" in page


def test_every_number_of_the_page_is_made_from_the_committed_tables(page):
    assert filled(page) == page


def test_no_image_is_in_the_report(report):
    content = report[: report.index("<script")]
    assert "<img" not in content
    assert "<image" not in content
