"""Halving against the algorithm as it was published, written naively, and against Optuna's pruner.

Where Optuna agrees. Of n entries with the newcomer, `SuccessiveHalvingPruner` of reduction r keeps
max(1, floor(n / r)), and ours ceil(n / r). Both are 1 for n <= r and n / r where r divides n; else
ours is one more, so there the newcomer whose rank is exactly ceil(n / r) survives here alone. On a
tie at the cutoff Optuna keeps the newcomer and ours does not. All else is equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search_spaces.model import UserError
from tests.tuner.simulation import run, run_in_pieces, spec
from tests.tuner.test_driver import content, noisy_curve
from trainables.config import TrialConfig, with_knobs
from trainables.schedule import algorithm_1, clean_epochs, first_judged_epoch
from tuner.record import Record
from tuner.rungs import Decision, Halving, bracket_weights, build_stopping
from tuner.spec import RunSpec, known_presets, load_preset

SIGMAS = 6
"""A check of random numbers fails by chance once in 500 million."""


class Arrival(NamedTuple):
    bracket: int
    rung: int
    trial: int
    value: float


@dataclass
class Naive:
    """Li et al. 2020 (MLSys), algorithm 2, with the stopping rule of its section 3.3.

    It remembers every arrival, and sorts all of a rung's anew for each question: top 1/r of those
    that have arrived, the newcomer among them, rounded up, the earlier of equals first.
    """

    rungs: list[int]
    reduction: int
    arrivals: list[Arrival] = field(default_factory=list)

    def stops(
        self, bracket: int, trial: int, epoch: int, best: float, judged_from: int
    ) -> bool | None:
        """Return whether the rule would stop the trial; None if it does not judge it here."""
        if epoch < judged_from or epoch not in self.rungs or self.rungs.index(epoch) < bracket:
            return None
        self.arrivals.append(Arrival(bracket, epoch, trial, best))
        rivals = [one for one in self.arrivals if (one.bracket, one.rung) == (bracket, epoch)]
        ordered = sorted(rivals, key=lambda one: one.value, reverse=True)  # sorted() is stable
        kept = ordered[: math.ceil(len(ordered) / self.reduction)]
        return trial not in [one.trial for one in kept]


@st.composite
def traces(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a search: its rungs, its trials' values by epoch, and the order of their epochs."""
    epochs = draw(st.integers(2, 30))
    reduction = draw(st.integers(2, 4))
    first_rung = draw(st.integers(1, epochs - 1))
    rungs = [first_rung * reduction**k for k in range(6) if first_rung * reduction**k < epochs]
    value = st.one_of(st.sampled_from([0.0, 0.25, 0.5]), st.floats(0, 1))  # often tied
    trials = draw(st.integers(1, 14))
    return {
        "epochs": epochs,
        "reduction": reduction,
        "rungs": rungs,
        "brackets": draw(st.integers(1, len(rungs) + 1)),
        "key": draw(st.sampled_from(["0:a", "1:a", "0:b"])),
        "raw": draw(
            st.lists(
                st.lists(value, min_size=epochs, max_size=epochs),
                min_size=trials,
                max_size=trials,
            )
        ),
        "judged_from": draw(st.lists(st.integers(1, epochs + 2), min_size=trials, max_size=trials)),
        "exempt": draw(st.lists(st.booleans(), min_size=trials, max_size=trials)),
        "random": draw(st.randoms(use_true_random=False)),
    }


@settings(max_examples=200, deadline=None)
@given(traces())
def test_multi_rung_searches_agree_with_the_published_algorithm_and_survive_restarts(
    trace: dict[str, Any],
) -> None:
    def build() -> Halving:
        return Halving(
            trace["epochs"], trace["reduction"], trace["rungs"][0], trace["brackets"], trace["key"]
        )

    halving, naive, rng = build(), Naive(trace["rungs"], trace["reduction"]), trace["random"]
    assert list(halving.rungs) == trace["rungs"]
    live = dict.fromkeys(range(len(trace["raw"])), 0)
    recorded: list[Row] = []
    while live:
        if rng.random() < 0.1:  # the process dies, and another goes on from the record
            halving = build()
            halving.restore(recorded)
        trial = rng.choice(sorted(live))
        live[trial] += 1
        epoch, judged_from = live[trial], trace["judged_from"][trial]
        best = max(trace["raw"][trial][:epoch])
        expected = naive.stops(halving.bracket(trial), trial, epoch, best, judged_from)
        decision = halving.judge(trial, epoch, best, judged_from, trace["exempt"][trial])
        assert (None if decision is None else decision.would_stop) == expected
        if decision is not None:
            assert decision.stop == (decision.would_stop and not trace["exempt"][trial])
            recorded.append(Row(trial, decision))
        if epoch == trace["epochs"] or (decision is not None and decision.stop):
            del live[trial]


@dataclass(frozen=True)
class Row:
    """A recorded judgement, as the record's rung table gives it."""

    trial: int
    decision: Decision


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=14, unique=True),
    st.integers(2, 4),
    st.integers(1, 3),
)
def test_optunas_pruner_differs_exactly_where_rounding_says_so(
    values: list[float], reduction: int, rungs: int
) -> None:
    """Every trial is exempt, so that both see the same entries at all rungs."""
    halving = Halving(reduction**rungs, reduction, first_rung=1)
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=1, reduction_factor=reduction, min_early_stopping_rate=0, bootstrap_count=0
    )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for number, value in enumerate(values):
        trial = study.ask()
        for epoch in range(1, reduction**rungs):
            trial.report(value, epoch)
            theirs = trial.should_prune()
            ours = halving.judge(number, epoch, value, exempt=True)
            if ours is None:
                assert not theirs
                continue
            n, kept = ours.entries, math.ceil(ours.entries / reduction)
            agree = n <= reduction or n % reduction == 0
            assert kept == max(1, n // reduction) + (0 if agree else 1)
            assert theirs == (ours.would_stop or (not agree and ours.rank == kept))
        study.tell(trial, state=TrialState.PRUNED)


def test_on_a_tie_at_the_cutoff_optuna_keeps_the_newcomer_and_halving_does_not() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    halving, pruned = Halving(9, first_rung=1), []
    for number in range(3):
        trial = study.ask()
        trial.report(0.5, 1)
        pruned.append((trial.should_prune(), halving.judge(number, 1, 0.5).stop))  # type: ignore[union-attr]
        study.tell(trial, state=TrialState.PRUNED)
    assert pruned == [(False, False), (False, True), (False, True)]


# ---- before the first injection


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 5), st.integers(20, 40))
def test_clean_epochs_end_where_algorithm_1_first_injects(T: int, steps: int, epochs: int) -> None:
    for unit, length in (("epoch", 1), ("step", steps)):
        fixed = {"method": "periodic", "T": T, "interval_unit": unit}
        trial = with_knobs(TrialConfig(epochs=epochs), fixed, "test")
        flags = algorithm_1(T, epochs * length)
        whole = [not any(flags[e * length : (e + 1) * length]) for e in range(epochs)]
        expected = whole.index(False) if False in whole else epochs
        assert clean_epochs(trial, steps) == expected
        assert clean_epochs(trial, steps) < first_judged_epoch(trial, steps)
    assert clean_epochs(TrialConfig(), steps) == 0


def test_a_trial_may_be_judged_before_its_injection_and_after_its_cycle_but_not_between() -> None:
    halving = Halving(27, 3, first_rung=1)  # rungs 1, 3, 9
    judged = [
        epoch
        for epoch in range(1, 28)
        if halving.judge(0, epoch, 0.5, judged_from=8, clean_until=2) is not None
    ]
    assert judged == [1, 9]


def test_judging_before_injection_needs_a_seed_of_its_own_for_every_trial() -> None:
    with pytest.raises(UserError, match="before_injection needs seeds fresh"):
        spec(scheduler={"before_injection": True}, seeds="fixed")
    early = spec(scheduler={"before_injection": True})
    never = spec(scheduler={"before_injection": False})
    assert "before_injection" not in never.model_dump()["scheduler"]
    assert RunSpec.model_validate(early.model_dump(mode="json")) == early
    trial = early.trial({"T": 5}, 0)
    assert (early.clean_until(trial, 10), never.clean_until(trial, 10)) == (4, 0)


def test_presets_judge_before_injection_exactly_where_seeds_are_fresh() -> None:
    for preset in known_presets():
        values = {**load_preset(preset), "space": "periodic_T", "data": {"source": "x"}}
        assert values["scheduler"] == {"before_injection": "auto"}
    for seeds, until in {"fresh": 4, "fixed": 0, 3: 0}.items():
        given = spec(seeds=seeds)
        assert given.clean_until(given.trial({"T": 5}, 0), 10) == until


def test_a_run_judges_before_injection_if_told_so(tmp_path: Any) -> None:
    rungs = {}
    for early in (False, True):
        specification = spec(scheduler={"before_injection": early}, budget={"trials": 20})
        run(tmp_path / str(early), specification, noisy_curve)
        with Record.open(tmp_path / str(early)) as record:
            T = {trial.number: trial.knobs["T"] for trial in record.trials()}
            rungs[early] = {(row.rung_epoch, T[row.trial]) for row in record.rungs()}
    assert all(epoch >= max(2 * T, 3) for epoch, T in rungs[False])
    assert all(epoch < max(2, T) or epoch >= max(2 * T, 3) for epoch, T in rungs[True])
    assert any(epoch < T for epoch, T in rungs[True])


# ---- brackets


def test_brackets_are_filled_as_hyperband_says() -> None:
    assert bracket_weights(4, 3) == (81, 34, 15, 8, 5)  # Li et al. 2018, table 1: R = 81, eta = 3
    halving = Halving(81, 3, first_rung=1, brackets=5, key="0:x")
    assert halving.rungs == (1, 3, 9, 27)
    n, total = 20_000, 143
    drawn = [halving.bracket(trial) for trial in range(n)]
    for bracket, weight in enumerate(halving.weights):
        p = weight / total
        assert abs(drawn.count(bracket) - n * p) < SIGMAS * math.sqrt(n * p * (1 - p))


def test_a_bracket_judges_from_its_own_rung_on_and_only_among_its_own() -> None:
    halving = Halving(27, 3, first_rung=1, brackets=4, key="0:x")
    of = {s: [t for t in range(400) if halving.bracket(t) == s][:2] for s in range(4)}
    for bracket, (best, worse) in of.items():
        for value, trial in ((0.9 - 0.1 * bracket, best), (0.1, worse)):
            decisions = [halving.judge(trial, epoch, value) for epoch in range(1, 28)]
            found = [one for one in decisions if one is not None]
            assert [one.rung for one in found] == [1, 3, 9][bracket:]
            assert all(one.entries == (1 if trial == best else 2) for one in found)
            assert all(one.would_stop == (trial == worse) for one in found)


def test_one_bracket_is_the_rule_without_brackets_and_the_draw_is_fixed_for_ever() -> None:
    assert {Halving(60).bracket(trial) for trial in range(1000)} == {0}
    assert Halving(60).weights == (9,)
    halving = Halving(60, brackets=3, key="0:periodic_T")
    # Pinned: a run that is resumed by another version must find its trials in the same brackets.
    assert [halving.bracket(trial) for trial in range(12)] == PINNED
    other = Halving(60, brackets=3, key="1:periodic_T")
    assert [other.bracket(trial) for trial in range(12)] != PINNED


PINNED = [0, 1, 1, 2, 1, 0, 0, 0, 1, 0, 1, 2]


def test_too_many_brackets_or_another_rule_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"at most 3, one more than there are rungs \(7, 21\)"):
        Halving(60, brackets=4)
    for name in ("median", "none"):
        with pytest.raises(UserError, match=f"must be 1 with scheduler {name}, but got 2"):
            build_stopping(name, 60, brackets=2)
    with pytest.raises(UserError, match="brackets must be at most 3"):
        spec(scheduler={"brackets": 4})


def test_a_single_bracket_leaves_the_digest_as_it_was_before_there_were_brackets() -> None:
    plain = spec()
    assert "brackets" not in plain.model_dump()["scheduler"]
    assert spec(scheduler={"brackets": 1}).digest == plain.digest
    two = spec(scheduler={"brackets": 2})
    assert two.digest != plain.digest
    assert RunSpec.model_validate(two.model_dump(mode="json")) == two


def test_a_search_with_brackets_that_is_killed_equals_the_undisturbed_one(tmp_path: Any) -> None:
    specification = spec("dropout", scheduler={"brackets": 3, "audit": 0.2}, budget={"trials": 25})
    run(tmp_path / "whole", specification, noisy_curve)
    assert run_in_pieces(tmp_path / "cut", specification, noisy_curve) > 5
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    stopping = specification.stopping()
    assert isinstance(stopping, Halving)
    with Record.open(tmp_path / "whole") as record:
        pruned = [trial for trial in record.trials() if trial.state == "pruned"]
        assert {stopping.bracket(row.trial) for row in record.rungs()} == {0, 1}
    assert pruned
    for trial in pruned:
        assert f"bracket {stopping.bracket(trial.number)}, epoch " in str(trial.reason)
