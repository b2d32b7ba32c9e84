"""Who may open a WebSocket, and who only learns why not.

A handshake that is refused gets an HTTP answer like any other request. What surprises: a browser
cannot see that answer, so a bad key that came as a subprotocol, which only browsers have a
reason to use, is told after the opening, by the close code.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from litestar import Request, WebSocket, get, websocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.types import ASGIApp, Scope

from proxy.downstream.auth import authenticate, identify, read_credential, refuse_the_web
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, common_headers, read_headers, request_id
from proxy.downstream.http import WS_PATH
from proxy.downstream.problems import dialect_of_caller, problem_answer
from proxy.downstream.websocket.connection import BUG
from proxy.downstream.websocket.protocol import SOCKET, WebSocketProtocol
from proxy.downstream.websocket.session import Session
from proxy.downstream.wishes import PASSED_ON_HEADERS
from proxy.errors import MalformedRequest, MidstreamError, UpgradeRequired
from proxy.observe import TRACE_HEADERS

SUBPROTOCOL = "midstream.v1"
_AUTH_SUBPROTOCOL = "midstream.auth."
"""And a key: how a browser says who it is in the handshake. It is never repeated in an answer."""


class Guest(NamedTuple):
    """What is kept of a handshake."""

    token: str | None
    headers: Mapping[str, str]
    """Those that mean something later."""


class Language(NamedTuple):
    """What is spoken at a path."""

    path: str
    subprotocol: str | None
    admit: Callable[[Desk, dict[str, str], list[str]], Guest]
    """By the handshake's headers and subprotocols. Raises what refuses it."""
    talk: Callable[[Desk, WebSocketProtocol, str, Guest], Awaitable[None]]
    """Until either side closes. The string is the request's id."""


def websocket_routes(desk: Desk) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """Our own WebSocket: many streams, in any dialect."""
    return language_routes(desk, Language(WS_PATH, SUBPROTOCOL, _admit, _talk))


def language_routes(
    desk: Desk, language: Language
) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The WebSocket, and what a request gets that does not ask for one."""

    @get(language.path)
    async def refuse(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        authenticate(desk, read_headers(request.scope))
        raise UpgradeRequired

    @websocket(language.path)
    async def talk(socket: WebSocket) -> None:  # type: ignore[type-arg]
        await _serve(desk, socket.scope, language)

    return [refuse, talk]


async def _serve(desk: Desk, scope: Scope, language: Language) -> None:
    socket: WebSocketProtocol = scope["extensions"][SOCKET]  # type: ignore[index,assignment]
    await socket.receive()  # ASGI's websocket.connect
    guest = await _open(desk, scope, socket, language)
    if guest is None:
        return
    try:
        await language.talk(desk, socket, request_id(scope), guest)
    except Exception as error:  # noqa: BLE001 - the connection's root: a bug, told in the log
        desk.observer.internal_error(error, request=request_id(scope))
        socket.close(BUG, "something went wrong inside the proxy; its log knows more")
    await socket.wait_closed()  # a server that stops cuts connections that nobody serves


async def _open(
    desk: Desk, scope: Scope, socket: WebSocketProtocol, language: Language
) -> Guest | None:
    """Answer the handshake; None if that is a refusal."""
    headers = read_headers(scope)
    offered: list[str] = scope["subprotocols"]  # type: ignore[typeddict-item]
    try:
        if desk.keyring.is_open:
            refuse_the_web(headers)
        guest = language.admit(desk, headers, offered)
    except MidstreamError as error:
        dialect = dialect_of_caller(scope, headers, desk.dialects)
        await _deny(scope, socket, problem_answer(scope, error.problem(), dialect))
        return None
    scope["state"]["status"] = 101
    await socket.send(
        {
            "type": "websocket.accept",
            "subprotocol": language.subprotocol if offered else None,
            "headers": common_headers(scope),
        }
    )
    socket.forget_handshake()
    return guest


def _admit(desk: Desk, headers: dict[str, str], offered: list[str]) -> Guest:
    kept = (*PASSED_ON_HEADERS, *TRACE_HEADERS)
    return Guest(
        _token(desk, headers, offered), {name: headers[name] for name in kept if name in headers}
    )


async def _talk(desk: Desk, socket: WebSocketProtocol, request: str, guest: Guest) -> None:
    await Session(desk, socket, request, guest.headers).run(guest.token)


def _token(desk: Desk, headers: dict[str, str], offered: list[str]) -> str | None:
    """The credential that the handshake carries, or None: then the first message has to.

    Raises what refuses the handshake. One from a subprotocol is not looked at yet.
    """
    if offered and SUBPROTOCOL not in offered:
        raise MalformedRequest(
            f"The one subprotocol is {SUBPROTOCOL!r}: offer it, or none.",
            param="Sec-WebSocket-Protocol",
        )
    credential = read_credential(headers)
    if credential or desk.keyring.is_open:
        identify(desk, credential)
        return credential
    keys = [one for one in offered if one.startswith(_AUTH_SUBPROTOCOL)]
    return keys[0].removeprefix(_AUTH_SUBPROTOCOL) if keys else None


async def _deny(scope: Scope, socket: WebSocketProtocol, answer: Answer) -> None:
    """Refuse the handshake with an HTTP answer (ASGI's ``websocket.http.response``)."""

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI has no type for these
        denial: Any = {**message, "type": f"websocket.{message['type']}"}
        await socket.send(denial)

    await answer(scope, socket.receive, send)  # type: ignore[arg-type]
    socket.handshake_complete = True  # else uvicorn takes it for one that nobody answered
