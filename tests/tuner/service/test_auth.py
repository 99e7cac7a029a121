"""Tokens and sessions: what is kept of them, when they end, and what a page must send."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from pathlib import Path

import pytest
from httpx import Response
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
    session = client.cookies[COOKIE]
    path = serving.settings.service_folder / "service.db"
    dump = "\n".join(sqlite3.connect(path).iterdump())
    for secret in (*serving.tokens.values(), session):
        assert secret not in dump
        assert hashlib.sha256(secret.encode()).hexdigest() == hashed(secret)
    assert hashed(serving.tokens["alice"]) in dump


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
    session = client.cookies[COOKIE]
    assert client.delete("/api/v1/session", headers={"X-Tuner": "1"}).status_code == 204
    again = serving.client(None)
    again.cookies.set(COOKIE, session)
    assert again.get("/api/v1/me").status_code == 401


def test_a_session_ends_with_its_users_token(serving: Serving) -> None:
    client, _ = logged_in(serving)
    serving.store.revoke_user("alice")
    assert client.get("/api/v1/me").status_code == 401


def test_a_session_expires(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = logged_in(serving)
    later = time.time() + 8 * 86400
    monkeypatch.setattr(serving.store, "_clock", lambda: later)
    assert client.get("/api/v1/me").status_code == 401


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
