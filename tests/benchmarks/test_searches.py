"""The comparison of whole searches: its ratios, its table and its order, on made-up times."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.plain_trial import POSITIONS as PLAIN_POSITIONS
from benchmarks.searches import EVERY_T, POSITIONS, WAYS, Search, facts, main, table
from search_spaces.space import load_space

SECONDS = {"alone": 20.0, "shared": 10.0, "ray": 60.0, "ray_reusing": 30.0, "optuna": 5.0}


def measured() -> dict[str, object]:
    return facts({way: [Search(s, 24, 144, 0.5), Search(s, 24, 144, 0.6)]
                  for way, s in SECONDS.items()})  # fmt: skip


def test_ratios_are_speeds_of_ours_over_theirs() -> None:
    found = measured()
    ratios = {name: value for name, value in found.items() if name.endswith("_ratio")}
    assert ratios == {
        "alone_over_ray_ratio": 3.0,
        "alone_over_ray_reusing_ratio": 1.5,
        "alone_over_optuna_ratio": 0.25,
        "shared_over_ray_ratio": 6.0,
        "shared_over_ray_reusing_ratio": 3.0,
        "shared_over_optuna_ratio": 0.5,
    }


def test_the_table_has_a_row_for_every_way() -> None:
    rows = table(measured())[2:]
    assert len(rows) == len(WAYS)
    assert rows[2] == "| Ray Tune | 60.0 s (60.0, 60.0) | 1440 | 144 | 0.600 | 3.00 | 6.00 |"


def test_all_ways_try_the_same_positions() -> None:
    knob = load_space(EVERY_T).resolved(6).knobs["position"]
    assert list(knob.values) == list(PLAIN_POSITIONS)  # type: ignore[union-attr]
    assert len(PLAIN_POSITIONS) == POSITIONS


@pytest.mark.parametrize("trials", ["4", "10", "28"])
def test_numbers_of_trials_that_are_no_table_are_refused(trials: str) -> None:
    result = CliRunner().invoke(main, ["--trials", trials])
    assert result.exit_code == 2
    assert "--trials must be a multiple of 4" in result.output
