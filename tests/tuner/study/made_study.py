"""A study whose runs are made up rather than trained, as fast as they can be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from tests.reports.made_records import Ending, make_record
from trainables.config import DataConfig
from tuner import engine, ray_session
from tuner.record import Record
from tuner.spec import RunSpec
from tuner.study.conduct import Followed


class MadeEngine:
    """Stands for Ray: writes whole runs, and does what `on_start` wants before it does.

    Attributes
    ----------
    started, resumed : list of str
        Names of runs, in order.
    """

    def __init__(self, on_start: Callable[[str], None] = lambda name: None) -> None:
        self.started: list[str] = []
        self.resumed: list[str] = []
        self.fingerprints: list[str | None] = []
        self.trunks: dict[str, str | None] = {}
        self.shares: list[float | str | None] = []
        self.on_start = on_start
        self.endings: dict[str, Sequence[Ending]] = {}

    def prepared(self, config: DataConfig, cache: Path, notice: Callable[[str], None]) -> None:
        if config.source.startswith("/missing/"):
            raise UserError(f"{config.source} does not exist.")

    def start(self, spec: RunSpec, *, runs: Path, name: str, **options: Any) -> Path:
        self.on_start(name)
        self.started.append(name)
        self.fingerprints.append(options["fingerprint"])
        self.trunks[name] = spec.resources.trunks
        self.shares.append(spec.resources.gpus_per_trial)
        folder = runs / name
        values = spec.model_dump(mode="json")
        parts = ("sampler", "scheduler", "study", "budget", "resources")
        make_record(
            folder, values["space"], values["budget"]["trials"], spec.epochs,
            seed=spec.seed, endings=self.endings.get(name, ()),
            **{part: values[part] for part in parts},
        )  # fmt: skip
        with Record.open(folder, write=True) as record:
            record.add_event("slots", "2 at once", data={"concurrency": 2, "fraction": 1.0})
        options["on_ready"](folder)
        return folder

    def resume(self, folder: Path, **options: Any) -> Path:
        self.on_start(folder.name)
        self.resumed.append(folder.name)
        with Record.open(folder, write=True) as record:
            record.set_run("finished", "the budget is spent")
        return folder


@pytest.fixture
def made_engine(monkeypatch: pytest.MonkeyPatch) -> MadeEngine:
    """Put a `MadeEngine` in the place of the real one."""
    made = MadeEngine()
    monkeypatch.setattr(engine, "start", made.start)
    monkeypatch.setattr(engine, "resume", made.resume)
    monkeypatch.setattr(engine, "prepared", made.prepared)

    @contextmanager
    def session(resources: Any) -> Iterator[dict[str, float]]:
        yield {"CPU": 2.0}

    monkeypatch.setattr(ray_session, "ray_session", session)
    return made


class Told:
    """Follows a study and keeps what it says."""

    def __init__(self) -> None:
        self.headings: list[str] = []
        self.notices: list[str] = []

    @contextmanager
    def follow(self, heading: str) -> Iterator[Followed]:
        self.headings.append(heading)
        yield Followed(lambda folder: None, self.notices.append)
