"""The API is asked everything that its description allows, and much that it does not.

Schemathesis makes the requests and judges the answers: no 5xx, only statuses, content types and
schemas that are described, nothing without authentication, what does not fit the schema refused.
Event streams have no end and are left to test_events.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from requests.exceptions import InvalidJSONError
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.tuner.service.serving import Serving, submission
from tests.tuner.service.test_api import log_of
from tuner.service.auth import Rate
from tuner.service.reporting import Reports

JOBS = ("going", "waiting", "paused", "done")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    found = Serving(tmp_path_factory.mktemp("fuzz"))
    found.add_job("going")
    found.add_job("waiting", state="queued", curves=None)
    found.add_job("paused", state="paused")
    found.add_job("done", state="finished")
    log_of(found, "going", "é\n".encode() * 100)
    auth = found.app.state.service.auth
    auth._writes = auth._failures = Rate(1e9, 1e9)
    return found


@schemathesis.serializer("application/x-tar")
def as_tar(_: Any, value: Any) -> bytes:
    """Return a body that is said to be a tar."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def real(job: str) -> str:
    """Return a job that there is, half of the time."""
    return JOBS[len(job) // 2 % len(JOBS)] if len(job) % 2 else job


@pytest.fixture
def api(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Any:
    async def made(self: Reports, names: object, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<html>")

    monkeypatch.setattr(Reports, "_make", made)
    logger = logging.getLogger("tuner.service")
    monkeypatch.setattr(logger, "disabled", True)  # it tells of every request that is refused
    loaded = schemathesis.openapi.from_asgi(
        "/api/v1/openapi.json",
        serving.app,
        headers={"Authorization": f"Bearer {serving.tokens['alice']}"},
    )
    return loaded.exclude(path_regex="/events$")


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_route_answers_as_described(api: Any, serving: Serving, mode: GenerationMode) -> None:
    headers = {"Authorization": f"Bearer {serving.tokens['alice']}"}
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) >= 24
    for operation in operations:
        try:
            ask(operation, mode, headers)
        except Unsatisfiable:  # nothing about it can be wrong
            assert mode is GenerationMode.NEGATIVE


def ask(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> None:
    """Ask a route in forty ways and judge its answers."""
    positive = mode is GenerationMode.POSITIVE
    # a cursor, a name or a specification may fit the schema and yet be none; and a query is text:
    # what is an object for the schema is text again in an address
    excluded = [positive_data_acceptance] if positive else []
    if operation.method.upper() == "GET":
        excluded.append(negative_data_rejection)

    @settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        if positive and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = real(str(case.path_parameters["id"]))
        try:
            case.call_and_validate(headers=headers, excluded_checks=excluded)
        except InvalidJSONError:  # of the client: NaN
            reject()

    asked()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=300)
def test_a_specification_that_was_damaged_anywhere_is_queued_or_refused(
    serving: Serving, data: st.DataObject
) -> None:
    """The description calls a specification an object, so schemathesis stays at its surface."""
    body = submission()
    part: Any = body["spec"]
    while True:
        name = data.draw(st.sampled_from(sorted(part)))
        if not (isinstance(part[name], dict) and part[name] and data.draw(st.booleans())):
            break
        part = part[name]
    part[name] = data.draw(VALUES)
    text = json.dumps(body)  # with NaN, Infinity and lone surrogates, as a hostile client may
    answer = serving.client().post(
        "/api/v1/jobs/check", content=text, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (200, 400, 409, 422), answer.text
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]
