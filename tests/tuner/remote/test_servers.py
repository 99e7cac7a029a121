"""The file of the user's servers, and every mistake in it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.model import UserError
from tuner.remote.servers import (
    check_url,
    find_server,
    known_servers,
    only_server,
    servers_file,
    split_job,
)

TOKEN = "tnr_0123456789abcdef"
LAB = '[lab]\nurl = "http://127.0.0.1:8642/"\ntoken_file = "lab.token"\n'
HALL = '[hall]\nurl = "https://hall.example.org"\ntoken_file = "hall.token"\nca_file = "ca.pem"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which servers.toml and its tokens lie."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("TUNER_SERVERS", "TUNER_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "tuner"
    folder.mkdir()
    for name in ("lab.token", "hall.token"):
        (folder / name).write_text(f"{TOKEN}\n")
        (folder / name).chmod(0o600)
    return folder


def refused(name: str | None = None, token_file: Path | None = None) -> str:
    with pytest.raises(UserError) as told:
        find_server(name, token_file)
    (line,) = str(told.value).splitlines()
    return line


def test_the_only_server_is_the_default_one(home: Path) -> None:
    (home / "servers.toml").write_text(LAB)
    target = find_server(None)
    assert (target.name, target.url) == ("lab", "http://127.0.0.1:8642")
    assert (target.token, target.ca_file, target.loopback) == (TOKEN, None, True)
    assert only_server() == "lab"


def test_of_several_the_one_marked_default_is_meant_unless_another_is_named(home: Path) -> None:
    (home / "servers.toml").write_text(LAB + HALL)
    assert "choose one with --server lab or hall" in refused()
    assert only_server() is None
    (home / "servers.toml").write_text(LAB + HALL + "default = true\n")
    assert find_server(None).name == only_server() == "hall"
    assert find_server(None).ca_file == home / "ca.pem"
    assert not find_server(None).loopback
    assert find_server("lab").name == "lab"


def test_the_file_can_be_named_by_a_variable_and_tokens_lie_beside_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert servers_file() == home / "servers.toml"
    monkeypatch.setenv("TUNER_SERVERS", str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text(LAB)
    (tmp_path / "lab.token").write_text(TOKEN)
    (tmp_path / "lab.token").chmod(0o400)
    assert find_server(None).token == TOKEN


def test_a_server_can_be_given_by_url_with_a_token(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "name its file with --token-file or TUNER_TOKEN_FILE" in refused("http://localhost:1")
    target = find_server("http://localhost:1/", home / "lab.token")
    assert (target.name, target.url) == ("http://localhost:1", "http://localhost:1")
    monkeypatch.setenv("TUNER_TOKEN_FILE", str(home / "lab.token"))
    assert find_server("http://[::1]:1").loopback


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "No server is known: name one in"),
        ("[lab", "is no TOML file"),
        (b"\xff\xfe", "is no TOML file"),
        ("lab = 3", "must hold a table for each server"),
        ("['a b']", "A server's name must be letters, digits"),
        ("['../x']", "A server's name must be letters, digits"),
        ("[lab]", "url is required, but is missing; token_file is required"),
        (LAB.replace("http:", "ftp:"), "url must be an address such as http://127.0.0.1:8642"),
        (LAB.replace("127", "me:pw@127"), "url must be an address such as"),
        (LAB.replace("8642/", "86420/"), "url must be an address such as"),
        (LAB.replace("8642/", "8642/?a=b"), "url must be an address such as"),
        (LAB + "token_fil = 1", "Unknown field 'token_fil'. Did you mean 'token_file'?"),
        (LAB + "default = 1", "default must be true or false, but got 1"),
        (LAB.replace("lab.token", "none"), "Cannot read the token in"),
        (
            LAB + "default = true\n" + HALL + "default = true",
            "Only one server may be the default, but lab and hall are",
        ),
    ],
)
def test_mistakes_in_the_file_are_told_in_one_line(
    home: Path, text: str | bytes, part: str
) -> None:
    (home / "servers.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    line = refused()
    assert part in line
    assert str(home) in line or "url must" in line


@pytest.mark.parametrize(
    ("content", "mode", "part"),
    [
        (TOKEN, 0o640, "must be readable by you alone: chmod 600"),
        (TOKEN, 0o604, "must be readable by you alone: chmod 600"),
        ("", 0o600, "must hold a token"),
        ("short", 0o600, "must hold a token"),
        (f"{TOKEN}\n{TOKEN}", 0o600, "must hold a token"),
        (f"{TOKEN}é", 0o600, "must hold a token"),
        ("a" * 5000, 0o600, "must hold a token"),
    ],
)
def test_a_token_that_others_may_read_or_that_is_none_is_refused(
    home: Path, content: str, mode: int, part: str
) -> None:
    (home / "servers.toml").write_text(LAB)
    (home / "lab.token").write_text(content)
    (home / "lab.token").chmod(mode)
    line = refused()
    assert part in line
    assert content == "" or content not in line


def test_an_unknown_server_is_told_with_what_is_meant(home: Path) -> None:
    (home / "servers.toml").write_text(LAB + HALL)
    assert "Unknown server 'lba'. Did you mean 'lab'?" in refused("lba")
    (home / "servers.toml").unlink()
    assert "Unknown server 'lab': name one in" in refused("lab")
    assert known_servers() == {}


@given(st.text(max_size=30))
def test_any_text_as_a_job_or_url_is_split_or_refused(text: str) -> None:
    found = split_job(text)
    assert found is None or text == f"{found[0] or ''}:{found[1]}"
    with suppress(UserError):
        assert check_url(f"http://{text}").startswith("http://")


@pytest.mark.parametrize("text", ["lab:", "a/b:c", "lab:../x", ":a b", "C:\\runs", "a:b:c"])
def test_what_is_no_job_of_a_server_is_not_taken_for_one(text: str) -> None:
    assert split_job(text) is None
