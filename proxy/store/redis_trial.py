"""A trial of the store before anybody relies on it: every command, on every server.

It lives the lives of a few streams, in a corner of the namespace that nobody else looks at, and
takes away what they leave. So a right that is missing, or a server that cannot do what is needed,
shows at the start, and not in the middle of an answer. What surprises: the corner's streams are
named so that each server has one.
"""

import itertools
import re
from collections.abc import Hashable, Mapping
from typing import Final

from proxy.errors import StoreFull
from proxy.policy.breaker import Rule
from proxy.policy.quotas import Ask, Kind, Limit, Use
from proxy.relay.ports import Admission, Append, Claim, End, Identity, Outcome, Report
from proxy.store.redis_journal import RedisJournal
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_link import pack
from proxy.store.redis_node import Carrier, Script
from proxy.store.redis_rests import RedisRests
from proxy.stream import Birth, Ending, Event, StreamId

_KEEP_S: Final = 60.0
"""For what is left if the process dies in the middle."""
_KINDS: Final = tuple(kind for kind in Kind if kind is not Kind.REQUESTS_PER_MINUTE)
"""Limits that forget what was held and not used, so that nothing is left of them."""
_NAMES_MAX: Final = 1000
"""How many names are thought of. Chosen: a server with a hundredth of all slots gets its own."""


async def try_servers(calls: Carrier, *, is_cluster: bool) -> None:
    """What is needed now and then, on every server. Raises `StoreUnavailable`."""
    for command in ("PING", "TIME"):
        await calls.call_each(pack(command))
    await calls.call_each(pack("UNSUBSCRIBE", "nothing"))
    if is_cluster:
        await calls.call_each(pack("ASKING"))


async def try_journal(journal: RedisJournal, worker: str, servers: int) -> None:
    """One stream on each of so many servers. Raises `StoreUnavailable`.

    `journal` gives leases of no length.
    """
    parts: dict[Hashable, StreamId] = {}
    for number in itertools.count():
        stream = StreamId(f"{worker}-{number}")
        parts.setdefault(journal.part(stream), stream)
        if len(parts) >= servers or number >= _NAMES_MAX:
            break
    for stream in parts.values():
        await _live(journal, stream)


async def _live(journal: RedisJournal, stream: StreamId) -> None:
    birth = Birth(
        id=stream,
        owner="",
        dialect="",
        model="",
        provider="",
        created_at=0.0,
        retention_s=_KEEP_S,
    )
    (receipt,) = await journal.append([Append(stream, 1, 1, birth=birth, recipe=b"{}")])
    if receipt.outcome is not Outcome.WRITTEN:
        return  # it is full, or moving: that is no reason not to serve what there is
    watch = await journal.watch(stream, lambda _: None)
    await journal.attend(stream, "reader", _KEEP_S)
    await journal.append([Append(stream, 1, 1, events=[Event(1, "name", b"{}")])])
    await journal.read(stream, 0)
    await journal.states([stream])
    await journal.ask_cancel(stream)
    await journal.leave(stream, "reader")
    await journal.take_over([stream])
    await journal.recipe(stream)
    await journal.append([Append(stream, 2, 2, end=End(Ending.COMPLETED))])
    await watch.close()
    await journal.erase(stream)
    await journal.forget(stream)


async def try_ledger(ledger: RedisLedger, worker: str) -> None:
    """One stream's entries, and a repeat. Raises `StoreUnavailable`.

    `ledger` gives leases of no length.
    """
    stream = StreamId(worker)
    admission = Admission(
        stream=stream,
        owner=worker,
        created_at=0.0,
        keep_s=_KEEP_S,
        tag="tag",
        claim=Claim("key", b"fingerprint"),
        limits=[Limit(worker, kind, 1000) for kind in _KINDS],
        ask=Ask(1, 1),
    )
    try:
        await ledger.admit(admission)
    except StoreFull:
        return
    await ledger.find_claim(worker, "key")
    await ledger.list(worker, "tag", f"1-{worker}", 1)
    await ledger.overdue(1)
    identity = Identity(id=worker, host="", pid=0, version="", started_at=0.0)
    await ledger.report(
        Report(identity, is_draining=True, streams=0, readers=0, readers_by_stream={})
    )
    await ledger.reports()
    await ledger.retire(worker)
    await ledger.standings(admission.limits)
    await ledger.hold_more(stream, [Limit(f"{worker}-more", _KINDS[0], 1000)], Ask(1, 1))
    await ledger.settle(stream, Use())
    await ledger.release(worker, "key", stream)
    await ledger.forget(stream, worker, "tag")


async def try_rests(rests: RedisRests, worker: str) -> None:
    """One target that fails, and is well again. Raises `StoreUnavailable`."""
    await rests.fail(worker, Rule(rest_after=1), "", None)
    await rests.probe(worker)
    await rests.conditions()
    await rests.succeed(worker)


# --- what a refusal means -----------------------------------------------------------------------

_REFUSED: Final = re.compile(r"NOPERM|ACL failure|The user executing the script")
_COMMAND: Final = re.compile(r"run the '([^']+)' command")
_PLACE: Final = re.compile(r"script: ([0-9a-f]{40}), on @user_script:(\d+)")
_CALLED: Final = re.compile(r"redis\.call\('(\w+)'")


def missing_right(reason: str, scripts: Mapping[str, Script]) -> str | None:
    """What the user may not do, if that is why a server refused; in words for an operator.

    Redis 7.0 does not name a command that a script may not run, only the script and the line.
    """
    if not _REFUSED.search(reason):
        return None
    if named := _COMMAND.search(reason):
        return f"may not run {named[1].upper()}"
    if place := _PLACE.search(reason):
        texts = {script.sha.decode(): script.text for script in scripts.values()}
        line = texts.get(place[1], "").splitlines()[int(place[2]) - 1 : int(place[2])]
        if "key" not in reason and line and (called := _CALLED.search(line[0])):
            return f"may not run {called[1]}"
    return f"was refused: {reason}"
