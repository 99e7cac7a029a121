"""A study's report: at every moment of it, with no stage leaking into what is about another."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reports.figures.runs import read_runs
from reports.page import page
from reports.paper import all_figures, document
from reports.sections.contents import Contents, contents
from reports.sources import sources
from reports.study import settled
from tests.reports.made_records import Ending
from tests.reports.made_studies import STAGES, make_study
from tuner.cli import cli
from tuner.study.stages import StudyRun

CRASH = Ending("crashed", 0, "Traceback\nRuntimeError: no memory")


def made(folder: Path, **flags: Any) -> Contents:
    """Return the contents of a study's report."""
    found = sources([folder])
    assert found.study is not None
    trials = found.trials()
    asked = settled(found.study, trials, **flags)
    return contents(read_runs(found.folders), trials, asked, (), found.study)


def command(*arguments: object) -> Result:
    """Run `tuner` in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a complete study, in whose searches a trial was pruned."""

    def endings(run: StudyRun) -> list[Ending]:
        return [Ending("pruned", 3)] if run.stage == "search" else []

    return make_study(tmp_path_factory.mktemp("studies") / "s", endings=endings)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Contents:
    """Return the contents of its report."""
    return made(folder)


@pytest.mark.parametrize("until", ["frozen", *STAGES])
def test_a_report_works_at_any_moment_and_says_how_far_the_study_has_come(
    tmp_path: Path, until: str
) -> None:
    found = made(make_study(tmp_path / "s", until))
    text = page(found, bundle=False)
    assert found.verdict.sentence.startswith("Demonstration: ")
    assert "Stages of the study" in text
    assert found.study is not None
    states = {row[1]: row[4] for row in found.study.stages.rows}
    begun = ["frozen", *STAGES].index(until)
    for run, stage in (
        ("pilot-dynamic_default", 1), ("census-baseline", 2), ("search-periodic_T-3", 3),
        ("replay-periodic_T", 4), ("confirm-dynamic_default", 5),
    ):  # fmt: skip
        assert states[run] == ("finished" if begun >= stage else "not begun")
    complete = until == "confirm"
    assert bool(found.verdict.alarms) != complete
    assert ('id="alarms"' in text) != complete
    assert (found.verdict.answer is None) == (begun < 2)


def test_alarms_stand_before_the_navigation_and_what_keeps_the_sentence_honest_under_it(
    tmp_path: Path,
) -> None:
    text = page(made(make_study(tmp_path / "s", "census")), bundle=False)
    order = ['id="claim"', 'id="alarms"', 'id="beneath"', "<nav"]
    places = [text.index(one) for one in order]
    assert places == sorted(places)


def test_what_is_about_the_census_holds_its_trials_only(whole: Contents) -> None:
    figures = {one.name: one for one in all_figures(whole)}
    drawn = {row[0].partition(" #")[0] for row in figures["knob-periodic-T-T"].table.rows}
    assert drawn == {"census-periodic_T"}
    counts = {(row.arm, row.quantity): row.trials for row in whole.paper.rows}
    assert counts["periodic", "validation macro-F1"] == 30
    assert counts["dynamic", "validation macro-F1"] == 12
    assert whole.paper.unfinished == 0  # the pruned ones are the searches'
    learning = next(one for one in whole.figures["learning"] if "periodic" in one.message)
    assert "30 periodic trials" in learning.message
    basins = {row[0]: row[5] for row in whole.basins.rows}
    assert basins == {"dynamic_default": 12, "periodic_T": 30, "baseline": 4}
    selected = figures["selected-test"].table.rows
    assert max(row[1] for row in selected if row[0] == "periodic_T") == 30


def test_searches_are_the_search_runs_only(whole: Contents) -> None:
    figures = {one.name: one for one in whole.figures["searches"]}
    drawn = {row[0] for row in figures["best-so-far"].table.rows}
    names = {f"search-{s}-{i}" for s in ("periodic_T", "dynamic_default") for i in (1, 2, 3)}
    assert drawn == names
    assert {name for name, _ in whole.by_run} == names
    assert "of 3 searches matched" in figures["time-to-target"].message


def test_confirm_trials_decide_about_quality_and_are_told_one_by_one(whole: Contents) -> None:
    answer = whole.verdict.answer
    assert answer is not None
    assert answer.equivalence is not None
    assert answer.equivalence.margin == 0.03
    assert (answer.arms.periodic.trials, answer.arms.dynamic.trials) == (30, 12)
    rows = whole.confirmed.rows
    assert rows[0][:4] == ("dynamic_default", "at its default", "–", 18)
    assert rows[1][:2] == ("periodic_T", "tuned by the whole census (30 trials)")
    assert str(rows[1][2]).startswith("T=")
    assert max(float(row[10]) for row in rows[1:]) == pytest.approx(
        answer.equivalence.non_inferior_p, rel=1e-2
    )


def test_what_it_froze_and_what_its_runs_share_stand_under_provenance(whole: Contents) -> None:
    assert whole.study is not None
    frozen = dict(whole.study.frozen)
    assert frozen["Margin on test"] == "0.03 macro-F1"
    assert frozen["Trials of the census"] == "periodic_T 30, dynamic_default 12, baseline 4"
    assert dict(whole.study.rules)["match"] == "score >= target, ties included"
    assert whole.study.checks[0].endswith("runs carry the digest of this study.")
    assert whole.study.checks[1] == f"All runs share one fingerprint of the data: {'f' * 64}."
    text = page(whole, bundle=False)
    assert whole.study.digest in text
    assert "The study (a demonstration)" in text


def test_what_a_search_costs_is_told_with_ratios_and_the_real_searches(
    whole: Contents, folder: Path
) -> None:
    policy = whole.policy
    assert policy is not None
    replay = json.loads((folder / "replay-periodic_T.json").read_text())["combinations"][0]
    side = next(row for row in policy.sides.rows if row[:2] == ("periodic_T", "epochs"))
    assert side[2:4] == (40, replay["success"]["estimate"])
    assert (side[5], side[7]) == (
        replay["epochs"]["median"]["estimate"], replay["epochs"]["ert"]["estimate"]
    )  # fmt: skip
    other = json.loads((folder / "replay-dynamic_default.json").read_text())["combinations"][0]
    ratio = next(row for row in policy.ratios.rows if row[:2] == ("epochs", "expected costs (ERT)"))
    assert ratio[2] == pytest.approx(
        replay["epochs"]["ert"]["estimate"] / other["epochs"]["ert"]["estimate"]
    )
    assert len(policy.searches.rows) == 6
    assert {row[-1] for row in policy.searches.rows} <= {True, False}
    outside = [str(row[0]) for row in policy.searches.rows if row[-1] is False]
    assert all(any(name in text for text in policy.warnings) for name in outside)
    assert whole.figures["policy"][0].name == "search-costs"
    assert "What a search really costs" in page(whole, bundle=False)


def test_without_replays_the_real_searches_stand_alone(tmp_path: Path) -> None:
    found = made(make_study(tmp_path / "s", "search"))
    assert found.policy is not None
    assert found.policy.figure is None
    assert "Searches of periodic_T were not replayed." in found.policy.warnings
    assert {row[6] for row in found.policy.searches.rows} == {"not replayed"}


def test_too_few_real_searches_are_told(tmp_path: Path) -> None:
    def endings(run: StudyRun) -> list[Ending]:
        return [CRASH] * 6 if run.name == "search-periodic_T-1" else []

    folder = make_study(tmp_path / "s", "search", endings=endings)
    for name in ("search-dynamic_default-2", "search-dynamic_default-3"):
        for file in (folder / name).iterdir():
            file.unlink()
    found = made(folder)
    assert found.policy is not None
    assert any(
        text.startswith("1 real search of dynamic_default ended; at least 3 are wanted")
        for text in found.policy.warnings
    )
    outcomes = {row[0]: row[2] for row in found.policy.searches.rows}
    assert outcomes["search-periodic_T-1"] == "censored at its budget"


def test_where_all_trials_of_the_census_failed_it_says_so(tmp_path: Path) -> None:
    def endings(run: StudyRun) -> list[Ending]:
        return [CRASH] * 40 if run.stage == "census" else []

    found = made(make_study(tmp_path / "s", "search", endings=endings))
    assert found.verdict.sentence.startswith(
        "Demonstration: All 46 trials failed; the last one with: RuntimeError: no memory."
    )
    assert "Nothing can be said about savings" in found.verdict.sentence
    page(found, bundle=False)


def test_a_blocked_census_is_called_clustered(tmp_path: Path) -> None:
    found = made(make_study(tmp_path / "s", "census", census={"seeds": 5}))
    beneath = dict(found.verdict.beneath)
    assert "share 5 seeds: rows of one seed are a cluster" in beneath["Clusters"]
    assert found.study is not None
    seeds = dict(found.study.frozen)["Seeds of the census"]
    assert seeds == "5 for all configurations: rows of one seed are a cluster"


def test_another_pair_of_arms_is_exploratory_and_says_so_first(folder: Path) -> None:
    found = made(folder, periodic="baseline")
    assert found.verdict.sentence.startswith(
        "Demonstration: Exploratory, not the study's frozen comparison: "
    )
    assert found.verdict.alarms[0].endswith("it is exploratory.")
    assert dict(found.verdict.beneath)["Target"].endswith("(median of 10 pilot trials)")


def test_a_frozen_centre_is_where_the_space_is_shrunk(tmp_path: Path) -> None:
    found = made(make_study(tmp_path / "s", "census", centre={"T": 3}))
    figure = next(one for one in found.figures["verdict"] if one.name == "space-ablation")
    assert "around the values fixed beforehand (T = 3)" in figure.message
    assert not any("flatter" in note for note in figure.notes)


@pytest.mark.parametrize("format", ["markdown", "latex"])
def test_documents_hold_the_stages_and_the_costs_of_searches(whole: Contents, format: str) -> None:
    text = document(whole, format, 0.95)
    assert "Stages of the study" in text
    assert "Confirmed on fresh seeds" in text
    assert "search-costs" in text
    assert "Demonstration: " in text


def test_report_and_compare_take_a_study_by_its_name(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "r.html"
    told = command("report", folder.name, "--runs", folder.parent, "-o", output)
    assert told.exit_code == 0, told.output
    claim = re.search(r'id="claim">([^<]*)<', output.read_text(encoding="utf-8"))
    assert claim is not None
    compared = command("compare", folder.name, "--runs", folder.parent, "--format", "json")
    assert compared.exit_code == 0, compared.output
    answer = json.loads(compared.stdout)
    assert html.unescape(claim[1]) == answer["claim"] == told.stdout.strip()
    assert answer["target"]["source"] == "median of 10 pilot trials"
    assert answer["equivalence"]["margin"] == 0.03


def test_compare_puts_what_is_missing_before_the_other_warnings(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", "census")
    told = command("compare", folder, "--dynamic", "baseline", "--format", "json")
    assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert answer["claim"].startswith("Demonstration: Exploratory, ")
    assert "it is exploratory" in answer["warnings"][0]
    assert answer["warnings"][1].startswith("The study is not complete")


@pytest.mark.parametrize("name", ["report", "compare"])
@pytest.mark.parametrize(
    ("until", "arguments", "message"),
    [
        ("census", ["--margin", 0.1], "--margin 0.1 contradicts the study, whose margin is 0.03"),
        ("census", ["--target", 0.3], "--target 0.3 contradicts the study, whose target is the"),
        ("census", ["--confidence", 0.9], "--confidence 0.9 contradicts the study"),
        ("census", ["--periodic", "periodc_T"], "Unknown space 'periodc_T'. Did you mean"),
        ("census", ["{0}/census-baseline"], "A study stands alone"),
    ],
)
def test_mistakes_about_a_study_are_told_in_one_line(
    tmp_path: Path, name: str, until: str, arguments: list[object], message: str
) -> None:
    folder = make_study(tmp_path / "s", until)
    given = [str(argument).format(folder) for argument in arguments]
    told = command(name, folder, *given)
    assert told.exit_code == 2
    assert told.stderr.startswith(message)
    assert told.stderr.count("\n") == 1


def test_a_misspelt_study_is_told_which_there_are(folder: Path) -> None:
    told = command("compare", "t", "--runs", folder.parent)
    assert (told.exit_code, told.stderr.count("\n")) == (2, 1)
    assert told.stderr.startswith("Unknown run or study 't'.")


def test_compare_says_what_a_study_has_not_got_yet(tmp_path: Path) -> None:
    told = command("compare", make_study(tmp_path / "s", "pilot"))
    assert told.exit_code == 2
    assert "periodic_T has no trials; go on with the study" in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_study_changed_by_hand_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", "frozen")
    path = folder / "study.json"
    path.write_text(path.read_text().replace('"confidence": 0.95', '"confidence": 0.5'))
    for name in ("report", "compare"):
        told = command(name, folder)
        assert told.exit_code == 2
        assert "was changed after it was frozen" in told.stderr
        assert told.stderr.count("\n") == 1
