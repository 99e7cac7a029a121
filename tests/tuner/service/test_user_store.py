"""Users and sessions: good until they are revoked, expire or are too many."""

from __future__ import annotations

import pytest

from tests.tuner.service.stores import Clock
from tuner.service.store import Conflict, Store
from tuner.service.user_store import MOST_SESSIONS


def test_a_token_is_good_until_it_is_revoked_and_so_are_its_sessions(
    store: Store, clock: Clock
) -> None:
    assert not store.has_users()
    store.add_user("ann", "1" * 64, admin=True)
    with pytest.raises(Conflict, match="ann"):
        store.add_user("ann", "2" * 64)
    found = store.user_of("1" * 64)
    assert found is not None
    assert (found.name, found.admin) == ("ann", True)
    assert store.user_of("2" * 64) is None
    store.add_session("s" * 64, "1" * 64, 10)
    assert store.session_user("s" * 64) == store.user_of("1" * 64)
    clock.now_s += 11
    assert store.session_user("s" * 64) is None
    store.add_session("t" * 64, "1" * 64, 10)
    assert store.revoke_user("ann")
    assert not store.revoke_user("ann")
    assert store.user_of("1" * 64) is None
    assert store.session_user("t" * 64) is None
    assert not store.has_users()
    store.add_user("ann", "3" * 64)
    assert store.user_of("1" * 64) is None
    assert [(user.name, user.admin, user.revoked_at) for user in store.users()] == [
        ("ann", False, None)
    ]
    store.add_session("u" * 64, "3" * 64, 10)
    store.drop_session("u" * 64)
    assert store.session_user("u" * 64) is None


def test_the_oldest_session_of_a_user_with_too_many_is_forgotten(
    store: Store, clock: Clock
) -> None:
    store.add_user("ann", "1" * 64)
    store.add_user("bob", "2" * 64)
    store.add_session("bobs", "2" * 64, 100)
    for number in range(MOST_SESSIONS + 2):
        clock.now_s += 1
        store.add_session(f"session-{number}", "1" * 64, 100)
    good = [store.session_user(f"session-{number}") for number in range(MOST_SESSIONS + 2)]
    assert [user is not None for user in good] == [False] * 2 + [True] * MOST_SESSIONS
    assert store.session_user("bobs") is not None
