"""docs/server.md names only commands, options, files, ports and units that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.exceptions import MissingParameter, NoArgsIsHelpError

from tests.deploy.test_manifests import cluster, tuner_arguments
from tests.deploy.test_units import NAMES, UNITS, environment, lines
from tuner.cli.serve import PORT
from tuner.docs import cli_document

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "server.md").read_text()


def blocks() -> Iterator[str]:
    """Yield each line of the text's code to be typed."""
    fenced = False
    for line in TEXT.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif line.startswith("    ") and not fenced:
            yield line.strip()


def typed() -> Iterator[list[str]]:
    """Yield the arguments of each complete `tuner` command, in blocks and in the running text."""
    inline = re.findall(r"`(tuner [^`…]+)`", TEXT)
    for line in [*blocks(), *inline]:
        line = re.sub(r"\s#.*", "", line)
        for command in re.split(r"&& ", line):
            match = re.match(
                r"(?:sudo -u tuner (?:\S+=\S+ )*/opt/tuner/venv/bin/)?tuner (.+)", command
            )
            if match:
                yield shlex.split(match[1])


COMMANDS = list(typed())


def test_the_text_has_commands_to_check() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_tuner_understands_each_command(words: list[str]) -> None:
    if words == ["--version"]:
        return
    try:
        tuner_arguments(words)
    except (MissingParameter, NoArgsIsHelpError):  # only named, such as `tuner user add`
        assert not any(word.startswith("-") for word in words)


def test_every_option_in_the_text_is_one_of_tuner_ray_or_a_named_program() -> None:
    others = {
        "--version",
        "--num-gpus",
        "--node-ip-address",
        "--now",
        "--owner",
        "--exclude",
        "--remove",
        "--disabled-password",
        "--gecos",
        "--shell",
        "--ingroup",
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) - others
    known = set(re.findall(r"--[a-z][a-z-]+", cli_document()))
    assert named - known == set()


def test_every_file_of_the_repository_that_is_named_exists() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", TEXT))
    assert {"deploy/install.sh", "deploy/servers.toml.example"} <= named
    missing = {name for name in named if not (ROOT / name).exists()}
    links = re.findall(r"\]\((?!http)([\w.]+)", TEXT)
    missing |= {name for name in links if not (ROOT / "docs" / name).exists()}
    assert missing == set()


def test_every_unit_and_every_setting_that_is_named_exists() -> None:
    units = {name.removesuffix(".service") for name in NAMES} | {"tuner-users"}
    named = set(re.findall(r"\btuner-(?:ray|serve|mps|[a-z]+)(?=[ .`,]|$)", TEXT))
    assert named - {"tuner-runs"} <= units
    settings = "".join(path.read_text() for path in UNITS.glob("*.env.example"))
    settings += str(environment("tuner-ray.service"))
    for variable in re.findall(r"\b((?:TUNER|RAY|CUDA_MPS)_[A-Z_]+)=", TEXT):
        assert variable in settings


def test_ports_are_those_of_the_units_and_of_the_service() -> None:
    (ray,) = lines("tuner-ray.service", "ExecStart")
    ports = set(re.findall(r"--[a-z-]*port=(\d+)", ray)) | {str(PORT)}
    assert {"6379", "8265", "8642"} == ports
    for port in ports:
        assert port in TEXT
    assert f"-L {PORT}:127.0.0.1:{PORT}" in TEXT
    assert cluster()["provider"]["head_ip"] + ":6379" in TEXT


def test_what_a_stop_may_take_is_said_as_the_unit_has_it() -> None:
    _, wait = lines("tuner-ray.service", "ExecStop")
    assert f"waits at most {shlex.split(wait.lstrip('-'))[1]} s" in TEXT
