"""Whoever dies or vanishes, and whenever: nothing stays held, and all that was used is charged."""

from pathlib import Path

import pytest

from tests.contracts.backends import RedisBackend
from tests.quotas.mortality import live


@pytest.fixture
def valkey(valkey_url: str) -> RedisBackend:
    return RedisBackend(valkey_url)


def test_clients_that_vanish_at_any_moment_are_charged_what_was_said(
    tmp_path: Path, valkey: RedisBackend
) -> None:
    books = live(tmp_path, valkey, kills=0, clients=500, seed=7)

    books.check()
    assert {"completed", "failed", "cancelled"} <= set(books.endings)
    assert books.estimates >= books.endings.count("cancelled") > 0


def test_workers_that_are_killed_at_any_moment_leave_no_hold_and_no_slot(
    tmp_path: Path, valkey: RedisBackend
) -> None:
    books = live(tmp_path, valkey, kills=20, clients=200, seed=8)

    books.check()
    assert books.deaths == 20
    assert books.endings.count("interrupted") > 0
