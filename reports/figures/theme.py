"""Colours, dashes and markers of the figures, for a page in light or dark and for paper.

A chart names colours by CSS variables, `var(--periodic)`, so that one drawing follows the reader's
preference in the page; for a file of its own they are replaced by the light values. Every arm and
every state differs from the others in colour, in dash and in marker. Hues are those of Okabe and
Ito (2008, Color Universal Design), darkened or lightened until they reach a contrast of 3:1.
"""

from __future__ import annotations

import re
import sys
from typing import Any, NamedTuple


class Style(NamedTuple):
    """How one arm or state is drawn."""

    colour: str
    """Name of a colour in `COLOURS`."""
    dash: tuple[int, ...]
    """Pixels drawn and left out in turn; (1, 0) is a full line."""
    shape: str
    """Marker in Vega's names."""


COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1c2024", "#eceef0"),
    "soft": ("#545b64", "#a9b1ba"),
    "line": ("#dfe3e8", "#363c44"),
    "page": ("#ffffff", "#14171a"),
    "panel": ("#f6f7f9", "#1d2125"),
    "link": ("#0a58b0", "#8ab8ff"),
    "warn": ("#7a4a00", "#ffcf7a"),
    "warn-panel": ("#fff4dc", "#33270f"),
    "shade": ("#d9a400", "#c9a227"),
    "baseline": ("#5f6770", "#b6bdc5"),
    "dropout": ("#9a3d78", "#e29ac6"),
    "periodic": ("#0072b2", "#5db5ee"),
    "periodic-dropout": ("#00805c", "#2fd0a0"),
    "dynamic": ("#c24e00", "#ff9248"),
    "dynamic-dropout": ("#8f6a00", "#e6c548"),
    "good": ("#00805c", "#2fd0a0"),
    "bad": ("#b3261e", "#ff8a80"),
}
"""Name → (light, dark)."""

ARMS: dict[str, Style] = {
    "baseline": Style("baseline", (1, 0), "circle"),
    "dropout": Style("dropout", (8, 3), "square"),
    "periodic": Style("periodic", (1, 0), "triangle-up"),
    "periodic+dropout": Style("periodic-dropout", (5, 3), "diamond"),
    "dynamic": Style("dynamic", (6, 2), "cross"),
    "dynamic+dropout": Style("dynamic-dropout", (2, 2), "triangle-down"),
}
STATES: dict[str, Style] = {
    "completed": Style("periodic", (1, 0), "circle"),
    "pruned": Style("dynamic-dropout", (1, 0), "triangle-down"),
    "diverged": Style("dropout", (1, 0), "diamond"),
    "crashed": Style("bad", (1, 0), "cross"),
    "stopped": Style("soft", (1, 0), "square"),
    "running": Style("good", (1, 0), "triangle-right"),
    "waiting": Style("line", (1, 0), "stroke"),
}

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
CONFIG: dict[str, Any] = {
    "background": None,
    "font": FONT,
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--ink)",
        "gridColor": "var(--line)",
        "domainColor": "var(--soft)",
        "tickColor": "var(--soft)",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 110,
        "tickCount": 6,
    },
    "legend": {
        "orient": "top",
        "titleColor": "var(--ink)",
        "labelColor": "var(--ink)",
        "labelFontSize": 12,
        "labelLimit": 150,
        "symbolSize": 70,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
        "padding": 0,
        "offset": 6,
        "columnPadding": 12,
    },
    "title": {
        "color": "var(--ink)",
        "fontSize": 12,
        "fontWeight": "bold",
        "anchor": "start",
        "offset": 6,
    },
    "text": {"color": "var(--ink)", "fontSize": 11},
    "rule": {"color": "var(--soft)"},
}
"""Vega-Lite's configuration, shared by all charts."""


def css(dark: bool) -> str:
    """Return the colours as declarations of CSS variables."""
    return "".join(f"--{name}:{pair[dark]};" for name, pair in COLOURS.items())


def switched_css() -> str:
    """Return the style sheet of a page whose reader may choose between light and dark.

    `python -m reports.figures.theme > tuner/service/static/colours.css` writes the service's.
    """
    light, dark = f"color-scheme:light;{css(False)}", f"color-scheme:dark;{css(True)}"
    return (
        "/* Written by python -m reports.figures.theme; a test fails when it differs. */\n"
        f":root{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}\n"
    )


def variable(colour: str) -> str:
    """Return the CSS reference to a colour."""
    return f"var(--{colour})"


def on_paper(text: str) -> str:
    """Return text with every reference to a colour replaced by its light value."""
    return re.sub(r"var\(--([a-z-]+)\)", lambda match: COLOURS[match[1]][0], text)


if __name__ == "__main__":
    sys.stdout.write(switched_css())
