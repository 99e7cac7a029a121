"""`tuner data`: pack a data set, or find it packed, and say what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from search_spaces.model import validated
from tuner.cli.options import Command, cache_option, format_option
from tuner.cli.search import absolute, flags_given, spec_options
from tuner.spec import FLAGS


@click.command("data", cls=Command)
@click.argument("source")
@spec_options([path for path in FLAGS if path.startswith("data.") and path != "data.source"])
@cache_option
@format_option("table", "json")
def data_command(source: str, cache: Path, format_: str, **options: Any) -> int:
    """Pack a data set and say what is in it.

    SOURCE is `synthetic`, or a path: a folder, zip, tar or csv file, or a packed folder. A data set
    that has been packed before is only opened. `tuner run --data` packs in the same way.
    """
    from trainables.config import DataConfig
    from trainables.data.source import describe, prepare

    fields = flags_given(options).get("data", {})
    config = validated(
        DataConfig,
        {**fields, "source": absolute(source)},
        lambda path: (".".join(path), FLAGS.get(f"data.{'.'.join(path)}", "SOURCE")),
    )
    data = prepare(config, cache, _progress())
    if format_ == "json":
        facts = {
            "folder": str(data.folder),
            "classes": list(data.classes),
            "channels": data.channels,
            "size": data.size,
            "fingerprint": data.used_fingerprint(config.limit),
            "provenance": data.provenance,
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        for line in describe(data):
            click.echo(line)
    return 0


def _progress() -> Any:
    """Return a function that tells the packing's progress on stderr, each tenth once."""
    told = -1

    def progress(done: int, total: int, what: str) -> None:
        nonlocal told
        tenth = 10 * done // max(1, total)
        if tenth != told:
            told = tenth
            click.echo(f"{what}: {done:,} of {total:,}", err=True)

    return progress
