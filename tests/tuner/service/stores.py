"""What tests of the store put into it."""

from __future__ import annotations

from typing import Any

from tuner.service.tables import NewJob


class Clock:
    """A wall clock that is set at will."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def new(user: str = "ann", key: str = "key-00000", content: str = "a" * 64, **more: Any) -> NewJob:
    fields = {
        "kind": "run", "user_name": user, "key": key, "content": content, "spec": {"x": 1},
        "digest": "d" * 64, "fingerprint": None, "space": "periodic_T", "gpus": 1.0, "cpus": 2,
    }  # fmt: skip
    return NewJob(**{**fields, **more})


def free(_: str) -> bool:
    return False
