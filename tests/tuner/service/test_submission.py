"""What is refused of a submission before it is queued, and what a job is given to hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from tests.trainables.data.layouts import class_folders, write_folder
from tests.tuner.made_runs import quick
from tests.tuner.service.serving import Serving, submission
from tests.tuner.service.test_api import refused
from trainables.config import DataConfig
from trainables.data.source import prepare
from tuner.service.models import Capacity, Submission
from tuner.service.submission import DataSets, accepted, check_plain
from tuner.service.tables import UserRow
from tuner.spec import RunSpec
from tuner.study.spec import StudySpec, load_study

ALICE = UserRow("alice", "0" * 64, False, 0.0, None, None)
ROOT = UserRow("root", "1" * 64, True, 0.0, None, None)
GPUS = Capacity(gpus=2, cpus=8)
CORES = Capacity(gpus=0, cpus=8)
PRINT = "a" * 64


def known(fingerprint: str, name: str) -> None:
    """Find no registered data set."""


def told(spec: RunSpec | StudySpec | None = None, **changes: Any) -> Submission:
    """Return a submission of a specification, with its own digest."""
    if isinstance(spec, StudySpec):
        changes = {"kind": "study", **changes}
    return Submission.model_validate(submission(spec, **changes))  # type: ignore[arg-type]


def changed(change: Callable[[dict[str, Any]], None], spec: RunSpec | None = None) -> Submission:
    """Return a submission whose specification was changed by hand; its digest stays."""
    values = submission(spec)
    change(values["spec"])
    return Submission.model_validate(values)


def held(submitted: Submission, capacity: Capacity = GPUS) -> tuple[float, int]:
    new = accepted(submitted, ALICE, known, capacity).new
    return new.gpus, new.cpus


def message(
    submitted: Submission,
    user: UserRow = ALICE,
    capacity: Capacity = GPUS,
    data_sets: DataSets = known,
) -> str:
    with pytest.raises(UserError) as error:
        accepted(submitted, user, data_sets, capacity)
    assert len(str(error.value)) < 600
    return str(error.value)


# ---- what it may name


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "..", ".hidden", "", "a\\b", "é", "x" * 81, "a b"]
)
def test_a_space_is_named_like_a_folder(name: str) -> None:
    """A run's folder is SPACE-DIGEST8, and a study's are STAGE-SPACE."""
    spec = quick(resources={"concurrency": 1})
    spec = spec.model_copy(update={"space": spec.space.model_copy(update={"name": name})})
    assert "name of a space" in message(told(spec))


def test_a_studys_spaces_are_named_like_folders() -> None:
    spec = load_study("quick")
    arm = spec.periodic.model_copy(
        update={"space": spec.periodic.space.model_copy(update={"name": "../../up"})}
    )
    assert "name of a space" in message(told(spec.model_copy(update={"periodic": arm})))


@pytest.mark.parametrize("space", ["periodic_T", "/etc/passwd", "../space.yaml", 7, None, []])
def test_a_space_stands_in_the_specification(space: Any) -> None:
    message(changed(lambda spec: spec.update(space=space)))


@pytest.mark.parametrize(
    "source", ["/etc", "faces.zip", "../faces.zip", "~/x", "x/faces.zip", "\0", "synthetic/"]
)
def test_data_are_synthetic_or_registered(source: str) -> None:
    message(told(quick(data={"source": source}, resources={"concurrency": 1})))


@pytest.fixture
def registered(tmp_path: Path) -> DataSets:
    """Return a finder of one data set of gray images of 16 pixels, packed with its copies."""
    files = class_folders(["cat", "dog"], 2, ["train", "val", "test"])
    files["val/cat/copy.png"] = files["train/cat/0000.png"]
    config = DataConfig(source=str(write_folder(tmp_path / "set", files)), size=16, color="gray")
    folder = prepare(config, tmp_path / "cache").folder
    return lambda print_, name: folder if (print_, name) == (PRINT, "faces.zip") else None


def test_data_must_have_the_fingerprint_under_which_they_are_registered(
    registered: DataSets,
) -> None:
    spec = quick(data={"source": "faces.zip"}, resources={"concurrency": 1})
    queued = accepted(told(spec, fingerprint=PRINT), ALICE, registered, GPUS).new
    assert queued.fingerprint == PRINT
    assert "tuner data push" in message(told(spec, fingerprint="b" * 64), data_sets=registered)
    other = quick(data={"source": "other.zip"}, resources={"concurrency": 1})
    assert "other.zip" in message(told(other, fingerprint=PRINT), data_sets=registered)
    assert "null" in message(told(fingerprint=PRINT), data_sets=registered)


@pytest.mark.parametrize("missing", ["meta.json", "labels.npy"])
def test_a_damaged_copy_is_told_without_where_it_lies(registered: DataSets, missing: str) -> None:
    folder = registered(PRINT, "faces.zip")
    assert folder is not None
    (folder / missing).unlink()
    spec = quick(data={"source": "faces.zip"}, resources={"concurrency": 1})
    told_ = message(told(spec, fingerprint=PRINT), data_sets=registered)
    assert told_.startswith("The server's copy of 'faces.zip' is damaged; send it again")
    assert str(folder) not in told_


@pytest.mark.parametrize(
    ("field", "value", "refusal"),
    [
        ("copies", "drop", "copies must be keep for faces.zip"),
        ("size", 24, "size must be 16 or empty for faces.zip"),
        ("color", "rgb", "color must be auto for faces.zip"),
    ],
)
def test_what_the_packed_images_are_not_is_refused_before_it_is_queued(
    registered: DataSets, field: str, value: object, refusal: str
) -> None:
    spec = quick(data={"source": "faces.zip", field: value}, resources={"concurrency": 1})
    assert refusal in message(told(spec, fingerprint=PRINT), data_sets=registered)


@pytest.mark.parametrize(("field", "value"), [("address", "host:1"), ("trunks", "/srv/x")])
def test_what_the_server_decides_is_left_out(field: str, value: str) -> None:
    assert f"resources.{field}" in message(told(quick(resources={field: value})))


def test_a_run_does_not_pretend_to_be_of_a_study() -> None:
    study = {"name": "x", "digest": "y", "stage": "census"}
    assert "tuner study" in message(changed(lambda spec: spec.update(study=study)))


# ---- digest, kinds, sampler


def test_the_digest_must_be_the_servers() -> None:
    assert "client and server" in message(told(digest="0" * 64))
    assert "client and server" in message(changed(lambda spec: spec.update(epochs=11)))


def test_unknown_and_wrong_fields_are_named() -> None:
    assert "epocs" in message(changed(lambda spec: spec.update(epocs=3)))
    assert "epochs" in message(changed(lambda spec: spec.update(epochs=0)))


def test_a_run_is_no_study_nor_the_other_way_round() -> None:
    message(told(kind="study"))
    message(told(load_study("quick"), kind="run"))


def test_a_study_is_accepted_without_running_anything() -> None:
    found = accepted(told(load_study("quick"), gpus=1), ALICE, known, GPUS)
    assert found.new.kind == "study"
    assert found.name == f"study-{found.new.digest[:8]}"
    assert found.new.space is None


def test_the_sampler_must_be_able_to_search_the_space() -> None:
    spec = quick("periodic_position", sampler={"name": "cmaes"}, resources={"concurrency": 1})
    assert "cmaes" in message(told(spec))


def test_tf32_needs_a_gpu() -> None:
    spec = quick(training={"precision": "tf32"}, resources={"concurrency": 1})
    assert "tf32" in message(told(spec), capacity=CORES)
    assert held(told(spec)) == (1.0, 1)


# ---- priority


def test_only_an_admin_goes_before_others() -> None:
    assert "admin" in message(told(priority=1))
    assert accepted(told(priority=1), ROOT, known, GPUS).new.priority == 1
    assert accepted(told(priority=-5), ALICE, known, GPUS).new.priority == -5


# ---- what it holds


@pytest.mark.parametrize(
    ("resources", "asked", "capacity", "expected"),
    [
        ({}, {}, GPUS, (2, 2)),  # all of the machine, one trial on each GPU
        ({"concurrency": 1}, {}, GPUS, (1, 1)),
        ({"concurrency": 2}, {}, GPUS, (2, 2)),
        ({"concurrency": 2, "gpus_per_trial": 0.5}, {}, GPUS, (1, 2)),
        ({"concurrency": 3, "gpus_per_trial": 0.5}, {}, GPUS, (2, 3)),
        ({"concurrency": 1, "gpus_per_trial": 0.5}, {"exclusive": False}, GPUS, (0.5, 1)),
        ({"concurrency": 3, "gpus_per_trial": 0.25}, {"exclusive": False}, GPUS, (0.75, 3)),
        ({"concurrency": 3, "gpus_per_trial": 0.5}, {"exclusive": False}, GPUS, (2, 3)),
        ({"gpus_per_trial": 0.5}, {"gpus": 1.0}, GPUS, (1, 2)),
        ({"gpus_per_trial": 0.5, "cpus_per_trial": 2}, {"gpus": 1.0}, GPUS, (1, 4)),
        ({"gpus_per_trial": "auto"}, {"gpus": 1.0, "cpus": 4}, GPUS, (1, 4)),
        ({"gpus_per_trial": 0.0, "concurrency": 3}, {}, GPUS, (0, 3)),
        ({}, {}, CORES, (0, 8)),
        ({"cpus_per_trial": 2}, {"cpus": 4}, CORES, (0, 4)),
        ({"concurrency": 2}, {}, CORES, (0, 2)),
    ],
)
def test_a_job_holds_what_its_trials_at_once_need(
    resources: dict[str, Any],
    asked: dict[str, Any],
    capacity: Capacity,
    expected: tuple[float, int],
) -> None:
    assert held(told(quick(resources=resources), **asked), capacity) == expected


def test_trials_that_share_part_of_a_gpu_are_told_how_many_there_are() -> None:
    """A local Ray cannot be told of half a GPU, so the number of trials bounds what is held."""
    spec = quick(resources={"gpus_per_trial": 0.25})
    new = accepted(told(spec, gpus=0.5, exclusive=False), ALICE, known, GPUS).new
    assert new.spec["resources"]["concurrency"] == 2
    assert new.digest == spec.digest


@pytest.mark.parametrize(
    ("resources", "asked", "word"),
    [
        ({}, {"gpus": 3.0}, "at most 2"),
        ({"concurrency": 3}, {}, "at most 2"),
        ({"concurrency": 1}, {"cpus": 9}, "at most 8"),
        ({"concurrency": 9, "gpus_per_trial": 0.125}, {}, "at most 8"),
        ({}, {"gpus": 0.5}, "whole number"),
        ({}, {"gpus": 1.5, "exclusive": False}, "whole number"),
        ({}, {"gpus": 0.5, "exclusive": False}, "at least 1"),
        ({}, {"gpus": 0.0}, "at least 1"),
        ({"gpus_per_trial": "auto"}, {"gpus": 0.5, "exclusive": False}, "auto"),
        ({"gpus_per_trial": 0.0}, {"gpus": 1.0}, "must be 0"),
        ({"concurrency": 2, "cpus_per_trial": 2}, {"cpus": 3}, "--concurrency"),
    ],
)
def test_what_cannot_be_held_is_refused(
    resources: dict[str, Any], asked: dict[str, Any], word: str
) -> None:
    assert word in message(told(quick(resources=resources), **asked))


# ---- hostile values


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\udfffb"])
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    for value in (text, {text: 1}, [[text]], {"a": {"b": text}}):
        with pytest.raises(UserError):
            check_plain(value, "spec")


def test_a_command_is_text() -> None:
    message(told(command=["tuner", "a\0"]))


def test_great_depth_and_length_are_refused_quickly() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, list(range(20_000)), {str(n): n for n in range(20_000)}):
        with pytest.raises(UserError, match="at most"):
            check_plain(value, "spec")


@pytest.mark.parametrize(
    "text",
    [
        '{"spec": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"spec": {"epochs": ' + "9" * 5000 + "}}",
        '{"spec": {"space": {"name": "\\ud800"}}}',
        '{"spec": {"a": 1e999}}',
        '{"\\ud800": 1}',
    ],
    ids=["deep", "digits", "surrogate", "infinite", "name"],
)
def test_hostile_json_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    serving = Serving(tmp_path)
    body = '{"kind": "run", "digest": "' + "0" * 64 + '", "key": "12345678", ' + text[1:]
    serving.client().post("/api/v1/jobs", json=submission(key="12345678"))
    for path in ("/api/v1/jobs", "/api/v1/jobs/check"):
        answer = serving.client().post(
            path, content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422)
        refused(answer, answer.status_code)


def test_a_specification_has_a_length() -> None:
    spec = quick(resources={"concurrency": 1})
    space = spec.space.model_copy(update={"summary": "x" * 100_000})
    assert "at most 100,000 bytes" in message(told(spec.model_copy(update={"space": space})))


def test_searches_that_differ_in_their_seeds_alone_are_checked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(
        "tuner.service.submission.check_sampler", lambda space, _: checked.append(space.name)
    )
    spec = load_study("quick")
    accepted(told(spec, gpus=1), ALICE, known, GPUS)
    few = len(checked)
    policy = spec.policy.model_copy(update={"searches": 1000})
    accepted(told(spec.model_copy(update={"policy": policy}), gpus=1), ALICE, known, GPUS)
    assert len(checked) == 2 * few


def test_a_choice_has_few_values() -> None:
    knob = {"kind": "choice", "values": list(range(1, 102)), "source": "x"}
    assert "at most 100" in message(
        changed(lambda spec: spec["space"].update(fixed={}, knobs={"T": knob}))
    )


def test_a_study_is_not_shared() -> None:
    assert "exclusive" in message(told(load_study("quick"), gpus=1, exclusive=False))


@pytest.mark.parametrize("name", ["concurrency", "cpus_per_trial"])
def test_absurd_numbers_are_refused(name: str) -> None:
    assert name in message(changed(lambda spec: spec["resources"].update({name: 10**400})))


@pytest.mark.parametrize(
    "change",
    [
        {"policy": {"replays": 100_000, "trials": 101}},
        {"data": {"synthetic_train": 1_000_000, "size": 1024}},
        {"data": {"synthetic_eval": 1_000_000, "size": 512, "color": "gray"}},
    ],
)
def test_work_without_end_is_refused(change: dict[str, Any]) -> None:
    assert "at most" in message(told(load_study("quick", change)))


@pytest.mark.parametrize(
    ("section", "name"), [("sampler", "startup_trials"), ("data", "max_bad"), ("data", "limit")]
)
def test_numbers_have_a_bound(tmp_path: Path, section: str, name: str) -> None:
    serving, body = Serving(tmp_path), submission()
    body["spec"][section][name] = 10**30
    assert name in refused(serving.client().post("/api/v1/jobs/check", json=body), 422)
