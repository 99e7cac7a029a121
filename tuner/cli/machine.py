"""`tuner doctor`: the checks of this machine, one line each."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from tuner.cli.formatting import emit
from tuner.cli.options import Command, cache_option, format_option, runs_option
from tuner.doctor import GIB, examine

MARKS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


@click.command("doctor", cls=Command)
@runs_option
@cache_option
@click.option("--free-gib", type=float, metavar="X", default=5.0, show_default=True,
              help="Free disk space to warn below.")  # fmt: skip
@click.option("--ray/--no-ray", default=True, show_default=True,
              help="Start a small Ray to see that it can, which takes some seconds.")  # fmt: skip
@format_option("table", "json")
def doctor_command(runs: Path, cache: Path, free_gib: float, ray: bool, format_: str) -> int:
    """Check this machine, and say how to mend what is wrong.

    Exit status 1 if anything is bad; what is only worth knowing is marked warn.
    """
    found = []
    temp = Path(tempfile.gettempdir())
    for finding in examine(runs, cache, temp, free_bytes=int(free_gib * GIB), start_ray=ray):
        found.append(finding)
        if format_ == "table":
            click.echo(f"{MARKS[finding.level]}  {finding.what:14} {finding.told}")
            if finding.mend:
                click.echo(f"{'':22}{finding.mend}")
    if format_ == "json":
        emit([finding._asdict() for finding in found], [], "json")
    return int(any(finding.level == "bad" for finding in found))
