"""`tuner data`: pack a data set and say what is in it; bring it to a server; list the server's."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.model import UserError, validated
from tuner.cli.formatting import emit, moment
from tuner.cli.options import Command, FuncT, cache_option, format_option, runs_option
from tuner.cli.remote import connected, server_options
from tuner.cli.search import absolute, flags_given, spec_options
from tuner.cli.serve import database_option, settings_of
from tuner.remote.servers import find_server
from tuner.spec import FLAGS

OPERATOR = "operator"
"""In whose name data sets are added on the server itself."""
PACKING = [path for path in FLAGS if path.startswith("data.") and path != "data.source"]

if TYPE_CHECKING:
    from trainables.config import DataConfig
    from trainables.data.packed import PackedData
    from tuner.service.models import DataSet


def packing_options(function: FuncT) -> FuncT:
    """Add the flags that say how a data set is packed, and --cache."""
    return spec_options(PACKING)(cache_option(function))


class DataCommand(Command):
    """`tuner data SOURCE`, which also leads to `tuner data push` and its like."""

    commands: dict[str, click.Command] = {}

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Hand over to a command of its own if the first word names one."""
        if args and args[0] in self.commands:
            name, *rest = args
            return self.commands[name].make_context(f"{info_name} {name}", rest, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List what it leads to."""
        with formatter.section("Commands"):
            lines = [(name, one.get_short_help_str(60)) for name, one in self.commands.items()]
            formatter.write_dl(lines)


@click.command("data", cls=DataCommand)
@click.argument("source")
@packing_options
@format_option("table", "json")
def data_command(source: str, cache: Path, format_: str, **options: Any) -> int:
    """Pack a data set and say what is in it.

    SOURCE is `synthetic`, or a path: a folder, zip, tar or csv file, or a packed folder. A data set
    that has been packed before is only opened. `tuner run --data` packs in the same way. A source
    that is called push, list or add is ./push, ./list or ./add.
    """
    from trainables.data.source import describe

    config = _config(source, options)
    data = packed_here(config, cache)
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
        for line in describe(data, config.limit):
            click.echo(line)
    return 0


@click.command("push", cls=Command)
@click.argument("source")
@click.option("--name", metavar="NAME", help="What specifications call it. Default: the file's.")
@packing_options
@server_options
def push_command(
    source: str,
    name: str | None,
    cache: Path,
    server: str | None,
    token_file: Path | None,
    **options: Any,
) -> int:
    """Bring a data set to a server, packed.

    SOURCE is packed here as `tuner data` does, unless it is. The server checks by its fingerprint
    that all of it came; what it has already is not sent again.
    """
    from tuner.remote.packed import tar_length, tar_parts

    target = find_server(server, token_file)
    config = _config(source, options)
    chosen = _set_name(name, Path(config.source))
    with connected(target) as client:
        most = client.server().max_upload_bytes
        data = packed_here(config, cache)
        known = {(one.fingerprint, one.name) for one in client.data_sets()}
        length = tar_length(data.folder)
        is_known = (data.fingerprint, chosen) in known
        if is_known and client.is_sound(data.fingerprint, chosen):
            click.echo(f"{target.name} has {chosen} already.", err=True)
        elif length > most:
            raise UserError(
                f"{source} has {length / 1e9:.1f} GB packed, and {target.name} takes at most"
                f" {most / 1e9:.1f}: ask its admin for `tuner data add`."
            )
        else:
            if is_known:
                click.echo(f"{target.name} has {chosen} damaged; it is sent again.", err=True)
            tell = _progress()

            def sent(done: int) -> None:
                tell(done // 10**6, length // 10**6, f"Sending {chosen} to {target.name}, MB")

            client.upload(data.fingerprint, chosen, lambda: tar_parts(data.folder, sent), length)
            click.echo(f"{target.name} has {chosen} now.", err=True)
    click.echo(data.fingerprint)
    here = source if name is None else chosen
    click.echo(f"Next: tuner submit --data {shlex.quote(here)} …", err=True)
    return 0


@click.command("list", cls=Command)
@server_options
@format_option("table", "json", "csv")
def list_command(server: str | None, token_file: Path | None, format_: str) -> int:
    """List the data sets that a server has."""
    target = find_server(server, token_file)
    with connected(target) as client:
        found = client.data_sets()
    if not found and format_ == "table":
        click.echo(f"No data sets on {target.name}. Bring one with `tuner data push`.", err=True)
        return 0
    columns = ["name", "images", "classes", "size", "channels", "added", "by", "fingerprint"]
    emit([_listed(one, format_) for one in found], columns, format_)
    return 0


@click.command("add", cls=Command)
@click.argument("source")
@click.option("--name", metavar="NAME", help="What specifications call it. Default: the file's.")
@packing_options
@runs_option
@database_option
def add_command(
    source: str, name: str | None, cache: Path, runs: Path, database: str | None, **options: Any
) -> int:
    """Add a data set to the server that runs here.

    For its operator, on the server itself: --runs, and --database if there is one, are those of
    `tuner serve`, which may be running. Nothing is sent over a network.
    """
    from tuner.service.store import Store
    from tuner.service.tables import Act
    from tuner.service.uploads import adopt

    config = _config(source, options)
    chosen = _set_name(name, Path(config.source))
    settings = settings_of(runs=runs, cache=cache, database=database)
    data = packed_here(config, cache)
    store = Store(settings.database_url)
    try:
        by = Act(OPERATOR, "add data set", f"{chosen} {data.fingerprint}")
        store.add_data_set(adopt(data, chosen, OPERATOR, settings), by=by)
    finally:
        store.close()
    click.echo(data.fingerprint)
    click.echo(f"The server has {chosen} now: tuner submit --data {chosen} …", err=True)
    return 0


def packed_here(config: DataConfig, cache: Path) -> PackedData:
    """Return a data set, packed in the cache, telling progress on stderr."""
    from trainables.data.source import prepare

    return prepare(config, cache, _progress())


def _config(source: str, options: dict[str, Any]) -> DataConfig:
    from trainables.config import DataConfig

    fields = flags_given(options).get("data", {})
    return validated(
        DataConfig,
        {**fields, "source": absolute(source)},
        lambda path: (".".join(path), FLAGS.get(f"data.{'.'.join(path)}", "SOURCE")),
    )


def _set_name(name: str | None, path: Path) -> str:
    """Return what a data set is called on a server, if it can be called so."""
    from pydantic import TypeAdapter, ValidationError

    from tuner.service.models import Name

    if str(path) == "synthetic":
        raise UserError("Synthetic faces are known to every server; give a data set of your own.")
    chosen = name or path.name
    try:
        return TypeAdapter[str](Name).validate_python(chosen)
    except ValidationError:
        raise UserError(
            "A data set's name must be 1 to 100 letters, digits, dots, dashes or underscores and"
            f" start with a letter or digit, but got {chosen!r}: "
            + (
                "rename the file, since specifications call it so."
                if name is None
                else "mend --name."
            )
        ) from None


def _listed(one: DataSet, format_: str) -> dict[str, Any]:
    """Return a data set's line; as JSON it is the server's own answer."""
    if format_ == "json":
        return one.model_dump(mode="json")
    short = format_ == "table"
    return {
        "name": one.name,
        "images": sum(one.images.values()),
        "classes": len(one.classes),
        "size": one.size,
        "channels": one.channels,
        "added": moment(one.added_at) if short else one.added_at,
        "by": one.added_by,
        "fingerprint": one.fingerprint[:12] if short else one.fingerprint,
    }


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


DataCommand.commands = {"push": push_command, "list": list_command, "add": add_command}
