"""Who may do what: every route of the API's description, for everybody who may come along.

The routes come from the description itself, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.tuner.service.serving import Serving, submission
from tuner.service.tables import DataSetRow

OPEN = {("get", "/health"), ("post", "/api/v1/session")}
"""Routes that need no token."""
ADMINS = {("get", "/api/v1/audit")}
FINGERPRINT = "0" * 64
OWN = "job-of-alice"


class Route(NamedTuple):
    """A method and a path of the description."""

    method: str
    path: str

    @property
    def of_a_job(self) -> bool:
        return "{id}" in self.path or self.path == "/api/v1/compare" or "{names}" in self.path


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    found = Serving(tmp_path)
    found.add_user("gone")
    found.store.revoke_user("gone")
    found.add_job(OWN, "alice")
    found.store.add_data_set(DataSetRow(FINGERPRINT, "set", {}, [], 48, 1, "alice", 0.0))
    return found


def routes(serving: Serving) -> list[Route]:
    paths = serving.app.openapi()["paths"]
    return [Route(method, path) for path, methods in paths.items() for method in methods]


def asked(serving: Serving, client: Any, route: Route, **more: Any) -> int:
    """Ask for a route, about alice's job, with a body that it takes; return the status."""
    path = route.path.replace("{id}", OWN).replace("{names}", OWN)
    path = path.replace("{fingerprint}", FINGERPRINT).replace("{name}", "set")
    bodies = {
        "/api/v1/jobs": submission(),
        "/api/v1/jobs/check": submission(),
        "/api/v1/compare": {"jobs": [OWN]},
        "/api/v1/specs": {},
        "/api/v1/session": {"token": serving.tokens["alice"]},
    }
    if route.method in ("post", "put", "delete") and route.path in bodies:
        more["json"] = bodies[route.path]
    if route.path.endswith("/events"):
        return first_status(serving, path, client)
    return int(client.request(route.method.upper(), path, **more).status_code)


def first_status(serving: Serving, path: str, client: Any) -> int:
    """Return the status of an event stream, which would go on for ever, without its body."""
    found: list[int] = []

    async def run() -> None:
        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
            "query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in client.headers.items()],
            "client": ("127.0.0.1", 1), "server": ("testserver", 80), "asgi": {"version": "3.0"},
        }  # fmt: skip

        begun = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                found.append(message["status"])
                begun.set()

        await asyncio.wait_for(serving.app(scope, receive, send), 20)  # type: ignore[arg-type]

    asyncio.run(run())
    return found[0]


def test_the_description_has_the_routes_that_are_promised(serving: Serving) -> None:
    promised = {
        "get /api/v1/me", "get /api/v1/server", "get /api/v1/datasets",
        "put /api/v1/datasets/{fingerprint}/{name}",
        "post /api/v1/datasets/{fingerprint}/{name}/check", "post /api/v1/jobs",
        "post /api/v1/jobs/check",
        "get /api/v1/jobs", "get /api/v1/jobs/{id}", "post /api/v1/jobs/{id}/stop",
        "post /api/v1/jobs/{id}/pause", "post /api/v1/jobs/{id}/resume",
        "get /api/v1/jobs/{id}/log", "get /api/v1/jobs/{id}/trials",
        "get /api/v1/jobs/{id}/curves", "get /api/v1/jobs/{id}/archive",
        "get /api/v1/jobs/{id}/report", "post /api/v1/compare", "get /api/v1/comparisons/{names}",
        "get /api/v1/queue", "get /api/v1/events", "get /api/v1/jobs/{id}/events",
        "get /api/v1/audit", "post /api/v1/session", "delete /api/v1/session",
        "post /api/v1/specs", "get /health",
    }  # fmt: skip
    assert {f"{one.method} {one.path}" for one in routes(serving)} == promised


def test_nobody_gets_anything_without_a_good_token(serving: Serving) -> None:
    for route in routes(serving):
        if tuple(route) in OPEN:
            continue
        for name in (None, "gone"):
            status = asked(serving, serving.client(name), route)
            assert status in (401, 429), (route, name, status)


def test_a_bad_token_is_refused_everywhere(serving: Serving) -> None:
    for route in routes(serving):
        if tuple(route) in OPEN:
            continue
        for header in ("Bearer wrong", "Bearer ", "Basic YTpi", serving.tokens["alice"]):
            client = serving.client(None)
            client.headers["Authorization"] = header
            status = asked(serving, client, route)
            assert status in (401, 429), (route, header, status)


def test_another_users_job_does_not_exist(serving: Serving) -> None:
    """And the answer is the one for a job that there is not."""
    seen = 0
    for route in routes(serving):
        if route.of_a_job:
            seen += 1
            assert asked(serving, serving.client("bob"), route) == 404, route
    assert seen >= 12
    bob = serving.client("bob")
    lines = [bob.get(f"/api/v1/jobs/{id}").json()["error"] for id in (OWN, "job-of-nobody")]
    assert lines[0].replace(OWN, "job-of-nobody") == lines[1]


@pytest.mark.parametrize("name", ["alice", "root"])
def test_the_owner_and_an_admin_may_do_everything(serving: Serving, name: str) -> None:
    for route in routes(serving):
        if tuple(route) in OPEN or (tuple(route) in ADMINS and name != "root"):
            continue
        if route.path.endswith("/report") or "{names}" in route.path:
            continue  # takes seconds; see test_files
        status = asked(serving, serving.client(name), route)
        allowed = {200, 201, 202, 204}
        if route.path.endswith("/resume"):
            allowed = {409}  # it runs; so the right was there
        if route.method == "put":
            allowed = {422}  # an empty body is no tar
        assert status in allowed, (route, status)


def test_only_an_admin_reads_the_audit_log(serving: Serving) -> None:
    for method, path in ADMINS:
        assert asked(serving, serving.client("alice"), Route(method, path)) == 403
        assert asked(serving, serving.client("root"), Route(method, path)) == 200


def test_the_description_needs_a_token(serving: Serving) -> None:
    assert serving.client(None).get("/api/v1/openapi.json").status_code == 401
    assert serving.client().get("/api/v1/openapi.json").json()["openapi"].startswith("3.")
