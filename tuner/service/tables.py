"""The tables of the service's database, and their rows as plain frozen data.

Portable SQL alone: what differs between SQLite and PostgreSQL stands in `database.py` beside it.
Times are Unix seconds. Tokens and sessions are kept as SHA-256 alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from tuner.service.models import JobState, Raise, Wanted

SCHEMA_VERSION = 2
"""Kept in table `service`; a higher one comes from a newer tuner and is refused."""

metadata = MetaData()

service = Table(
    "service",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("tag", String(8), nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("changes", BigInteger, nullable=False),
)
"""One row. `tag` is this database's alone, and part of how Ray knows its jobs. Whoever writes a job
raises `changes` first, which on PostgreSQL, too, lets one writer at a time go on; so it orders what
happened, whatever the clock does."""

users = Table(
    "users",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("admin", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_hash", String(64), primary_key=True),
    Column("user_name", String(100), nullable=False),
    Column("token_hash", String(64), nullable=False),
    Column("expires_at", Float, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("user_name", String(100), nullable=False, index=True),
    Column("key", String(100), nullable=False),
    Column("content", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("fingerprint", String(64)),
    Column("space", String(200)),
    Column("command", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("exclusive", Boolean, nullable=False),
    Column("gpus", Float, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("wanted", String(10), nullable=False),
    Column("reason", Text),
    Column("more", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fruitless", Integer, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("arrival", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("queued_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("told", Boolean, nullable=False),
    UniqueConstraint("user_name", "key"),
    Index("jobs_state", "state"),
)

raises = Table(
    "raises",
    metadata,
    Column("job", String(120), primary_key=True),
    Column("key", String(100), primary_key=True),
    Column("amounts", JSON, nullable=False),
)
"""What a job was resumed with under which of its user's keys: each counts once."""

usage = Table(
    "usage",
    metadata,
    Column("user_name", String(100), primary_key=True),
    Column("amount", Float, nullable=False),
)

data_sets = Table(
    "data_sets",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("images", JSON, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("size", Integer, nullable=False),
    Column("channels", Integer, nullable=False),
    Column("added_by", String(100), nullable=False),
    Column("added_at", Float, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("user_name", String(100), nullable=False),
    Column("action", String(100), nullable=False),
    Column("job", String(120)),
    Column("detail", Text),
    Column("address", String(100)),
)


@dataclass(frozen=True)
class UserRow:
    """Someone who may use the service."""

    name: str
    token_hash: str
    admin: bool
    created_at: float
    last_used_at: float | None
    """Of the token, to the hour."""
    revoked_at: float | None


@dataclass(frozen=True)
class NewJob:
    """What a job is, before it has a name and a place in the queue."""

    kind: Literal["run", "study"]
    user_name: str
    key: str
    """The client's; one job for each of a user's keys."""
    content: str
    """SHA-256 of what was submitted: the same key with another content is a conflict."""
    spec: dict[str, Any]
    """As submitted: its data's source is `synthetic` or the name of a data set."""
    digest: str
    fingerprint: str | None
    space: str | None
    gpus: float
    cpus: int
    priority: int = 0
    exclusive: bool = True
    command: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class JobRow(NewJob):
    """A job; what `models.Job` tells of it, and what the supervisor needs to know."""

    id: str
    state: JobState
    wanted: Wanted
    reason: str | None
    """Why it is in that state, or what it waits for, as a sentence."""
    more: Raise
    """What was added to the budget since it was submitted, in all."""
    attempt: int
    """Of the process that runs or ran last; 0 before the first."""
    fruitless: int
    """Attempts in a row that were lost without a new epoch."""
    epochs: int
    """Epochs that its record held when its attempt began."""
    number: int
    """Orders jobs by when they were submitted."""
    arrival: int
    """Orders jobs by when they were queued last."""
    changed: int
    """`Store.changes()` when this row last changed."""
    created_at: float
    queued_at: float
    started_at: float | None
    """When its first process began."""
    ended_at: float | None
    told: bool
    """Whether the end was told to whom it may concern."""


@dataclass(frozen=True)
class DataSetRow:
    """A registered data set."""

    fingerprint: str
    name: str
    images: dict[str, int]
    classes: list[str]
    size: int
    channels: int
    added_by: str
    added_at: float


@dataclass(frozen=True)
class Act:
    """Who does something and what, for the audit log; written with what it does, or not at all."""

    user: str
    action: str
    detail: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class AuditRow:
    """Something that a user did."""

    at: float
    user_name: str
    action: str
    job: str | None
    detail: str | None
    address: str | None
