"""Everything a report holds, computed once, whatever form it is then written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reports.ablation import space_ablation
from reports.arm import Arm, arm_of
from reports.cost import arms_cost_ratio
from reports.figures import (
    evidence,
    knobs,
    learning,
    positions,
    savings,
    searches,
    several_knobs,
    stopping,
    tuning,
    weights,
)
from reports.figures.chart import Column, Figure, Table
from reports.figures.runs import Run, arms, best_of
from reports.searches import log_rank, searches_of, survival
from reports.searches import summary as summary_of
from reports.sections.paper_table import PaperTable, paper_table
from reports.sections.provenance import Facts, differences, facts, overview
from reports.sections.trials import Failure, failures
from reports.sections.verdict import Asked, Verdict, verdict
from reports.selection import selected_test
from reports.sensitivity import basin, holds, importance
from reports.sentence import limits_text, number
from reports.table import Trials
from search_spaces.space import ChoiceKnob

MOST_SELECTED = 40
"""Points of the selected-test curve."""
MOST_FOR_IMPORTANCE = 150
"""fANOVA takes seconds for so many trials, and a minute for a few thousand."""
DELTA = 0.01
"""Half-width of a basin where no margin is given: one point of macro-F1."""


class Contents(NamedTuple):
    """A report."""

    title: str
    verdict: Verdict
    costs: Table | None
    """Stand-alone and as-run savings."""
    overview: Table
    """One row per run."""
    facts: tuple[Facts, ...]
    differences: tuple[str, ...]
    paper: PaperTable
    figures: dict[str, tuple[Figure, ...]]
    """Section → figures, in order."""
    by_run: tuple[tuple[str, tuple[Figure, ...]], ...]
    """Run, its own figures."""
    position_claims: tuple[str, ...]
    basins: Table
    failures: tuple[Failure, ...]
    runs: tuple[Run, ...]


def contents(runs: tuple[Run, ...], trials: Trials, asked: Asked) -> Contents:
    """Compute a report.

    Parameters
    ----------
    runs : tuple of Run
    trials : Trials
        The same runs as a trial table, which a comparison needs.
    asked : Asked

    Raises
    ------
    UserError
        If a space that was asked for is not there.
    """
    told = verdict(runs, trials, asked)
    by_arm = arms(runs)
    kinds = _kinds(trials)
    sides = [arm_of(trials, space) for space in (told.periodic, told.dynamic) if space]
    spaces = knobs.by_space(runs)
    names = (
        " against ".join(dict.fromkeys(arm.space for arm in sides)) if sides else ", ".join(spaces)
    )
    figures = {
        "verdict": tuple(_change(runs, sides, told, asked)),
        "tuning": tuple(_tuning(runs, sides, kinds, told, asked, trials)),
        "learning": (
            *map(learning.draw_learning, learning.learning_curves(by_arm)),
            *map(weights.draw_weights, weights.weights(by_arm)),
            *([weights.draw_shares(shares)] if (shares := weights.shares(by_arm)) else []),
        ),
        "sensitivity": tuple(_sensitivity(spaces, trials, asked)),
        "searches": tuple(_searches(runs, trials, kinds, told, asked)),
    }
    by_run = _by_run(runs)
    _name_apart(figures, by_run)
    return Contents(
        title=f"Tuning report: {names}",
        verdict=told,
        costs=_costs(sides, told, asked),
        overview=overview(runs),
        facts=tuple(facts(run, index) for index, run in enumerate(runs)),
        differences=tuple(differences(runs)),
        paper=paper_table(by_arm, [str(run.row.data.get("source", "")) for run in runs]),
        figures=figures,
        by_run=tuple(by_run),
        position_claims=tuple(
            f"{label}: {positions.positions_sentence(tested)}"
            for label, (space, of_space) in spaces.items()
            if (tested := positions.positions(label, space, of_space))
        ),
        basins=_basins(trials, asked),
        failures=tuple(failures(runs)),
        runs=runs,
    )


def _name_apart(
    figures: dict[str, tuple[Figure, ...]], by_run: list[tuple[str, tuple[Figure, ...]]]
) -> None:
    """Give every figure a name of its own: runs a.b and a-b would share a file."""
    taken: set[str] = set()

    def apart(figure: Figure) -> Figure:
        name, count = figure.name, 1
        while name in taken:
            count += 1
            name = f"{figure.name}-{count}"
        taken.add(name)
        return figure._replace(name=name)

    for section, its in figures.items():
        figures[section] = tuple(map(apart, its))
    by_run[:] = [(run, tuple(map(apart, its))) for run, its in by_run]


def _kinds(trials: Trials) -> dict[str, str]:
    """Return each space's most frequent arm."""
    found = {}
    for space in trials.spaces:
        of_space = trials.where(space=space).arm
        found[space] = max(dict.fromkeys(of_space), key=of_space.count)
    return found


def _costs(sides: Sequence[Arm], told: Verdict, asked: Asked) -> Table | None:
    """Return the savings in cost, stand-alone and as it was run with what trials shared."""
    if told.answer is None or told.answer.target.value is None:
        return None
    periodic, dynamic = sides
    rows = []
    for what, columns in (
        ("epochs per match", ("epochs", "as_run_epochs")),
        ("slot-seconds per match", ("slot_seconds", "as_run_slot_seconds")),
    ):
        if all(len({tuple(getattr(arm.trials, c)) for c in columns}) == 1 for arm in sides):
            continue  # nothing was shared: the verdict's own table says it all
        for how, column in zip(("plain tuning", "cheapest tuning here (as run)"), columns,
                               strict=True):  # fmt: skip
            ratio = arms_cost_ratio(
                dynamic, periodic, told.answer.target.value, column, asked.confidence, asked.seed
            )
            if ratio is not None:
                value = None if ratio.ratio is None or not np.isfinite(ratio.ratio) else ratio.ratio
                high = ratio.high if np.isfinite(ratio.high) else None
                rows.append((what, how, value, limits_text(ratio.low, high), ratio.method))
    columns_ = (
        Column("what", ""),
        Column("against", "periodic tuned by"),
        Column("ratio", "periodic / dynamic", 2),
        Column("limits", f"{asked.confidence * 100:g} % interval"),
        Column("method", "method"),
    )
    return Table(columns_, tuple(rows)) if rows else None


def _change(runs: Sequence[Run], sides: Sequence[Arm], told: Verdict, asked: Asked) -> list[Figure]:
    """Return what would change the verdict."""
    if told.answer is None:
        return []
    found = []
    target = told.answer.target.value
    spaces = [run.space for run in runs if run.space.name == told.periodic]
    best = best_of(t for run in runs if run.space.name == told.periodic for t in run.trials)
    if target is not None and best is not None and sides[0].n and sides[1].n:
        space, centre = spaces[0], best.row.knobs
        numeric = {n: k for n, k in space.knobs.items() if not isinstance(k, ChoiceKnob)}
        if numeric and all(holds(knob, centre.get(name)) for name, knob in numeric.items()):
            ablated = space_ablation(
                sides[0],
                sides[1],
                space,
                centre,
                target,
                own_median=told.answer.target.source.endswith("itself"),
                confidence=asked.confidence,
                seed=asked.seed,
            )
            at = ", ".join(f"{name} = {centre[name]:.4g}" for name in numeric)
            found.append(evidence.draw_ablation(ablated, f"the best seen ({at})"))
    charged = savings.draw_hidden_knob(told.answer)
    return [*found, charged] if charged else found


def _tuning(
    runs: Sequence[Run],
    sides: Sequence[Arm],
    kinds: dict[str, str],
    told: Verdict,
    asked: Asked,
    trials: Trials,
) -> list[Figure]:
    found = []
    if told.answer is not None:
        units = {run.slot_unit for run in runs if run.space.name in (told.periodic, told.dynamic)}
        unit = units.pop() if len(units) == 1 else "slot-hours"
        pairs = [(arm, kinds[arm.space]) for arm in sides]
        curves = tuning.tuning_curves(pairs, told.answer, asked.confidence)
        if curves:
            found.append(tuning.draw_tuning(curves, unit, asked.confidence))
        by_target = savings.savings_by_target(
            sides[0], sides[1], told.answer.target.value, asked.confidence, asked.seed
        )
        if by_target:
            found.append(savings.draw_savings_by_target(by_target))
    selected = []
    for arm in sides or [arm_of(trials, space) for space in trials.spaces]:
        ks = np.unique(np.geomspace(1, max(1, arm.n), MOST_SELECTED).round().astype(int)).tolist()
        curve = selected_test(arm.trials, asked.confidence, asked.seed, ks)
        if curve is not None:
            selected.append((arm.space, kinds[arm.space], curve))
    if selected:
        found.append(evidence.draw_selected_test(selected, asked.confidence))
    return found


def _sensitivity(spaces: knobs.BySpace, trials: Trials, asked: Asked) -> list[Figure]:
    found = []
    for label, (space, of_space) in spaces.items():
        if best_of(of_space) is None:
            continue
        found += [
            knobs.draw_knob(scores)
            for name in space.knobs
            if (scores := knobs.knob_scores(label, space, of_space, name)).scored
        ]
        found += map(several_knobs.draw_heat_map, several_knobs.heat_maps(label, space, of_space))
        lines = several_knobs.parallel(label, space, of_space)
        if lines:
            found.append(several_knobs.draw_parallel(lines))
        if len(space.knobs) > 1:
            of_table = trials.where(space=space.name)
            step = -(-len(of_table) // MOST_FOR_IMPORTANCE)
            shares = importance(of_table.take(range(0, len(of_table), step)), space, asked.seed)
            if shares:
                found.append(evidence.draw_importance(label, shares, step))
    return found


def _searches(
    runs: Sequence[Run], trials: Trials, kinds: dict[str, str], told: Verdict, asked: Asked
) -> list[Figure]:
    found = []
    came = searches.progress(runs)
    if came:
        found.append(searches.draw_progress(came))
    target = None if told.answer is None else told.answer.target.value
    if target is not None:
        groups = []
        for space in dict.fromkeys((told.periodic, told.dynamic)):
            group = searches_of(trials.where(stage="search"), space, target, "epochs")
            if group:
                groups.append((space, group))
        if any(one.matched for _, group in groups for one in group):
            horizon = min(max(one.cost for one in group) for _, group in groups)
            drawn = [
                (space, kinds[space], survival(group, asked.confidence),
                 summary_of(group, horizon, asked.confidence))
                for space, group in groups
            ]  # fmt: skip
            p = log_rank(groups[0][1], groups[1][1]) if len(groups) == 2 else None
            found.append(evidence.draw_survival(drawn, p, target))
    return found


def _by_run(runs: Sequence[Run]) -> list[tuple[str, tuple[Figure, ...]]]:
    """Return the figures that each run has of its own."""
    found = []
    for run in runs:
        bars, judged = searches.timeline(run), stopping.stopping(run)
        figures = (
            *([searches.draw_timeline(bars)] if bars else []),
            *([stopping.draw_stopping(judged)] if judged else []),
        )
        if figures:
            found.append((run.name, figures))
    return found


def _basins(trials: Trials, asked: Asked) -> Table:
    delta = asked.margin or DELTA
    rows = []
    for space in trials.spaces:
        found = basin(arm_of(trials, space), delta, confidence=asked.confidence)
        if found is not None:
            limits = " to ".join(number(limit) for limit in found.limits)
            rows.append((space, found.delta, found.best, found.source, found.within, found.trials,
                         found.share, limits))  # fmt: skip
    columns = (
        Column("space", "space"),
        Column("delta", "δ", 3),
        Column("best", "best F1", 4),
        Column("source", "which best"),
        Column("within", "trials within δ"),
        Column("trials", "of"),
        Column("share", "basin width", 3),
        Column("limits", f"{asked.confidence * 100:g} % interval"),
    )
    return Table(columns, tuple(rows))
