"""The follower against servers that misbehave: what it puts up with, and what it does not."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web

from proxy.errors import LineLost, PromiseBroken, ServerError, ServerRefused, ServerUnreachable
from proxy.stream import Event, StreamId
from proxy.terminal.follower import Follower, Setback, is_final, is_passed_over, pause_s
from proxy.terminal.heard import End
from proxy.terminal.lines import LINES
from proxy.terminal.server import Server, open_session

STREAM = StreamId("st_0123456789abcdefghijklmnop")
EVENTS = [Event(n, "", b'{"n":%d}' % n) for n in (1, 2, 3)]

Handler = Callable[[web.Request], Coroutine[object, object, web.StreamResponse]]


@asynccontextmanager
async def served(ws: Handler, events: Handler) -> AsyncIterator[Server]:
    """A server with these two, and a stream that has ended after three events."""

    async def state(_: web.Request) -> web.Response:
        return web.json_response(
            {"dialect": "openai.chat", "last_event_id": 3, "ending": "completed"}
        )

    app = web.Application()
    app.router.add_get("/v1/ws", ws)
    app.router.add_get(f"/v1/streams/{STREAM}/events", events)
    app.router.add_get(f"/v1/streams/{STREAM}", state)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Server(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


class Followed:
    """What a follower gave out, and what it said meanwhile."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.end: End | None = None
        self.told: list[str] = []
        self.error: ServerError | None = None


def follow(ws: Handler, events: Handler, *, over: Sequence[str] = tuple(LINES)) -> Followed:
    followed = Followed()

    async def read() -> None:
        async with served(ws, events) as server, open_session(server) as session:
            follower = Follower(
                session,
                server,
                STREAM,
                0,
                {name: LINES[name] for name in over},
                tell=followed.told.append,
                spread=lambda: -1.0,
            )
            async with aclosing(follower.follow()) as heard:
                async for one in heard:
                    if isinstance(one, End):
                        followed.end = one
                    else:
                        followed.events.append(one)

    async def bounded() -> None:
        async with asyncio.timeout(20):
            try:
                await read()
            except ServerError as error:
                followed.error = error

    asyncio.run(bounded())
    return followed


async def refuse(_: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "Not here."}}, status=404)


async def break_off(_: web.Request) -> web.Response:
    return web.Response(status=502, text="<html>no</html>")


def sse(*blocks: bytes) -> Handler:
    """Each connection gets the next of `blocks`, and is then closed."""
    left = list(blocks)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(left.pop(0))
        return response

    return answer


def wire(*events: Event) -> bytes:
    return b"".join(b"id: %d\ndata: %b\n\n" % (event.id, event.data) for event in events)


async def poll(request: web.Request) -> web.StreamResponse:
    if "event-stream" in request.headers["accept"]:
        return await break_off(request)
    after = int(request.query["after"])
    left = [{"id": e.id, "event": e.name, "data": json.loads(e.data)} for e in EVENTS[after:]]
    return web.json_response(
        {"events": left, "last_id": 3, "ended": True, "ending": "completed"},
        dumps=lambda answer: json.dumps(answer, separators=(",", ":")),
    )


# --- falling back -------------------------------------------------------------------------------


def test_what_brings_nothing_twice_is_passed_over_down_to_long_poll() -> None:
    async def close(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["midstream.v1"])
        await socket.prepare(request)
        await socket.close(code=1011)
        return socket

    async def events(request: web.Request) -> web.StreamResponse:
        if "event-stream" in request.headers["accept"]:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            assert request.transport is not None
            request.transport.abort()
            return response
        return await poll(request)

    followed = follow(close, events)

    assert followed.events == EVENTS
    assert followed.end == End("completed", 3)
    assert followed.told == [
        "line lost (closed with 1011), again in 1 s",
        "ws brings nothing, going on over sse",
        "connected over sse",
        followed.told[3],
        "connected over sse",
        "sse brings nothing, going on over poll",
        "connected over poll",
    ]


def test_a_proxy_that_knows_no_websocket_is_no_reason_to_give_up() -> None:
    followed = follow(refuse, sse(wire(*EVENTS)))

    assert followed.events == EVENTS
    assert "ws brings nothing, going on over sse" in followed.told


def test_a_line_that_brought_something_is_never_passed_over() -> None:
    blocks = [wire(event) for event in EVENTS]

    followed = follow(refuse, sse(*blocks), over=("sse", "poll"))

    assert followed.events == EVENTS
    assert not [told for told in followed.told if "going on over" in told]
    assert "connected over sse, resumed after 2" in followed.told


def test_the_one_transport_that_was_asked_for_is_not_left() -> None:
    followed = follow(refuse, sse(wire(*EVENTS)), over=("ws",))

    assert isinstance(followed.error, ServerRefused)
    assert followed.events == []


# --- what is never accepted ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (wire(EVENTS[0], EVENTS[2]), "event 3 came after event 1"),
        (wire(EVENTS[0], EVENTS[1], EVENTS[1]), "event 2 came after event 2"),
        (wire(EVENTS[0], EVENTS[0]), "event 1 came after event 1"),
        (b"id: x\ndata: {}\n\n", "an event whose id is no number"),
    ],
)
def test_an_event_out_of_its_place_is_an_error_and_is_not_given_out(sent: bytes, told: str) -> None:
    followed = follow(refuse, sse(sent), over=("sse",))

    assert isinstance(followed.error, PromiseBroken)
    assert told in str(followed.error)
    assert [event.id for event in followed.events] == list(range(1, len(followed.events) + 1))


def test_an_end_before_the_last_event_is_an_error() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"events": [], "last_id": 3, "ended": True, "ending": "completed"})

    followed = follow(refuse, answer, over=("poll",))

    assert isinstance(followed.error, PromiseBroken)
    assert followed.end is None


def test_a_heartbeat_is_no_event() -> None:
    beats = b": ping\n" + wire(EVENTS[0]) + b'event: ping\ndata: {"type":"ping"}\n\n'

    followed = follow(refuse, sse(beats + wire(*EVENTS[1:])), over=("sse",))

    assert followed.events == EVENTS


# --- verdicts -----------------------------------------------------------------------------------

LOST = LineLost("it broke")
NO_WEBSOCKET = ServerRefused("u", 404, "no", is_of_the_line=True)


@pytest.mark.parametrize(
    ("setback", "final", "passed_over"),
    [
        (Setback(LOST, 1, has_another=True), False, False),
        (Setback(LOST, 2, has_another=True), False, True),
        (Setback(LOST, 9, has_another=False), False, False),
        (Setback(ServerUnreachable("u", "r"), 0, has_another=False), False, False),
        (Setback(ServerRefused("u", 404, "no"), 0, has_another=True), True, False),
        (Setback(ServerRefused("u", 404, "no"), 0, has_another=False), True, False),
        (Setback(NO_WEBSOCKET, 1, has_another=True), False, False),
        (Setback(NO_WEBSOCKET, 2, has_another=True), False, True),
        (Setback(NO_WEBSOCKET, 1, has_another=False), True, False),
    ],
)
def test_what_follows_from_a_setback(setback: Setback, final: bool, passed_over: bool) -> None:
    assert (is_final(setback), is_passed_over(setback)) == (final, passed_over)


def test_pauses_double_up_to_half_a_minute_and_spread_by_a_quarter() -> None:
    assert [pause_s(tries, 0) for tries in range(1, 9)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert (pause_s(1, -1), pause_s(1, 1), pause_s(99, 1)) == (0.75, 1.25, 37.5)
