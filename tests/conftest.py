"""What holds for all tests: how long one may take is no finding of hypothesis's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.object_server import ObjectServer, object_server

collect_ignore = ["site"]  # for other processes
# A busy machine draws examples slowly; pytest's own timeout bounds a test that hangs.
settings.register_profile("tuner", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tuner")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let processes that share the files begin with the slow ones, so that they end together."""
    if hasattr(config, "workerinput"):  # one of several processes
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def server() -> Iterator[ObjectServer]:
    """Return an S3-compatible server, or skip where none is installed."""
    with object_server() as running:
        yield running
