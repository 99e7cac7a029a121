"""A figure: its message, its charts, and the table of exactly what is drawn.

Charts are Vega-Lite specifications made with Altair. vl-convert renders the same specification to
SVG and PDF here, and Vega-Embed makes it interactive in the reader's browser. Nothing is fetched.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reports.figures.theme import ARMS, CONFIG, Style, on_paper, variable

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 360, 270
"""Pixels of a panel with its axes and legend: it fits a telephone without shrinking the text."""
SIZE = {"width": WIDTH, "height": HEIGHT}
LABELLED = 10
"""So many whole numbers are all labelled."""
LEAST_SHARED = 20
"""Marks of one shape before that is defined once."""
FIT: Any = {"type": "fit", "contains": "padding"}


class Column(NamedTuple):
    """A column of a table."""

    name: str
    """In CSV files, with the unit where there is one."""
    title: str
    """For people, with the unit."""
    digits: int | None = None
    """Decimals shown to people; None shows values as they are. CSV files hold all digits."""


class Table(NamedTuple):
    """Plain data in columns; None is an absent value."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


class Figure(NamedTuple):
    """What a reader sees, in every form."""

    name: str
    """Of its files: letters, digits and dashes."""
    title: str
    message: str
    """What it shows in this data, as one or two sentences."""
    charts: tuple[Any, ...]
    """Panels, each an Altair chart of one view."""
    table: Table
    """Everything that is drawn."""
    notes: tuple[str, ...] = ()
    """What was left out, thinned or assumed."""


def specification(chart: Any) -> dict[str, Any]:
    """Return an Altair chart's Vega-Lite specification; equal charts give equal ones."""
    # Tests check every chart against the schema; here that would take 2 s of a large report.
    fitted = chart.copy(deep=False)
    fitted.autosize = FIT
    spec: dict[str, Any] = fitted.to_dict(validate=False)
    spec.pop("$schema", None)
    return {"config": CONFIG, **{key: value for key, value in spec.items() if key != "config"}}


def interactive(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a specification that can be zoomed and dragged, where both axes are numbers."""
    views = spec.get("layer", [spec])
    for index, view in enumerate(views):
        encoding = {**spec.get("encoding", {}), **view.get("encoding", {})}
        kinds = [encoding.get(axis, {}).get("type") for axis in ("x", "y")]
        if kinds == ["quantitative", "quantitative"]:
            zoom = {"name": "zoom", "select": "interval", "bind": "scales"}
            changed = {**view, "params": [zoom]}
            if "layer" not in spec:
                return changed
            return {**spec, "layer": [*views[:index], changed, *views[index + 1 :]]}
    return spec


def svg(spec: dict[str, Any], title: str, description: str, identifier: str) -> str:
    """Return a specification drawn as an element for an HTML page.

    Parameters
    ----------
    spec : dict
    title, description : str
        For those who do not see it.
    identifier : str
        Unique in the page.
    """
    import vl_convert

    drawn = slim(vl_convert.vegalite_to_svg(spec), identifier)
    names = f'role="img" aria-labelledby="{identifier}-t {identifier}-d"'
    told = (
        f'<title id="{identifier}-t">{escaped(title)}</title>'
        f'<desc id="{identifier}-d">{escaped(description)}</desc>'
    )
    return re.sub(r"<svg ([^>]*)>", lambda match: f"<svg {match[1]} {names}>{told}", drawn, count=1)


def paper_svg(figure: Figure) -> str:
    """Return all panels of a figure as one SVG file with a white background."""
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(_on_paper(figure))
    told = f"<title>{escaped(figure.title)}</title><desc>{escaped(figure.message)}</desc>"
    return re.sub(r"<svg [^>]*>", lambda match: match[0] + told, drawn, count=1) + "\n"


def paper_pdf(figure: Figure) -> bytes:
    """Return all panels of a figure as one PDF."""
    import vl_convert

    return vl_convert.vegalite_to_pdf(_on_paper(figure))


def _on_paper(figure: Figure) -> dict[str, Any]:
    """Return all panels as one specification; a row needs legends with a title or two channels."""
    panels = [specification(chart) for chart in figure.charts]
    for panel in panels:  # "fit" is for single views only; in a row, sizes are of the plot itself
        del panel["config"], panel["autosize"]
        panel["width"], panel["height"] = panel["width"] - 60, panel["height"] - 70
    apart = dict.fromkeys(("color", "fill", "shape", "strokeDash", "opacity"), "independent")
    whole = {
        "config": {**CONFIG, "background": "white"},
        "hconcat": panels,
        "spacing": 30,
        "resolve": {"scale": apart},
    }
    plain: dict[str, Any] = json.loads(on_paper(json.dumps(whole)))
    return plain


def slim(drawn: str, identifier: str) -> str:
    """Return Vega's SVG without what a browser does not need, about a third of the size.

    Tenths of a pixel remain; what marks share is defined once; ids become unique in the page.
    """
    drawn = re.sub(r' (?:aria-[a-z]+|role|class|pointer-events)="[^"]*"', "", drawn)
    drawn = re.sub(r'<path d="(?:M0,0h0v0h0Z)?"(?: display="none")?/>', "", drawn)
    drawn = re.sub(r' (?:d|transform|[xy]2?|width|height)="[^"]*"', _tenths, drawn)
    drawn = re.sub(r' (?:opacity="1"|xmlns:xlink="[^"]*"|version="1.1")', "", drawn)
    drawn = re.sub(r'(id="|url\(#)((?:clip|gradient_)\d+)', rf"\1{identifier}-\2", drawn)
    drawn = re.sub(r"<g></g>", "", drawn)
    shapes = re.findall(r'<path transform="[^"]*" d="([^"]*)"', drawn)
    often = [shape for shape in dict.fromkeys(shapes) if shapes.count(shape) > LEAST_SHARED]
    for number, shape in enumerate(often):
        name = f"{identifier}-s{number}"
        mark = re.compile(rf'<path (transform="[^"]*") d="{re.escape(shape)}"')
        drawn = mark.sub(rf'<use \1 href="#{name}"', drawn)
        end = drawn.index(">") + 1
        drawn = f'{drawn[:end]}<defs><path id="{name}" d="{shape}"/></defs>{drawn[end:]}'
    return drawn


def _tenths(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d)\d+", r"\1", attribute[0])


def log_axis(low: float, high: float) -> alt.Axis:
    """Return an axis with a few labelled lines; Vega's own log axes have ten a decade.

    Parameters
    ----------
    low, high : float
        Greater than 0.
    """
    import altair as alt

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    span = math.log10(high / low)
    digits = (1, 2, 5) if span <= 2.5 else (1, 3) if span <= 4.5 else (1,)
    values = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    shown = [value for value in values if low <= value <= high]
    return alt.Axis(values=shown, format="~g", tickCount=len(shown))


def whole_axis(low: int, high: int) -> alt.Axis:
    """Return an axis that labels whole numbers only."""
    import altair as alt

    if high - low < LABELLED:  # tickMinStep alone still gives halves where there are few numbers
        values = list(range(low, high + 1))
        return alt.Axis(values=values, format="d", tickCount=len(values))
    return alt.Axis(tickMinStep=1, format="d")


def tooltips(*fields: str | alt.Tooltip) -> list[alt.Tooltip]:
    """Return what is told where the pointer is.

    Altair takes 3 ms to make a channel of a plain string, and no time where its class is named.
    """
    import altair as alt

    return [alt.Tooltip(field) if isinstance(field, str) else field for field in fields]


def file_name(text: str) -> str:
    """Return text as part of a file's name.

    >>> file_name("my run/é (2)")
    'my-run-é--2'
    """
    return "".join(c if c.isalnum() else "-" for c in text).strip("-")


def escaped(text: str) -> str:
    """Return text for use between XML tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def data(rows: Iterable[dict[str, Any]]) -> alt.InlineData:
    """Return rows as inline data, numbers cut to the six digits that a screen can show."""
    from altair.utils.schemapi import debug_mode

    values = [{key: _short(value) for key, value in row.items()} for row in rows]
    with debug_mode(False):  # else every row is checked against the schema of any JSON
        return _shared_data()(values=values)


@functools.cache
def _shared_data() -> type[alt.InlineData]:
    """Return a class of data that charts share.

    Altair copies a layer's data row by row, a dozen times until its chart is drawn.
    """
    import altair as alt

    class SharedData(alt.InlineData):
        def __deepcopy__(self, _: Any) -> SharedData:
            return self

    return SharedData


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


class Scales(NamedTuple):
    """The same things in colour, dash and marker, with one legend for all three."""

    color: alt.Color
    dash: alt.StrokeDash
    shape: alt.Shape


def scales(
    field: str, values: Sequence[str], styles: Sequence[Style] | None = None, lines: bool = False
) -> Scales:
    """Return how values of a field are told apart; without styles they must be arms.

    Parameters
    ----------
    field : str
    values : sequence of str
        In the order of the legend.
    styles : sequence of Style, optional
    lines : bool, default False
        Whether the legend shows lines although bands have the same colours.
    """
    import altair as alt

    chosen = styles or [ARMS[value] for value in values]
    domain = list(values)

    def scale(drawn: list[Any]) -> alt.Scale:
        return alt.Scale(domain=domain, range=drawn)

    symbol: dict[str, Any] = {"symbolType": "stroke"} if lines else {}
    legend = alt.Legend(title=None, columns=2, **symbol) if len(domain) > 1 else None
    colours = scale([variable(style.colour) for style in chosen])
    return Scales(
        alt.Color(field, type="nominal", legend=legend, scale=colours),
        alt.StrokeDash(
            field, type="nominal", legend=legend, scale=scale([list(s.dash) for s in chosen])
        ),
        alt.Shape(field, type="nominal", legend=legend, scale=scale([s.shape for s in chosen])),
    )
