"""Best so far and timeline: the data exactly, the drawing by smoke test."""

from __future__ import annotations

from reports.figures.searches import draw_progress, draw_timeline, progress, timeline
from tests.reports.drawing import assert_drawn
from tests.reports.made_trials import made_curve, made_run, made_trial


def test_best_so_far_counts_all_cost_in_the_order_of_ending_and_no_failed_score() -> None:
    trials = [
        made_trial(0, made_curve([0.1, 0.2]), ended_at=300.0),
        made_trial(1, made_curve([0.3]), ended_at=100.0, state="diverged"),
        made_trial(2, made_curve([0.15]), ended_at=200.0),
        made_trial(3, made_curve([0.9]), ended_at=None, state="running"),
    ]
    found = progress([made_run(trials)])
    assert found is not None
    assert [(s.trial, s.epochs, s.slot_hours, s.best) for s in found.steps] == [
        ("r #1", 1, 1 / 60, None),
        ("r #2", 2, 2 / 60, 0.15),
        ("r #0", 4, 3 / 60, 0.2),
    ]
    assert found.slot_unit == "CPU slot-hours"
    assert_drawn(draw_progress(found))


def test_steps_at_which_nothing_changes_are_left_out_between_first_and_last() -> None:
    trials = [made_trial(i, made_curve([0.5 - i / 100])) for i in range(10)]
    found = progress([made_run(trials)])
    assert found is not None
    assert [step.epochs for step in found.steps] == [1, 10]
    assert "r reached 0.500 after 1 epochs" in draw_progress(found).message


def test_where_every_trial_failed_there_is_no_best() -> None:
    assert progress([made_run([made_trial(0, state="crashed")])]) is None


def test_gpu_hours_are_called_so_and_mixed_devices_are_not_added() -> None:
    gpu, cpu = made_trial(0, device="cuda:0"), made_trial(0)
    found = progress([made_run([gpu], "a")])
    assert found is not None
    assert found.slot_unit == "GPU-hours"
    both = progress([made_run([gpu], "a"), made_run([cpu], "b")])
    assert both is not None
    assert both.slot_unit == "slot-hours of different devices"


def test_trials_lie_on_the_first_slot_that_is_free() -> None:
    trials = [
        made_trial(0, started_at=0.0, ended_at=120.0),
        made_trial(1, started_at=0.0, ended_at=60.0),
        made_trial(2, started_at=60.0, ended_at=180.0),
        made_trial(3, started_at=120.0, ended_at=None, state="running"),
        made_trial(4, started_at=None, ended_at=None, state="waiting"),
    ]
    found = timeline(made_run(trials))
    assert found is not None
    assert [(bar.slot, bar.start_min, bar.end_min) for bar in found.bars] == [
        (1, 0.0, 2.0),
        (2, 0.0, 1.0),
        (2, 1.0, 3.0),
        (1, 2.0, 3.0),
    ]
    assert (found.slots, found.unstarted, found.began) == (2, 1, "1970-01-01 00:00 UTC")
    assert "1 trial never started" in draw_timeline(found).message
    assert_drawn(draw_timeline(found))


def test_a_run_in_which_nothing_started_has_no_timeline() -> None:
    assert timeline(made_run([made_trial(0, started_at=None, state="waiting")])) is None


def test_a_long_run_is_drawn() -> None:
    trials = [made_trial(i, started_at=i * 9e4, ended_at=(i + 1) * 9e4) for i in range(100)]
    found = timeline(made_run(trials))
    assert found is not None
    assert_drawn(draw_timeline(found))
