"""Tokens and sessions: what is kept of them, when they end, and what a page must send."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest
from httpx import Cookies, Response
from starlette.testclient import TestClient

from tests.tuner.service.serving import Serving
from tuner.service.auth import COOKIE, Rate, hashed, new_token


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def test_tokens_are_256_random_bits() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token.removeprefix("tuner_")) == 43 for token in tokens)  # 43 × 6 ≥ 256


def test_neither_tokens_nor_sessions_are_in_the_database(serving: Serving) -> None:
    client = serving.client(None)
    client.post("/api/v1/session", json={"token": serving.tokens["alice"]})
    session = client.cookies[name_of(serving)]
    path = serving.settings.service_folder / "service.db"
    dump = "\n".join(sqlite3.connect(path).iterdump())
    for secret in (*serving.tokens.values(), session):
        assert secret not in dump
        assert hashlib.sha256(secret.encode()).hexdigest() == hashed(secret)
    assert hashed(serving.tokens["alice"]) in dump


def name_of(serving: Serving) -> str:
    """Return what a service calls its cookie."""
    return f"{COOKIE}_{serving.store.tag}"


def logged_in(serving: Serving, name: str = "alice") -> tuple[TestClient, Response]:
    client = serving.client(None)
    answer = client.post("/api/v1/session", json={"token": serving.tokens[name]})
    assert answer.status_code == 204
    return client, answer


def test_a_session_is_a_cookie_that_scripts_and_other_sites_cannot_use(serving: Serving) -> None:
    client, answer = logged_in(serving)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert "Secure" not in cookie  # plain http through a tunnel
    assert client.get("/api/v1/me").json() == {"user": "alice", "admin": False}


def test_a_session_opened_over_https_stays_on_https(serving: Serving) -> None:
    client = serving.client(None)
    client.base_url = "https://testserver"
    answer = client.post("/api/v1/session", json={"token": serving.tokens["alice"]})
    assert "Secure" in answer.headers["set-cookie"]


def test_changing_anything_with_a_cookie_needs_the_pages_header(serving: Serving) -> None:
    serving.add_job("mine")
    client, _ = logged_in(serving)
    for headers in ({}, {"X-Tuner": "0"}):
        answer = client.post("/api/v1/jobs/mine/pause", headers=headers)
        assert answer.status_code == 403
        assert "X-Tuner" in answer.json()["error"]
    assert serving.store.job("mine").wanted == "run"  # type: ignore[union-attr]
    assert client.post("/api/v1/jobs/mine/pause", headers={"X-Tuner": "1"}).status_code == 202


def test_a_bearer_token_counts_before_a_cookie(serving: Serving) -> None:
    client, _ = logged_in(serving)
    client.headers["Authorization"] = "Bearer wrong"
    assert client.get("/api/v1/me").status_code == 401


def test_a_session_ends_when_logged_out(serving: Serving) -> None:
    client, _ = logged_in(serving)
    session = client.cookies[name_of(serving)]
    assert client.delete("/api/v1/session", headers={"X-Tuner": "1"}).status_code == 204
    again = serving.client(None)
    again.cookies.set(name_of(serving), session)
    assert again.get("/api/v1/me").status_code == 401


def test_a_session_ends_with_its_users_token(serving: Serving) -> None:
    client, _ = logged_in(serving)
    serving.store.revoke_user("alice")
    assert client.get("/api/v1/me").status_code == 401


def test_a_session_expires_after_half_a_day(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_800_000_000.0
    monkeypatch.setattr(serving.store, "_clock", lambda: now_s)
    client, answer = logged_in(serving)
    assert "Max-Age=43200" in answer.headers["set-cookie"]
    now_s += 43_199
    assert client.get("/api/v1/me").status_code == 200
    now_s += 2
    assert client.get("/api/v1/me").status_code == 401


def test_services_on_one_host_do_not_end_each_others_sessions(tmp_path: Path) -> None:
    servings = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        servings.append(Serving(tmp_path / name))
    browser = Cookies()  # shares cookies among all ports of a host
    clients = [serving.client(None) for serving in servings]
    for client, serving in zip(clients, servings, strict=True):
        client._cookies = browser
        answer = client.post("/api/v1/session", json={"token": serving.tokens["alice"]})
        assert answer.status_code == 204
    assert [client.get("/api/v1/me").status_code for client in clients] == [200, 200]
    assert clients[0].delete("/api/v1/session", headers={"X-Tuner": "1"}).status_code == 204
    assert [client.get("/api/v1/me").status_code for client in clients] == [401, 200]


def test_log_ins_are_slowed_without_keeping_others_of_the_same_address_out(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(serving.app.state.service.auth._log_ins, "_clock", lambda: now_s)

    def log_in(name: str) -> Response:
        body = {"token": serving.tokens[name]}
        return serving.client(None).post("/api/v1/session", json=body)

    answers = [log_in("alice") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [204] * 10 + [429]
    assert answers[-1].json() == {
        "error": "Too many log-ins from this address; wait a few seconds."
    }
    assert log_in("bob").status_code == 204
    now_s += float(answers[-1].headers["Retry-After"])
    assert log_in("alice").status_code == 204


def test_failed_attempts_are_bounded_without_locking_anyone_out(serving: Serving) -> None:
    client = serving.client(None)
    codes = [client.post("/api/v1/session", json={"token": "x"}).status_code for _ in range(30)]
    assert codes[:10] == [401] * 10
    assert set(codes[11:]) == {429}
    client.headers["Authorization"] = "Bearer guess"
    assert client.get("/api/v1/me").status_code == 429
    assert serving.client().get("/api/v1/me").status_code == 200  # from the same address


def test_a_rate_fills_again_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.service import auth

    now = 0.0
    rate = Rate(per_s=2, burst=3, clock=lambda: now)
    assert [rate.take("a") for _ in range(4)] == [True, True, True, False]
    now = 0.5
    assert [rate.take("a") for _ in range(2)] == [True, False]
    now = 100.0
    assert [rate.take("a") for _ in range(4)] == [True, True, True, False]
    monkeypatch.setattr(auth, "MOST_KEYS", 5)
    for name in "bcdefgh":
        rate.take(name)
    assert len(rate._left) == 5
