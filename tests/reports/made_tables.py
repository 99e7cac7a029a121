"""Trials that were never trained, for what only reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.table import COLUMN_NAMES, Trials

PERIODIC, DYNAMIC = "periodic_T", "dynamic_default"


def made(space: str, scores: Sequence[float | None], **columns: Any) -> Trials:
    """Return a census of one space; a score of None is a crash, a column overrides all its rows.

    A column is one value for all trials, or a list with one for each. Each trial has a seed of its
    own, which no other space has.
    """
    n = len(scores)
    start = 1000 * (1 + sum(map(ord, space)))
    values: dict[str, Any] = {
        "stage": "census",
        "arm": space.partition("_")[0],
        "space": space,
        "config_id": [str(i) for i in range(n)],
        "seed": list(range(start, start + n)),
        "state": ["crashed" if score is None else "completed" for score in scores],
        "score": list(scores),
        "test_score": None,
        "epochs": 10,
        "slot_seconds": 20.0,
        "metric": None,
        "device": None,
        "data": None,
        "knobs": [{} for _ in range(n)],
        "copies": None,
        "setting": None,
        "conditions": None,
        "definition": None,
        "source": "made.csv",
        "row": list(range(2, n + 2)),
    }
    values |= columns
    for name in ("epochs", "slot_seconds"):
        values.setdefault(f"as_run_{name}", values[name])
    every = {name: one if isinstance(one, list) else [one] * n for name, one in values.items()}
    return Trials(**{name: every[name] for name in COLUMN_NAMES})


def joined(*tables: Trials) -> Trials:
    """Return the trials of several tables."""
    return Trials(*([v for one in tables for v in getattr(one, name)] for name in COLUMN_NAMES))


def hits(space: str, matched: int, count: int, **columns: Any) -> Trials:
    """Return a census in which so many trials score 0.6 and the others 0.4."""
    return made(space, [0.6] * matched + [0.4] * (count - matched), **columns)
