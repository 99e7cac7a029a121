"""A study in the report: what it froze, how far it has come, what its runs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from reports.confirmed import Confirmed
from reports.figures.chart import Column, Table
from reports.figures.runs import Run
from reports.sections.provenance import counted
from reports.sentence import limits_text, number
from reports.study import Study, mismatches, parts, shared
from reports.words import percent
from tuner.cli.formatting import knob_text
from tuner.study.spec import RULES


class StudyFacts(NamedTuple):
    """What a study is."""

    title: str
    digest: str
    demonstration: bool
    frozen: tuple[tuple[str, str], ...]
    """The numbers that were fixed beforehand, as (name, text)."""
    rules: tuple[tuple[str, str], ...]
    """What no study can change."""
    stages: Table
    checks: tuple[str, ...]
    """What all runs share, as they should."""


def study_facts(study: Study, runs: Sequence[Run]) -> StudyFacts:
    """Return what a study froze and how far it has come.

    Parameters
    ----------
    study : Study
    runs : sequence of Run
        All that its folder holds.
    """
    spec, policy = study.spec, study.spec.policy
    target = f"median of a pilot of {spec.pilot.trials} trials"
    if spec.target is not None:
        target = f"{spec.target:g}"
    centre = "the best seen" if spec.centre is None else knob_text(spec.centre)
    first = "its median trials to a match" if spec.confirm.budget is None else spec.confirm.budget
    frozen = (
        ("Comparison", f"{study.sides[0]} (periodic) against {study.sides[1]} (dynamic)"),
        ("Trials of the census", ", ".join(f"{a.space.name} {a.trials}" for a in spec.arms)),
        ("Seeds of the census", _seeds(spec.census.seeds)),
        ("Target", target),
        ("Margin on test", f"{spec.margin:g} macro-F1"),
        ("Confidence", f"{spec.confidence:g}, two-sided"),
        ("Space is shrunk around", centre),
        ("Policy", f"{policy.sampler.name}, early stopping {policy.scheduler.name},"
                   f" {policy.trials} trials; {policy.searches} real searches and"
                   f" {policy.replays} replayed ones of each side"),
        ("Confirmation", f"{spec.confirm.seeds} seeds of each configuration; periodic as tuned by"
                         f" the whole census, and by its first trials (K: {first})"),
        ("Epochs", str(spec.epochs)),
        ("Seed", str(spec.seed)),
    )  # fmt: skip
    rows = [run.row for run in runs]
    wrong = mismatches(study, rows)
    checks = []
    if rows and not any("digest" in one for one in wrong):
        checks.append(f"All {len(rows)} runs carry the digest of this study.")
    checks += [
        f"All runs share one {what}: {values[0]}."
        for what, values in shared(rows).items()
        if len(values) == 1
    ]
    return StudyFacts(
        spec.title,
        spec.digest,
        spec.demonstration,
        frozen,
        tuple(RULES.items()),
        _stages(study, runs),
        tuple(checks),
    )


def confirmed_table(
    found: Sequence[Confirmed], study: Study | None, runs: Sequence[Run], confidence: float
) -> Table:
    """Return the confirmed configurations for people and files."""
    columns = (
        Column("space", "space"),
        Column("selection", "selection"),
        Column("knobs", "configuration"),
        Column("n", "n"),
        Column("test_mean", "test F1, mean", 4),
        Column("test_sd", "sd", 4),
        Column("val_mean", "validation F1, mean", 4),
        Column("val_sd", "sd", 4),
        Column("difference", "dynamic − this, on test", 4),
        Column("limits", f"{percent(confidence)} interval (Welch)"),
        Column("p", "p, dynamic worse by the margin"),
    )
    varied = () if study is None else tuple(study.spec.periodic.space.knobs)
    fixed = {run.name: run.space.fixed for run in runs}
    rows = []
    for one in found:
        values = next((fixed[run] for run in one.runs if run in fixed), {})
        knobs = knob_text({name: values[name] for name in varied if name in values})
        limits = None if one.limits is None else limits_text(*one.limits)
        rows.append(
            (one.space, one.selection, knobs or "–", one.trials, one.test_mean, one.test_sd,
             one.val_mean, one.val_sd, one.difference, limits,
             None if one.non_inferior_p is None else number(one.non_inferior_p))
        )  # fmt: skip
    return Table(columns, tuple(rows))


def _stages(study: Study, runs: Sequence[Run]) -> Table:
    """Return one row per run that the study is to have or has."""
    columns = (
        Column("stage", "stage"),
        Column("run", "run"),
        Column("planned", "trials planned"),
        Column("trials", "trials"),
        Column("state", "state"),
    )
    by_name = {run.row.name: run for run in runs}
    rows: list[tuple[Any, ...]] = []
    for part in parts(study):
        run = by_name.pop(part.run, None)
        if run is None:
            rows.append((part.stage, part.run, part.trials, "none", "not begun"))
        else:
            rows.append((part.stage, part.run, part.trials, counted(run), run.row.state))
    for run in by_name.values():
        planned = run.row.spec["budget"].get("trials")
        rows.append((run.stage, run.name, planned, counted(run), run.row.state))
    replayed = [
        ("search", f"replay-{space}", None, f"{one.combinations[0].searches} searches", "finished")
        for space, one in study.replays.items()
    ]
    absent = [
        ("search", f"replay-{space}", None, "none", "not begun")
        for space in study.sides
        if space not in study.replays
    ]
    order = ("pilot", "census", "search", "confirm")
    return Table(
        columns, tuple(sorted([*rows, *replayed, *absent], key=lambda row: order.index(row[0])))
    )


def _seeds(seeds: str | int) -> str:
    if seeds == "fresh":
        return "a fresh one for every trial"
    return f"{seeds} for all configurations: rows of one seed are a cluster"
