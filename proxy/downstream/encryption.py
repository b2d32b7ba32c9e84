"""How recipes lie in the store: under the operator's keys, or as they are where there is none.

Owns the form of what is encrypted: a version, which key it was, a nonce, then AES-256-GCM, bound
to its stream. It never holds a recipe. What surprises: where there is a key, what is not encrypted
is refused, so that nobody who can write to the store can have a request made here.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import NamedTuple

from proxy.errors import RecipeUnreadable
from proxy.stream import StreamId

_VERSION = b"\x01"
"""No recipe begins so that is not encrypted: it is a map, in MessagePack 0x80 or more."""
_ID_BYTES = 4  # chosen: enough to tell an operator's keys apart
_NONCE_BYTES = 12  # SP 800-38D 5.2.1.1: 96 bits, the length that GCM is made for
_NONCE_AT = len(_VERSION) + _ID_BYTES


class _Key(NamedTuple):
    id: bytes
    secret: bytes


class Encryption:
    """See the module."""

    def __init__(self, keys: Sequence[bytes], random_bytes: Callable[[int], bytes]) -> None:
        """The first of `keys`, of 32 bytes each, encrypts, and any decrypts."""
        self._random_bytes = random_bytes
        self._keys = [_Key(_id_of(key), key) for key in keys]
        if keys:
            # costs 8 ms and 8 MiB (measured), which nobody without a key should pay
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

            self._aes, self._changed = AESGCM, InvalidTag

    def encrypt(self, stream: StreamId, recipe: bytes) -> bytes:
        """What is to be kept of the recipe of `stream`."""
        if not self._keys:
            return recipe
        key = self._keys[0]
        begin, nonce = _VERSION + key.id, self._random_bytes(_NONCE_BYTES)
        cipher = self._aes(_stream_key(key, stream))
        return begin + nonce + cipher.encrypt(nonce, recipe, begin + stream.encode())

    def decrypt(self, stream: StreamId, kept: bytes) -> bytes:
        """The recipe of `stream`. Raises `RecipeUnreadable`."""
        is_encrypted = kept.startswith(_VERSION)
        if not self._keys:
            if is_encrypted:
                raise RecipeUnreadable("it is encrypted, and no [store] encryption_key is set")
            return kept
        if not is_encrypted:
            raise RecipeUnreadable("it is not encrypted, though [store] encryption_key is set")
        begin, nonce = kept[:_NONCE_AT], kept[_NONCE_AT : _NONCE_AT + _NONCE_BYTES]
        key = next((each for each in self._keys if begin == _VERSION + each.id), None)
        if key is None:
            raise RecipeUnreadable(
                "it is encrypted with a key that is not in [store] encryption_key"
            )
        try:
            return self._aes(_stream_key(key, stream)).decrypt(
                nonce, kept[_NONCE_AT + _NONCE_BYTES :], begin + stream.encode()
            )
        except (self._changed, ValueError) as error:  # ValueError: too short for a nonce
            raise RecipeUnreadable("it was changed in the store, or is another stream's") from error


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"midstream recipe key" + key).digest()[:_ID_BYTES]


def _stream_key(key: _Key, stream: StreamId) -> bytes:
    """Each has its own: of random nonces one key bears 2**32 (SP 800-38D 8.3), a few busy weeks."""
    return hmac.digest(key.secret, stream.encode(), "sha256")
