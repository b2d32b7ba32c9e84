"""The load of `midstream bench`: requests to one model, and what is measured of their answers.

Answers are parsed and judged by `proxy.wire`, as the proxy does it: one that stops without its
terminator has failed. Nothing is repeated. What surprises: events that come in one read are
0 s apart, because that is how whoever reads them gets them.
"""

import asyncio
import re
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from proxy.errors import (
    LineLost,
    ProviderError,
    ProviderReported,
    ProviderTruncated,
    ServerUnreachable,
)
from proxy.stream import Frame
from proxy.terminal.server import CONNECT_S, mapped, visible
from proxy.wire.dialect import Ask, Dialect, Translator
from proxy.wire.sse import Parser

REQUEST_S: Final = 300.0
"""The longest that one request may take. Chosen: above every answer that is worth measuring."""
_AFTER_FAILURE_S: Final = 1.0
"""Before one of the streams sends its next request: what refuses everything is not hammered."""
_EVENT_BYTES_MAX: Final = 8 * 1024 * 1024
_ERROR_BYTES_MAX: Final = 64 * 1024
_ERRORS_MAX: Final = 50
"""Kinds of errors that are told apart. Chosen: a server may make up a code for each."""
_CODE: Final = re.compile(r"[\w.-]{1,64}")
_COMPLETION_ONLY: Final = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")
"""Models of OpenAI that refuse `max_tokens` and want it called `max_completion_tokens`."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be sent. At least one of `requests` and `seconds` is set."""

    url: str
    headers: Mapping[str, str]
    dialect: Dialect
    model: str
    prompt: str
    max_tokens: int
    streams: int
    requests: int | None
    seconds: float | None

    def ask(self) -> Ask:
        """Each of the requests."""
        is_completion = self.dialect.name == "openai.chat" and _COMPLETION_ONLY.match(self.model)
        bound = "max_completion_tokens" if is_completion else "max_tokens"
        body = {
            "model": self.model,
            bound: self.max_tokens,
            "messages": [{"role": "user", "content": self.prompt}],
            "stream": True,
        }
        return self.dialect.read_ask(msgspec.json.encode(body))


class Tally:
    """What has been measured so far. Times in seconds."""

    def __init__(self) -> None:
        self.running = 0
        self.ok = 0
        self.failed = 0
        self.unfinished = 0
        """Stopped because the time was up."""
        self.errors: Counter[str] = Counter()
        self.tokens = 0
        """Events that held content, of all requests."""
        self.told_tokens = 0
        """By the provider's own usage, of those that told."""
        self.told = 0
        """How many told."""
        self.first_s = array("d")
        self.gap_s = array("d")
        self.answer_s = array("d")
        """Of whole answers, as is the next."""
        self.tokens_per_s = array("d")
        """Of each answer, from its first token to its last."""

    def fail(self, what: str) -> None:
        """One request did not get its answer."""
        self.failed += 1
        known = what in self.errors or len(self.errors) < _ERRORS_MAX
        self.errors[what if known else "other"] += 1


class _Refused(Exception):
    """An answer that is none. Its text says which."""


class _Hearing:
    """One answer as it comes."""

    def __init__(self, dialect: Dialect, translator: Translator, tally: Tally) -> None:
        self._dialect = dialect
        self._translator = translator
        self._tally = tally
        self.first_at = 0.0
        self.last_at = 0.0
        self.tokens = 0

    def hear(self, frame: Frame, begun: float, now: float) -> None:
        """One frame that came at `now`. Raises `ProviderError`."""
        self._translator.hear(frame)
        if not any(delta.text for delta in self._dialect.deltas(frame.data)):
            return
        if self.tokens:
            self._tally.gap_s.append(now - self.last_at)
        else:
            self.first_at = now
            self._tally.first_s.append(now - begun)
        self.last_at = now
        self.tokens += 1
        self._tally.tokens += 1


class Load:
    """Sends what `plan` says, and keeps `tally`."""

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally()
        self._plan = plan
        self._ask = plan.ask()
        self._body = plan.dialect.upstream_body(self._ask, plan.model)
        self._begun = 0

    def share_done(self, past_s: float) -> float:
        """How much of the plan is behind after `past_s` seconds, from 0 to 1."""
        plan, tally = self._plan, self.tally
        by_count = (tally.ok + tally.failed) / plan.requests if plan.requests else 0.0
        by_time = past_s / plan.seconds if plan.seconds else 0.0
        return min(max(by_count, by_time), 1.0)

    async def run(self) -> None:
        """To the end of the plan."""
        plan = self._plan
        timeout = aiohttp.ClientTimeout(total=REQUEST_S, connect=CONNECT_S)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers=plan.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
        ) as session:
            try:
                async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as tasks:
                    for _ in range(min(plan.streams, plan.requests or plan.streams)):
                        tasks.create_task(self._keep_asking(session))
            except TimeoutError:
                pass  # the time was up

    async def _keep_asking(self, session: aiohttp.ClientSession) -> None:
        """One request after the other, while there are any left to send."""
        while self._has_more():
            self._begun += 1
            self.tally.running += 1
            try:
                failure = await self._try(session)
            except asyncio.CancelledError:
                self.tally.unfinished += 1
                raise
            finally:
                self.tally.running -= 1
            if not failure:
                self.tally.ok += 1
                continue
            self.tally.fail(failure)
            if self._has_more():
                await asyncio.sleep(_AFTER_FAILURE_S)

    def _has_more(self) -> bool:
        return self._plan.requests is None or self._begun < self._plan.requests

    async def _try(self, session: aiohttp.ClientSession) -> str:
        """One request; what went wrong, in a few words, or ""."""
        try:
            with mapped(self._plan.url):
                await self._send(session)
        except _Refused as refused:
            return str(refused)
        except (ServerUnreachable, LineLost) as error:
            return error.reason
        except ProviderReported as error:
            return f"error event {_code(error.upstream_code)}".strip()
        except ProviderError as error:
            return error.code.removeprefix("provider_")
        return ""

    async def _send(self, session: aiohttp.ClientSession) -> None:
        plan, tally = self._plan, self.tally
        translator = plan.dialect.translator(self._ask)
        hearing = _Hearing(plan.dialect, translator, tally)
        parser = Parser(_EVENT_BYTES_MAX)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with session.post(plan.url, data=self._body, allow_redirects=False) as answer:
            if answer.status != 200:
                raise _Refused(_refusal(answer.status, await answer.content.read(_ERROR_BYTES_MAX)))
            async for chunk in answer.content.iter_any():
                now = loop.time()
                for frame in parser.feed(chunk):
                    if not translator.is_complete:
                        hearing.hear(frame, begun, now)
        parser.finish()
        if not translator.is_complete:
            raise ProviderTruncated
        if translator.usage is not None:
            tally.told += 1
            tally.told_tokens += translator.usage.output_tokens
        tally.answer_s.append(loop.time() - begun)
        if hearing.last_at > hearing.first_at:
            tally.tokens_per_s.append((hearing.tokens - 1) / (hearing.last_at - hearing.first_at))


class _Error(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


def _refusal(status: int, body: bytes) -> str:
    """The status, and the code that the body names."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = _Error()
    return f"status {status} {_code(str(error.code or error.type or ''))}".strip()


def _code(given: str) -> str:
    """A code if it is one: a server may write anything there."""
    return visible(given) if _CODE.fullmatch(given) else ""
