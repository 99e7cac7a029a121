"""The dry run: expected epochs against bounds and closed forms, cost against a recorded run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuner.made_runs import make_run, quick
from tuner.cli.texts import plan_text
from tuner.plan import KnownImages, Plan, plan
from tuner.spec import RunSpec, build_spec


def planned(spec: RunSpec, others: list[Path] | None = None, images: int | None = 1500) -> Plan:
    here = Path("x")
    return plan(
        spec, here / "run", here / "cache", here / "temp", others or [], KnownImages(images)
    )


def test_without_a_scheduler_every_trial_trains_in_full() -> None:
    found = planned(quick(scheduler={"name": "none"}, budget={"trials": 7}))
    assert found.rungs == ()
    assert found.epochs_least == found.epochs_expected == found.epochs_most == 7 * 12


def test_expected_epochs_lie_within_the_bounds() -> None:
    for space in ("periodic_T", "dynamic", "baseline", "periodic_dropout"):
        for scheduler in ("asha", "median"):
            found = planned(quick(space, scheduler={"name": scheduler}))
            assert found.epochs_least is not None
            assert found.epochs_expected is not None
            assert found.epochs_most is not None
            assert found.epochs_least <= found.epochs_expected <= found.epochs_most


def test_asha_on_many_trials_costs_what_halving_says() -> None:
    # Rungs 7 and 21 of 60; in random order n/3 + O(ln n) survive each: with n = 300 about
    # 7·300 + 14·102 + 39·35 epochs. Six standard errors of the simulation are about 18 %.
    found = planned(quick("dropout", epochs=60, budget={"trials": 300}))
    assert found.rungs == (7, 21)
    assert found.epochs_expected == pytest.approx(7 * 300 + 14 * 102 + 39 * 35, rel=0.18)


def test_brackets_are_told_and_each_costs_what_its_rungs_say() -> None:
    flags: dict[str, Any] = {"epochs": 60, "budget": {"trials": 300}}
    found = planned(quick("dropout", scheduler={"brackets": 3}, **flags))
    # Hyperband's weights for two rungs and reduction 3: 9, 5 and 3
    assert found.brackets == (
        {"rungs": (7, 21), "share": 0.5294},
        {"rungs": (21,), "share": 0.2941},
        {"rungs": (), "share": 0.1765},
    )
    assert planned(quick("dropout", **flags)).brackets == ()
    # Of n trials in a bracket n/3 + ln(n)/3 pass each rung; six standard errors of the share of
    # trials in the bracket that stops nobody are 13 points, or 5 of 35 epochs a trial.
    halved = 7 * 159 + 14 * 55 + 39 * 20
    assert found.epochs_expected == pytest.approx(
        halved + 21 * 88 + 39 * 31 + 60 * 53, rel=5 / 35 + 0.05
    )
    text = plan_text(found)
    assert "0 (53% of trials) from epoch 7; 1 (29% of trials) from epoch 21" in text
    assert "stops nobody" in text


def test_trials_that_cannot_be_judged_early_are_counted_in_full() -> None:
    # With T = 6 of 12 epochs the first complete cycle ends with the training.
    for early, least in ((False, 12), ("auto", 2)):  # or they are judged before their injection
        base = quick(scheduler={"before_injection": early})
        space = base.space.with_fixed("T", 6)
        spec = RunSpec.model_validate({**base.model_dump(exclude={"space"}), "space": space})
        assert planned(spec).epochs_least == 16 * least


def test_unknown_data_change_nothing_where_injection_counts_epochs() -> None:
    assert planned(quick(), images=None).epochs_expected == planned(quick()).epochs_expected
    dynamic = planned(quick("dynamic"), images=None)
    assert dynamic.epochs_least == 16 * 2  # all at the first rung


def test_an_unknown_number_of_images_is_said_where_injection_counts_steps() -> None:
    told = " ".join(planned(quick("dynamic"), images=None).warnings)
    assert "how many images there are is only known once they are packed" in told
    for spec, images in ((quick(), None), (quick("dynamic"), 1500), (quick("baseline"), None)):
        assert "packed" not in " ".join(planned(spec, images=images).warnings)


def test_the_command_that_packs_the_images_is_that_of_this_data() -> None:
    data = {"source": "my faces.zip", "copies": "drop", "size": 64, "limit": 100}
    (told,) = planned(quick("dynamic", data=data), images=None).warnings
    assert told.endswith("tuner data 'my faces.zip' --image-size 64 --copies drop")


def test_the_plan_says_what_varies_and_how_it_is_searched() -> None:
    text = " ".join(plan_text(planned(quick("periodic"))).split())
    assert "varies T: whole numbers from 1 to 6; position: one of bn1, bn2," in text
    assert "search sampler tpe, scheduler asha, seeds fresh" in text
    assert "training optimizer=adam lr=" in text
    space = quick().space.with_fixed("T", 3)
    one = RunSpec.model_validate({**quick().model_dump(exclude={"space"}), "space": space})
    assert "  varies   nothing but the seed" in plan_text(planned(one)).splitlines()


def test_steps_are_counted_with_the_batch_of_the_trials(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("summary: s\nfixed: {method: dynamic, batch_size: 8}")
    fixed = planned(quick(str(tmp_path / "own.yaml")))
    given = planned(quick("dynamic_default", training={"batch_size": 8}))
    assert fixed.epochs_least == given.epochs_least


def test_cost_is_that_of_a_recorded_run_or_not_known(tmp_path: Path) -> None:
    assert planned(quick()).slot_seconds_expected is None
    assert planned(quick()).cost_from is None
    run = make_run(tmp_path / "before", [({"T": 2}, [0.1, 0.2], "completed")])
    found = planned(quick(), [run])
    assert found.epochs_expected is not None
    assert found.slot_seconds_expected == pytest.approx(2.0 * found.epochs_expected, rel=0.01)
    assert found.cost_from is not None
    assert "run before" in found.cost_from


@pytest.mark.parametrize(
    ("flags", "trials"),
    [
        ({"budget": {"trials": 10}, "seeds": 3}, 9),
        ({"sampler": {"name": "grid"}, "budget": {"trials": 100}}, 6),
        ({"sampler": {"name": "grid"}, "seeds": 2, "budget": {"trials": 100}}, 12),
        ({"budget": {"gpu_hours": 1.0}}, None),
    ],
)
def test_trials_follow_from_budget_seeds_and_grid(flags: dict[str, Any], trials: int) -> None:
    assert planned(quick(**flags)).trials == trials


def test_trials_that_are_left_over_are_told() -> None:
    (told,) = planned(quick(budget={"trials": 10}, seeds=3)).warnings
    assert told.endswith("of 10 trials 1 are left over")
    assert not planned(quick(budget={"trials": 9}, seeds=3)).warnings
    grid = planned(quick(sampler={"name": "grid"}, seeds=3, budget={"trials": 29}))
    assert grid.trials == 18  # as many as there are
    assert not grid.warnings
    assert "--trials 3 --epochs 2" in " ".join(plan_text(planned(quick(seeds=3))).split())


def test_a_budget_of_epochs_says_how_many_trials() -> None:
    spec = quick(budget={"epochs": 1200}, scheduler={"name": "none"})
    assert planned(spec).trials == 100


def test_the_plan_is_the_same_each_time() -> None:
    assert planned(quick()) == planned(quick())


def test_what_will_not_inject_is_warned_of() -> None:
    spec = quick("dynamic_default", training={"optimizer": "adamw"})
    assert any("weight decay" in line for line in planned(spec).warnings)


def test_the_share_that_is_never_judged_is_that_of_late_injection(tmp_path: Path) -> None:
    # At 12 epochs the rungs are 2 and 6, and T is judged from 2T on (3 for T = 1).
    for T, share in ((1, 0.0), (3, 0.0), (4, 1.0)):
        for early, never in ((False, share), ("auto", 0.0)):  # rung 2 lies before T = 4 injects
            flags = {"space": "periodic_T", "scheduler": {"before_injection": early}}
            fixed = build_spec("quick", None, flags, {"T": T}, {})
            found = plan(fixed, tmp_path / "run", tmp_path, tmp_path, [], KnownImages())
            assert (found.rungs, found.never_judged) == ((2, 6), never)


def test_epochs_that_trials_share_are_counted_once() -> None:
    alone = planned(quick(scheduler={"name": "none"}, budget={"trials": 7}))
    assert alone.epochs_computed == alone.epochs_expected
    grid: dict[str, Any] = {"sampler": {"name": "grid"}, "scheduler": {"name": "none"}}
    shared = planned(quick("periodic", seeds="fixed", budget={"trials": 100}, **grid))
    assert shared.epochs_expected == 24 * 12
    # the trunk once, then each of four positions from T's first injection; T = 1, 2 share epoch 2
    assert shared.epochs_computed == 5 + 4 * (sum(13 - T for T in range(2, 7)) + 10)
    fresh = planned(quick("periodic", budget={"trials": 24}, **grid))
    assert fresh.epochs_computed == fresh.epochs_expected


def test_sharing_makes_what_is_computed_cheaper(tmp_path: Path) -> None:
    run = make_run(tmp_path / "before", [({"T": 2}, [0.1, 0.2], "completed")])
    found = planned(quick(seeds="fixed", budget={"trials": 32}), [run])
    assert found.epochs_computed is not None
    assert found.epochs_expected is not None
    assert found.epochs_computed < 0.5 * found.epochs_expected
    assert found.slot_seconds_expected == pytest.approx(2.0 * found.epochs_computed, rel=0.01)
