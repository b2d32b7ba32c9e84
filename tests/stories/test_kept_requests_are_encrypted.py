"""What of a request lies in the store while its answer runs, and who can go on with it."""

import asyncio
import base64
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.fleets import until
from tests.reading import ask, read_poll, session
from tests.server import Served, scripted, serving, start

OLD, NEW = bytes(range(32)), bytes(range(100, 132))
ENV = {
    "OLD": base64.b64encode(OLD).decode(),
    "NEW": NEW.hex(),
    "CALLER": "a-key-of-an-application",
}
SHOWN = [OLD, NEW, *(value.encode() for value in ENV.values())]
PROMPT = "xyzzy says nobody"
BETA = "plugh-2026-01-01"
WAIT_S = 3
"""Of the provider, before it says anything: for so long a stream can be asked anew."""
STREAMS = "[streams]\ntakeover = true\nlease_s = 1\n"
MUTE = STREAMS + scripted("mute", model="mute", start_s=WAIT_S)


def keys(names: Sequence[str]) -> str:
    if not names:
        return ""
    listed = ", ".join(f'"env:{name}"' for name in names)
    return f"encryption_key = {listed if len(names) == 1 else f'[{listed}]'}\n"


@contextmanager
def store_at(folder: Path) -> Iterator[Any]:
    """The embedded store, past everything that is under test."""
    with Redis(unix_socket_path=str(next(folder.glob("*.sock")))) as store:
        yield store


READS = {
    b"string": "GET",
    b"hash": "HGETALL",
    b"set": "SMEMBERS",
    b"zset": "ZRANGE",
    b"stream": "XRANGE",
}
RANGES = {"ZRANGE": (0, -1), "XRANGE": ("-", "+")}


def on_disk(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def everything_in(store: Any) -> bytes:
    """All names and values."""
    found = []
    for name in store.scan_iter():
        read = READS[store.type(name)]
        found += [name, *parts(store.execute_command(read, name, *RANGES.get(read, ())))]
    return b"\n".join(found)


def parts(value: Any) -> Iterator[bytes]:
    match value:
        case bytes():
            yield value
        case dict():
            yield from parts([*value, *value.values()])
        case list() | tuple() | set():
            for each in value:
                yield from parts(each)


@pytest.mark.parametrize("names", [["OLD"], []], ids=["with a key", "without"])
def test_with_a_key_not_a_word_of_the_request_can_be_read_and_its_rest_goes_with_the_end(
    tmp_path: Path, names: list[str]
) -> None:
    config = f'[store]\npath = "data"\n{keys(names)}{STREAMS}[keys.app]\nsecret = "env:CALLER"\n'
    config += scripted("slow", model="slow", events_per_s=40)
    body = {
        "model": "slow/text",
        "stream": True,
        "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": PROMPT}],
        "metadata": {"also": PROMPT},
    }
    headers = {"x-api-key": ENV["CALLER"], "openai-beta": BETA, "Prefer": "respond-async"}

    async def scenario(url: str, store: Any) -> bytes:
        async with session() as http:
            http.headers.update(headers)
            async with http.post(f"{url}/v1/chat/completions", json=body) as got:
                assert got.status == 202, await got.text()
                stream = (await got.json())["id"]
            await read_poll(http, url, stream, 0, 2)
            assert len(list(store.scan_iter("*recipe"))) == 1
            held = everything_in(store) + on_disk(tmp_path / "data")
            last = (await read_poll(http, url, stream, 0, None))[-1]
            assert last.data == "[DONE]"
            assert list(store.scan_iter("*recipe")) == []
            assert PROMPT.encode() not in everything_in(store)
            return held

    with serving(tmp_path, config, env=ENV) as served, store_at(tmp_path / "data") as store:
        held = asyncio.run(scenario(served.url, store))
        log = served.log.read_bytes()

    assert b"chat.completion.chunk" in held
    for word in [*PROMPT.encode().split(), BETA.encode()]:
        assert (word in held) is not bool(names)
    for secret in SHOWN:
        assert secret not in held
        assert secret not in log


@contextmanager
def pair(
    folder: Path, stays: Sequence[str], dies: Sequence[str]
) -> Iterator[tuple[Served, Served]]:
    """Two on one store with these keys."""
    own = f'[store]\npath = "data"\n{keys(stays)}{MUTE}'
    with serving(folder, own, env=ENV, name="stays") as first:
        socket = next((folder / "data").glob("*.sock"))
        same = f'[store]\nurl = "unix://{socket}"\n{keys(dies)}{MUTE}'
        second = start(folder, same, env=ENV, name="dies")
        try:
            yield first, second
        finally:
            with contextlib.suppress(ProcessLookupError):
                second.kill()


async def ends(
    served: Served, dies: Served, count: int, spoil: Callable[[list[str]], None] = lambda _: None
) -> list[str]:
    """How so many streams end whose worker is killed before their provider has said anything."""
    async with session() as http:
        streams = [await ask(http, dies.url, "mute/text") for _ in range(count)]
        spoil(streams)
        dies.kill()
        for stream in streams:
            await read_poll(http, served.url, stream, 0, None)
        endings = []
        for stream in streams:
            async with http.get(f"{served.url}/v1/streams/{stream}") as got:
                endings.append(str((await got.json())["ending"]))
        return endings


@pytest.mark.parametrize(
    ("stays", "dies"),
    [(["OLD"], ["OLD"]), (["NEW", "OLD"], ["OLD"])],
)
def test_whoever_has_the_key_goes_on_with_the_stream(
    tmp_path: Path, stays: list[str], dies: list[str]
) -> None:
    with pair(tmp_path, stays, dies) as (first, second):
        assert asyncio.run(ends(first, second, 2)) == ["completed"] * 2
        assert first.log.read_text().count("took_over") == 2


@pytest.mark.parametrize(
    ("stays", "dies", "why"),
    [
        (["NEW"], ["OLD"], "it is encrypted with a key that is not in [store] encryption_key"),
        ([], ["OLD"], "it is encrypted, and no [store] encryption_key is set"),
        (["OLD"], [], "it is not encrypted, though [store] encryption_key is set"),
    ],
)
def test_whoever_has_not_the_key_says_so_once_and_the_stream_is_interrupted(
    tmp_path: Path, stays: list[str], dies: list[str], why: str
) -> None:
    with pair(tmp_path, stays, dies) as (first, second):
        assert asyncio.run(ends(first, second, 2)) == ["interrupted"] * 2
        log = first.log.read_text()
        warned = [line for line in log.splitlines() if "not_taken_over" in line]
        assert len(warned) == 2
        for line in warned:
            assert " warning " in line
            assert f"its recipe cannot be read: {why}" in line


def test_what_was_moved_or_changed_in_the_store_is_interrupted_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    with pair(tmp_path, ["OLD"], ["OLD"]) as (first, second), store_at(tmp_path / "data") as store:

        def spoil(streams: list[str]) -> None:
            names = [next(store.scan_iter(f"*{stream}*recipe")) for stream in streams]
            one, two, three = (store.get(name) for name in names[:3])
            store.mset(
                {names[0]: two, names[1]: one, names[2]: three[:-1] + bytes([three[-1] ^ 1])}
            )

        endings = asyncio.run(ends(first, second, 4, spoil))
        log = first.log.read_text()

    assert endings == [*["interrupted"] * 3, "completed"]
    assert log.count("it was changed in the store, or is another stream's") == 3
    assert log.count("took_over") == 1


def test_without_a_key_what_is_no_recipe_any_more_is_interrupted_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    with pair(tmp_path, [], []) as (first, second), store_at(tmp_path / "data") as store:

        def spoil(streams: list[str]) -> None:
            names = [next(store.scan_iter(f"*{stream}*recipe")) for stream in streams]
            kept = store.get(names[0])
            spoilt = [b"\xc1", kept[:-9], kept.replace(b'{"model"', b'["model"')]
            store.mset(dict(zip(names, spoilt, strict=False)))

        endings = asyncio.run(ends(first, second, 4, spoil))
        log = first.log.read_text()

    assert endings == [*["interrupted"] * 3, "completed"]
    assert log.count("not_taken_over") == 3
    assert log.count("took_over") == 1


def test_a_changed_key_counts_at_once_and_without_a_restart(tmp_path: Path) -> None:
    with pair(tmp_path, ["NEW"], ["OLD"]) as (first, second):
        file = tmp_path / "stays.toml"
        file.write_text(file.read_text().replace(keys(["NEW"]), keys(["NEW", "OLD"])))
        until(lambda: " reloaded" in first.log.read_text())
        assert asyncio.run(ends(first, second, 1)) == ["completed"]
        assert "needs_restart" not in first.log.read_text()
