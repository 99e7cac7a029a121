"""The claim's wording, and its numbers."""

from __future__ import annotations

from tests.reports.made_tables import DYNAMIC, PERIODIC, hits, joined, made
from tests.reports.test_answer import answer, study


def test_the_claim_of_a_full_study_is_exactly_this():
    assert answer(study()).claim == (
        "dynamic_default saves tuning: periodic_T needs 5 times as many trials as dynamic_default"
        " to reach a validation score of 0.5 (95 % interval 2.59 to 9.33; 12 of 100 against 12 of"
        " 20 trials matched), and on test dynamic_default is not worse by 0.02 or more"
        " (p = 5.24e-10)."
    )


def test_without_ended_trials_nothing_can_be_said():
    none = joined(made(PERIODIC, [0.4], state="running"), hits(DYNAMIC, 1, 2))
    assert answer(none).claim == ("Nothing can be said: periodic_T has no trials that have ended.")


def test_without_a_target_nothing_can_be_said():
    failed = joined(hits(PERIODIC, 1, 2), made(DYNAMIC, [None, None, None]))
    assert answer(failed, target=None).claim == (
        "Nothing can be said: no target was given, and the middle trial of dynamic_default failed,"
        " so that its median is none."
    )


def test_an_interval_with_1_in_it_shows_no_saving():
    claim = answer(joined(hits(PERIODIC, 5, 10), hits(DYNAMIC, 3, 5))).claim
    assert claim.startswith("No saving is shown: periodic_T needs 1.2 times as many trials")
    assert "but 1 is in the interval (95 % interval" in claim


def test_an_unbounded_ratio_is_told_by_its_lower_limit():
    claim = answer(joined(hits(PERIODIC, 0, 50), hits(DYNAMIC, 15, 20))).claim
    assert claim.startswith("periodic_T needs at least ")
    assert "to ∞" in claim


def test_an_unbounded_ratio_with_a_low_limit_is_not_known():
    claim = answer(joined(hits(PERIODIC, 0, 2), hits(DYNAMIC, 1, 2))).claim
    assert "is not known well enough" in claim


def test_a_lower_bound_below_1_is_not_told_as_at_least():
    states = ["completed"] * 8 + ["pruned"] * 12
    stopped = joined(hits(PERIODIC, 5, 20, state=states), hits(DYNAMIC, 10, 20))
    assert answer(stopped).claim == (
        "No saving is shown: because 12 of 20 trials of periodic_T were stopped before they could"
        " match, all that the trials tell is that periodic_T needs between 0.5882 and 2 times as"
        " many trials as dynamic_default to reach a validation score of 0.5, but 1 is in the"
        " interval (95 % interval 0.3418 to 4.92; 5 of 20 trials of periodic_T and 10 of 20 trials"
        " of dynamic_default matched)."
    )
    open_ended = joined(made(PERIODIC, [0.3] * 4, state="pruned"), hits(DYNAMIC, 2, 4))
    claim = answer(open_ended).claim
    assert "needs 0.5 times as many trials as dynamic_default, or any number more, to" in claim
    assert "at least" not in claim
    none = joined(
        hits(PERIODIC, 20, 20),
        made(DYNAMIC, [0.4] * 19 + [0.3], state=["completed"] * 19 + ["pruned"]),
    )
    assert answer(none).claim.startswith(
        "dynamic_default costs more tuning: because 1 of 20 trials of dynamic_default was"
        " stopped before it could match, all that the trials tell is that periodic_T needs at"
        " most 0.05 times as many"
    )


def test_where_trials_were_stopped_both_ends_are_told():
    """18/20 over 7/100, and over 5/100; without a match of periodic's there is no upper end."""
    states = ["completed"] * 98 + ["pruned"] * 2
    stopped = joined(hits(PERIODIC, 5, 100, state=states), hits(DYNAMIC, 18, 20))
    assert answer(stopped).claim.startswith(
        "Because 2 of 100 trials of periodic_T were stopped before they could match, all that the"
        " trials tell is that periodic_T needs between 12.9 and 18 times as many trials as"
        " dynamic_default"
    )
    none = joined(hits(PERIODIC, 0, 100, state=states), hits(DYNAMIC, 18, 20))
    assert "periodic_T needs at least 45 times as many" in answer(none).claim


def test_at_dynamics_own_median_its_share_is_a_half_at_both_ends():
    """½ over 5/8, and over 1/8."""
    states = ["completed"] * 4 + ["pruned"] * 4
    trials = joined(made(PERIODIC, [0.7] + [0.4] * 7, state=states), made(DYNAMIC, [0.6, 0.65]))
    claim = answer(trials, target=None).claim
    assert "needs between 0.8 and 4 times as many trials as dynamic_default" in claim
    assert claim.endswith("; dynamic_default's share is 1/2 by definition, at its own median).")


def test_where_nothing_matched_and_some_were_stopped_no_end_is_known():
    none = joined(made(PERIODIC, [0.3] * 4, state="pruned"), hits(DYNAMIC, 0, 4))
    assert (
        "is not known well enough, also because 4 of 4 trials of periodic_T were stopped before"
        " they could match"
    ) in answer(none).claim


def test_at_dynamics_own_median_it_is_said_that_its_share_is_a_half_by_definition():
    trials = joined(made(PERIODIC, [0.3, 0.5, 0.31]), made(DYNAMIC, [0.38, 0.39, 0.37]))
    assert (
        "1 of 3 against 2 of 3 trials matched, of which dynamic_default's share is 1/2 by"
        " definition, at its own median)"
    ) in answer(trials, target=None).claim
