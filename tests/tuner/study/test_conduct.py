"""A study goes through its stages once, from wherever it was left; and freezes what it was."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from reports.table import read_trials
from search_spaces.model import UserError
from tests.reports.made_records import Ending
from tests.tuner.study.made_study import MadeEngine, Told, made_engine
from tests.tuner.study.test_spec import SMALL, written
from tuner import packing, ray_session
from tuner.record import Record
from tuner.study.choice import target_of, tuned
from tuner.study.conduct import UnfinishedError, conduct, freeze
from tuner.study.spec import FILE, load_study

__all__ = ["made_engine"]
PLAN = SMALL + "policy: {trials: 4, replays: 20}\nothers: [{space: baseline, trials: 2}]\n"
RUNS = [
    "pilot-dynamic_default",
    "census-periodic_T",
    "census-dynamic_default",
    "census-baseline",
    *(f"search-{space}-{n}" for n in (1, 2, 3) for space in ("periodic_T", "dynamic_default")),
    "confirm-dynamic_default",
    "confirm-periodic_T",
]


@pytest.fixture
def study(tmp_path):
    return load_study(written(tmp_path, PLAN))


def run(study, folder, told=None):
    conduct(
        study, folder, cache=folder.parent / "cache", command=["tuner", "study"],
        follow=(told or Told()).follow, jobs=1,
    )  # fmt: skip


def test_every_stage_runs_once_and_in_order(study, tmp_path, made_engine: MadeEngine):
    told = Told()
    run(study, tmp_path / "s", told)
    started = [name for name in made_engine.started if "-of-" not in name]
    assert started == RUNS
    run(study, tmp_path / "s", told)  # nothing is left to do
    assert [name for name in made_engine.started if "-of-" not in name] == RUNS
    assert not made_engine.resumed
    stages = read_trials(tmp_path / "s" / name for name in RUNS).stage
    assert set(stages) == {"pilot", "census", "search", "confirm"}


def test_replays_are_of_the_studys_own_policy_and_target(study, tmp_path, made_engine):
    folder = tmp_path / "s"
    run(study, folder)
    for space in ("periodic_T", "dynamic_default"):
        held = json.loads((folder / f"replay-{space}.json").read_text())
        assert held["target"] == target_of(study, folder)
        assert (held["trials"], held["concurrency"]) == (4, 2)
        (combination,) = held["combinations"]
        assert (combination["sampler"], combination["scheduler"]) == ("tpe", "asha")
        assert combination["searches"] == 20


@pytest.mark.parametrize(
    "change",
    [{"data": {"source": "/missing/fer2013.zip"}}, {"resources": {"concurrency": 1000}}],
)
def test_what_cannot_begin_leaves_nothing_behind(tmp_path, made_engine, change):
    """Mended, the same command must find no half of a study that it contradicts."""
    spec = load_study(written(tmp_path, PLAN), change)
    with pytest.raises(UserError):
        run(spec, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    assert not made_engine.started


def test_a_study_that_is_done_starts_nothing(study, tmp_path, made_engine, monkeypatch):
    run(study, tmp_path / "s")
    monkeypatch.setattr(ray_session, "ray_session", None)
    run(study, tmp_path / "s")


def test_all_runs_must_have_the_data_of_the_first(study, tmp_path, made_engine):
    run(study, tmp_path / "s")
    assert made_engine.fingerprints[0] is None
    assert set(made_engine.fingerprints[1:]) == {"f" * 64}


@pytest.mark.parametrize("at", range(len(RUNS)))
def test_a_study_that_was_killed_before_any_run_goes_on_there(study, tmp_path, made_engine, at):
    def killed(name):
        if name == RUNS[at] and name not in made_engine.started:
            raise KeyboardInterrupt

    made_engine.on_start = killed
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "s")
    made_engine.on_start = lambda name: None
    run(study, tmp_path / "s")
    assert [name for name in made_engine.started if "-of-" not in name] == RUNS


def test_how_many_trials_share_a_gpu_is_measured_once_for_all_arms(
    tmp_path, made_engine, monkeypatch
):
    """Also across kills: arms whose trials held different shares could not be compared."""
    found = iter([0.5, 0.25])

    def measured(spec, cache, notice):
        assert spec.resources.gpus_per_trial == "auto"
        resources = spec.resources.model_copy(update={"gpus_per_trial": next(found)})
        return spec.model_copy(update={"resources": resources})

    @contextmanager
    def session(resources):
        yield {"CPU": 4.0, "GPU": 1.0}

    def killed(name):
        if name == RUNS[2]:
            raise KeyboardInterrupt

    monkeypatch.setattr(packing, "with_packing", measured)
    monkeypatch.setattr(ray_session, "ray_session", session)
    monkeypatch.setattr(ray_session, "check_before_start", lambda resources: None)
    study = load_study(written(tmp_path, PLAN), {"resources": {"gpus_per_trial": "auto"}})
    made_engine.on_start = killed
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "s")
    made_engine.on_start = lambda name: None
    run(study, tmp_path / "s")
    assert len(made_engine.shares) >= len(RUNS)
    assert set(made_engine.shares) == {0.5}


def test_a_precision_that_the_machine_lacks_is_refused_before_anything_is_frozen(
    tmp_path, made_engine
):
    change = {"training": {"precision": "tf32"}}
    study = load_study(written(tmp_path, PLAN), change)
    with pytest.raises(UserError, match="tf32 needs a GPU"):
        run(study, tmp_path / "s")
    assert not (tmp_path / "s" / FILE).exists()


def test_a_run_that_was_interrupted_is_resumed_and_the_rest_follows(study, tmp_path, made_engine):
    folder = tmp_path / "s"
    freeze(study, folder)

    def interrupted(name):
        before = RUNS[RUNS.index(name) - 1] if name in RUNS else ""
        if name == "census-baseline" and before in made_engine.started:
            with Record.open(folder / before, write=True) as record:
                record.set_run("interrupted", "interrupted by Ctrl-C")
            raise KeyboardInterrupt

    made_engine.on_start = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(study, folder)
    made_engine.on_start = lambda name: None
    run(study, folder)
    assert made_engine.resumed == ["census-dynamic_default"]
    assert [name for name in made_engine.started if "-of-" not in name] == RUNS


def test_a_run_that_ends_before_its_budget_ends_the_study_and_says_which(
    study, tmp_path, made_engine, monkeypatch
):
    from tuner import engine

    def start(spec, *, runs, name, **options):
        folder = made_engine.start(spec, runs=runs, name=name, **options)
        with Record.open(folder, write=True) as record:
            record.set_run("interrupted", "interrupted by Ctrl-C")
        return folder

    monkeypatch.setattr(engine, "start", start)
    with pytest.raises(UnfinishedError, match="pilot-dynamic_default was interrupted") as caught:
        run(study, tmp_path / "s")
    assert caught.value.state == "interrupted"
    assert made_engine.started == ["pilot-dynamic_default"]


def test_what_a_killed_run_left_without_a_record_is_no_obstacle(study, tmp_path, made_engine):
    folder = tmp_path / "s"
    freeze(study, folder)
    (folder / "pilot-dynamic_default").mkdir()
    (folder / "pilot-dynamic_default" / "spec.json").write_text("{}")
    run(study, folder)
    assert made_engine.started[0] == "pilot-dynamic_default"


def test_tuning_chooses_by_validation_among_all_and_among_the_first(study, tmp_path, made_engine):
    """Oracle: the census read again, ranked by hand."""
    folder = tmp_path / "s"
    study = study.model_copy(update={"confirm": study.confirm.model_copy(update={"budget": 2})})
    run(study, folder)
    census = read_trials([folder / "census-periodic_T"])
    ranked = sorted(range(len(census)), key=lambda i: -census.score[i])
    chosen = tuned(study, folder)
    assert chosen[0].knobs == census.knobs[ranked[0]]
    assert (chosen[0].suffix, chosen[0].trials) == ("", 6)
    first = max(range(2), key=lambda i: census.score[i])
    if census.knobs[first] == chosen[0].knobs:
        assert len(chosen) == 1
    else:
        assert (chosen[1].suffix, chosen[1].knobs) == ("-of-2", census.knobs[first])


def test_failed_trials_are_not_chosen_and_without_any_other_nothing_is_confirmed(
    study, tmp_path, made_engine
):
    made_engine.endings["census-periodic_T"] = [Ending("diverged", 2)] * 6
    run(study, tmp_path / "s")
    assert tuned(study, tmp_path / "s") == []
    assert made_engine.started[-1] == "confirm-dynamic_default"


def test_a_pilot_that_failed_gives_no_target_and_says_so(study, tmp_path, made_engine):
    made_engine.endings["pilot-dynamic_default"] = [Ending("crashed", 1)] * 10
    with pytest.raises(UserError, match="median of the pilot is a failed trial"):
        run(study, tmp_path / "s")


def test_what_cannot_be_replayed_is_said_and_the_study_goes_on(tmp_path, made_engine):
    text = PLAN.replace("space: periodic_T,", "space: dropout,")  # a real number
    flags = {"policy": {"nearest": False}}
    study, told = load_study(written(tmp_path, text), flags), Told()
    run(study, tmp_path / "s", told)
    assert any(line.startswith("Not replayed: Knob dropout_rate") for line in told.notices)
    assert "confirm-dropout" in made_engine.started


def test_another_study_under_the_same_name_is_refused(study, tmp_path):
    folder = tmp_path / "s"
    freeze(study, folder)
    freeze(study, folder)
    other = load_study(written(tmp_path, PLAN.replace("margin: 0.05", "margin: 0.06")))
    with pytest.raises(UserError, match=f"holds another study.*{study.digest[:12]}"):
        freeze(other, folder)
    assert json.loads((folder / FILE).read_text())["digest"] == study.digest


def test_a_folder_with_other_things_is_not_written_to(study, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "mine.txt").write_text("")
    with pytest.raises(UserError, match="holds no study"):
        freeze(study, folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_the_arms_of_a_blocked_census_share_the_studys_trunks_and_nothing_is_left(
    tmp_path, made_engine
):
    run(load_study(written(tmp_path, PLAN + "census: {seeds: 2}\n")), tmp_path / "s")
    shared = {name for name, trunks in made_engine.trunks.items() if trunks is not None}
    assert shared == {"census-periodic_T"}
    assert made_engine.trunks["census-periodic_T"] == str(tmp_path / "s" / "trunks")
    assert not (tmp_path / "s" / "trunks").exists()
