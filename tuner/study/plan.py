"""What a study would do, cost and show: `tuner study --dry-run`. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tuner.plan import UNKNOWN_COST, KnownImages, plan
from tuner.study.spec import StudySpec
from tuner.study.stages import StudyRun, confirming

POWER = 0.8
"""With this chance a design must find what it is said to find."""


class Row(NamedTuple):
    """Runs of one stage and space."""

    stage: str
    space: str
    runs: int
    trials: int
    """Over all of these runs."""
    epochs: float
    """Expected, over all of these runs."""
    slot_hours: float | None


class StudyPlan(NamedTuple):
    """What is planned."""

    study: str
    title: str
    digest: str
    rows: tuple[Row, ...]
    trials: int
    """At most: a search may end before its budget, and confirm less."""
    epochs: float
    """Expected of so many trials, as far as searches stop some early."""
    epochs_most: float
    """If no trial is stopped."""
    slot_hours: float | None
    """Hours × share of a GPU (on a CPU: × cores) that trials hold; None where not known."""
    cost_from: str
    """Where the cost of an epoch comes from, or why it is not known."""
    design: str
    """What the design is good for."""
    power: tuple[dict[str, Any], ...]
    """For true savings R: the chance that the interval excludes 1, and what it would be."""
    detectable: float | None
    """The smallest true R that is found with probability 0.8."""
    never_matched: dict[str, float]
    """Lower limits of the trials to a match if no periodic trial matches."""
    confirm_sd: float | None
    """The largest standard deviation of test scores at which the confirmation has power 0.8."""
    warnings: tuple[str, ...]
    folder: str


def study_plan(
    study: StudySpec,
    runs: Sequence[StudyRun],
    folder: Path,
    cache: Path,
    temp: Path,
    others: Sequence[Path],
    known: KnownImages,
) -> StudyPlan:
    """Return the plan of a study.

    Parameters
    ----------
    study : StudySpec
    runs : sequence of StudyRun
        Those that the file alone decides.
    folder, cache, temp : Path
        Where the study, packed data and Ray's temporary files go.
    others : sequence of Path
        Folders of earlier runs, the oldest first: what an epoch cost there is taken for this one.
    known : KnownImages
        What is known of the images before packing.
    """
    from reports import power

    rows: dict[tuple[str, str], Row] = {}
    warnings: dict[str, list[str]] = {line: [] for line in known.warnings()}  # and the spaces
    of_runs = known._replace(copies=0)  # warned of once, not by each run
    cost_from = ""
    for run in [*runs, *confirming(study, folder.name)]:
        key = run.stage, run.spec.space.name
        if key in rows:  # it differs in its seed, or in the values that it holds
            one = rows[key]
            share = (one.runs + 1) / one.runs
            hours = None if one.slot_hours is None else one.slot_hours * share
            rows[key] = Row(
                *key, one.runs + 1, round(one.trials * share), one.epochs * share, hours
            )
            continue
        planned = plan(run.spec, folder / run.name, cache, temp, others, of_runs)
        assert planned.trials is not None and planned.epochs_expected is not None
        seconds = planned.slot_seconds_expected
        rows[key] = Row(
            *key, 1, planned.trials, planned.epochs_expected,
            None if seconds is None else seconds / 3600,
        )  # fmt: skip
        cost_from = planned.cost_from or (
            f"{UNKNOWN_COST}; its first run will tell: begin the study, and ask again"
        )
        for line in planned.warnings:
            if run.spec.space.name not in warnings.setdefault(line, []):
                warnings[line].append(run.spec.space.name)
    n_periodic, n_dynamic = study.periodic.trials, study.dynamic.trials
    if study.seeds_of(study.periodic) != "fresh":
        warnings[
            "The rows of a blocked census are clusters: the power below is an upper limit."
        ] = []
    least = power.never_matched(n_periodic, study.confidence)
    held = [row.slot_hours for row in rows.values()]
    return StudyPlan(
        study=folder.name,
        title=study.title,
        digest=study.digest,
        rows=tuple(rows.values()),
        trials=sum(row.trials for row in rows.values()),
        epochs=round(sum(row.epochs for row in rows.values()), 1),
        epochs_most=float(sum(row.trials for row in rows.values()) * study.epochs),
        slot_hours=None if None in held else round(sum(one or 0.0 for one in held), 4),
        cost_from=cost_from,
        design=power.label(n_periodic, n_dynamic),
        power=tuple(
            {
                "ratio": one.ratio,
                "power": one.power,
                "low": one.interval.low,
                "high": one.interval.high if one.interval.high < float("inf") else None,
                "no_hits": one.no_hits,
                "median_trials": one.median_trials,
            }
            for one in power.power(n_periodic, n_dynamic, study.confidence)
        ),
        detectable=power.detectable(n_periodic, n_dynamic, study.confidence, POWER),
        never_matched=least._asdict(),
        confirm_sd=power.confirm_sd(study.confirm.seeds, study.margin, study.confidence, POWER),
        warnings=tuple(
            f"{', '.join(spaces)}: {line}" if spaces else line for line, spaces in warnings.items()
        ),
        folder=str(folder),
    )
