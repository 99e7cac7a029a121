"""What every figure must stand: the schema, both renderers, and a table that says the same."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from reports.figures.chart import Figure, interactive, paper_svg, specification, svg


def assert_drawn(figure: Figure) -> None:
    """Check a figure's charts, message and table."""
    assert figure.message.endswith(".")
    assert figure.name == "".join(c if c.isalnum() else "-" for c in figure.name)
    assert figure.table.rows
    assert all(len(row) == len(figure.table.columns) for row in figure.table.rows)
    for index, chart in enumerate(figure.charts):
        chart.to_dict()  # against Vega-Lite's schema
        spec = specification(chart)
        identifier = f"{figure.name}-{index}"
        drawn = ET.fromstring(svg(spec, figure.title, figure.message, identifier))
        assert float(drawn.get("width", 0)) > 0
        names = [drawn[0].text, drawn[1].text]
        assert names == [figure.title, figure.message]
        svg(interactive(spec), "t", "d", identifier)
    whole = paper_svg(figure)
    assert "var(--" not in whole
    assert float(ET.fromstring(whole).get("width", "inf")) < 5000
