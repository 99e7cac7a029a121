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
