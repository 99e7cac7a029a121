"""The whole comparison: the contract, the edge cases, and what may be claimed."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from reports.answer import compare
from reports.contract import Answer
from reports.proportions import exact_interval, ratio_interval, trials_to_match
from search_spaces.model import UserError
from tests.reports.made_tables import DYNAMIC, PERIODIC, hits, joined, made

CUT = ["pruned", "stopped"]


def answer(trials, **options) -> Answer:
    options = {"target": 0.5, "margin": 0.02} | options
    return compare(trials, periodic=PERIODIC, dynamic=DYNAMIC, **options)


def study(periodic=(12, 100), dynamic=(12, 20), shift=0.0):
    """Return a census of both spaces and confirm rows whose test scores differ by `shift`."""
    tests = (0.40 + 0.01 * np.sin(np.arange(18))).tolist()
    return joined(
        hits(PERIODIC, *periodic),
        hits(DYNAMIC, *dynamic),
        made(PERIODIC, [0.6] * 18, stage="confirm", test_score=tests),
        made(DYNAMIC, [0.6] * 18, stage="confirm", test_score=[x + shift for x in tests]),
    )


def test_the_json_has_exactly_the_documented_shape():
    estimate = {"estimate", "low", "high", "reached"}
    found = answer(study()).model_dump()
    assert list(found) == [
        *("target", "arms", "savings", "random_periodic_beats_default", "equivalence"),
        *("stopped_bounds", "hidden_knob", "claim", "warnings"),
    ]
    assert set(found["target"]) == {"value", "source"}
    assert set(found["arms"]) == {"periodic", "dynamic"}
    for arm in found["arms"].values():
        assert list(arm) == [
            *("trials", "hits", "crashed", "stopped", "hit_probability", "trials_to_match"),
            "cost_per_match",
        ]
        assert set(arm["hit_probability"]) == {"estimate", "low", "high"}
        assert list(arm["trials_to_match"]) == ["median", "p90", "mean"]
        assert all(set(x) == estimate | {"ceiling"} for x in arm["trials_to_match"].values())
        assert list(arm["cost_per_match"]) == ["epochs", "slot_seconds"]
        assert all(set(x) == estimate for x in arm["cost_per_match"].values())
    assert list(found["savings"]) == ["trials", "equal_success", "epochs", "slot_seconds"]
    for saving in found["savings"].values():
        assert set(saving) == {"ratio", "low", "high", "method"}
    assert set(found["random_periodic_beats_default"]) == {"probability", "low", "high"}
    names = {"margin", "difference", "non_inferior_p", "two_sided_p"}
    assert set(found["equivalence"]) == names
    assert set(found["hidden_knob"]) == {"break_even_tasks", "curve"}
    assert found["stopped_bounds"] is None
    assert isinstance(found["claim"], str)
    assert isinstance(found["warnings"], list)
    bounds = answer(hits_and(PERIODIC, 5, 20, cut=3)).model_dump()["stopped_bounds"]
    assert set(bounds) == {"hit_probability", "trials_to_match"}


def hits_and(space, matched, count, cut):
    """Return both spaces with `count` trials, of which in `space` some were stopped."""
    states = ["completed"] * (count - cut) + ["pruned"] * cut
    other = DYNAMIC if space == PERIODIC else PERIODIC
    return joined(hits(space, matched, count, state=states), hits(other, matched, count))


def test_the_numbers_are_those_of_the_definitions():
    found = answer(study())
    periodic = found.arms.periodic
    low, high = exact_interval(12, 100, 0.95)
    assert (periodic.trials, periodic.hits) == (100, 12)
    assert periodic.hit_probability.model_dump() == {"estimate": 0.12, "low": low, "high": high}
    median = periodic.trials_to_match.median
    assert median.estimate == pytest.approx(math.log(0.5) / math.log(0.88))
    assert (median.ceiling, median.reached) == (6, True)
    assert (median.low, median.high) == (trials_to_match(high, 0.5), trials_to_match(low, 0.5))
    assert periodic.trials_to_match.mean.estimate == pytest.approx(100 / 12)
    assert periodic.cost_per_match.epochs.estimate == pytest.approx(1000 / 12)
    assert found.savings.trials.ratio == pytest.approx(5)
    expected = ratio_interval(12, 20, 12, 100, 0.95)
    assert (found.savings.trials.low, found.savings.trials.high) == expected
    equal = math.log(0.4) / math.log(0.88)
    assert found.savings.equal_success.ratio == pytest.approx(equal)
    # Every periodic match ties with every dynamic one, and so do the misses.
    p = 0.12 * 0.4 + 0.5 * (0.12 * 0.6 + 0.88 * 0.4)
    assert found.random_periodic_beats_default.probability == pytest.approx(p)
    point = next(x for x in found.hidden_knob.curve if x.trials_spent == 6)
    assert found.hidden_knob.break_even_tasks == point.break_even_tasks


def test_trials_hits_crashed_and_stopped_add_up_with_the_misses():
    states = ["completed", "completed", "crashed", "diverged", "pruned", "stopped", "pruned"]
    scores = [0.6, 0.4, 0.6, None, 0.4, 0.3, 0.7]
    arm = answer(joined(made(PERIODIC, scores, state=states), hits(DYNAMIC, 1, 2))).arms.periodic
    assert (arm.trials, arm.hits, arm.crashed, arm.stopped) == (7, 2, 2, 2)  # and one miss


EDGES = {
    "one trial each": joined(hits(PERIODIC, 0, 1), hits(DYNAMIC, 1, 1)),
    "one trial, no hit": joined(hits(PERIODIC, 1, 1), hits(DYNAMIC, 0, 1)),
    "no hits": joined(hits(PERIODIC, 0, 10), hits(DYNAMIC, 0, 5)),
    "no periodic hits": joined(hits(PERIODIC, 0, 30), hits(DYNAMIC, 15, 20)),
    "no dynamic hits": joined(hits(PERIODIC, 5, 10), hits(DYNAMIC, 0, 5)),
    "all hits": joined(hits(PERIODIC, 10, 10), hits(DYNAMIC, 5, 5)),
    "saturated dynamic": joined(hits(PERIODIC, 38, 40), hits(DYNAMIC, 20, 20)),
    "all tied": joined(made(PERIODIC, [0.5] * 9), made(DYNAMIC, [0.5] * 4)),
    "all crashed": joined(made(PERIODIC, [None] * 3), made(DYNAMIC, [None] * 2)),
    "dynamic crashed": joined(hits(PERIODIC, 2, 9), made(DYNAMIC, [None] * 2)),
    "all stopped": joined(
        made(PERIODIC, [0.3] * 4, state="pruned"), made(DYNAMIC, [0.3] * 3, state="stopped")
    ),
    "some stopped": joined(
        hits(PERIODIC, 3, 12, state=["completed"] * 8 + ["pruned"] * 4),
        hits(DYNAMIC, 3, 6, state=["completed"] * 4 + ["pruned"] * 2),
    ),
    "none ended": joined(made(PERIODIC, [0.4], state="running"), hits(DYNAMIC, 1, 2)),
    "clusters": joined(
        hits(PERIODIC, 6, 12, seed=[1, 2, 3] * 4), hits(DYNAMIC, 2, 4, seed=[1, 2] * 2)
    ),
    "clusters of stopped": joined(
        hits(PERIODIC, 6, 12, seed=[1, 2, 3] * 4, state=["completed"] * 9 + ["pruned"] * 3),
        hits(DYNAMIC, 2, 4),
    ),
    "one cluster": joined(hits(PERIODIC, 6, 12, seed=1), hits(DYNAMIC, 2, 4, seed=1)),
    "same seeds": joined(
        hits(PERIODIC, 2, 6, seed=[1, 2, 3] * 2), hits(DYNAMIC, 4, 6, seed=[1, 2, 3] * 2)
    ),
    "no costs": joined(
        hits(PERIODIC, 2, 6, epochs=None, slot_seconds=None),
        hits(DYNAMIC, 2, 3, epochs=0, slot_seconds=0.0),
    ),
    "a search": joined(hits(PERIODIC, 2, 6, stage="search"), hits(DYNAMIC, 2, 3)),
}


@pytest.mark.parametrize("target", [0.5, None])
@pytest.mark.parametrize("name", EDGES)
def test_every_edge_has_an_answer_without_nan_or_exception(name, target, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = answer(EDGES[name], target=target)
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    for arm in (found.arms.periodic, found.arms.dynamic):
        share = arm.hit_probability
        assert 0 <= share.low <= share.high <= 1
        assert share.estimate is None or share.low <= share.estimate <= share.high
        for match in (arm.trials_to_match.median, arm.trials_to_match.mean):
            assert match.reached == (arm.hits > 0)
            assert (match.estimate is None) == (not match.reached)
            assert match.high is None or match.low <= match.high
        for cost in (arm.cost_per_match.epochs, arm.cost_per_match.slot_seconds):
            assert cost is None or cost.reached == (cost.estimate is not None)
    for saving in (found.savings.trials, found.savings.equal_success, found.savings.epochs):
        if saving is not None:
            assert saving.high is None or saving.low <= saving.high
            assert saving.ratio is None or saving.low <= saving.ratio * (1 + 1e-9)
    assert found.claim.endswith(".")
    assert "saves" not in found.claim  # nothing of this was confirmed on test
    assert answer(EDGES[name], target=target) == found  # same input, same answer


@pytest.mark.parametrize("target", [0.5, None])
@pytest.mark.parametrize("space", [PERIODIC, DYNAMIC])
@pytest.mark.parametrize("name", EDGES)
def test_the_same_arm_on_both_sides_has_a_ratio_of_1_inside_the_interval(
    name, space, target, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trials = EDGES[name]
    found = compare(trials, periodic=space, dynamic=space, target=target, margin=0.02)
    for saving in (found.savings.trials, found.savings.equal_success, found.savings.epochs):
        if saving is not None:
            assert saving.low <= 1 + 1e-9
            assert saving.high is None or saving.high >= 1 - 1e-9
    beats = found.random_periodic_beats_default
    assert beats.low <= 0.5 <= beats.high


def test_neither_arm_matched_is_uninformative():
    found = answer(EDGES["no hits"])
    assert found.savings.trials.model_dump() == {
        "ratio": None, "low": 0, "high": None, "method": "Miettinen–Nurminen score interval",
    }  # fmt: skip
    assert found.claim == (
        "Nothing can be said about savings: neither periodic_T (10 trials) nor dynamic_default"
        " (5 trials) reached a validation score of 0.5."
    )


def test_a_periodic_arm_that_never_matched_gives_a_lower_bound_and_no_point():
    found = answer(joined(hits(PERIODIC, 0, 100), hits(DYNAMIC, 15, 20)))
    assert found.savings.trials.ratio is None
    assert found.savings.trials.low > 1
    assert found.savings.trials.high is None
    median = found.arms.periodic.trials_to_match.median
    assert (median.estimate, median.ceiling, median.high, median.reached) == (None,) * 3 + (False,)
    assert median.low == pytest.approx(100 * math.log(2) / math.log(40), rel=0.01)  # two-sided
    assert found.hidden_knob.break_even_tasks is None
    assert any("at least 23.1 trials for an even chance" in one for one in found.warnings)
    assert "needs at least" in found.claim


def test_saves_is_said_only_with_non_inferiority_on_test():
    assert "dynamic_default saves tuning" in answer(study()).claim
    worse = answer(study(shift=-0.05))
    assert "saves" not in worse.claim
    assert "not shown to be at most 0.02 worse" in worse.claim
    unmargined = answer(study(), margin=None)
    assert "no margin was given" in unmargined.claim
    assert unmargined.equivalence.non_inferior_p is None
    missing = answer(joined(hits(PERIODIC, 12, 100), hits(DYNAMIC, 12, 20)))
    assert missing.equivalence is None
    assert "There are no confirm rows of dynamic_default or periodic_T" in missing.warnings[-1]
    assert "no saving is claimed: there are no confirm rows" in missing.claim
    assert "saves" not in answer(study(periodic=(60, 100))).claim  # 1 is in the interval
    assert "costs more tuning" in answer(study(periodic=(99, 100), dynamic=(2, 20))).claim


def test_few_trials_are_labelled():
    assert "gross savings only" in answer(study(periodic=(3, 50))).claim
    assert "gross savings only" in answer(study(periodic=(3, 50))).warnings[0]
    assert "too few even for gross savings" in answer(EDGES["one trial each"]).warnings[0]
    assert not any("gross" in one for one in answer(study()).warnings)


def test_it_is_said_where_the_target_is_reached_without_any_injection():
    none = answer(joined(study(), hits("baseline", 0, 10)))
    assert not any("baseline" in one for one in none.warnings)
    some = answer(joined(study(), hits("baseline", 3, 10)))
    (told,) = (one for one in some.warnings if "baseline" in one)
    assert told.startswith("3 of 10 trials of baseline, which inject nothing, reach the target")


def test_it_is_said_that_validation_images_were_trained_on():
    clean = joined(hits(PERIODIC, 12, 100, copies=0), hits(DYNAMIC, 12, 20))
    assert not any("training image" in one for one in answer(clean).warnings)
    copied = joined(hits(PERIODIC, 12, 100, copies=280), hits(DYNAMIC, 12, 20, copies=280))
    (told,) = (one for one in answer(copied).warnings if "training image" in one)
    assert told.startswith("280 validation images are training images, too, pixel for pixel")


def test_stopped_trials_make_the_headline_a_bound_and_it_says_so():
    found = answer(hits_and(PERIODIC, 5, 20, cut=6))
    ends = found.stopped_bounds.hit_probability.periodic
    assert (ends.least, ends.most) == (0.25, 0.55)
    assert ends.low == exact_interval(5, 20, 0.95).low
    assert ends.high == exact_interval(11, 20, 0.95).high
    matches = found.stopped_bounds.trials_to_match.periodic.mean
    assert (matches.least, matches.most) == (pytest.approx(1 / 0.55), 4)
    assert found.arms.periodic.hit_probability.estimate == 0.55  # favours dynamic least
    assert found.savings.trials.ratio == pytest.approx(0.25 / 0.55)
    assert "both ends of what stopped trials allow" in found.savings.trials.method
    assert "6 of 20 trials of periodic_T were stopped before they could match" in found.claim
    assert "needs between 0.4545 and 1 times as many trials" in found.claim
    assert any("between 0.25 and 0.55" in one for one in found.warnings)
    other = answer(hits_and(DYNAMIC, 5, 20, cut=6))
    assert other.arms.dynamic.hit_probability.estimate == 0.25
    assert "at least" not in other.claim or other.savings.trials.ratio == 1


def test_stopped_trials_can_take_a_claim_away():
    """Counted as failures they would show savings; what they might have been hides it."""
    confirm = study().take(range(120, 156))
    whole = joined(hits(PERIODIC, 5, 100), hits(DYNAMIC, 12, 20), confirm)
    assert "saves" in answer(whole).claim
    states = ["completed"] * 40 + ["pruned"] * 60
    stopped = joined(hits(PERIODIC, 5, 100, state=states), hits(DYNAMIC, 12, 20), confirm)
    assert "saves" not in answer(stopped).claim


def test_a_target_from_dynamics_own_trials_is_said_and_widens_the_interval(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scores = np.linspace(0.3, 0.7, 60).tolist()
    trials = joined(made(PERIODIC, scores), made(DYNAMIC, np.linspace(0.5, 0.66, 9).tolist()))
    own = answer(trials, target=None)
    given = answer(trials, target=own.target.value)
    assert own.target.source == "median of the 9 trials of dynamic_default itself"
    assert own.savings.trials.high > given.savings.trials.high
    assert "melded" in own.savings.epochs.method
    assert own.savings.epochs.high == pytest.approx(own.savings.trials.high)  # equal costs
    assert "melded" in own.savings.trials.method
    assert any("median of dynamic's own trials" in one for one in own.warnings)
    # K of dynamic at a score chosen after looking comes from the simultaneous band: wider.
    theirs, ours = (x.arms.dynamic.hit_probability for x in (given, own))
    assert ours.low < theirs.low
    assert ours.high > theirs.high


def test_a_pilot_sets_the_target():
    pilot = made("pilot", [0.45, 0.55])
    found = answer(study(), target=None, target_from=pilot)
    assert found.target.model_dump() == {"value": 0.5, "source": "median of 2 pilot trials"}
    assert "The pilot has 2 trials; at least 10 are wanted." in found.warnings


def test_what_is_mixed_missing_or_shared_is_said():
    trials = joined(
        hits(
            PERIODIC,
            3,
            9,
            arm=["periodic"] * 8 + ["baseline"],
            conditions="{}",
            device="A",
            definition=["[1]"] * 8 + ["[2]"],
        ),
        hits(DYNAMIC, 3, 4, conditions='{"epochs":3}', device="B", epochs=None),
        made(DYNAMIC, [0.4], state="running", seed=[1], config_id=["x"]),
        made(PERIODIC, [0.5] * 3, stage="search"),
    )
    said = "\n".join(answer(trials).warnings)
    for part in (
        "periodic_T holds trials of several arms, all counted: baseline (1), periodic (8).",
        "1 trial of dynamic_default has not ended",
        "not all trained alike",
        "The runs of periodic_T do not search the same space",
        "slot_seconds are of different devices, and left out: A, B.",
        "epochs are not known for every trial of dynamic_default: left out.",
    ):
        assert part in said
    clusters = "\n".join(answer(EDGES["clusters"]).warnings)
    assert "The 12 trials of periodic_T share 3 seeds" in clusters
    assert "not independent random draws" in "\n".join(answer(EDGES["a search"]).warnings)
    drawn = joined(
        hits(PERIODIC, 2, 6),
        hits(DYNAMIC, 2, 4, stage="search", definition='[{"Constant":1.2},{}]'),
    )
    assert "not independent random draws" not in "\n".join(answer(drawn).warnings)


def test_as_run_cost_is_told_beside_the_stand_alone_cost():
    trials = joined(hits(PERIODIC, 5, 50, as_run_epochs=5), hits(DYNAMIC, 5, 10))
    said = [one for one in answer(trials).warnings if one.startswith("As it was run")]
    assert len(said) == 1
    assert "epochs per match is 2.5" in said[0]  # 5 times the trials at half the epochs
    assert answer(trials).savings.epochs.ratio == pytest.approx(5)


def test_an_unknown_space_is_told_with_the_one_that_is_meant():
    for role in ("periodic", "dynamic"):
        names = {"periodic": PERIODIC, "dynamic": DYNAMIC} | {role: "periodc_T"}
        with pytest.raises(
            UserError, match=r"Unknown space 'periodc_T'\. Did you mean 'periodic_T'"
        ):
            compare(study(), **names)


def test_more_confidence_never_narrows_an_interval():
    for trials in (study(), EDGES["some stopped"], EDGES["clusters"]):
        narrow, wide = (answer(trials, confidence=c).savings for c in (0.8, 0.99))
        for name in ("trials", "equal_success", "epochs"):
            one, other = getattr(narrow, name), getattr(wide, name)
            assert other.low <= one.low
            assert other.high is None or (one.high is not None and other.high >= one.high)


def test_identical_populations_are_rarely_called_different():
    """Enumerated: with s = 0.3 in both arms, claims of a difference stay near 5 %.

    The tolerance is that of the score interval's own test: half a lattice step in either tail.
    """
    from scipy import stats

    n1, n2, s, wrong = 6, 9, 0.3, 0.0
    for x1, x2 in itertools.product(range(n1 + 1), range(n2 + 1)):
        trials = joined(hits(DYNAMIC, x1, n1), hits(PERIODIC, x2, n2))
        saving = answer(trials).savings.trials
        if not (saving.low <= 1 and (saving.high is None or saving.high >= 1)):
            wrong += stats.binom.pmf(x1, n1, s) * stats.binom.pmf(x2, n2, s)
    z = stats.norm.ppf(0.975)
    assert wrong <= 0.05 + 2 * stats.norm.pdf(z) / (2 * math.sqrt(n1 * s * (1 - s)))


def test_limits_of_hits_trials_and_cost_agree_where_seeds_are_shared():
    """One seed occurs twice among 100 trials, of which 1 to 3 match."""
    for matched in (1, 2, 3):
        seeds = [7, *range(7, 106)]
        trials = joined(hits(PERIODIC, matched, 100, seed=seeds[::-1]), hits(DYNAMIC, 10, 20))
        found = answer(trials)
        arm = found.arms.periodic
        low, high = arm.hit_probability.low, arm.hit_probability.high
        assert 0 < low < high < 1
        mean, cost = arm.trials_to_match.mean, arm.cost_per_match.epochs
        assert (mean.low, mean.high) == pytest.approx((1 / high, 1 / low))
        assert (cost.low, cost.high) == pytest.approx((10 / high, 10 / low))
        ratio, epochs = found.savings.trials, found.savings.epochs
        assert (ratio.low, ratio.high) == pytest.approx((epochs.low, epochs.high))
        assert None not in (ratio.high, found.savings.equal_success.high)


@pytest.mark.parametrize("space", [PERIODIC, DYNAMIC])
def test_with_stopped_trials_the_ratio_in_cost_is_that_in_trials_where_costs_are_equal(space):
    found = answer(hits_and(space, 1, 20, cut=3))  # too few matches to resample
    trials, epochs = found.savings.trials, found.savings.epochs
    assert epochs.ratio == pytest.approx(trials.ratio)
    assert (epochs.low, epochs.high) == pytest.approx((trials.low, trials.high))
    for arm in (found.arms.periodic, found.arms.dynamic):
        share, cost = arm.hit_probability, arm.cost_per_match.epochs
        expected = (10 / share.estimate, 10 / share.high, 10 / share.low)
        assert (cost.estimate, cost.low, cost.high) == pytest.approx(expected)


def test_without_a_match_as_seen_trials_and_cost_are_null_though_stopped_trials_might_have():
    found = answer(joined(made(PERIODIC, [0.3] * 4, state="pruned"), hits(DYNAMIC, 2, 4)))
    arm, ends = found.arms.periodic, found.stopped_bounds
    assert arm.hit_probability.estimate == 1
    assert (ends.hit_probability.periodic.least, ends.hit_probability.periodic.most) == (0, 1)
    for one in (arm.trials_to_match.median, arm.trials_to_match.mean, arm.cost_per_match.epochs):
        assert (one.estimate, one.reached) == (None, False)
    assert ends.trials_to_match.periodic.mean.least == 1
    assert found.savings.trials.ratio == 0.5


OWN_MEDIANS = {
    "odd": [0.38, 0.39, 0.37],
    "even": [0.3, 0.5, 0.4, 0.6],
    "one": [0.4],
    "tied": [0.3, 0.5, 0.5, 0.5],
    "failed": [None, 0.3, 0.4],
}


@pytest.mark.parametrize("name", OWN_MEDIANS)
def test_at_dynamics_own_median_one_hit_probability_is_told_everywhere(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dynamic = made(DYNAMIC, OWN_MEDIANS[name], epochs=20)
    found = answer(joined(made(PERIODIC, [0.3, 0.5, 0.31, 0.6, 0.2]), dynamic), target=None)
    share = 0.75 if name == "tied" else 0.5
    arm, other = found.arms.dynamic, found.arms.periodic
    assert arm.hit_probability.estimate == share
    assert arm.trials_to_match.mean.estimate == pytest.approx(1 / share)
    assert arm.cost_per_match.epochs.estimate == pytest.approx(20 / share)
    trials = found.savings.trials
    assert trials.ratio == pytest.approx(share / other.hit_probability.estimate)
    assert found.savings.epochs.ratio == pytest.approx(trials.ratio / 2)
    assert found.savings.epochs.ratio == pytest.approx(
        other.cost_per_match.epochs.estimate / arm.cost_per_match.epochs.estimate
    )
    equal = math.log(1 - share) / math.log(1 - other.hit_probability.estimate)
    assert found.savings.equal_success.ratio == pytest.approx(equal)
    assert ("1/2 by definition" in found.claim) == (name != "tied")


@pytest.mark.parametrize("name", OWN_MEDIANS)
def test_at_its_own_median_an_arm_needs_as_much_as_itself(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trials = made(DYNAMIC, OWN_MEDIANS[name])
    found = compare(trials, periodic=DYNAMIC, dynamic=DYNAMIC)
    for one in (found.savings.trials, found.savings.equal_success, found.savings.epochs):
        assert one.ratio == pytest.approx(1)
        assert one.low <= 1 <= (math.inf if one.high is None else one.high)
    assert found.arms.periodic.hit_probability == found.arms.dynamic.hit_probability


def test_without_a_target_nothing_is_known_of_cost_per_match():
    found = answer(joined(hits(PERIODIC, 2, 9), made(DYNAMIC, [None] * 9)), target=None)
    assert found.target.value is None
    for arm in (found.arms.periodic, found.arms.dynamic):
        assert (arm.hit_probability.low, arm.hit_probability.high) == (0, 1)
        cost = arm.cost_per_match.epochs.model_dump()
        assert cost == {"estimate": None, "low": 10, "high": None, "reached": False}
