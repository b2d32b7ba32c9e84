"""The whole proxy, asked in process and without a socket, and the document that it must keep to."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from litestar import Litestar
from litestar.types import ASGIApp
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from uvicorn.protocols.http.flow_control import FlowControl

from proxy.app import running_app
from proxy.config import parse
from proxy.downstream.http import EXTENSION, Wire
from proxy.downstream.schema import openapi_json
from proxy.observe import Observer

DOCUMENT: dict[str, Any] = json.loads(openapi_json())


class Answered(NamedTuple):
    """One answer, and the application that gave it."""

    status: int
    headers: dict[str, str]
    body: bytes
    app: Litestar


@asynccontextmanager
async def running(config: str) -> AsyncIterator["Client"]:
    parsed = parse(config, {}, lambda path: path)
    observer = Observer(logging.getLogger("midstream.test"))
    async with running_app(parsed, observer, on_trouble=print) as app:
        yield Client(app.asgi)


class _Staying(asyncio.Transport):
    """The connection of a client that does not leave."""

    def is_closing(self) -> bool:
        return False


class Client:
    """Asks, and holds every answer against the document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """An answer to `method` `target`, which is a path and perhaps a query."""
        url = urlsplit(target)
        sent = {"host": "localhost"} | dict(headers or {})
        raw = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            sent = {"content-type": "application/json"} | sent
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": url.path,
            "raw_path": url.path.encode(),
            "query_string": url.query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": {EXTENSION: Wire(_Staying(), FlowControl(_Staying()))},
        }
        messages: list[Any] = [{"type": "http.request", "body": raw, "more_body": False}]
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not messages:
                await gone.wait()
            return messages.pop() if messages else {"type": "http.disconnect"}

        got: list[Any] = []

        async def send(message: dict[str, Any]) -> None:
            got.append(message)

        async with asyncio.timeout(20):
            await self._app(scope, receive, send)  # type: ignore[arg-type]
        start, *parts = got
        return Answered(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(part["body"] for part in parts),
            scope["litestar_app"],
        )


def resolve(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    if "$ref" not in part:
        return dict(part)
    found: Any = DOCUMENT
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def check(method: str, template: str, answered: Answered) -> None:
    """Raise AssertionError unless the document promises such an answer."""
    operation = DOCUMENT["paths"][template][method.lower()]
    response = operation["responses"].get(str(answered.status))
    assert response is not None, f"status {answered.status} is not documented"
    promised = {name.lower(): resolve(header) for name, header in response["headers"].items()}
    given = dict(answered.headers)
    media_type = given.pop("content-type", "").partition(";")[0]
    given.pop("content-length", None)
    assert given.keys() <= promised.keys()
    assert {name for name, header in promised.items() if header["required"]} <= given.keys()
    for name, value in given.items():
        schema = promised[name]["schema"]
        assert fits(schema, int(value) if schema.get("type") == "integer" else value), name
    content = response.get("content", {})
    assert bool(content) == (answered.status != 204) == bool(answered.body)
    if content:
        assert media_type in content
    if "json" in media_type:
        assert fits(content[media_type]["schema"], json.loads(answered.body)), answered.body


def fits(schema: Mapping[str, Any], value: object) -> bool:
    whole = {**schema, "components": DOCUMENT["components"]}
    return bool(OAS31Validator(whole, format_checker=oas31_format_checker).is_valid(value))
