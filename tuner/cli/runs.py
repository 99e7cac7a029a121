"""`tuner list`, `status`, `export` and `tensorboard`: what has been run, from its records."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import click

from search_spaces.model import UserError
from tuner.cli.formatting import emit, moment
from tuner.cli.options import Command, find_run, format_option, known_runs, runs_option
from tuner.cli.search import finish
from tuner.progress import Display, render, view
from tuner.record import Record
from tuner.summary import summary
from tuner.table import STAGES, Format, write_table
from tuner.whole_file import check_place


@click.command("list", cls=Command)
@runs_option
@format_option("table", "json", "csv")
def list_command(runs: Path, format_: str) -> int:
    """List the runs of a folder, the newest last."""
    rows = [_listed(folder) for folder in known_runs(runs.absolute())]
    rows.sort(key=lambda row: row.get("started", 0.0))
    if format_ == "table":
        rows = [{**row, "started": moment(row["started"])} if "started" in row else row
                for row in rows]  # fmt: skip
    if not rows and format_ == "table":
        click.echo(f"No runs in {runs}. Start one with `tuner run`.", err=True)
        return 0
    emit(rows, ["run", "state", "started", "trials", "best", "epochs", "space"], format_)
    return 0


def _listed(folder: Path) -> dict[str, Any]:
    """Return a run's line; a damaged one must not hide the others."""
    try:
        with Record.open(folder) as record:
            summed = summary(record)
    except UserError as error:
        return {"run": folder.name, "state": "unreadable", "space": str(error)}
    best = summed["best"]
    return {
        "run": summed["run"],
        "state": summed["state"],
        "started": summed["created_at"],
        "trials": sum(summed["trials"].values()),
        "best": None if best is None else best["score"],
        "epochs": summed["cost"]["epochs"],
        "space": summed["space"],
        "folder": summed["folder"],
    }


@click.command("status", cls=Command)
@click.argument("run")
@click.option("--watch", is_flag=True, help="Keep showing it until the run ends.")
@runs_option
@format_option("table", "json")
def status_command(run: str, watch: bool, runs: Path, format_: str) -> int:
    """Show how a run is going, or how it went.

    RUN is a name under --runs, or a folder. --watch shows what `tuner run` shows, ends with the
    run, and then prints its summary.
    """
    folder = find_run(runs, run)
    if watch:
        with Display() as display:
            display.follow(folder)
            display.wait()
        return finish(folder, runs, format_)
    with Record.open(folder) as record:
        summed, shown = summary(record), view(record)
    if format_ == "json":
        left = shown.remaining
        more = {
            "utilisation": shown.utilisation,
            "remaining_seconds": None if left is None else left.seconds,
            "running": [line._asdict() for line in shown.running],
        }
        click.echo(json.dumps({**summed, **more}, indent=2))
        return 0
    from rich.console import Console

    width = shutil.get_terminal_size((80, 24)).columns
    Console(file=sys.stdout, width=width, highlight=False).print(render(shown, width))
    return 0


@click.command("export", cls=Command)
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="File to write; - is stdout.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(get_args(Format)),
              help="Default: by the file's ending, or csv.")  # fmt: skip
@click.option("--stage", type=click.Choice(STAGES),
              help="Stage of all rows. Default: by what each run did.")  # fmt: skip
@runs_option
def export_command(
    names: tuple[str, ...], output: Path, format_: Format | None, stage: str | None, runs: Path
) -> int:
    """Write the trials of one or more runs as a table.

    One row per trial: stage, arm, space, config_id, seed, state, score, test_score, epochs,
    slot_seconds, device where a trial has run, and a column knob.NAME for every knob.
    """
    chosen = format_ or _of_ending(output)
    if str(output) != "-":
        check_place(output)
    with ExitStack() as stack:
        records = [stack.enter_context(Record.open(find_run(runs, name))) for name in names]
        target = sys.stdout.buffer if str(output) == "-" else output
        write_table(records, target, chosen, stage)
    if str(output) != "-":
        click.echo(f"Wrote {output} ({chosen}).", err=True)
    return 0


def _of_ending(output: Path) -> Format:
    """Return the format that a file's ending stands for; without one, csv."""
    endings: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".json": "json", "": "csv"}
    if output.suffix not in endings:
        raise UserError(
            f"{output} ends in neither .csv, .parquet nor .json: say its format with --format."
        )
    return endings[output.suffix]


@click.command("tensorboard", cls=Command)
@click.argument("run")
@click.option("--port", type=click.IntRange(0, 65535), default=6006, metavar="N", show_default=True,
              help="Port on this machine; 0 takes a free one.")  # fmt: skip
@runs_option
def tensorboard_command(run: str, port: int, runs: Path) -> int:
    """Show a run's curves in TensorBoard, on this machine only."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("TensorBoard is not installed: pip install tensorboard.")
    logs = find_run(runs, run) / "tensorboard"
    if not logs.is_dir():
        raise UserError(f"Run {run} has no curves yet: {logs} does not exist.")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs)]
    # In this process's place, so that whoever ends `tuner tensorboard` ends the server.
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", str(port)])
