"""The page's sections that are no figures: verdict, provenance, Table 1, trials, failures."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.figures.runs import read_runs
from reports.sections.contents import contents
from reports.sections.paper_table import PAPER, median_interval, paper_table, results, tabled
from reports.sections.provenance import differences, facts, overview, reading
from reports.sections.trials import curve_data, failures, thumbnail
from reports.sections.verdict import Asked, verdict
from reports.table import read_trials
from search_spaces.model import UserError
from search_spaces.space import Space
from search_spaces.yaml_file import parse_yaml
from tests.reports.made_records import CENSUS, Ending, make_record
from tests.reports.made_tables import DYNAMIC, PERIODIC, joined, made
from tests.reports.made_trials import made_curve, made_run, made_trial


def test_the_papers_figures_are_those_of_its_table_1() -> None:
    assert PAPER == {
        "baseline": (41.24, 0.34),
        "dropout": (54.99, 0.32),
        "periodic": (37.56, 0.38),
        "dynamic": (36.91, 0.39),
    }


def test_table_1_has_best_median_and_count_of_fully_trained_trials() -> None:
    trials = [
        made_trial(0, made_curve([0.1, 0.3], loss=[2.0, 1.0])),
        made_trial(1, made_curve([0.2, 0.1], loss=[1.8, 0.5])),
        made_trial(2, made_curve([0.9]), state="pruned"),
    ]
    found = paper_table(results([made_run(trials)]), ["fer2013.zip"])
    assert (found.unfinished, found.same_data) == (1, False)
    loss, validation, test = found.rows
    assert (loss.best, loss.median, loss.trials, loss.paper) == (1.0, 1.4, 2, 37.56)
    assert (validation.best, validation.median, validation.paper) == (0.3, 0.25, 0.38)
    assert (test.best, test.paper) == (pytest.approx(0.29), None)
    assert (validation.low, validation.high) == (None, None)


def test_a_paper_figure_is_of_the_same_data_only_where_all_runs_used_it() -> None:
    trials = results([made_run([made_trial(0, arm="baseline")], space="baseline")])
    assert paper_table(trials, ["/data/AffectNet"]).same_data
    assert not paper_table(trials, ["/data/AffectNet", "synthetic"]).same_data
    assert not paper_table(trials, []).same_data


@pytest.mark.parametrize("n", range(1, 13))
def test_the_medians_interval_covers_at_95_percent_and_no_narrower_one_does(n: int) -> None:
    """Oracle: all 2ⁿ ways in which n values lie below or above the median."""
    low, high = median_interval(range(1, n + 1), 0.95)
    below = [sum(signs) for signs in itertools.product((0, 1), repeat=n)]

    def coverage(rank: int) -> float:
        """Of the interval from the rank-th smallest to the rank-th largest value."""
        return sum(rank <= count <= n - rank for count in below) / 2**n

    if low is None or high is None:
        assert coverage(1) < 0.95
        return
    rank = int(low)
    assert high == n + 1 - rank
    assert coverage(rank) >= 0.95 > coverage(rank + 1)


def test_a_single_arm_says_what_was_found_and_what_is_missing(tmp_path: Path) -> None:
    folder = make_record(tmp_path / "p", trials=2)
    found = verdict(read_runs([folder]), read_trials([folder]), Asked())
    assert found.answer is None
    assert found.sentence.startswith("The best of 2 trials reached a validation macro-F1 of 0.")
    assert "there is no run of a dynamic space" in found.sentence


def test_two_arms_open_with_the_claim(tmp_path: Path) -> None:
    folders = [
        make_record(tmp_path / "p", trials=3, **CENSUS),
        make_record(tmp_path / "d", "dynamic_default", trials=3, **CENSUS),
    ]
    found = verdict(read_runs(folders), read_trials(folders), Asked(target=0.3))
    assert found.answer is not None
    assert found.sentence == found.answer.claim
    assert (found.periodic, found.dynamic) == ("periodic_T", "dynamic_default")
    beneath = dict(found.beneath)
    assert beneath["Compared"].startswith("periodic_T 3 trials, ")
    assert beneath["Compared"].endswith("(the least to defend a number: 100 and 20)")
    assert beneath["Target"] == "validation macro-F1 ≥ 0.3 (given)"
    assert "95 % interval" in beneath["Trials, periodic / dynamic"]
    assert beneath["Cost, periodic / dynamic"].startswith("epochs ")
    assert beneath["Quality on test"] == "unknown: not both sides have confirmed trainings"
    assert "Clusters" not in beneath


def test_rows_of_one_seed_are_called_a_cluster_right_under_the_sentence(tmp_path: Path) -> None:
    folders = [
        make_record(tmp_path / "p", trials=12, seeds=4, **CENSUS),
        make_record(tmp_path / "d", "dynamic_default", trials=4, **CENSUS),
    ]
    found = verdict(read_runs(folders), read_trials(folders), Asked(target=0.3))
    assert dict(found.beneath)["Clusters"].startswith(
        "the 12 trials of periodic_T share 4 seeds: rows of one seed are a cluster"
    )


@pytest.mark.parametrize(
    ("test", "margin", "told"),
    [
        (0.36, 0.02, "not worse by 0.02 or more: dynamic − tuned periodic is +0.0100 (p = "),
        (0.36, None, "not judged: dynamic − tuned periodic is +0.0100, and no margin was given"),
        (0.30, 0.02, "may be worse by 0.02 or more: dynamic − tuned periodic is -0.0500"),
    ],
)
def test_quality_on_test_is_told_right_under_the_sentence(
    test: float, margin: float | None, told: str
) -> None:
    trials = joined(
        made(PERIODIC, [0.3, 0.4, 0.5]),
        made(DYNAMIC, [0.4, 0.5, 0.5]),
        made(PERIODIC, [0.4] * 18, stage="confirm", test_score=[0.349, 0.351] * 9),
        made(DYNAMIC, [0.4] * 18, stage="confirm", test_score=[test - 0.001, test + 0.001] * 9),
    )
    found = verdict((), trials, Asked(target=0.45, margin=margin))
    assert dict(found.beneath)["Quality on test"].startswith(told)


def test_what_matches_without_injection_is_told_right_under_the_sentence() -> None:
    trials = joined(
        made(PERIODIC, [0.3, 0.4, 0.5]),
        made(DYNAMIC, [0.4, 0.5, 0.5]),
        made("baseline", [0.5, 0.4, 0.45, 0.3]),
    )
    beneath = dict(verdict((), trials, Asked(target=0.45)).beneath)
    assert beneath["Without injection"] == "2 of 4 trials of baseline match"


def test_a_table_says_its_row_where_a_record_says_its_trial() -> None:
    trials = made(PERIODIC, [0.3, None, 0.4], test_score=[0.2, None, 0.3])
    assert verdict((), trials, Asked()).sentence.startswith(
        "The best of 3 trials reached a validation macro-F1 of 0.4000 (test 0.3000; made.csv, row"
        " 4)."
    )


def test_table_1_has_no_losses_of_a_trial_table() -> None:
    trials = made(PERIODIC, [0.3, None, 0.4], test_score=[0.2, None, 0.3])
    found = paper_table(tabled(trials), [])
    assert [(row.best, row.trials) for row in found.rows] == [(None, 0), (0.4, 2), (0.3, 2)]
    assert found.unfinished == 1


def test_table_1_tells_the_spaces_of_an_arm_apart() -> None:
    runs = [
        made_run([made_trial(i, made_curve([f1]), arm="dynamic")], f"r{i}", space)
        for i, (space, f1) in enumerate([("dynamic_default", 0.3), ("dynamic_constant", 0.1)])
    ]
    found = paper_table(results(runs), [])
    validation = [row for row in found.rows if row.quantity == "validation macro-F1"]
    assert [(row.arm, row.median, row.paper) for row in validation] == [
        ("dynamic (dynamic_default)", 0.3, 0.39),
        ("dynamic (dynamic_constant)", 0.1, 0.39),
    ]


def test_learning_curves_are_of_the_space_that_is_compared(tmp_path: Path) -> None:
    folders = [
        make_record(tmp_path / space, space, trials=2, **CENSUS)
        for space in ("periodic_T", "dynamic_default", "dynamic_constant", "baseline")
    ]
    runs, trials = read_runs(folders), read_trials(folders)
    found = contents(runs, trials, Asked("periodic_T", "dynamic_default"))
    told = " ".join(figure.message for figure in found.figures["learning"])
    assert "the best of 2 dynamic trials (dynamic_default #" in told
    assert "dynamic_constant" not in told


def test_several_spaces_of_a_side_must_be_chosen_from(tmp_path: Path) -> None:
    folders = [
        make_record(tmp_path / "p", trials=2, **CENSUS),
        make_record(tmp_path / "q", "periodic_position", trials=2, **CENSUS),
        make_record(tmp_path / "d", "dynamic_default", trials=2, **CENSUS),
    ]
    runs, trials = read_runs(folders), read_trials(folders)
    assert "choose one periodic space with --periodic (periodic_T, periodic_position)" in (
        verdict(runs, trials, Asked()).sentence
    )
    assert verdict(runs, trials, Asked(periodic="periodic_position")).answer is not None
    with pytest.raises(UserError, match="Unknown space 'periodc_T'"):
        verdict(runs, trials, Asked(periodic="periodc_T"))


def test_where_all_failed_the_sentence_says_so_with_the_last_error(tmp_path: Path) -> None:
    crash = Ending("crashed", 0, "Traceback\n  line\nRuntimeError: no memory\n")
    folder = make_record(tmp_path / "p", trials=3, endings=[crash] * 3)
    runs = read_runs([folder])
    assert verdict(runs, read_trials([folder]), Asked()).sentence.startswith(
        "All 3 trials failed; the last one with: RuntimeError: no memory."
    )
    assert [failure.last_line for failure in failures(runs)] == ["RuntimeError: no memory"] * 3


def test_a_failure_without_an_error_text_gives_its_reason() -> None:
    trial = made_trial(0, state="diverged", reason="the loss is not finite")
    assert failures([made_run([trial])])[0].last_line == "the loss is not finite"


def test_provenance_has_every_field_and_moments_in_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    folder = make_record(tmp_path / "p", trials=2, endings=[Ending("pruned", 6)], copies=3)
    (run,) = read_runs([folder])
    assert read_trials([folder]).copies == [3, 3]
    found = facts(run, 0)
    items = dict(found.items)
    assert found.command == "tuner run --space periodic_T"
    assert items["Began"] == "2023-11-14 22:13 UTC"
    assert items["Trials"] == "1 completed, 1 pruned"
    assert items["Digest of the specification"] == run.row.digest
    assert items["Precision"] == "fp32"
    assert items["Fingerprint of the data"] == "f" * 64
    assert items["Data"].endswith("; 3 of validation and 0 of test are training images, too")
    assert "torch 2.15.0" in found.versions
    assert ("T", "1 to 6") == found.knobs.rows[0][:2]
    assert overview([run]).rows[0][:4] == (
        "p", "search", "periodic", "1 completed, 1 pruned"
    )  # fmt: skip


def test_provenance_tells_what_sharing_saved_and_whether_it_may_have_changed_a_bit() -> None:
    alone = made_trial(0, made_curve([0.1] * 4), trial_config={"injection": {}})
    assert "Shared epochs" not in dict(facts(made_run([alone]), 0).items)
    exact = made_trial(
        1, made_curve([0.1] * 4), as_run_epochs=1, saved_slot_s=36.0, sharing="shared"
    )
    told = dict(facts(made_run([alone, exact]), 0).items)["Shared epochs"]
    assert told.startswith("3 taken over from other trials, which saved 36 s of CPU slot time; ")
    assert told.endswith("; bit for bit")
    other = made_trial(2, made_curve([0.1]), sharing="shared, not bit-reproducible")
    told = dict(facts(made_run([alone, exact, other]), 0).items)["Shared epochs"]
    assert told.endswith("; not bit-reproducible on this device")


def test_the_reading_leaves_out_what_varied_and_fills_in_the_methods_defaults(
    tmp_path: Path,
) -> None:
    (run,) = read_runs([make_record(tmp_path / "d", "dynamic_constant", trials=1)])
    assert "w_per channel" in reading(run)
    assert "divide_by abs_w" in reading(run)
    assert "evaluation as_trained" in reading(run)
    assert "Constant" not in reading(run)


def test_conditions_that_runs_do_not_share_are_told(tmp_path: Path) -> None:
    folders = [
        make_record(tmp_path / "a", trials=1),
        make_record(tmp_path / "b", trials=1, epochs=20, fingerprint="e" * 64),
    ]
    runs = read_runs(folders)
    assert differences(runs[:1]) == []
    told = " ".join(differences(runs))
    assert "do not share one data" in told
    assert "number of epochs" in told


def test_provenance_tells_the_network_and_training_that_the_trials_had(tmp_path: Path) -> None:
    def lr(text: str) -> dict[str, Any]:
        return {"name": "own", "summary": "s", **parse_yaml(text, "own")}

    fixed = Space.model_validate(lr("fixed: {method: none, lr: 0.02, batch_size: 16, width: 12}"))
    varied = "knobs: {lr: {kind: float, low: 0.001, high: 0.1, source: s}}"
    folders = [
        make_record(tmp_path / "a", fixed, trials=1),
        make_record(tmp_path / "b", Space.model_validate(lr(varied)), trials=1),
        make_record(tmp_path / "c", "baseline", trials=1),
    ]
    runs = read_runs(folders)
    items = [dict(facts(run, 0).items) for run in runs]
    assert "width 12" in items[0]["Network"]
    assert "learning rate 0.02" in items[0]["Training"]
    assert "batch 16" in items[0]["Training"]
    assert "learning rate varies" in items[1]["Training"]
    told = " ".join(differences([runs[0], runs[2]]))
    assert "do not share one network" in told
    assert "do not share one training" in told
    assert len(set(read_trials(folders).conditions)) == 3


def test_thumbnails_lie_in_their_box_and_one_point_is_a_dash() -> None:
    path = thumbnail(np.linspace(0, 1, 500), 500, 0.0, 1.0)
    points = [tuple(map(int, point.split())) for point in path[1:].split("L")]
    assert all(0 <= x <= 63 and 0 <= y <= 17 for x, y in points)
    assert (points[0], points[-1]) == ((0, 17), (63, 1))
    assert thumbnail(np.array([0.5]), 1, 0.5, 0.5) == "M0 17L2 17"
    assert thumbnail(np.array([]), 1, 0.0, 1.0) == ""


def test_curves_for_the_script_are_in_thousandths_and_thinned_when_there_are_many() -> None:
    trial = made_trial(0, made_curve([0.1234, 0.2], loss=[1.0, np.nan], injected=[0.0, 0.25]))
    assert curve_data([made_run([trial])]) == {
        trial.key: {"f": [123, 200], "l": [1000, None], "i": [0, 25]}
    }
    many = [made_trial(i, made_curve([0.1] * 300)) for i in range(2000)]
    found = curve_data([made_run(many)])
    assert found[many[0].key]["e"][0] == 1
    assert found[many[0].key]["e"][-1] == 300
    assert sum(len(one["f"]) for one in found.values()) <= 210_000
