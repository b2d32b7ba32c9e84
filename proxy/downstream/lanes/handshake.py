"""``GET /v1/responses``: who may open a Responses WebSocket.

The SDKs send their key as a header of the handshake, so there is no other way to say who one is,
and whoever has none is refused by an HTTP answer. The headers that a POST takes for its one
response hold here for each that is made on the connection.
"""

from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from proxy.downstream.auth import identify, read_credential
from proxy.downstream.create import call_wishes
from proxy.downstream.desk import Desk
from proxy.downstream.http import LANES_PATH
from proxy.downstream.lanes.memory import Memories
from proxy.downstream.lanes.session import LanesSession
from proxy.downstream.websocket.handshake import Guest, Language, language_routes
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.downstream.wishes import PASSED_ON_HEADERS
from proxy.errors import MalformedRequest

_WISHES = ("midstream-detach", "midstream-retention", "midstream-tag")
_OF_ONE_RESPONSE = ("idempotency-key", "last-event-id", "prefer")

_OF_THE_SOCKET = "responses_websockets="
"""What some clients send as `OpenAI-Beta`: of this connection, not of what goes to a provider."""


def lanes_routes(desk: Desk) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The WebSocket, and what a request gets that does not ask for one."""
    memories = Memories()

    async def talk(desk: Desk, socket: WebSocketProtocol, request: str, guest: Guest) -> None:
        assert guest.token is not None, "see `_admit`"
        memory = memories.memory()
        await LanesSession(desk, socket, memory, request, guest.headers).run(guest.token)

    return language_routes(desk, Language(LANES_PATH, None, _admit, talk))


def _admit(desk: Desk, headers: dict[str, str], offered: list[str]) -> Guest:
    if offered:
        raise MalformedRequest(
            "This WebSocket has no subprotocol: offer none.", param="Sec-WebSocket-Protocol"
        )
    for name in _OF_ONE_RESPONSE:
        if name in headers:
            raise MalformedRequest(
                f"{name} is for one response, and this connection makes many: say idempotency_key "
                f"in response.create, or starting_after in response.resume.",
                param=name,
            )
    token = read_credential(headers)
    identify(desk, token)
    kept = {name: headers[name] for name in (*PASSED_ON_HEADERS, *_WISHES) if name in headers}
    if kept.get("openai-beta", "").startswith(_OF_THE_SOCKET):
        del kept["openai-beta"]
    call_wishes(desk, kept)
    return Guest(token, kept)
