"""What would change the answer, and what rests on selection, as figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from reports.ablation import Ablated
from reports.figures.chart import (
    SIZE,
    Column,
    Figure,
    Table,
    data,
    file_name,
    log_axis,
    scales,
    tooltips,
    whole_axis,
)
from reports.figures.theme import ARMS, Style
from reports.searches import LEAST_FOR_TEST, Searches, Step
from reports.selection import SelectedTest
from reports.sensitivity import Importance
from reports.sentence import limits_text, number
from reports.words import percent
from tuner.cli.formatting import plural

NOT_FROZEN = (
    "The best seen is where the tuner found it afterwards, so that small boxes flatter periodic."
)
LEAST, MOST = 0.1, 1000.0
"""Ratios are drawn at most from here to there; the tables have them all."""


def draw_ablation(found: Sequence[Ablated], centre: str, frozen: bool = False) -> Figure:
    """Draw the savings in boxes shrunk around a point.

    Parameters
    ----------
    found : sequence of Ablated
    centre : str
        What the boxes are shrunk around, for the text.
    frozen : bool, default False
        Whether that was fixed beforehand.
    """
    import altair as alt

    ratios = [one.ratio for one in found if one.ratio]
    bottom = max(LEAST, min([0.5, *(ratio / 2 for ratio in ratios)]))
    top = min(MOST, max([2.0, *(3 * ratio for ratio in ratios)]))
    rows = [
        {
            "shrink": one.shrink,
            "ratio": one.ratio,
            "low": min(top, max(bottom, one.ratio_limits.low)),
            "high": max(bottom, min(top, one.ratio_limits.high)),
            "trials": one.trials,
            "hits": one.hits,
            "told": limits_text(*map(_finite, one.ratio_limits)),
        }
        for one in found
        if one.trials
    ]
    base = alt.Chart(data(rows))
    x = alt.X("shrink:Q", title="share of the range kept", axis=alt.Axis(format="%"))
    scale = alt.Scale(type="log", domain=[bottom, top], clamp=True, nice=False)
    axis = log_axis(bottom, top)
    title = "trials periodic / dynamic (log scale)"
    layers = [
        base.mark_area(opacity=0.2, color="var(--dynamic)").encode(
            x=x, y=alt.Y("low:Q", title=title, scale=scale, axis=axis), y2=alt.Y2("high:Q")
        ),
        alt.Chart(data([{"one": 1}])).mark_rule(strokeDash=[4, 3]).encode(y=alt.Y("one:Q")),
        base.transform_filter("datum.ratio > 0")
        .mark_line(point={"color": "var(--dynamic)"}, color="var(--dynamic)")
        .encode(
            x=x,
            y=alt.Y("ratio:Q", title=title, scale=scale, axis=axis),
            tooltip=tooltips("shrink:Q", "ratio:Q", "told:N", "trials:Q", "hits:Q"),
        ),
    ]
    whole, smallest = found[0], [one for one in found if one.trials][-1]
    beyond = any(
        not bottom <= end <= top for one in found if one.trials for end in one.ratio_limits
    )
    edge = "; one beyond the plot is drawn to its edge" if beyond else ""
    columns = (
        Column("shrink", "share of the range kept", 2),
        Column("box", "box"),
        Column("trials", "periodic trials inside"),
        Column("hits", "hits"),
        Column("ratio", "ratio", 3),
        Column("low", "low", 3),
        Column("high", "high", 3),
    )
    table = Table(
        columns,
        tuple(
            (
                one.shrink,
                "; ".join(f"{name} {low:.4g}–{high:.4g}" for name, (low, high) in one.box.items()),
                one.trials,
                one.hits,
                one.ratio,
                _finite(one.ratio_limits.low),
                _finite(one.ratio_limits.high),
            )
            for one in found
        ),
    )
    return Figure(
        "space-ablation",
        "If the search space had been smaller",
        f"With the whole range the ratio is {_ratio(whole)}; with {smallest.shrink:.0%} of it"
        f" around {centre}, it is {_ratio(smallest)} ({plural(smallest.trials, 'trial')}).",
        (alt.layer(*layers).properties(**SIZE),),
        table,
        (
            *([] if frozen else [NOT_FROZEN]),
            f"Limits are pointwise{edge}. A ratio can be quoted only together with its space.",
        ),
    )


def draw_selected_test(found: Sequence[tuple[str, str, SelectedTest]], confidence: float) -> Figure:
    """Draw the test score of what validation selects after k trials.

    Parameters
    ----------
    found : sequence of (str, str, SelectedTest)
        Space, kind of arm, curve.
    confidence : float
    """
    import altair as alt

    labels = [label for label, _, _ in found]
    look = scales("arm", labels, [ARMS[kind] for _, kind, _ in found], lines=True)
    rows = [
        {"arm": label, "trials": k, "test": test, "low": low, "high": high, "validation": valid}
        for label, _, curve in found
        for k, test, low, high, valid in zip(
            curve.trials, curve.test, curve.low, curve.high, curve.validation, strict=True
        )
    ]
    base = alt.Chart(data(rows))
    most = max(max(curve.trials) for _, _, curve in found)
    log = most > 20
    x = alt.X(
        "trials:Q",
        title="trials" + (" (log scale)" if log else ""),
        scale=alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False, nice=False),
        axis=log_axis(1, most) if log else whole_axis(1, most),
    )
    title = "macro-F1 of the selected trial"
    chart = alt.layer(
        base.mark_area(opacity=0.18).encode(
            x=x, y=alt.Y("low:Q", title=title), y2=alt.Y2("high:Q"), color=look.color
        ),
        base.mark_line(strokeWidth=1, strokeDash=[2, 2]).encode(
            x=x, y=alt.Y("validation:Q", title=title), color=look.color
        ),
        base.mark_line(strokeWidth=2).encode(
            x=x,
            y=alt.Y("test:Q", title=title, scale=alt.Scale(zero=False)),
            color=look.color,
            strokeDash=look.dash,
            tooltip=tooltips("arm:N", "trials:Q", "test:Q", "low:Q", "high:Q", "validation:Q"),
        ),
    ).properties(**SIZE)
    told = "; ".join(
        f"{label} selects {curve.test[-1]:.3f} on test after {curve.trials[-1]} trials, where"
        f" validation says {curve.validation[-1]:.3f}"
        for label, _, curve in found
    )
    left = sum(curve.left_out for _, _, curve in found)
    columns = (
        Column("space", "space"),
        Column("trials", "trials"),
        Column("test_f1", "test F1", 4),
        Column("low", "low", 4),
        Column("high", "high", 4),
        Column("val_f1", "validation F1", 4),
    )
    return Figure(
        "selected-test",
        "Match on test: what validation selects",
        f"Mean over all subsets of k trials: {told}.",
        (chart,),
        Table(columns, tuple(tuple(row.values()) for row in rows)),
        (
            "Full line: test; fine dots: validation of the same trial; the gap is the optimism of"
            f" the selected. Bands are pointwise {percent(confidence)} limits from resampling"
            " trials.",
            *([f"{plural(left, 'trial')} that did not complete left out."] if left else []),
        ),
    )


def draw_survival(
    found: Sequence[tuple[str, str, Step, Searches]], p: float | None, target: float
) -> Figure:
    """Draw the share of searches that have not yet reached the target.

    Parameters
    ----------
    found : sequence of (str, str, Step, Searches)
        Space, kind of arm, curve, summary.
    p : float or None
        Of the log-rank test between the first two; told from `LEAST_FOR_TEST` searches a side on.
    target : float
    """
    import altair as alt

    labels = [label for label, *_ in found]
    look = scales("arm", labels, [ARMS[kind] for _, kind, *_ in found], lines=True)
    rows = []
    for label, _, step, _ in found:
        start = {"arm": label, "cost": 0.0, "survival": 1.0, "low": 1.0, "high": 1.0}
        points = zip(step.cost, step.survival, step.low, step.high, strict=True)
        rows += [start, *(dict(zip(start, (label, *point), strict=True)) for point in points)]
    base = alt.Chart(data(rows))
    x = alt.X("cost:Q", title="epochs spent by the search")
    title = "share of searches without a match"
    chart = alt.layer(
        base.mark_area(opacity=0.15, interpolate="step-after").encode(
            x=x, y=alt.Y("low:Q", title=title), y2=alt.Y2("high:Q"), color=look.color
        ),
        base.mark_line(interpolate="step-after", strokeWidth=2).encode(
            x=x,
            y=alt.Y("survival:Q", title=title, scale=alt.Scale(domain=[0, 1])),
            color=look.color,
            strokeDash=look.dash,
            tooltip=tooltips("arm:N", "cost:Q", "survival:Q", "low:Q", "high:Q"),
        ),
    ).properties(**SIZE)
    told = "; ".join(
        f"{label}: {one.matched} of {one.searches}"
        f" {'search' if one.searches == 1 else 'searches'} matched, median"
        f" {'not reached' if one.median is None else f'{number(one.median)} epochs'}"
        for label, _, _, one in found
    )
    few = p is not None and min(one.searches for *_, one in found) < LEAST_FOR_TEST
    test = "" if p is None or few else f" Log-rank p = {number(p)}."
    columns = (
        Column("space", "space"),
        Column("epochs", "epochs spent"),
        Column("survival", "share without a match", 3),
        Column("low", "low", 3),
        Column("high", "high", 3),
    )
    return Figure(
        "time-to-target",
        f"Cost until a search reaches {number(target)} (Kaplan–Meier)",
        f"{told}.{test}",
        (chart,),
        Table(columns, tuple(tuple(row.values()) for row in rows)),
        (
            "The unit is a whole search; searches that never matched are censored at their end.",
            *([f"No log-rank p is given below {LEAST_FOR_TEST} searches a side."] if few else []),
        ),
    )


def draw_importance(space: str, found: Sequence[Importance], step: int = 1) -> Figure:
    """Draw each knob's share by each evaluator.

    Parameters
    ----------
    space : str
    found : sequence of Importance
    step : int, default 1
        Only every so-manieth trial was evaluated, which the figure says.
    """
    import altair as alt

    names = [one.evaluator for one in found]
    styles = [Style("periodic", (1, 0), "circle"), Style("dynamic", (1, 0), "square")]
    look = scales("evaluator", names, styles[: len(names)])
    rows = [
        {"evaluator": one.evaluator, "knob": knob, "share": share}
        for one in found
        for knob, share in one.shares.items()
    ]
    chart = (
        alt.Chart(data(rows))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of importance", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("knob:N", title=None),
            yOffset=alt.YOffset("evaluator:N", sort=names),
            color=look.color,
            tooltip=tooltips("evaluator:N", "knob:N", alt.Tooltip("share:Q", format=".2f")),
        )
        .properties(**{**SIZE, "height": max(150, 90 + 40 * len(found[0].shares))})
    )
    firsts = {one.evaluator: max(one.shares, key=lambda k: one.shares[k]) for one in found}
    agree = len(set(firsts.values())) == 1
    told = (
        f"Both evaluators put {next(iter(firsts.values()))} first"
        if agree and len(found) > 1
        else "; ".join(f"{name} puts {knob} first" for name, knob in firsts.items())
    )
    left = found[0].left_out
    columns = (
        Column("evaluator", "evaluator"),
        Column("knob", "knob"),
        Column("share", "share", 3),
    )
    return Figure(
        file_name(f"importance-{space}"),
        f"Importance of the knobs ({space})",
        f"{told}, over {found[0].trials} completed trials.",
        (chart,),
        Table(columns, tuple(tuple(row.values()) for row in rows)),
        (
            *([f"One trial in {step} was evaluated, evenly: fANOVA is slow."] if step > 1 else []),
            *([f"Left out: {plural(left, 'trial')} stopped, failed or unscored."] if left else []),
        ),
    )


def _ratio(one: Ablated) -> str:
    told = "undefined" if one.ratio is None else number(one.ratio)
    return f"{told} ({limits_text(*map(_finite, one.ratio_limits))})"


def _finite(value: float) -> Any:
    return value if math.isfinite(value) else None
