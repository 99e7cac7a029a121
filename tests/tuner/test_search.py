"""The Optuna adapter against Optuna itself, reading the database that it wrote.

The oracle of every kill is the same search left alone. Each rule that Ray's own adapter breaks has
a test here: no shared studies, no stopped trials that count as completed, none left running.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search_spaces.model import UserError
from search_spaces.space import Space, load_space
from tuner import search as search_module
from tuner.search import Proposal, Search, Told
from tuner.spec_sections import SamplerConfig

SAMPLERS = ("tpe", "random", "gp", "cmaes", "grid", "sobol")
LEARNING = ("tpe", "gp", "cmaes")


def space_of(knobs: dict[str, dict[str, Any]]) -> Space:
    sourced = {name: {"source": "test", **knob} for name, knob in knobs.items()}
    return Space.model_validate({"name": "made", "summary": "made", "knobs": sourced})


NUMBERS = space_of(
    {
        "T": {"kind": "int", "low": 1, "high": 30},
        "Constant": {"kind": "float", "low": 0.05, "high": 5.0, "log": True},
    }
)
CONDITIONAL = space_of(
    {
        "dropout_rate": {
            "kind": "float",
            "low": 0.05,
            "high": 0.5,
            "grid": 3,
            "when": {"position": ["bn1", "all"]},
        },
        "T": {"kind": "int", "low": 1, "high": 8, "log": True},
        "position": {"kind": "choice", "values": ["bn1", "bn2", "all"]},
    }
)


def config(name: str) -> SamplerConfig:
    return SamplerConfig.model_validate({"name": name, "startup_trials": 4})


def create(folder: Path, sampler: str = "tpe", space: Space = NUMBERS, name: str = "run") -> Search:
    folder.mkdir(exist_ok=True)
    return Search.create(space, config(sampler), 7, folder / "optuna.db", name)


def rebuild(
    folder: Path,
    told: list[Told],
    study_attrs: dict[str, Any] | None = None,
    sampler: str = "tpe",
    space: Space = NUMBERS,
) -> Search:
    path = folder / "optuna.db"
    return Search.rebuild(space, config(sampler), 7, path, "run", told, study_attrs or {})


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """Return the trials as another program reads them."""
    url = f"sqlite:///{folder / 'optuna.db'}"
    return optuna.load_study(study_name=None, storage=url).trials


def asked(proposal: Proposal | None) -> Proposal:
    assert proposal is not None
    return proposal


def score(knobs: dict[str, Any]) -> float:
    level = 1 - ((knobs["T"] - 11) / 30) ** 2 - 0.1 * abs(math.log(knobs.get("Constant", 1.0)))
    return level - (0.1 if knobs.get("position") == "bn2" else 0.0)


class Ledger:
    """What a record would hold, and a search that may be rebuilt from it after every step."""

    def __init__(self, folder: Path, sampler: str, space: Space, cut: bool) -> None:
        self.folder, self.sampler, self.space, self.cut = folder, sampler, space, cut
        self.search = create(folder, sampler, space)
        self.told: list[Told] = []
        self.study_attrs: dict[str, Any] = {}

    def ask(self) -> Proposal | None:
        proposal = self.search.ask()
        if proposal is not None:
            attrs = self.search.attrs(proposal.number)
            self.told.append(Told(proposal.number, proposal.knobs, "asked", None, {}, attrs))
            self.study_attrs = self.search.study_attrs()
        self._maybe_cut()
        return proposal

    def report(self, number: int, epoch: int, value: float) -> None:
        self.search.report(number, epoch, value)
        self.told[number].reports[epoch] = value
        self._maybe_cut()

    def tell(self, number: int, state: str, value: float | None) -> None:
        self.search.tell(number, state, value)
        self.told[number] = replace(self.told[number], state=state, value=value)
        self._maybe_cut()

    def _maybe_cut(self) -> None:
        if self.cut:
            told = list(self.told)
            self.search = rebuild(self.folder, told, self.study_attrs, self.sampler, self.space)


def play(ledger: Ledger, trials: int = 15) -> list[Proposal]:
    """Ask for trials, end them one ask later, so that one other is always running."""
    proposals: list[Proposal] = []
    for number in range(trials + 1):
        if number < trials:
            proposals.append(asked(ledger.ask()))
        if number > 0:
            last = proposals[number - 1]
            state = {2: "pruned", 5: "failed", 9: "pruned"}.get(last.number, "completed")
            value = score(last.knobs)
            ledger.report(last.number, 3, value - 0.01 * last.number)
            ledger.tell(last.number, state, value if state == "completed" else None)
    return proposals


def same_history(trial: optuna.trial.FrozenTrial) -> tuple[Any, ...]:
    attrs = (trial.user_attrs, trial.system_attrs)
    return (
        trial.number,
        trial.state,
        trial.values,
        trial.params,
        trial.intermediate_values,
        *attrs,
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_and_study_rebuilt_after_every_step_equal_those_left_alone(
    tmp_path: Path, sampler: str
) -> None:
    space = NUMBERS if sampler == "cmaes" else CONDITIONAL
    whole = Ledger(tmp_path / "whole", sampler, space, cut=False)
    cut = Ledger(tmp_path / "cut", sampler, space, cut=True)
    assert play(cut) == play(whole)
    assert cut.told == whole.told
    assert [same_history(trial) for trial in stored(tmp_path / "cut")] == [
        same_history(trial) for trial in stored(tmp_path / "whole")
    ]
    if sampler in LEARNING:  # and it was this sampler that proposed, not its random substitute
        prefix = {"tpe": "tpe:", "gp": "gp:", "cmaes": "cma:"}[sampler]
        assert any(key.startswith(prefix) for key in whole.told[-1].attrs)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_values_are_plain_stay_in_range_and_belong_to_active_knobs(
    tmp_path: Path, sampler: str
) -> None:
    space = NUMBERS if sampler == "cmaes" else CONDITIONAL
    kinds = {"T": int, "Constant": float, "dropout_rate": float, "position": str}
    for proposal in play(Ledger(tmp_path / "run", sampler, space, cut=False), 12):
        assert list(proposal.knobs) == space.active(proposal.knobs)
        for name, value in proposal.knobs.items():
            knob = space.knobs[name]
            assert type(value) is kinds[name]
            if knob.kind == "choice":
                assert value in knob.values
            else:
                assert knob.low <= value <= knob.high


@pytest.mark.parametrize("space", ["baseline", "dynamic_default"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_without_knobs_has_one_point_for_a_grid_and_any_number_for_the_others(
    tmp_path: Path, sampler: str, space: str
) -> None:
    search = create(tmp_path, sampler, load_space(space).resolved(60))
    for number in range(1 if sampler == "grid" else 8):
        assert search.ask() == (number, {})
        search.tell(number, "completed", 0.5)
    assert (search.ask() is None) == (sampler == "grid")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_report_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    search = create(tmp_path)
    search.ask()
    with pytest.raises(ValueError, match="finite"):
        search.report(0, 1, value)
    search.tell(0, "failed", None)
    assert stored(tmp_path)[0].intermediate_values == {}
    assert stored(tmp_path)[0].state == TrialState.FAIL


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_score_that_is_not_finite_is_refused_and_leaves_no_running_trial(
    tmp_path: Path, value: float | None
) -> None:
    search = create(tmp_path)
    search.ask()
    with pytest.raises(ValueError, match="finite"):
        search.tell(0, "completed", value)
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.FAIL]


def test_a_stopped_trial_is_pruned_with_its_last_report_and_never_the_best(tmp_path: Path) -> None:
    search = create(tmp_path)
    for _ in range(2):
        search.ask()
    search.report(0, 1, 0.60)
    search.tell(0, "pruned", None)
    for epoch in range(1, 31):
        search.report(1, epoch, min(0.55, epoch / 20))
    search.tell(1, "completed", 0.55)
    pruned, completed = stored(tmp_path)
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: 0.60})
    assert (completed.state, completed.value) == (TrialState.COMPLETE, 0.55)
    study = optuna.load_study(study_name="run", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.number == 1


def test_a_failed_trial_is_failed_whatever_it_had_reported(tmp_path: Path) -> None:
    search = create(tmp_path)
    search.ask()
    search.report(0, 1, 0.9)
    search.tell(0, "failed", None)
    assert (stored(tmp_path)[0].state, stored(tmp_path)[0].values) == (TrialState.FAIL, None)


def test_ending_a_trial_twice_is_an_error(tmp_path: Path) -> None:
    search = create(tmp_path)
    search.ask()
    search.tell(0, "completed", 0.5)
    with pytest.raises(ValueError, match="COMPLETE"):
        search.tell(0, "pruned", None)


def test_two_runs_never_share_a_study(tmp_path: Path) -> None:
    first, second = create(tmp_path / "a", name="a"), create(tmp_path / "b", name="b")
    first.ask()
    assert (len(stored(tmp_path / "a")), len(stored(tmp_path / "b"))) == (1, 0)
    url = f"sqlite:///{tmp_path / 'a' / 'optuna.db'}"
    assert optuna.study.get_all_study_names(url) == ["a"]
    with pytest.raises(UserError, match="exists already"):
        create(tmp_path / "a", name="b")
    assert asked(second.ask()).number == 0


def test_a_study_and_its_trials_say_what_they_belong_to(tmp_path: Path) -> None:
    path, about = tmp_path / "optuna.db", {"digest": "0123", "arm": "periodic"}
    search = Search.create(NUMBERS, config("tpe"), 0, path, "run", about=about)
    search.ask()
    study = optuna.load_study(study_name="run", storage=f"sqlite:///{path}")
    assert study.user_attrs == {"space": "made", **about}
    assert [trial.user_attrs for trial in study.trials] == [{"config": 0}]


def test_after_a_rebuild_open_trials_go_on_and_none_stays_running(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "run", "tpe", NUMBERS, cut=False)
    for _ in range(2):
        ledger.ask()
    ledger.report(0, 1, 0.2)
    search = rebuild(tmp_path / "run", ledger.told)
    assert [trial.state for trial in stored(tmp_path / "run")] == [TrialState.RUNNING] * 2
    search.report(0, 2, 0.4)
    search.tell(0, "completed", 0.4)
    search.tell(1, "failed", None)
    first, second = stored(tmp_path / "run")
    assert (first.state, first.intermediate_values) == (TrialState.COMPLETE, {1: 0.2, 2: 0.4})
    assert second.state == TrialState.FAIL


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_trial_that_the_record_does_not_hold_is_proposed_again(
    tmp_path: Path, sampler: str
) -> None:
    ledger = Ledger(tmp_path / "run", sampler, NUMBERS, cut=False)
    play(ledger, 6)
    lost = ledger.search.ask()  # the driver is killed before it can record this
    search = rebuild(tmp_path / "run", ledger.told, ledger.study_attrs, sampler)
    assert len(stored(tmp_path / "run")) == 6
    assert search.ask() == lost


def damage(path: Path, how: str) -> None:
    log = path.with_name("optuna.db-wal")
    match how:
        case "deleted":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "no database":
            path.write_bytes(b"\x00garbage" * 5000)
        case "cut in half":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "overwritten inside":
            content = path.read_bytes()
            path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        case "log of another file":
            log.write_bytes(b"\x37\x7f\x06\x82" + b"\x01" * 9000)


@pytest.mark.parametrize(
    "how",
    [
        "deleted",
        "empty",
        "no database",
        "cut in half",
        "overwritten inside",
        "log of another file",
    ],
)
def test_a_damaged_database_is_rebuilt(tmp_path: Path, how: str) -> None:
    ledger = Ledger(tmp_path / "run", "tpe", NUMBERS, cut=False)
    play(ledger, 6)
    before = [same_history(trial) for trial in stored(tmp_path / "run")]
    del ledger.search
    gc.collect()
    damage(tmp_path / "run" / "optuna.db", how)
    rebuild(tmp_path / "run", ledger.told).ask()
    assert [same_history(trial) for trial in stored(tmp_path / "run")[:6]] == before
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "optuna.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_reader_that_has_the_database_open_sees_the_rebuilt_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "run", "tpe", NUMBERS, cut=False)
    play(ledger, 3)
    url = f"sqlite:///{tmp_path / 'run' / 'optuna.db'}"
    dashboard = optuna.load_study(study_name="run", storage=url)
    assert len(dashboard.trials) == 3
    search = rebuild(tmp_path / "run", ledger.told)
    search.ask()
    assert [trial.state for trial in dashboard.trials][3:] == [TrialState.RUNNING]
    del dashboard
    gc.collect()
    search.tell(3, "completed", 0.5)
    assert stored(tmp_path / "run")[3].value == 0.5


def test_the_database_is_one_file_once_the_search_is_gone(tmp_path: Path) -> None:
    search = create(tmp_path)
    search.ask()
    del search
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.db"]
    assert len(stored(tmp_path)) == 1


def test_any_folder_name_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "50%20 of {T}? #1"
    search = create(folder)
    search.ask()
    assert [path.name for path in folder.iterdir() if path.suffix == ".db"] == ["optuna.db"]
    with contextlib.closing(sqlite3.connect(folder / "optuna.db")) as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (1,)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_database_that_another_program_holds_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "BUSY_S", 0.05)
    search = create(tmp_path / "run")
    search.ask()
    path = tmp_path / "run" / "optuna.db"
    with locked(path), pytest.raises(UserError, match=r"locked.*tuner resume run"):
        search.report(0, 1, 0.5)
    with locked(path), pytest.raises(UserError, match=r"locked.*tuner resume run"):
        rebuild(tmp_path / "run", [])
    search.report(0, 1, 0.5)


def test_a_grid_stops_at_its_last_point_and_has_proposed_each_exactly_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "run", "grid", CONDITIONAL, cut=False)
    points = 8 * (3 + 1 + 3)  # T × (bn1 with three rates, bn2 without a rate, all with three)
    assert ledger.search.remaining() == points
    for number in range(points):
        proposal = asked(ledger.ask())
        ledger.tell(number, "failed" if number % 3 else "completed", None if number % 3 else 0.5)
        assert ledger.search.remaining() == points - number - 1
        assert proposal.number == number
    assert ledger.ask() is None
    assert ledger.ask() is None
    assert len({tuple(sorted(one.knobs.items())) for one in ledger.told}) == points
    resumed = rebuild(tmp_path / "run", ledger.told, sampler="grid", space=CONDITIONAL)
    assert (resumed.remaining(), resumed.ask()) == (0, None)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_the_other_samplers_never_run_out(tmp_path: Path, sampler: str) -> None:
    space = space_of({"T": {"kind": "int", "low": 1, "high": 2}})
    ledger = Ledger(tmp_path / "run", sampler, space, cut=False)
    assert ledger.search.remaining() is None
    assert len(play(ledger, 10)) == 10


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_logged_or_warned_of(
    tmp_path: Path, sampler: str, caplog: pytest.LogCaptureFixture
) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)  # as Optuna starts
    optuna.logging.enable_propagation()
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.INFO):
            warnings.simplefilter("error")
            play(Ledger(tmp_path / "run", sampler, NUMBERS, cut=False), 8)
    finally:
        optuna.logging.disable_propagation()
    assert caplog.records == []


def test_a_search_loads_neither_torch_nor_ray() -> None:
    code = "import sys, tuner.search; print({'torch', 'ray', 'scipy', 'cmaes'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
