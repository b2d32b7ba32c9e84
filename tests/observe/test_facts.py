"""The log: one line for each fact, and nothing in it that was not meant to be told."""

import ast
import inspect
import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    ConfigInvalid,
    MidstreamError,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderUnreachable,
)
from proxy.observe import FIELDS, Observer, facts, open_log
from proxy.stream import Birth, Ending, StreamId, Usage
from tests.observe.telling import untraced

STREAM = StreamId("st_00000000000000000000000000")
CANARY = "CANARY-77c1"
BIRTH = Birth(
    id=STREAM,
    owner="ann",
    dialect="openai.chat",
    model="gpt-5",
    provider="openai",
    created_at=1.0,
    retention_s=60,
    tag=CANARY,
    idempotency_key=CANARY,
)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("midstream")
    before = (root.handlers, root.level, own.level)
    yield
    root.handlers, root.level, own.level = before


class Log:
    """An observer, and what it wrote."""

    def __init__(self, form: Literal["text", "json"] = "text") -> None:
        self.written = io.StringIO()
        self.observer = open_log(form, self.written)

    @property
    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()


def tell_everything(observer: Observer) -> int:
    """Every fact there is; how many."""
    observer.started("http://127.0.0.1:8080", "embedded", is_open=True)
    observer.draining(3, 20.0)
    observer.served(
        method="GET", route="/v1/streams/{id}", status=200, ms=1.26, request="r1", stream=STREAM
    )
    observer.stream_started(BIRTH)
    usage = Usage(input_tokens=5, output_tokens=7)
    observer.stream_ended(
        BIRTH,
        Ending.COMPLETED,
        "",
        12,
        1.5,
        usage,
        provider="openai",
        bytes_kept=9,
        course=untraced,
    )
    observer.provider_failed(STREAM, "openai", ProviderUnreachable("openai", CANARY))
    observer.store_lost("timeout")
    observer.store_back(2.5)
    observer.collector_lost()
    observer.collector_back(512)
    observer.sweep_ended(BIRTH, "openai", Ending.INTERRUPTED, usage, 4.5, events=3)
    observer.internal_error(RuntimeError(CANARY), request="r1")
    observer.worker_died(2, 77, -9, 3.14)
    observer.worker_not_started(2, OSError(CANARY))
    observer.worker_leaves(2, 77)
    observer.reloaded(["[server] port"])
    observer.config_refused(ConfigInvalid(("line 3: no",), "config.toml"))
    return 17


def test_every_fact_is_one_line_of_text() -> None:
    log = Log()

    count = tell_everything(log.observer)

    assert len(log.lines) == count
    stamps = [line.split(" ", 1)[0] for line in log.lines]
    assert all(stamp.endswith("Z") and len(stamp) == 24 for stamp in stamps)
    told = [line.split(" ", 1)[1] for line in log.lines]
    assert told[0] == "info started url=http://127.0.0.1:8080 store=embedded is_open=true"
    assert told[1] == "info draining seconds=20.0 streams=3"
    assert told[2] == (
        f"info served method=GET route=/v1/streams/{{id}} status=200 ms=1.3 request=r1 "
        f"stream={STREAM}"
    )
    assert told[3] == (
        f"info stream_started stream={STREAM} owner=ann dialect=openai.chat model=gpt-5 "
        f"provider=openai"
    )
    assert told[4] == (
        f"info stream_ended ms=1500.0 stream={STREAM} ending=completed events=12 "
        f"input_tokens=5 output_tokens=7"
    )
    assert told[-1] == 'error config_refused file=config.toml reason="line 3: no"'


def test_every_fact_is_one_object_of_json() -> None:
    log = Log("json")

    count = tell_everything(log.observer)

    told = [json.loads(line) for line in log.lines]
    assert len(told) == count
    assert {"time", "level", "fact"} < set(told[0])
    assert all(set(fact) - {"time", "level", "fact"} <= set(FIELDS) for fact in told)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_fact_shows_a_tag_an_idempotency_key_or_the_words_of_an_exception(
    form: Literal["text", "json"],
) -> None:
    log = Log(form)

    tell_everything(log.observer)

    assert CANARY not in log.written.getvalue()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            ProviderRefused("openai", 429, message=CANARY, body=CANARY.encode(), code=CANARY),
            "upstream_status=429 ",
        ),
        (ProviderReported(CANARY.encode(), code=CANARY, message=CANARY, status=500), ""),
        (ProviderStalled("idle", 120), "deadline=idle "),
        (ProviderUnreachable("openai", CANARY), ""),
    ],
)
def test_a_failed_provider_is_told_without_its_own_words(
    error: MidstreamError, expected: str
) -> None:
    log = Log()

    log.observer.provider_failed(STREAM, "openai", error)

    (line,) = log.lines
    assert f"provider=openai code={error.code} " in line
    assert expected in line
    assert f"exception={type(error).__name__}" in line
    assert CANARY not in line


def test_an_internal_error_names_type_cause_and_place_but_no_value() -> None:
    log = Log()

    def fail(secret: str) -> None:
        try:
            int(secret)
        except ValueError as error:
            raise LookupError(secret) from error

    try:
        fail(CANARY)
    except LookupError as error:
        log.observer.internal_error(error, request="r9")

    outer, inner = log.lines
    assert "request=r9 exception=LookupError place=" in outer
    assert "test_facts.py" in outer
    assert " fail <" in outer
    assert "exception=ValueError" in inner
    assert CANARY not in log.written.getvalue()


def test_each_member_of_an_exception_group_has_its_line() -> None:
    log = Log()

    log.observer.internal_error(ExceptionGroup("two", [KeyError("a"), OSError("b")]))

    names = [line.split("exception=")[1].split(" ")[0] for line in log.lines]
    assert names == ["ExceptionGroup", "KeyError", "OSError"]


def test_a_huge_group_of_exceptions_makes_few_lines() -> None:
    log = Log()

    log.observer.internal_error(ExceptionGroup("many", [KeyError(n) for n in range(1000)]))

    assert len(log.lines) == 10


@given(value=st.text())
def test_no_value_breaks_out_of_its_line(value: str) -> None:
    forms: tuple[Literal["text", "json"], ...] = ("text", "json")
    for form in forms:
        log = Log(form)
        log.observer.served(method=value, route=value, status=200, ms=1, request=value)

        line = log.written.getvalue()
        assert line.endswith("\n")
        body = line[:-1]
        assert body.isascii()
        assert body.isprintable()
        assert "\n" not in body


def test_a_forged_field_in_a_value_stays_inside_its_quotes() -> None:
    log = Log()

    log.observer.served(method="GET", route="/", status=200, ms=1, request="x level=info status=1")

    assert 'request="x level=info status=1"' in log.lines[0]


def test_a_long_value_is_cut() -> None:
    log = Log()

    log.observer.store_lost("x" * 100_000)

    assert len(log.lines[0]) < 400


def test_of_a_librarys_record_only_its_place_is_shown() -> None:
    log = Log()

    logging.getLogger("asyncio").error("Task got CANARY-77c1: %r", CANARY)

    (line,) = log.lines
    assert " error library logger=asyncio place=" in line
    assert "test_facts.py" in line
    assert CANARY not in line


def test_of_what_a_library_caught_type_and_frames_are_shown() -> None:
    log = Log()

    try:
        raise ValueError(CANARY)  # noqa: TRY301 - raised to be logged
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")

    (line,) = log.lines
    assert "exception=ValueError" in line
    assert CANARY not in line


def test_a_library_set_to_debug_stays_quiet_and_its_own_handlers_are_gone() -> None:
    foreign = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(foreign))
    chatty = logging.getLogger("openai")
    chatty.setLevel(logging.DEBUG)
    log = Log()

    chatty.debug("Request options: %s", {"json_data": CANARY})
    chatty.setLevel(logging.NOTSET)

    assert log.lines == []
    assert foreign.getvalue() == ""


def test_a_log_that_cannot_be_written_stops_nothing_and_says_nothing_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = Log()
    log.written.close()

    log.observer.store_lost("timeout")

    assert capsys.readouterr() == ("", "")


def test_nothing_that_a_fact_tells_is_missing_from_its_line() -> None:
    tree = ast.parse(inspect.getsource(facts))
    told = [
        keyword.arg
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "self._tell"
        for keyword in call.keywords
        if keyword.arg is not None
    ]
    assert len(told) > 50
    assert set(told) <= set(FIELDS)


def test_a_takeover_says_how_it_went_on_and_for_which_time() -> None:
    log = Log()
    log.observer.took_over(BIRTH, "taken_up", 91, 2)
    assert log.lines[0].split(" ", 1)[1] == (
        f"warning took_over stream={STREAM} kind=taken_up events=91 takeovers=2"
    )
