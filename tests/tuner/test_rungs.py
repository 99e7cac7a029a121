"""Early stopping: each line of the notes on ASHA that would corrupt an answer, and restoring."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.model import UserError
from tuner.rungs import Decision, Halving, MedianStopping, build_stopping, default_first_rung


@dataclass(frozen=True)
class Row:
    """A recorded judgement, as the record's rung table gives it."""

    trial: int
    decision: Decision


def stops(stopping: Halving | MedianStopping, values: list[float], epoch: int) -> list[bool]:
    decisions = [stopping.judge(trial, epoch, value) for trial, value in enumerate(values)]
    return [decision.stop for decision in decisions if decision is not None]


@pytest.mark.parametrize(
    ("max_epochs", "reduction", "first_rung", "rungs"),
    [
        (243, 3, 1, (1, 3, 9, 27, 81)),  # log(243) / log(3) is 4.999… in floating point
        (3**20, 3, 1, tuple(3**k for k in range(20))),
        (1000, 10, 1, (1, 10, 100)),  # as is log(1000) / log(10)
        (125, 5, 1, (1, 5, 25)),
        (12, 3, None, (2, 6)),
        (60, 3, None, (7, 21)),
        (60, 2, None, (15, 30)),
        (3, 3, None, (1,)),
        (2, 3, None, (1,)),
        (1, 3, None, ()),
        (60, 3, 59, (59,)),
    ],
)
def test_rungs_are_exact_integers_and_never_the_last_epoch(
    max_epochs, reduction, first_rung, rungs
):
    assert Halving(max_epochs, reduction, first_rung).rungs == rungs


@given(st.integers(2, 10**6), st.integers(2, 16))
def test_the_default_gives_one_or_two_rungs_from_a_ninth_on(max_epochs, reduction):
    rungs = Halving(max_epochs, reduction).rungs
    assert len(rungs) in (1, 2) and rungs[-1] < max_epochs
    assert (rungs[0] - 1) * reduction**2 < max_epochs <= rungs[0] * reduction**2


def test_a_first_rung_that_is_no_epoch_before_the_last_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"first_rung must be less than epochs \(12\), but got 12"):
        Halving(12, first_rung=12)
    with pytest.raises(UserError, match="but got 13"):
        MedianStopping(12, first_rung=13)


def test_equal_values_do_not_protect_each_other():
    # Ray's ASHA stops none of these (strict <): collapsed networks would run to the end.
    halving = Halving(60)
    decisions = [halving.judge(trial, 7, 0.0357) for trial in range(9)]
    assert [d.stop for d in decisions] == [False] + [True] * 8
    assert [d.tied for d in decisions] == list(range(9))
    assert [d.rank for d in decisions] == list(range(1, 10))


def test_a_collapsed_trial_is_stopped_by_better_ones_and_stops_none_of_them():
    assert stops(Halving(60), [0.03, 0.5, 0.03, 0.03, 0.6], 7) == [False, False, True, True, False]


def test_a_newcomer_survives_up_to_the_rounded_up_share():
    halving = Halving(60)
    # entries 1…6 with ceil(n/3) = 1, 1, 1, 2, 2, 2 places
    assert stops(halving, [0.5, 0.4, 0.6, 0.5, 0.55, 0.55], 7) == [
        False, True, False, True, False, True,
    ]  # fmt: skip


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(2, 5))
def test_halving_agrees_with_sorting_all_entries_again(values, reduction):
    halving = Halving(1000, reduction, first_rung=5)
    for trial, value in enumerate(values):
        decision = halving.judge(trial, 5, value)
        # sorted() is stable: among equals the earlier one goes first
        order = sorted(range(trial + 1), key=lambda index: -values[index])
        survivors = math.ceil((trial + 1) / reduction)
        assert decision.rank == order.index(trial) + 1
        assert decision.entries == trial + 1
        assert decision.tied == values[:trial].count(value)
        assert decision.stop == (trial not in order[:survivors])
        worst_survivor = values[order[survivors - 1]]
        assert decision.cutoff == worst_survivor


@pytest.mark.parametrize("stopping", [Halving(60), MedianStopping(60)])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error_and_enters_nothing(stopping, value):
    with pytest.raises(ValueError, match="must be finite"):
        stopping.judge(0, 7, value)
    assert stopping.judge(1, 7, 0.5).entries == 1


def test_a_late_value_never_enters_the_rungs_it_has_passed():
    # Ray's default wrote an epoch-14 value into rung 1 and stopped a newcomer against it.
    halving = Halving(60)
    assert halving.judge(0, 14, 0.9) is None
    assert halving.judge(0, 21, 0.9).entries == 1
    newcomer = halving.judge(1, 7, 0.1)
    assert (newcomer.entries, newcomer.stop) == (1, False)


def test_a_trial_is_judged_only_at_exactly_a_rung():
    halving = Halving(60)
    judged = [epoch for epoch in range(1, 61) if halving.judge(0, epoch, 0.5) is not None]
    assert judged == [7, 21]


def test_judging_again_returns_the_recorded_decision_and_enters_nothing():
    halving = Halving(60)
    halving.judge(0, 7, 0.5)
    first = halving.judge(1, 7, 0.4)
    assert halving.judge(1, 7, 0.99) == first
    assert halving.judge(2, 7, 0.45).entries == 3


def test_an_audited_trial_counts_as_an_entry_but_is_never_stopped():
    halving = Halving(60)
    halving.judge(0, 7, 0.5)
    audited = halving.judge(1, 7, 0.4, exempt=True)
    assert (audited.stop, audited.would_stop) == (False, True)
    assert halving.judge(2, 7, 0.3).entries == 3


def test_a_collapse_and_its_recovery_cost_a_periodic_trial_nothing():
    # T = 5 of 60 epochs: clean until 4, injected 5…9, clean again from 10 (FER2013: 0.28 → 0.17).
    raw = (
        [0.15, 0.2, 0.25, 0.28]
        + [0.17, 0.18, 0.18, 0.19, 0.19]
        + [0.30 + 0.01 * e for e in range(51)]
    )
    halving = Halving(60)
    for rival in range(1, 10):
        halving.judge(rival, 7, 0.29)
        halving.judge(rival, 21, 0.35)
    best, decisions = 0.0, []
    for epoch, value in enumerate(raw, start=1):
        best = max(best, value)
        decisions.append(halving.judge(0, epoch, best, judged_from=10))
    judged = [decision for decision in decisions if decision is not None]
    assert [decision.rung for decision in judged] == [21]  # rung 7 lies in its injected phase
    assert not judged[0].stop and judged[0].value == max(raw[:21])
    assert halving.judge(10, 7, 0.1).entries == 10  # and it is no entry of rung 7


def test_a_trial_first_judged_after_the_last_rung_is_never_judged():
    halving = Halving(60)
    assert all(halving.judge(0, epoch, 0.0, judged_from=22) is None for epoch in range(1, 61))


def test_an_improving_sequence_survives_and_a_worsening_one_does_not():
    rising = [0.1 * i for i in range(9)]
    assert not any(stops(Halving(60), rising, 7))
    # each is last among its elders, so it survives only where the places are as many
    assert stops(Halving(60), rising[::-1], 7) == [False] + [True] * 8


def test_in_random_order_the_stated_share_survives():
    import random

    draw, n, survivors = random.Random(20), 300, 0
    for _ in range(100):
        survivors += stops(Halving(60), [draw.random() for _ in range(n)], 7).count(False)
    # The i-th newcomer's rank is uniform on 1…i and independent of the others' (records), so the
    # count is a sum of independent Bernoulli(ceil(i/3)/i).
    chances = [math.ceil(i / 3) / i for i in range(1, n + 1)]
    expected = sum(chances)
    spread = math.sqrt(sum(p * (1 - p) for p in chances) / 100)
    assert abs(survivors / 100 - expected) < 6 * spread
    assert expected == pytest.approx(n / 3 + math.log(n) / 3, abs=0.5)  # as the module says


def test_the_median_rule_needs_three_others_and_stops_strictly_below():
    median = MedianStopping(60)
    decisions = [median.judge(t, 10, v) for t, v in enumerate([0.5, 0.1, 0.3, 0.2, 0.25, 0.25])]
    assert [d.cutoff for d in decisions] == [None, None, None, 0.3, 0.25, 0.25]
    assert [d.stop for d in decisions] == [False, False, False, True, False, False]


@given(st.lists(st.integers(0, 20), min_size=4, max_size=30))
def test_the_median_is_the_other_librarys(values):
    import statistics

    median = MedianStopping(60)
    for trial, value in enumerate(values):
        decision = median.judge(trial, 10, value / 20)
        if trial >= 3:
            others = [v / 20 for v in values[:trial]]
            assert decision.cutoff == pytest.approx(statistics.median(others), abs=1e-12)
            assert decision.stop == (value / 20 < decision.cutoff)


def test_the_median_rule_judges_every_epoch_after_its_grace_but_the_last():
    median = MedianStopping(12, first_rung=4)
    judged = [epoch for epoch in range(1, 13) if median.judge(0, epoch, 0.5)]
    assert judged == list(range(4, 12))


@given(
    st.sampled_from(
        [
            lambda: Halving(20, 3, 2),
            lambda: Halving(20, 2, 2, brackets=5, key="0:x"),
            lambda: Halving(30),
            lambda: MedianStopping(20, 3),
        ]
    ),
    st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5]), min_size=1, max_size=20), max_size=8
    ),
    st.data(),
)
def test_restoring_at_any_point_equals_an_undisturbed_run(build, curves, data):
    """Trials interleave in any order; the process dies after any report and is rebuilt."""
    turns = data.draw(st.permutations([t for t, curve in enumerate(curves) for _ in curve]))
    cut = data.draw(st.integers(0, len(turns)))
    judged_from = [data.draw(st.integers(1, 8)) for _ in curves]

    def play(die_at: int | None) -> list[Decision | None]:
        stopping, epochs, best, recorded, seen = build(), [0] * len(curves), {}, [], []
        for turn, trial in enumerate(turns):
            if turn == die_at:
                stopping = build()
                stopping.restore(recorded)
            value = curves[trial][epochs[trial]]
            epochs[trial] += 1
            best[trial] = max(best.get(trial, 0.0), value)
            decision = stopping.judge(
                trial, epochs[trial], best[trial], judged_from[trial], exempt=trial % 4 == 3
            )
            seen.append(decision)
            if decision is not None:
                recorded.append(Row(trial, decision))
        for row in recorded:  # what was decided stays decided
            again = stopping.judge(row.trial, row.decision.rung, 0.4)
            assert again == row.decision
        return seen

    assert play(cut) == play(None)


def test_names_of_schedulers_lead_to_their_rules():
    assert build_stopping("asha", 60, 3, 5).rungs == (5, 15, 45)
    assert build_stopping("median", 60, 3, 5).first_rung == 5
    assert build_stopping("none", 60) is None
    assert default_first_rung(60, 3) == 7
