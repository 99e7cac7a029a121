"""The report as one HTML file that needs no network and, but for comfort, no script.

Figures are drawn here as SVG and stand in the page as they are. A script, which the page carries
with its data, makes them interactive, sorts and filters tables, and shows single trials. Equal
contents give equal bytes. Every text that a user or a record supplied is escaped by the template
engine; a content policy forbids all that is not in the file, and scripts other than its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from reports.figures.chart import (
    SIZE,
    Column,
    Figure,
    Table,
    interactive,
    specification,
    svg,
    tooltips,
)
from reports.figures.theme import CONFIG, STATES, css
from reports.sections import trials as trial_section
from reports.sections.contents import Contents
from reports.sections.paper_table import as_table

TEMPLATES = Path(__file__).parent / "templates"
LONG = 600
"""Charts that are wider than so many pixels take the whole width of the page."""
MOST_ROWS = 200
"""Rows of a figure's table in the page; the CSV files of `--figures` hold all."""


def page(contents: Contents, bundle: bool = True) -> str:
    """Return the whole page.

    Parameters
    ----------
    contents : Contents
    bundle : bool, default True
        Whether the script that draws interactive figures is part of it (0.9 MB).
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    specs: dict[str, Any] = {}

    def panels(figure: Figure) -> list[tuple[str, Any]]:
        """Return each panel's identifier and drawing, and keep its specification."""
        found = []
        for index, chart in enumerate(figure.charts):
            identifier = f"{figure.name}-{index}"
            spec = specification(chart)
            drawn = svg(spec, figure.title, figure.message, identifier)
            specs[identifier] = {k: v for k, v in interactive(spec).items() if k != "config"}
            found.append((identifier, Markup(drawn)))
        return found

    environment.globals.update(panels=panels, most_rows=MOST_ROWS)
    environment.filters.update(cell=cell, numeric=numeric, long=_long)
    scripts = [_bundle()] if bundle else []
    scripts.append((TEMPLATES / "page.js").read_text(encoding="utf-8"))
    body = environment.get_template("body.html").render(
        contents=contents,
        verdict=contents.verdict,
        paper=as_table(contents.paper),
        trials=trial_section.trial_lines(contents.runs),
        thumbnail_size=trial_section.THUMBNAIL,
        states=[
            s for s in STATES if any(t.row.state == s for r in contents.runs for t in r.trials)
        ],
        arms=list(dict.fromkeys(t.row.arm for r in contents.runs for t in r.trials)),
    )
    stored = {
        "specs": specs,
        "config": CONFIG,
        "trial": _trial_template(),
        "curves": trial_section.curve_data(contents.runs),
    }
    return environment.get_template("page.html").render(
        title=contents.title,
        policy=_policy(scripts),
        style=Markup(_style()),
        body=Markup(body),
        stored=_packed(stored),
        scripts=[Markup(script) for script in scripts],
    )


def cell(value: Any, column: Column) -> str:
    """Return a table's cell as text for people.

    >>> [cell(value, Column("x", "x", 2)) for value in (0.12345, 7, None, True)]
    ['0.12', '7', '–', 'yes']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if column.digits is None else f"{value:.{column.digits}f}"
    return str(value)


def numeric(table: Table, index: int) -> bool:
    """Return whether a column holds numbers only, which stand to the right."""
    values = [row[index] for row in table.rows[:MOST_ROWS]]
    return any(v is not None for v in values) and all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in values
    )


def _long(figure: Figure) -> bool:
    """Return whether a figure takes the whole width of the page."""
    return any(chart.width >= LONG for chart in figure.charts)


def _trial_template() -> list[dict[str, Any]]:
    """Return the charts of a single trial, whose data the script fills in."""
    import altair as alt

    charts = []
    for field, title in (("f", "validation macro-F1"), ("l", "training loss (nats)")):
        base = alt.Chart(alt.InlineData(values=[], name="curve"))
        scale = alt.Scale(zero=False, nice=False)
        axis = alt.Axis(tickMinStep=1, format="d")
        x = alt.X("e:Q", title="epoch", axis=axis, scale=scale)
        shade = (
            base.mark_rect(color="var(--shade)")
            .transform_filter("datum.i > 0")
            .transform_calculate(left="datum.e - 0.5", right="datum.e + 0.5")
            .encode(
                x=alt.X("left:Q", title="epoch", scale=scale),
                x2=alt.X2("right:Q"),
                opacity=alt.Opacity(
                    "i:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, 0.3])
                ),
            )
        )
        line = base.mark_line(color="var(--periodic)", point={"color": "var(--periodic)"}).encode(
            x=x,
            y=alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False)),
            tooltip=tooltips("e:Q", f"{field}:Q", alt.Tooltip("i:Q", title="share injected")),
        )
        spec = specification(alt.layer(shade, line).properties(**SIZE))
        charts.append({key: value for key, value in spec.items() if key != "config"})
    return charts


def _bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    script: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub is wrong
    if "</script" in script.lower() or "<!--" in script:
        raise RuntimeError("The Vega bundle cannot stand inside HTML.")
    notice = "Vega, Vega-Lite, Vega-Embed: University of Washington Interactive Data Lab, BSD-3"
    return f"/* {notice} */{{{script}}}"


def _style() -> str:
    text = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    dark = f"@media (prefers-color-scheme:dark){{:root{{{css(dark=True)}}}}}"
    return f":root{{{css(dark=False)}}}{dark}{text}"


def _policy(scripts: list[str]) -> str:
    """Return a content policy that allows these scripts by digest, and no network at all."""
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _packed(value: Any) -> str:
    """Return JSON, compressed, in letters that no HTML parser takes for a tag."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
