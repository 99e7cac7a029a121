"""Table 1 of the paper for these arms, beside the paper's own figures.

Scores are of each fully trained trial's best epoch by validation, as in the paper. The interval is
the exact one for a median, from order statistics: it assumes independent trials, and nothing else.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reports.figures.chart import Column, Table
from reports.figures.runs import Run, Trial
from reports.figures.theme import ARMS
from reports.table import Trials

PAPER: dict[str, tuple[float, float]] = {
    "baseline": (41.24, 0.34),
    "dropout": (54.99, 0.32),
    "periodic": (37.56, 0.38),
    "dynamic": (36.91, 0.39),
}
"""Arm → training loss and validation F1 of Table 1 (AffectNet, one training each)."""
PAPER_DATA = "affectnet"
CONFIDENCE = 0.95
QUANTITIES = ("training loss (nats)", "validation macro-F1", "test macro-F1")


class Row(NamedTuple):
    """One quantity of one arm, or of one space where the arm has several."""

    arm: str
    """With the space in brackets where the arm has several."""
    quantity: str
    best: float | None
    """Of the trial with the best validation F1."""
    median: float | None
    low: float | None
    """None with too few trials for 95 %, fewer than 6, and where trials share a seed."""
    high: float | None
    trials: int
    paper: float | None


class Result(NamedTuple):
    """What the table needs of a trial."""

    arm: str
    space: str
    seed: int
    state: str
    loss: float | None
    """Training loss of the best epoch, nats; None where only scores are known."""
    score: float | None
    test_score: float | None


class PaperTable(NamedTuple):
    """Table 1."""

    rows: tuple[Row, ...]
    same_data: bool
    unfinished: int
    """Trials left out because they did not end their training."""


def results(runs: Iterable[Run]) -> list[Result]:
    """Return the results of recorded trials."""
    return [
        Result(row.arm, run.space.name, row.seed, row.state, _loss(one), row.score, row.test_score)
        for run in runs
        for one in run.trials
        for row in (one.row,)
    ]


def tabled(trials: Trials) -> list[Result]:
    """Return the results of the rows of a trial table, which has no losses."""
    losses = [None] * len(trials)
    columns = (
        trials.arm, trials.space, trials.seed, trials.state, losses, trials.score,
        trials.test_score,
    )  # fmt: skip
    return [Result(*values) for values in zip(*columns, strict=True)]


def paper_table(found: Sequence[Result], sources: Sequence[str]) -> PaperTable:
    """Return the table of the arms that have trials, in the order of the protocol.

    Parameters
    ----------
    found : sequence of Result
    sources : sequence of str
        Where the data of the runs come from.
    """
    rows, unfinished = [], 0
    order = {arm: index for index, arm in enumerate(ARMS)}
    groups = dict.fromkeys((one.arm, one.space) for one in found)
    for arm, space in sorted(groups, key=lambda group: order[group[0]]):
        alone = sum(other == arm for other, _ in groups) == 1
        of_arm = [one for one in found if (one.arm, one.space) == (arm, space)]
        done = [one for one in of_arm if one.state == "completed" and one.score is not None]
        unfinished += len(of_arm) - len(done)
        best = max(done, key=lambda one: one.score or 0.0, default=None)
        paper = (*PAPER.get(arm, (None, None)), None)
        for quantity, its in zip(QUANTITIES, paper, strict=True):
            values = [value for one in done if (value := _value(one, quantity)) is not None]
            shared = len({one.seed for one in done}) < len(done)  # clusters are not independent
            low, high = (None, None) if shared else median_interval(values, CONFIDENCE)
            rows.append(
                Row(
                    arm if alone else f"{arm} ({space})",
                    quantity,
                    None if best is None else _value(best, quantity),
                    statistics.median(values) if values else None,
                    low,
                    high,
                    len(values),
                    its,
                )
            )
    same = bool(sources) and all(PAPER_DATA in source.lower() for source in sources)
    return PaperTable(tuple(rows), same, unfinished)


def as_table(found: PaperTable) -> Table:
    """Return the rows for people and files."""
    columns = (
        Column("arm", "arm"),
        Column("quantity", "quantity"),
        Column("best", "best trial", 3),
        Column("median", "median", 3),
        Column("low", "95 % from", 3),
        Column("high", "to", 3),
        Column("trials", "n"),
        Column("paper", "paper", 2),
    )
    return Table(columns, tuple(tuple(row) for row in found.rows))


def median_interval(
    values: Sequence[float], confidence: float
) -> tuple[float | None, float | None]:
    """Return the narrowest symmetric interval of order statistics that covers the median.

    The number of values below the median is Binomial(n, ½) (exact; Conover 1999, section 3.2).

    >>> median_interval([1, 2, 3, 4, 5, 6], 0.95)
    (1, 6)
    >>> median_interval([1, 2, 3, 4, 5], 0.95)
    (None, None)
    """
    ordered, n = sorted(values), len(values)
    below, rank = 0.5**n, 0
    if n == 0 or 2 * below > 1 - confidence:
        return None, None
    while 2 * (below + math.comb(n, rank + 1) * 0.5**n) <= 1 - confidence:
        rank += 1
        below += math.comb(n, rank) * 0.5**n
    return ordered[rank], ordered[n - 1 - rank]


def _value(one: Result, quantity: str) -> float | None:
    return (one.loss, one.score, one.test_score)[QUANTITIES.index(quantity)]


def _loss(trial: Trial) -> float | None:
    epoch = trial.row.best_epoch
    loss = math.nan if epoch is None else float(trial.curve.train_loss_E[epoch - 1])
    return None if math.isnan(loss) else loss
