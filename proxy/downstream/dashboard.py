"""The dashboard: its page, which holds no data, and the events that it lives by.

Only an operator is told anything. The page is one file with everything in it, and the policy that
it is served with lets it load nothing else. What surprises: who watches is never sent what is
late: a viewer that was behind gets the newest picture next, and what came between is left out.
"""

import asyncio
import base64
import hashlib
import importlib.resources
import re
from collections.abc import Mapping
from typing import Final

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.downstream.auth import must_be_operator
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, common_headers, read_headers, read_query
from proxy.downstream.http import Wire, wire_of
from proxy.downstream.leaving import unless_left
from proxy.downstream.looks import Looks
from proxy.downstream.wishes import refuse_unknown
from proxy.errors import MidstreamError

_RETRY_MS: Final = 1000
_CHECK_S: Final = 5.0
"""How often a viewer's key is looked at again. Chosen: as long as one that is gone may read."""


def dashboard_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    page = importlib.resources.files("proxy").joinpath("web/dashboard.html").read_text("utf-8")
    headers = (("content-security-policy", content_security_policy(page)),)
    asking = page.replace("<html ", "<html data-asks-key ", 1)  # or it would ask for a 401 first
    looks = Looks(
        desk.switchboard,
        desk.observer,
        providers=lambda: list(desk.providers),
        limits=lambda: desk.pools.all_limits(desk.keyring.limits),
    )

    @get("/dashboard")
    async def dashboard(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        del request
        shown = page if desk.keyring.is_open else asking
        return Answer(200, shown.encode(), media_type="text/html; charset=utf-8", headers=headers)

    @get("/v1/dashboard/events")
    async def dashboard_events(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        sent = read_headers(request.scope)
        must_be_operator(desk, sent)
        refuse_unknown(read_query(request.scope), frozenset())
        return PictureStream(desk, looks, sent)

    return [dashboard, dashboard_events]


def content_security_policy(page: str) -> str:
    """What the page may do: run what stands in it, look as it says, ask where it came from."""
    scripts, styles = (
        " ".join(f"'sha256-{_sha256(text)}'" for text in re.findall(pattern, page, re.DOTALL))
        for pattern in (r"<script[^>]*>(.*?)</script>", r"<style[^>]*>(.*?)</style>")
    )
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class PictureStream:
    """The response: a picture each second, until the viewer leaves, is sent away, or may not."""

    def __init__(self, desk: Desk, looks: Looks, headers: Mapping[str, str]) -> None:
        self._desk = desk
        self._looks = looks
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send to the end."""
        del receive
        wire = wire_of(scope)
        over = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not over.done():
                over.set_result(None)

        wire.watch(end)
        self._desk.switchboard.on_send_away(end)
        try:
            scope["state"]["status"] = 200
            headers = common_headers(scope)
            headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
            headers.append((b"x-accel-buffering", b"no"))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            send = scope["state"].get("send", send)
            async with self._looks.watching():
                await self._send_pictures(wire, over, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._desk.switchboard.off_send_away(end)
            wire.unwatch()

    async def _send_pictures(self, wire: Wire, over: "asyncio.Future[None]", send: Send) -> None:
        loop = asyncio.get_running_loop()
        heartbeat_s = self._desk.settings.heartbeat_s
        check_at = loop.time() + _CHECK_S
        picture, body = self._looks.newest, b"retry: %d\n\n" % _RETRY_MS
        if picture:
            body += _event(picture)
        while True:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if wire.is_behind:
                await wire.taken()
            try:
                async with asyncio.timeout(heartbeat_s):
                    picture = await unless_left(self._looks.next(picture), over) or picture
                body = _event(picture)
            except TimeoutError:
                body = b":\n\n"
            if over.done():
                return
            if loop.time() >= check_at:
                check_at = loop.time() + _CHECK_S
                try:
                    must_be_operator(self._desk, self._headers)
                except MidstreamError:
                    return


def _event(picture: bytes) -> bytes:
    return b"event: overview\ndata: " + picture + b"\n\n"
