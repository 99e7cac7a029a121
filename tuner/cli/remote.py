"""`tuner jobs`, `logs`, `stop`, `pause` and `fetch`: searches that a server carries out.

Nothing heavy is imported: `tuner jobs` is typed often.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.model import UserError
from tuner.cli.formatting import duration, emit, moment, plural, score_text
from tuner.cli.options import Command, FuncT, format_option, runs_option
from tuner.record_schema import OPEN_STATES
from tuner.remote.keys import Key, kept_key
from tuner.remote.servers import Target, find_server, only_server, split_job

if TYPE_CHECKING:
    from tuner.remote.client import Client
    from tuner.service.models import Checked, Job, Progress

RECENT_S = 24 * 3600.0
"""What ended within it is listed without --all."""
DECIDED = (400, 404, 409, 413, 422)
"""Statuses that tell that no try of the same request was heard, unlike a busy server's."""
COLUMNS = ("id", "state", "position", "user", "trials", "best", "left", "space")


def server_options(function: FuncT) -> FuncT:
    """Add --server and --token-file."""
    for option in (
        click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path),
                     help="File that holds your token, for a server given by URL. Default:"
                     " $TUNER_TOKEN_FILE."),
        click.option("--server", metavar="NAME|URL",
                     help="A server of ~/.config/tuner/servers.toml, or its address. Default: the"
                     " only one there, or the one marked default."),
    ):  # fmt: skip
        function = option(function)
    return function


def job_options(function: FuncT) -> FuncT:
    """Add the argument JOB, and which server it is on."""
    return click.argument("job", metavar="JOB")(server_options(function))


@contextmanager
def connected(target: Target) -> Iterator[Client]:
    """Yield a client that tells a lost connection on stderr."""
    from tuner.remote.client import Client

    with Client(target, lambda text: click.echo(text, err=True)) as client:
        yield client


@contextmanager
def asked_once(what: dict[str, Any], given: str | None, again: str) -> Iterator[str]:
    """Yield the key with which a server does something once, however often it is asked.

    Parameters
    ----------
    what : dict
        All that makes the request what it is, as plain JSON values.
    given : str or None
        The user's own key; None takes one that is kept until the server has answered.
    again : str
        What the same command does if it is given again, for whoever gets no answer.
    """
    from tuner.remote.connection import Refused

    with kept_key(what) if given is None else nullcontext(Key(given)) as key:
        try:
            yield key.text
        except Refused as error:
            key.answered = error.status in DECIDED
            if key.answered:
                raise
            raise UserError(f"{error} {again}") from error
        except UserError as error:
            raise UserError(f"{error} {again}") from error
        except KeyboardInterrupt:
            click.echo(again, err=True)
            raise
        key.answered = True


def addressed(job: str, server: str | None, token_file: Path | None) -> tuple[Target, str]:
    """Return the server and the job that `JOB`, `:JOB` or `SERVER:JOB` stands for.

    Raises
    ------
    UserError
        If there is no such server, or two are named.
    """
    named, job = split_job(job) or (None, job)
    if named is not None and server not in (None, named):
        raise UserError(f"{named}:{job} and --server {server} name two servers; keep one.")
    return find_server(named or server, token_file), job


def is_remote(name: str, runs: Path, server: str | None) -> bool:
    """Return whether a name means a job on a server, which what exists here goes before."""
    here = any(path.exists() for path in (runs / name, Path(name)))
    return server is not None or (split_job(name) is not None and not here)


def called(target: Target, job: str, local_too: bool = False) -> str:
    """Return how to name a job on the command line; `local_too` where a local run is also meant."""
    if "://" in target.name:
        return f"{':' * local_too}{job} --server {target.name}"
    if target.name == only_server():
        return f"{':' * local_too}{job}"
    return f"{target.name}:{job}"


def or_on_server(error: UserError, command: str, name: str) -> UserError:
    """Return an error that no such run is here, with the command for one on the user's server."""
    server = only_server()
    if server is None or split_job(f":{name}") is None:
        return error
    return UserError(f"{error} On the server {server} it would be: tuner {command} :{name}")


@click.command("jobs", cls=Command)
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--all", "all_", is_flag=True, help="Also what ended more than a day ago.")
@server_options
@format_option("table", "json", "csv")
def jobs_command(
    job: str | None, all_: bool, server: str | None, token_file: Path | None, format_: str
) -> int:
    """List your searches on a server, the newest first; or show one.

    An admin's list holds everybody's. JOB is what `tuner submit` printed; on another server than
    the default one SERVER:JOB.
    """
    target, job = (
        (find_server(server, token_file), None)
        if job is None
        else addressed(job, server, token_file)
    )
    with connected(target) as client:
        if job is not None:
            found = client.job(job)
            if format_ == "table":
                click.echo("\n".join(job_lines(found)))
            else:
                rows = [_row(found, format_)]
                emit(rows, COLUMNS, format_) if format_ == "csv" else click.echo(_json(found))
            return 0
        jobs = client.jobs()
    since = time.time() - RECENT_S
    shown = [one for one in jobs if all_ or one.ended_at is None or one.ended_at > since]
    if not shown and format_ == "table":
        hidden = f" {len(jobs)} ended before; --all lists them." if jobs else ""
        click.echo(
            f"No searches on {target.name}.{hidden} Hand one in with `tuner submit`.", err=True
        )
        return 0
    emit([_row(one, format_) for one in shown], COLUMNS, format_)
    return 0


@click.command("logs", cls=Command)
@job_options
@click.option("-f", "--follow", is_flag=True, help="Go on until the search ends.")
def logs_command(job: str, server: str | None, token_file: Path | None, follow: bool) -> int:
    """Print what a search on a server writes.

    Where the connection breaks, --follow goes on where it was, as soon as there is one again.
    """
    target, job = addressed(job, server, token_file)
    with connected(target) as client:
        for text in client.follow_log(job, follow):
            click.echo(text, nl=False)
            sys.stdout.flush()
    return 0


@click.command("stop", cls=Command)
@job_options
@click.option("--now", is_flag=True, help="Do not let running epochs end.")
def stop_command(job: str, server: str | None, token_file: Path | None, now: bool) -> int:
    """Stop a search on a server; it can be resumed.

    Running epochs end first, so that nothing is lost; with --now they are trained again when the
    search is resumed.
    """
    target, job = addressed(job, server, token_file)
    with connected(target) as client:
        _told(client.end(job, "stop", now=now), f"tuner resume {called(target, job, True)}")
    return 0


@click.command("pause", cls=Command)
@job_options
def pause_command(job: str, server: str | None, token_file: Path | None) -> int:
    """Let a search on a server free its GPUs until it is resumed.

    Running epochs end first. A search that waits gives up its place in the queue.
    """
    target, job = addressed(job, server, token_file)
    with connected(target) as client:
        _told(client.end(job, "pause"), f"tuner resume {called(target, job, True)}")
    return 0


@click.command("fetch", cls=Command)
@job_options
@click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path),
              help="Folder to make. Default: the job's name, under --runs.")  # fmt: skip
@runs_option
def fetch_command(
    job: str, server: str | None, token_file: Path | None, output: Path | None, runs: Path
) -> int:
    """Bring the record and the report of a search here, as a run.

    `tuner show`, `tuner report` and `tuner compare` then work on it without the server. Fetching
    again brings what has come since, and leaves alone what you added. States of unfinished trials
    stay there, where they go on.
    """
    target, job = addressed(job, server, token_file)
    from tuner.cli.search import reference
    from tuner.folders import check_name, writable
    from tuner.remote.fetch import fetch
    from tuner.service.models import OPEN

    folder = output.absolute() if output else writable(runs) / check_name(job)
    with connected(target) as client:
        found = client.job(job)
        unreported = fetch(client, job, folder)
    if unreported is not None:
        click.echo(f"Without a report: {unreported}", err=True)
    if found.state in OPEN:
        click.echo(f"{job} is {found.state}; fetch it again for what comes.", err=True)
    click.echo(str(folder))
    name = reference(folder, runs)
    click.echo(f"Next:\n  tuner show {name}\n  tuner report {name} -o report.html", err=True)
    return 0


def resume_job(name: str, server: str | None, token_file: Path | None, more: dict[str, Any]) -> int:
    """Let a job on a server go on, with a larger budget if `more` says so: once, if asked twice."""
    from tuner.remote.connection import Refused
    from tuner.service.models import Raise

    target, job = addressed(name, server, token_file)
    with connected(target) as client:
        if not more:
            found, _ = client.resume(job, Raise())
        else:
            what = {"resume": job, "server": target.url, "more": more}
            again = "It may have been added or not; the same command again adds it once."
            try:
                with asked_once(what, None, again) as key:
                    found, new = client.resume(job, Raise(**more, key=key))
            except Refused as error:
                if error.status != 409:
                    raise
                raise UserError(f"{error} Nothing has been added to its budget.") from error
            if not new:
                click.echo(
                    "An earlier try has added it already; the same command once more adds again.",
                    err=True,
                )
        _told(found, f"tuner logs -f {called(target, job)}")
    return 0


def report_of(names: Sequence[str], server: str | None, token_file: Path | None) -> bytes:
    """Return the report of a job on a server, or of several, as HTML."""
    there = [addressed(name, server, token_file) for name in names]
    target = there[0][0]
    if {one.url for one, _ in there} != {target.url}:
        raise UserError("A report is of one server's jobs: bring others here with `tuner fetch`.")
    jobs = [job for _, job in there]
    with connected(target) as client:
        return client.report(jobs[0]) if len(jobs) == 1 else client.comparison(jobs)


def job_lines(job: Job) -> list[str]:
    """Return all about a job, for reading."""
    progress = job.progress
    kind = "exclusive" if job.exclusive else "shared"
    lines = [f"Job {job.id} {job.state}{'' if job.reason is None else f': {job.reason}'}"]
    facts: list[tuple[str, str | None]] = [
        ("user", job.user),
        ("space", job.space),
        ("digest", job.digest),
        ("holds", held(job) + (f", {kind}" if job.gpus else "")),
        ("place", None if job.position is None else f"{job.position} in the queue"),
        ("queued", moment(job.created_at)),
        ("started", moment(job.started_at) or None),
        ("ended", moment(job.ended_at) or None),
        ("left", _left(job)),
    ]
    if progress is not None:
        states = ", ".join(f"{count} {state}" for state, count in progress.trials.items() if count)
        of = job.budget.get("trials")
        facts += [
            ("stage", progress.stage),
            ("trials", (states or "none") + (f", of {of:g}" if of else "")),
            ("best", None if progress.best is None else
             f"{score_text(progress.best)} validation macro-F1 (trial {progress.best_trial})"),
            ("cost", f"{plural(progress.epochs, 'epoch')}, {_slot_time(progress)},"
             f" {duration(progress.wall_seconds)} of wall time"),
        ]  # fmt: skip
    facts += [(name, url) for name, url in job.links.items()]
    width = max(len(name) for name, _ in facts)
    return lines + [f"  {name:{width}}  {text}" for name, text in facts if text is not None]


def _slot_time(progress: Progress) -> str:
    """Return what trials held; seconds of several kinds of device cannot be added."""
    if progress.slot_seconds is not None:
        return f"{duration(progress.slot_seconds)} of slot time"
    held = progress.slot_seconds_by_device.items()
    return ", ".join(f"{duration(seconds)} of slot time on {device}" for device, seconds in held)


def held(job: Job | Checked) -> str:
    """Return what a job holds, for reading."""
    parts = ((job.gpus, "GPU"), (job.cpus, "core"))
    return ", ".join(f"{n:g} {what}{'' if n == 1 else 's'}" for n, what in parts if n)


def _told(job: Job, command: str) -> None:
    """Print what became of a job, and on stderr what comes next."""
    click.echo(f"{job.id} {job.state}")
    click.echo(f"Next: {command}", err=True)


def _json(job: Job) -> str:
    return json.dumps(job.model_dump(mode="json"), indent=2)


def _row(job: Job, format_: str) -> dict[str, Any]:
    """Return a job's line; as JSON it is the server's own answer."""
    if format_ == "json":
        return job.model_dump(mode="json")
    progress, of = job.progress, job.budget.get("trials")
    ended = progress and sum(n for one, n in progress.trials.items() if one not in OPEN_STATES)
    text = ended if format_ == "csv" or ended is None else f"{ended}/{of:g}" if of else str(ended)
    return {
        "id": job.id,
        "state": job.state,
        "position": job.position,
        "user": job.user,
        "trials": text,
        "best": None if progress is None else progress.best,
        "left": _left(job) if format_ == "table" else _left_s(job),
        "space": job.space or job.kind,
    }


def _left_s(job: Job) -> float | None:
    """Return seconds that a job still takes or, while it waits, until it may start."""
    if job.position is not None:
        return job.expected_start_s
    return job.progress.remaining_seconds if job.progress and job.ended_at is None else None


def _left(job: Job) -> str | None:
    seconds = _left_s(job)
    starts = "" if job.position is None else "starts in "
    return None if seconds is None else starts + duration(seconds)
