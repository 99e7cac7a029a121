"""A service in this process, with made-up users, jobs and records, and no supervisor or Ray."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.tuner.made_runs import make_run, quick
from tuner.service.app import create_app
from tuner.service.auth import hashed, new_token
from tuner.service.models import Capacity, JobState
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.tables import JobRow, NewJob
from tuner.spec import RunSpec

CURVES = [
    ({"T": 2}, [0.2, 0.5, 0.4], "completed"),
    ({"T": 3}, [0.3], "pruned"),
    ({"T": 4}, [0.6, 0.9], "crashed"),
    ({"T": 5}, [0.1, 0.2], "running"),
]


@dataclass
class StillConductor:
    """A supervisor that does nothing, of a machine with two GPUs."""

    capacity: Capacity | None = field(default_factory=lambda: Capacity(gpus=2, cpus=8))
    notes: Sequence[str] = ()
    waited_s: Mapping[str, float] = field(default_factory=dict)
    woken: int = 0

    def wake(self) -> None:
        """Count."""
        self.woken += 1


class Serving:
    """An application with its store, and clients of its users.

    Parameters
    ----------
    folder : Path
    max_upload_bytes : int
    """

    def __init__(self, folder: Path, max_upload_bytes: int = 10_000_000) -> None:
        runs = folder / "runs"
        runs.mkdir()
        self.settings = Settings(runs, folder / "cache", max_upload_bytes=max_upload_bytes)
        self.store = Store(self.settings.database_url)
        self.conductor = StillConductor()
        self.app: FastAPI = create_app(self.settings, self.store, self.conductor)
        self.tokens: dict[str, str] = {}
        for name, admin in (("alice", False), ("bob", False), ("root", True)):
            self.add_user(name, admin)

    def add_user(self, name: str, admin: bool = False) -> str:
        """Make a user and return the token."""
        self.tokens[name] = new_token()
        self.store.add_user(name, hashed(self.tokens[name]), admin)
        return self.tokens[name]

    def client(self, name: str | None = "alice") -> TestClient:
        """Return a client of a user, or of nobody."""
        headers = {} if name is None else {"Authorization": f"Bearer {self.tokens[name]}"}
        return TestClient(self.app, headers=headers, raise_server_exceptions=False)

    def add_job(
        self,
        name: str,
        user: str = "alice",
        state: JobState = "running",
        curves: Sequence[tuple[dict[str, Any], Sequence[float], str]] | None = CURVES,
        spec: RunSpec | None = None,
        **changes: Any,
    ) -> JobRow:
        """Put a job in some state into the store, with a record unless `curves` is None."""
        spec = spec or quick()
        values = {
            "kind": "run", "user_name": user, "key": uuid.uuid4().hex, "content": "0" * 64,
            "spec": spec.model_dump(mode="json"), "digest": spec.digest, "fingerprint": None,
            "space": spec.space.name, "gpus": 1.0, "cpus": 2,
        }  # fmt: skip
        new = NewJob(**{**values, **changes})
        self.store.create_job(new, name, True, lambda _: False)
        if state != "queued":
            self.store.begin_attempt(name, 0)
            if state != "starting":
                assert self.store.set_state(name, ("starting",), state, started_at=1000.0)
        if curves is not None:
            make_run(self.settings.run_folder(name), curves, spec)
        row = self.store.job(name)
        assert row is not None
        return row


def submission(spec: RunSpec | None = None, **changes: Any) -> dict[str, Any]:
    """Return the JSON of a submission."""
    spec = spec or quick(resources={"concurrency": 1})
    values = {
        "kind": "run",
        "spec": spec.model_dump(mode="json"),
        "digest": spec.digest,
        "key": uuid.uuid4().hex,
    }
    return {**values, **changes}
