"""A provider that fails, as aimock can: the right exception, ending `failed`, and no hanging.

That nothing hangs needs no clock: an SDK that was kept waiting raises its own timeout instead.
"""

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.clients.aimock import Aimock, fixture
from tests.clients.conftest import APP_KEY
from tests.clients.hearing import Heard, How, Kind, question
from tests.clients.sdks import PAIRS, Sdks
from tests.reading import session
from tests.server import Served

_WAYS: tuple[How, ...] = ("stream", "helper", "create")
_SAID = {"content": "One two three four five six seven eight nine ten."}
_PACE = {"ttft": 1, "tps": 50}
"""Milliseconds to the first chunk, chunks a second: each on its way before the next one."""
_SILENCE_MS = 60_000


class Case(NamedTuple):
    """What aimock does, and what the SDK must raise for it."""

    response: Mapping[str, Any]
    options: Mapping[str, Any]
    statuses: Collection[int]
    codes: Collection[str]
    """OpenAI's `code`."""
    types: Collection[str] = ("api_error",)
    """Anthropic's `type`."""
    names: tuple[str, str] = ("InternalServerError", "InternalServerError")
    """The exceptions of OpenAI and of Anthropic."""
    retry_after: str | None = None


def _refused(status: int, kind: str, code: str, retry_after: int = 1) -> dict[str, Any]:
    error = {"message": "Not now.", "type": kind, "code": code}
    return {"error": error, "status": status, "retryAfter": retry_after}


_LIMITED = _refused(429, "rate_limit_error", "rate_limit_exceeded", retry_after=7)
_RATE = ("RateLimitError", "RateLimitError")
EARLY = {
    "429": Case(
        _LIMITED, {}, {429}, {"rate_limit_exceeded"}, {"rate_limit_error"}, _RATE, retry_after="7"
    ),
    "500": Case(_refused(500, "api_error", "oops"), {}, {500}, {"oops"}),
    "529": Case(
        _refused(529, "overloaded_error", "overloaded"),
        {},
        {529},
        {"overloaded"},
        {"overloaded_error"},
        ("InternalServerError", "OverloadedError"),
    ),
    "dropped": Case(_SAID, {"chaos": {"dropRate": 1}}, {500}, {"chaos_drop"}),
    "limited": Case(
        _SAID,
        {"chaos": {"rateLimitRate": 1}},
        {429},
        {"chaos_ratelimit"},
        {"rate_limit_error"},
        _RATE,
        retry_after="1",
    ),
    "malformed": Case(
        _SAID, {"chaos": {"malformedRate": 1}}, {502}, {"provider_garbled", "provider_truncated"}
    ),
    "hung-up": Case(_SAID, {"chaos": {"disconnectRate": 1}}, {502}, {"provider_unreachable"}),
    "silent": Case(
        _SAID,
        {"streamingProfile": {"ttft": _SILENCE_MS}},
        {504},
        {"provider_stalled"},
        {"timeout_error"},
        ("InternalServerError", "GatewayTimeoutError"),
    ),
}
"""Before the first content: an HTTP status, in every way of asking."""

_BROKEN = ("provider_unreachable", "provider_truncated")
LATE = {
    "cut": Case(_SAID, {"truncateAfterChunks": 6, "streamingProfile": _PACE}, {502}, _BROKEN),
    "disconnected": Case(
        _SAID, {"disconnectAfterMs": 150, "streamingProfile": _PACE}, {502}, _BROKEN
    ),
    "stalled": Case(
        _SAID,
        {"recordedTimings": {"ttftMs": 1, "interChunkDelaysMs": [5] * 5 + [_SILENCE_MS] * 10}},
        {504},
        {"provider_stalled"},
        {"timeout_error"},
        ("InternalServerError", "GatewayTimeoutError"),
    ),
}
"""After the first content: an error inside the stream, or a status that is not to be retried."""


class Outcome(NamedTuple):
    """What one question came to."""

    heard: Heard
    upstream: list[dict[str, Any]]
    """The entries of aimock's journal."""
    ending: str | None
    """Of the stream that answered last."""


Outcomes = Mapping[tuple[str, str, str, How], Outcome]
"""By kind, SDK, case and way."""


@pytest.fixture(scope="module")
def outcomes(mocked: Served, aimock: Aimock, sdks: Sdks) -> Outcomes:
    """All SDKs meet all failures at once: the time goes in waiting for deadlines."""
    with ThreadPoolExecutor(len(PAIRS)) as threads:
        heard = threads.map(lambda pair: _meet(pair[0], pair[1], sdks, mocked, aimock), PAIRS)
        all_heard = {key: told for group in heard for key, told in group.items()}
    endings, journal = asyncio.run(_endings(mocked)), aimock.journal()
    return {
        key: Outcome(told, journal[_model(*key)], endings[f"mock.{key[0]}/{_model(*key)}"])
        for key, told in all_heard.items()
    }


def _model(kind: str, sdk: str, name: str, how: str) -> str:
    return f"{name}.{kind}.{sdk}.{how}"


def _meet(
    kind: Kind, sdk: str, sdks: Sdks, mocked: Served, aimock: Aimock
) -> dict[tuple[str, str, str, How], Heard]:
    busy = _refused(429, "rate_limit_error", "rate_limit_exceeded", retry_after=1)
    for how in _WAYS:
        model = _model(kind, sdk, "busy-once", how)
        fixtures = [fixture(model, busy, turn=0), fixture(model, _SAID, turn=1)]
        for name, case in {**EARLY, **LATE, "cut-again": LATE["cut"]}.items():
            model = _model(kind, sdk, name, how)
            fixtures.append(fixture(model, case.response, **case.options, chunkSize=5))
        aimock.answers_all(fixtures)
    once = [(name, how) for name in (*EARLY, *LATE) for how in _WAYS]
    again: list[tuple[str, How]] = [("busy-once", how) for how in _WAYS]
    again.append(("cut-again", "create"))
    heard: dict[tuple[str, str, str, How], Heard] = {}
    for cases, max_retries in ((once, 0), (again, 2)):
        asked = [
            question(kind, how, f"mock.{kind}/{_model(kind, sdk, name, how)}")
            for name, how in cases
        ]
        told = sdks[sdk](kind, mocked.url, asked, key=APP_KEY, max_retries=max_retries)
        heard |= {(kind, sdk, *case): one for case, one in zip(cases, told, strict=True)}
    return heard


async def _endings(mocked: Served) -> dict[str, str | None]:
    """How the newest stream of every model ended."""
    found: dict[str, str | None] = {}
    cursor = ""
    async with session() as http:
        while True:
            url = f"{mocked.url}/v1/streams?limit=100{cursor}"
            async with http.get(url, headers={"x-api-key": APP_KEY}) as answer:
                page = await answer.json()
            for stream in page["data"]:
                found.setdefault(stream["model"], stream["ending"])
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"


@pytest.mark.parametrize("how", _WAYS)
@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_a_failure_before_the_answer_is_the_typed_exception_of_its_status(
    name: str, kind: Kind, sdk: str, how: How, outcomes: Outcomes
) -> None:
    case, outcome = EARLY[name], outcomes[kind, sdk, name, how]
    assert outcome.heard.events == []
    assert outcome.heard.final is None
    error = outcome.heard.error
    assert error is not None
    assert error.name == case.names[kind == "anthropic"]
    assert error.status in case.statuses
    if kind == "openai":
        assert error.code in case.codes
    else:
        assert error.type in case.types
    assert error.retry_after == case.retry_after
    assert error.stream, "it can be looked up"
    assert outcome.ending == "failed"
    assert len(outcome.upstream) == 1


@pytest.mark.parametrize("how", ["stream", "helper"])
@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_a_failure_within_the_answer_is_raised_after_what_there_was(
    name: str, kind: Kind, sdk: str, how: How, outcomes: Outcomes
) -> None:
    case, outcome = LATE[name], outcomes[kind, sdk, name, how]
    assert outcome.heard.events, "what there was is not taken away"
    assert outcome.heard.final is None, "nothing pretends to be complete"
    error = outcome.heard.error
    assert error is not None
    is_of_status = kind == "anthropic" and sdk != "node"
    assert error.name == ("APIStatusError" if is_of_status else "APIError")
    if kind == "openai":
        assert error.code in case.codes
    else:
        assert error.type in case.types
    assert outcome.ending == "failed"
    assert len(outcome.upstream) == 1


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_half_an_answer_is_no_unstreamed_answer(
    name: str, kind: Kind, sdk: str, outcomes: Outcomes
) -> None:
    case, outcome = LATE[name], outcomes[kind, sdk, name, "create"]
    assert outcome.heard.final is None
    error = outcome.heard.error
    assert error is not None
    assert error.name == case.names[kind == "anthropic"]
    assert error.status in case.statuses
    assert error.stream, "the answer so far is there to be had"
    assert outcome.ending == "failed"
    assert len(outcome.upstream) == 1


@pytest.mark.parametrize("how", _WAYS)
@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_an_sdk_that_retries_waits_as_long_as_the_provider_said(
    kind: Kind, sdk: str, how: How, outcomes: Outcomes
) -> None:
    outcome = outcomes[kind, sdk, "busy-once", how]
    assert outcome.heard.error is None
    assert outcome.heard.events or outcome.heard.final
    assert outcome.ending == "completed"
    first, second = outcome.upstream
    assert [first["response"]["status"], second["response"]["status"]] == [429, 200]
    assert second["timestamp"] - first["timestamp"] >= 990, "milliseconds"


@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_an_sdk_does_not_retry_what_has_partly_been_said(
    kind: Kind, sdk: str, outcomes: Outcomes
) -> None:
    outcome = outcomes[kind, sdk, "cut-again", "create"]
    assert outcome.heard.error is not None
    assert outcome.heard.error.status == 502
    assert len(outcome.upstream) == 1
