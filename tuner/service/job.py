"""The process of a job: start its run or study, or go on with it; `python -m tuner.service.job`.

Ray starts it within what the queue gave the job, so that it trains by the very code of `tuner run`.
It speaks to nobody but through the files of `tuner.service.job_files`: what it is to do, what it
prints, and how it ended. A process that is killed writes no outcome, and the supervisor starts
another; the lock that it takes first lets no two of a job work at the same time.

SIGINT, which Ray sends to stop a job, finishes the running epochs; the file `now` stops it amid
them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from search_spaces.model import UserError, validated
from tuner.record import RecordFull
from tuner.record_file import FILE, writer
from tuner.service.disk import is_full
from tuner.service.job_files import (
    LOG,
    OUTCOME,
    REQUEST,
    RESERVE,
    Holder,
    is_to_stop_now,
    living,
    lock,
)
from tuner.service.models import Assignment, Outcome, Raise
from tuner.whole_file import write_whole

if TYPE_CHECKING:
    from tuner.spec import RunSpec

RESERVE_BYTES = 16_384
NOW_EVERY_S = 0.5
WRITER_WAIT_S = 120.0
"""How long an earlier process of this job may take to end, after whatever made it lost."""
FULL = "disk full"
"""How a run's record says so."""
NICENESS = 5
"""Searches leave the processor to the service, which answers people, where both want it."""
OF_THE_HEAD = (
    "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_worker_niceness", "OMP_NUM_THREADS",
)  # fmt: skip
"""Variables of the Ray around; this process starts one of its own, as nice as Ray's are."""
SECRETS = (
    "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "TUNER_DATABASE", "TUNER_WEBHOOK",
    "TUNER_NOTIFY_COMMAND", "PGPASSWORD", "PGPASSFILE",
)  # fmt: skip
"""Variables that the service or Ray's head needs, and no search."""


def main(arguments: list[str]) -> int:
    """Carry out one attempt; the arguments are the job's folder and the attempt's submission."""
    folder, submission = Path(arguments[0]), arguments[1]
    _to_log(folder / LOG)
    _leave_secrets()
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        threading.Thread(target=_watch, args=(folder, submission), daemon=True).start()
        if _locked(folder, submission):
            assignment = _assignment(folder, submission)
            if assignment is None:
                return 1
            with contextlib.suppress(OSError):  # the disk may be full already
                # some disks keep no zeros
                (folder / RESERVE).write_bytes(os.urandom(RESERVE_BYTES))
            state, reason = outcome(assignment)
        else:
            state = "interrupted"
            reason = f"an earlier process of this job has not ended within {WRITER_WAIT_S:.0f} s"
    except KeyboardInterrupt:
        state, reason = "interrupted", "interrupted at once"
    _tell(f"Ended: {state}{'' if reason is None else f', {reason}'}")
    (folder / RESERVE).unlink(missing_ok=True)
    told = Outcome(submission=submission, state=state, reason=reason, ended_at=time.time())
    write_whole(folder / OUTCOME, told.model_dump_json().encode())
    return int(state != "finished")


def _leave_secrets() -> None:
    """Keep what is not a search's from it, and give the Ray that it starts a token of its own."""
    for name in (*OF_THE_HEAD, *SECRETS):
        os.environ.pop(name, None)
    if os.environ.get("RAY_AUTH_MODE") == "token":
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _locked(folder: Path, submission: str) -> bool:
    """Take the job's lock until this process is gone; False if another does not give it up."""
    # Ray says in this variable which GPUs it gave.
    gpus = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    deadline, told = time.monotonic() + WRITER_WAIT_S, False
    while lock(folder, Holder(submission, os.getpid(), gpus)) is None:
        if not told:
            _tell(f"Process {os.getpid()} waits for {living(folder)} to end.")
            told = True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)
    return True


def _assignment(folder: Path, submission: str) -> Assignment | None:
    """Return what this attempt is to do, None if that has been taken back."""
    try:
        assignment = Assignment.model_validate_json((folder / REQUEST).read_bytes())
    except FileNotFoundError:
        _tell(f"What {submission} was to do has been taken back; nothing to do.")
        return None
    _tell(f"Job {assignment.job}, attempt {assignment.attempt}, process {os.getpid()}.")
    if assignment.submission != submission:
        _tell(f"That has been asked for since {submission} was; nothing to do.")
        return None
    return assignment


def outcome(assignment: Assignment) -> tuple[Any, str | None]:
    """Do what was assigned; return how it ended, as in `Outcome`, and why."""
    from tuner.study.conduct import UnfinishedError

    try:
        if assignment.kind == "study":
            _study(assignment)
            return "finished", None
        return _ended(*_run(assignment))
    except UnfinishedError as error:
        state, _ = _ended(error.state, error.reason)
        return state, str(error)
    except KeyboardInterrupt:
        return "interrupted", "interrupted at once"
    except UserError as error:
        return ("full" if _came_of_a_full_disk(error) else "failed"), str(error)
    except Exception as error:
        traceback.print_exc()
        return (
            "full" if _came_of_a_full_disk(error) else "crashed"
        ), f"{type(error).__name__}: {error}"


def _run(assignment: Assignment) -> tuple[str, str | None]:
    from tuner import engine
    from tuner.folders import clear_unbegun
    from tuner.progress import Display
    from tuner.spec import RunSpec
    from tuner.study.conduct import state_of

    spec = validated(RunSpec, assignment.spec, f"job {assignment.job}")
    runs, cache = Path(assignment.runs), Path(assignment.cache)
    folder = runs / assignment.job
    _wait_for_writer(folder)
    with redirect_stdout(sys.stderr), Display() as display:

        def go_on(more: dict[str, Any]) -> None:
            engine.resume(
                folder,
                **more,
                data_source=spec.data.source,
                cache=cache,
                command=assignment.command,
                on_ready=display.follow,
                notice=display.notice,
            )

        planned = spec.budget.model_dump()
        if (folder / FILE).exists():
            _check_own(folder, spec)
            go_on(_still_to_add(folder, planned, assignment.more))
        else:
            clear_unbegun(folder)
            engine.start(
                spec,
                runs=runs,
                name=assignment.job,
                cache=cache,
                command=assignment.command,
                on_ready=display.follow,
                notice=display.notice,
            )
            # The budget is part of the digest, so what was added before the start is a raise, too.
            more = _still_to_add(folder, planned, assignment.more)
            if more and state_of(folder)[0] == "finished":
                go_on(more)
    return state_of(folder)


def _study(assignment: Assignment) -> None:
    from tuner.ray_session import local_cpus
    from tuner.study.conduct import conduct
    from tuner.study.shown import Shown
    from tuner.study.spec import StudySpec

    spec = validated(StudySpec, assignment.spec, f"job {assignment.job}")
    folder = Path(assignment.runs) / assignment.job
    for run in folder.glob(f"*/{FILE}"):
        _wait_for_writer(run.parent)
    with redirect_stdout(sys.stderr):
        conduct(
            spec, folder, cache=Path(assignment.cache), command=assignment.command,
            follow=Shown().follow, jobs=local_cpus(),
        )  # fmt: skip


def _check_own(folder: Path, spec: RunSpec) -> None:
    """Refuse a run that was made by hand under the job's name while the job waited."""
    from tuner.record import Record
    from tuner.spec import RunSpec

    with Record.open(folder) as record:
        there = validated(RunSpec, record.run().spec, f"run {folder.name}")
    if there.digest != spec.digest:  # both reckoned here: a newer tuner may reckon otherwise
        raise UserError(
            f"{folder} holds another search (digest {there.digest[:12]}, the job's is"
            f" {spec.digest[:12]}), made by hand since the job was queued: rename that folder, then"
            " resume the job."
        )


def _ended(state: str, reason: str | None) -> tuple[str, str | None]:
    """Return how a run's own end reads as that of its job."""
    if state == "finished":
        return state, reason
    if reason == FULL:
        return "full", "The disk is full."
    if state == "interrupted" and str(reason).startswith("interrupted"):
        return state, reason
    return "failed", reason


def _still_to_add(folder: Path, planned: dict[str, Any], more: Raise) -> dict[str, Any]:
    """Return what a run's budget lacks of what was planned and added: adding twice adds once."""
    from tuner.record import Record

    with Record.open(folder) as record:
        here = record.run().budget
    result = {}
    for name, amount in more.amounts.items():
        limit = name.removeprefix("more_")
        if planned[limit] is None:
            raise UserError(f"{name} raises a limit that this job's budget does not have.")
        lacking = planned[limit] + amount - here[limit]
        if lacking > 1e-9 * planned[limit]:
            result[name] = lacking
    return result


def _wait_for_writer(folder: Path) -> None:
    """Let an earlier process of this run end, which its Ray may have lost sight of."""
    deadline = time.monotonic() + WRITER_WAIT_S
    while folder.exists() and writer(folder) is not None and time.monotonic() < deadline:
        time.sleep(0.5)


def _came_of_a_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, RecordFull) or is_full(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _to_log(path: Path) -> None:
    """Send what this process and its children print to the end of a file."""
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())


def _tell(text: str) -> None:
    """Write a line to the log, if there is room for it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _watch(folder: Path, submission: str) -> None:
    """Stop this process at once when asked to."""
    while not is_to_stop_now(folder, submission):
        time.sleep(NOW_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
