"""How many read a stream, by what its workers say."""

import secrets

import pytest

from proxy.relay.ports import Report
from proxy.relay.reporter import readers_of
from proxy.stream import new_stream_id
from tests.contracts.backends import make_report

STREAM, OTHER = (new_stream_id(secrets.token_bytes(20)) for _ in range(2))


@pytest.mark.parametrize(
    ("reports", "readers"),
    [
        ([], None),
        ([make_report()], 0),
        ([make_report(streams={OTHER: 7})], 0),
        ([make_report(streams={STREAM: 2, OTHER: 7}), make_report(streams={STREAM: 3})], 5),
        ([make_report(streams={STREAM: 2}, is_partial=True)], 2),
        ([make_report(streams={STREAM: 2}), make_report(is_partial=True)], None),
    ],
)
def test_readers_are_added_up_over_workers_unless_one_may_have_left_some_out(
    reports: list[Report], readers: int | None
) -> None:
    assert readers_of(STREAM, reports) == readers
