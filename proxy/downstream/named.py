"""Streams by the names of their answers, as OpenAI's SDKs ask for them.

A name belongs to an owner: whoever else asks for it learns nothing. What surprises: an answer
that was translated, or has said nothing yet, is named after its stream, and the ledger need not
know it.
"""

import msgspec

from proxy.downstream.auth import may_read
from proxy.downstream.desk import Desk
from proxy.errors import (
    MalformedRequest,
    PreviousResponseUnknown,
    ResponseNotFound,
    StreamNotFound,
)
from proxy.policy.keys import Principal
from proxy.stream import State
from proxy.wire.responses.ids import is_name, stream_of


class Found(msgspec.Struct, frozen=True):
    """A stream that was asked for by name."""

    state: State
    is_its_own: bool
    """Whether its provider gave it that name, and so knows it too."""


async def find_named(desk: Desk, principal: Principal, name: str, dialect: str) -> Found:
    """The caller's stream of that name in `dialect`. Two round trips.

    Raises `ResponseNotFound` for one that is another's, or erased, or expired, or never was.
    """
    known = await desk.switchboard.named(principal.owner, name) if is_name(name) else None
    stream = known or stream_of(name)
    if stream is None:
        raise ResponseNotFound(name)
    try:
        state = await desk.switchboard.state(stream)
    except StreamNotFound as error:
        raise ResponseNotFound(name) from error
    if state.is_erased or state.birth.dialect != dialect or not may_read(principal, state):
        raise ResponseNotFound(name)
    return Found(state, is_its_own=known is not None)


async def provider_of_previous(desk: Desk, principal: Principal, name: str, dialect: str) -> str:
    """The one provider that knows an earlier answer, to be gone on from there.

    Raises `PreviousResponseUnknown`, or `MalformedRequest` if no provider knows it.
    """
    try:
        found = await find_named(desk, principal, name, dialect)
    except ResponseNotFound as error:
        raise PreviousResponseUnknown(name) from error
    if not found.is_its_own:
        raise not_kept()
    return found.state.provider


def not_kept(why: str = "") -> MalformedRequest:
    """That nobody keeps the conversation that is to be gone on with."""
    return MalformedRequest(
        "'previous_response_id' needs a provider that keeps responses, and that speaks this API; "
        f"{why or 'the one that made this response does not'}. Send the conversation in 'input'.",
        param="previous_response_id",
    )
