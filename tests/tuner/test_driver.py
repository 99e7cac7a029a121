"""The run's state machine, driven by a scheduler of one slot in plain Python."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.tuner import simulation
from tests.tuner.simulation import Clock, row, run, run_in_pieces, spec
from trainables.config import TrialConfig
from tuner.driver import Driver
from tuner.record import Record
from tuner.seeding import is_audited, trial_seed


def noisy_curve(trial: TrialConfig, epoch: int) -> float:
    """Rise to a level that is best at T = 4, with noise that only the seed decides."""
    text = f"{trial.seed}:{epoch}".encode()
    noise = int.from_bytes(hashlib.sha256(text).digest()[:4], "big") / 2**32
    level = 0.6 - 0.05 * abs((trial.injection.T or 4) - 4)
    return level * (1 - 0.8**epoch) + 0.05 * noise


def content(folder: Path) -> dict[str, Any]:
    """Return all of a record that does not depend on the clock."""
    with Record.open(folder) as record:
        trials = [
            (
                t.number,
                t.config,
                t.seed,
                t.knobs,
                t.state,
                t.reason,
                t.epochs,
                t.score,
                t.test_score,
            )
            for t in record.trials()
        ]
        epochs = {t[0]: record.epochs(t[0]) for t in trials}
        rungs = [(r.trial, r.rung_epoch, r.value, r.rank, r.stop) for r in record.rungs()]
        configs = [(c.number, c.knobs, c.state, c.value) for c in record.configs()]
    return {"trials": trials, "epochs": epochs, "rungs": rungs, "configs": configs}


def optuna_states(folder: Path) -> list[optuna.trial.TrialState]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'optuna.db'}")
    return [trial.state for trial in study.trials]


@pytest.mark.parametrize("space", ["periodic_T", "dynamic", "baseline"])
@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_a_search_killed_after_every_few_epochs_equals_the_undisturbed_one(
    tmp_path: Path, space: str, scheduler: str
) -> None:
    specification = spec(space, scheduler={"name": scheduler}, budget={"trials": 12})
    run(tmp_path / "whole", specification, noisy_curve)
    assert run_in_pieces(tmp_path / "cut", specification, noisy_curve) > 5
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert optuna_states(tmp_path / "cut") == optuna_states(tmp_path / "whole")
    assert optuna.trial.TrialState.RUNNING not in optuna_states(tmp_path / "cut")


def test_stopped_trials_are_pruned_in_optuna_and_carry_the_reason(tmp_path: Path) -> None:
    run(tmp_path / "run", spec(budget={"trials": 16}), noisy_curve)
    with Record.open(tmp_path / "run") as record:
        pruned = [trial for trial in record.trials() if trial.state == "pruned"]
    assert pruned
    assert all("ranks" in (trial.reason or "") for trial in pruned)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'run/optuna.db'}")
    for trial in pruned:
        frozen = study.trials[trial.config]
        assert frozen.state == optuna.trial.TrialState.PRUNED
        assert frozen.intermediate_values[trial.epochs] == trial.score


def test_equal_scores_do_not_disable_stopping_and_the_run_says_so(tmp_path: Path) -> None:
    run(
        tmp_path / "run",
        spec("baseline", budget={"trials": 9}),
        lambda trial, epoch: 0.1,
    )
    with Record.open(tmp_path / "run") as record:
        states = [trial.state for trial in record.trials()]
        kinds = [event.kind for event in record.events()]
    assert states[0] == "completed"
    assert states.count("pruned") >= 5
    assert "tie" in kinds


def test_a_diverged_trial_is_failed_in_optuna_and_the_others_go_on(tmp_path: Path) -> None:
    specification = spec("baseline", budget={"trials": 4})
    clock = Clock()
    driver = simulation.open_driver(tmp_path / "run", specification, clock)
    first = driver.next_trial()
    assert first is not None
    driver.on_started(first.number, "cpu", "worker")
    bad = row(1, 0.0, 0.0, 1, diverged=True, reason="loss is nan", train_loss=None, val_loss=None)
    assert driver.on_row(first.number, bad, 0.0)
    driver.record.close()
    run(tmp_path / "run", specification, noisy_curve, clock=clock)
    with Record.open(tmp_path / "run") as record:
        states = [trial.state for trial in record.trials()]
    assert states[0] == "diverged"
    assert set(states[1:]) <= {"completed", "pruned"}
    assert optuna_states(tmp_path / "run")[0] == optuna.trial.TrialState.FAIL


def test_a_clock_that_is_set_spends_no_budget(tmp_path: Path) -> None:
    clock, steady = Clock(), Clock()
    driver = simulation.open_driver(
        tmp_path / "run", spec(budget={"trials": 2, "wall_hours": 1.0}), clock, steady
    )
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_started(assignment.number, "cpu", "worker")
    for epoch, jump_s in enumerate((1.0, 1e8, -2e8), start=1):
        clock.now_s += jump_s
        steady.now_s += 1.0
        driver.on_row(assignment.number, row(epoch, 0.1 * epoch, 0.1 * epoch, epoch), 0.0)
    totals = driver.record.totals()
    assert (totals.slot_s, totals.active_s) == (3.0, 3.0)
    assert driver.next_trial() is not None
    driver.record.close()


def test_a_crashed_trial_is_charged_failed_and_keeps_its_message(tmp_path: Path) -> None:
    clock = Clock()
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 2}), clock)
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_started(assignment.number, "cpu", "worker")
    clock.now_s += 5
    driver.on_crashed(assignment.number, "Traceback\nRuntimeError: CUDA out of memory. Tried …")
    trial = driver.record.trial(assignment.number)
    assert (trial.state, trial.slot_s) == ("crashed", 5.0)
    assert "--gpus-per-trial" in (trial.error or "")
    assert (assignment.folder / "error.txt").read_text().startswith("Traceback")
    assert optuna_states(tmp_path / "run") == [optuna.trial.TrialState.FAIL]
    driver.record.close()


def test_three_crashes_before_any_epoch_end_the_run(tmp_path: Path) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 9}), Clock())
    count = 0
    while (assignment := driver.next_trial()) is not None:
        driver.on_started(assignment.number, "cpu", "worker")
        driver.on_crashed(assignment.number, "ImportError: no module")
        count += 1
    assert count == 3
    assert "ImportError: no module" in (driver.interrupted or "")
    driver.record.close()


def test_ten_crashes_in_a_row_end_the_run_and_an_epoch_between_starts_the_count_anew(
    tmp_path: Path,
) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 99}), Clock())
    count = 0
    while (assignment := driver.next_trial()) is not None:
        driver.on_started(assignment.number, "cpu", "worker")
        if count in (0, 5):
            driver.on_row(assignment.number, row(1, 0.5, 0.5, 1), 0.0)
        driver.on_crashed(assignment.number, "FileNotFoundError: images.npy")
        count += 1
    assert count == 5 + 10
    assert "10 trials in a row crashed" in (driver.interrupted or "")
    driver.record.close()


@pytest.mark.parametrize("told_before", [False, True])
def test_a_trial_whose_reused_worker_dies_before_taking_it_is_handed_out_again(
    tmp_path: Path, told_before: bool
) -> None:
    specification = spec(budget={"trials": 1}, resources={"retries": 2})
    driver = simulation.open_driver(tmp_path / "run", specification, Clock())
    handed_out = 0
    while (assignment := driver.next_trial()) is not None:
        handed_out += 1
        assert driver.may_hand_out_more
        assert driver.next_trial() is None  # the budget is spent, but this one may come back
        death = f"(occurred at 12:00)\nThe actor died unexpectedly, pid {handed_out}"
        if told_before:
            driver.on_retry(assignment.number, f"1 {death}")
        driver.on_crashed(assignment.number, f"2 {death}")
    assert not driver.may_hand_out_more
    trial = driver.record.trial(0)
    assert (handed_out, trial.state, trial.reason) == (3, "crashed", "worker died")
    told = [event.kind for event in driver.record.events()].count("retry")
    assert told == (3 if told_before else 2)
    driver.record.close()


def test_a_trial_whose_last_retry_dies_before_taking_it_has_crashed(tmp_path: Path) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 1}), Clock())
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_retry(assignment.number, "1 (occurred at 12:00)\nThe actor died, pid 1")
    driver.on_crashed(assignment.number, "2 (occurred at 12:01)\nThe actor died, pid 2")
    assert driver.record.trial(assignment.number).state == "crashed"
    driver.record.close()


def test_the_record_says_on_which_device_and_worker_a_trial_was_trained(tmp_path: Path) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 1}), Clock())
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_started(assignment.number, "gpu", "88acc01b")
    driver.on_placed(assignment.number, "NVIDIA GeForce RTX 3090", "10.0.0.7:4711")
    trial = driver.record.trial(assignment.number)
    assert (trial.device, trial.worker) == ("NVIDIA GeForce RTX 3090", "10.0.0.7:4711")
    driver.record.close()


def test_a_full_disk_ends_the_run_and_leaves_the_trial_waiting(tmp_path: Path) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 9}), Clock())
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_started(assignment.number, "cpu", "worker")
    driver.on_crashed(assignment.number, "OSError: [Errno 28] No space left on device")
    assert driver.next_trial() is None
    assert driver.interrupted == "disk full"
    assert driver.record.trial(assignment.number).state == "waiting"
    driver.record.close()


def test_an_interrupt_stops_after_the_epoch_and_the_rest_equals_the_undisturbed_run(
    tmp_path: Path,
) -> None:
    specification = spec(budget={"trials": 5}, scheduler={"before_injection": False})

    def interrupt(driver: Driver, number: int, epoch: int) -> None:
        if (number, epoch) == (1, 2):
            driver.interrupted = "interrupted"

    run(tmp_path / "whole", specification, noisy_curve)
    run(tmp_path / "cut", specification, noisy_curve, on_event=interrupt)
    with Record.open(tmp_path / "cut") as record:
        trial = record.trial(1)
        assert (trial.state, trial.epochs) == ("waiting", 2)
    run(tmp_path / "cut", specification, noisy_curve)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_only_a_trial_that_no_worker_has_taken_is_taken_back_and_it_continues_later(
    tmp_path: Path,
) -> None:
    specification = spec("baseline", budget={"trials": 2})
    driver = simulation.open_driver(tmp_path / "run", specification, Clock())
    first, second = driver.next_trial(), driver.next_trial()
    assert first is not None
    assert second is not None
    driver.on_started(first.number, "cpu", "worker")
    driver.interrupted = "interrupted"
    assert [driver.take_back(one.number) for one in (first, second)] == [False, True]
    assert not driver.may_hand_out_more
    assert driver.record.trial(second.number).slot_s == 0
    driver.interrupt_all("interrupted")
    driver.record.close()
    run(tmp_path / "run", specification, noisy_curve)
    with Record.open(tmp_path / "run") as record:
        assert [trial.state for trial in record.trials()] == ["completed", "completed"]


def test_a_row_that_arrives_twice_counts_once(tmp_path: Path) -> None:
    clock = Clock()
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 1}), clock)
    assignment = driver.next_trial()
    assert assignment is not None
    number = assignment.number
    first, second = simulation.rows(assignment.trial, noisy_curve)[:2]
    driver.on_started(number, "cpu", "a")
    assert not driver.on_row(number, first, 0.0)
    driver.on_retry(number, "The actor died unexpectedly")
    driver.on_started(number, "cpu", "b")
    assert not driver.on_row(number, first, 0.0)
    assert not driver.on_row(number, second, 0.0)
    trial = driver.record.trial(number)
    assert (trial.epochs, trial.attempts) == (2, 2)
    assert [event.kind for event in driver.record.events()].count("retry") == 1
    driver.record.close()


def test_slot_time_counts_the_start_of_the_process_but_not_the_wait_for_a_slot(
    tmp_path: Path,
) -> None:
    clock = Clock()
    driver = simulation.open_driver(tmp_path / "run", spec(budget={"trials": 1}), clock)
    assignment = driver.next_trial()
    assert assignment is not None
    clock.now_s += 100.0  # waits for another user of the cluster
    driver.on_started(assignment.number, "cpu", "worker")
    clock.now_s += 2.0
    first = simulation.rows(assignment.trial, noisy_curve)[0]
    driver.on_row(assignment.number, first, startup_s=4.0)
    assert driver.record.trial(assignment.number).slot_s == pytest.approx(6.0)
    driver.record.close()


def test_seeds_of_a_configuration_are_told_as_one_trial_with_their_mean(tmp_path: Path) -> None:
    specification = spec(
        seeds=3, scheduler={"name": "none"}, budget={"trials": 7}, sampler={"name": "random"}
    )
    run(tmp_path / "run", specification, noisy_curve)
    with Record.open(tmp_path / "run") as record:
        trials, configs = record.trials(), record.configs()
    assert len(trials) == 6  # seven trials do not hold a third configuration of three
    assert [t.seed for t in trials[:3]] == [t.seed for t in trials[3:]]
    assert len({t.seed for t in trials}) == 3
    for config in configs:
        scores = [t.score for t in trials if t.config == config.number]
        assert config.value == pytest.approx(sum(s for s in scores if s) / 3, abs=1e-15)


def test_an_epoch_budget_ends_asking_and_lets_the_running_trial_finish(tmp_path: Path) -> None:
    specification = spec(
        "baseline", scheduler={"name": "none"}, budget={"trials": None, "epochs": 25}
    )
    run(tmp_path / "run", specification, noisy_curve)
    with Record.open(tmp_path / "run") as record:
        assert [trial.epochs for trial in record.trials()] == [12, 12, 12]


def test_a_wall_time_budget_ends_asking_leaves_nothing_running_and_can_be_raised(
    tmp_path: Path,
) -> None:
    # Tune's own time budget would terminate trials that Optuna then counts as running for ever.
    limited = spec("baseline", scheduler={"name": "none"}, budget={"wall_hours": 20 / 3600})
    run(tmp_path / "run", limited, noisy_curve)
    assert optuna_states(tmp_path / "run") == [optuna.trial.TrialState.COMPLETE] * 2
    more = spec("baseline", scheduler={"name": "none"}, budget={"wall_hours": 30 / 3600})
    run(tmp_path / "run", more, noisy_curve)
    assert optuna_states(tmp_path / "run") == [optuna.trial.TrialState.COMPLETE] * 3


def test_fresh_seeds_differ_between_trials_and_between_spaces() -> None:
    one, other = spec("periodic_T"), spec("baseline")
    seeds = {trial_seed(s, number) for s in (one, other) for number in range(500)}
    assert len(seeds) == 1000


def test_the_audited_share_is_near_what_was_asked_for() -> None:
    audited = spec(scheduler={"audit": 0.1})
    count = sum(is_audited(audited, number) for number in range(10_000))
    assert abs(count - 1000) < 6 * (10_000 * 0.1 * 0.9) ** 0.5  # six sigma of a binomial


def test_a_diverged_trial_neither_enters_a_rung_there_nor_keeps_its_weights(tmp_path: Path) -> None:
    driver = simulation.open_driver(
        tmp_path / "run", spec("baseline", scheduler={"first_rung": 2}), Clock()
    )
    for f1, diverges in ((0.9, True), (0.4, False)):
        assignment = driver.next_trial()
        assert assignment is not None
        number = assignment.number
        driver.on_started(number, "cpu", "worker")
        assignment.folder.mkdir(parents=True)
        (assignment.folder / "best.pt").touch()
        assert not driver.on_row(number, row(1, f1, f1, 1), 0.0)
        changes = {"diverged": True, "reason": "not finite"} if diverges else {}
        stopped = driver.on_row(number, row(2, 0.0, f1, 1, **changes), 0.0)
        assert stopped == diverges  # 0.4 is not stopped by the 0.9 of a trial that came to nothing
    for epoch in range(3, 13):
        driver.on_row(number, row(epoch, f1, f1, 1), 0.0)
    assert [judged.trial for judged in driver.record.rungs() if judged.rung_epoch == 2] == [1]
    driver.record.close()
    assert [path.parent.name for path in (tmp_path / "run/trials").glob("*/best.pt")] == ["00001"]


def test_what_still_runs_at_the_end_waits_and_is_charged(tmp_path: Path) -> None:
    clock = Clock()
    driver = simulation.open_driver(tmp_path / "run", spec("baseline"), clock)
    first, second = driver.next_trial(), driver.next_trial()
    assert first is not None
    assert second is not None  # asked for, but no worker has taken it
    driver.on_started(first.number, "cpu", "worker")
    clock.now_s += 5.0
    driver.interrupt_all("stopped")
    trials = driver.record.trials()
    driver.record.close()
    assert [(t.state, t.slot_s) for t in trials] == [("waiting", 5.0), ("waiting", 0.0)]


def test_files_of_ended_trials_that_a_kill_left_are_removed_by_the_next_driver(
    tmp_path: Path,
) -> None:
    run(tmp_path / "run", spec(budget={"trials": 4}), noisy_curve)
    for number in range(4):
        folder = tmp_path / "run/trials" / f"{number:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("best.pt", "state.pt", "state.previous.pt", "state.pt.new"):
            (folder / name).touch()
    run(tmp_path / "run", spec(budget={"trials": 4}), noisy_curve)
    with Record.open(tmp_path / "run") as record:
        best = record.best()
    assert best is not None
    assert not list((tmp_path / "run/trials").glob("*/state*"))
    left = [path.parent.name for path in (tmp_path / "run/trials").glob("*/best.pt")]
    assert left == [f"{best.number:05d}"]


def test_only_the_best_trials_weights_stay(tmp_path: Path) -> None:
    def keep(driver: Driver, number: int, epoch: int) -> None:
        folder = driver.folder / "trials" / f"{number:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "best.pt").touch()
        (folder / "state.pt").touch()

    run(tmp_path / "run", spec(budget={"trials": 6}), noisy_curve, on_event=keep)
    with Record.open(tmp_path / "run") as record:
        best = record.best()
    assert best is not None
    left = sorted(path.parent.name for path in (tmp_path / "run/trials").glob("*/best.pt"))
    assert left == [f"{best.number:05d}"]
    assert not list((tmp_path / "run/trials").glob("*/state.pt"))


def test_a_shared_epoch_is_recorded_as_such_and_its_cost_credited(tmp_path: Path) -> None:
    clock = Clock()
    specification = spec(seeds="fixed", budget={"trials": 2})
    driver = simulation.open_driver(tmp_path / "run", specification, clock)
    assignment = driver.next_trial()
    assert assignment is not None
    assert assignment.trunk is not None
    assert assignment.trunk["folder"] == str(tmp_path / "run" / "trunks")
    driver.on_started(assignment.number, "cpu", "worker")
    driver.on_shared(assignment.number, 2, "k" * 64, "b" * 64, waited_s=0.6, exact=True)
    driver.on_row(assignment.number, row(1, 0.2, 0.2, 1, shared=True), 0.0)
    clock.now_s += 3.0
    driver.on_row(assignment.number, row(2, 0.3, 0.3, 2), 0.0)
    trial = driver.record.trial(assignment.number)
    assert (trial.stand_alone_epochs, trial.as_run_epochs) == (2, 1)
    assert trial.sharing == "shared"
    assert trial.saved_slot_s == pytest.approx(1.0 + 0.1 - 0.6)
    assert trial.stand_alone_slot_s == pytest.approx(trial.slot_s + 0.5)
    assert driver.record.totals().epochs == 1  # what a budget counts
    driver.board.close()


def test_sharing_that_may_change_bits_is_called_so(tmp_path: Path) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(seeds="fixed"), Clock())
    assignment = driver.next_trial()
    assert assignment is not None
    driver.on_started(assignment.number, "gpu", "worker")
    driver.on_shared(assignment.number, 1, "k" * 64, "b" * 64, waited_s=0.0, exact=False)
    driver.on_row(assignment.number, row(1, 0.2, 0.2, 1, shared=True), 0.0)
    assert driver.record.trial(assignment.number).sharing == "shared, not bit-reproducible"
    driver.board.close()


@pytest.mark.parametrize(
    ("flags", "shares"),
    [
        ({}, False),
        ({"resources": {"share": True}}, True),
        ({"seeds": "fixed"}, True),
        ({"seeds": 3}, True),
        ({"seeds": 3, "resources": {"share": False}}, False),
        ({"resources": {"trunks": "/somewhere"}}, True),
    ],
)
def test_trials_share_by_default_where_they_have_seeds_in_common(
    tmp_path: Path, flags: dict[str, Any], shares: bool
) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(**flags), Clock())
    assignment = driver.next_trial()
    assert assignment is not None
    assert (assignment.trunk is not None) == shares
    driver.board.close()


def test_a_free_slot_takes_a_trial_whose_trunk_nobody_trains(tmp_path: Path) -> None:
    driver = simulation.open_driver(tmp_path / "run", spec(seeds=2, budget={"trials": 6}), Clock())
    first = driver.next_trial()  # asks for a configuration, two seeds
    assert first is not None
    driver.on_started(first.number, "cpu", "one")
    driver.queue.extend([2, 3])
    driver._ask()
    driver.queue.clear()
    driver.queue.extend([2, 1, 3])  # 2 has the seed of 0, which is being trained
    second = driver.next_trial()
    assert second is not None
    assert second.number == 1
    third = driver.next_trial()
    assert third is not None
    assert third.number == 2  # all seeds are busy: in the order of asking
    driver.board.close()


def test_the_state_of_a_stopped_trial_is_kept_for_one_like_it(tmp_path: Path) -> None:
    specification = spec(seeds="fixed", budget={"trials": 12})

    def hand_over(driver: Driver, number: int, epoch: int) -> None:
        folder = tmp_path / "run" / "trials" / f"{number:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.pt").write_text(f"{number} {epoch}")
        (folder / "best.pt").write_text("weights")
        driver.on_shared(number, epoch, f"key-{number}-{epoch}", "b" * 64, 0.0, True)

    run(tmp_path / "run", specification, noisy_curve, on_event=hand_over)
    with Record.open(tmp_path / "run") as record:
        pruned = [trial for trial in record.trials() if trial.state == "pruned"]
    assert pruned
    kept = {path.name for path in (tmp_path / "run" / "trunks").glob("key-*.pt")}
    assert kept == {f"key-{trial.number}-{trial.epochs}.pt" for trial in pruned}
