"""`tuner submit`: hand a search or a study to a server, close the lid, come back to a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from search_spaces.model import UserError, did_you_mean, validated
from trainables.config import DataConfig
from tuner.cli.data import packed_here
from tuner.cli.formatting import duration
from tuner.cli.options import Command, cache_option, format_option
from tuner.cli.remote import (
    asked_once,
    called,
    connected,
    held,
    job_lines,
    server_options,
)
from tuner.cli.search import flags_given, parameter, search_options, search_spec
from tuner.cli.study import FIELDS
from tuner.folders import check_name
from tuner.provenance import versions
from tuner.record_schema import FAILED_STATES
from tuner.remote.servers import Target, find_server
from tuner.service.models import Checked, DataSet, Job, Server, Submission
from tuner.spec import FLAGS, RunSpec
from tuner.study.spec import StudySpec, load_study
from tuner.summary import DONE, FAILED, INTERRUPTED, SOME_FAILED

if TYPE_CHECKING:
    from tuner.remote.client import Client

AnswerT = TypeVar("AnswerT")
SYNTHETIC = "synthetic"
MOST_NAMES = 20
NUMBERS = ("tuner", "python", "torch", "torchvision", "optuna", "ray")
"""Packages whose version may change a number, or what is understood."""


@click.command("submit", cls=Command)
@click.option("--study", metavar="FILE|NAME", help="Hand in a study instead of a search.")
@search_options
@click.option("--name", metavar="NAME", help="Name of the job and its run. Default: space and"
              " digest; of a study, the file's.")  # fmt: skip
@server_options
@click.option("--gpus", type=float, metavar="X", help="GPUs to hold. Default: what its trials at"
              " once need, or else all.")  # fmt: skip
@click.option("--shared", is_flag=True, help="Let others' trials share these GPUs. By default they"
              " are its own, as timed comparisons need.")  # fmt: skip
@click.option("--priority", type=click.IntRange(-10, 10), default=0, show_default=True, metavar="N",
              help="Higher goes first; above 0 needs an admin.")  # fmt: skip
@click.option("--key", metavar="TEXT", help="Submissions with the same key are one. Default: a"
              " random one, kept until the server has answered.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait until the search has ended.")
@click.option("--follow", is_flag=True, help="Like --wait, and show what it writes.")
@cache_option
@click.option("--dry-run", is_flag=True, help="Say what would be queued, and queue nothing.")
@format_option("table", "json")
@click.pass_context
def submit_command(ctx: click.Context, /, **options: Any) -> int:
    """Hand a search to a server: it waits for its GPUs, trains, and is kept.

    It takes what `tuner run` takes, or a study, and finds the same. The data set must be known to
    the server, by its content: `tuner data push` brings it there. The job's name is printed on
    stdout. If the connection breaks, the same command again does not queue it twice.
    """
    spec, base = _spec(ctx, options)
    for name in ("address", "trunks"):
        if getattr(spec.resources, name) is not None:
            raise UserError(f"--{name} is for runs by hand; the server decides it, leave it out.")
    target = find_server(options["server"], options["token_file"])
    with connected(target) as client:
        client.me()
        server = client.server()
        for line in _differences(server, target):
            click.echo(line, err=True)
        fingerprint = _fingerprint(spec.data, client, options)
        submission = _submission(ctx, spec, fingerprint, options)
        if options["dry_run"]:
            return _told(_first_free(client.check, submission, base), options["format_"])
        job = _queued(client, submission, base, options["key"])
        waits, format_ = options["wait"] or options["follow"], options["format_"]
        if format_ == "table":
            click.echo(job.id)
        elif not waits:
            click.echo(_as_json(job))
        click.echo(_next_text(job, target), err=True)
        return _ended(client, job, options["follow"], format_) if waits else DONE


def _spec(ctx: click.Context, options: dict[str, Any]) -> tuple[RunSpec | StudySpec, str | None]:
    """Return what is to be done, and a study's name unless --name gives it."""
    study = options["study"]
    if study is None:
        if options["name"] is not None:
            check_name(options["name"])
        return search_spec(options), None
    allowed = {*FIELDS, *(path for path in FLAGS if path.startswith("resources."))}
    own = {"space": "--space", "preset": "--preset", "file": "--config", "sets": "--set"}
    own |= {"ranges": "--range"}
    own |= {parameter(FLAGS[path]): FLAGS[path] for path in FLAGS if path not in allowed}
    for name, flag in own.items():
        source = ctx.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE:
            raise UserError(f"{flag} is the study's file to say; leave it out with --study.")
    spec = load_study(study, flags_given(options))
    from tuner.study.conduct import check

    name = check_name(options["name"] or Path(study).stem)
    check(spec, name)
    return spec, None if options["name"] else name


def _submission(
    ctx: click.Context, spec: RunSpec | StudySpec, fingerprint: str | None, options: dict[str, Any]
) -> Submission:
    named = spec.data.model_copy(update={"source": Path(spec.data.source).name})
    values = {
        "kind": "run" if isinstance(spec, RunSpec) else "study",
        "spec": spec.model_copy(update={"data": named}).model_dump(mode="json"),
        "digest": spec.digest,
        "fingerprint": fingerprint,
        "name": options["name"],
        "key": options["key"] or "not-yet-chosen",
        "priority": options["priority"],
        "exclusive": not options["shared"],
        "gpus": options["gpus"],
        "command": [text[:4096] for text in ctx.find_root().obj[:200]],
    }
    return validated(Submission, values, lambda path: (f"--{'.'.join(path)}", ""))


def _fingerprint(data: DataConfig, client: Client, options: dict[str, Any]) -> str | None:
    """Return the fingerprint by which the server knows the images, or refuse what it lacks.

    What lies here is packed here, and found there by its content; what does not, by its name.
    """
    if data.source == SYNTHETIC:
        return None
    path, target = Path(data.source).expanduser(), client.target
    there = client.data_sets()
    if path.exists():
        packed = packed_here(data, options["cache"])
        if (packed.fingerprint, path.name) not in {(one.fingerprint, one.name) for one in there}:
            plain = DataConfig(source=data.source)
            same = data.model_copy(update={"limit": None, "max_bad": 0}) == plain
            how = str(path) if same else f"{packed.folder} --name {path.name}"
            server = "" if options["server"] is None else f" --server {options['server']}"
            raise UserError(
                f"Server {target.name} does not have {path.name} (fingerprint"
                f" {packed.fingerprint[:12]}): bring it there with: tuner data push {how}{server}"
            )
        return packed.fingerprint
    if options["data"] is not None and Path(options["data"]).name != options["data"]:
        raise UserError(f"No file or folder {options['data']}; a data set of the server's goes by"
                        f" its bare name, such as {path.name}.")  # fmt: skip
    found = [one for one in there if one.name == path.name and _fits(one, data)]
    if not found:
        known = did_you_mean("data set", path.name, {one.name for one in there})
        raise UserError(
            f"No file or folder {path.name} here, nor on the server {target.name}: {known}"
        )
    if len(found) > 1:
        prints = ", ".join(sorted(one.fingerprint[:12] for one in found))
        raise UserError(
            f"Server {target.name} has {len(found)} data sets {path.name} ({prints}), and only"
            " having it here too would say which is meant."
        )
    (one,) = found
    click.echo(
        f"Data: {one.name} as {target.name} has it, {sum(one.images.values()):,} images"
        f" of {one.size}×{one.size} pixels, fingerprint {one.fingerprint[:12]}.",
        err=True,
    )
    return one.fingerprint


def _fits(there: DataSet, data: DataConfig) -> bool:
    """Return whether a data set may be what a configuration describes."""
    channels = {"auto": there.channels, "gray": 1, "rgb": 3}[data.color]
    return data.size in (None, there.size) and channels == there.channels


def _differences(server: Server, target: Target) -> Iterator[str]:
    """Yield what a user should know before a search goes to a server."""
    here = versions()
    differing = [
        f"{name} {here[name]} here and {server.versions[name]} there"
        for name in NUMBERS
        if name in here and server.versions.get(name, here[name]) != here[name]
    ]
    if differing:
        yield (
            f"Note: {target.name} has other versions: {', '.join(differing)}. Scores may differ"
            " from those of a run by hand."
        )
    if target.url.startswith("http:") and not target.loopback:
        yield f"Note: {target.url} is not encrypted: who listens on the way reads your token."
    if server.capacity is None:
        yield f"Note: {target.name} has lost its Ray; searches wait until it is back."


def _told(found: Checked, format_: str) -> int:
    """Print what would be queued."""
    if format_ == "json":
        click.echo(_as_json(found))
        return DONE
    click.echo(f"{found.name} would be queued at place {found.position}. Nothing has been.")
    click.echo(f"  digest  {found.digest}")
    click.echo(f"  holds   {held(found)}")
    for note in found.notes:
        click.echo(f"  note    {note}")
    return DONE


def _queued(client: Client, submission: Submission, base: str | None, key: str | None) -> Job:
    """Return the job that a submission became, now or by an earlier try without an answer."""
    what = submission.model_dump(mode="json", exclude={"key", "command"})
    what |= {"server": client.target.url, "base": base}
    again = "It may have been queued or not; the same command again queues it once."
    with asked_once(what, key, again) as chosen:
        keyed = submission.model_copy(update={"key": chosen})
        job, new = _first_free(client.submit, keyed, base)
    if not new:
        more = "" if key else "; the same command once more queues another"
        click.echo(f"An earlier try has queued it already, as {job.id}{more}.", err=True)
    return job


def _first_free(
    ask: Callable[[Submission], AnswerT], submission: Submission, base: str | None
) -> AnswerT:
    """Ask under a study's name or, if that is taken, the first of NAME-2, NAME-3, … that is free.

    Where there is no `base`, the name is the user's choice, or left to the server.
    """
    from tuner.remote.connection import Refused

    for number in range(1, MOST_NAMES + 1):
        name = submission.name if base is None else f"{base}-{number}" if number > 1 else base
        try:
            return ask(submission.model_copy(update={"name": name}))
        except Refused as error:
            if base is None or error.status != 409 or number == MOST_NAMES:
                raise
    raise AssertionError("the last name was asked for or refused")


def _ended(client: Client, job: Job, follow: bool, format_: str) -> int:
    """Wait for a job's end; return the exit status that a run by hand would have."""
    try:
        for text in client.follow_log(job.id) if follow else ():
            click.echo(text, nl=False, err=True)
        found = client.wait(job.id)
    except KeyboardInterrupt:
        click.echo(f"{job.id} goes on without you.", err=True)
        raise
    if format_ == "json":
        click.echo(_as_json(found))
    else:
        click.echo("\n".join(job_lines(found)), err=True)
    if found.state in ("stopped", "paused"):
        return INTERRUPTED
    if found.state != "finished":
        return FAILED
    trials = found.progress.trials if found.progress else {}
    return SOME_FAILED if any(trials.get(state) for state in FAILED_STATES) else DONE


def _next_text(job: Job, target: Target) -> str:
    """Return how a job stands after it was submitted, and what to do next."""
    waits = "" if job.position is None else f" at place {job.position}"
    soon = "" if not job.expected_start_s else f", to start in {duration(job.expected_start_s)}"
    name = called(target, job.id)
    return "\n".join(
        [
            f"{job.state.capitalize()}{waits}{soon}; to hold {held(job)}.",
            "Next:",
            f"  tuner jobs {name}",
            f"  tuner logs -f {name}",
            f"  tuner fetch {name}",
        ]
    )


def _as_json(found: Job | Checked) -> str:
    return json.dumps(found.model_dump(mode="json"), indent=2)
