"""Who cancels an answer stops its provider within a second, wherever it is and whoever asks."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from tests.faults.phases import MOVES, PHASES
from tests.faults.provider import Provider
from tests.fleets import Instance, binary_of
from tests.reading import lower, session
from tests.server import serving

_PROMISED_S = 1.0
_BUSY_S = 1.0
"""On top of what is promised: for a machine that runs other things too."""
_SYN_SENT = "02"


class Asked(NamedTuple):
    """An answer in the making."""

    http: aiohttp.ClientSession
    url: str
    other_url: str
    """Of another worker."""
    stream: str
    leave: Callable[[], Awaitable[None]]
    """Close the connection that asked."""


async def _by_post(asked: Asked) -> None:
    async with asked.http.post(f"{asked.url}/v1/streams/{asked.stream}/cancel") as answer:
        assert answer.status == 200


async def _by_delete(asked: Asked) -> None:
    async with asked.http.delete(f"{asked.url}/v1/streams/{asked.stream}") as answer:
        assert answer.status in {200, 204}


async def _from_another_worker(asked: Asked) -> None:
    async with asked.http.post(f"{asked.other_url}/v1/streams/{asked.stream}/cancel") as answer:
        assert answer.status == 200


async def _by_leaving(asked: Asked) -> None:
    await asked.leave()


WAYS = {
    "by POST": _by_post,
    "by DELETE": _by_delete,
    "by POST to another worker": _from_another_worker,
    "by leaving": _by_leaving,
}


class Place(NamedTuple):
    """Two workers on one store, and the provider that both ask."""

    http: aiohttp.ClientSession
    urls: tuple[str, str]
    provider: Provider

    async def ask(self, model: str, tag: str, *, is_answered: bool) -> Asked:
        """Begin an answer, as a client that reads it, and wait until it is where it is to be."""
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"Midstream-Tag": tag, "Midstream-Detach": "cancel"}
        posting = asyncio.ensure_future(self._post(body, headers))

        async def leave() -> None:
            posting.cancel()
            await asyncio.wait([posting])
            if not posting.cancelled():
                posting.result().close()

        if is_answered:
            answer = await asyncio.shield(posting)
            await answer.content.readany()
            stream = lower(answer.headers)["midstream-stream"]
        else:
            stream = await self._tagged(tag)
        return Asked(self.http, *self.urls, stream, leave)

    async def _post(self, body: Any, headers: dict[str, str]) -> aiohttp.ClientResponse:
        return await self.http.post(
            f"{self.urls[0]}/v1/chat/completions", json=body, headers=headers
        )

    async def _tagged(self, tag: str) -> str:
        async with asyncio.timeout(10):
            while True:
                url = f"{self.urls[0]}/v1/streams?tag={tag}"
                async with self.http.get(url) as answer:
                    found = (await answer.json())["data"]
                if found:
                    return str(found[0]["id"])
                await asyncio.sleep(0.02)

    async def is_over(self, stream: str) -> bool:
        """Whether it has ended as cancelled, or is erased."""
        async with self.http.get(f"{self.urls[0]}/v1/streams/{stream}") as answer:
            return answer.status in {404, 410} or (await answer.json())["ending"] == "cancelled"


def _slug(phase: str) -> str:
    return phase.replace(" ", "-")


def _config(store: int, urls: dict[str, str]) -> str:
    parts = [f'[store]\nurl = "redis://127.0.0.1:{store}/0"\n[streams]\nfirst_content_s = 30\n']
    parts += [
        f'[providers.{name}]\nkind = "openai"\nbase_url = "{url}/v1"\n'
        f'[models."{name}/*"]\ntargets = ["{name}/*"]\n'
        for name, url in urls.items()
    ]
    return "".join(parts)


def _in_place(
    folder: Path, story: Callable[[Place], Awaitable[None]], models: str = "", **urls: str
) -> None:
    async def scenario() -> None:
        scripts = {_slug(name): phase.script for name, phase in {**PHASES, **MOVES}.items()}
        async with Provider.running(scripts) as provider, session() as http:
            with ExitStack() as stack:
                store = Instance(binary_of("valkey"), folder, [])
                stack.callback(store.end)
                config = _config(store.port, {"fake": provider.url, **urls}) + models
                served = [stack.enter_context(serving(folder, config, name=n)) for n in "ab"]
                await story(Place(http, (served[0].url, served[1].url), provider))

    asyncio.run(scenario())


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_PROMISED_S + _BUSY_S):
        while not await is_so():
            await asyncio.sleep(0.02)


def test_cancelling_closes_the_providers_connection_within_a_second(tmp_path: Path) -> None:
    late: dict[tuple[str, str], float | str] = {}

    async def cancel(place: Place, phase: str, way: str) -> None:
        model = f"{_slug(phase)}:{_slug(way)}"
        asked = await place.ask(f"fake/{model}", model, is_answered=PHASES[phase].is_answered)
        ask = await place.provider.asked("bad", "chat", model)
        began = time.monotonic()
        await WAYS[way](asked)
        try:
            await _until(lambda: place.is_over(asked.stream))
            if PHASES[phase].is_connected:
                async with asyncio.timeout(_PROMISED_S + _BUSY_S):
                    await ask.over.wait()
                assert ask.left_at is not None, "it was left, and had not ended"
                if ask.left_at - began > _PROMISED_S + _BUSY_S:
                    late[phase, way] = ask.left_at - began
        except TimeoutError:
            late[phase, way] = "not within that time"
        assert len(place.provider.asks("bad", "chat", model)) == 1
        await asked.leave()

    async def story(place: Place) -> None:
        async with asyncio.TaskGroup() as tasks:
            for phase in PHASES:
                for way in WAYS:
                    tasks.create_task(cancel(place, phase, way))

    _in_place(tmp_path, story)
    assert late == {}


def test_cancelling_stops_whoever_is_asked_after_a_failure(tmp_path: Path) -> None:
    async def cancel(place: Place, move: str, way: str) -> None:
        name = f"{_slug(move)}:{_slug(way)}"
        asked = await place.ask(f"then/{name}", name, is_answered=MOVES[move].is_answered)
        ask = await place.provider.asked("bad", "chat", f"waiting-for-headers:{name}")
        await WAYS[way](asked)
        await _until(lambda: place.is_over(asked.stream))
        async with asyncio.timeout(_PROMISED_S + _BUSY_S):
            await ask.over.wait()
        assert ask.left_at is not None, "it was left, and had not ended"
        await asked.leave()

    names = {(move, way): f"{_slug(move)}:{_slug(way)}" for move in MOVES for way in WAYS}
    models = "".join(
        f'[models."then/{name}"]\ncontinue_after_failure = true\n'
        f'targets = ["fake/{name}", "fake/waiting-for-headers:{name}"]\n'
        for name in names.values()
    )

    async def story(place: Place) -> None:
        async with asyncio.TaskGroup() as tasks:
            for move, way in names:
                tasks.create_task(cancel(place, move, way))

    _in_place(tmp_path, story, models)


@contextmanager
def _unanswered() -> Iterator[int]:
    """A port where connections are neither taken nor refused: its queue is full."""
    with ExitStack() as stack:
        plug = stack.enter_context(socket.socket())
        plug.bind(("127.0.0.1", 0))
        plug.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(plug.getsockname())
        yield plug.getsockname()[1]


def _connecting(port: int) -> int:
    """How many sockets of this machine wait to be connected there."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(
        fields[2].endswith(f":{port:04X}") and fields[3] == _SYN_SENT
        for fields in map(str.split, lines)
    )


def test_cancelling_gives_up_a_connection_that_is_being_made(tmp_path: Path) -> None:
    async def cancel(place: Place, way: str, port: int) -> None:
        before = _connecting(port)

        async def is_connecting() -> bool:
            return _connecting(port) > before

        async def is_given_up() -> bool:
            return _connecting(port) == before and await place.is_over(asked.stream)

        name = _slug(way)
        asked = await place.ask(f"{name}/any", name, is_answered=False)
        await _until(is_connecting)
        await WAYS[way](asked)
        await _until(is_given_up)
        await asked.leave()

    with ExitStack() as stack:
        ports = {way: stack.enter_context(_unanswered()) for way in WAYS}

        async def story(place: Place) -> None:
            async with asyncio.TaskGroup() as tasks:
                for way, port in ports.items():
                    tasks.create_task(cancel(place, way, port))

        urls = {_slug(way): f"http://127.0.0.1:{port}" for way, port in ports.items()}
        _in_place(tmp_path, story, **urls)
