"""What a shell is told that completes commands, runs, spaces, presets, servers and their jobs.

A shell asks at every press of Tab. What is asked most is answered from names of files, without the
import of a command, which would take longer than one waits; only a command's options need that, and
only a server knows its jobs.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

VARIABLE = "_TUNER_COMPLETE"
"""By which a shell's function asks."""
SERVER_S = 1.0
"""How long a server may take to say which jobs it has."""
Words = Sequence[str]


class _Names(ShellComplete):
    """Answers from names where it can."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what may stand in the place of an unfinished word."""
        found = _values(args, incomplete)
        return super().get_completions(args, incomplete) if found is None else found


class _Bash(_Names, BashComplete):
    pass


class _Zsh(_Names, ZshComplete):
    pass


class _Fish(_Names, FishComplete):
    pass


CLASSES: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register() -> None:
    """Let click answer a shell by these classes; call it where a shell asks."""
    for name, one in CLASSES.items():
        add_completion_class(one, name)


def _values(words: Words, incomplete: str) -> list[CompletionItem] | None:
    """Return what completes a word after these, or None if it takes the command to know."""
    if not words:
        return [] if incomplete.startswith("-") else _starting(_commands(words), incomplete)
    if words[-1] in PATHS:
        return [CompletionItem(incomplete, type=PATHS[words[-1]])]
    if words[-1] in OPTIONS:
        return _starting(OPTIONS[words[-1]](words), incomplete)
    if words[0] not in ARGUMENTS or words[-1].startswith("-") or incomplete.startswith("-"):
        return None
    found = _starting(ARGUMENTS[words[0]](words), incomplete)
    if found or ARGUMENTS[words[0]] is _jobs:
        return found
    return [CompletionItem(incomplete, type="file")]  # runs may be named by their path


def _starting(names: Iterator[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]


def _commands(_: Words) -> Iterator[str]:
    from tuner.cli import COMMANDS

    yield from COMMANDS


def _runs(words: Words) -> Iterator[str]:
    return _holding("record.db", words)


def _runs_and_studies(words: Words) -> Iterator[str]:
    yield from _runs(words)
    yield from _holding("study.json", words)


def _spaces(_: Words) -> Iterator[str]:
    return _files("search_spaces", ".")


def _presets(_: Words) -> Iterator[str]:
    return _files("tuner", "presets")


def _studies(words: Words) -> Iterator[str]:
    yield from _files("tuner", "study/presets")
    yield from _holding("study.json", words)


def _spaces_and_runs(words: Words) -> Iterator[str]:
    yield from _spaces(words)
    yield from _runs(words)


def _data(words: Words) -> Iterator[str]:
    """Yield what may follow `tuner data`, beside a path."""
    if len(words) == 1:
        yield from ("add", "list", "push")


def _servers(_: Words) -> Iterator[str]:
    from search_spaces.model import UserError
    from tuner.remote.servers import known_servers

    try:
        yield from known_servers()
    except UserError:  # the next command tells what is wrong
        return


def _jobs(words: Words) -> Iterator[str]:
    """Yield the user's jobs on the server that the line names, if it answers at once."""
    from search_spaces.model import UserError
    from tuner.remote.connection import Connection
    from tuner.remote.servers import find_server, split_job

    token_file = _given("--token-file", words)
    try:
        token = None if token_file is None else Path(token_file)
        target = find_server(_given("--server", words), token)
        jobs = json.loads(Connection(target).at_once("/jobs", SERVER_S) or b"[]")
    except (UserError, ValueError, RecursionError):  # the next command tells what is wrong
        return
    for job in jobs if isinstance(jobs, list) else ():
        name = job.get("id") if isinstance(job, dict) else None
        if isinstance(name, str) and split_job(f":{name}"):
            yield name


def _holding(file: str, words: Words) -> Iterator[str]:
    """Yield the names of the folders of runs that hold a file."""
    folder = Path(_given("--runs", words) or "runs").expanduser()
    yield from (path.parent.name for path in folder.glob(f"*/{file}"))


def _given(option: str, words: Words) -> str | None:
    """Return the value that an option has on the line."""
    return words[words.index(option) + 1] if option in words[:-1] else None


def _files(package: str, folder: str) -> Iterator[str]:
    """Yield the names of a package's YAML files, without importing it."""
    found = importlib.util.find_spec(package)
    for place in (found and found.submodule_search_locations) or ():
        yield from (path.stem for path in (Path(place) / folder).glob("*.yaml"))


PATHS = {"--data": "file", "--config": "file", "--runs": "dir", "--cache": "dir"}
OPTIONS: dict[str, Callable[[Words], Iterator[str]]] = {
    "--space": _spaces,
    "--preset": _presets,
    "--server": _servers,
}
ARGUMENTS: dict[str, Callable[[Words], Iterator[str]]] = {
    "resume": _runs,
    "status": _runs,
    "export": _runs,
    "tensorboard": _runs,
    "simulate": _runs,
    "compare": _runs_and_studies,
    "report": _runs_and_studies,
    "show": _spaces_and_runs,
    "study": _studies,
    "data": _data,
    **dict.fromkeys(("jobs", "logs", "stop", "pause", "fetch"), _jobs),
}
