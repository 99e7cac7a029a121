"""The figure of what searches cost: its message, its data, and both renderers."""

from __future__ import annotations

from reports.figures.policy import Found, Spread, draw_policy
from tests.reports.drawing import assert_drawn

SPREADS = [
    Spread("periodic_T", "periodic", 8.0, 20.0, 40.0, 80.0, None),
    Spread("dynamic_default", "dynamic", 4.0, 6.0, 8.0, 12.0, 20.0),
]


def test_it_tells_medians_and_how_many_real_searches_agree() -> None:
    found = draw_policy(
        SPREADS,
        [
            Found("periodic_T", "p-1", 90, False, True),
            Found("dynamic_default", "d-1", 30, True, False),
        ],
        0.34,
    )
    assert_drawn(found)
    assert found.message == (
        "Median of the replayed searches: periodic_T needs 40 epochs; dynamic_default needs 8"
        " epochs. 1 of 2 real searches fell within the central 95 % of these."
    )
    assert found.table.rows == (
        ("periodic_T", "replayed", None, 8.0, 20.0, 40.0, 80.0, None, None),
        ("dynamic_default", "replayed", None, 4.0, 6.0, 8.0, 12.0, 20.0, None),
        ("periodic_T", "p-1 (censored)", 90, None, None, None, None, None, True),
        ("dynamic_default", "d-1", 30, None, None, None, None, None, False),
    )


def test_replays_alone_and_replays_that_never_reach_it_can_be_drawn() -> None:
    never = [Spread("periodic_T", "periodic", None, None, None, None, None)]
    found = draw_policy(never, [], 0.9)
    assert_drawn(found)
    assert found.message == (
        "Median of the replayed searches: periodic_T does not reach it in half of the searches."
    )
