"""What was read up to k, and the resume after k, are the journal: for every k and transport."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from tests.reading import READERS, Seen, ask, read_poll, session
from tests.server import RECORDINGS, Served, scripted, serving

EVENTS = 300
PAIRS = list(itertools.product(READERS, READERS))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """Two processes on one store: the first one produces."""
    folder = tmp_path_factory.mktemp("cursors")
    config = scripted("said", model="said") + scripted(
        "held", model="held", fault="stall", fault_after=EVENTS
    )
    with serving(folder, '[store]\nurl = "embedded"\npath = "data"\n' + config, name="a") as a:
        socket = next((folder / "data").glob("*.sock"))
        other = f'[store]\nurl = "unix://{socket}"\n' + config
        with serving(folder, other, name="b") as b:
            yield a, b


def recorded() -> list[str]:
    """The data of the recording, as the provider says it."""
    raw = (RECORDINGS / "long.chat.sse").read_text()
    return [line[6:] for line in raw.split("\n") if line.startswith("data: ")][:EVENTS]


async def check_cursors(where: Served, stream: str, journal: list[Seen]) -> None:
    """Every cursor, some at a time: each head is put together with each tail."""
    is_ended = journal[-1].data == "[DONE]"
    gate = asyncio.Semaphore(16)
    async with session() as http:

        async def check(k: int) -> None:
            left = None if is_ended else len(journal) - k
            async with gate:
                heads = {
                    name: await read(http, where.url, stream, 0, k)
                    for name, read in READERS.items()
                }
                tails = {
                    name: await read(http, where.url, stream, k, left)
                    for name, read in READERS.items()
                }
            for head, tail in PAIRS:
                assert heads[head] + tails[tail] == journal, f"cursor {k}, {head} then {tail}"

        await asyncio.gather(*(check(k) for k in range(len(journal) + 1)))


@pytest.mark.parametrize("place", ["same", "other"])
@pytest.mark.parametrize("model", ["held/long", "said/long"])
def test_read_and_resume_equal_the_journal(
    servers: tuple[Served, Served], model: str, place: str
) -> None:
    producer, other = servers
    where = producer if place == "same" else other

    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, producer.url, model)
            is_held = model.startswith("held")
            journal = await read_poll(http, producer.url, stream, 0, EVENTS if is_held else None)
            assert [seen.id for seen in journal] == list(range(1, len(journal) + 1))
            said = [seen.data for seen in journal]
            assert said[:EVENTS] == recorded()[: len(said)]
            await check_cursors(where, stream, journal)
            async with http.post(f"{producer.url}/v1/streams/{stream}/cancel") as cancelled:
                assert cancelled.status == 200

    asyncio.run(scenario())
