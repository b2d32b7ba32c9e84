"""What all official SDKs have in common here: Python's two, sync or async, and Node's two."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from tests.clients.hearing import Heard, Kind, Question


class Ask(Protocol):
    """One SDK asks all questions at once, and tells what it heard, in the same order."""

    def __call__(
        self, kind: Kind, url: str, questions: Sequence[Question], *, key: str, max_retries: int = 0
    ) -> list[Heard]: ...


Sdks = Mapping[str, Ask]
"""By name; the fixture `sdks` has them."""
NAMES = ("sync", "async", "node")
KINDS: tuple[Kind, Kind] = ("openai", "anthropic")
PAIRS: list[tuple[Kind, str]] = [(kind, name) for kind in KINDS for name in NAMES]
RESPONSES: list[tuple[Kind, str]] = [("responses", name) for name in NAMES]
"""OpenAI's SDKs once more, in their other language."""


class Directly:
    """What the SDKs make of a provider's answers without a proxy; each is asked for once."""

    def __init__(self, sdks: Sdks, url: str) -> None:
        self._sdks = sdks
        self._url = url
        self._known: dict[tuple[Kind, str, bytes], Heard] = {}

    def ask(self, kind: Kind, sdk: str, questions: Sequence[Question]) -> list[Heard]:
        """All questions at once by one SDK."""
        keys = [(kind, sdk, msgspec.json.encode(asked)) for asked in questions]
        new = {
            key: asked for key, asked in zip(keys, questions, strict=True) if key not in self._known
        }
        if new:
            heard = self._sdks[sdk](kind, self._url, list(new.values()), key="any")
            self._known |= zip(new, heard, strict=True)
        return [self._known[key] for key in keys]
