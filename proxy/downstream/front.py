"""The outermost application: gives each request an id, and tells the observer what was served."""

import asyncio

from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.downstream.tracing import end_request
from proxy.observe import Observer
from proxy.relay.ports import Entropy


class Front:
    """ASGI around ASGI. It wraps no `send`, and hands the server's own one to who sends often."""

    def __init__(self, app: ASGIApp, observer: Observer, entropy: Entropy) -> None:
        self._app = app
        self._observer = observer
        self._entropy = entropy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket to its end."""
        begun = asyncio.get_running_loop().time()
        state = scope.setdefault("state", {})
        state["request_id"] = "req_" + self._entropy.random_bytes(12).hex()
        state["send"] = send
        try:
            await self._app(scope, receive, send)
        finally:
            del state["send"]  # it refers to the request, which refers to its state
            end_request(scope)
            self._observer.served(
                method=str(scope.get("method", "GET")),  # a handshake is one
                route=str(scope.get("path_template", "")),
                status=state.get("status", 499),
                ms=(asyncio.get_running_loop().time() - begun) * 1000,
                request=state["request_id"],
                stream=state.get("stream"),
            )
