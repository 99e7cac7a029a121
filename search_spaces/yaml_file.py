"""Read a YAML file that a person wrote, and say in one line what is wrong with it.

YAML 1.2, plain data only: a tab as indentation, a key given twice and a Python tag are refused.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from search_spaces.model import UserError

MAX_BYTES = 100_000
"""A specification of this project has some hundred lines; more than this is another file."""
MAX_VALUES = 10_000
"""Counted as they are used: a few lines of aliases of aliases can stand for billions."""
MAX_DEPTH = 20
KINDS = {
    "study": ({"periodic", "dynamic"}, "tuner study"),
    "space": ({"knobs"}, "tuner run --space"),
    "configuration": ({"space"}, "tuner run --config"),
}
"""What is only in a file of each kind, and which command takes such a file."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises
    ------
    UserError
        If the file is missing, unreadable, not UTF-8, not YAML, or not a mapping of names.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES} bytes: not a file of ours.")
        text = raw.decode("utf-8")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    return parse_yaml(text, str(path))


def check_kind(values: dict[str, Any], path: Path, wanted: str) -> None:
    """Refuse a file of another kind than the one that is wanted, and say what takes it.

    Parameters
    ----------
    values : dict
        What the file holds.
    path : Path
    wanted : {"space", "study", "configuration"}

    Raises
    ------
    UserError
        If it is one of the other two.
    """
    if KINDS[wanted][0] <= values.keys():
        return
    for kind, (keys, command) in KINDS.items():
        if keys <= values.keys():
            raise UserError(
                f"{path} is a {kind}'s file, not a {wanted}'s; it goes with: {command} {path}"
            )


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that YAML text holds; `where` names it in errors."""
    value = parse_value(text, where)
    if value is None:
        raise UserError(f"{where} is empty; expected names and values.")
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{where} must hold names and values (a mapping of text keys).")
    return value


def parse_value(text: str, where: str) -> Any:
    """Return the value that YAML text stands for, such as 3, 0.5, true, text or [1, 2].

    >>> parse_value("1e-3", "--set lr"), parse_value("yes", "--set lr")
    (0.001, 'yes')

    Raises
    ------
    UserError
        If it is not YAML 1.2, or stands for more than a person writes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor given twice
            value = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark and mark.line else ""
        problem = (error.problem or error.context or "not YAML").splitlines()[0]
        raise UserError(f"Not valid YAML: {problem} ({where}{line}).") from error
    except Exception as error:  # KeyError, IndexError, …: a tag that does not fit its value
        first = (str(error).splitlines() or [""])[0]
        raise UserError(f"Not valid YAML: {type(error).__name__} {first} ({where}).") from error
    if not _is_small(value):
        raise UserError(f"{where} nests too deeply or holds more than {MAX_VALUES} values.")
    return value


def _is_small(value: Any) -> bool:
    """Return whether a value, its aliases written out, stays within the limits."""
    count, open_values = 0, [(value, 0)]
    while open_values:
        here, depth = open_values.pop()
        inner = [*here, *here.values()] if isinstance(here, dict) else here
        if isinstance(inner, list | tuple | set):
            open_values += [(item, depth + 1) for item in inner]
        count += 1
        if depth > MAX_DEPTH or count + len(open_values) > MAX_VALUES:
            return False
    return True
