"""What early stopping did: the data exactly, the drawing by smoke test."""

from __future__ import annotations

from reports.figures.stopping import draw_stopping, stopping
from tests.reports.drawing import assert_drawn
from tests.reports.made_trials import made_run, made_trial
from tuner.record_rows import RungRow


def rung(number: int, trial: int, epoch: int, stop: bool, would: bool, tied: int = 0) -> RungRow:
    """Return a judgement."""
    return RungRow(number, trial, epoch, 0.2, 0.25, 2, number, tied, stop, would, 0.0)


def test_each_judgement_has_its_verdict() -> None:
    trials = [made_trial(i) for i in range(3)]
    rungs = [
        rung(1, 0, 2, False, False),
        rung(2, 1, 2, True, True, tied=1),
        rung(3, 2, 2, False, True),
    ]
    found = stopping(made_run(trials, rungs=rungs))
    assert found is not None
    assert [j.verdict for j in found.judgements] == ["continued", "stopped", "exempt"]
    figure = draw_stopping(found)
    assert figure.message == "Stopped: 1 of 3 at epoch 2."
    assert any("1 would have been stopped" in note for note in figure.notes)
    assert any("1 tied" in note for note in figure.notes)
    assert_drawn(figure)


def test_a_rule_that_judges_every_epoch_is_drawn() -> None:
    trials = [made_trial(0)]
    rungs = [rung(i, 0, i, False, False) for i in range(1, 40)]
    found = stopping(made_run(trials, rungs=rungs))
    assert found is not None
    assert_drawn(draw_stopping(found))


def test_without_judgements_there_is_nothing() -> None:
    assert stopping(made_run([made_trial(0)])) is None
