"""Start a run, or go on with one: everything up to the loop that Ray Tune drives.

Everything that can be refused is refused before the run's folder exists. After that, whatever ends
this process, the run is resumable: the record says what has happened, the trials' own folders hold
their state.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from search_spaces.model import UserError, validated
from trainables.config import DataConfig
from trainables.data.packed import PackedData
from trainables.data.source import describe, prepare
from tuner import provenance, restore
from tuner.budget import raised, spent
from tuner.driver import Driver
from tuner.folders import new_folder, told_twin
from tuner.nodes import check_nodes
from tuner.packing import with_packing
from tuner.ray_session import (
    check_before_start,
    check_fits,
    ray_session,
)
from tuner.record import Record, RecordFull
from tuner.run_storage import bring_missing_best
from tuner.rungs import Stopping
from tuner.samplers import check_sampler
from tuner.search import Search
from tuner.sharing import drop_trunks
from tuner.spec import RunSpec
from tuner.spec_sections import BudgetConfig
from tuner.tune_loop import drive


def start(
    spec: RunSpec,
    *,
    runs: Path,
    name: str | None,
    cache: Path,
    command: list[str],
    fingerprint: str | None = None,
    on_ready: Callable[[Path], None] | None = None,
    notice: Callable[[str], None] = print,
) -> Path:
    """Run a search to its end and return the run's folder.

    Parameters
    ----------
    spec : RunSpec
    runs : Path
        Folder of all runs; created if need be.
    name : str or None
        The run's name; None takes the space's name and the specification's digest.
    cache : Path
        Where packed data sets are kept.
    command : list of str
        What to record as the command line.
    fingerprint : str, optional
        What the data must have.
    on_ready : callable, optional
        Called with the run's folder once its record exists, before the first trial.
    notice : callable
        Takes one-line messages about what is being prepared.

    Raises
    ------
    UserError
        If the name is taken or no name, the data cannot be used, or a trial needs more than the
        machine has: before anything of the run is written.
    """
    check_sampler(spec.space.resolved(spec.epochs), spec.sampler)
    folder = new_folder(runs, name, spec)
    twin = told_twin(folder, spec) if name is None else None
    if twin is not None:
        notice(twin)
    check_before_start(spec.resources)
    data = prepared(spec.data, cache, notice)
    if fingerprint is not None:
        _check_fingerprint(data, spec, fingerprint, "The study's other runs were")
    spec = with_packing(spec, cache, notice)
    notice(f"Starting Ray for run {folder.name} …")
    with ray_session(spec.resources) as cluster:
        gpus, concurrency = check_fits(spec.resources, cluster)
        check_precision(spec, gpus)
        kinds = check_nodes(spec.resources, data, folder.parent, gpus, notice)
        with _created(folder, spec, data, command) as record:
            search = Search.create(
                spec.space.resolved(spec.epochs), spec.sampler, spec.seed,
                folder / "optuna.db", folder.name, about=_about(spec),
            )  # fmt: skip
            stopping = spec.stopping()
            driver = _driver(spec, record, search, stopping, folder, data, gpus, spec.budget)
            tell_nodes(driver, kinds)
            drive(driver, data, gpus, concurrency, on_ready, notice)
    drop_trunks(folder, driver.storage.base)
    return folder


def resume(
    folder: Path,
    *,
    more_trials: int | None = None,
    more_epochs: int | None = None,
    more_gpu_hours: float | None = None,
    more_wall_hours: float | None = None,
    resources: dict[str, Any] | None = None,
    data_source: str | None = None,
    cache: Path,
    command: list[str],
    on_ready: Callable[[Path], None] | None = None,
    notice: Callable[[str], None] = print,
) -> Path:
    """Go on with a run, after whatever ended it, and return its folder.

    Parameters
    ----------
    folder : Path
        The run's folder.
    more_trials, more_epochs, more_gpu_hours, more_wall_hours : number, optional
        What to add to the budget.
    resources : dict, optional
        Fields of `ResourcesConfig` to change, such as ``concurrency``: they change no trial.
    data_source : str, optional
        Where the data are now, if they have moved; their fingerprint must be the same.

    Raises
    ------
    UserError
        If there is no such run, it is being written by another process, its data have changed, or
        its budget is that of a study.
    """
    folder = folder.resolve()
    with Record.open(folder, write=True) as record:
        run = record.run()
        spec = validated(RunSpec, run.spec, f"run {run.name}")
        more = (more_trials, more_epochs, more_gpu_hours, more_wall_hours)
        if spec.study is not None and any(one is not None for one in more):
            raise UserError(
                f"Run {run.name} is part of study {spec.study.name}, which froze its budget: trials"
                " that are added after looking would bias the answer. Start another study."
            )
        if data_source is not None:
            moved = spec.data.model_copy(update={"source": data_source})
            spec = spec.model_copy(update={"data": moved})
        if resources:
            merged = {**spec.resources.model_dump(), **resources}
            changed = validated(type(spec.resources), merged, "command line")
            spec = spec.model_copy(update={"resources": changed})
        budget = raised(
            validated(BudgetConfig, run.budget, f"run {run.name}"),
            more_trials=more_trials,
            more_epochs=more_epochs,
            more_gpu_hours=more_gpu_hours,
            more_wall_hours=more_wall_hours,
        )
        done = _finished(record, spec, budget, added=any(one is not None for one in more))
        if done is not None:
            for best in record.leading(1):
                bring_missing_best(folder, spec.resources.storage, record, best.number)
            notice(done)
            return folder
        check_before_start(spec.resources)
        data = prepared(spec.data, cache, notice)
        _check_fingerprint(data, spec, run.data["fingerprint"], f"Run {run.name} was")
        spec = with_packing(spec, cache, notice)
        notice(f"Starting Ray for run {folder.name} …")
        with ray_session(spec.resources) as cluster:
            gpus, concurrency = check_fits(spec.resources, cluster)
            check_precision(spec, gpus)
            kinds = check_nodes(spec.resources, data, folder, gpus, notice)
            record.set_budget(budget.model_dump())
            record.set_run("running")
            record.add_event("resume", " ".join(command))
            versions = _version_changes(run.versions, provenance.versions())
            if versions is not None:
                record.add_event("warning", versions)
            found = restore.groups(record)
            configs = record.configs()
            search = Search.rebuild(
                spec.space.resolved(spec.epochs), spec.sampler, spec.seed, folder / "optuna.db",
                folder.name, restore.told(configs, found),
                configs[-1].study_attrs if configs else {}, about=_about(spec),
            )  # fmt: skip
            stopping = spec.stopping()
            if stopping is not None:
                stopping.restore(record.rungs())
            driver = _driver(spec, record, search, stopping, folder, data, gpus, budget)
            restore.adopt(driver, found)
            tell_nodes(driver, kinds)
            drive(driver, data, gpus, concurrency, on_ready, notice)
    drop_trunks(folder, driver.storage.base)
    return folder


def check_precision(spec: RunSpec, gpus: float) -> None:
    """Refuse what only a GPU can do."""
    if not gpus and any(trial.training.precision == "tf32" for trial in spec.examples()):
        raise UserError("precision tf32 needs a GPU, but trials train on CPU cores; use fp32.")


def tell_nodes(driver: Driver, kinds: Sequence[str]) -> None:
    """Tell driver and record what kinds of device a cluster's trials may meet."""
    driver.kinds = tuple(kinds)
    if kinds:
        driver.record.add_event("nodes", f"devices: {', '.join(kinds)}", data={"kinds": [*kinds]})
    if len(kinds) > 1 and driver.budget.gpu_hours is not None:
        driver.record.add_event(
            "warning", "The budget of slot-hours counts hours of different devices alike."
        )


def _finished(record: Record, spec: RunSpec, budget: BudgetConfig, added: bool) -> str | None:
    """Return that a run has finished and what would go on, or None if there is something to do."""
    run = record.run()
    if run.state != "finished":
        return None
    why = spent(budget, record.totals(), upcoming=spec.seeds_each)
    if why is None and added:
        return None
    limits = [name for name, limit in budget.model_dump().items() if limit is not None]
    flags = " or ".join(f"--more-{name.replace('_', '-')}" for name in limits)
    return f"Run {run.name} has finished: {why or run.reason}. To go on, add {flags}."


def _check_fingerprint(data: PackedData, spec: RunSpec, expected: str, who: str) -> None:
    """Refuse other data than before."""
    fingerprint = data.used_fingerprint(spec.data.limit)
    if fingerprint != expected:
        raise UserError(
            f"{who} trained on other data: fingerprint {expected[:12]}, but {spec.data.source} has"
            f" {fingerprint[:12]}. Give the same data with --data, or start another run."
        )


def prepared(config: DataConfig, cache: Path, notice: Callable[[str], None]) -> PackedData:
    """Return a data set, packed if need be, and say what is in it.

    Raises
    ------
    UserError
        If it cannot be used.
    """
    last = [-1]

    def progress(done: int, total: int, what: str) -> None:
        tenth = 10 * done // max(1, total)
        if tenth != last[0]:
            last[0] = tenth
            notice(f"{what}: {done:,} of {total:,}")

    data = prepare(config, cache, progress)
    for line in describe(data, config.limit):
        notice(line)
    return data


@contextlib.contextmanager
def _created(folder: Path, spec: RunSpec, data: PackedData, command: list[str]) -> Iterator[Record]:
    """Make a run's folder and yield its record; a folder without one would only block the name."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{folder} was made by another process just now; try again.") from error
    except OSError as error:
        raise UserError(f"Cannot make {folder}: {error.strerror}.") from error
    try:
        record = _first_record(folder, spec, data, command)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError | RecordFull):
            why = error.strerror if isinstance(error, OSError) else error.__cause__
            raise UserError(f"Cannot make a record in {folder}: {why}; mend that.") from error
        raise
    with record:
        record.add_event("start", " ".join(command))
        yield record


def _first_record(folder: Path, spec: RunSpec, data: PackedData, command: list[str]) -> Record:
    values, limit = spec.model_dump(mode="json"), spec.data.limit
    text = json.dumps(values, indent=2)
    (folder / "spec.json").write_text(text + "\n", encoding="utf-8")
    counts = {
        name: len(data.split(name, limit).labels_B) for name in ("train", "validation", "test")
    }
    return Record.create(
        folder,
        name=folder.name,
        spec=values,
        digest=spec.digest,
        versions=provenance.versions(),
        host=provenance.host(),
        command=command,
        git_revision=provenance.git_revision(),
        data={
            "fingerprint": data.used_fingerprint(limit),
            "classes": list(data.classes),
            "images": counts,
            "channels": data.channels,
            "size": data.size,
            "copies_of_train": data.copies_of_train(limit),
            "source": spec.data.source,
        },
    )


def _version_changes(before: dict[str, str], now: dict[str, str]) -> str | None:
    """Return in what a run goes on that it was not begun with, or None: it may change numbers.

    >>> _version_changes({"torch": "2.14", "ray": "2.60"}, {"torch": "2.15", "ray": "2.60"})
    'Goes on with other versions: torch 2.15, not 2.14.'
    """
    changes = [
        f"{name} {now.get(name, 'missing')}, not {before.get(name, 'missing')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    return f"Goes on with other versions: {'; '.join(changes)}." if changes else None


def _about(spec: RunSpec) -> dict[str, str]:
    """Return what Optuna's study carries as user attributes."""
    return {"digest": spec.digest, "epochs": str(spec.epochs)}


def _driver(
    spec: RunSpec,
    record: Record,
    search: Search,
    stopping: Stopping | None,
    folder: Path,
    data: PackedData,
    gpus: float,
    budget: BudgetConfig,
) -> Driver:
    images = len(data.split("train", spec.data.limit).labels_B)
    held = _held(spec, gpus)
    return Driver(spec, record, search, stopping, folder, images, held, budget)


def _held(spec: RunSpec, gpus: float) -> float:
    """Return what a second of a trial costs: its fraction of a GPU, or else its CPU cores."""
    return gpus or float(spec.resources.cpus_per_trial)
