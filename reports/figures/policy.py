"""What replayed searches cost until they reached the target, and where the real ones fell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from reports.figures.chart import SIZE, Column, Figure, Table, data, scales
from reports.figures.theme import ARMS, Style
from reports.sentence import number

REACHED, CENSORED = "reached it", "did not, in its budget"
LOOK = [Style("ink", (1, 0), "circle"), Style("bad", (1, 0), "cross")]
HEIGHT = 60
"""Pixels of a side."""


class Spread(NamedTuple):
    """Epochs that the replayed searches of a side cost; None: not reached by so many."""

    space: str
    arm: str
    low: float | None
    """2.5 % of the searches had reached the target by then."""
    lower: float | None
    """25 %."""
    median: float | None
    upper: float | None
    high: float | None
    """97.5 %."""


class Found(NamedTuple):
    """A real search."""

    space: str
    run: str
    epochs: int
    reached: bool
    inside: bool | None
    """Whether it lies within the central 95 % of the replayed ones."""


def draw_policy(spreads: Sequence[Spread], searches: Sequence[Found], target: float) -> Figure:
    """Draw each side's replayed costs as a bar, and its real searches as points on it."""
    import altair as alt

    known = [one for spread in spreads for one in spread[2:] if one is not None]
    edge = max([1.0, *known, *(float(one.epochs) for one in searches)])
    rows: list[dict[str, Any]] = [
        {
            "space": one.space,
            "arm": one.arm,
            "low": edge if one.low is None else one.low,
            "lower": edge if one.lower is None else one.lower,
            "median": one.median,
            "upper": edge if one.upper is None else one.upper,
            "high": edge if one.high is None else one.high,
        }
        for one in spreads
    ]
    points = [
        {"space": one.space, "run": one.run, "epochs": one.epochs,
         "kind": REACHED if one.reached else CENSORED}
        for one in searches
    ]  # fmt: skip
    spaces = [one.space for one in spreads]
    y = alt.Y("space:N", title=None, sort=spaces, axis=alt.Axis(labelLimit=90))
    title = "epochs until the target"
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=[0, edge], nice=False))
    colours = alt.Scale(domain=spaces, range=[f"var(--{ARMS[one.arm].colour})" for one in spreads])
    colour = alt.Color("space:N", scale=colours, legend=None)
    base = alt.Chart(data(rows))
    told = [alt.Tooltip(f"{name}:Q") for name in ("low", "lower", "median", "upper", "high")]
    layers: list[Any] = [
        base.mark_bar(height=8, opacity=0.35).encode(x=x, x2="high:Q", y=y, color=colour),
        base.mark_bar(height=20, opacity=0.55).encode(
            x=alt.X("lower:Q", title=title), x2="upper:Q", y=y, color=colour, tooltip=told
        ),
        base.transform_filter("isValid(datum.median)")
        .mark_tick(thickness=3, size=26, opacity=1, color="var(--ink)")
        .encode(x=alt.X("median:Q", title=title), y=y),
    ]
    if points:
        kinds = [kind for kind in (REACHED, CENSORED) if any(p["kind"] == kind for p in points)]
        look = scales("kind", kinds, [LOOK[(REACHED, CENSORED).index(kind)] for kind in kinds])
        layers.append(
            alt.Chart(data(points))
            .mark_point(filled=True, size=70, opacity=0.9, yOffset=18)
            .encode(
                x=alt.X("epochs:Q", title=title),
                y=y,
                color=look.color,
                shape=look.shape,
                tooltip=["run:N", "epochs:Q", "kind:N"],
            )
        )
    chart = alt.layer(*layers).resolve_scale(color="independent", shape="independent")
    columns = (
        Column("space", "space"),
        Column("what", "what"),
        Column("epochs", title),
        *(Column(f"epochs_{q}", f"{q} % by then", 0) for q in ("2.5", "25", "50", "75", "97.5")),
        Column("inside", "within the central 95 %"),
    )
    return Figure(
        "search-costs",
        f"What searches cost until they reach {number(target)}",
        _message(spreads, searches),
        (chart.properties(**{**SIZE, "height": 110 + HEIGHT * len(spreads)}),),
        Table(
            columns,
            (
                *((one.space, "replayed", None, *one[2:], None) for one in spreads),
                *(
                    (one.space, one.run if one.reached else f"{one.run} (censored)", one.epochs,
                     *[None] * 5, one.inside)
                    for one in searches
                ),
            ),
        ),
        (
            "Thin bar: central 95 % of the replayed searches; thick bar: middle half; line: median."
            " A bar that reaches the right edge goes beyond it: so many searches spent their budget"
            " without reaching the target. Marks below a bar: real searches.",
        ),
    )  # fmt: skip


def _message(spreads: Sequence[Spread], searches: Sequence[Found]) -> str:
    told = "; ".join(
        f"{one.space} "
        + ("does not reach it in half of the searches" if one.median is None
           else f"needs {number(one.median)} epochs")
        for one in spreads
    )  # fmt: skip
    judged = [one for one in searches if one.inside is not None]
    if not judged:
        return f"Median of the replayed searches: {told}."
    count = sum(bool(one.inside) for one in judged)
    return (
        f"Median of the replayed searches: {told}. {count} of {len(judged)} real"
        f" {'search' if len(judged) == 1 else 'searches'} fell within the central 95 % of these."
    )
