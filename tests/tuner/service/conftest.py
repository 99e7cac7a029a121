"""A store on each kind of database: a new SQLite file, or a schema of its own in a PostgreSQL.

`TUNER_TEST_DATABASE_URL` names it, such as `postgresql+psycopg://tuner@127.0.0.1/test`, and
`TUNER_TEST_DATABASE_RESTART` a command that restarts it; without that, its connections are ended.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.tuner.service.stores import Clock
from tuner.service.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def postgresql() -> Iterator[str]:
    """Make a schema, and yield the URL that leads to it."""
    url = os.environ.get("TUNER_TEST_DATABASE_URL")
    if not url:
        pytest.skip("TUNER_TEST_DATABASE_URL names no PostgreSQL")
    schema = f"test_{secrets.token_hex(4)}"
    engine = create_engine(url, pool_pre_ping=True)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    inside = make_url(url).update_query_dict({"options": f"-csearch_path={schema}"})
    yield inside.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def restart(postgresql: str) -> Callable[[], None]:
    """Return what ends all connections to the PostgreSQL, which is back when it returns."""
    command = os.environ.get("TUNER_TEST_DATABASE_RESTART")
    if command:
        return lambda: subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
    others = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname ="
    others += " current_database() AND pid <> pg_backend_pid()"

    def terminate() -> None:
        engine = create_engine(postgresql)
        with engine.begin() as connection:
            connection.execute(text(others))
        engine.dispose()

    return terminate


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.db'}"
    url: str = request.getfixturevalue("postgresql")
    return url


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    store = Store(database_url, clock)
    yield store
    store.close()
