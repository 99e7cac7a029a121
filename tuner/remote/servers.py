"""The user's servers: `~/.config/tuner/servers.toml`, which names addresses and files of tokens.

A table for each server:

    [lab]
    url = "http://127.0.0.1:8642"
    token_file = "lab.token"      # relative to this file; nobody else may read it
    default = true                # needed only where there are several
    ca_file = "lab-ca.pem"        # only for https with a certificate authority of one's own
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import field_validator

from search_spaces.model import Section, UserError, did_you_mean, shown, validated
from trainables.data.cache import user_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_JOB = re.compile(
    r"(?P<server>|[A-Za-z0-9][A-Za-z0-9._-]*):(?P<job>[A-Za-z0-9][A-Za-z0-9._-]{0,99})"
)
EXAMPLE = '[lab] with url = "http://127.0.0.1:8642" and token_file = "lab.token"'


class ServerConfig(Section):
    """One server, as the user's file describes it."""

    url: str
    """Where its service answers; through an SSH tunnel that is this machine."""
    token_file: str
    """File that holds the user's token; a relative path starts from the configuration's folder."""
    ca_file: str | None = None
    """Certificate authority of an https server; empty trusts the system's."""
    default: bool = False
    """Whether it is meant where no server is named."""

    @field_validator("url")
    @classmethod
    def _base(cls, url: str) -> str:
        return check_url(url)


class Target(NamedTuple):
    """A server to talk to."""

    name: str
    """What it is called in messages and on the command line: its name, or its URL."""
    url: str
    token: str
    ca_file: Path | None

    @property
    def loopback(self) -> bool:
        """Whether it answers on this machine, itself or through a tunnel."""
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


def servers_file() -> Path:
    """Return where the user's servers are named."""
    given = os.environ.get("TUNER_SERVERS")
    if given:
        return Path(given).expanduser()
    return user_folder("XDG_CONFIG_HOME", ".config") / "servers.toml"


def known_servers() -> dict[str, ServerConfig]:
    """Return the user's servers by name; none if there is no file.

    Raises
    ------
    UserError
        If the file cannot be read, or says what no server can be.
    """
    path = servers_file()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:  # also bytes that are no UTF-8
        raise UserError(f"{path} is no TOML file: {error}.") from error
    servers = {}
    for name, table in values.items():
        if not _NAME.fullmatch(name):
            raise UserError(
                "A server's name must be letters, digits, dots, dashes or underscores, but got"
                f" {name!r} ({path})."
            )
        if not isinstance(table, dict):
            raise UserError(f"{path} must hold a table for each server, such as {EXAMPLE}.")
        servers[name] = validated(ServerConfig, table, f"{path}, {name}")
    chosen = [name for name, one in servers.items() if one.default]
    if len(chosen) > 1:
        raise UserError(
            f"Only one server may be the default, but {' and '.join(chosen)} are: {path}."
        )
    return servers


def find_server(name: str | None, token_file: Path | None = None) -> Target:
    """Return the server that is named, or the default one, with the user's token.

    Parameters
    ----------
    name : str or None
        A name of the user's file, or a URL; None takes the only server, or the default one.
    token_file : Path, optional
        Instead of the configured one; a URL needs it, or the variable TUNER_TOKEN_FILE.

    Raises
    ------
    UserError
        If there is no such server, or its token cannot be used.
    """
    if name is not None and "://" in name:
        given = token_file or os.environ.get("TUNER_TOKEN_FILE")
        if not given:
            raise UserError(
                f"{name} needs a token: name its file with --token-file or TUNER_TOKEN_FILE."
            )
        url = check_url(name)
        return Target(url, url, _token(Path(given).expanduser()), None)
    servers = known_servers()
    chosen = _chosen(name, servers)
    server, home = servers[chosen], servers_file().absolute().parent
    path = token_file or home / Path(server.token_file).expanduser()
    ca_file = None if server.ca_file is None else home / Path(server.ca_file).expanduser()
    return Target(chosen, server.url, _token(path), ca_file)


def only_server() -> str | None:
    """Return the name of the server that is meant where none is named, if there is one."""
    try:
        return _chosen(None, known_servers())
    except UserError:
        return None


def split_job(text: str) -> tuple[str | None, str] | None:
    """Return (server, job) of `SERVER:JOB` or `:JOB`, the server None for the default one.

    None if the text is not of that form.

    >>> split_job("lab:periodic_T-1a2b3c4d"), split_job(":night"), split_job("night")
    (('lab', 'periodic_T-1a2b3c4d'), (None, 'night'), None)
    """
    match = _JOB.fullmatch(text)
    return None if match is None else (match["server"] or None, match["job"])


def check_url(url: str) -> str:
    """Return a service's URL without a slash at its end.

    Raises
    ------
    UserError
        If it is no http or https address, or holds a user, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        bare = not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:  # a port that is none
        fits = bare = False
    if not (fits and bare) or any(sign.isspace() for sign in url):
        raise UserError(
            f"url must be an address such as http://127.0.0.1:8642, but got {shown(url)}."
        )
    return url.rstrip("/")


def _chosen(name: str | None, servers: Mapping[str, ServerConfig]) -> str:
    path = servers_file()
    if not servers:
        wanted = "No server is known" if name is None else f"Unknown server {name!r}"
        raise UserError(
            f"{wanted}: name one in {path}, such as {EXAMPLE}, or give --server URL and"
            " --token-file FILE."
        )
    if name is not None:
        if name not in servers and ":" in name:  # which no name holds
            raise UserError(f"An address begins with http:// or https://, but got {shown(name)}.")
        if name not in servers:
            raise UserError(f"{did_you_mean('server', name, servers)} They are named in {path}.")
        return name
    default = next((one for one, server in servers.items() if server.default), None)
    if default is not None:
        return default
    if len(servers) > 1:
        raise UserError(
            f"There are several servers: choose one with --server {' or '.join(servers)}, or write"
            f" default = true under one in {path}."
        )
    return next(iter(servers))


def _token(path: Path) -> str:
    """Return the token that a file holds, if nobody else may read it."""
    try:
        with path.open(encoding="ascii") as file:
            open_to_others = os.fstat(file.fileno()).st_mode & 0o077
            text = file.read(4096).strip()
    except OSError as error:
        raise UserError(
            f"Cannot read the token in {path}: {error.strerror}. Who runs the server makes one with"
            " `tuner user add`."
        ) from error
    except ValueError:
        text, open_to_others = "", 0
    if open_to_others:
        raise UserError(f"{path} holds a token and must be readable by you alone: chmod 600 {path}")
    if not re.fullmatch(r"[!-~]{8,512}", text):
        raise UserError(
            f"{path} must hold a token, one line of letters and digits, and nothing else."
        )
    return text
