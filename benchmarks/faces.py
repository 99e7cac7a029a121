"""The study of real faces: its tables, and the numbers of docs/results.md made from them.

    python -m benchmarks.faces collect runs/faces runs/faces-sides   # docs/results/, from the runs
    python -m benchmarks.faces copies ~/.cache/tuner/fer2013-…      # of training images, elsewhere
    python -m benchmarks.faces tables            # docs/results.md, from docs/results/
    python -m benchmarks.faces tables --check    # 1 if that would change it

What stands in docs/results.md between `<!-- NAME -->` and `<!-- /NAME -->` is replaced. Intervals
are two-sided at the study's confidence. Differences of means are Welch's; within a table their
limits hold together by Bonferroni's method, and their p are adjusted by Holm's.
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
from reports.contract import Answer, Saving
from reports.equivalence import configurations, confirmed_trials, tests_of
from reports.markup import markdown_table as table_lines
from reports.proportions import exact_interval, ratio_interval
from reports.real_searches import real_search
from reports.search_costs import Combination, Estimate
from reports.sensitivity import Basin, basin, importance, knob_basins
from reports.simulate import Simulation
from reports.table import Trials, read_trials
from reports.words import limits_text, number
from search_spaces.space import Space
from trainables.data.packed import PackedData
from tuner.record import Record
from tuner.record_file import record_folders
from tuner.study.spec import StudySpec, load_study
from tuner.table import write_table

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
FOLDER = PAGE.with_suffix("")
STUDY, TRIALS, SIDES = FOLDER / "faces.yaml", FOLDER / "trials.csv", FOLDER / "sides"
SEARCHES, INJECTION = FOLDER / "searches.csv", FOLDER / "injection.csv"
FIT, COPIES = FOLDER / "fit.csv", FOLDER / "copies.csv"
UNITS = ("trials", "epochs", "slot_seconds")
LIGHT = 0.2
"""Dropout rates below are told apart: chosen after looking."""
ALIKE = 0.9
"""Correlation of two images' pixels from which one counts as a copy of the other."""
DYNAMIC = ("dynamic_adamw", "dynamic_no_decay", "dynamic_bf16")
"""Runs beside the study whose only difference from dynamic's default is told by their name."""


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
    _write(FIT, [row for run in runs if run.name.startswith("census-") for row in _fitted(run)])


def copies(packed: Path) -> None:
    """Write how many images of each class lie in the training images as well, nearly the same."""
    spec, data = load_study(str(STUDY)), PackedData.open(packed)

    def standard(split: str) -> tuple[Any, Any]:
        images, labels = data.split(split, spec.data.limit)[:2]
        flat = np.asarray(images, np.float32).reshape(len(images), -1)
        flat -= flat.mean(1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-6), np.asarray(labels)

    train, of_train = standard("train")
    rows = []
    for split in ("validation", "test"):
        images, labels = standard(split)
        copied = ((images @ train.T > ALIKE) & (of_train == labels[:, None])).any(1)
        rows += [
            {
                "split": split, "class": name, "images": int((labels == k).sum()),
                "copies": int((copied & (labels == k)).sum()),
            }
            for k, name in enumerate(data.classes)
        ]  # fmt: skip
    _write(COPIES, rows)


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


def _fitted(run: Path) -> list[dict[str, Any]]:
    """Return how many training images each trial classified correctly in its best epoch."""
    rows = []
    with Record.open(run) as record:
        for trial in record.trials():
            epochs = record.epochs(trial.number)
            if trial.best_epoch is not None and trial.state == "completed":
                fitted = epochs[trial.best_epoch - 1]["train_accuracy"]
                rows.append({"run": run.name, "trial": trial.number, "train_accuracy": fitted})
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
    saved = all_.answer.savings
    rows: list[tuple[str, ...]] = [
        ("random search, nothing stopped", unit.replace("_", "-"), *_ratio_of(getattr(saved, unit)))
        for unit in UNITS
    ]
    dynamic, target = all_.spec.dynamic.space.name, all_.answer.target.value
    both = [
        score >= target
        for stage in ("census", "confirm")
        for score in all_.trials.where(space=dynamic, stage=stage).score
        if score is not None and target is not None
    ]
    arm = all_.answer.arms.periodic
    matched = sum(both), len(both)
    rows.append(
        (
            f"the same with dynamic's confirm trials, {matched[0]} of {matched[1]} matched",
            "trials", *_trials_ratio(matched, (arm.hits, arm.trials)),
        )
    )  # fmt: skip
    above, below = (all_.replays[name] for name in (all_.spec.periodic.space.name, dynamic))
    for unit in UNITS:
        costs = getattr(above, unit), getattr(below, unit)
        if None not in costs:
            ratios = _of(costs[0].ert, costs[1].ert)
            rows.append(("TPE with ASHA, replayed", unit.replace("_", "-"), *ratios))
    return _markdown(("search", "cost in", "periodic / dynamic", "interval"), rows)


def _ratio_of(one: Saving | None) -> tuple[str, str]:
    if one is None or one.ratio is None:
        return "–", "–"
    return number(one.ratio), limits_text(one.low, one.high)


def _trials_ratio(dynamic: tuple[int, int], other: tuple[int, int]) -> tuple[str, str]:
    """Return expected trials of another arm per one of dynamic's, from (hits, trials) of both."""
    ratio = dynamic[0] / dynamic[1] / (other[0] / other[1])
    return number(ratio), limits_text(*ratio_interval(*dynamic, *other, found().spec.confidence))


def _of(above: Estimate, below: Estimate) -> tuple[str, str]:
    """Return the ratio of two expected costs; its limits combine the outer ends of both."""
    if above.estimate is None or not below.estimate:
        return "–", "–"
    if above.low is None and above.high is None:  # every recorded trial matched
        low, high = (above.estimate / end if end else None for end in (below.high, below.low))
        return (
            number(above.estimate / below.estimate),
            f"{limits_text(low or 0.0, high)}, by dynamic's spread alone",
        )
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
        replay = found().replays.get(begins.removeprefix("search-"))
        middle = [replay.epochs.quantiles[name] for name in ("0.025", "0.975")] if replay else None
        central = "" if middle is None else limits_text(*middle)
        rows.append((told, f"{len(reached)} of {len(of)}", *expected, each, central))
    columns = (
        "search", "reached the target", "epochs per match, stand-alone", "computed", "each search",
        "replayed, central 95 %",
    )  # fmt: skip
    return _markdown(columns, rows)


def baseline() -> str:
    """Return every arm's test scores against the baseline's."""
    all_ = found()
    arms: dict[str, list[float]] = {}
    tuned = configurations(confirmed_trials(all_.trials, all_.spec.periodic.space.name))
    for group in tuned:
        knobs = " ".join(f"{name}={value}" for name, value in sorted(group.knobs[0].items()))
        arms[f"periodic, tuned: {knobs}"] = tests_of(group)
    arms["dynamic, default"] = _default()
    for space in ("periodic", "dynamic"):
        arms[f"{space}, random knobs"] = all_.tests(space)
    for space in ("dropout", "periodic_dropout"):
        arms |= _by_rate(space, all_.trials.where(space=space, stage="census"))
    return _against("baseline", _baseline(), arms)


def _baseline() -> list[float]:
    """Return the test scores of the baseline, those from beside the study among them."""
    all_ = found()
    return [*all_.tests("baseline"), *tests_of(all_.sides["baseline_more"])]


def _default() -> list[float]:
    """Return the test scores of dynamic injection at its default."""
    all_ = found()
    return [*all_.tests("dynamic_default"), *all_.tests("dynamic_default", "confirm")]


def _by_rate(name: str, trials: Trials) -> dict[str, list[float]]:
    """Return the test scores of light and of heavy dropout."""
    light = [knobs["dropout_rate"] < LIGHT for knobs in trials.knobs]
    return {
        f"{name}, rate {what} {LIGHT}": tests_of(
            trials.take(i for i, one in enumerate(light) if one is wanted)
        )
        for what, wanted in (("below", True), ("from", False))
    }


def objects() -> str:
    """Return what dropout does on objects and on faces, and the difference between both."""
    all_ = found()
    objects_ = _by_rate("dropout", all_.sides["objects_dropout"])
    faces = _by_rate("dropout", all_.trials.where(space="dropout", stage="census"))
    none = tests_of(all_.sides["objects_baseline"]), _baseline()
    rows = [
        (f"{where}: baseline", *_spread(of), "", "")
        for where, of in zip(("objects", "faces"), none, strict=True)
    ]
    for name in objects_:
        groups = (objects_[name], none[0], faces[name], none[1])
        for where, (of, base) in (("objects", groups[:2]), ("faces", groups[2:])):
            gain, limits = _contrast([of, base], (1, -1), 6)
            rows.append((f"{where}: {name}", *_spread(of), gain, limits))
        gain, limits = _contrast(groups, (1, -1, -1, 1), 6)
        rows.append((f"gain on objects minus gain on faces: {name}", "", "", gain, limits))
    columns = ("arm", "n", "test macro-F1 (sd)", "minus baseline", "interval (Bonferroni)")
    return _markdown(columns, rows)


def _contrast(
    groups: Sequence[Sequence[float]], signs: Sequence[int], family: int
) -> tuple[str, str]:
    """Return a sum of means with signs, and its limits by Welch's and Satterthwaite's method."""
    from scipy import stats

    parts = [statistics.variance(of) / len(of) for of in groups]
    value = sum(sign * statistics.fmean(of) for sign, of in zip(signs, groups, strict=True))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(of) - 1) for part, of in zip(parts, groups, strict=True)
    )
    level = (1 - found().spec.confidence) / family
    half = float(stats.t.isf(level / 2, freedom)) * sum(parts) ** 0.5
    return f"{value:+.4f}", f"{value - half:+.4f} to {value + half:+.4f}"


def _against(name: str, none: list[float], arms: dict[str, list[float]]) -> str:
    """Return arms against another one: simultaneous limits, and what would have been found."""
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    level = (1 - found().spec.confidence) / len(arms)
    found_p = [stats.ttest_ind(of, none, equal_var=False).pvalue for of in arms.values()]
    adjusted = multipletests(found_p, method="holm")[1]
    rows = [(name, *_spread(none), "", "", "", "")]
    for (arm, of), p in zip(arms.items(), adjusted, strict=True):
        difference, limits = _contrast([of, none], (1, -1), len(arms))
        error = sum(statistics.variance(one) / len(one) for one in (of, none)) ** 0.5
        least = error * float(stats.norm.isf(level / 2) + stats.norm.isf(0.2))
        rows.append((arm, *_spread(of), difference, limits, f"{p:.2g}", f"{least:.4f}"))
    columns = (
        "arm", "n", "test macro-F1 (sd)", "difference", "interval (Bonferroni)", "p (Holm)",
        "found with chance 0.8 from",
    )  # fmt: skip
    return _markdown(columns, rows)


def positions() -> str:
    """Return the periodic census's scores by position, each against all others."""
    trials = found().trials.where(space="periodic", stage="census", states=("completed",))
    rows = []
    for name in ("bn1", "bn2", "shortcut", "all"):
        row: tuple[str, ...] = (name,)
        for column in (trials.score, trials.test_score):
            here, there = (
                [
                    float(score or 0.0)
                    for score, knobs in zip(column, trials.knobs, strict=True)
                    if (knobs["position"] == name) is wanted
                ]
                for wanted in (True, False)
            )
            row += (*_spread(here)[len(row) > 1 :], *_contrast([here, there], (1, -1), 4))
        rows.append(row)
    columns = (
        "position", "n", "validation macro-F1 (sd)", "minus the others", "interval (Bonferroni)",
        "test macro-F1 (sd)", "minus the others", "interval (Bonferroni)",
    )  # fmt: skip
    return _markdown(columns, rows)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join((*table_lines(columns, rows), ""))


def _spread(of: Sequence[float]) -> tuple[str, str]:
    return str(len(of)), f"{statistics.fmean(of):.4f} ({statistics.stdev(of):.4f})"


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
        "dynamic_default": _default(),
        **{name: tests_of(all_.sides[name]) for name in DYNAMIC},
    }
    rows = []
    for name, scores in tests.items():
        runs = [name] if name in of else ["census-dynamic_default", "confirm-dynamic_default"]
        trials = [row for run in runs for row in of[run]]
        first = [int(row["first"]) for row in trials if row["first"]]
        share = [float(row["share"]) for row in trials]
        _, limits = _contrast([scores, tests["dynamic_default"]], (1, -1), len(tests) - 1)
        rows.append(
            (
                name, str(len(trials)), f"{len(trials) - len(first)}",
                _median(first),
                f"{np.mean(share):.3f} ({min(share):.3f} to {max(share):.3f})",
                _spread(scores)[1], "" if name == "dynamic_default" else limits,
            )
        )  # fmt: skip
    columns = (
        "arm", "n", "never injected", "first epoch with injection: median (range)",
        "share of unit × steps: mean (range)", "test macro-F1 (sd)",
        "minus the default: interval (Bonferroni)",
    )  # fmt: skip
    return _markdown(columns, rows)


def _median(first: Sequence[int]) -> str:
    return f"{number(statistics.median(first))} ({min(first)} to {max(first)})" if first else "–"


def gaps() -> str:
    """Return how much better each arm is on validation than on test, and how it fits training."""
    all_ = found()
    fit: dict[str, list[float]] = {}
    for row in _read(FIT):
        fit.setdefault(row["run"].removeprefix("census-"), []).append(float(row["train_accuracy"]))
    rows = []
    for space, fitted in fit.items():
        trials = all_.trials.where(space=space, stage="census", states=("completed",))
        rows.append((space, *_spread(_gaps_of(trials)), f"{statistics.fmean(fitted):.2f}"))
    for name in ("clean_baseline", "clean_dynamic", "clean_periodic"):
        gap = _spread(_gaps_of(all_.sides[name]))
        rows.append((f"{name.removeprefix('clean_')}, copies dropped", *gap, ""))
    columns = (
        "arm", "n", "validation minus test (sd)", "training accuracy in the best epoch",
    )  # fmt: skip
    return _markdown(columns, rows)


def _gaps_of(trials: Trials) -> list[float]:
    return [
        score - test
        for score, test in zip(trials.score, trials.test_score, strict=True)
        if score is not None and test is not None
    ]


def on_test() -> str:
    """Return who would have matched, had test scores counted: exploratory, as is its target."""
    all_ = found()
    target = statistics.median(all_.tests("dynamic_default", "pilot"))
    arms = {name: all_.tests(name) for name in ("periodic", "dynamic_default", "baseline")}
    hits = {name: sum(score >= target for score in scores) for name, scores in arms.items()}
    rows = []
    dynamic = hits["dynamic_default"], len(arms["dynamic_default"])
    for name, scores in arms.items():
        own = hits[name], len(scores)
        limits = exact_interval(*own, all_.spec.confidence)
        told = ("", "") if name == "dynamic_default" else _trials_ratio(dynamic, own)
        rows.append((name, f"{own[0]} of {own[1]}", limits_text(*limits), *told))
    columns = (
        f"arm (test score of at least {target:.4f})", "trials", "share, interval",
        "trials it needs / trials dynamic needs", "interval",
    )  # fmt: skip
    return _markdown(columns, rows)


def clean() -> str:
    """Return the comparison without copies: exploratory, with a target and a pilot of its own."""
    sides = found().sides
    target = statistics.median(score or 0.0 for score in sides["clean_pilot"].score)
    on_test = statistics.median(tests_of(sides["clean_pilot"]))
    rows = []
    for what, least in (("validation", target), ("test", on_test)):
        hits = {
            name: [
                (score or 0.0) >= least
                for score in getattr(sides[name], "score" if what == "validation" else "test_score")
            ]
            for name in ("clean_dynamic", "clean_periodic", "clean_baseline")
        }
        dynamic = sum(hits["clean_dynamic"]), len(hits["clean_dynamic"])
        for name, of in hits.items():
            own = sum(of), len(of)
            told = ("", "") if name == "clean_dynamic" else _trials_ratio(dynamic, own)
            arm = name.removeprefix("clean_")
            rows.append((f"{what}, at least {least:.4f}", arm, f"{own[0]} of {own[1]}", *told))
    columns = ("counted on", "arm", "trials", "trials it needs / trials dynamic needs", "interval")
    return _markdown(columns, rows)


def copied() -> str:
    """Return how many images of each class have a copy among the training images."""
    of = {(row["split"], row["class"]): row for row in _read(COPIES)}
    classes = list(dict.fromkeys(name for _, name in of))
    rows = [
        (
            split,
            *(f"{of[split, name]['copies']} of {of[split, name]['images']}" for name in classes),
        )
        for split in ("validation", "test")
    ]
    return _markdown(("split", *classes), rows)


def answer_line() -> str:
    """Return the report's first sentence."""
    return f"> {found().answer.claim}\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "answer": answer_line,
    "savings": savings,
    "searches": searches,
    "baseline": baseline,
    "positions": positions,
    "basins": basins,
    "importance": importances,
    "injection": injection,
    "gaps": gaps,
    "on_test": on_test,
    "copies": copied,
    "clean": clean,
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
    copying = commands.add_parser("copies", help="write which images are copies of others")
    copying.add_argument("packed", type=Path)
    making = commands.add_parser("tables", help="write docs/results.md from docs/results")
    making.add_argument("--check", action="store_true", help="write nothing; 1 if it would change")
    options = parser.parse_args()
    if options.command == "collect":
        collect(options.study, options.sides)
        return 0
    if options.command == "copies":
        copies(options.packed)
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
