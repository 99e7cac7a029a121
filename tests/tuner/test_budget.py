"""When asking ends, and how a budget is raised."""

from __future__ import annotations

import pytest

from search_spaces.model import UserError
from tuner.budget import raised, spent
from tuner.record import Totals
from tuner.spec_sections import BudgetConfig


def totals(trials: int = 0, epochs: int = 0, slot_s: float = 0.0, active_s: float = 0.0) -> Totals:
    return Totals({"completed": trials, "running": 0}, epochs, slot_s, active_s)


@pytest.mark.parametrize(
    ("budget", "below", "at", "unit"),
    [
        (BudgetConfig(trials=20), totals(trials=19), totals(trials=20), "20 trials"),
        (BudgetConfig(epochs=100), totals(epochs=99), totals(epochs=100), "100 epochs"),
        (BudgetConfig(gpu_hours=0.5), totals(slot_s=1799), totals(slot_s=1800), "0.5 slot-hours"),
        (BudgetConfig(wall_hours=2), totals(active_s=7199), totals(active_s=7200), "2 hours of"),
    ],
)
def test_each_unit_ends_asking_exactly_when_it_is_spent(budget, below, at, unit):
    assert spent(budget, below) is None
    assert unit in spent(budget, at)


def test_whichever_limit_is_reached_first_ends_asking():
    budget = BudgetConfig(trials=20, epochs=100)
    assert "epochs" in spent(budget, totals(trials=5, epochs=130))
    assert "trials" in spent(budget, totals(trials=20, epochs=50))


def test_trials_of_every_state_count():
    used = Totals({"crashed": 2, "running": 1, "waiting": 1}, 0, 0.0, 0.0)
    assert spent(BudgetConfig(trials=4), used) is not None
    assert spent(BudgetConfig(trials=5), used) is None


def test_a_configuration_that_would_exceed_the_trials_is_not_asked_for():
    budget = BudgetConfig(trials=10)
    assert spent(budget, totals(trials=7), upcoming=3) is None
    reason = spent(budget, totals(trials=8), upcoming=3)
    assert reason == "the budget of 10 trials leaves 2, and a configuration takes 3"


def test_raising_adds_to_what_limits_and_leaves_the_rest():
    budget = BudgetConfig(trials=20, gpu_hours=1.5)
    more = raised(budget, more_trials=5, more_gpu_hours=0.25)
    assert more == BudgetConfig(trials=25, gpu_hours=1.75)
    assert raised(budget) == budget


def test_raising_what_has_no_limit_is_refused_and_says_what_has():
    with pytest.raises(UserError, match=r"--more-epochs raises a limit.*none: only 20 trials"):
        raised(BudgetConfig(trials=20), more_epochs=100)


@pytest.mark.parametrize("amount", [0, -3])
def test_raising_by_nothing_or_less_is_refused(amount):
    with pytest.raises(UserError, match=f"--more-trials must be greater than 0, but got {amount}"):
        raised(BudgetConfig(trials=20), more_trials=amount)


def test_raising_beyond_what_a_budget_may_be_is_refused():
    with pytest.raises(UserError, match=r"trials must be .* 1000000, but got 1000020"):
        raised(BudgetConfig(trials=20), more_trials=10**6)
