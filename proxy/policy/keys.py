"""Who is asking: keys, and the owners they speak for.

Owns what a key is made of and how it is known again. It never holds a key's secret: only the
SHA-256 of it, by which a presented credential is looked up, so no comparison can be timed. What
surprises: presenting a stored digest gets nobody in, because what is presented is hashed first.
A secret has over 160 random bits, so a slow hash would add nothing but load.
"""

import enum
import hashlib
import zlib
from collections.abc import Iterable

import msgspec

_PREFIX = "ms_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS = 32  # 62**32 > 2**190
_CHECK_CHARS = 6  # 62**6 > 2**32: a whole CRC-32
RANDOM_BYTES = 24
"""What `new_secret` takes: 192 bits, of which 32 characters keep over 190."""


class Role(enum.StrEnum):
    """What a key may do beside using models."""

    USER = "user"
    OPERATOR = "operator"
    """Sees and stops everybody's streams."""


class Key(msgspec.Struct, frozen=True):
    """A configured credential of an application."""

    name: str
    digest: bytes
    """`digest` of its secret."""
    owner: str
    role: Role = Role.USER
    expires_at: float | None = None
    """Unix seconds from which on it is refused; None for never."""
    models: tuple[str, ...] | None = None
    """The model names and patterns it may use; None for all."""


class Principal(msgspec.Struct, frozen=True):
    """Who a request speaks for."""

    owner: str
    key_name: str
    role: Role
    models: tuple[str, ...] | None = None
    expires_at: float | None = None
    """Unix seconds from which on its credential is refused; None for never."""

    @property
    def is_operator(self) -> bool:
        """Whether it sees and stops everybody's streams."""
        return self.role is Role.OPERATOR


class Keyring:
    """All configured keys, by digest."""

    open_principal = Principal(owner="local", key_name="", role=Role.OPERATOR)
    """Who everybody is while no key is configured."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.digest: key for key in keys}

    @property
    def is_open(self) -> bool:
        """No key is configured: whoever reaches the proxy may use it."""
        return not self._keys

    def find(self, credential: str, now: float) -> Principal | None:
        """Whom a presented secret speaks for at `now` (Unix seconds); None for nobody."""
        key = self._keys.get(digest(credential))
        if key is None or (key.expires_at is not None and key.expires_at <= now):
            return None
        return Principal(
            owner=key.owner,
            key_name=key.name,
            role=key.role,
            models=key.models,
            expires_at=key.expires_at,
        )


def digest(secret: str) -> bytes:
    """The SHA-256 that stands for a secret; its hex is what the config holds."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def new_secret(random_bytes: bytes) -> str:
    """A key's secret from `RANDOM_BYTES` bytes that nobody can guess.

    ``ms_``, 32 random characters, and 6 that check them, all but the prefix of
    ``[0-9A-Za-z]``: found by secret scanners, and a slip in copying it is told apart from an
    unknown key (`is_mistyped`).
    """
    assert len(random_bytes) == RANDOM_BYTES, "a secret takes 192 bits"
    body = _encode(int.from_bytes(random_bytes, "big"), _RANDOM_CHARS)
    return _PREFIX + body + _check(body)


def is_mistyped(secret: str) -> bool:
    """Whether it claims to be a secret of `new_secret` and cannot be one."""
    if not secret.startswith(_PREFIX):
        return False
    body, check = secret[len(_PREFIX) : -_CHECK_CHARS], secret[-_CHECK_CHARS:]
    return len(body) != _RANDOM_CHARS or check != _check(body)


def _check(body: str) -> str:
    return _encode(zlib.crc32(body.encode("utf-8", "surrogatepass")), _CHECK_CHARS)


def _encode(number: int, chars: int) -> str:
    """The lowest `chars` digits of `number` in base 62."""
    digits = []
    for _ in range(chars):
        number, rest = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[rest])
    return "".join(digits)
