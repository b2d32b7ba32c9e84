"""A provider of a few words, and what is charged for hearing it, in virtual time."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from proxy.errors import MidstreamError
from proxy.observe import Peer
from proxy.policy.breaker import Rule
from proxy.policy.quotas import Ask, Kind, Limit
from proxy.relay.ports import Admission, Deadlines, Patience, ProviderModel, UpstreamRequest
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Birth, Price, StreamId, Usage
from proxy.wire.dialects import all_dialects
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.relay.working import work_for
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

BODY = b"x" * 400
PRICE = Price(input=1_000_000, cached_input=0, output=2_000_000, reasoning=2_000_000)
LIMITS = (
    Limit("key:a", Kind.CONCURRENT_STREAMS, 1),
    Limit("key:a", Kind.TOKENS_PER_DAY, 10_000),
    Limit("key:a", Kind.USD_PER_DAY, 10_000),
)

CHUNK = b'{"choices":[{"index":0,"delta":{"content":"%s"}}]}'
START = b'{"type":"message_start","message":{"usage":{"input_tokens":30,"output_tokens":1}}}'


class Told:
    """A provider that says this, with pauses of so many seconds; then stalls, or fails."""

    name = "told"
    dialects = ("openai.chat", "anthropic.messages")
    passages = ()
    deadlines = Deadlines()
    patience = Patience(retries=0)
    rest = Rule()
    may_leave_out_terminator = False
    peer = Peer("told")

    def __init__(self, said: Sequence[bytes | float], error: MidstreamError | None = None) -> None:
        self.said = said
        self.error = error
        self.asked: list[UpstreamRequest] = []

    def dialects_for(self, model: str) -> Sequence[str]:
        del model
        return self.dialects

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterable[bytes]]:
        self.asked.append(request)
        yield self._chunks()

    @asynccontextmanager
    async def fetch(
        self, passage: str, request: UpstreamRequest
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        raise AssertionError(f"nothing passes here: {passage} of {request.model}")
        yield

    async def _chunks(self) -> AsyncIterator[bytes]:
        for data in self.said:
            if isinstance(data, bytes):
                yield b"data: " + data + b"\n\n"
            else:
                await asyncio.sleep(data)
        if self.error is not None:
            raise self.error
        await asyncio.get_running_loop().create_future()

    async def models(self) -> Sequence[ProviderModel]:
        return ()

    async def close(self) -> None:
        pass


def make_birth(dialect: str, *, input_tokens_max: int = 500, output_tokens_max: int = 0) -> Birth:
    return Birth(
        id=StreamId("st_one"),
        owner="o",
        dialect=dialect,
        model="m",
        provider="told",
        created_at=0.0,
        retention_s=3600.0,
        price=PRICE,
        input_tokens_max=input_tokens_max,
        output_tokens_max=output_tokens_max,
        silent_tokens_per_s=100,
    )


def admission_of(birth: Birth) -> Admission:
    return Admission(
        stream=birth.id,
        owner="o",
        created_at=0.0,
        keep_s=3600.0,
        limits=LIMITS,
        ask=Ask(5000, 5000),
    )


def charged(
    provider: Told,
    dialect: str,
    *,
    input_tokens_max: int = 500,
    output_tokens_max: int = 0,
    after_s: float = 1,
) -> tuple[Usage | None, int, int]:
    """The usage, and what the meters show, of a stream that is cancelled after a while."""

    async def story() -> tuple[Usage | None, int, int]:
        store = MemoryStore(VirtualClock())
        switchboard = make_switchboard(MemoryJournal(store, LEASE_S), MemoryLedger(store, LEASE_S))
        meaning = all_dialects()[dialect]
        ask = meaning.read_ask(b'{"model":"m","messages":[],"stream":true,"max_tokens":9}')
        request = UpstreamRequest(dialect, "m", BODY)
        work = work_for(provider, request, meaning, ask, LIMITS, Ask(5000, 5000), PRICE)
        async with switchboard.running():
            birth = make_birth(
                dialect, input_tokens_max=input_tokens_max, output_tokens_max=output_tokens_max
            )
            await switchboard.start(birth, work, None)
            await asyncio.sleep(after_s)
            await switchboard.cancel(birth.id)
            await asyncio.sleep(1)
            state = await switchboard.state(birth.id)
        running, tokens, money = await MemoryLedger(store, LEASE_S).standings(LIMITS)
        assert running.remaining == 1
        assert not store.meters.holds
        return state.usage, 10_000 - tokens.remaining, 10_000 - money.remaining

    return run(story())
