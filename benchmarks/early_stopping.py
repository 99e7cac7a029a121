"""False stops of Ray's ASHA and of ours on the same recorded curves, with the epochs each used.

Searches are replayed over a census (`reports/replay.py`): random proposals, the same ones under
every rule, so that rules differ in whom they stop and in nothing else. Ray's rule is its own class,
`ray.tune.schedulers.AsyncHyperBandScheduler`, told the raw validation F1 after every epoch as a
user would without further thought; ours is that of `tuner run`.

A *false stop* is a stopped trial that had not reached the target and does so later in its recorded
curve. Its share of all stopped trials says what a stop is worth; as a share of the trials that
reach the target if left alone (*matches lost*) it says what stopping costs. Rules that use fewer
epochs stop more, so they are also compared at equal epochs: each kind of rule with many reductions
and first rungs, and where an epoch budget lies between two of them, with some searches under the
one and some under the other (the lower convex hull of epochs and matches lost). Beside them stands
what training fewer trials, all in full, would lose: the share of epochs that is saved.

Limits are the central 95 % over random halves of the census (`reports/census.py`).

    python -m benchmarks.early_stopping benchmarks/data/fer2013_periodic_curves.csv
"""

from __future__ import annotations

import csv
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from reports.census import Census, Curve, halves, read_census
from reports.replay import Policy, Rule, Rungs, replay
from reports.simulate import outcome, search_seed
from search_spaces.model import UserError
from search_spaces.space import load_space
from tuner.rungs import Halving, bracket_key
from tuner.spec_sections import SamplerConfig, SchedulerConfig

REDUCTIONS = (2, 3, 4)
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Shares of all epochs at which kinds of rules are compared."""
COLUMNS = ("trial", "T", "position", "seed", "state", "judged_from", "clean", "epoch", "val_f1")
EVERY_TRIAL = "every trial in full"


class RayAsha:
    """Ray's scheduler as the rule of a simulated search."""

    def __init__(self, grace_period: int, reduction: int, max_t: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self.scheduler = AsyncHyperBandScheduler(
            time_attr="training_iteration",
            metric="val_f1",
            mode="max",
            max_t=max_t,
            grace_period=grace_period,
            reduction_factor=reduction,
        )
        self.added: set[int] = set()

    def stops(self, trial: int, epoch: int, curve: Curve) -> bool:
        """Tell Ray's scheduler what Tune would, and return its decision."""
        told: Any = _Named(str(trial))
        result = {"training_iteration": epoch, "val_f1": curve.raw[epoch - 1]}
        if trial not in self.added:
            self.added.add(trial)
            self.scheduler.on_trial_add(None, told)  # type: ignore[arg-type]
        if epoch == len(curve.raw) and curve.state != "crashed":
            self.scheduler.on_trial_complete(None, told, result)  # type: ignore[arg-type]
            return False
        return bool(self.scheduler.on_trial_result(None, told, result) == "STOP")  # type: ignore[arg-type]


class _Named(NamedTuple):
    """All that the scheduler asks of a trial."""

    trial_id: str


class Stopper(NamedTuple):
    """One rule to compare."""

    kind: str
    name: str
    fresh: Callable[[int], Rule]
    """Makes the rule of a search from its seed."""


class Counts(NamedTuple):
    """What a rule did, over all searches."""

    epochs: float
    stopped: float
    false_stops: float
    matches: float
    """Trials asked for that reach the target if left alone."""

    def mixed(self, other: Counts, share: float) -> Counts:
        """Return the counts if a share of the searches had gone by the other rule."""
        return Counts(*((1 - share) * a + share * b for a, b in zip(self, other, strict=True)))

    @property
    def false_share(self) -> float | None:
        """False stops as a share of all stops."""
        return self.false_stops / self.stopped if self.stopped else None

    @property
    def lost(self) -> float | None:
        """False stops as a share of the matches."""
        return self.false_stops / self.matches if self.matches else None


def ours(
    epochs: int,
    reduction: int,
    first_rung: int | None,
    space: str,
    brackets: int = 1,
    before_injection: bool = False,
) -> Stopper:
    """Return our halving."""

    def fresh(seed: int) -> Rule:
        key = bracket_key(space, seed)
        return Rungs(Halving(epochs, reduction, first_rung, brackets, key), before_injection)

    rungs = Halving(epochs, reduction, first_rung).rungs
    kind = (
        "ours"
        + (", brackets" if brackets > 1 else "")
        + (", before injection too" if before_injection else "")
    )
    name = f"{kind}: reduction {reduction}, rungs {', '.join(map(str, rungs))}"
    return Stopper(kind, name + (f", {brackets} brackets" if brackets > 1 else ""), fresh)


def rays(grace_period: int, reduction: int, max_t: int) -> Stopper:
    """Return Ray's ASHA."""
    name = f"Ray: reduction_factor {reduction}, grace_period {grace_period}, max_t {max_t}"
    return Stopper("Ray", name, lambda seed: RayAsha(grace_period, reduction, max_t))


def headline(epochs: int, space: str) -> list[Stopper]:
    """Return the rules with nothing chosen, and Ray's with our reduction and first rung."""
    plain = Halving(epochs)
    return [
        Stopper("none", EVERY_TRIAL, lambda seed: Rungs(None)),
        rays(1, 4, 100)._replace(name="Ray: defaults (reduction_factor 4, grace_period 1)"),
        rays(plain.rungs[0], plain.reduction, epochs),
        ours(epochs, plain.reduction, None, space),
        ours(epochs, plain.reduction, None, space, len(plain.rungs) + 1),
        ours(epochs, plain.reduction, None, space, 1, True),
        ours(epochs, plain.reduction, None, space, len(plain.rungs) + 1, True),
    ]


def grid(epochs: int, space: str) -> Iterator[Stopper]:
    """Yield every kind of rule with many reductions and first rungs, the same ones for each."""
    firsts = sorted({max(1, round(epochs * share)) for share in
                     (0.04, 0.11, 0.2, 0.33, 0.5, 0.75)})  # fmt: skip
    for reduction, first in itertools.product(REDUCTIONS, firsts):
        yield rays(first, reduction, epochs)
        yield ours(epochs, reduction, first, space)
        rungs = len(Halving(epochs, reduction, first).rungs)
        yield ours(epochs, reduction, first, space, rungs + 1)
        yield ours(epochs, reduction, first, space, 1, True)


def count(
    census: Census,
    stopper: Stopper,
    target: float,
    searches: int,
    trials: int,
    seed: int,
    part: int,
) -> Counts:
    """Replay searches under a rule."""
    policy = Policy(SamplerConfig(name="random"), SchedulerConfig(name="none"), trials)
    totals = [0.0, 0.0, 0.0, 0.0]
    for number in range(searches):
        at = search_seed(seed, part, number)
        done = replay(census, policy, target, at, rule=stopper.fresh(at))
        found = outcome(census, done, target)
        epochs = sum(trial.epochs for trial in done.trials)
        for index, value in enumerate(
            (epochs, found.stopped, found.would_have_reached, found.matches)
        ):
            totals[index] += value
    return Counts(*totals)


def at_equal_epochs(points: Sequence[Counts], epochs: float) -> Counts | None:
    """Return the mixture of two rules with so many epochs that loses the fewest matches.

    Parameters
    ----------
    points : sequence of Counts
        Of one kind of rule, `EVERY_TRIAL` among them.
    epochs : float

    Returns
    -------
    Counts or None
        None where even the cheapest rule uses more.

    >>> few, all_ = Counts(10, 8, 4, 5), Counts(30, 0, 0, 5)
    >>> at_equal_epochs([few, all_], 20)
    Counts(epochs=20.0, stopped=4.0, false_stops=2.0, matches=5.0)
    """
    best = None
    for one, other in itertools.product(points, points):
        if one.epochs <= epochs <= other.epochs:
            gap = other.epochs - one.epochs
            found = one.mixed(other, (epochs - one.epochs) / gap if gap else 0.0)
            if best is None or found.false_stops < best.false_stops:
                best = found
    return best


def write_curves(census: Census, path: Path) -> None:
    """Write a census of the space `periodic` as a small table, one row per trial and epoch."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, curve in enumerate(census.curves):
            knobs = curve.knobs
            for epoch, value in enumerate(curve.raw, start=1):
                writer.writerow(
                    (number, knobs["T"], knobs["position"], curve.seed, curve.state,
                     curve.judged_from, curve.clean, epoch, f"{value:.6f}")
                )  # fmt: skip


def read_curves(path: Path) -> Census:
    """Return the census that `write_curves` wrote."""
    curves = []
    with path.open(newline="", encoding="utf-8") as file:
        for _, group in itertools.groupby(csv.DictReader(file), key=lambda row: row["trial"]):
            rows = list(group)
            raw = tuple(float(row["val_f1"]) for row in rows)
            known = (0.0 if math.isnan(value) else value for value in raw)
            curves.append(
                Curve(
                    {"T": int(rows[0]["T"]), "position": rows[0]["position"]},
                    int(rows[0]["seed"]),
                    rows[0]["state"],
                    int(rows[0]["judged_from"]),
                    int(rows[0]["clean"]),
                    raw,
                    tuple(itertools.accumulate(known, max)),
                    (1.0,) * len(raw),
                    float(len(raw)),
                )
            )
    epochs = max(len(curve.raw) for curve in curves)
    return Census(load_space("periodic").resolved(epochs), epochs, tuple(curves), timed=False)


def percent(value: float | None) -> str:
    """Return a share for reading."""
    return "–" if value is None else f"{100 * value:.1f} %"


def limits(values: Sequence[float | None]) -> str:
    """Return the central 95 % of the values that are there."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low, high = np.percentile(known, (2.5, 97.5))
    return f"{100 * low:.1f} to {100 * high:.1f}"


def headline_table(found: dict[str, list[Counts]]) -> str:
    """Return the rules side by side; of each the whole census first, then its halves."""
    whole = found[EVERY_TRIAL][0].epochs
    lines = [
        "| rule | epochs | stopped | false stops, of the stopped | 95 % | matches lost | 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, counts in found.items():
        first, rest = counts[0], counts[1:]
        lines.append(
            f"| {name} | {percent(first.epochs / whole)} | {first.stopped:.0f}"
            f" | {percent(first.false_share)} | {limits([one.false_share for one in rest])}"
            f" | {percent(first.lost)} | {limits([one.lost for one in rest])} |"
        )
    return "\n".join(lines)


def equal_table(points: dict[str, list[list[Counts]]], whole: Sequence[Counts]) -> str:
    """Return matches lost at equal epochs by kind of rule, and the difference to Ray's."""
    kinds = list(points)
    lines = [
        "| epochs | fewer trials | "
        + " | ".join(f"{kind}: lost (false, of the stopped)" for kind in kinds)
        + " | " + " | ".join(f"{kind} − Ray, lost, 95 %" for kind in kinds[1:]) + " |",
        "|---|---|" + "---|" * (2 * len(kinds) - 1),
    ]  # fmt: skip
    for level in LEVELS:
        at = {
            kind: [at_equal_epochs(of, level * full.epochs)
                   for of, full in zip(points[kind], whole, strict=True)]
            for kind in kinds
        }  # fmt: skip
        cells = [
            "–" if (one := at[kind][0]) is None
            else f"{percent(one.lost)} ({percent(one.false_share)})"
            for kind in kinds
        ]  # fmt: skip
        for kind in kinds[1:]:
            gaps = [
                None if a is None or b is None or a.lost is None or b.lost is None
                else a.lost - b.lost
                for a, b in zip(at[kind], at["Ray"], strict=True)
            ]  # fmt: skip
            first = "–" if gaps[0] is None else f"{100 * gaps[0]:+.1f}"
            cells.append(f"{first} ({limits(gaps[1:])})")
        lines.append(f"| {level:.0%} | {percent(1 - level)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--target", type=float, help="Default: what a quarter of the census reaches.")
@click.option("--searches", default=100, show_default=True, help="Searches per rule.")
@click.option("--trials", default=30, show_default=True, help="Trials of a search.")
@click.option("--num-halves", default=20, show_default=True, help="Halves, for the limits.")
@click.option("--seed", default=0, show_default=True)
@click.option("--write-curves", "out", type=click.Path(path_type=Path), help="CSV to write.")
def main(
    sources: tuple[Path, ...],
    target: float | None,
    searches: int,
    trials: int,
    num_halves: int,
    seed: int,
    out: Path | None,
) -> None:
    """Compare rules on SOURCES: the folders of a census' runs, or a CSV of its curves."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    if out is not None:
        write_curves(read_census(sources), out)
        return
    csvs = [path for path in sources if path.suffix == ".csv"]
    if csvs and len(sources) > 1:
        raise UserError("A CSV of curves stands alone; give one, or folders of runs.")
    census = read_curves(csvs[0]) if csvs else read_census(sources)
    scores = [curve.best[-1] for curve in census.curves if curve.state == "completed"]
    goal = float(np.quantile(scores, 0.75)) if target is None else target
    found = halves(census, nearest=True, count=num_halves, seed=seed)
    parts = [census, *([] if isinstance(found, str) else found)]
    space = census.space.name

    def counted(stopper: Stopper) -> list[Counts]:
        return [
            count(part, stopper, goal, searches if index == 0 else max(1, searches // 10), trials,
                  seed, index)
            for index, part in enumerate(parts)
        ]  # fmt: skip

    matches = sum(curve.reaches(goal) for curve in census.curves)
    click.echo(
        f"{len(census.curves)} curves of {census.epochs} epochs, space {space}; {matches} reach"
        f" {goal:.4f}. {searches} searches of {trials} trials per rule, {len(parts) - 1} halves.\n"
    )
    sides = {stopper.name: counted(stopper) for stopper in headline(census.epochs, space)}
    click.echo(headline_table(sides))
    full = sides[EVERY_TRIAL]
    points: dict[str, list[list[Counts]]] = {}
    for stopper in grid(census.epochs, space):
        of_kind = points.setdefault(stopper.kind, [[one] for one in full])
        for where, one in zip(of_kind, counted(stopper), strict=True):
            where.append(one)
    click.echo("\nAt equal epochs, matches lost by each kind of rule at its best:\n")
    click.echo(equal_table(points, full))


if __name__ == "__main__":
    main()
