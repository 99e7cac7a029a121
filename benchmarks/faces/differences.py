"""Ratios and differences with two-sided limits, and how the pages write them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from reports.contract import Saving
from reports.markup import markdown_table
from reports.proportions import ratio_interval
from reports.search_costs import Estimate
from reports.words import limits_text, number

CONFIDENCE = 0.95
"""Of both studies."""
Hits = tuple[int, int]
"""Trials that match, and all of them."""


class Ratio(NamedTuple):
    """A ratio of two expected costs, None where one is not known; `high` may be infinite."""

    value: float | None
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether it is told apart from 1."""
        return self.low > 1 or self.high < 1

    @property
    def cells(self) -> tuple[str, str]:
        """Return the value and the limits as text."""
        value = "–" if self.value is None else number(self.value)
        return value, limits_text(self.low, self.high)


class Difference(NamedTuple):
    """A difference of means."""

    value: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether it is told apart from 0."""
        return self.low > 0 or self.high < 0

    @property
    def cells(self) -> tuple[str, str]:
        """Return the value and the limits as text."""
        return f"{self.value:+.4f}", f"{self.low:+.4f} to {self.high:+.4f}"


def saving_ratio(one: Saving | None) -> Ratio | None:
    """Return a ratio of the answer."""
    if one is None:
        return None
    return Ratio(one.ratio, one.low, math.inf if one.high is None else one.high)


def trials_ratio(dynamic: Hits, other: Hits) -> Ratio:
    """Return expected trials of another arm per one of dynamic's, by the score test's limits."""
    value = dynamic[0] / dynamic[1] / (other[0] / other[1]) if other[0] else None
    return Ratio(value, *ratio_interval(*dynamic, *other, CONFIDENCE))


def cost_ratio(above: Estimate, below: Estimate) -> Ratio | None:
    """Return the ratio of two expected costs; its limits combine the outer ends of both.

    Where every recorded trial of the arm above matched, its cost has no limits, and those of the
    ratio are by the spread of the other alone.
    """
    if above.estimate is None or not below.estimate:
        return None
    if without_limits(above):
        ends = above.estimate, above.estimate
    else:
        ends = above.low or 0.0, math.inf if above.high is None else above.high
    low = ends[0] / below.high if below.high else 0.0
    high = ends[1] / below.low if below.low else math.inf
    return Ratio(above.estimate / below.estimate, low, high)


def without_limits(cost: Estimate) -> bool:
    """Return whether an expected cost has no limits: every recorded trial matched."""
    return cost.low is None and cost.high is None


def contrast(
    groups: Sequence[Sequence[float]], signs: Sequence[int], family: int = 1
) -> Difference:
    """Return a sum of means with signs, by Welch's and Satterthwaite's method.

    Limits hold together, by Bonferroni's method, with those of a family of so many.
    """
    from scipy import stats

    parts = [statistics.variance(of) / len(of) for of in groups]
    value = sum(sign * statistics.fmean(of) for sign, of in zip(signs, groups, strict=True))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(of) - 1) for part, of in zip(parts, groups, strict=True)
    )
    level = (1 - CONFIDENCE) / family
    half = float(stats.t.isf(level / 2, freedom)) * sum(parts) ** 0.5
    return Difference(value, value - half, value + half)


def spread(of: Sequence[float]) -> tuple[str, str]:
    """Return how many, and their mean with its standard deviation, as text."""
    return str(len(of)), f"{statistics.fmean(of):.4f} ({statistics.stdev(of):.4f})"


def cells(one: Ratio | Difference | None) -> tuple[str, str]:
    """Return a ratio or difference as text."""
    return ("–", "–") if one is None else one.cells


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join((*markdown_table(columns, rows), ""))
