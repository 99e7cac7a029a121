"""What a study is said to cost and to show, before it starts."""

from __future__ import annotations

import pytest

from reports.power import detectable, power
from tests.reports.made_records import EPOCH_S, make_record
from tests.tuner.study.test_spec import SMALL, written
from tuner.plan import KnownImages
from tuner.study.plan import study_plan
from tuner.study.spec import load_study
from tuner.study.stages import before_confirming

TEXT = SMALL + "policy: {trials: 4, scheduler: {name: none}}\nothers: [baseline]\n"


def planned(tmp_path, text=TEXT, others=(), known=KnownImages(1500)):  # noqa: B008
    study = load_study(written(tmp_path, text))
    runs = before_confirming(study, "s")
    return study_plan(study, runs, tmp_path / "s", tmp_path, tmp_path, others, known)


def test_every_run_is_counted_with_its_trials_and_epochs(tmp_path):
    plan = planned(tmp_path)
    counted = {(row.stage, row.space): (row.runs, row.trials, row.epochs) for row in plan.rows}
    assert counted == {
        ("pilot", "dynamic_default"): (1, 10, 40),
        ("census", "periodic_T"): (1, 6, 24),
        ("census", "dynamic_default"): (1, 4, 16),
        ("census", "baseline"): (1, 20, 80),
        ("search", "periodic_T"): (3, 12, 48),
        ("search", "dynamic_default"): (3, 12, 48),
        ("confirm", "dynamic_default"): (1, 18, 72),
        ("confirm", "periodic_T"): (2, 36, 144),  # by the whole census, and by its first K
    }
    assert plan.trials == sum(trials for _, trials, _ in counted.values())
    assert plan.epochs == sum(epochs for _, _, epochs in counted.values())
    assert plan.epochs_most == plan.epochs  # nothing is stopped
    assert not (tmp_path / "s").exists()
    judged = planned(tmp_path, TEXT.replace("{name: none}", "{name: asha}"))
    assert judged.epochs < judged.epochs_most == plan.epochs_most


def test_copies_of_training_images_are_warned_of_once(tmp_path):
    assert not [one for one in planned(tmp_path).warnings if "training images" in one]
    warned = planned(tmp_path, known=KnownImages(1500, 3)).warnings
    (told,) = (one for one in warned if "training images" in one)
    assert told.startswith("3 of the validation images are training images, too")


def test_hours_come_from_an_earlier_run_or_are_said_to_be_unknown(tmp_path):
    plan = planned(tmp_path)
    assert plan.slot_hours is None
    assert plan.cost_from.startswith("not known before the first epoch")
    make_record(tmp_path / "earlier", "periodic_T", 2, 4)
    plan = planned(tmp_path, others=[tmp_path / "earlier"])
    # Each row's seconds are rounded to 0.1 s, and the hours to 4 digits.
    assert plan.slot_hours == pytest.approx(plan.epochs * EPOCH_S / 3600, abs=1e-3)
    assert "as in run earlier" in plan.cost_from


def test_the_power_is_that_of_the_studys_own_sizes(tmp_path):
    plan = planned(tmp_path)
    assert [one["power"] for one in plan.power] == [row.power for row in power(6, 4, 0.95)]
    assert plan.detectable == detectable(6, 4, 0.95)
    assert plan.design == "too small even for gross savings"


def test_a_blocked_design_is_said_to_have_less_power(tmp_path):
    assert not planned(tmp_path).warnings
    text = TEXT.replace("others: [baseline]\n", "census: {seeds: 3}\n")
    assert any("upper limit" in line for line in planned(tmp_path, text).warnings)


def test_what_a_run_would_warn_of_is_said_of_the_study(tmp_path):
    text = TEXT.replace("epochs: 4", "epochs: 4\ntraining: {weight_decay: 0}")
    assert any(line.startswith("dynamic_default:") for line in planned(tmp_path, text).warnings)
