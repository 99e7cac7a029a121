"""The systemd units say what systemd, `ray` and `tuner` understand, and keep to the loopback."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tuner.cli import cli
from tuner.cli.serve import PORT

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = DEPLOY / "systemd"
SOCKET = "tuner-serve.socket"
NAMES = ("tuner-ray.service", "tuner-serve.service", "tuner-mps.service")
LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path on Linux."""


class _Values(dict[str, str]):
    """Keeps every value of a setting that is given several times, a line each."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and key in self and isinstance(self[key], list):
            value = self[key] + value
        super().__setitem__(key, value)  # type: ignore[assignment]


def unit(name: str) -> configparser.RawConfigParser:
    """Return a unit, read as an INI file."""
    parser = configparser.RawConfigParser(strict=False, dict_type=_Values, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((UNITS / name).read_text().replace("\\\n", " "))
    return parser


def lines(name: str, setting: str) -> list[str]:
    """Return all values of a service's setting."""
    return unit(name)["Service"].get(setting, "").splitlines()


def words(line: str) -> list[str]:
    """Return the words of a command line, without systemd's prefixes."""
    return shlex.split(line.lstrip("-+@:! "))


def environment(name: str) -> dict[str, str]:
    """Return what `Environment=` sets."""
    pairs = " ".join(lines(name, "Environment")).split()
    return dict(pair.split("=", 1) for pair in pairs)


def parsed(command: click.Command, arguments: list[str]) -> dict[str, object]:
    """Return a click command's parameters as it parses these arguments; raise if it does not."""
    with command.make_context(command.name, list(arguments), resilient_parsing=False) as context:
        return context.params


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", [*NAMES, SOCKET])
def test_systemd_finds_nothing_wrong_but_programs_that_are_not_installed(
    name: str, tmp_path: Path
) -> None:
    for one in (
        *NAMES,
        SOCKET,
    ):  # so that the units that a unit names are there, and none of this machine's
        shutil.copy(UNITS / one, tmp_path)
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "LC_ALL": "C"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", tmp_path / name],
        capture_output=True, text=True, env=environment, timeout=60, check=False,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert told == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", ["tuner-ray.service", "tuner-serve.service"])
def test_the_sandbox_is_as_tight_as_the_documentation_says(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", UNITS / name],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0  # at most 2.0 of 10


def test_ray_understands_its_command_line_and_is_told_to_keep_to_the_loopback() -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    (line,) = lines("tuner-ray.service", "ExecStart")
    program, verb, *arguments = words(line)
    assert (program, verb) == ("/opt/tuner/venv/bin/ray", "start")
    assert arguments.pop() == "$TUNER_RAY_OPTIONS"
    given = parsed(scripts.start, arguments)
    assert given["head"] and given["block"]
    assert (given["node_ip_address"], given["dashboard_host"]) == ("127.0.0.1", "127.0.0.1")
    assert (str(given["port"]), str(given["dashboard_port"])) == ("6379", "8265")
    example = (UNITS / "ray.env.example").read_text()
    (options,) = [one for one in example.splitlines() if one.startswith("#TUNER_RAY_OPTIONS=")]
    assert parsed(scripts.start, options.partition("=")[2].split())["num_gpus"] == 2


def test_ray_has_a_token_and_the_switch_that_really_keeps_it_on_the_loopback() -> None:
    from ray._private import ray_constants

    variables = environment("tuner-ray.service")
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN_PATH"] == "/etc/tuner/ray-token"
    assert variables[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "0"
    section = unit("tuner-ray.service")["Service"]
    assert (section["IPAddressDeny"], section["IPAddressAllow"]) == ("any", "localhost")


def test_tuner_understands_its_command_line_and_listens_to_this_machine_alone() -> None:
    (line,) = lines("tuner-serve.service", "ExecStart")
    program, verb, *arguments = words(line)
    assert program == "/opt/tuner/venv/bin/tuner"
    command = cli.get_command(click.Context(cli), verb)  # type: ignore[attr-defined]
    given = parsed(command, arguments)
    socket = unit(SOCKET)["Socket"]
    assert (socket["ListenStream"], socket.get("Accept")) == (f"127.0.0.1:{PORT}", None)
    assert given["ray"] == "http://127.0.0.1:8265"
    assert str(given["runs"]).startswith("/srv/tuner/")


def test_both_units_know_ray_by_the_same_token_and_run_as_one_unprivileged_user() -> None:
    names = ("tuner-ray.service", "tuner-serve.service")
    for variable in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        assert len({environment(name)[variable] for name in names}) == 1
    for name in NAMES:
        section = unit(name)["Service"]
        assert (section["User"], section["NoNewPrivileges"]) == ("tuner", "yes")


def test_the_port_is_held_while_the_service_starts_again_and_comes_and_goes_with_it() -> None:
    serve = unit("tuner-serve.service")
    assert serve["Unit"]["Requires"] == serve["Install"]["Also"] == SOCKET
    assert "Service" not in unit(SOCKET)["Socket"]  # of the same name


def variables_of(example: str) -> set[str]:
    """Return the variables that an example of settings shows."""
    lines = (UNITS / example).read_text().splitlines()
    return {line[1:].partition("=")[0] for line in lines if line.startswith(("#TUNER", "#CUDA"))}


def test_every_variable_of_the_settings_is_one_that_somebody_reads() -> None:
    serve = cli.get_command(click.Context(cli), "serve")  # type: ignore[attr-defined]
    secrets = {option.envvar for option in serve.params if getattr(option, "envvar", None)}
    assert variables_of("serve.env.example") == secrets
    assert variables_of("ray.env.example") == {"TUNER_RAY_OPTIONS", "CUDA_MPS_PIPE_DIRECTORY"}
    assert environment("tuner-mps.service")["CUDA_MPS_PIPE_DIRECTORY"] == "/run/tuner-mps"
    assert "#CUDA_MPS_PIPE_DIRECTORY=/run/tuner-mps" in (UNITS / "ray.env.example").read_text()


def test_searches_inherit_nothing_that_is_the_services_own() -> None:
    """They are children of Ray's head."""
    assert lines("tuner-ray.service", "EnvironmentFile") == ["-/etc/tuner/ray.env"]
    assert lines("tuner-serve.service", "EnvironmentFile") == ["-/etc/tuner/serve.env"]
    removed = " ".join(lines("tuner-ray.service", "UnsetEnvironment")).split()
    assert set(removed) == variables_of("serve.env.example")
    assert lines("tuner-ray.service", "PassEnvironment") == []
    needed = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED", "TMPDIR", "HOME"}
    assert set(environment("tuner-ray.service")) == needed | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}


def test_the_service_survives_without_ray_and_searches_survive_the_service() -> None:
    serve = unit("tuner-serve.service")
    assert "tuner-ray.service" in serve["Unit"]["After"]
    assert "tuner-ray.service" in serve["Unit"]["Wants"]
    assert not {"BindsTo", "PartOf"} & set(serve["Unit"])
    assert "tuner-ray" not in serve["Unit"]["Requires"]


def test_searches_are_found_by_the_command_that_the_service_gives_to_ray() -> None:
    """What `pkill` looks for is a part of the entrypoint, and of nothing shorter."""
    import re

    import tuner.service.job

    line, wait = lines("tuner-ray.service", "ExecStop")
    pattern = words(line)[-1]
    assert words(wait)[-1] == pattern
    assert re.search(pattern, f"python -m {tuner.service.job.__name__} /srv/tuner/runs/.service/x")
    assert not re.search(pattern, "python -m tuner.service.jobs")
    assert not re.search(pattern, words(line)[0] + " " + pattern)  # pkill itself


def test_ray_has_time_to_let_searches_end_and_is_not_restarted_for_ending_by_sigterm() -> None:
    section = unit("tuner-ray.service")["Service"]
    _, wait = lines("tuner-ray.service", "ExecStop")
    assert int(words(wait)[1]) < int(section["TimeoutStopSec"])
    assert (section["KillMode"], section["SuccessExitStatus"]) == ("mixed", "1")
    assert section["OOMPolicy"] == "continue"  # one trial's end is not everybody's


def test_sockets_fit_into_the_temporary_folders() -> None:
    """The longest names that Ray and tuner give: process ids have up to seven digits."""
    session = "session_2026-11-24_23-18-09_967206_4194304/sockets/plasma_store"
    own = f"{environment('tuner-ray.service')['TMPDIR']}/tuner-ray-4194304-abcdefgh/{session}"
    (line,) = lines("tuner-ray.service", "ExecStart")
    (folder,) = [word.partition("=")[2] for word in words(line) if word.startswith("--temp-dir=")]
    assert max(len(own), len(f"{folder}/{session}")) <= LONGEST_SOCKET


def test_folders_that_the_units_use_are_made_for_the_services_user_alone() -> None:
    made = {
        row[1]: row[2:5]
        for row in map(str.split, (UNITS / "tuner.tmpfiles.conf").read_text().splitlines())
        if row and row[0] == "d"
    }
    for folder in ("/srv/tuner", "/srv/tuner/runs", "/srv/tuner/cache", "/srv/tuner/ray"):
        assert made[folder] == ["0750", "tuner", "tuner"]
    assert environment("tuner-ray.service")["TMPDIR"] in made
