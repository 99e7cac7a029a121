"""The audit of early stopping: counted by hand, the interval's coverage by simulation, no NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from reports.audit import FEWEST, Audit, audit, sentences
from reports.sections.audits import audit_table, audits
from tests.reports.made_records import made_spec
from tests.reports.made_trials import made_run, made_trial
from tests.tuner import simulation
from tests.tuner.test_driver import noisy_curve
from tuner.cli import cli
from tuner.record import Record
from tuner.record_rows import RungRow, TrialRow
from tuner.rungs import Halving

SIGMAS = 6
"""A check of random numbers fails by chance once in 500 million."""


def trial(number: int, score: float | None, audited: bool, state: str = "completed") -> TrialRow:
    return made_trial(number, score=score, audited=audited, state=state).row


def rung(trial: int, epoch: int, value: float, stop: bool, would_stop: bool) -> RungRow:
    return RungRow(1000 * epoch + trial, trial, epoch, value, 0.3, 2, 3, 0, stop, would_stop, 0.0)


def audited(
    trials: Sequence[TrialRow],
    rungs: Sequence[RungRow],
    target: float | None = None,
    **flags: Any,
) -> Audit:
    return audit("r", made_spec("periodic_T", 60, **flags), trials, rungs, target)


def test_a_false_stop_counts_at_the_first_rung_that_would_have_stopped_the_trial() -> None:
    trials = [
        trial(0, 0.6, True),  # would stop twice, reaches the target later: a false stop at 7
        trial(1, 0.6, True),  # had reached it when it would have been stopped: none
        trial(2, 0.4, True),  # never reaches it
        trial(3, 0.7, True, "diverged"),  # failed: a match of nothing
        trial(4, 0.6, True),  # would not be stopped at all
        trial(5, 0.3, True, "running"),  # not known yet
        trial(6, 0.2, False, "pruned"),
        trial(7, 0.65, False),
    ]
    rungs = [
        rung(0, 7, 0.2, False, True),
        rung(0, 21, 0.3, False, True),
        rung(1, 7, 0.5, False, False),
        rung(1, 21, 0.6, False, True),
        rung(2, 7, 0.2, False, True),
        rung(3, 7, 0.2, False, True),
        rung(4, 7, 0.5, False, False),
        rung(5, 7, 0.2, False, True),
        rung(6, 7, 0.2, True, True),
        rung(7, 7, 0.6, False, False),
    ]
    found = audited(trials, rungs, 0.55)
    overall, (first, second) = found.false_stops, found.rungs
    assert (found.judgements, found.stopped, found.audited) == (10, 1, 6)
    assert (overall.would_stop, overall.known, overall.reached) == (5, 4, 1)
    exact = stats.binomtest(1, 4).proportion_ci(0.95, method="exact")
    assert (overall.share, overall.low, overall.high) == (0.25, exact.low, exact.high)
    assert (first.rung, first.judgements, first.stopped, first.audited) == (7, 8, 1, 6)
    shares = [
        (one.would_stop, one.known, one.reached) for one in (first.false_stops, second.false_stops)
    ]
    assert shares == [(4, 3, 1), (1, 1, 0)]
    assert (first.rank.n, first.rank_of_all.n) == (4, 5)  # who completed; survivors too
    assert any("1 audited trial(s)" in warning for warning in found.warnings)
    assert "1 of 4 reached it later, 25% (95 % interval 1% to 81%)." in sentences(found)[2]


def test_without_a_target_it_lies_one_point_below_the_best_score_that_counts() -> None:
    trials = [trial(0, 0.5, True), trial(1, 0.9, True, "diverged"), trial(2, 0.6, False, "pruned")]
    found = audited(trials, [rung(0, 7, 0.2, False, True)])
    assert found.target == pytest.approx(0.59)
    assert "chosen after the fact" in found.target_source


def test_nothing_is_nan_and_nothing_raises_however_little_there_is() -> None:
    few = [trial(0, None, True, "waiting"), trial(1, None, True, "crashed")]
    cases: list[tuple[Sequence[TrialRow], Sequence[RungRow]]] = [
        ([], []),
        (few, []),
        (few, [rung(1, 7, 0.0, False, True)]),
        ([trial(0, 0.5, False)], [rung(0, 7, 0.5, False, False)]),
        ([trial(0, 0.5, True)], [rung(0, 7, 0.5, False, False)]),
    ]
    for step in (0.0, 0.05):  # all equal; a perfect order
        trials = [trial(i, 0.3 + i * step, True) for i in range(12)]
        cases.append((trials, [rung(i, 7, 0.3 + i * step, False, True) for i in range(12)]))
    for trials, rungs in cases:
        for target in (None, 0.4):
            found = audited(trials, rungs, target)
            text = found.model_dump_json()
            json.loads(text, parse_constant=lambda name: pytest.fail(name))
            assert sentences(found)
            audit_table(found)
    assert audited(*cases[5]).rungs[0].rank.spearman is None  # all equal
    perfect = audited(*cases[6]).rungs[0].rank
    assert (perfect.spearman, perfect.low, perfect.n) == (1.0, None, 12)


def test_the_reader_is_told_where_it_is_not_enough() -> None:
    one = [trial(0, 0.5, True)]
    assert (
        "run with --audit 0.1"
        in sentences(audited([trial(0, 0.5, False)], [rung(0, 7, 0.5, False, False)]))[1]
    )
    assert "Not enough" in sentences(audited(one, [rung(0, 7, 0.5, False, False)]))[2]
    told = sentences(audited(one, [rung(0, 7, 0.3, False, True)]))
    assert any(f"n is below {FEWEST}" in line for line in told)
    assert any("rank correlation" in line for line in told)
    assert sentences(audited(one, [])) == ["Early stopping (asha) has judged no trial."]


def test_what_breaks_the_assumptions_is_said() -> None:
    rungs = [rung(0, 7, 0.2, False, True)]
    said = audited([trial(0, 0.5, True)], rungs, seeds="fixed", sampler={"name": "tpe"}).warnings
    assert any("share seeds" in line for line in said) and any("tpe" in line for line in said)
    assert not audited([trial(0, 0.5, True)], rungs, sampler={"name": "random"}).warnings


def test_the_interval_of_the_rank_correlation_covers_the_truth() -> None:
    # For normal pairs of correlation ρ Spearman's tends to 6/π · asin(ρ/2) (Pearson 1907).
    rng, n, repeats, rho = np.random.default_rng(3), 60, 400, 0.6
    truth, covered = 6 / math.pi * math.asin(rho / 2), 0
    for _ in range(repeats):
        x, noise = rng.normal(size=(2, n))
        y = rho * x + math.sqrt(1 - rho**2) * noise
        values, scores = stats.norm.cdf(x), stats.norm.cdf(y)
        trials = [trial(i, float(scores[i]), True) for i in range(n)]
        rows = [rung(i, 7, float(values[i]), False, False) for i in range(n)]
        rank = audited(trials, rows, 0.5).rungs[0].rank
        assert rank.n == n and rank.low is not None and rank.high is not None
        covered += rank.low <= truth <= rank.high
    spread = math.sqrt(0.95 * 0.05 * repeats)
    assert abs(covered - 0.95 * repeats) < SIGMAS * spread


def test_a_run_with_brackets_is_counted_bracket_by_bracket(tmp_path: Path) -> None:
    """All numbers against a recount of the trials' own recorded epochs."""
    spec = simulation.spec(
        "dropout", scheduler={"brackets": 2, "audit": 0.4}, budget={"trials": 60},
        sampler={"name": "random"},
    )  # fmt: skip
    simulation.run(tmp_path / "run", spec, noisy_curve)
    with Record.open(tmp_path / "run") as record:
        trials, rows = record.trials(), record.rungs()
        best = {t.number: [row["best_val_f1"] for row in record.epochs(t.number)] for t in trials}
    target = float(np.median([t.score for t in trials if t.audited]))  # type: ignore[arg-type]
    found = audit("run", spec, trials, rows, target)
    stopping = spec.stopping()
    assert isinstance(stopping, Halving)
    assert {(one.bracket, one.rung) for one in found.rungs} == {(0, 2), (0, 6), (1, 6)}
    assert sum(one.judgements for one in found.rungs) == len(rows)
    would, reached = 0, 0
    for one in trials:
        stops = [row.rung_epoch for row in rows if row.trial == one.number and row.would_stop]
        if one.audited and stops:
            would += 1
            curve = best[one.number]
            reached += curve[min(stops) - 1] < target <= curve[-1]
    assert (found.false_stops.would_stop, found.false_stops.reached) == (would, reached)
    assert 0 < reached < would
    assert sum(one.false_stops.reached for one in found.rungs) == reached
    for one_rung in found.rungs:
        here = [
            (best[t.number][one_rung.rung - 1], best[t.number][-1])
            for t in trials
            if t.audited and stopping.bracket(t.number) == one_rung.bracket
        ]
        assert one_rung.rank.n == len(here)
        if one_rung.rank.spearman is not None:
            assert one_rung.rank.spearman == pytest.approx(stats.spearmanr(here).statistic)


def show(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["show", *arguments])


def test_show_prints_the_same_numbers_as_text_and_json(tmp_path: Path) -> None:
    spec = simulation.spec("dropout", scheduler={"audit": 0.4}, budget={"trials": 40})
    simulation.run(tmp_path / "run", spec, noisy_curve)
    given = ("run", "--runs", str(tmp_path), "--stopping", "--target", "0.55")
    text, facts = show(*given), show(*given, "--format", "json")
    assert text.exit_code == facts.exit_code == 0, text.stderr + facts.stderr
    found = Audit.model_validate_json(facts.stdout)
    assert found.target == 0.55
    share = found.false_stops
    assert f"{share.reached} of {share.known} reached it later" in " ".join(text.stdout.split())
    assert max(map(len, text.stdout.splitlines())) <= 80
    for one in found.rungs:
        assert f"{one.false_stops.reached} of {one.false_stops.known}" in text.stdout


def test_show_stopping_of_runs_with_little_to_say(tmp_path: Path) -> None:
    none = simulation.spec("dropout", scheduler={"name": "none"}, budget={"trials": 2})
    simulation.run(tmp_path / "none", none, noisy_curve)
    median = simulation.spec("dropout", scheduler={"name": "median"}, epochs=40)
    simulation.run(tmp_path / "median", median, noisy_curve)
    at = ("--runs", str(tmp_path))
    assert "has judged no trial" in show("none", *at, "--stopping").stdout
    assert "further rungs" in show("median", *at, "--stopping").stdout
    refused = show("none", *at, "--target", "0.5")
    assert refused.exit_code == 2 and "--target needs --stopping" in refused.stderr
    unknown = show("periodic_T", *at, "--stopping")
    assert unknown.exit_code == 2 and "Unknown run 'periodic_T'" in unknown.stderr


def test_the_report_holds_the_same_numbers(tmp_path: Path) -> None:
    trials = [made_trial(i, audited=i < 20, score=0.3 + i / 100) for i in range(25)]
    rows = [rung(i, 7, 0.2 + i / 200, False, i < 10) for i in range(25)]
    run = made_run(trials, epochs=60, rungs=rows)
    (facts,) = audits([run, made_run([made_trial(0)], "silent")], 0.35)
    spec = made_spec("periodic_T", 60)
    expected = audit("r", spec, [one.row for one in trials], rows, 0.35)
    assert facts.told == (*sentences(expected), *expected.warnings)
    assert facts.table == audit_table(expected)
    assert facts.table.rows[-1][1:8] == ("all", 25, 0, 20, 10, 10, 5)
    assert (
        audits([made_run([made_trial(0)], rungs=[rung(0, 7, 0.2, False, False)])], None)[
            0
        ].table.rows
        == ()
    )
