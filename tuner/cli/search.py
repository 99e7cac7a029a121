"""`tuner run` and `tuner resume`: train trials, show how it goes, and say what was found."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click

from search_spaces.model import UserError, rule
from search_spaces.yaml_file import parse_value
from trainables.config import DataConfig
from tuner.cli.options import (
    Command,
    cache_option,
    find_run,
    format_option,
    known_runs,
    runs_option,
)
from tuner.cli.remote import is_remote, or_on_server, resume_job, server_options
from tuner.cli.texts import next_text, plan_text, summary_text
from tuner.folders import new_folder, writable
from tuner.plan import KnownImages, plan
from tuner.progress import Display
from tuner.ray_session import check_before_start
from tuner.record import Record
from tuner.spec import FLAGS, RunSpec, build_spec
from tuner.summary import exit_status, summary

FuncT = TypeVar("FuncT", bound=Callable[..., Any])
AS_WRITTEN = ("data.source", "resources.address", "resources.storage", "resources.trunks")
"""Flags whose text is not read as YAML: a folder may be called 1e3."""


def spec_options(paths: Sequence[str]) -> Callable[[FuncT], FuncT]:
    """Add a flag for each of these fields of `RunSpec`; its help is the field's own docstring."""

    def decorate(function: FuncT) -> FuncT:
        for path in reversed(paths):
            field = _field(path)
            text = " ".join((field.description or "").replace("`", "").split())
            if field.annotation == bool | None:
                both = f"{FLAGS[path]}/--no-{FLAGS[path].removeprefix('--')}"
                option = click.option(both, parameter(FLAGS[path]), default=None, help=text)
                function = option(function)
                continue
            allowed = rule(field.annotation).removeprefix("one of ")
            metavar = {"a whole number": "N", "a number": "X", "text": "TEXT"}.get(allowed)
            if metavar is None:
                short = re.sub("a whole number[^,]*", "N", allowed)
                short = re.sub("a number[^,]*", "X", short)
                metavar = "[" + short.replace(", or ", "|").replace(", ", "|") + "]"
            option = click.option(FLAGS[path], parameter(FLAGS[path]), metavar=metavar, help=text)
            function = option(function)
        return function

    return decorate


def _field(path: str) -> Any:
    fields: Any = RunSpec.model_fields
    *sections, name = path.split(".")
    for section in sections:
        fields = fields[section].annotation.model_fields
    return fields[name]


def parameter(flag: str) -> str:
    """Return the name under which click passes a flag."""
    return flag.removeprefix("--").replace("-", "_")


def search_options(function: FuncT) -> FuncT:
    """Add all that decides what a search does."""
    for option in reversed(
        (
            click.option("--space", metavar="NAME|FILE", help="What varies; see `tuner spaces`."
                         " Default: periodic_T."),
            click.option("--preset", metavar="NAME", default="quick", show_default=True,
                         help="What all else overrides: quick, fer2013 or paper."),
            click.option("--config", "file", metavar="FILE", type=click.Path(path_type=Path),
                         help="YAML file; overrides the preset, and flags override it."),
            click.option("--set", "sets", metavar="NAME=VALUE", multiple=True,
                         help="Hold a knob, or any field of a trial, at a value: --set T=3."),
            click.option("--range", "ranges", metavar="NAME=LOW:HIGH", multiple=True,
                         help="Narrow a knob's range: --range T=2:20."),
            spec_options([path for path in FLAGS if not path.startswith("resources.")]),
            spec_options([path for path in FLAGS if path.startswith("resources.")]),
        )
    ):  # fmt: skip
        function = option(function)
    return function


@click.command("run", cls=Command)
@search_options
@runs_option
@click.option("--name", metavar="NAME", help="Name of the run. Default: space and digest.")
@cache_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@format_option("table", "json")
@click.pass_context
def run_command(ctx: click.Context, /, **options: Any) -> int:
    """Run a search: train trials until the budget is spent.

    Without --data it trains on synthetic faces. A budget given by --trials, --budget-epochs,
    --gpu-hours or --wall-hours replaces the preset's. Ctrl-C finishes the running epochs, and
    `tuner resume` goes on from there; a second Ctrl-C stops at once.
    """
    spec = search_spec(options)
    runs, cache = options["runs"], options["cache"]
    if options["dry_run"]:
        folder = new_folder(runs, options["name"], spec)
        check_before_start(spec.resources)
        temp, known = Path(tempfile.gettempdir()), known_images(spec.data, cache)
        planned = plan(spec, folder, cache, temp, known_runs(runs), known)
        planned = planned._replace(warnings=(*planned.warnings, *seeds_only(spec)))
        click.echo(
            json.dumps(planned._asdict(), indent=2)
            if options["format_"] == "json"
            else plan_text(planned)
        )
        return 0
    from tuner import engine

    with redirect_stdout(sys.stderr), Display() as display:  # where Ray, too, prints
        for warning in seeds_only(spec):
            display.notice(f"Note: {warning}.")
        folder = engine.start(
            spec,
            runs=runs,
            name=options["name"],
            cache=cache,
            command=ctx.find_root().obj,
            on_ready=display.follow,
            notice=display.notice,
        )
    return finish(folder, runs, options["format_"])


@click.command("resume", cls=Command)
@click.argument("run")
@click.option("--more-trials", metavar="N", help="Raise the budget by so many trials.")
@click.option("--more-epochs", metavar="N", help="Raise the budget by so many epochs.")
@click.option("--more-gpu-hours", metavar="X", help="Raise the budget by so many slot-hours.")
@click.option("--more-wall-hours", metavar="X", help="Raise the budget by so many hours.")
@spec_options([path for path in FLAGS if path.startswith("resources.")])
@click.option("--data", metavar="SOURCE", help="Where the data are now, if they have moved.")
@runs_option
@cache_option
@server_options
@format_option("table", "json")
@click.pass_context
def resume_command(ctx: click.Context, /, run: str, runs: Path, **options: Any) -> int:
    """Go on with a run, whatever ended it.

    RUN is a name under --runs, or a folder; on a server it is SERVER:JOB, or :JOB. What the record
    holds stays as it is, and trials that were running continue from their last epoch. A finished
    run goes on if its budget is raised; otherwise it is said to have finished, and its summary
    printed.
    """
    more: dict[str, Any] = {
        name: _positive(name, options[name])
        for name in ("more_trials", "more_epochs", "more_gpu_hours", "more_wall_hours")
        if options[name] is not None
    }
    resources = flags_given(options).get("resources", {})
    if is_remote(run, runs, options["server"]):
        for name in ("data", *resources):
            if name != "data" or options["data"] is not None:
                flag = FLAGS.get(f"resources.{name}", "--data")
                raise UserError(f"{flag} is for runs here; the server decides it, leave it out.")
        return resume_job(run, options["server"], options["token_file"], more)
    try:
        folder = find_run(runs, run)
    except UserError as error:
        raise or_on_server(error, "resume", run) from error
    from tuner import engine

    with redirect_stdout(sys.stderr), Display() as display:
        engine.resume(
            folder,
            **more,
            resources=resources,
            data_source=None if options["data"] is None else absolute(options["data"]),
            cache=options["cache"],
            command=ctx.find_root().obj,
            on_ready=display.follow,
            notice=display.notice,
        )
    return finish(folder, runs, options["format_"])


def search_spec(options: dict[str, Any]) -> RunSpec:
    """Return the specification that the options of `search_options` ask for.

    Raises
    ------
    UserError
        If anything is unknown or out of its range, or the sampler cannot search the space.
    """
    spec = build_spec(
        options["preset"],
        options["file"],
        flags_given(options),
        parse_sets(options["sets"]),
        parse_ranges(options["ranges"]),
    )
    from tuner.samplers import check_sampler

    check_sampler(spec.space.resolved(spec.epochs), spec.sampler)
    return spec


def flags_given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `RunSpec` that flags set, nested as in a configuration file."""
    result: dict[str, Any] = {}
    if options.get("space") is not None:
        result["space"] = options["space"]
    for path, flag in FLAGS.items():
        text = options.get(parameter(FLAGS[path]))
        if text is None:
            continue
        given = path in AS_WRITTEN or isinstance(text, bool)
        value = text if given else parse_value(text, flag)
        if path == "data.source":
            value = absolute(text)
        folder = path == "resources.trunks" or (path == "resources.storage" and "://" not in text)
        if folder:  # the run may be resumed from elsewhere
            value = str(Path(text).absolute())
        *sections, name = path.split(".")
        here = result
        for section in sections:
            here = here.setdefault(section, {})
        here[name] = value
    return result


def absolute(source: str) -> str:
    """Return a data source that means the same wherever the run is resumed from."""
    return source if source == "synthetic" else str(Path(source).absolute())


def parse_sets(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values of --set by name.

    >>> parse_sets(["T=3", "position=bn2"])
    {'T': 3, 'position': 'bn2'}
    """
    result: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not (equals and name and value.strip()):
            raise UserError(f"--set needs NAME=VALUE, such as T=3, but got {text!r}.")
        if name in result:
            raise UserError(f"--set {name} is given twice; keep one.")
        result[name] = parse_value(value, f"--set {name}")
    return result


def parse_ranges(texts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the bounds of --range by name.

    >>> parse_ranges(["T=2:20"])
    {'T': ('2', '20')}
    """
    result: dict[str, tuple[str, str]] = {}
    for text in texts:
        name, _, bounds = text.partition("=")
        low, colon, high = bounds.partition(":")
        if not (name.strip() and colon and low.strip() and high.strip()):
            raise UserError(f"--range needs NAME=LOW:HIGH, such as T=2:20, but got {text!r}.")
        if name.strip() in result:
            raise UserError(f"--range {name.strip()} is given twice; keep one.")
        result[name.strip()] = (low.strip(), high.strip())
    return result


def finish(folder: Path, runs: Path, format_: str) -> int:
    """Print what a run found and return the exit status."""
    with Record.open(folder) as record:
        summed = summary(record)
    if format_ == "json":
        click.echo(json.dumps(summed, indent=2))
    else:
        click.echo(summary_text(summed))
        click.echo(next_text(summed, reference(folder, runs)))
    return exit_status(summed)


def reference(folder: Path, runs: Path) -> str:
    """Return how to name a run on the command line from here."""
    if runs == Path("runs") and folder.parent == runs.absolute():
        return folder.name
    return shlex.quote(str(folder))


def _positive(name: str, text: str) -> int | float:
    flag = "--" + name.replace("_", "-")
    value = parse_value(text, flag)
    whole = name in ("more_trials", "more_epochs")
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not 0 < value < 1e9:
        kind = "a whole number of at least 1" if whole else "a number greater than 0"
        raise UserError(f"{flag} must be {kind}, but got {text!r}.")
    assert isinstance(value, int | float)
    return value


def seeds_only(spec: RunSpec) -> list[str]:
    """Warn of early stopping where trials differ in their seeds alone."""
    if spec.space.knobs or spec.scheduler.name == "none" or spec.budget.trials == 1:
        return []
    return [
        "nothing varies but the seed, and early stopping ends trials whose seeds begin badly;"
        " --scheduler none trains all of them in full"
    ]


def known_images(data: DataConfig, cache: Path) -> KnownImages:
    """Return what is known of the images before they are packed, or because they were.

    Raises
    ------
    UserError
        If the data cannot be read, or packed.
    """
    from trainables.data.source import packed_before

    packed = packed_before(data, cache)
    if packed is None:
        writable(cache, "--cache")
        count, copies = data.synthetic_train if data.source == "synthetic" else data.limit, 0
    else:
        first, end = packed.splits["train"]
        count, copies = end - first, packed.copies_of_train(data.limit)["validation"]
    least = count if data.limit is None or count is None else min(count, data.limit)
    return KnownImages(least, copies, packed is not None or data.source == "synthetic")
