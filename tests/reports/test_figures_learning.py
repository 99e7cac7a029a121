"""Learning curves: the data exactly, the drawing by smoke test."""

from __future__ import annotations

from reports.figures.learning import draw_learning, injecting_arms, learning_curves
from reports.figures.runs import Trial
from tests.reports.drawing import assert_drawn
from tests.reports.made_trials import made_curve, made_trial


def test_arms_are_paired_as_in_the_paper_and_others_come_alone() -> None:
    trials = {arm: [made_trial(0, made_curve([0.1]), arm=arm)] for arm in
              ("baseline", "dropout", "periodic", "dynamic", "dynamic+dropout")}  # fmt: skip
    assert [(curves.arms, curves.paper) for curves in learning_curves(trials)] == [
        (("baseline", "periodic"), "3 and 4"),
        (("baseline", "dropout"), "5 and 6"),
        (("periodic", "dynamic"), "10 and 11"),
        (("dynamic+dropout",), ""),
    ]


def test_the_line_is_the_best_trial_and_the_count_that_of_trials_that_reached_the_epoch() -> None:
    trials = [
        made_trial(0, made_curve([0.1, 0.2], loss=[2.0, 1.0])),
        made_trial(1, made_curve([0.3], loss=[1.5], injected=[0.5])),
    ]
    (curves,) = learning_curves({"periodic": trials})
    assert curves.best == (("r #1", 0.3, 2),)
    assert [(p.epoch, p.loss, p.f1, p.injected, p.trials) for p in curves.points] == [
        (1, 1.5, 0.3, 0.5, 2),
        (2, None, None, None, 1),
    ]
    assert injecting_arms(curves) == ["periodic"]


def test_the_band_is_of_quantiles_and_needs_five_trials() -> None:
    trials = [made_trial(i, made_curve([i / 10])) for i in range(5)]
    (few,) = learning_curves({"periodic": trials[:4]})
    assert few.points[0].f1_median is None
    (point,) = learning_curves({"periodic": trials})[0].points
    # numpy's default quantile of 0, 0.1, …, 0.4 at 0.1 lies 0.4 of the way from 0 to 0.1
    assert (point.f1_low, point.f1_median, point.f1_high) == (0.04000000000000001, 0.2, 0.36)


def test_a_band_is_described_only_where_one_is_drawn() -> None:
    def notes(**trials: list[Trial]) -> tuple[str, ...]:
        (curves,) = learning_curves(trials)
        return draw_learning(curves).notes

    dynamic = [made_trial(i, made_curve([0.2, 0.3]), arm="dynamic") for i in range(4)]
    # Five trials share the first epoch alone: a band of one epoch has no area.
    short = [made_trial(i, made_curve([0.1, 0.2][: 1 + (i < 3)])) for i in range(5)]
    assert notes(periodic=short, dynamic=dynamic) == ()
    long = [made_trial(i, made_curve([0.1, 0.2])) for i in range(5)]
    band = "Band and thin line: 10 % to 90 % and median of the arm's trials that reached the epoch"
    assert notes(periodic=long, dynamic=dynamic) == (f"{band} (none for dynamic: fewer than 5).",)
    stopped = [*long, made_trial(5, made_curve([0.1]))]
    (note,) = notes(periodic=stopped)
    assert note.startswith(f"{band}. Trials that were stopped early are missing")


def test_an_arm_whose_trials_all_failed_has_no_curve() -> None:
    assert learning_curves({"periodic": [made_trial(0, state="crashed")]}) == []


def test_thinning_is_told() -> None:
    (curves,) = learning_curves({"baseline": [made_trial(0, made_curve([0.1] * 1000))]})
    assert len(curves.points) <= 301
    assert any(note.startswith("Thinned: ") for note in draw_learning(curves).notes)


def test_it_draws_with_one_epoch_and_with_two_injecting_arms() -> None:
    trials = {
        "periodic": [made_trial(0, made_curve([0.1, 0.2], injected=[0, 1]))],
        "dynamic": [made_trial(i, made_curve([0.1 + i, 0.2], injected=[0.3, 0.1]), arm="dynamic")
                    for i in range(6)],
    }  # fmt: skip
    (curves,) = learning_curves(trials)
    assert_drawn(draw_learning(curves))
    (one,) = learning_curves({"baseline": [made_trial(0, made_curve([0.1]))]})
    assert_drawn(draw_learning(one))
