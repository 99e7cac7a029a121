"""What stopping costs, estimated from the trials that were exempt from it.

A share of trials is drawn before it starts (`--audit`), judged like any other and never stopped.
So these, and only these, are a sample of all trials whose whole course is known: those that were
stopped have no end, and those that survived were selected by the very value that is in question.

- *False stop*: an audited trial that would have been stopped before it had reached the target, and
  reached it later. Its share among the audited trials that would have been stopped has an exact
  interval (Clopper and Pearson 1934). A trial counts at the first rung that would have stopped it.
- *Rank correlation* of the value at a rung and the final score: Spearman's, with the interval of
  Bonett and Wright 2000 (Psychometrika 65, equation 6): Fisher's z with variance
  (1 + r²/2) / (n - 3). The score is the best of all epochs and so contains the value at the rung:
  some correlation is there by construction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces.model import Model

if TYPE_CHECKING:
    from tuner.record_rows import RungRow, TrialRow
    from tuner.spec import RunSpec

CONFIDENCE = 0.95
FEWEST = 10
"""With fewer trials a correlation is not given, and a share is only as good as its interval."""
NEAR_BEST = 0.01
"""Without a target: within one point of macro-F1 of the run's best score."""
ENDED = ("completed", "diverged", "crashed")
"""Audited trials in these states have shown whether they reach the target."""


class Share(Model):
    """False stops among audited trials that would have been stopped."""

    would_stop: int
    """Audited trials whose first stop would have been here."""
    known: int
    """Those of them that have ended: n."""
    reached: int
    """Those of them that had not reached the target then, and did later."""
    share: float | None
    """None if n is 0."""
    low: float | None
    """Clopper-Pearson, 95 %."""
    high: float | None


class Rank(Model):
    """How well the order at a rung tells the final order."""

    n: int
    spearman: float | None
    """None with fewer than 10 trials, or where all values are equal."""
    low: float | None
    """Bonett and Wright 2000, 95 %; None also for a perfect order, which has no such interval."""
    high: float | None


class RungAudit(Model):
    """One rung of one bracket."""

    bracket: int
    rung: int
    """Its epoch."""
    judgements: int
    stopped: int
    audited: int
    """Audited trials that were judged here."""
    false_stops: Share
    rank: Rank
    """Of the audited trials."""
    rank_of_all: Rank
    """Of all that were trained in full, survivors too: selected by this value, so biased."""


class Audit(Model):
    """What stopping did in a run, and what it cost."""

    run: str
    scheduler: str
    target: float | None
    """None if no trial has a score."""
    target_source: str
    judgements: int
    stopped: int
    audited: int
    """Audited trials of the run, judged or not."""
    false_stops: Share
    rungs: list[RungAudit]
    warnings: list[str]


def audit(
    name: str,
    spec: RunSpec,
    trials: Sequence[TrialRow],
    rungs: Sequence[RungRow],
    target: float | None = None,
) -> Audit:
    """Return what the audited trials of a run say about its early stopping.

    Parameters
    ----------
    name : str
        Of the run.
    spec : RunSpec
    trials : sequence of TrialRow
    rungs : sequence of RungRow
        In order of arrival.
    target : float, optional
        Validation macro-F1; by default 0.01 below the best score of the run.
    """
    scores = [t.score for t in trials if t.score is not None and t.state not in ENDED[1:]]
    source = "as given"
    if target is None and scores:
        target = max(scores) - NEAR_BEST
        source = f"the run's best score minus {NEAR_BEST:g}, chosen after the fact"
    elif target is None:
        source = "none: no trial has a score"
    by_number = {trial.number: trial for trial in trials}
    stopping = spec.stopping()
    first_stops: dict[int, RungRow] = {}
    grouped: dict[tuple[int, int], list[RungRow]] = {}
    for row in rungs:
        bracket = 0 if stopping is None else stopping.bracket(row.trial)
        grouped.setdefault((bracket, row.rung_epoch), []).append(row)
        if row.would_stop and by_number[row.trial].audited:
            first_stops.setdefault(row.trial, row)
    found = []
    for (bracket, epoch), rows in sorted(grouped.items()):
        judged = [(by_number[row.trial], row.value) for row in rows]
        exempt = [(trial, value) for trial, value in judged if trial.audited]
        here = [row for row in rows if first_stops.get(row.trial) is row]
        found.append(
            RungAudit(
                bracket=bracket,
                rung=epoch,
                judgements=len(rows),
                stopped=sum(row.stop for row in rows),
                audited=len(exempt),
                false_stops=_share([(by_number[row.trial], row.value) for row in here], target),
                rank=_rank(exempt),
                rank_of_all=_rank(judged),
            )
        )
    overall = [(by_number[row.trial], row.value) for row in first_stops.values()]
    audited = sum(trial.audited for trial in trials)
    return Audit(
        run=name,
        scheduler=spec.scheduler.name,
        target=target,
        target_source=source,
        judgements=len(rungs),
        stopped=sum(row.stop for row in rungs),
        audited=audited,
        false_stops=_share(overall, target),
        rungs=found,
        warnings=_warnings(spec, audited, overall),
    )


def sentences(found: Audit) -> list[str]:
    """Return what an audit says, as sentences; a table of its rungs goes with them."""
    share = found.false_stops
    told = [f"{found.judgements} judgements, {found.stopped} stopped a trial."]
    if not found.judgements:
        return [f"Early stopping ({found.scheduler}) has judged no trial."]
    if not found.audited:
        return [
            *told,
            "No trial was audited, so what stopping cost is not known; run with --audit 0.1.",
        ]
    told.append(
        f"{found.audited} trials were audited; {share.would_stop} of them would have been stopped."
    )
    if found.target is None:
        return [*told, "Not enough: no trial has a score, so that there is no target."]
    goal = f"{found.target:.4f} ({found.target_source})"
    if share.share is None or share.low is None or share.high is None:
        return [*told, f"Not enough to estimate the false-stop rate for target {goal}: n = 0."]
    told.append(
        f"False-stop rate for target {goal}: {share.reached} of {share.known} reached it later,"
        f" {share.share:.0%} (95 % interval {share.low:.0%} to {share.high:.0%})."
    )
    if share.known < FEWEST:
        told.append(f"Not enough for more than the interval: n is below {FEWEST}.")
    if all(one.rank.spearman is None for one in found.rungs):
        told.append(
            f"Not enough audited trials for a rank correlation: it takes {FEWEST} at one rung,"
            " with different values."
        )
    return told


def _share(stops: Sequence[tuple[TrialRow, float]], target: float | None) -> Share:
    known = [(trial, value) for trial, value in stops if trial.state in ENDED]
    reached = 0
    if target is not None:
        reached = sum(
            trial.state == "completed" and value < target <= (trial.score or 0.0)
            for trial, value in known
        )
    if not known or target is None:
        return Share(
            would_stop=len(stops), known=len(known), reached=0, share=None, low=None, high=None
        )
    from scipy import stats

    limits = stats.binomtest(reached, len(known)).proportion_ci(CONFIDENCE, method="exact")
    return Share(
        would_stop=len(stops),
        known=len(known),
        reached=reached,
        share=reached / len(known),
        low=float(limits.low),
        high=float(limits.high),
    )


def _rank(judged: Sequence[tuple[TrialRow, float]]) -> Rank:
    pairs = [
        (value, trial.score)
        for trial, value in judged
        if trial.state == "completed" and trial.score is not None
    ]
    values, scores = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    n = len(pairs)
    if n < FEWEST or len(set(values)) == 1 or len(set(scores)) == 1:
        return Rank(n=n, spearman=None, low=None, high=None)
    from scipy import stats

    r = float(stats.spearmanr(values, scores).statistic)
    if abs(r) > 1 - 1e-9:
        return Rank(n=n, spearman=math.copysign(1.0, r), low=None, high=None)
    half = float(stats.norm.isf((1 - CONFIDENCE) / 2)) * math.sqrt((1 + r * r / 2) / (n - 3))
    return Rank(
        n=n,
        spearman=r,
        low=math.tanh(math.atanh(r) - half),
        high=math.tanh(math.atanh(r) + half),
    )


def _warnings(spec: RunSpec, audited: int, overall: Sequence[tuple[TrialRow, float]]) -> list[str]:
    found = []
    if audited and spec.seeds != "fresh":
        found.append("Trials share seeds and are not independent: the intervals are too narrow.")
    if audited and spec.sampler.name not in ("random", "grid", "sobol"):
        found.append(
            f"{spec.sampler.name} learns as it goes, so that later trials are better: the rate is"
            " that of this run, and of no other."
        )
    waiting = sum(trial.state not in ENDED for trial, _ in overall)
    if waiting:
        found.append(
            f"{waiting} audited trial(s) that would have been stopped have not ended; they are not"
            " in n."
        )
    return found
