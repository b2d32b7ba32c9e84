"""The OpenAPI document: what ``GET /schema`` answers.

Written beside the routes, not derived from them: handlers read bytes and answer ASGI, so their
signatures say nothing. Tests hold the document against routes, errors and headers in both
directions. It is made of the program alone, never of a configuration, so anybody may read it.
"""

import msgspec

from proxy.downstream.schema_answers import headers
from proxy.downstream.schema_asking import asking_paths
from proxy.downstream.schema_bodies import Json, schemas
from proxy.downstream.schema_dashboard import dashboard_paths, dashboard_schemas
from proxy.downstream.schema_dialects import dialect_schemas
from proxy.downstream.schema_errors import BOTH_SHAPES, failures, responses
from proxy.downstream.schema_operations import paths
from proxy.downstream.schema_quotas import quota_header_definitions, usage_path
from proxy.downstream.schema_responses import responses_paths
from proxy.downstream.schema_websocket import websocket_paths
from proxy.errors import MethodNotAllowed, RouteNotFound
from proxy.wire.dialects import all_dialects

_INTRODUCTION = """\
Midstream stands between applications and providers of language models. Applications ask it as
they ask OpenAI or Anthropic. It writes every event of an answer to a journal before anybody sees
it, so that a client whose connection breaks in the middle comes back to the exact next event.

* **Stream**: one answer in the making, or made. It goes on when its reader leaves.
* **Event**: one step of that answer. Its id is its place: 1, 2, 3 …, the same for every reader.

**Keys.** Send a key as `Authorization: Bearer KEY` or as `x-api-key: KEY`; if both are there,
the latter counts. A proxy without keys needs none, and serves only programs on its own machine.

**Errors** have the shape of the caller's SDK: Anthropic's under `/v1/messages` and for whoever
sends `anthropic-version`, OpenAI's for all others. A path that is not here gets
`route_not_found`, a method that is not here `method_not_allowed`. Three refusals come before all
that and have no JSON: what is not HTTP (400), headers beyond the configured limits (431), and
more connections than configured (503)."""


def openapi_json() -> bytes:
    """The document. Builds it anew on each call, which takes some milliseconds."""
    return msgspec.json.encode(_document())


def _document() -> Json:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Midstream",
            "summary": "Streamed answers of language models that outlive their connections",
            "description": _INTRODUCTION,
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": _tags(),
        "security": [{"bearer": []}, {"apiKey": []}, {}],
        "paths": asking_paths(all_dialects().values()) | _other_paths(),
        "components": {
            "schemas": _once(schemas(), dialect_schemas(), dashboard_schemas()),
            "headers": headers() | quota_header_definitions(),
            "responses": _elsewhere(),
            "securitySchemes": _security_schemes(),
        },
    }


def _once(*parts: Json) -> Json:
    """All parts in one. What has the same name in two of them has to be the same."""
    found: Json = {}
    for part in parts:
        for name, shape in part.items():
            assert found.setdefault(name, shape) == shape, f"{name} is two things"
    return found


def _other_paths() -> Json:
    usage = {"/v1/usage": {"get": usage_path()}}
    return {**paths(), **responses_paths(), **usage, **websocket_paths(), **dashboard_paths()}


def _tags() -> list[Json]:
    said = {
        "Answers": "Ask for an answer.",
        "Streams": "Read, resume, stop and list answers.",
        "Models": "What can be asked.",
        "Operation": "For those who run the proxy.",
    }
    return [{"name": name, "description": description} for name, description in said.items()]


def _elsewhere() -> Json:
    """What is answered where there is no call to say it of."""
    not_found = responses(failures(RouteNotFound), *BOTH_SHAPES)
    not_allowed = responses(failures(MethodNotAllowed), *BOTH_SHAPES)
    return {"RouteNotFound": not_found["404"], "MethodNotAllowed": not_allowed["405"]}


def _security_schemes() -> Json:
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of the configuration: `Authorization: Bearer KEY`.",
        },
        "apiKey": {
            "type": "apiKey",
            "in": "header",
            "name": "x-api-key",
            "description": "The same, as Anthropic's SDKs have sent it. It wins over the other.",
        },
    }
