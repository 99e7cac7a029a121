"""What a study froze binds report and comparison; what its runs do not share is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.sections.verdict import Asked
from reports.sources import Sources, sources
from reports.study import alarms, mismatches, opening, parts, read_study, settled
from search_spaces.model import UserError
from tests.reports.made_records import make_record
from tests.reports.made_studies import made_study, make_study


@pytest.fixture(scope="module")
def census(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Return a study that has come to the end of its census."""
    return sources([make_study(tmp_path_factory.mktemp("studies") / "s", "census")])


def wanted(found: Sources, **flags: Any) -> Asked:
    """Return what the study compares."""
    assert found.study is not None
    return settled(found.study, found.trials(), **flags)


def test_spaces_target_margin_and_confidence_come_from_the_study(census: Sources) -> None:
    found = wanted(census)
    assert (found.periodic, found.dynamic) == ("periodic_T", "dynamic_default")
    assert (found.target, found.margin, found.confidence) == (None, 0.03, 0.95)
    assert found.target_from is not None
    assert set(found.target_from.stage) == {"pilot"}
    assert len(found.target_from) == 10


def test_a_fixed_target_needs_no_pilot(tmp_path: Path) -> None:
    found = wanted(sources([make_study(tmp_path / "s", "census", target=0.34)]))
    assert (found.target, found.target_from) == (0.34, None)


def test_flags_may_repeat_what_was_frozen(census: Sources) -> None:
    assert wanted(census, margin=0.03, confidence=0.95) == wanted(census)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"margin": 0.05}, r"--margin 0\.05 contradicts the study, whose margin is 0\.03 \(.*s/s"),
        (
            {"confidence": 0.9},
            r"--confidence 0\.9 contradicts the study, whose confidence is 0\.95",
        ),
        ({"target": 0.3}, r"--target 0\.3 contradicts .* whose target is the pilot's median"),
        ({"dynamic": "dynamic_defalt"}, r"Unknown space 'dynamic_defalt'. Did you mean"),
        ({"periodic": "periodic_dropout"}, r"Unknown space 'periodic_dropout'"),
    ],
)
def test_a_flag_that_contradicts_the_study_is_refused(
    census: Sources, flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as told:
        wanted(census, **flags)
    assert "study.json" in str(told.value)


def test_another_target_from_is_refused(census: Sources) -> None:
    with pytest.raises(UserError, match="--target-from contradicts the study"):
        wanted(census, target_from=census.trials())


def test_another_arm_of_the_study_is_exploratory_and_keeps_the_frozen_target(
    census: Sources,
) -> None:
    assert census.study is not None
    found = wanted(census, dynamic="baseline")
    assert found.target_from is not None
    assert opening(census.study, found) == (
        "Demonstration: Exploratory, not the study's frozen comparison: "
    )
    assert "it is exploratory" in alarms(census.study, census.rows(), found)[0]
    assert opening(census.study, wanted(census)) == "Demonstration: "


def test_what_is_missing_is_told(census: Sources) -> None:
    assert census.study is not None
    (told,) = alarms(census.study, census.rows(), wanted(census))
    assert told.startswith("The study is not complete; not begun: search-periodic_T-1, ")
    assert told.endswith("confirm-dynamic_default, confirm-periodic_T.")


def test_a_pilot_that_has_not_ended_makes_the_target_provisional(tmp_path: Path) -> None:
    found = sources([make_study(tmp_path / "s", "frozen")])
    assert found.study is not None
    told = alarms(found.study, found.rows(), wanted(found))
    assert "The pilot has 0 of 10 trials: the target is not the frozen one yet." in told


def test_the_parts_of_a_study_are_those_it_runs(census: Sources) -> None:
    assert census.study is not None
    found = {part.run: (part.stage, part.trials) for part in parts(census.study)}
    assert found["pilot-dynamic_default"] == ("pilot", 10)
    assert found["census-periodic_T"] == ("census", 30)
    assert found["search-dynamic_default-3"] == ("search", 6)
    assert found["confirm-periodic_T"] == ("confirm", 18)
    assert len(found) == 1 + 3 + 6 + 2


def test_runs_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", "pilot")
    other = {"name": "s", "digest": "0" * 64, "stage": "census"}
    make_record(folder / "census-periodic_T", trials=1, study=other, fingerprint="e" * 64)
    make_record(folder / "mine", trials=1)
    found = sources([folder])
    assert found.study is not None
    told = mismatches(found.study, found.rows())
    assert told[0].startswith("Run census-periodic_T was made for another study: it carries the")
    assert told[1] == "Run mine was not made for this study: it carries no digest."
    assert told[2].startswith("The runs of the study do not share one fingerprint of the data: ")
    assert len(told) == 3


def test_a_file_changed_by_hand_is_refused(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", "frozen")
    path = folder / "study.json"
    path.write_text(path.read_text().replace('"margin": 0.03', '"margin": 0.3'), encoding="utf-8")
    with pytest.raises(UserError, match="was changed after it was frozen"):
        sources([folder])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"target": "x"}', "\x00"])
def test_a_file_of_replays_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = make_study(tmp_path / "s", "frozen")
    (folder / "replay-periodic_T.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"Cannot read .*replay-periodic_T\.json: ") as told:
        read_study(folder)
    assert "\n" not in str(told.value)


def test_replays_of_another_space_or_version_are_refused(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", "replay")
    periodic = folder / "replay-periodic_T.json"
    text = periodic.read_text(encoding="utf-8")
    periodic.write_text(text.replace('"0.025"', '"0.03"'), encoding="utf-8")
    with pytest.raises(UserError, match="it lacks quantiles that this version writes"):
        read_study(folder)
    periodic.write_bytes((folder / "replay-dynamic_default.json").read_bytes())
    with pytest.raises(UserError, match="it is of dynamic_default"):
        read_study(folder)


def test_the_centre_of_the_ablation_is_the_frozen_one_for_the_frozen_space(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    study = made_study(centre={"T": 3})
    (folder / "study.json").write_text(study.frozen(), encoding="utf-8")
    found = sources([folder])
    assert wanted(found).centre == {"T": 3}
    assert wanted(found, periodic="baseline").centre is None
