"""The bells of one process: one pub/sub connection for everything that it listens to.

It owns that connection and the task that keeps it alive; it never looks into what a message
says. Messages may be lost, so after each break every listener gets None: look for yourself.
What surprises: confirmations carry no number, but come in the order of the commands, so a
queue of who asked is enough to tell the confirmation of a subscription from that of an
earlier one to the same channel.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

import hiredis

from proxy.errors import StoreUnavailable
from proxy.store.redis_link import Link, Reply, Way, pack

Listener: TypeAlias = Callable[[bytes | None], None]

_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Between tries to connect. Chosen: a restart is noticed within a second."""

_CHANNELS_MAX: Final = 1000
"""Of one SUBSCRIBE command after a break, so that no command grows without limit."""


class _Channel:
    """One channel, and who listens to it."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.listeners: list[Listener] = []
        self.is_heard = asyncio.Event()
        """Set while the server has confirmed that it will send us every message."""
        self.may_have_missed = False
        """It was heard before the connection broke."""


class Bells:
    """See the module. `start` it, and `close` it.

    `timeout_s` bounds each wait for the server. After that long without a message the connection
    is tried, and given up if that long again brings no answer.
    """

    def __init__(self, way: Way, *, timeout_s: float) -> None:
        self._way = way
        self._timeout_s = timeout_s
        self._channels: dict[bytes, _Channel] = {}
        self._link: Link | None = None
        self._asked: deque[_Channel | None] = deque()
        """Whose confirmation comes next; None for one that nobody waits for."""
        self._broken = asyncio.Event()
        self._was_heard = False
        self._refusal = ""
        """What the server said instead of confirming."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = asyncio.create_task(self._stay_connected())

    async def close(self) -> None:
        """Close the connection. Nobody is called any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # --- for listeners ------------------------------------------------------------------------

    async def listen(self, name: bytes, listener: Listener) -> None:
        """Call `listener` with every message from now on, and with None after a break.

        Returns once the server has confirmed it. Raises `StoreUnavailable` if that takes too
        long; then nobody listens.
        """
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name)
            if self._link is not None:
                self._subscribe(self._link, [channel])
        channel.listeners.append(listener)
        try:
            async with asyncio.timeout(self._timeout_s):
                await channel.is_heard.wait()
        except BaseException as error:
            self.stop_listening(name, listener)
            if isinstance(error, TimeoutError):
                late = f"a subscription was not confirmed within {self._timeout_s:g} s"
                raise StoreUnavailable(self._refusal or late) from error
            raise

    def stop_listening(self, name: bytes, listener: Listener) -> None:
        """No longer call `listener`."""
        channel = self._channels.get(name)
        if channel is None or listener not in channel.listeners:
            return
        channel.listeners.remove(listener)
        if not channel.listeners:
            del self._channels[name]
            if self._link is not None:
                self._asked.append(None)
                self._link.send(pack("UNSUBSCRIBE", name))

    def _subscribe(self, link: Link, channels: list[_Channel]) -> None:
        self._asked.extend(channels)
        link.send(pack("SUBSCRIBE", *(channel.name for channel in channels)))

    # --- the connection -----------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    link = await self._way.connect()
            except OSError:
                failures += 1
            else:
                try:
                    was_good = await self._serve(link)
                finally:
                    link.abort("closed")
                failures = 0 if was_good else failures + 1
            if failures:
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1])

    async def _serve(self, link: Link) -> bool:
        """Until the connection breaks; whether it was ever of use."""
        self._link = link
        self._asked.clear()
        self._broken.clear()
        link.listen(self._heard, lambda _: self._lost(link))
        channels = list(self._channels.values())
        for start in range(0, len(channels), _CHANNELS_MAX):
            self._subscribe(link, channels[start : start + _CHANNELS_MAX])
        was_good = is_tried = False
        while True:
            self._was_heard = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    await self._broken.wait()
            was_good = was_good or self._was_heard
            if self._broken.is_set():
                return was_good
            if self._was_heard:
                is_tried = False
            elif is_tried:
                link.abort("it fell silent")
            else:
                is_tried = True
                link.send(pack("PING"))

    def _lost(self, link: Link) -> None:
        if self._link is not link:
            return
        self._link = None
        self._broken.set()
        for channel in self._channels.values():
            channel.may_have_missed = channel.may_have_missed or channel.is_heard.is_set()
            channel.is_heard.clear()

    def _heard(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._refusal = str(reply)
            if self._link is not None:
                self._link.abort(self._refusal)
            return
        self._was_heard = True
        if not isinstance(reply, list):
            return  # a PONG while nobody listens to anything
        match reply[0]:
            case b"message":
                name, message = reply[1], reply[2]
                assert isinstance(name, bytes) and isinstance(message, bytes), "RESP2"  # noqa: PT018
                self._tell(self._channels.get(name), message)
            case b"subscribe":
                self._confirm(self._asked.popleft())
            case b"unsubscribe":
                self._asked.popleft()
            case _:
                pass  # a PONG

    def _confirm(self, channel: _Channel | None) -> None:
        if channel is None or self._channels.get(channel.name) is not channel:
            return  # nobody listens any more
        channel.is_heard.set()
        if channel.may_have_missed:
            channel.may_have_missed = False
            self._tell(channel, None)

    def _tell(self, channel: _Channel | None, message: bytes | None) -> None:
        """Tell all who listen. A bug in one of them is reported, and is not the others' loss."""
        if channel is None:
            return
        for listener in tuple(channel.listeners):
            try:
                listener(message)
            except Exception as error:  # noqa: BLE001 - each listener is a root of its own
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a listener to the store's bells failed", "exception": error}
                )
