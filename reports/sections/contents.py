"""Everything a report holds, computed once, whatever form it is then written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reports.arm import arm_of
from reports.confirmed import confirmed
from reports.equivalence import configurations, confirmed_trials
from reports.figures import (
    evidence,
    knobs,
    learning,
    positions,
    searches,
    several_knobs,
    stopping,
    weights,
)
from reports.figures.chart import Column, Figure, Table
from reports.figures.runs import Run, arms, best_of
from reports.real_searches import real_search
from reports.searches import Search, log_rank, searches_of, survival
from reports.searches import summary as summary_of
from reports.sections import compared
from reports.sections.audits import AuditFacts, audits
from reports.sections.paper_table import PaperTable, paper_table, results, tabled
from reports.sections.policy import PolicyCosts, policy_costs
from reports.sections.provenance import Facts, differences, facts, overview
from reports.sections.study import StudyFacts, confirmed_table, study_facts
from reports.sections.trials import Failure, failures, rows_table
from reports.sections.verdict import Asked, Verdict, verdict
from reports.sensitivity import basin, importance
from reports.sentence import number
from reports.sources import TableFile
from reports.study import Study, alarms, opening
from reports.table import Trials, census_spaces, of_census
from reports.words import percent

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
    confirmed: Table
    """Confirmed configurations; no rows without any."""
    study: StudyFacts | None
    policy: PolicyCosts | None
    """What a real search costs; None without a study."""
    tables: tuple[TableFile, ...]
    overview: Table
    """One row per run."""
    facts: tuple[Facts, ...]
    differences: tuple[str, ...]
    paper: PaperTable
    figures: dict[str, tuple[Figure, ...]]
    """Section → figures, in order."""
    by_run: tuple[tuple[str, tuple[Figure, ...]], ...]
    """Run, its own figures."""
    audits: tuple[AuditFacts, ...]
    """What early stopping cost, of runs that judged anything."""
    position_claims: tuple[str, ...]
    basins: Table
    failures: tuple[Failure, ...]
    runs: tuple[Run, ...]
    rows: Table
    """The trials of the tables."""


def contents(
    runs: tuple[Run, ...],
    trials: Trials,
    asked: Asked,
    tables: tuple[TableFile, ...] = (),
    study: Study | None = None,
) -> Contents:
    """Compute a report.

    Parameters
    ----------
    runs : tuple of Run
    trials : Trials
        The same runs as a trial table, which a comparison needs, and the rows of the tables.
    asked : Asked
    tables : tuple of TableFile, optional
    study : Study, optional
        What the runs are parts of.

    What describes the census leaves out the trials of other stages; only where a space has no
    census, its searches stand in for it.

    Raises
    ------
    UserError
        If a space that was asked for is not there.
    """
    told = verdict(runs, trials, asked)
    if study is not None:
        first = alarms(study, [run.row for run in runs], asked)
        told = told.opened(opening(study, asked), first)
    having = census_spaces(trials) | {run.space.name for run in runs if run.stage == "census"}
    counted = [run for run in runs if of_census(run.stage, run.space.name, having)]
    searched = [run for run in runs if run.stage == "search" or study is None]
    recorded = {str(run.folder) for run in runs}
    rows = trials.take(i for i, source in enumerate(trials.source) if source not in recorded)
    stages = enumerate(zip(rows.stage, rows.space, strict=True))
    of_rows = rows.take(i for i, (stage, space) in stages if of_census(stage, space, having))
    kinds = _kinds(trials)
    by_arm = arms(_as_compared(counted, kinds, told))
    sides = [arm_of(trials, space) for space in (told.periodic, told.dynamic) if space]
    spaces = knobs.by_space(counted)
    names = (
        " against ".join(dict.fromkeys(arm.space for arm in sides))
        if sides
        else ", ".join(dict.fromkeys((*spaces, *rows.spaces)))
    )
    sources = [str(run.row.data.get("source", "")) for run in counted]
    figures = {
        "verdict": tuple(compared.change(counted, sides, told, asked)),
        "tuning": tuple(compared.tuning_curves(counted, sides, kinds, told, asked, trials)),
        "learning": (
            *map(learning.draw_learning, learning.learning_curves(by_arm)),
            *map(weights.draw_weights, weights.weights(by_arm)),
            *([weights.draw_shares(shares)] if (shares := weights.shares(by_arm)) else []),
        ),
        "sensitivity": tuple(_sensitivity(spaces, trials, asked)),
        "searches": tuple(_searches(searched, rows, kinds, told, asked)),
    }
    policy = None
    target = None if told.answer is None else told.answer.target.value
    if study is not None:
        policy = policy_costs(study, runs, target)
    figures["policy"] = (policy.figure,) if policy is not None and policy.figure else ()
    by_run = _by_run(searched)
    _name_apart(figures, by_run)
    fresh = confirmed(trials, told.periodic, told.dynamic, asked.margin, asked.confidence)
    return Contents(
        title=f"Tuning report: {names}" if study is None else study.spec.title,
        verdict=told,
        costs=compared.costs(sides, told, asked),
        confirmed=confirmed_table(fresh, study, runs, asked.confidence),
        study=None if study is None else study_facts(study, runs),
        policy=policy,
        tables=tables,
        overview=overview(runs),
        facts=tuple(facts(run, index) for index, run in enumerate(runs)),
        differences=tuple(differences(runs)),
        paper=paper_table(
            [*results(counted), *tabled(of_rows)],
            [*sources, *(name or "" for name in dict.fromkeys(of_rows.data))],
        ),
        figures=figures,
        by_run=tuple(by_run),
        audits=audits(searched, target),
        position_claims=tuple(
            f"{label}: {positions.positions_sentence(tested)}"
            for label, (space, of_space) in spaces.items()
            if (tested := positions.positions(label, space, of_space))
        ),
        basins=_basins(trials, asked),
        failures=tuple(failures(runs)),
        runs=runs,
        rows=rows_table(rows),
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


def _as_compared(runs: Sequence[Run], kinds: dict[str, str], told: Verdict) -> list[Run]:
    """Leave out the spaces that share an arm with one of those compared: curves go by arm."""
    chosen = {kinds[space]: space for space in (told.periodic, told.dynamic) if space}
    return [
        run
        for run in runs
        if chosen.get(kinds.get(run.space.name, ""), run.space.name) == run.space.name
    ]


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
            of_table = arm_of(trials, space.name).trials
            step = -(-len(of_table) // MOST_FOR_IMPORTANCE)
            shares = importance(of_table.take(range(0, len(of_table), step)), space, asked.seed)
            if shares:
                found.append(evidence.draw_importance(label, shares, step))
    return found


def _searches(
    runs: Sequence[Run], rows: Trials, kinds: dict[str, str], told: Verdict, asked: Asked
) -> list[Figure]:
    """Return figures of whole searches: of runs, and of the rows of tables."""
    found = []
    came = searches.progress(runs)
    if came:
        found.append(searches.draw_progress(came))
    target = None if told.answer is None else told.answer.target.value
    if target is not None:
        groups = []
        for space in dict.fromkeys((told.periodic, told.dynamic)):
            real = [
                real_search(run.folder, target)
                for run in runs
                if run.stage == "search" and run.space.name == space and run.trials
            ]
            group = [
                *(Search(one.epochs, one.reached) for one in real),
                *searches_of(rows.where(stage="search"), space, target, "epochs"),
            ]
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
        # Tuned by the whole census comes first; its validation scores anew are what "best" is.
        retrained = [one.score for one in configurations(confirmed_trials(trials, space))][:1]
        scores = [score for of in retrained for score in of if score is not None]
        found = basin(arm_of(trials, space), delta, scores, asked.confidence)
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
        Column("limits", f"{percent(asked.confidence)} interval"),
    )
    return Table(columns, tuple(rows))
