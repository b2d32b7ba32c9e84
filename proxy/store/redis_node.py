"""One Redis server that carries out calls.

It owns the connections and the scripts, and turns what a server can answer into the store's
errors. It never retries a call whose outcome is unknown. What surprises: a call is bytes,
packed by whoever makes it, because the hot path packs its own; each names a key with a hash
tag before anything else with braces, which is all that a cluster needs to send it to the right
place.
"""

import asyncio
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import hiredis

from proxy.errors import StoreFull, StoreUnavailable
from proxy.store.redis_link import Link, Reply, Way, pack

_FOLDER: Final = Path(__file__).parent / "lua"

_MAY_BE_REFUSED: Final = "#!lua\n"
_NEVER_REFUSED: Final = "#!lua flags=allow-oom\n"
"""What reads, ends or frees has to work while Redis is out of memory; what grows has not."""

_SCRIPTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "append": (_MAY_BE_REFUSED, ("time", "append")),
    "append_end": (_NEVER_REFUSED, ("time", "append")),
    "read": (_NEVER_REFUSED, ("time", "state", "read")),
    "states": (_NEVER_REFUSED, ("time", "state", "states")),
    "take_over": (_NEVER_REFUSED, ("time", "state", "take_over")),
    "watch": (_NEVER_REFUSED, ("watch",)),
    "ask_cancel": (_NEVER_REFUSED, ("ask_cancel",)),
    "erase": (_NEVER_REFUSED, ("time", "erase")),
    "attend": (_NEVER_REFUSED, ("time", "attend")),
    "leave": (_NEVER_REFUSED, ("time", "leave")),
    "admit": (_MAY_BE_REFUSED, ("time", "keep", "trim", "meters", "admit")),
    "settle": (_NEVER_REFUSED, ("time", "meters", "settle")),
    "hold_more": (_MAY_BE_REFUSED, ("time", "meters", "hold_more")),
    "standings": (_NEVER_REFUSED, ("time", "meters", "standings")),
    "release": (_NEVER_REFUSED, ("release",)),
    "list": (_NEVER_REFUSED, ("time", "trim", "list")),
    "overdue": (_NEVER_REFUSED, ("time", "keep", "overdue")),
    "put_off": (_NEVER_REFUSED, ("time", "put_off")),
    "report": (_NEVER_REFUSED, ("time", "report")),
    "reports": (_NEVER_REFUSED, ("time", "reports")),
    "conditions": (_NEVER_REFUSED, ("time", "conditions", "conditions_all")),
    "conditions_fail": (_NEVER_REFUSED, ("time", "conditions", "conditions_fail")),
    "conditions_probe": (_NEVER_REFUSED, ("time", "conditions", "conditions_probe")),
    "conditions_succeed": (_NEVER_REFUSED, ("time", "conditions", "conditions_succeed")),
}
"""Each script: whether it may be refused, and the files that it is made of."""


class Script:
    """One script, known to the server by the hash of its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().encode()

    def call(self, keys: Sequence[str], *arguments: bytes | str | int) -> bytes:
        """A call of it, packed."""
        return pack(b"EVALSHA", self.sha, len(keys), *keys, *arguments)


def load_scripts() -> Mapping[str, Script]:
    """All scripts, by name. Reads files."""
    texts = {path.stem: path.read_text("utf-8") for path in _FOLDER.glob("*.lua")}
    return {
        name: Script(shebang + "".join(texts[part] for part in parts))
        for name, (shebang, parts) in _SCRIPTS.items()
    }


class Carrier(Protocol):
    """What carries out calls: one server, or for each call the right one of a cluster."""

    async def run(self, calls: Sequence[bytes]) -> list[Reply]:
        """Carry out `calls` in one round trip, in their order; one reply each.

        Raises `StoreUnavailable`. A call that was refused for want of memory has an error as
        its reply; there are no other errors among the replies, unless the carrier was made so.
        """
        ...

    async def call(self, packed: bytes) -> Reply:
        """Carry out one call. Raises `StoreUnavailable`, `StoreFull`."""
        ...

    async def call_each(self, packed: bytes) -> Mapping[Hashable, Reply]:
        """The same call on every server that takes writes; the replies, by their parts."""
        ...

    def part(self, tag: str) -> Hashable:
        """Which server calls with this tag go to, now. No round trip."""
        ...

    def close(self) -> None:
        """Close every connection that is not in use, and the others when their call is over."""
        ...


class Node:
    """See the module, and `Carrier`. At most `links_max` calls at a time; others wait their turn.

    Errors that begin with one of `returned` are replies; all others are raised.
    """

    def __init__(
        self,
        way: Way,
        scripts: Mapping[str, Script],
        *,
        timeout_s: float,
        links_max: int,
        returned: tuple[str, ...] = ("OOM",),
    ) -> None:
        self._way = way
        self._returned = returned
        self._loading = [pack("SCRIPT", "LOAD", script.text) for script in scripts.values()]
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(links_max)
        self._idle: list[Link] = []
        self._is_closed = False

    async def run(self, calls: Sequence[bytes], until: float | None = None) -> list[Reply]:
        """See `Carrier.run`. `until` (loop time) bounds it, instead of the time for a call."""
        if not calls:
            return []
        try:
            due = until or asyncio.get_running_loop().time() + self._timeout_s
            async with asyncio.timeout_at(due), self._turns:
                link = await self._link()
                replies = await link.exchange(b"".join(calls), len(calls))
                if any(type(reply) is hiredis.ReplyError for reply in replies):
                    await self._mend(link, calls, replies)
        except TimeoutError as error:
            self._drop_idle("it may be another server by now")
            raise StoreUnavailable(f"no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            self._drop_idle("it may be another server by now")
            raise StoreUnavailable(str(error)) from error
        if self._is_closed:
            link.abort("closed")
        else:
            self._idle.append(link)
        return replies

    async def call(self, packed: bytes) -> Reply:
        """See `Carrier.call`."""
        (reply,) = await self.run((packed,))
        if isinstance(reply, hiredis.ReplyError):
            raise StoreFull
        return reply

    async def call_each(self, packed: bytes) -> Mapping[Hashable, Reply]:
        """See `Carrier.call_each`."""
        return {"": await self.call(packed)}

    def part(self, tag: str) -> Hashable:
        """See `Carrier.part`. One server is one part."""
        del tag
        return ""

    def close(self) -> None:
        """See `Carrier.close`."""
        self._is_closed = True
        self._drop_idle("closed")

    def _drop_idle(self, reason: str) -> None:
        for link in self._idle:
            link.abort(reason)
        self._idle.clear()

    async def _link(self) -> Link:
        """A link that was open a moment ago."""
        if self._is_closed:
            raise StoreUnavailable("it was closed")
        while self._idle:
            link = self._idle.pop()
            if not link.is_closed:
                return link
        return await self._way.connect()

    async def _mend(self, link: Link, calls: Sequence[bytes], replies: list[Reply]) -> None:
        """Repeat the calls that did nothing because the server knew no such script.

        That is a server that was restarted, or another one. What is not returned is then raised.
        """
        unknown = [i for i, reply in enumerate(replies) if _says(reply, "NOSCRIPT")]
        if unknown:
            loaded = await link.exchange(b"".join(self._loading), len(self._loading))
            self._raise(link, loaded)
            again = await link.exchange(b"".join(calls[i] for i in unknown), len(unknown))
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        self._raise(link, replies)

    def _raise(self, link: Link, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError) and not str(reply).startswith(self._returned):
                link.abort("it cannot serve")
                self._drop_idle("it cannot serve")  # the next try may reach another server
                raise StoreUnavailable(str(reply))


def _says(reply: Reply, code: str) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(code)
