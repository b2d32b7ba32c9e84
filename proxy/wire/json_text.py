r"""JSON as others wrote it: read on a copy, checked, and passed on as it is.

Owns how a dialect looks at text from outside. What surprises: a lone surrogate (``\ud83d``
without its other half) is JSON by RFC 8259 and comes from servers that cut strings between
UTF-16 units. The decoder refuses it, so such data is read in a mended copy; its own bytes pass.
"""

import json
import re
from collections.abc import Collection
from typing import TypeVar

import msgspec

from proxy.errors import MalformedRequest, ProviderGarbled

T = TypeVar("T")

Fields = dict[str, msgspec.Raw]
"""The top-level fields of an object, each value as it was written."""

ABSENT = msgspec.Raw()
"""The default of a field that is kept as it was written."""
NULL = msgspec.Raw(b"null")
TRUE = msgspec.Raw(b"true")
_NOTHING = frozenset({b"", b"null", b"false", b"0", b'""', b"[]", b"{}"})
_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_fields_decoder = msgspec.json.Decoder(Fields)
_encoder = msgspec.json.Encoder()


def says_nothing(value: msgspec.Raw) -> bool:
    """Whether a value is absent, or would be false to a script: null, false, 0, empty."""
    return bytes(value) in _NOTHING


def read(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """What a provider sent, all of it checked to be JSON in UTF-8. Raises `ProviderGarbled`."""
    try:
        if not data.isascii():
            str(data, "utf-8")  # the decoder looks only into the strings that it needs
        try:
            return decoder.decode(data)
        except msgspec.DecodeError:
            mended = _mend(data)
            if mended == data:
                raise
            return decoder.decode(mended)
    except UnicodeDecodeError as error:
        raise ProviderGarbled("an event that is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise ProviderGarbled(f"an event of another shape ({error})") from error
    except msgspec.DecodeError as error:
        raise ProviderGarbled(f"an event that is not JSON ({error})") from error
    except RecursionError as error:
        raise ProviderGarbled("an event that is nested too deeply") from error


def read_halves(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """What `read` has checked, with halves of surrogate pairs: the other one may come next.

    Raises `ProviderGarbled`.
    """
    try:
        try:
            return decoder.decode(data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return msgspec.convert(json.loads(data), decoder.type)
    except msgspec.ValidationError as error:
        raise ProviderGarbled(f"an event of another shape ({error})") from error


class _Kind(msgspec.Struct, gc=False):
    type: str = ""


_kind_decoder = msgspec.json.Decoder(_Kind)


def read_known(decoder: msgspec.json.Decoder[T], data: bytes, known: Collection[str]) -> T | None:
    """The same, of an event; None of one that no book knows, which may have another shape.

    Raises `ProviderGarbled`, for another shape of a `known` type too.
    """
    try:
        return read_halves(decoder, data)
    except ProviderGarbled:
        if read_halves(_kind_decoder, data).type in known:
            raise
        return None


def write(value: object) -> bytes:
    """The JSON of plain data. Halves of a surrogate pair are written as they are."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _mend(data: bytes) -> bytes:
    return _SURROGATES.sub(
        lambda found: rb"\ufffd" if found["lone"] is not None else found[0], data
    )


def read_body(body: bytes) -> Fields:
    """The fields of a request body. Raises `MalformedRequest`."""
    try:
        str(body, "utf-8")
        return _fields_decoder.decode(body)
    except UnicodeDecodeError as error:
        raise MalformedRequest("The body is not UTF-8.") from error
    except msgspec.ValidationError as error:
        raise MalformedRequest("The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise MalformedRequest("The body is nested too deeply.") from error


def write_object(fields: dict[str, msgspec.Raw]) -> bytes:
    """An object of these fields, each value as it was written, in this order."""
    return msgspec.json.encode(fields)


def passed_on(body: bytes | None, *, one_line: bool) -> bytes | None:
    """A provider's own error, if the SDKs would see that it is one: it has a true `error`.

    With `one_line` also only if it can be the data of an event as it is.
    """
    if body is None or (one_line and (b"\n" in body or b"\r" in body)):
        return None
    try:
        str(body, "utf-8")
        fields = _fields_decoder.decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None
    return None if says_nothing(fields.get("error", ABSENT)) else body
