"""Who a connection speaks for: asked once at its beginning, and again for as long as it is open."""

import asyncio
from collections.abc import Callable

from proxy.downstream.auth import identify
from proxy.downstream.desk import Desk
from proxy.errors import NotAuthenticated, NotPermitted
from proxy.policy.keys import Principal

_LOOK_S = 5.0
"""A key that is revoked falls silent within this (the contract)."""
_NOTICE_S = 60.0
"""How long before its end a client is told of it, so that it can bring another credential."""
_SOON_S = 0.01
"""The event loop's clock is not the one that credentials expire by."""


class Credential:
    """See the module. Begins with `take`; stop it.

    `on_lost` gets the reason why it is not valid any more, `on_expiring` the seconds left.
    """

    def __init__(
        self, desk: Desk, on_lost: Callable[[str], None], on_expiring: Callable[[float], None]
    ) -> None:
        self._desk = desk
        self._on_lost = on_lost
        self._on_expiring = on_expiring
        self._token = ""
        self._principal: Principal | None = None
        self._is_announced = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def principal(self) -> Principal:
        """As of the last look."""
        assert self._principal is not None, "nobody is listened to before"
        return self._principal

    def take(self, token: str) -> None:
        """The first one, or another for the same owner. Nothing changes when this raises.

        Raises `NotAuthenticated`, or `NotPermitted` for another owner.
        """
        principal = identify(self._desk, token)
        if self._principal is not None and principal.owner != self._principal.owner:
            raise NotPermitted("A connection stays with the owner that it began with.")
        self.stop()
        self._token, self._principal, self._is_announced = token, principal, False
        self._watch()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self) -> None:
        wait_s = _LOOK_S
        expires_at = self.principal.expires_at
        if expires_at is not None:
            left_s = expires_at - self._desk.switchboard.clock.now()
            if left_s <= _NOTICE_S and not self._is_announced:
                self._is_announced = True
                self._on_expiring(left_s)
            wait_s = min(wait_s, left_s if self._is_announced else left_s - _NOTICE_S)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(wait_s, _SOON_S), self._look)

    def _look(self) -> None:
        try:
            principal = identify(self._desk, self._token)
        except NotAuthenticated as error:
            self._on_lost(str(error))
            return
        if principal.owner != self.principal.owner:
            self._on_lost("This key belongs to another owner now.")
            return
        self._principal = principal
        self._watch()
