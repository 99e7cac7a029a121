"""The command line of benchmarks.faces."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import click

import benchmarks.faces
from benchmarks.faces.collect import collect, copies
from benchmarks.faces.committed import STUDIES
from benchmarks.faces.page import PAGES, filled


def main() -> int:
    """Read the command line."""
    about = (benchmarks.faces.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faces", description=about)
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect", help="write docs/results/STUDY from its runs")
    collecting.add_argument("study", choices=STUDIES)
    collecting.add_argument("folder", type=Path, help="the study's folder")
    collecting.add_argument("sides", type=Path, help="the folder of runs beside it")
    copying = commands.add_parser("copies", help="write which images are copies of others")
    copying.add_argument("packed", type=Path)
    making = commands.add_parser("tables", help="write the pages' numbers, from docs/results")
    making.add_argument("--check", action="store_true", help="write nothing; 1 if it would change")
    options = parser.parse_args()
    if options.command == "collect":
        collect(options.study, options.folder, options.sides)
        return 0
    if options.command == "copies":
        copies(options.packed)
        return 0
    made = {page: filled(page) for page in PAGES}
    changed = [page for page, text in made.items() if page.read_text(encoding="utf-8") != text]
    if options.check:
        return int(bool(changed))
    for page in changed:
        page.write_text(made[page], encoding="utf-8")
        click.echo(f"Wrote {page}.", err=True)
    if not changed:
        click.echo("The pages are as the tables say.", err=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
