"""The OpenAPI document, held against the code that it speaks of."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from proxy import config, downstream, errors
from proxy.downstream.auth import refuse_the_web
from proxy.downstream.schema import openapi_json
from proxy.downstream.wishes import PASSED_ON_HEADERS, check_tag, read_wishes
from proxy.errors import CallerError, MidstreamError
from proxy.policy.quotas import Kind, Limit, Refusal
from proxy.stream import Detach, StreamId
from proxy.wire.dialects import all_dialects
from tests.downstream.promise import DOCUMENT, fits

OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
ASKS = [f"POST {dialect.path}" for dialect in all_dialects().values()]
ERROR_SHAPES = {
    "openai.chat": "OpenAIError",
    "openai.responses": "OpenAIError",
    "anthropic.messages": "AnthropicError",
}
STREAM = StreamId("st_0123456789abcdefghijklmnop")

ONE_OF_EACH: Sequence[MidstreamError] = (
    errors.MalformedRequest("No.", param="model"),
    errors.MalformedEventId("x"),
    errors.ModelWithoutPrice("m"),
    errors.ThreadUnsupported(),
    errors.PreviousResponseUnknown("resp_1"),
    errors.NotAuthenticated("No key."),
    errors.NotPermitted("No."),
    errors.StreamNotFound(),
    errors.ResponseNotFound("resp_1"),
    errors.ModelNotFound("m"),
    errors.PassageNotOffered("m", "embeddings"),
    errors.RouteNotFound(),
    errors.MethodNotAllowed(),
    errors.NotAcceptable(),
    errors.AheadOfStream(3, 2),
    errors.StreamGone(),
    errors.BodyTooLarge(1),
    errors.UnsupportedMediaType(),
    errors.IdempotencyMismatch(),
    errors.UpgradeRequired(),
    errors.QuotaExceeded(Refusal(Limit("key:a", Kind.TOKENS_PER_MINUTE, 9), 1.5)),
    errors.AlreadySubscribed(STREAM),
    errors.SubscriptionLimit(1),
    errors.InvalidLane(),
    errors.LaneLimit(1),
    errors.WaitingLimit(),
    errors.ProviderRefused("p", 418),
    errors.ProviderUnreachable("p", "it is refused"),
    errors.ProviderStalled("idle", 1),
    errors.ProviderTruncated(),
    errors.ProviderGarbled("no JSON"),
    errors.ProviderUntranslatable("audio"),
    errors.StoreUnavailable("away"),
    errors.StoreFull(),
    errors.Draining(),
    errors.StreamLimitReached(1),
    errors.TargetsResting(8),
    errors.InternalError(),
)
"""Of the errors that a caller can meet. The events of `ProviderReported` are the provider's."""

NEVER_SERVED = {
    errors.CannotContinue,
    errors.ConfigInvalid,
    errors.DataInUse,
    errors.RecipeUnreadable,
    errors.ServerUnreachable,
    errors.ServerRefused,
    errors.LineLost,
    errors.PromiseBroken,
}
"""Met at the start, in a takeover, or at the terminal."""


def parameters(operation: str) -> dict[str, dict[str, Any]]:
    return {parameter["name"]: parameter for parameter in OPERATIONS[operation]["parameters"]}


def all_responses() -> Iterator[tuple[str, dict[str, Any]]]:
    """Statuses and responses, of calls and of what is beside them."""
    for operation in OPERATIONS.values():
        yield from operation["responses"].items()
    yield "404", DOCUMENT["components"]["responses"]["RouteNotFound"]
    yield "405", DOCUMENT["components"]["responses"]["MethodNotAllowed"]


def leaves(kind: type[MidstreamError]) -> set[type[MidstreamError]]:
    below = kind.__subclasses__()
    return {kind} if not below else set[type[MidstreamError]]().union(*map(leaves, below))


# --- the document itself --------------------------------------------------------------------------


def test_it_is_valid_openapi_3_1() -> None:
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)

    assert DOCUMENT["openapi"].startswith("3.1.")


def test_it_is_the_same_each_time() -> None:
    assert openapi_json() == openapi_json()


def test_every_call_is_named_explained_and_in_a_group_that_exists() -> None:
    groups = {tag["name"] for tag in DOCUMENT["tags"]}
    names = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(set(names)) == len(names)
    assert {tag for operation in OPERATIONS.values() for tag in operation["tags"]} == groups
    assert all(operation["summary"] for operation in OPERATIONS.values())


def test_every_component_is_used() -> None:
    text = json.dumps(DOCUMENT)
    unused = [
        name
        for name in DOCUMENT["components"]["schemas"]
        if f'"#/components/schemas/{name}"' not in text
    ]

    assert not unused


def test_links_lead_to_calls_and_their_parameters() -> None:
    by_name = {operation["operationId"]: operation for operation in OPERATIONS.values()}
    links = [link for _, response in all_responses() for link in response.get("links", {}).values()]

    assert links
    for link in links:
        known = {parameter["name"] for parameter in by_name[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= known


def test_the_examples_of_requests_fit_their_schemas() -> None:
    for ask in ASKS:
        content = OPERATIONS[ask]["requestBody"]["content"]["application/json"]
        assert fits(content["schema"], content["example"])


# --- errors ---------------------------------------------------------------------------------------


def test_the_list_of_errors_here_is_complete() -> None:
    reported = {errors.ProviderReported}

    assert {type(error) for error in ONE_OF_EACH} == leaves(
        MidstreamError
    ) - NEVER_SERVED - reported


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_an_error_is_documented_under_its_status_with_its_code(error: MidstreamError) -> None:
    problem = error.problem()

    assert any(
        status == str(problem.status) and f"`{problem.code}`" in response["description"]
        for status, response in all_responses()
    )


@pytest.mark.parametrize("ending", ["cancelled", "interrupted"])
@pytest.mark.parametrize("ask", ASKS)
def test_a_stopped_stream_is_a_documented_error_of_a_call_that_waits_for_it(
    ending: str, ask: str
) -> None:
    problem = errors.stream_problem(ending, "asked for", STREAM)

    response = OPERATIONS[ask]["responses"][str(problem.status)]

    assert f"`{problem.code}`" in response["description"]


@pytest.mark.parametrize("ask", ASKS)
def test_every_status_that_passes_from_a_provider_is_documented(ask: str) -> None:
    statuses = {
        str(errors.ProviderRefused("p", status).problem().status) for status in range(400, 600)
    }

    assert statuses <= set(OPERATIONS[ask]["responses"])


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", all_dialects())
def test_the_body_of_an_error_fits_the_shape_of_its_dialect(
    name: str, error: MidstreamError
) -> None:
    body = json.loads(all_dialects()[name].error_body(error.problem(), "req_1"))

    assert fits(DOCUMENT["components"]["schemas"][ERROR_SHAPES[name]], body)


# --- headers and parameters -----------------------------------------------------------------------


class Asked(Mapping[str, str]):
    """Headers that remember which of them were asked for."""

    def __init__(self, there: Mapping[str, str]) -> None:
        self.there = there
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.there[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.there)

    def __len__(self) -> int:
        return len(self.there)


@pytest.mark.parametrize("ask", ASKS)
def test_the_headers_of_asking_are_exactly_those_that_are_read_or_passed_on(ask: str) -> None:
    headers = Asked({})
    read_wishes(headers, detach=Detach(), retention_s=0, retention_max_s=0)

    documented = {name.lower() for name in parameters(ask)}

    assert documented == headers.names | set(PASSED_ON_HEADERS)


def test_what_decides_about_open_access_is_named_where_it_refuses() -> None:
    headers = Asked({"host": "localhost"})
    refuse_the_web(headers)

    guarded = [call for call in OPERATIONS.values() if call.get("security") != []]

    assert len(guarded) >= len(ASKS)
    for call in guarded:
        text = call["responses"]["403"]["description"].lower()
        assert all(f"`{name}`" in text for name in headers.names)


def test_every_header_that_the_routes_read_is_in_the_document() -> None:
    source = "".join(
        file.read_text() for folder in downstream.__path__ for file in Path(folder).glob("*.py")
    )
    read = set(re.findall(r'headers(?:\.get\(|\[)"([a-z-]+)"', source))
    read |= set(re.findall(r'"([a-z-]+)" in (?:call\.)?headers\b', source))

    text = json.dumps(DOCUMENT).lower()

    assert {"authorization", "x-api-key", "accept", "content-type", "anthropic-version"} <= read
    unknown = [name for name in read if f"`{name}" not in text and f'"name": "{name}"' not in text]
    assert not unknown


def test_both_ways_to_send_a_key_are_there_and_neither_is_a_must() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]

    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    assert {} in DOCUMENT["security"]
    assert all({name: []} in DOCUMENT["security"] for name in schemes)


def retention_bound() -> int:
    """The most that a configuration can allow."""
    annotation = get_type_hints(config.Store, include_extras=True)["retention_max_s"]
    kind = msgspec.inspect.type_info(annotation)
    assert isinstance(kind, msgspec.inspect.FloatType)
    assert kind.le is not None
    return int(kind.le)


def is_accepted(name: str, value: str) -> bool:
    try:
        read_wishes(
            {name.lower(): value},
            detach=Detach(),
            retention_s=0,
            retention_max_s=retention_bound(),
        )
    except CallerError:
        return False
    return True


def is_documented(name: str, value: str) -> bool:
    schema = parameters(ASKS[0])[name]["schema"]
    is_number = re.fullmatch(r"0|[1-9][0-9]{0,20}", value) is not None
    return fits(schema, value) or (is_number and fits(schema, int(value)))


def is_plain(value: str) -> bool:
    """No spaces around it, no zeros before it, and Latin-1 only if it cannot be UTF-8."""
    if value != value.strip().lower() or re.match(r"0[0-9]", value):
        return False
    try:
        return value.encode("latin-1").decode() == value
    except UnicodeDecodeError:
        return True


EDGES = ["finish", "cancel", "later", "0", "86400", "86401", "31536000", "31536001"]
VALUES = st.one_of(
    st.integers(-10, 2**54).map(str),
    st.sampled_from([*EDGES, "x" * 128, "x" * 129]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=4),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=250, max_size=260),
    st.text(st.characters(max_codepoint=0xFF), max_size=4),
).filter(is_plain)
"""Of headers."""


@given(value=VALUES)
@pytest.mark.parametrize(
    "name",
    [
        "Prefer",
        "Idempotency-Key",
        "Last-Event-ID",
        "Midstream-Detach",
        "Midstream-Retention",
        "Midstream-Tag",
    ],
)
def test_a_header_is_accepted_when_and_only_when_the_document_allows_it(
    name: str, value: str
) -> None:
    assert is_accepted(name, value) == is_documented(name, value)


@given(value=st.text(max_size=130))
@example("x" * 128)
@example("x" * 129)
@example("ein Gespräch über 猫 🐈")
def test_a_tag_that_is_accepted_can_be_listed_by_as_the_document_says(value: str) -> None:
    try:
        check_tag(value, "tag")
    except CallerError:
        return
    assert fits(parameters("GET /v1/streams")["tag"]["schema"], value)
