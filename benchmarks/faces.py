"""The study of real faces: its tables, and the numbers of docs/results.md made from them.

    python -m benchmarks.faces collect runs/faces runs/faces-sides   # docs/results/, from the runs
    python -m benchmarks.faces tables            # docs/results.md, from docs/results/
    python -m benchmarks.faces tables --check    # 1 if that would change it

What stands in docs/results.md between `<!-- NAME -->` and `<!-- /NAME -->` is replaced. Intervals
are two-sided at the study's confidence. Differences of means are Welch's; their p are adjusted by
Holm's method within a table.
"""

from __future__ import annotations

import argparse
import csv
import functools
import re
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from reports.answer import compare
from reports.arm import arm_of
from reports.confirmed import welch
from reports.contract import Answer, Saving
from reports.equivalence import configurations, confirmed_trials, tests_of
from reports.markup import markdown_table as table_lines
from reports.real_searches import real_search
from reports.search_costs import Combination, Estimate
from reports.sensitivity import Basin, basin, importance, knob_basins
from reports.simulate import Simulation
from reports.table import Trials, read_trials
from reports.words import limits_text, number
from search_spaces.space import Space
from tuner.record import Record
from tuner.record_file import record_folders
from tuner.study.spec import StudySpec, load_study
from tuner.table import write_table

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
FOLDER = PAGE.with_suffix("")
STUDY, TRIALS, SIDES = FOLDER / "faces.yaml", FOLDER / "trials.csv", FOLDER / "sides"
SEARCHES, INJECTION = FOLDER / "searches.csv", FOLDER / "injection.csv"
DYNAMIC = ("dynamic_default", "dynamic_adamw", "dynamic_no_decay", "dynamic_bf16")
"""Arms whose only difference from the first is told by their name."""


def collect(study: Path, sides: Path) -> None:
    """Write what is committed of the runs of the study, and of those beside it."""
    runs = [*record_folders(study), *record_folders(sides)]
    target = _target(study)
    SIDES.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(study / "study.json", FOLDER / "study.json")
    for replay in study.glob("replay-*.json"):
        shutil.copyfile(replay, FOLDER / replay.name)
    _table([one for one in runs if one.parent == study], TRIALS)
    for run in runs:
        if run.parent == sides:
            _table([run], SIDES / f"{run.name}.csv")
    _write(SEARCHES, [_search(run, target) for run in runs if _is_search(run)])
    _write(INJECTION, [row for run in runs for row in _injected(run)])


def _table(runs: Sequence[Path], file: Path) -> None:
    records = [Record.open(run) for run in runs]
    try:
        write_table(records, file, "csv")
    finally:
        for record in records:
            record.close()


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as written:
        table = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _target(study: Path) -> float:
    """Return the median of the pilot's scores."""
    with Record.open(study / "pilot-dynamic_default") as record:
        return statistics.median(one.score or 0.0 for one in record.trials())


def _is_search(run: Path) -> bool:
    return run.name.startswith(("search-", "shared_"))


def _search(run: Path, target: float) -> dict[str, Any]:
    """Return what a search cost until the target; `computed` leaves out shared epochs."""
    found = real_search(run, target)
    return {
        "run": found.run, "space": found.space, "reached": int(found.reached),
        "trials": found.trials, "epochs": found.epochs, "computed": found.computed,
    }  # fmt: skip


def _injected(run: Path) -> list[dict[str, Any]]:
    """Return when and how much each dynamic trial injected."""
    rows = []
    with Record.open(run) as record:
        for trial in record.trials():
            if not trial.arm.startswith("dynamic") or trial.state != "completed":
                continue
            shares = [row["injected_share"] or 0.0 for row in record.epochs(trial.number)]
            first = next((epoch for epoch, share in enumerate(shares, 1) if share > 0), "")
            share = round(statistics.fmean(shares), 6)
            rows.append({"run": run.name, "trial": trial.number, "first": first, "share": share})
    return rows


class Found(NamedTuple):
    """All that is committed."""

    spec: StudySpec
    trials: Trials
    sides: dict[str, Trials]
    answer: Answer
    replays: dict[str, Combination]
    searches: list[dict[str, str]]
    injection: list[dict[str, str]]

    def tests(self, space: str, stage: str = "census") -> list[float]:
        """Return the test scores of an arm's completed trials."""
        return tests_of(self.trials.where(space=space, stage=stage))

    def space(self, name: str) -> Space:
        """Return a space with numbers for bounds."""
        (arm,) = (one for one in self.spec.arms if one.space.name == name)
        return arm.space.resolved(self.spec.epochs)


@functools.cache
def found() -> Found:
    """Read what is committed."""
    spec, trials = load_study(str(STUDY)), read_trials([TRIALS])
    answer = compare(
        trials,
        periodic=spec.periodic.space.name,
        dynamic=spec.dynamic.space.name,
        margin=spec.margin,
        confidence=spec.confidence,
    )
    replays = {
        file.stem.removeprefix("replay-"): Simulation.model_validate_json(file.read_text())
        for file in FOLDER.glob("replay-*.json")
    }
    return Found(
        spec=spec,
        trials=trials,
        sides={file.stem: read_trials([file]) for file in sorted(SIDES.glob("*.csv"))},
        answer=answer,
        replays={space: one.combinations[0] for space, one in replays.items()},
        searches=_read(SEARCHES),
        injection=_read(INJECTION),
    )


def _read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as read:
        return list(csv.DictReader(read))


def savings() -> str:
    """Return how much dynamic saves, by unit and by way of searching."""
    all_ = found()
    saved, replays = all_.answer.savings, all_.replays
    rows: list[tuple[str, ...]] = []
    for unit in ("trials", "epochs", "slot_seconds"):
        one: Saving | None = getattr(saved, unit)
        rows.append(("random search, nothing stopped", unit.replace("_", "-"), *_ratio_of(one)))
    periodic, dynamic = (
        replays[side.space.name] for side in (all_.spec.periodic, all_.spec.dynamic)
    )
    for unit in ("trials", "epochs", "slot_seconds"):
        above, below = getattr(periodic, unit), getattr(dynamic, unit)
        if above is not None and below is not None:
            rows.append(
                ("TPE with ASHA, replayed", unit.replace("_", "-"), *_of(above.ert, below.ert))
            )
    return _markdown(("search", "cost in", "periodic / dynamic", "interval"), rows)


def _ratio_of(one: Saving | None) -> tuple[str, str]:
    if one is None or one.ratio is None:
        return "–", "–"
    return number(one.ratio), limits_text(one.low, one.high)


def _of(above: Estimate, below: Estimate) -> tuple[str, str]:
    """Return the ratio of two expected costs; its limits combine the outer ends of both."""
    if above.estimate is None or not below.estimate:
        return "–", "–"
    low = above.low / below.high if above.low is not None and below.high else 0.0
    high = above.high / below.low if above.high is not None and below.low else None
    return number(above.estimate / below.estimate), limits_text(low, high)


def searches() -> str:
    """Return what the real searches cost until they reached the target."""
    rows = []
    kinds = {
        "periodic, TPE with ASHA": "search-periodic",
        "the same, on one seed each, trunks shared": "shared_",
        "dynamic at its default": "search-dynamic_default",
    }
    for told, begins in kinds.items():
        of = [row for row in found().searches if row["run"].startswith(begins)]
        reached = [row for row in of if row["reached"] == "1"]
        cost = {unit: sum(int(row[unit]) for row in of) for unit in ("epochs", "computed")}
        expected = [number(cost[unit] / len(reached)) if reached else "–" for unit in cost]
        each = ", ".join(row["computed"] + ("" if row["reached"] == "1" else "+") for row in of)
        rows.append((told, f"{len(reached)} of {len(of)}", *expected, each))
    columns = (
        "search", "reached the target", "epochs per match, stand-alone", "computed", "each search",
    )  # fmt: skip
    return _markdown(columns, rows)


def baseline() -> str:
    """Return every arm's test scores against the baseline's."""
    all_ = found()
    none = [*all_.tests("baseline"), *tests_of(all_.sides["baseline_more"])]
    arms: dict[str, list[float]] = {}
    tuned = configurations(confirmed_trials(all_.trials, all_.spec.periodic.space.name))
    for group in tuned:
        knobs = " ".join(f"{name}={value}" for name, value in sorted(group.knobs[0].items()))
        arms[f"periodic, tuned: {knobs}"] = tests_of(group)
    arms["dynamic, default"] = [
        *all_.tests("dynamic_default"), *all_.tests("dynamic_default", "confirm"),
    ]  # fmt: skip
    for space in ("periodic", "dynamic", "dropout", "periodic_dropout"):
        arms[f"{space}, random knobs"] = all_.tests(space)
    return _against("baseline", none, arms)


def objects() -> str:
    """Return what dropout does on objects and on faces."""
    all_ = found()
    faces = [*all_.tests("baseline"), *tests_of(all_.sides["baseline_more"])]
    return "\n".join(
        (
            _against("CIFAR-10, baseline", tests_of(all_.sides["objects_baseline"]),
                     {"CIFAR-10, dropout": tests_of(all_.sides["objects_dropout"])}),
            _against("faces, baseline", faces, {"faces, dropout": all_.tests("dropout")}),
        )
    )  # fmt: skip


def _against(name: str, none: list[float], arms: dict[str, list[float]]) -> str:
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    found_p = [stats.ttest_ind(of, none, equal_var=False).pvalue for of in arms.values()]
    adjusted = multipletests(found_p, method="holm")[1]
    rows = [(name, *_spread(none), "", "", "")]
    for (arm, of), p in zip(arms.items(), adjusted, strict=True):
        limits = welch(of, none, found().spec.confidence)
        assert limits is not None
        difference = statistics.fmean(of) - statistics.fmean(none)
        told = f"{limits.low:+.4f} to {limits.high:+.4f}"
        rows.append((arm, *_spread(of), f"{difference:+.4f}", told, f"{p:.2g}"))
    columns = ("arm", "n", "test macro-F1 (sd)", "difference", "interval", "p (Holm)")
    return _markdown(columns, rows)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join((*table_lines(columns, rows), ""))


def _spread(of: Sequence[float]) -> tuple[str, str]:
    return str(len(of)), f"{statistics.fmean(of):.4f} ({statistics.stdev(of):.4f})"


def positions() -> str:
    """Return the census's validation and test scores by position, and those of T = 1 alone."""
    trials = found().trials.where(space="periodic", stage="census", states=("completed",))
    rows = []
    for name in ("bn1", "bn2", "shortcut", "all"):
        at = [i for i in range(len(trials)) if trials.knobs[i]["position"] == name]
        others = [i for i in range(len(trials)) if trials.knobs[i]["position"] != name]
        score = [[float(trials.score[i] or 0.0) for i in some] for some in (at, others)]
        limits = welch(score[0], score[1], 1 - (1 - found().spec.confidence) / 4)
        assert limits is not None
        rows.append(
            (
                name, *_spread(score[0]),
                f"{statistics.fmean(score[0]) - statistics.fmean(score[1]):+.4f}",
                f"{limits.low:+.4f} to {limits.high:+.4f}",
            )
        )  # fmt: skip
    columns = (
        "position",
        "n",
        "validation macro-F1 (sd)",
        "minus the others",
        "interval (Bonferroni)",
    )
    return _markdown(columns, rows)


def basins() -> str:
    """Return how much of each space, and of each knob's range, is within the margin of the best."""
    all_ = found()
    rows = []
    for name in ("periodic", "dynamic", "periodic_dropout", "dropout"):
        of = all_.trials.where(space=name)
        retrained = [one.score for one in configurations(confirmed_trials(of, name))][:1]
        scores = [score for group in retrained for score in group if score is not None]
        arm = arm_of(all_.trials, name)
        whole: Basin | None = basin(arm, all_.spec.margin, scores, all_.spec.confidence)
        assert whole is not None
        for knob in knob_basins(arm, all_.space(name), whole.best, all_.spec.margin):
            good = [one.label for one in knob.bins if one.trials and 2 * one.within >= one.trials]
            rows.append(
                (
                    name, f"{whole.best:.4f}, {whole.source}",
                    f"{whole.within} of {whole.trials}", limits_text(*whole.limits), knob.knob,
                    "–" if knob.share is None else number(knob.share), ", ".join(good) or "none",
                )
            )  # fmt: skip
    columns = (
        "space", "best", "trials within δ", "interval", "knob", "share of its range", "where",
    )  # fmt: skip
    return _markdown(columns, rows)


def importances() -> str:
    """Return each knob's share of the variation, by two evaluators that disagree."""
    all_ = found()
    rows = []
    for name in ("periodic", "dynamic", "periodic_dropout"):
        census = all_.trials.where(space=name, stage="census")
        for one in importance(census, all_.space(name)):
            shares = ", ".join(f"{knob} {share:.2f}" for knob, share in one.shares.items())
            rows.append((name, one.evaluator, str(one.trials), shares))
    return _markdown(("space", "by", "completed trials", "share"), rows)


def injection() -> str:
    """Return when and how much dynamic injection injects, and what it scores, by its conditions."""
    all_ = found()
    of: dict[str, list[dict[str, str]]] = {}
    for row in all_.injection:
        of.setdefault(row["run"], []).append(row)
    tests = {
        "dynamic_default": [
            *all_.tests("dynamic_default"), *all_.tests("dynamic_default", "confirm"),
        ],
        **{name: tests_of(all_.sides[name]) for name in DYNAMIC[1:] if name in all_.sides},
    }  # fmt: skip
    rows = []
    for name, scores in tests.items():
        runs = [name] if name in of else ["census-dynamic_default", "confirm-dynamic_default"]
        trials = [row for run in runs for row in of[run]]
        first = [int(row["first"]) for row in trials if row["first"]]
        share = [float(row["share"]) for row in trials]
        limits = welch(scores, tests["dynamic_default"], all_.spec.confidence)
        rows.append(
            (
                name, str(len(trials)), f"{len(trials) - len(first)}",
                _median(first),
                f"{np.mean(share):.3f} ({min(share):.3f} to {max(share):.3f})",
                f"{statistics.fmean(scores):.4f} ({statistics.stdev(scores):.4f})",
                "" if name == "dynamic_default" or limits is None
                else f"{limits.low:+.4f} to {limits.high:+.4f}",
            )
        )  # fmt: skip
    columns = (
        "arm", "n", "never injected", "first epoch with injection: median (range)",
        "share of unit × steps: mean (range)", "test macro-F1 (sd)", "minus the default, interval",
    )  # fmt: skip
    return _markdown(columns, rows)


def _median(first: Sequence[int]) -> str:
    return f"{number(statistics.median(first))} ({min(first)} to {max(first)})" if first else "–"


def answer_line() -> str:
    """Return the report's first sentence."""
    return f"> {found().answer.claim}\n"


def power() -> str:
    """Return which differences from the baseline n trials a side would find."""
    from statsmodels.stats.power import TTestIndPower

    none = [*found().tests("baseline"), *tests_of(found().sides["baseline_more"])]
    sd = statistics.stdev(none)
    rows = []
    for n in (10, 18, 20, 38, 40, 100):
        effect = TTestIndPower().solve_power(nobs1=n, ratio=len(none) / n, power=0.8, alpha=0.05)
        rows.append((str(n), str(len(none)), f"{float(effect) * sd:.4f}"))
    return _markdown(
        ("n of the arm", "n of the baseline", "smallest difference found with chance 0.8"), rows
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "answer": answer_line,
    "savings": savings,
    "searches": searches,
    "baseline": baseline,
    "power": power,
    "positions": positions,
    "basins": basins,
    "importance": importances,
    "injection": injection,
    "objects": objects,
}


def filled(page: str) -> str:
    """Return a page with every block made anew."""
    for name, block in BLOCKS.items():
        text = f"<!-- {name} -->\n{block()}<!-- /{name} -->"
        page, times = re.subn(
            rf"<!-- {name} -->\n.*?<!-- /{name} -->", lambda _, text=text: text, page, flags=re.S
        )
        if times != 1:
            raise SystemExit(f"{PAGE} must have one block <!-- {name} --> … <!-- /{name} -->.")
    return page


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect", help="write docs/results from the runs")
    collecting.add_argument("study", type=Path)
    collecting.add_argument("sides", type=Path)
    making = commands.add_parser("tables", help="write docs/results.md from docs/results")
    making.add_argument("--check", action="store_true", help="write nothing; 1 if it would change")
    options = parser.parse_args()
    if options.command == "collect":
        collect(options.study, options.sides)
        return 0
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before)
    if options.check:
        return int(after != before)
    PAGE.write_text(after, encoding="utf-8")
    click.echo(f"Wrote {PAGE}.", err=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
