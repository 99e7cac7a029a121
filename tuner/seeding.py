"""Which seed a trial gets, and whether it is audited: functions of the run's seed alone."""

from __future__ import annotations

import hashlib

from tuner.spec import RunSpec


def trial_seed(spec: RunSpec, number: int) -> int:
    """Return a trial's seed, below 2^48.

    `fresh`: one per trial, and different in every space, so that arms stay independent. A number
    of seeds: the same ones for every configuration of every space, so that they can be paired.
    """
    if spec.seeds == "fixed":
        return spec.seed
    if spec.seeds == "fresh":
        return _draw(f"fresh:{spec.seed}:{spec.space.name}:{number}")
    return _draw(f"paired:{spec.seed}:{number % int(spec.seeds)}")


def is_audited(spec: RunSpec, number: int) -> bool:
    """Return whether a trial is exempt from stopping; drawn by seed, so a resume agrees."""
    draw = _draw(f"audit:{spec.seed}:{spec.space.name}:{number}")
    return draw < spec.scheduler.audit * 2**48


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
