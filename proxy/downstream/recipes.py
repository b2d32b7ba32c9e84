"""What is kept of a request so that another worker can go on with its stream, and the way back.

It is written for the store with the birth, where `takeover` is on, and so holds what an operator
must know that it holds: the whole request, and whom it speaks for. No credential is in it, but the
digest of one. How it lies there is for `encryption` to say. What surprises: whoever reads it plans
by the config of that moment, so a key that is gone by then, or a model, makes nothing any more.
"""

from collections.abc import Sequence

import msgspec

from proxy.downstream.desk import Desk
from proxy.errors import NotAuthenticated, RecipeUnreadable
from proxy.policy.keys import Principal
from proxy.relay.takeover import RECIPE_BYTES_MAX
from proxy.stream import StreamId
from proxy.wire.dialect import Ask


class Recipe(msgspec.Struct, frozen=True, omit_defaults=True):
    """Later fields need defaults: versions share a namespace."""

    principal: Principal
    body: bytes
    """The client's request."""
    headers: Sequence[tuple[str, str]] = ()
    """The client's own, for its provider."""
    pinned: str | None = None
    """The provider that alone can answer, if there is such a one."""


_decoder = msgspec.msgpack.Decoder(Recipe)


def write_recipe(
    desk: Desk,
    stream: StreamId,
    principal: Principal,
    ask: Ask,
    headers: Sequence[tuple[str, str]],
    pinned: str | None,
) -> bytes | None:
    """For the store; None if it is too large to be kept."""
    body = msgspec.json.encode(ask.fields)
    recipe = msgspec.msgpack.encode(Recipe(principal, body, headers, pinned))
    return desk.encryption.encrypt(stream, recipe) if len(recipe) <= RECIPE_BYTES_MAX else None


def read_recipe(desk: Desk, stream: StreamId, raw: bytes) -> Recipe:
    """Raises `RecipeUnreadable`, or `NotAuthenticated` if its key makes nothing any more."""
    try:
        recipe = _decoder.decode(desk.encryption.decrypt(stream, raw))
    except msgspec.DecodeError as error:
        raise RecipeUnreadable("it is none of this version") from error
    if desk.keyring.is_open:
        return recipe
    principal = desk.keyring.again(recipe.principal, desk.switchboard.clock.now())
    if principal is None:
        raise NotAuthenticated("Its key is gone.")
    return msgspec.structs.replace(recipe, principal=principal)
