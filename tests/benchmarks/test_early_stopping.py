"""The comparison of stopping rules: on made-up curves whose outcome is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.early_stopping import (
    EVERY_TRIAL,
    Counts,
    RayAsha,
    at_equal_epochs,
    count,
    headline,
    main,
    ours,
    read_curves,
    write_curves,
)
from reports.census import Census, Curve
from search_spaces.space import load_space
from tuner.rungs import Halving

EPOCHS = 9
LATE = (0.3, 0.3, 0.1, 0.1, 0.3, 0.6, 0.6, 0.6, 0.6)
"""T = 3: injected in epochs 3 to 5, and best afterwards."""
FLAT = (0.2,) * 9


def curve(T: int, raw: tuple[float, ...], seed: int) -> Curve:
    best = tuple(max(raw[: epoch + 1]) for epoch in range(len(raw)))
    return Curve(
        {"T": T, "position": "bn1"}, seed, "completed", min(2 * T, EPOCHS), T - 1, raw, best,
        (1.0,) * len(raw), float(len(raw)),
    )  # fmt: skip


def census() -> Census:
    curves = [curve(3, LATE, seed) for seed in range(4)]
    curves += [curve(4, FLAT, seed) for seed in range(4, 12)]
    return Census(load_space("periodic").resolved(EPOCHS), EPOCHS, tuple(curves), timed=False)


def test_rays_own_class_stops_what_it_says_and_never_at_the_end() -> None:
    ray = RayAsha(grace_period=1, reduction=2, max_t=EPOCHS)
    good, bad = curve(1, (0.5,) * 9, 0), curve(1, (0.1,) * 9, 1)
    assert not any(ray.stops(0, epoch, good) for epoch in range(1, 10))
    assert ray.stops(1, 1, bad)
    tied = curve(1, (0.5,) * 9, 2)
    assert not any(ray.stops(2, epoch, tied) for epoch in range(1, 10))  # ties protect each other


def test_raw_values_inside_the_injected_phase_cost_ray_what_ours_does_not_judge() -> None:
    made = census()
    ray = RayAsha(grace_period=3, reduction=3, max_t=EPOCHS)
    assert not ray.stops(0, 3, curve(4, FLAT, 0))
    assert ray.stops(1, 3, curve(3, LATE, 1))  # 0.1 in its first injected epoch, and 0.6 later
    rule = ours(EPOCHS, 3, 3, "periodic").fresh(0)
    assert not any(rule.stops(t, 3, one) for t, one in enumerate(made.curves))


def test_counts_are_those_of_whole_searches() -> None:
    made = census()
    stoppers = {one.name: one for one in headline(EPOCHS, "periodic")}
    full = count(made, stoppers[EVERY_TRIAL], 0.5, searches=5, trials=6, seed=0, part=0)
    assert (full.epochs, full.stopped, full.false_stops) == (5 * 6 * EPOCHS, 0, 0)
    assert full.false_share is None and full.lost == 0
    for stopper in stoppers.values():
        found = count(made, stopper, 0.5, searches=5, trials=6, seed=0, part=0)
        assert found.matches == full.matches  # equal luck: the same proposals and answers
        assert found.epochs <= full.epochs and found.false_stops <= found.stopped
        assert (found.epochs == full.epochs) == (found.stopped == 0)


def test_at_equal_epochs_the_best_mixture_is_found() -> None:
    points = [Counts(100, 0, 0, 20), Counts(50, 10, 2, 20), Counts(40, 15, 12, 20)]
    assert at_equal_epochs(points, 75) == Counts(75, 5, 1, 20)
    assert at_equal_epochs(points, 50) == points[1]
    assert at_equal_epochs(points, 45) == Counts(45, 12.5, 7, 20)
    assert at_equal_epochs(points, 39) is None
    assert at_equal_epochs(points, 100) == points[0]


def test_curves_survive_the_table(tmp_path: Path) -> None:
    write_curves(census(), tmp_path / "curves.csv")
    found = read_curves(tmp_path / "curves.csv")
    for one, other in zip(found.curves, census().curves, strict=True):
        names = ("knobs", "seed", "state", "judged_from", "clean", "raw", "best")
        values: list[Any] = [[getattr(c, name) for name in names] for c in (one, other)]
        assert values[0] == values[1]
    assert found.epochs == EPOCHS


def test_the_recorded_census_is_what_the_document_says() -> None:
    found = read_curves(Path(__file__).parents[2] / "benchmarks/data/fer2013_periodic_curves.csv")
    assert (len(found.curves), found.epochs) == (66, 27)
    assert {one.state for one in found.curves} == {"completed"}
    assert Halving(found.epochs).rungs == (3, 9)


@pytest.mark.slow
def test_the_script_prints_both_tables(tmp_path: Path) -> None:
    write_curves(census(), tmp_path / "curves.csv")
    given = [str(tmp_path / "curves.csv"), "--target", "0.5", "--searches", "2", "--trials", "4"]
    result = CliRunner().invoke(main, [*given, "--num-halves", "2"])
    assert result.exit_code == 0, result.output
    assert "12 curves of 9 epochs, space periodic; 4 reach 0.5000" in result.output
    assert "| every trial in full | 100.0 % | 0 |" in result.output
    assert "nan" not in result.output.lower()
