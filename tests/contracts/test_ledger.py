"""What every ledger does. See `proxy.relay.ports.Ledger`."""

import asyncio
import secrets
from collections.abc import Sequence

import msgspec
import pytest

from proxy.errors import MalformedRequest
from proxy.policy.quotas import Use
from proxy.relay.ports import Admission, Admitted, Claim, Ledger, Repeat
from proxy.stream import StreamId, new_stream_id
from tests.contracts.backends import Backend, run

NOON = 1_700_000_000.0


def make_admission(
    *,
    owner: str = "o",
    tag: str | None = None,
    key: str | None = None,
    fingerprint: bytes = b"\x00f" * 16,
    created_at: float = NOON,
    keep_s: float = 1000.0,
) -> Admission:
    return Admission(
        stream=new_stream_id(secrets.token_bytes(20)),
        owner=owner,
        created_at=created_at,
        keep_s=keep_s,
        tag=tag,
        claim=None if key is None else Claim(key, fingerprint),
    )


async def list_all(
    ledger: Ledger, owner: str | None, tag: str | None, count: int
) -> Sequence[StreamId]:
    """Every page of a listing, one after the other."""
    streams: list[StreamId] = []
    cursor: str | None = None
    while True:
        page = await ledger.list(owner, tag, cursor, count)
        assert len(page.streams) <= count
        streams.extend(page.streams)
        cursor = page.next_cursor
        if cursor is None:
            return streams
        assert len(page.streams) == count


# --- names -------------------------------------------------------------------------------------


def test_a_name_is_of_its_owners_newest_stream_of_that_name_while_it_is_kept(
    backend: Backend,
) -> None:
    async def test() -> None:
        first, second, other = (make_admission().stream for _ in range(3))
        async with backend.process() as here, backend.process() as there:
            assert await here.ledger.named("o", "resp_1") is None
            await here.ledger.name(first, "o", "resp_1", 1000)
            await here.ledger.name(other, "p", "resp_1", 1000)
            assert await there.ledger.named("o", "resp_1") == first
            assert await there.ledger.named("p", "resp_1") == other
            assert await there.ledger.named("o", "resp_") is None
            assert await there.ledger.named("oresp_", "1") is None
            await there.ledger.name(second, "o", "resp_1", 0.05)
            assert await here.ledger.named("o", "resp_1") == second
            await backend.pass_time(0.1)
            assert await here.ledger.named("o", "resp_1") is None

    run(test)


# --- claims ------------------------------------------------------------------------------------


def test_the_first_use_of_a_key_is_admitted_and_the_next_is_told_of_it(backend: Backend) -> None:
    async def test() -> None:
        first = make_admission(key='k "1" 🦊', fingerprint=b"\x00\xff" * 16)
        same = make_admission(key='k "1" 🦊', fingerprint=b"\x00\xff" * 16)
        other = make_admission(key='k "1" 🦊', fingerprint=b"\x01" * 32)
        async with backend.process() as here, backend.process() as there:
            assert await here.ledger.admit(first) == Admitted([])
            assert await there.ledger.admit(same) == Repeat(first.stream, is_same_request=True)
            assert await there.ledger.admit(other) == Repeat(first.stream, is_same_request=False)
            claim = await there.ledger.find_claim("o", 'k "1" 🦊')
            assert claim == (first.stream, b"\x00\xff" * 16)

    run(test)


def test_a_refused_admission_changes_nothing(backend: Backend) -> None:
    async def test() -> None:
        first, refused = make_admission(key="k"), make_admission(key="k", tag="t")
        async with backend.process(lease_s=0) as here:
            await here.ledger.admit(first)
            assert isinstance(await here.ledger.admit(refused), Repeat)
            assert await list_all(here.ledger, None, None, 10) == [first.stream]
            assert await list_all(here.ledger, "o", "t", 10) == []
            assert list(await here.ledger.overdue(10)) == [first.stream]

    run(test)


def test_an_admission_whose_reply_was_lost_can_be_repeated(backend: Backend) -> None:
    async def test() -> None:
        admission = make_admission(key="k", tag="t")
        async with backend.process() as here:
            assert await here.ledger.admit(admission) == Admitted([])
            assert await here.ledger.admit(admission) == Admitted([])
            assert await list_all(here.ledger, "o", "t", 10) == [admission.stream]

    run(test)


def test_one_owner_s_key_is_not_another_s(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            for owner, key in (("a", "k"), ("b", "k"), ("ak", ""), ("", "ak"), ("a:k", "k")):
                assert await here.ledger.admit(make_admission(owner=owner, key=key)) == Admitted([])
            assert await here.ledger.find_claim("c", "k") is None

    run(test)


def test_of_many_that_use_one_key_at_once_exactly_one_is_admitted(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            for _ in range(5):
                key = secrets.token_hex(8)
                asked = [make_admission(key=key) for _ in range(20)]
                got = await asyncio.gather(
                    *(
                        (here, there)[n % 2].ledger.admit(admission)
                        for n, admission in enumerate(asked)
                    )
                )
                (winner,) = (
                    a.stream for a, r in zip(asked, got, strict=True) if isinstance(r, Admitted)
                )
                repeats = [repeat for repeat in got if isinstance(repeat, Repeat)]
                assert {repeat.stream for repeat in repeats} == {winner}

    run(test)


def test_only_its_holder_gives_a_key_back(backend: Backend) -> None:
    async def test() -> None:
        first, second = make_admission(key="k"), make_admission(key="k")
        async with backend.process() as here:
            await here.ledger.admit(first)
            await here.ledger.release("o", "k", second.stream)
            await here.ledger.release("other", "k", first.stream)
            assert isinstance(await here.ledger.admit(second), Repeat)
            await here.ledger.release("o", "k", first.stream)
            await here.ledger.release("o", "k", first.stream)
            assert await here.ledger.find_claim("o", "k") is None
            assert await here.ledger.admit(second) == Admitted([])

    run(test)


def test_claims_and_list_entries_are_kept_for_as_long_as_was_said(backend: Backend) -> None:
    async def test() -> None:
        brief = make_admission(key="brief", tag="t", keep_s=0.05)
        long = make_admission(key="long", tag="t", created_at=NOON - 5)
        async with backend.process() as here:
            await here.ledger.admit(brief)
            await here.ledger.admit(long)
            await backend.pass_time(0.1)
            assert await here.ledger.find_claim("o", "brief") is None
            assert await here.ledger.find_claim("o", "long") is not None
            for owner, tag in ((None, None), ("o", None), ("o", "t"), (None, "t")):
                assert await list_all(here.ledger, owner, tag, 10) == [long.stream]

    run(test)


# --- lists -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_lists_are_paged_newest_first_by_owner_and_tag(backend: Backend, count: int) -> None:
    async def test() -> None:
        admissions = [
            make_admission(
                owner="ab"[n % 2],
                tag=(None, "x", "y")[n % 3],
                created_at=NOON + (n * 7 % 4) / 1000,  # many at the same moment
            )
            for n in range(24)
        ]
        newest_first = sorted(admissions, key=lambda a: (a.created_at, a.stream), reverse=True)
        async with backend.process() as here, backend.process() as there:
            for admission in admissions:
                await here.ledger.admit(admission)
            for owner in (None, "a", "b", "nobody"):
                for tag in (None, "x", "y", "none"):
                    expected = [
                        a.stream
                        for a in newest_first
                        if owner in {None, a.owner} and tag in {None, a.tag}
                    ]
                    assert await list_all(there.ledger, owner, tag, count) == expected

    run(test)


def test_what_is_not_to_be_listed_is_on_no_list_and_runs_all_the_same(backend: Backend) -> None:
    async def test() -> None:
        hidden = msgspec.structs.replace(make_admission(tag="t"), is_listed=False)
        async with backend.process(lease_s=0) as here:
            assert await here.ledger.admit(hidden) == Admitted([])
            for owner, tag in ((None, None), ("o", None), ("o", "t")):
                assert await list_all(here.ledger, owner, tag, 10) == []
            await backend.pass_time(0.01)
            assert await here.ledger.overdue(10) == [hidden.stream]

    run(test)


def test_a_page_goes_on_where_the_last_ended_whatever_has_come_and_gone(
    backend: Backend,
) -> None:
    async def test() -> None:
        admissions = [make_admission(created_at=NOON + n) for n in range(6)]
        streams = [admission.stream for admission in admissions]
        async with backend.process() as here:
            for admission in admissions:
                await here.ledger.admit(admission)
            page = await here.ledger.list("o", None, None, 2)
            assert list(page.streams) == [streams[5], streams[4]]
            await here.ledger.forget(streams[4], "o", None)
            await here.ledger.forget(streams[3], "o", None)
            await here.ledger.admit(make_admission(created_at=NOON + 10))
            page = await here.ledger.list("o", None, page.next_cursor, 2)
            assert list(page.streams) == [streams[2], streams[1]]
            page = await here.ledger.list("o", None, page.next_cursor, 2)
            assert list(page.streams) == [streams[0]]
            assert page.next_cursor is None

    run(test)


def test_a_cursor_that_no_listing_made_is_refused(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            for cursor in ("", "x", "1", "-", "1-", "(1-st_a", "1e9-st_a", "1-st_a\r\n", "1-" * 99):
                with pytest.raises(MalformedRequest):
                    await here.ledger.list(None, None, cursor, 10)

    run(test)


def test_a_forgotten_stream_is_on_no_list(backend: Backend) -> None:
    async def test() -> None:
        kept, forgotten = make_admission(tag="t"), make_admission(tag="t")
        async with backend.process() as here:
            await here.ledger.admit(kept)
            await here.ledger.admit(forgotten)
            await here.ledger.forget(forgotten.stream, "o", "t")
            await here.ledger.forget(forgotten.stream, "o", "t")
            for owner, tag in ((None, None), ("o", None), ("o", "t"), (None, "t")):
                assert await list_all(here.ledger, owner, tag, 10) == [kept.stream]

    run(test)


# --- running streams ---------------------------------------------------------------------------


def test_a_stream_is_first_overdue_when_its_producer_can_be_dead(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process(lease_s=0.5) as here:
            admission = make_admission()
            await here.ledger.admit(admission)
            assert list(await here.ledger.overdue(10)) == []
            await backend.pass_time(0.6)
            assert list(await here.ledger.overdue(10)) == [admission.stream]

    run(test)


def test_several_sweepers_share_what_is_overdue(backend: Backend) -> None:
    async def test() -> None:
        admissions = [make_admission() for _ in range(10)]
        streams = {admission.stream for admission in admissions}
        async with backend.process(lease_s=0) as one, backend.process(lease_s=0) as two:
            for admission in admissions:
                await one.ledger.admit(admission)
            dealt = [
                *await one.ledger.overdue(4),
                *await two.ledger.overdue(4),
                *await one.ledger.overdue(4),
                *await two.ledger.overdue(4),
            ]
            assert len(dealt) == 10
            assert set(dealt) == streams
            await backend.pass_time(1.1)
            assert set(await two.ledger.overdue(100)) == streams

    run(test)


def test_what_was_looked_at_longest_ago_comes_first(backend: Backend) -> None:
    async def test() -> None:
        old, new = make_admission(), make_admission()
        async with backend.process(lease_s=0) as here:
            await here.ledger.admit(old)
            await backend.pass_time(0.01)
            await here.ledger.admit(new)
            assert list(await here.ledger.overdue(1)) == [old.stream]
            assert list(await here.ledger.overdue(1)) == [new.stream]

    run(test)


def test_a_stream_that_was_put_off_is_due_when_that_time_is_over(backend: Backend) -> None:
    async def test() -> None:
        living, settled, other = make_admission(), make_admission(), make_admission()
        async with backend.process(lease_s=0) as here:
            for admission in (living, settled, other):
                await here.ledger.admit(admission)
            await here.ledger.settle(settled.stream, Use())
            await here.ledger.put_off({living.stream: 0.3, settled.stream: 0.3})
            assert list(await here.ledger.overdue(10)) == [other.stream]
            await backend.pass_time(0.4)
            assert list(await here.ledger.overdue(10)) == [living.stream]

    run(test)


def test_a_settled_stream_is_never_overdue(backend: Backend) -> None:
    async def test() -> None:
        admission = make_admission()
        async with backend.process(lease_s=0) as here:
            await here.ledger.admit(admission)
            await here.ledger.settle(admission.stream, Use())
            await here.ledger.settle(admission.stream, Use())
            assert list(await here.ledger.overdue(10)) == []

    run(test)
