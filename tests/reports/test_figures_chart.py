"""The common ground of all figures: determinism, escaping, contrast, sizes."""

from __future__ import annotations

import json
import re

import altair as alt
import pytest

from reports.figures.chart import (
    SIZE,
    Column,
    Figure,
    Table,
    data,
    interactive,
    log_axis,
    on_paper,
    paper_svg,
    scales,
    slim,
    specification,
    svg,
    tooltips,
    whole_axis,
)
from reports.figures.theme import ARMS, COLOURS, CONFIG, STATES

EVIL = "<script>alert('x')</script>\"&"


def chart(name: str = "periodic", count: int = 3) -> alt.Chart:
    """Return a scatter plot with user text in it."""
    rows = [{"x": i, "y": i * i, "arm": name} for i in range(count)]
    look = scales("arm", [name, "dynamic"], [ARMS["periodic"], ARMS["dynamic"]])
    return (
        alt.Chart(data(rows))
        .mark_point()
        .encode(x="x:Q", y="y:Q", color=look.color, shape=look.shape)
        .properties(**SIZE)
    )


def test_equal_charts_give_equal_specifications_and_drawings() -> None:
    first, second = specification(chart()), specification(chart())
    assert json.dumps(first) == json.dumps(second)
    assert svg(first, "t", "d", "i") == svg(second, "t", "d", "i")


def test_layers_share_their_data_and_leave_it_as_it_is() -> None:
    rows = data([{"x": 1.0, "y": 2.0}])
    base = alt.Chart(rows).encode(x=alt.X("x:Q"), y=alt.Y("y:Q"))
    other = alt.Chart(data([{"one": 1}])).mark_rule().encode(y=alt.Y("one:Q"))
    layered = alt.layer(base.mark_line(), other).properties(**SIZE)
    assert layered.layer[0].data is rows
    spec = specification(layered)
    drawn = [spec["datasets"][layer["data"]["name"]] for layer in spec["layer"]]
    assert drawn == [[{"x": 1.0, "y": 2.0}], [{"one": 1}]]
    assert specification(layered) == spec and "autosize" not in layered.to_dict(validate=False)


def test_tooltips_are_what_altair_makes_of_strings() -> None:
    told = alt.Tooltip("y:Q", format=".2f")
    points = alt.Chart(data([{"x": 1, "y": 2}])).mark_point()
    named = points.encode(tooltip=tooltips("x:N", told))
    assert named.to_dict() == points.encode(tooltip=["x:N", told]).to_dict()


def test_user_text_is_escaped_in_marks_legends_titles_and_descriptions() -> None:
    spec = specification(chart(EVIL))
    for drawn in (
        svg(spec, EVIL, EVIL, "i"),
        paper_svg(Figure("f", EVIL, EVIL, (chart(EVIL),), Table((Column("x", "x"),), ()))),
    ):
        assert "<script" not in drawn
        assert "&lt;script&gt;" in drawn


def test_colours_follow_the_reader_in_a_page_and_are_fixed_on_paper() -> None:
    drawn = svg(specification(chart()), "t", "d", "i")
    assert "var(--periodic)" in drawn
    assert on_paper(drawn).count(COLOURS["periodic"][0]) == drawn.count("var(--periodic)")


def test_marks_of_one_shape_are_defined_once_and_ids_carry_the_figures_name() -> None:
    drawn = svg(specification(chart(count=100)), "t", "d", "fig-0")
    assert drawn.count("<use ") >= 100
    identifiers = re.findall(r'\bid="([^"]*)"', drawn)
    assert all(one.startswith("fig-0-") for one in identifiers)
    assert len(set(identifiers)) == len(identifiers)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', drawn)) <= set(identifiers)


def test_slimming_keeps_tenths_of_a_pixel_and_all_of_an_opacity() -> None:
    assert slim('<svg x="1"><path d="M1.2345,-0.98L3,4" opacity="0.0325"/></svg>', "i") == (
        '<svg x="1"><path d="M1.2,-0.9L3,4" opacity="0.0325"/></svg>'
    )


def test_only_charts_with_two_numeric_axes_are_zoomed() -> None:
    assert interactive(specification(chart()))["params"][0]["bind"] == "scales"
    bars = alt.Chart(data([{"x": "a", "y": 1}])).mark_bar().encode(x="x:N", y="y:Q")
    spec = specification(bars.properties(**SIZE))
    assert interactive(spec) == spec


def test_log_axes_label_a_few_values_within_their_range() -> None:
    assert log_axis(0.05, 5).to_dict()["values"] == [0.05, 0.1, 0.2, 0.5, 1, 2, 5]
    assert log_axis(1, 1e6).to_dict()["values"] == [10.0**i for i in range(7)]


def test_few_whole_numbers_are_all_labelled() -> None:
    assert whole_axis(1, 2).to_dict()["values"] == [1, 2]
    assert "values" not in whole_axis(1, 60).to_dict()


@pytest.mark.parametrize("dark", [False, True])
def test_marks_have_a_contrast_of_3_and_text_of_4_5_on_the_page(dark: bool) -> None:
    """WCAG 2.2, success criteria 1.4.3 and 1.4.11."""
    page = COLOURS["page"][dark]
    names = {style.colour for styles in (ARMS, STATES) for style in styles.values()} - {"line"}
    for name in names:
        assert contrast(COLOURS[name][dark], page) >= 3, name
    for name in ("ink", "soft", "link", "warn"):
        assert contrast(COLOURS[name][dark], page) >= 4.5, name
    assert contrast(COLOURS["ink"][dark], COLOURS["warn-panel"][dark]) >= 4.5


def test_every_colour_that_is_used_is_defined() -> None:
    used = re.findall(r"var\(--([a-z-]+)\)", json.dumps(CONFIG))
    assert set(used) <= set(COLOURS)
    assert {style.colour for styles in (ARMS, STATES) for style in styles.values()} <= set(COLOURS)


def contrast(one: str, other: str) -> float:
    """Return WCAG's contrast ratio of two colours, from its definition."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_arms_and_states_differ_in_colour_and_in_marker() -> None:
    for styles in (ARMS, STATES):
        assert len({style.shape for style in styles.values()}) == len(styles)
        assert len({style.colour for style in styles.values()}) == len(styles)
