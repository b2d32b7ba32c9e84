"""A running `@copilotkit/aimock`: OpenAI and Anthropic as somebody else understands them.

It answers by model name, and keeps a journal of every request that reached it.
"""

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.clients.node_sdks import FOLDER, need_node

UPSTREAM_KEY = "upstream-key-0123456789"
"""The one credential that it takes: the provider's, never a client's."""


class Aimock:
    """See the module."""

    def __init__(self, url: str) -> None:
        self.url = url

    def answers(self, model: str, response: Mapping[str, Any], **options: object) -> None:
        """What it says when it is asked for `model`: see `fixture`."""
        self.answers_all([fixture(model, response, **options)])

    def answers_all(self, fixtures: Sequence[dict[str, Any]]) -> None:
        """Many at once."""
        told = self._call("/__aimock/fixtures", json.dumps({"fixtures": fixtures}).encode())
        assert told == {"added": len(fixtures)}

    def calls(self, model: str) -> list[dict[str, Any]]:
        """Its journal's entries of requests for `model`, in order."""
        return self.journal().get(model, [])

    def journal(self) -> dict[str, list[dict[str, Any]]]:
        """All entries, by model."""
        entries: dict[str, list[dict[str, Any]]] = {}
        for entry in self._call("/__aimock/journal", None):
            entries.setdefault(entry["body"]["model"], []).append(entry)
        return entries

    def _call(self, path: str, body: bytes | None) -> Any:
        headers = {"x-api-key": UPSTREAM_KEY, "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def fixture(model: str, response: Mapping[str, Any], **options: object) -> dict[str, Any]:
    """An answer to whoever asks for `model`; with `turn`, to the request of that number from 0.

    The other options are aimock's own: how it paces the answer, and what goes wrong.
    """
    match: dict[str, Any] = {"model": model}
    if "turn" in options:
        match["sequenceIndex"] = options.pop("turn")
    return {"match": match, "response": response, **options}


@contextmanager
def running_aimock() -> Iterator[Aimock]:
    """A mock in a process of its own, until the block is left."""
    need_node()
    process = subprocess.Popen(
        ["node", "aimock.mjs", UPSTREAM_KEY],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Aimock(process.stdout.readline().strip())
        finally:
            process.stdin.close()
            process.wait(10)
