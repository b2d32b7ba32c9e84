"""Keys: how a secret is made, and whom it speaks for."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.keys import (
    RANDOM_BYTES,
    Key,
    Keyring,
    Principal,
    Role,
    digest,
    is_mistyped,
    new_secret,
)

ANN = Key(name="ann-web", digest=digest("ann's secret"), owner="ann")
BOB = Key(
    name="bob",
    digest=digest("bob's secret"),
    owner="bob",
    role=Role.OPERATOR,
    expires_at=1000.0,
    models=("gpt-*",),
)


def test_a_secret_speaks_for_the_owner_of_its_key() -> None:
    ring = Keyring([ANN, BOB])

    assert ring.find("ann's secret", 0.0) == Principal("ann", "ann-web", Role.USER, None)
    assert ring.find("bob's secret", 0.0) == Principal(
        "bob", "bob", Role.OPERATOR, ("gpt-*",), expires_at=1000.0
    )


def test_two_keys_of_one_owner_both_work() -> None:
    other = Key(name="ann-app", digest=digest("another"), owner="ann")
    ring = Keyring([ANN, other])

    found = [ring.find(secret, 0.0) for secret in ("ann's secret", "another")]

    assert [principal and principal.owner for principal in found] == ["ann", "ann"]


@given(credential=st.text())
def test_any_other_credential_speaks_for_nobody(credential: str) -> None:
    assert Keyring([ANN, BOB]).find(credential, 0.0) is None


@pytest.mark.parametrize("form", ["hex", "HEX", "latin-1", "sha256:"])
def test_a_stored_digest_is_never_accepted_as_a_credential(form: str) -> None:
    credential = {
        "hex": ANN.digest.hex(),
        "HEX": ANN.digest.hex().upper(),
        "latin-1": ANN.digest.decode("latin-1"),
        "sha256:": f"sha256:{ANN.digest.hex()}",
    }[form]

    assert Keyring([ANN]).find(credential, 0.0) is None


@pytest.mark.parametrize(("now", "is_good"), [(999.9, True), (1000.0, False), (1e12, False)])
def test_a_key_is_refused_from_the_moment_it_expires(now: float, is_good: bool) -> None:
    assert (Keyring([BOB]).find("bob's secret", now) is not None) is is_good


def test_an_expired_key_does_not_open_the_proxy_to_everybody() -> None:
    assert not Keyring([BOB]).is_open


def test_without_any_key_everybody_is_the_local_operator() -> None:
    ring = Keyring([])

    assert ring.is_open
    assert ring.open_principal == Principal("local", "", Role.OPERATOR)
    assert ring.open_principal.is_operator
    assert ring.find("anything", 0.0) is None


def test_a_user_is_no_operator() -> None:
    principal = Keyring([ANN]).find("ann's secret", 0.0)

    assert principal is not None
    assert not principal.is_operator


def test_a_digest_is_the_sha256_of_the_whole_secret() -> None:
    assert digest("ms_abc").hex() == hashlib.sha256(b"ms_abc").hexdigest()


def test_no_key_shows_a_secret() -> None:
    assert "ann's secret" not in repr(ANN) + repr(vars(Keyring([ANN])))


@given(random_bytes=st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_new_secret_has_its_form_and_its_checksum(random_bytes: bytes) -> None:
    secret = new_secret(random_bytes)

    assert re.fullmatch(r"ms_[0-9A-Za-z]{38}", secret)
    assert not is_mistyped(secret)


def test_every_bit_of_the_randomness_changes_the_secret() -> None:
    bits = [(1 << bit).to_bytes(RANDOM_BYTES, "big") for bit in range(RANDOM_BYTES * 8)]

    secrets = {new_secret(random_bytes) for random_bytes in [bytes(RANDOM_BYTES), *bits]}

    assert len(secrets) == 1 + 192


@given(
    random_bytes=st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES),
    place=st.integers(3, 40),
    char=st.sampled_from("0aZ-"),
)
def test_a_secret_with_one_wrong_character_is_told_apart(
    random_bytes: bytes, place: int, char: str
) -> None:
    secret = new_secret(random_bytes)
    other = secret[:place] + char + secret[place + 1 :]

    assert is_mistyped(other) is (other != secret)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [("", False), ("sk-abc", False), ("ms_", True), ("ms_é", True), ("ms_" + "0" * 37, True)],
)
def test_only_what_claims_to_be_ours_can_be_mistyped(secret: str, expected: bool) -> None:
    assert is_mistyped(secret) is expected
