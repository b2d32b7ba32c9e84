"""The name that a provider gives its answer, known before anybody can see it.

A client that has seen a name may ask for the answer by it, on any worker, at once. So it stands in
the ledger before the event that tells it is written. What surprises: while only the ledger is away
the stream waits, but not for ever: then it goes on, and has no name but its id.
"""

import asyncio
from collections.abc import Callable, Sequence

from proxy.errors import StoreUnavailable
from proxy.relay.lifecycle import Phase
from proxy.relay.ports import Ledger
from proxy.relay.writer import Writer
from proxy.stream import Frame
from proxy.wire.dialect import Dialect

_WITHIN_FRAMES = 8
"""In how many first frames a name is looked for. Chosen: it stands in the very first."""
_EVERY_S = 0.5
_WITHIN_S = 30.0
"""How long a store is waited for that is away. Chosen: the producer waits as long for it."""


class Naming:
    """Looks for the name in what a provider says, which is of `dialect`.

    What is translated has none (`dialect` is None): it is named after its stream.
    """

    def __init__(
        self,
        dialect: Dialect | None,
        writer: Writer,
        ledger: Ledger,
        note_trouble: Callable[[], None],
        keep_s: float,
    ) -> None:
        self._dialect = dialect
        self._writer = writer
        self._ledger = ledger
        self._note_trouble = note_trouble
        self._keep_s = keep_s
        self._frames_left = 0 if dialect is None else _WITHIN_FRAMES

    @property
    def is_open(self) -> bool:
        """Whether the name may still come."""
        return self._frames_left > 0

    async def look(self, frames: Sequence[Frame]) -> None:
        """Have the name known if one of these frames gives it. At most one round trip."""
        assert self._dialect is not None, "it is open"
        names = map(self._dialect.answer_id, frames[: self._frames_left])
        name = next((name for name in names if name is not None), None)
        self._frames_left = 0 if name is not None else max(0, self._frames_left - len(frames))
        if name is not None:
            await self._tell(name)

    async def _tell(self, name: str) -> None:
        birth = self._writer.birth
        loop = asyncio.get_running_loop()
        until = loop.time() + _WITHIN_S
        while self._writer.phase is Phase.OPEN and loop.time() < until:
            try:
                await self._ledger.name(birth.id, birth.owner, name, self._keep_s)
            except StoreUnavailable:
                self._note_trouble()
                await asyncio.sleep(_EVERY_S)
            else:
                return
