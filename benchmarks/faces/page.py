"""Every number of docs/results.md, computed from what is committed of the studies.

What stands there between `<!-- NAME -->` and `<!-- /NAME -->` is replaced. Numbers are of the study
without copies unless a row, or the block's name, says otherwise. Intervals are two-sided, 95 %.
Differences of means are Welch's; within a table their limits hold together by
Bonferroni's method, and their p are adjusted by Holm's.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.faces.committed import CLEAN, COPIES, FIRST, PAGE, Found, Rows, found, read_rows
from reports.ablation import space_ablation
from reports.arm import arm_of
from reports.contract import Saving
from reports.equivalence import configurations, confirmed_trials, tests_of
from reports.markup import markdown_table as table_lines
from reports.proportions import exact_interval, ratio_interval
from reports.search_costs import Estimate
from reports.sensitivity import Basin, basin, importance, knob_basins
from reports.table import Trials
from reports.words import limits_text, number

CONFIDENCE = 0.95
"""Of both studies."""
UNITS = ("trials", "epochs", "slot_seconds")
HEAVY = 0.2
"""Dropout rates from here on are told apart in the first study: chosen after looking."""


def answer_line(study: str = CLEAN) -> str:
    """Return the first sentence of a study's report."""
    return f"> {found(study).answer.claim}\n"


def savings() -> str:
    """Return how much dynamic saves, by unit and by way of searching; the first study beside it."""
    both = (_savings(found(study)) for study in (CLEAN, FIRST))
    rows = [(*ours, *first[2:]) for ours, first in zip(*both, strict=True)]
    return _markdown(
        ("search", "cost in", "periodic / dynamic", "interval", "with copies", "interval"), rows
    )


def _savings(of: Found) -> list[tuple[str, ...]]:
    saved = of.answer.savings
    rows = [
        ("random search, nothing stopped", unit.replace("_", "-"), *_ratio_of(getattr(saved, unit)))
        for unit in UNITS
    ]
    dynamic, target = of.spec.dynamic.space.name, of.target
    own = of.hits(dynamic, target, "census", "confirm")
    arm = of.answer.arms.periodic
    ratio = _trials_ratio(own, (arm.hits, arm.trials))
    rows.append(("the same, dynamic's confirmation counted with its census", "trials", *ratio))
    ratio = _trials_ratio(of.hits("dynamic", target), (arm.hits, arm.trials))
    rows.append(("the same, dynamic's knobs random, too", "trials", *ratio))
    above, below = (of.replays[name] for name in (of.spec.periodic.space.name, dynamic))
    for unit in UNITS:
        costs = getattr(above, unit), getattr(below, unit)
        ratio = ("–", "–") if None in costs else _of(costs[0].ert, costs[1].ert)
        rows.append(("TPE with ASHA, replayed", unit.replace("_", "-"), *ratio))
    return rows


def _ratio_of(one: Saving | None) -> tuple[str, str]:
    if one is None or one.ratio is None:
        return "–", "–"
    return number(one.ratio), limits_text(one.low, one.high)


def _trials_ratio(dynamic: tuple[int, int], other: tuple[int, int]) -> tuple[str, str]:
    """Return expected trials of another arm per one of dynamic's, from (hits, trials) of both."""
    ratio = dynamic[0] / dynamic[1] / (other[0] / other[1]) if other[0] else None
    limits = ratio_interval(*dynamic, *other, CONFIDENCE)
    return "–" if ratio is None else number(ratio), limits_text(*limits)


def _of(above: Estimate, below: Estimate) -> tuple[str, str]:
    """Return the ratio of two expected costs; its limits combine the outer ends of both."""
    if above.estimate is None or not below.estimate:
        return "–", "–"
    ratio = number(above.estimate / below.estimate)
    if above.low is None and above.high is None:  # every recorded trial matched
        low, high = (above.estimate / end if end else None for end in (below.high, below.low))
        return ratio, f"{limits_text(low or 0.0, high)}, by dynamic's spread alone"
    low = above.low / below.high if above.low is not None and below.high else 0.0
    high = above.high / below.low if above.high is not None and below.low else None
    return ratio, limits_text(low, high)


def searches() -> str:
    """Return what the real searches cost until they reached the target."""
    rows = []
    kinds = {
        "periodic, TPE with ASHA": "search-periodic",
        "the same, on one seed each, trunks shared": "shared_",
        "dynamic at its default": "search-dynamic_default",
    }
    of_study = found(CLEAN)
    for told, begins in kinds.items():
        of = [row for row in of_study.searches if row["run"].startswith(begins)]
        reached = [row for row in of if row["reached"] == "1"]
        cost = {unit: sum(int(row[unit]) for row in of) for unit in ("epochs", "computed")}
        expected = [number(cost[unit] / len(reached)) if reached else "–" for unit in cost]
        each = ", ".join(row["computed"] + ("" if row["reached"] == "1" else "+") for row in of)
        replay = of_study.replays.get(begins.removeprefix("search-"))
        middle = [replay.epochs.quantiles[name] for name in ("0.025", "0.975")] if replay else None
        central = "" if middle is None else limits_text(*middle)
        rows.append((told, f"{len(reached)} of {len(of)}", *expected, each, central))
    columns = (
        "search", "reached the target", "epochs per match, stand-alone", "computed", "each search",
        "replayed, central 95 %",
    )  # fmt: skip
    return _markdown(columns, rows)


def matches(study: str = CLEAN) -> str:
    """Return who reaches the target, and who would, had test scores counted.

    The target on test is the median of the pilot's test scores; only the row of periodic on
    validation is the study's own comparison.
    """
    of = found(study)
    dynamic, target = of.spec.dynamic.space.name, of.target
    on_test = statistics.median(of.tests(dynamic, "pilot"))
    arms = (dynamic, "periodic", "baseline", *(("light_dropout",) if study == CLEAN else ()))
    hits = {
        ("validation", target): {name: of.hits(name, target) for name in arms},
        ("test", on_test): {name: of.hits(name, on_test, test=True) for name in arms},
    }
    return _matches(hits, dynamic)


def targets() -> str:
    """Return the ratio at other targets: the quartiles of the pilot. Written after looking."""
    of = found(CLEAN)
    dynamic = of.spec.dynamic.space.name
    pilot = [score or 0.0 for score in of.where(dynamic, "pilot").score]
    quartiles = zip(("lower quartile", "median", "upper quartile"), (0.25, 0.5, 0.75), strict=True)
    rows = []
    for name, share in quartiles:
        target = float(np.quantile(pilot, share))
        hits = {space: of.hits(space, target) for space in (dynamic, "periodic", "baseline")}
        rows.append(
            (
                f"{name}, {target:.4f}", *(f"{own} of {n}" for own, n in hits.values()),
                *_trials_ratio(hits[dynamic], hits["periodic"]),
            )
        )  # fmt: skip
    columns = (
        "of the pilot", "dynamic", "periodic", "baseline", "periodic / dynamic", "interval"
    )  # fmt: skip
    return _markdown(columns, rows)


def ablation() -> str:
    """Return the ratio in smaller boxes: around the centre fixed beforehand, and by T, after it."""
    of = found(CLEAN)
    target = of.target
    assert of.spec.centre is not None
    dynamic = arm_of(of.trials.where(stage="census"), of.spec.dynamic.space.name)
    periodic = arm_of(of.trials.where(stage="census"), "periodic")
    rows = []
    for one in space_ablation(periodic, dynamic, of.space("periodic"), of.spec.centre, target):
        low, high = one.box["T"]
        name = f"{one.shrink:.0%} of T's range around 5, fixed beforehand"
        values = f"{math.ceil(low)} to {math.floor(high)}"
        ratio = "–" if one.ratio is None else number(one.ratio)
        limits = limits_text(*one.ratio_limits)
        rows.append((name, values, f"{one.hits} of {one.trials}", ratio, limits))
    own = of.hits(of.spec.dynamic.space.name, target)
    for low, high in ((1, 4), (5, 10), (1, 9), (10, 10)):
        inside = [i for i, knobs in enumerate(periodic.trials.knobs) if low <= knobs["T"] <= high]
        hits = int(arm_of(periodic.trials.take(inside), "periodic").hits(target).sum())
        told = f"{hits} of {len(inside)}", *_trials_ratio(own, (hits, len(inside)))
        rows.append(("after looking", f"{low} to {high}", *told))
    return _markdown(
        ("part of the space", "T", "periodic trials that match", "ratio", "interval"), rows
    )


def chances() -> str:
    """Return what becomes of the ratio if all arms have only the epochs that periodic leaves clean.

    Each trial of another arm is scored at the clean epochs of each periodic trial in turn; limits
    are percentiles of 10,000 resamples of both arms' trials. Written after looking.
    """
    of = found(CLEAN)
    target = of.target
    arms = {name: _curves_of(of, name) for name in ("periodic", "dynamic_default", "baseline")}
    scores, injected = arms["periodic"]
    clean = ~injected
    matched = (scores >= target - 1e-6).any(1)
    generator = np.random.default_rng(0)
    rows = []
    for name in ("dynamic_default", "baseline"):
        # hit[i, j]: trial i would match, had it only the clean epochs of periodic trial j
        hit = ((arms[name][0] >= target - 1e-6)[:, None] & clean[None]).any(2)
        ratios = []
        for _ in range(10_000):
            own = generator.integers(0, len(hit), len(hit))
            others = generator.integers(0, len(matched), len(matched))
            ratios.append(hit[np.ix_(own, others)].mean() / matched[others].mean())
        limits = limits_text(*(float(end) for end in np.quantile(ratios, (0.025, 0.975))))
        of_all = (arms[name][0] >= target - 1e-6).any(1).mean()
        ratio = number(hit.mean() / matched.mean())
        rows.append((name, f"{of_all:.3f}", f"{hit.mean():.3f}", ratio, limits))
    rows.insert(0, ("periodic", f"{matched.mean():.3f}", f"{matched.mean():.3f}", "", ""))
    columns = (
        "arm", "share that match, of 20 epochs", "of as many as periodic leaves clean",
        "periodic / it", "interval",
    )  # fmt: skip
    first = [int(np.argmax(row)) if row.any() else len(row) for row in injected]
    before = sum(int(np.argmax(row)) < one for row, one in zip(scores, first, strict=True))
    told = (
        f"Periodic trains {injected.sum():,} of {injected.size:,} epochs with flipped signs;"
        f" {int((scores[injected] >= target - 1e-6).sum())} of these reach the target. The best"
        f" epoch of {before} of {len(scores)} trials precedes their first injection.\n"
    )
    return f"{told}\n{_markdown(columns, rows)}"


def _curves_of(of: Found, space: str) -> tuple[Any, Any]:
    """Return a census's validation scores and whether they were injected: trials × epochs."""
    rows = [row for row in of.curves if row["run"] == f"census-{space}"]
    shape = (-1, of.spec.epochs)
    scores = np.array([float(row["val_f1"]) for row in rows]).reshape(shape)
    return scores, np.array([row["injected"] == "1" for row in rows]).reshape(shape)


def contrasts() -> str:
    """Return differences of test scores that the other tables do not hold."""
    of = found(CLEAN)

    def at(space: str, position: str) -> list[float]:
        trials = of.where(space)
        chosen = [i for i, knobs in enumerate(trials.knobs) if knobs["position"] == position]
        return tests_of(trials.take(chosen))

    pairs = {
        "periodic everywhere, minus the baseline": (at("periodic", "all"), of.tests("baseline")),
        "dynamic everywhere, minus dynamic at bn1; other knobs random ²": (
            at("dynamic", "all"), at("dynamic", "bn1"),
        ),
        "periodic with light dropout, minus light dropout alone": (
            of.tests("periodic_light_dropout"), of.tests("light_dropout"),
        ),
    }  # fmt: skip
    rows = [
        (name, f"{len(one)} and {len(other)}", *_contrast([one, other], (1, -1), len(pairs)))
        for name, (one, other) in pairs.items()
    ]
    return _markdown(("difference on test", "n", "difference", "interval (Bonferroni)"), rows)


def pace() -> str:
    """Return how many seconds an epoch took, by stage: the load on the machine changed."""
    of = found(CLEAN)
    rows = []
    for space in ("periodic", "dynamic_default", "baseline"):
        cells = []
        for stage in ("census", "confirm"):
            trials = of.where(space, stage)
            held, epochs = sum(filter(None, trials.slot_seconds)), sum(filter(None, trials.epochs))
            cells.append(f"{held / epochs:.2f}" if epochs else "–")
        rows.append((space, *cells))
    return _markdown(("arm", "slot-seconds an epoch, census", "confirmation"), rows)


def _matches(hits: dict[tuple[str, float], dict[str, tuple[int, int]]], dynamic: str) -> str:
    rows = []
    for (counted, target), arms in hits.items():
        for name, own in arms.items():
            limits = limits_text(*exact_interval(*own, CONFIDENCE))
            told = ("", "") if name == dynamic else _trials_ratio(arms[dynamic], own)
            other = ("", "") if name == "periodic" else _trials_ratio(own, arms["periodic"])
            where = f"{counted}, at least {target:.4f}"
            rows.append((where, name, f"{own[0]} of {own[1]}", limits, *told, *other))
    columns = (
        "score counted", "arm", "trials that match", "share, interval",
        "trials it needs / trials dynamic needs", "interval",
        "trials periodic needs / trials it needs", "interval",
    )  # fmt: skip
    return _markdown(columns, rows)


def clean_after_looking() -> str:
    """Return the first study's arms trained anew without copies: exploratory.

    None of these trials failed.
    """
    sides = found(FIRST).sides
    pilot, arms = sides["clean_pilot"], ("dynamic", "periodic", "baseline")
    of = {name: sides[f"clean_{name}"] for name in arms}
    hits = {}
    for counted, target in (
        ("validation", statistics.median(score or 0.0 for score in pilot.score)),
        ("test", statistics.median(tests_of(pilot))),
    ):
        columns = {
            name: trials.test_score if counted == "test" else trials.score
            for name, trials in of.items()
        }
        hits[counted, target] = {
            name: (sum((one or 0.0) >= target for one in column), len(column))
            for name, column in columns.items()
        }
    return _matches(hits, "dynamic")


def baseline() -> str:
    """Return every arm's test scores against the baseline's."""
    of = found(CLEAN)
    arms: dict[str, list[float]] = {}
    for group in configurations(confirmed_trials(of.trials, of.spec.periodic.space.name)):
        knobs = " ".join(f"{name}={value}" for name, value in sorted(group.knobs[0].items()))
        arms[f"periodic, tuned: {knobs}"] = tests_of(group)
    arms["dynamic, default"] = of.default
    for space in ("periodic", "dynamic", "light_dropout", "periodic_light_dropout"):
        arms[f"{space}, random knobs"] = of.tests(space)
    return _against("baseline", of.tests("baseline"), arms)


def quality() -> str:
    """Return dynamic's default against tuned periodic on test, by the margin fixed beforehand."""
    rows = []
    for study in (CLEAN, FIRST):
        found_ = found(study).answer.equivalence
        assert found_ is not None and found_.non_inferior_p is not None
        assert found_.margin is not None and found_.two_sided_p is not None
        rows.append(
            (
                "without copies" if study == CLEAN else "with copies",
                f"{found_.difference:+.4f}", number(found_.margin),
                f"{found_.non_inferior_p:.2g}", f"{found_.two_sided_p:.2g}",
            )
        )  # fmt: skip
    columns = (
        "study", "dynamic at its default minus tuned periodic", "margin",
        "p against “worse by the margin”", "p against “differs by it”",
    )  # fmt: skip
    return _markdown(columns, rows)


def objects() -> str:
    """Return what dropout does on objects and on faces, and the difference between both."""
    first, of = found(FIRST), found(CLEAN)
    none = tests_of(first.sides["objects_baseline"]), of.tests("baseline")
    none_first = [*first.tests("baseline"), *tests_of(first.sides["baseline_more"])]
    light = tests_of(of.sides["objects_light_dropout"]), of.tests("light_dropout")
    heavy = _heavy(first.sides["objects_dropout"]), _heavy(first.where("dropout"))
    rows = [
        (where, *_spread(scores), "", "")
        for where, scores in zip(("objects: baseline ¹", "faces: baseline"), none, strict=True)
    ]
    rows.append(("faces, first study: baseline ¹", *_spread(none_first), "", ""))
    light_name, heavy_name = "dropout, rate 0.05 to 0.2", f"dropout, rate from {HEAVY} ¹"
    for name, (there, here), base in (
        (light_name, light, none), (heavy_name, heavy, (none[0], none_first)),
    ):  # fmt: skip
        groups = (there, base[0], here, base[1])
        for where, (own, against) in (("objects", groups[:2]), ("faces", groups[2:])):
            gain, limits = _contrast([own, against], (1, -1), 6)
            rows.append((f"{where}: {name}", *_spread(own), gain, limits))
        gain, limits = _contrast(groups, (1, -1, -1, 1), 6)
        rows.append((f"gain on objects minus gain on faces: {name}", "", "", gain, limits))
    columns = ("arm", "n", "test macro-F1 (sd)", "minus baseline", "interval (Bonferroni)")
    return _markdown(columns, rows)


def _heavy(trials: Trials) -> list[float]:
    """Return the test scores of heavy dropout."""
    chosen = [i for i, knobs in enumerate(trials.knobs) if knobs["dropout_rate"] >= HEAVY]
    return tests_of(trials.take(chosen))


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
    level = (1 - CONFIDENCE) / family
    half = float(stats.t.isf(level / 2, freedom)) * sum(parts) ** 0.5
    return f"{value:+.4f}", f"{value - half:+.4f} to {value + half:+.4f}"


def _against(name: str, none: list[float], arms: dict[str, list[float]]) -> str:
    """Return arms against another one: simultaneous limits, and what would have been found."""
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    level = (1 - CONFIDENCE) / len(arms)
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
    trials = found(CLEAN).where("periodic")
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
            row += (*_spread(here)[len(row) > 1 :], *_contrast([here, there], (1, -1), 8))
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
    of = found(CLEAN)
    rows = []
    for name in ("periodic", "dynamic", "periodic_light_dropout", "light_dropout"):
        anew = "dynamic_default" if name == "dynamic" else name  # what was trained anew of it
        retrained = [one.score for one in configurations(confirmed_trials(of.trials, anew))][:1]
        scores = [score for group in retrained for score in group if score is not None]
        arm = arm_of(of.trials, name)
        whole: Basin | None = basin(arm, of.spec.margin, scores, of.spec.confidence)
        assert whole is not None
        for knob in knob_basins(arm, of.space(name), whole.best, of.spec.margin):
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
    of = found(CLEAN)
    rows = []
    for name in ("periodic", "dynamic", "periodic_light_dropout"):
        for one in importance(of.trials.where(space=name, stage="census"), of.space(name)):
            shares = ", ".join(f"{knob} {share:.2f}" for knob, share in one.shares.items())
            rows.append((name, one.evaluator, str(one.trials), shares))
    return _markdown(("space", "by", "completed trials", "share"), rows)


def injection() -> str:
    """Return when and how much dynamic injection injects, and what it scores, by its conditions."""
    of = found(CLEAN)
    names = [
        arm.space.name for arm in of.spec.arms if arm.space.name.startswith("dynamic_")
    ]  # dynamic's default first, then what was changed about it
    rows = []
    for name in names:
        trials = _of_stages(of.injection, name)
        scores = of.default if name == names[0] else of.tests(name)
        first = [int(row["first"]) for row in trials if row["first"]]
        share = [float(row["share"]) for row in trials]
        units, changes, unchanged = (
            sum(int(row[name_]) for row in trials) for name_ in ("units", "changes", "unchanged")
        )
        limits = (
            "" if name == names[0] else _contrast([scores, of.default], (1, -1), len(names) - 1)[1]
        )
        rows.append(
            (
                name, str(len(trials)), f"{len(trials) - len(first)}", _median(first),
                f"{statistics.fmean(share):.3f} ({min(share):.3f} to {max(share):.3f})",
                f"{changes / units:.1f}", f"{unchanged} of {units}", _spread(scores)[1], limits,
            )
        )  # fmt: skip
    columns = (
        "arm", "n", "never injected", "first epoch with injection: median (range)",
        "share of unit × steps: mean (range)", "changes of sign a unit", "units without one",
        "test macro-F1 (sd)",
        "minus the default: interval (Bonferroni)",
    )  # fmt: skip
    return _markdown(columns, rows)


def _of_stages(rows: Rows, space: str) -> Rows:
    return [row for row in rows if row["run"] in (f"census-{space}", f"confirm-{space}")]


def _median(first: Sequence[int]) -> str:
    return f"{number(statistics.median(first))} ({min(first)} to {max(first)})" if first else "–"


def gaps() -> str:
    """Return how much better each arm is on validation than on test, and how it fits training."""
    spaces = {
        FIRST: ("baseline", "periodic", "dynamic_default", "dynamic", "dropout"),
        CLEAN: ("baseline", "periodic", "dynamic_default", "dynamic", "light_dropout"),
    }
    rows = []
    for study, names in spaces.items():
        for name in names:
            fitted = [float(row["train_accuracy"]) for row in _of_stages(found(study).fit, name)]
            gap = _spread(_gaps_of(found(study).where(name)))
            copies_ = "kept" if study == FIRST else "dropped"
            rows.append((copies_, name, *gap, f"{statistics.fmean(fitted):.2f}"))
    columns = (
        "copies", "arm", "n", "validation minus test (sd)", "training accuracy in the best epoch",
    )  # fmt: skip
    return _markdown(columns, rows)


def _gaps_of(trials: Trials) -> list[float]:
    return [
        score - test
        for score, test in zip(trials.score, trials.test_score, strict=True)
        if score is not None and test is not None
    ]


def copied() -> str:
    """Return how many images of each class have a copy among the training images."""
    of = {(row["split"], row["class"]): row for row in read_rows(COPIES)}
    classes = list(dict.fromkeys(name for _, name in of))
    rows = [
        (
            split,
            *(f"{of[split, name]['copies']} of {of[split, name]['images']}" for name in classes),
        )
        for split in ("validation", "test")
    ]
    return _markdown(("split", *classes), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "answer": answer_line,
    "savings": savings,
    "ablation": ablation,
    "chances": chances,
    "targets": targets,
    "matches": matches,
    "searches": searches,
    "pace": pace,
    "quality": quality,
    "contrasts": contrasts,
    "baseline": baseline,
    "positions": positions,
    "basins": basins,
    "importance": importances,
    "injection": injection,
    "objects": objects,
    "first answer": lambda: answer_line(FIRST),
    "first matches": lambda: matches(FIRST),
    "gaps": gaps,
    "copies": copied,
    "clean after looking": clean_after_looking,
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
