"""Carry a study out, from wherever it stands: each run is started, resumed, or already finished.

Nothing is kept but the frozen file, the runs' own records and the replays, so a study that was
interrupted at any moment goes on by doing the same again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from search_spaces.model import UserError
from tuner.fetched import refuse_fetched
from tuner.folders import clear_unbegun
from tuner.record import Record
from tuner.record_file import FILE as RECORD
from tuner.sharing import own_trunks
from tuner.spec import RunSpec
from tuner.spec_sections import ResourcesConfig
from tuner.study.choice import target_of, tuned
from tuner.study.spec import FILE, StudySpec, thawed
from tuner.study.stages import StudyRun, before_confirming, confirmations
from tuner.whole_file import unfinished_path, write_whole


class Followed(NamedTuple):
    """What shows one run while it goes on."""

    on_ready: Callable[[Path], None]
    notice: Callable[[str], None]


Follow = Callable[[str], AbstractContextManager[Followed]]
"""Takes a line that says what comes next."""


class UnfinishedError(Exception):
    """A run of the study ended before its budget was spent."""

    def __init__(self, run: str, state: str, reason: str | None) -> None:
        why = "" if reason in (None, state) else f": {reason}"
        super().__init__(f"Run {run} was {state}{why}.")
        self.state, self.reason = state, reason


def freeze(spec: StudySpec, folder: Path) -> None:
    """Write a study's specification into its folder, if it is not there.

    Raises
    ------
    UserError
        If the folder holds another study, or anything else.
    """
    if is_frozen(spec, folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write {folder / FILE}: {error.strerror}.") from error
    write_whole(folder / FILE, spec.frozen().encode())


def is_frozen(spec: StudySpec, folder: Path) -> bool:
    """Return whether a folder holds this study already.

    Raises
    ------
    UserError
        If it holds another one, or anything else, or a copy of a server's study.
    """
    refuse_fetched(folder)
    if (folder / FILE).exists():
        there = thawed(folder)
        if there.digest != spec.digest:
            raise UserError(
                f"{folder} holds another study, {there.title!r} with digest {there.digest[:12]};"
                f" this one has {spec.digest[:12]}. What is frozen cannot change: choose another"
                f" --name, or go on with the one there: tuner study {folder}"
            )
        return True
    left = {unfinished_path(folder / FILE).name}
    if folder.exists() and not (folder.is_dir() and {one.name for one in folder.iterdir()} <= left):
        raise UserError(f"{folder} exists, but holds no study; choose another --name.")
    return False


def check(spec: StudySpec, name: str) -> list[StudyRun]:
    """Return the runs known beforehand, or refuse what one of them would be refused for.

    Raises
    ------
    UserError
        If a space cannot be trained so, or the sampler cannot search it.
    """
    from tuner.samplers import check_sampler

    runs = before_confirming(spec, name)
    for run in runs:
        check_sampler(run.spec.space.resolved(run.spec.epochs), run.spec.sampler)
    return runs


def conduct(
    spec: StudySpec, folder: Path, *, cache: Path, command: list[str], follow: Follow, jobs: int
) -> None:
    """Freeze a study, unless that is done, and bring it to its end.

    Parameters
    ----------
    spec : StudySpec
        Where it is frozen in `folder`, its resources and the path of its data may differ.
    folder : Path
    cache : Path
        Where packed data sets are kept.
    command : list of str
        What each run records as its command line.
    follow : callable
    jobs : int
        Processes that replay searches.

    Raises
    ------
    UserError
        If a run cannot be started or continued.
    UnfinishedError
        If a run ended before its budget was spent.
    """
    from tuner import engine
    from tuner.nodes import check_nodes
    from tuner.ray_session import check_before_start, check_fits, ray_session

    runs = check(spec, folder.name)
    is_frozen(spec, folder)
    check_before_start(spec.resources)
    with contextlib.ExitStack() as stack:

        @functools.cache
        def begin() -> ResourcesConfig:
            """Start Ray once for all runs, which takes seconds, and only if one is to run.

            Return what each trial holds: where that is measured, it is measured once for all arms.
            """
            with follow(f"study {folder.name}: {spec.title}") as shown:
                data = engine.prepared(spec.data, cache, shown.notice)
                resources = _resources(spec, runs, folder, cache, shown.notice)
                shown.notice("Starting Ray …")
            gpus, _ = check_fits(resources, stack.enter_context(ray_session(resources)))
            for run in runs:
                engine.check_precision(run.spec, gpus)
            check_nodes(resources, data, folder, gpus, lambda _: None)
            freeze(spec, folder)  # after all that could be refused
            return resources

        def bring_to_end(some: Sequence[StudyRun]) -> None:
            for number, run in enumerate(some, start=1):
                if state_of(folder / run.name)[0] != "finished":
                    held = spec.model_copy(update={"resources": begin()})
                    what = "runs to confirm" if run.stage == "confirm" else "runs"
                    count = f"{number} of {len(some)} {what}"
                    _run(held, run, count, folder, cache, command, follow)

        bring_to_end(runs)
        replay(spec, folder, jobs, follow)
        chosen = {one.suffix: one.knobs for one in tuned(spec, folder)}
        bring_to_end(confirmations(spec, folder.name, chosen))
    shutil.rmtree(_trunks(spec.resources, folder), ignore_errors=True)


def _run(
    spec: StudySpec,
    run: StudyRun,
    count: str,
    folder: Path,
    cache: Path,
    command: list[str],
    follow: Follow,
) -> None:
    """Start a run, or resume it where it was interrupted."""
    from tuner import engine

    of = folder / run.name
    with follow(f"{run.name} ({count}, {run.spec.budget.trials} trials)") as shown:
        if (of / RECORD).exists():
            engine.resume(
                of,
                resources=spec.resources.model_dump(exclude_unset=True),
                data_source=spec.data.source,
                cache=cache,
                command=command,
                on_ready=shown.on_ready,
                notice=shown.notice,
            )
        else:
            clear_unbegun(of)
            engine.start(
                _with_trunks(run.spec.model_copy(update={"resources": spec.resources}), folder),
                runs=folder,
                name=run.name,
                cache=cache,
                command=command,
                fingerprint=_fingerprint(folder),
                on_ready=shown.on_ready,
                notice=shown.notice,
            )
    state, reason = state_of(of)
    if state != "finished":
        raise UnfinishedError(run.name, state, reason)


def _resources(
    spec: StudySpec,
    runs: Sequence[StudyRun],
    folder: Path,
    cache: Path,
    notice: Callable[[str], None],
) -> ResourcesConfig:
    """Return what each trial holds; what `auto` found for the study's first run stays."""
    from tuner.packing import with_packing

    if spec.resources.gpus_per_trial == "auto":
        for run in runs:
            if (folder / run.name / RECORD).exists():
                with Record.open(folder / run.name) as record:
                    held = record.run().spec["resources"]["gpus_per_trial"]
                return spec.resources.model_copy(update={"gpus_per_trial": held})
    first = runs[0].spec.model_copy(update={"resources": spec.resources})
    return with_packing(first, cache, notice).resources


def _with_trunks(spec: RunSpec, folder: Path) -> RunSpec:
    """Return a run's specification with the study's trunks, which all its arms may fork from."""
    if not spec.shares or spec.resources.trunks is not None:
        return spec
    trunks = str(_trunks(spec.resources, folder))
    resources = spec.resources.model_copy(update={"trunks": trunks})
    return spec.model_copy(update={"resources": resources})


def _trunks(resources: ResourcesConfig, folder: Path) -> Path:
    """Return where the study's runs keep what they share: with their states, if that is shared."""
    folder = folder.resolve()
    if resources.storage is None or resources.in_object_store:
        return own_trunks(folder)
    part = hashlib.sha256(f"{platform.node()} {folder}".encode()).hexdigest()[:12]
    return own_trunks(Path(resources.storage) / f"{folder.name}-{part}")


def state_of(folder: Path) -> tuple[str, str | None]:
    """Return a run's state and its reason; `waiting` where it has not begun."""
    if not (folder / RECORD).exists():
        return "waiting", None
    with Record.open(folder) as record:
        run = record.run()
    return run.state, run.reason


def _fingerprint(folder: Path) -> str | None:
    """Return that of the data of the study's runs so far."""
    for path in sorted(folder.glob(f"*/{RECORD}")):
        with Record.open(path.parent) as record:
            return str(record.run().data["fingerprint"])
    return None


def replay(spec: StudySpec, folder: Path, jobs: int, follow: Follow) -> None:
    """Replay searches over the census of either side, once; write `replay-SPACE.json`.

    Searches are replayed as many at once as the real ones ran. What cannot be replayed is said,
    and the study goes on: the report tells that it is missing.
    """
    from reports.census import read_census
    from reports.replay import Policy
    from reports.simulate import simulate

    plan, target = spec.policy, target_of(spec, folder)
    for space in (spec.periodic.space.name, spec.dynamic.space.name):
        path = folder / f"replay-{space}.json"
        if path.exists():
            continue
        with follow(f"replay-{space} ({plan.replays} simulated searches)") as shown:
            policy = Policy(
                plan.sampler, plan.scheduler, plan.trials, _slots(folder / f"search-{space}-1")
            )
            try:
                census = read_census([folder / f"census-{space}"])
                result = simulate(
                    census, [policy], target,
                    searches=plan.replays, seed=spec.seed, nearest=plan.nearest, jobs=jobs,
                )  # fmt: skip
            except UserError as error:
                shown.notice(f"Not replayed: {error}")
                continue
            for warning in result.warnings:
                shown.notice(f"Warning: {warning}")
            write_whole(path, f"{result.model_dump_json(indent=2)}\n".encode())


def _slots(folder: Path) -> int:
    """Return how many trials a run trained at once."""
    with Record.open(folder) as record:
        told = [event.data for event in record.events() if event.kind == "slots" and event.data]
    return int(told[-1]["concurrency"])
