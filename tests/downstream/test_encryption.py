"""What is kept of a request opens with its key, for its stream, as it was, and not otherwise."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.downstream.encryption import Encryption
from proxy.errors import RecipeUnreadable
from proxy.stream import StreamId

OLD, NEW = bytes(range(32)), bytes(range(100, 132))
ONE, OTHER = StreamId("one"), StreamId("other")
RECIPE = b"\x82a whole request"
ADDED = 1 + 4 + 12 + 16
"""Version, key, nonce and tag."""


def under(*keys: bytes) -> Encryption:
    return Encryption(keys, secrets.token_bytes)


@given(recipe=st.binary(max_size=2000), stream=st.text(max_size=40))
def test_what_is_encrypted_decrypts_to_the_same(recipe: bytes, stream: str) -> None:
    kept = under(OLD).encrypt(StreamId(stream), recipe)

    assert under(OLD).decrypt(StreamId(stream), kept) == recipe
    assert len(kept) == len(recipe) + ADDED
    assert len(recipe) < 4 or recipe not in kept


@given(st.data())
def test_not_a_bit_can_be_changed_nor_a_byte_be_missing(data: st.DataObject) -> None:
    kept = bytearray(under(OLD).encrypt(ONE, RECIPE))
    if data.draw(st.booleans()):
        kept[data.draw(st.integers(0, len(kept) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del kept[data.draw(st.integers(0, len(kept) - 1)) :]

    with pytest.raises(RecipeUnreadable):
        under(OLD).decrypt(ONE, bytes(kept))


@given(st.binary(max_size=100))
def test_what_nobody_here_has_encrypted_does_not_decrypt(kept: bytes) -> None:
    with pytest.raises(RecipeUnreadable):
        under(OLD).decrypt(ONE, kept)


@given(st.binary(max_size=100))
def test_what_only_begins_like_it_does_not_decrypt(rest: bytes) -> None:
    begin = under(OLD).encrypt(ONE, RECIPE)[:5]

    with pytest.raises(RecipeUnreadable, match="changed"):
        under(OLD).decrypt(ONE, begin + rest)


def test_the_recipe_of_another_stream_does_not_decrypt() -> None:
    with pytest.raises(RecipeUnreadable, match="another stream's"):
        under(OLD).decrypt(OTHER, under(OLD).encrypt(ONE, RECIPE))


def test_the_first_key_encrypts_and_any_decrypts() -> None:
    before, after = under(OLD).encrypt(ONE, RECIPE), under(NEW, OLD).encrypt(ONE, RECIPE)

    assert under(NEW, OLD).decrypt(ONE, before) == RECIPE
    assert under(NEW).decrypt(ONE, after) == RECIPE
    with pytest.raises(RecipeUnreadable, match="a key that is not in"):
        under(OLD).decrypt(ONE, after)


def test_the_same_is_never_encrypted_to_the_same() -> None:
    assert len({under(OLD).encrypt(ONE, RECIPE) for _ in range(100)}) == 100


def test_without_a_key_it_is_kept_as_it_is_and_what_is_encrypted_cannot_be_read() -> None:
    assert under().decrypt(ONE, under().encrypt(ONE, RECIPE)) == RECIPE
    assert under().encrypt(ONE, RECIPE) == RECIPE
    with pytest.raises(RecipeUnreadable, match="it is encrypted, and no"):
        under().decrypt(ONE, under(OLD).encrypt(ONE, RECIPE))


def test_with_a_key_nothing_is_taken_that_is_not_encrypted() -> None:
    with pytest.raises(RecipeUnreadable, match="not encrypted"):
        under(OLD).decrypt(ONE, RECIPE)
