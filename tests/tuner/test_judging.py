"""A judgement is on record before anything follows from it, and says why in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuner.made_runs import make_run
from tuner.judging import judged
from tuner.live import Live
from tuner.record import Record
from tuner.rungs import Halving


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """Return a record with six trials, open for writing."""
    run = make_run(tmp_path / "run", [({"T": 2}, [], "waiting")] * 6)
    with Record.open(run, write=True) as opened:
        yield opened


def live(best: float, audited: bool = False, judged_from: int = 1) -> Live:
    return Live(0, {}, 2, audited, judged_from, seed=0, clean_until=0, best=best, asked_at=0.0)


def test_who_must_stop_is_told_value_rank_and_cut(record: Record) -> None:
    halving = Halving(12)
    assert judged(halving, record, 0, live(0.5), 2) is None
    assert judged(halving, record, 1, live(0.4), 2) == (
        "epoch 2: 0.4000 ranks 2 of 2; the cut is 0.5000"
    )
    assert [(row.trial, row.stop) for row in record.rungs()] == [(0, False), (1, True)]


def test_an_audited_trial_goes_on_and_its_judgement_is_on_record(record: Record) -> None:
    halving = Halving(12)
    judged(halving, record, 0, live(0.5), 2)
    assert judged(halving, record, 1, live(0.4, audited=True), 2) is None
    last = record.rungs()[-1]
    assert (last.stop, last.would_stop) == (False, True)


def test_a_tie_is_an_event(record: Record) -> None:
    halving = Halving(12)
    for number in (0, 1):
        judged(halving, record, number, live(0.5), 2)
    (tie,) = [event for event in record.events() if event.kind == "tie"]
    assert tie.trial == 1
    assert "1 earlier trial(s) score exactly 0.5000" in tie.message


def test_a_bracket_is_named_only_where_there_are_several(record: Record) -> None:
    halving = Halving(12, brackets=2, key="0:x")
    (first, second), *_ = (
        [n for n in range(6) if halving.bracket(n) == bracket][:2] for bracket in (0, 1)
    )
    judged(halving, record, first, live(0.5), 2)
    told = judged(halving, record, second, live(0.4), 2)
    assert told is not None
    assert told.startswith("bracket 0, epoch 2: ")


def test_where_nobody_is_judged_nothing_is_recorded(record: Record) -> None:
    assert judged(None, record, 0, live(0.5), 2) is None
    assert judged(Halving(12), record, 0, live(0.5), 3) is None  # no rung
    assert judged(Halving(12), record, 0, live(0.5, judged_from=4), 2) is None
    assert record.rungs() == []
