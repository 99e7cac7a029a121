"""`tuner serve` and `tuner user`: the service on a server, and who may use it."""

from __future__ import annotations

import ipaddress
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.model import UserError
from tuner.cli.formatting import emit, moment
from tuner.cli.options import Command, FuncT, cache_option, format_option, runs_option
from tuner.folders import is_name, writable
from tuner.service.settings import GB, RAY_URL, Settings

if TYPE_CHECKING:
    import socket

    from tuner.service.store import Store

PORT = 8642
GRACE_S = 5
"""How long answers under way may take when the service ends."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def database_option(function: FuncT) -> FuncT:
    """Add --database."""
    return click.option(
        "--database", metavar="URL", envvar="TUNER_DATABASE", show_envvar=True,
        help="Database of the service: a PostgreSQL as SQLAlchemy names it, postgresql+psycopg://…"
        " Default: a file under --runs.",
    )(function)  # fmt: skip


@click.command("serve", cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen at. Others than this machine's own need a user.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
@runs_option
@cache_option
@database_option
@click.option("--ray", metavar="URL", default=RAY_URL, show_default=True,
              help="Where the Ray that runs the searches takes jobs.")  # fmt: skip
@click.option("--max-upload-gb", type=click.FloatRange(0, 10_000, min_open=True), default=20.0,
              show_default=True, metavar="X", help="Largest data set that is taken.")  # fmt: skip
@click.option("--webhook", metavar="URL", envvar="TUNER_WEBHOOK", show_envvar=True,
              help="Tell this URL when a search ends.")  # fmt: skip
@click.option("--notify-command", metavar="CMD", envvar="TUNER_NOTIFY_COMMAND", show_envvar=True,
              help="Run this command when a search ends, such as one that sends mail.")  # fmt: skip
@click.option("--link", "links", metavar="NAME=URL", multiple=True,
              help="Show this link with every search, {job} being its name: such as"
              " TensorBoard=http://127.0.0.1:6006/#scalars&regexInput={job}")  # fmt: skip
def serve_command(host: str, port: int, **options: Any) -> int:
    """Take searches from users, queue them fairly, and show them on a page.

    Needs a Ray head on this machine: `ray start --head`. Users are made with `tuner user add`. It
    is meant to be reached through an SSH tunnel; see docs/server.md. Where systemd hands over a
    socket, it serves at that one instead of --host and --port.
    """
    from tuner.service.listening import bound, inherited
    from tuner.service.store import Store
    from tuner.service.supervisor import Supervisor

    handed = inherited()
    settings = settings_of(**options)
    store = Store(settings.database_url)
    try:
        check_host(host if handed is None else handed.getsockname()[0], store, settings)
        listening = bound(host, port) if handed is None else handed
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
        for noisy in ("httpx", "httpcore"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        supervisor = Supervisor(settings, store)
        supervisor.start()
        try:
            run(settings, store, supervisor, listening)
        finally:
            supervisor.stop()
    finally:
        store.close()
    return 0


def settings_of(
    *,
    runs: Path,
    cache: Path,
    database: str | None,
    ray: str = RAY_URL,
    max_upload_gb: float = 20.0,
    webhook: str | None = None,
    notify_command: str | None = None,
    links: tuple[str, ...] = (),
) -> Settings:
    """Return the service's settings from the command line's.

    Raises
    ------
    UserError
        If a URL is none, or the folder of runs cannot be written to.
    """
    if not ray.startswith(("http://", "https://")):
        raise UserError(f"--ray must start with http:// or https://, but got {ray!r}.")
    if webhook is not None and not webhook.startswith(("http://", "https://")):
        # a secret, which must not stand in the journal
        raise UserError("--webhook must start with http:// or https://, but got something else.")
    parts = [link.partition("=") for link in links]
    for name, _, url in parts:
        if not name or not url.startswith(("http://", "https://")):
            raise UserError(f"--link must be NAME=URL, an http URL, but got {name}={url}.")
    return Settings(
        runs=writable(runs),
        cache=writable(cache, "--cache"),
        database=database,
        ray=ray,
        max_upload_bytes=int(max_upload_gb * GB),
        webhook=webhook,
        notify_command=notify_command,
        links={name: url for name, _, url in parts},
    )


def check_host(host: str, store: Store, settings: Settings) -> None:
    """Refuse to listen to other machines before there is a user: nobody could mean that.

    Raises
    ------
    UserError
    """
    if store.has_users():
        return
    add = f"tuner user add NAME --admin --runs {settings.runs}"
    if settings.database is not None:
        add += " --database URL"
    if not is_loopback(host):
        raise UserError(
            f"--host {host} is open to other machines, but no user has a token yet. Make one first:"
            f" {add}"
        )
    click.echo(f"There is no user yet. Make one, whose token is printed once: {add}", err=True)


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(settings: Settings, store: Store, supervisor: Any, listening: socket.socket) -> None:
    """Serve at a socket that listens until a signal ends it, and close it."""
    import uvicorn

    from tuner.service.app import create_app
    from tuner.service.limits import cut_off_stalled

    app = create_app(settings, store, supervisor)

    class Server(uvicorn.Server):
        """Ends event streams first, which would never end by themselves."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.hub.close()
            await super().shutdown(sockets)

    with listening:
        cut_off_stalled(listening)
        host, port = listening.getsockname()[:2]
        click.echo(f"Serving at http://{f'[{host}]' if ':' in host else host}:{port}", err=True)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S,
            server_header=False, proxy_headers=False,  # which any user of a tunnel could send
        )  # fmt: skip
        Server(config).run(sockets=[listening])


@click.group("user")
def user_command() -> None:
    """Manage who may use the service of this machine."""


def _store(runs: Path, database: str | None, make: bool = False) -> Store:
    """Return the service's store, which must be there unless it may be made."""
    from tuner.service.store import Store

    folder = writable(runs)
    settings = Settings(folder, folder, database)
    if not make and not database and not settings.database_file.exists():
        raise UserError(
            f"There is no service in {folder} yet, and so no user. Either --runs is another one's"
            f" than `tuner serve` has, or make a user: tuner user add NAME --runs {folder}"
        )
    return Store(settings.database_url)


@user_command.command("add", cls=Command)
@click.argument("name")
@click.option("--admin", is_flag=True, help="May see and stop everybody's searches.")
@runs_option
@database_option
def add_command(name: str, admin: bool, runs: Path, database: str | None) -> int:
    """Make a user and print the token, which is shown this once.

    A user who was revoked gets a new token. Put it into a file that only its owner can read.
    """
    from tuner.service.auth import hashed, new_token
    from tuner.service.tables import Act

    if not is_name(name):
        raise UserError(
            "A user's name must be 1 to 100 letters, digits, dots, dashes or underscores and start"
            f" with a letter or digit, but got {name!r}."
        )
    token = new_token()
    store = _store(runs, database, make=True)
    try:
        by = Act("operator", "add user", f"{name}{', admin' if admin else ''}")
        store.add_user(name, hashed(token), admin, by=by)
    finally:
        store.close()
    click.echo(f"Token of {name}; it is not shown again:", err=True)
    click.echo(token)
    return 0


@user_command.command("list", cls=Command)
@runs_option
@database_option
@format_option("table", "json", "csv")
def list_users_command(runs: Path, database: str | None, format_: str) -> int:
    """List the users."""
    store = _store(runs, database)
    try:
        users = store.users()
    finally:
        store.close()
    when = moment if format_ == "table" else lambda at: at
    rows = [
        {
            "user": user.name,
            "admin": user.admin,
            "made": when(user.created_at),
            "last used": when(user.last_used_at),
            "revoked": when(user.revoked_at),
        }
        for user in users
    ]
    emit(rows, ["user", "admin", "made", "last used", "revoked"], format_)
    if not rows:
        click.echo("No users. Make one with `tuner user add`.", err=True)
    return 0


@user_command.command("revoke", cls=Command)
@click.argument("name")
@runs_option
@database_option
def revoke_command(name: str, runs: Path, database: str | None) -> int:
    """Make a user's token worthless at once; their searches stay."""
    from search_spaces.model import did_you_mean
    from tuner.service.tables import Act

    store = _store(runs, database)
    try:
        known = [user.name for user in store.users()]
        if name not in known:
            raise UserError(did_you_mean("user", name, known))
        store.revoke_user(name, by=Act("operator", "revoke user", name))
    finally:
        store.close()
    click.echo(f"The token of {name} is worthless now.", err=True)
    return 0
