"""Asks Optuna what to try next, and keeps its study as a projection of the run's record.

The record is the truth. RUN/optuna.db can be rebuilt from it at any time; it is what
`optuna-dashboard sqlite:///RUN/optuna.db` opens, also while the run goes on. Proposal k is a
function of the space, the sampler, the run's seed, k, and what was told before. Study and database
have one writer, the driver, and are never shared with another run.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import QueuePool

from search_spaces.model import UserError
from search_spaces.space import Space
from tuner.record_file import primary_code
from tuner.samplers import (
    PointSampler,
    build_sampler,
    check_sampler,
    conditions_last,
    distribution,
    grid_order,
    suggested,
)
from tuner.spec_sections import SamplerConfig

BUSY_S = 30.0
"""How long a write waits for another program's lock; in WAL mode a reader never holds one."""
STATES = {
    "asked": TrialState.RUNNING,
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


METRIC_NAME = "validation macro-F1"
"""What Optuna's dashboard calls the objective."""


class Proposal(NamedTuple):
    """A configuration to train."""

    number: int
    """From 0, without gaps; the number of the Optuna trial."""
    knobs: dict[str, Any]
    """Values of the active knobs, plain Python ones."""


@dataclass(frozen=True)
class Told:
    """What the study knows of one configuration."""

    number: int
    knobs: dict[str, Any]
    state: str
    """`asked`, `completed`, `pruned` or `failed`."""
    value: float | None
    """Score if completed."""
    reports: dict[int, float]
    """Running best by epoch."""
    attrs: dict[str, Any]
    """What `Search.attrs` returned when it was asked."""


class Search:
    """A sampler and its study. Use `Search.create`, `Search.rebuild` or `Search.in_memory`.

    Parameters
    ----------
    space : Space
        Resolved for the run's epochs.
    sampler : SamplerConfig
    seed : int
        The run's seed.
    path : Path or None
        The database, which exists; None for a new study in memory.
    study_name : str
    asked : int
        Proposals made so far.
    """

    def __init__(
        self,
        space: Space,
        sampler: SamplerConfig,
        seed: int,
        path: Path | None,
        study_name: str,
        asked: int,
    ) -> None:
        self._space, self._sampler, self._seed, self._path = space, sampler, seed, path
        self._grid = grid_order(space, seed) if sampler.name == "grid" else None
        self._asked = asked
        self._storage: BaseStorage = InMemoryStorage() if path is None else _storage(path)
        if path is None:
            optuna.create_study(study_name=study_name, storage=self._storage, direction="maximize")
        self._study = optuna.load_study(
            study_name=study_name, storage=self._storage, sampler=self._sampler_for(asked)
        )
        self._study_id = self._storage.get_study_id_from_name(study_name)

    @classmethod
    def create(
        cls,
        space: Space,
        sampler: SamplerConfig,
        seed: int,
        path: Path,
        study_name: str,
        *,
        about: Mapping[str, str] | None = None,
    ) -> Self:
        """Make the database of a new run.

        Parameters
        ----------
        space, sampler, seed, path, study_name
            As of the class.
        about : mapping of str to str, optional
            Shown with the study in Optuna's dashboard, such as the run's digest and arm.

        Raises
        ------
        UserError
            If there is a database already, it cannot be written, or the sampler cannot search the
            space.
        """
        if path.exists():
            raise UserError(f"{path} exists already; a run's study is never shared with another.")
        return cls.rebuild(space, sampler, seed, path, study_name, (), {}, about=about)

    @classmethod
    def rebuild(
        cls,
        space: Space,
        sampler: SamplerConfig,
        seed: int,
        path: Path,
        study_name: str,
        told: Sequence[Told],
        study_attrs: Mapping[str, Any],
        *,
        about: Mapping[str, str] | None = None,
    ) -> Self:
        """Make the database anew from what the record holds, whatever it holds now.

        Its content is replaced in one transaction, so a dashboard that has it open sees the new
        one. A file that is no database is removed first. Times are those of the rebuilding.

        Parameters
        ----------
        told : sequence of Told
            Every configuration asked for, from number 0 on. Those in state `asked` can be reported
            and told on.
        study_attrs : mapping
            What `study_attrs` returned after the last of them was asked for.

        Raises
        ------
        UserError
            If the database cannot be written, or the sampler cannot search the space.
        """
        assert [one.number for one in told] == list(range(len(told))), "a number is missing"
        check_sampler(space, sampler)
        # What it warns of is mended by itself: a kernel that cannot be fitted, a missing greenlet.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = RDBStorage("sqlite://", skip_compatibility_check=True)  # it is new
        study = optuna.create_study(study_name=study_name, storage=storage, direction="maximize")
        study_id = storage.get_study_id_from_name(study_name)
        for key, value in study_attrs.items():
            storage.set_study_system_attr(study_id, key, value)
        for key, value in {"space": space.name, **(about or {})}.items():
            study.set_user_attr(key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([METRIC_NAME])
        for one in told:
            study.add_trial(_frozen(space, one))
        _insert_reports(storage, told)
        with _writing(path):
            _write_over(path, storage)
        storage.engine.dispose()
        return cls(space, sampler, seed, path, study_name, len(told))

    @classmethod
    def in_memory(cls, space: Space, sampler: SamplerConfig, seed: int) -> Self:
        """Make a search that is never written; it proposes what a run of this seed would.

        Asking, 25 reports and telling take 1 ms instead of 50, so many searches can be simulated.

        Raises
        ------
        UserError
            If the sampler cannot search the space.
        """
        check_sampler(space, sampler)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return cls(space, sampler, seed, None, "in memory", 0)

    def ask(self) -> Proposal | None:
        """Return the next configuration, or None if the sampler has no further one."""
        if self.remaining() == 0:
            return None
        self._study.sampler = self._sampler_for(self._asked)
        with _writing(self._path):
            trial = self._study.ask()
            assert trial.number == self._asked, "another program writes this study"
            knobs: dict[str, Any] = {}
            for name in conditions_last(self._space):
                if name in self._space.active(knobs):
                    knobs[name] = suggested(trial, name, self._space.knobs[name])
            trial.set_user_attr("config", trial.number)
        self._asked += 1
        return Proposal(trial.number, {name: knobs[name] for name in self._space.active(knobs)})

    def report(self, number: int, epoch: int, value: float) -> None:
        """Give the running best after an epoch of a configuration that has not ended.

        Raises
        ------
        ValueError
            If the value is not finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"A report must be finite, but got {value} for {number}.")
        with _writing(self._path):
            self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, float(value))

    def tell(self, number: int, state: str, value: float | None) -> None:
        """End a configuration.

        Parameters
        ----------
        number : int
        state : str
            `completed`, with its score; `pruned`, whose last report Optuna then ranks among others
            stopped at that epoch, never among the completed; `failed`, which samplers ignore:
            diverged, crashed, or stopped by the user.
        value : float or None
            Score, if completed.

        Raises
        ------
        ValueError
            If a completed one has no finite score. It is then failed in the study: left running it
            would count as a bad trial for ever.
        """
        with _writing(self._path):
            if state != "completed":
                self._study.tell(number, state=STATES[state])
            elif value is not None and math.isfinite(value):
                self._study.tell(number, float(value))
            else:
                self._study.tell(number, state=TrialState.FAIL)
                raise ValueError(f"A score must be finite, but got {value} for {number}.")

    def attrs(self, number: int) -> dict[str, Any]:
        """Return what the sampler keeps with a configuration, as plain data for the record."""
        return self._storage.get_trial_system_attrs(self._trial_id(number))

    def study_attrs(self) -> dict[str, Any]:
        """Return what the sampler keeps with the study, as plain data for the record."""
        return self._storage.get_study_system_attrs(self._study_id)

    def remaining(self) -> int | None:
        """Return how many configurations are left to propose; None where they never end."""
        return None if self._grid is None else len(self._grid) - self._asked

    def _sampler_for(self, number: int) -> optuna.samplers.BaseSampler:
        if self._grid is None:
            return build_sampler(self._space, self._sampler, self._seed, number)
        return PointSampler(self._grid[number] if number < len(self._grid) else {})

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def _frozen(space: Space, told: Told) -> FrozenTrial:
    """Return an Optuna trial as asking and telling had left it, without its reports."""
    value = told.value if told.state == "completed" else None
    if told.state == "pruned" and told.reports:
        value = told.reports[max(told.reports)]
    return optuna.trial.create_trial(
        state=STATES[told.state],
        value=value,
        params=told.knobs,
        distributions={name: distribution(space.knobs[name]) for name in told.knobs},
        user_attrs={"config": told.number},
        system_attrs=told.attrs,
    )


def _insert_reports(storage: RDBStorage, told: Sequence[Told]) -> None:
    """Add all reports at once; one by one, 1,000 trials of 60 epochs would take 40 s, not 5."""
    held = storage.engine.raw_connection()
    held.cursor().executemany(
        "INSERT INTO trial_intermediate_values"
        " (trial_id, step, intermediate_value, intermediate_value_type)"
        " SELECT trial_id, ?, ?, 'FINITE' FROM trials WHERE number = ?",
        [(epoch, value, one.number) for one in told for epoch, value in one.reports.items()],
    )
    held.commit()
    held.close()


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    # Nothing is lost that the record does not hold; a report takes 0.6 ms instead of 6.
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _storage(path: Path) -> RDBStorage:
    """Return the storage; the path stays out of the URL, where some characters have a meaning."""
    connect = partial(_connected, path.absolute())
    return RDBStorage(
        "sqlite://",
        engine_kwargs={"creator": connect, "poolclass": QueuePool},
        skip_compatibility_check=True,  # this process has just written the tables
        skip_table_creation=True,
    )


def _write_over(path: Path, source: RDBStorage) -> None:
    """Replace a database's content by that of one in memory, in one transaction.

    Renaming a new file over it would be no less atomic, but whoever has the old one open would go
    on reading it, and would remove the new one's log on closing.
    """
    try:
        _copy(source, path)
    except sqlite3.DatabaseError as error:
        if primary_code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        for end in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        _copy(source, path)


def _copy(source: RDBStorage, path: Path) -> None:
    held = source.engine.raw_connection()
    assert isinstance(held.driver_connection, sqlite3.Connection)
    with contextlib.closing(_connected(path)) as target:
        target.execute("PRAGMA journal_mode = WAL")  # readers and the writer never wait
        target.execute("BEGIN IMMEDIATE")  # backup would wait for a lock without end
        target.rollback()
        held.driver_connection.backup(target)
    held.close()


@contextlib.contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    """Tell a user in one line why the database cannot be written; one in memory always can."""
    try:
        yield
    except (StorageInternalError, sqlite3.OperationalError) as error:
        assert path is not None, "a study in memory has no database"
        cause = getattr(error.__cause__, "orig", None) or error
        raise UserError(
            f"Cannot write {path}: {cause}. Nothing recorded is lost; mend that, then continue"
            f" with: tuner resume {path.parent.name}"
        ) from error
