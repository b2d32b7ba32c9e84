"""The `sequence_number` of an event: its place in the stream, counted from 0.

By it clients resume, so it must be what they count. Where a provider's own deviates, or is missing,
that one number is written anew, and no other byte. What surprises: a nested object may have a field
of that name; the right one is that after whose change the event's own number is right.
"""

import re
from itertools import islice

import msgspec

from proxy.errors import ProviderGarbled
from proxy.wire.json_text import ABSENT, Fields, read, write_object

_MEMBER = re.compile(rb'(?<=[{,])\s*"sequence_number"\s*:\s*([^\s,}\[{"]+|"[^"\\]*")')
"""Of some object: a quote after a brace or comma of JSON can only open a key, or be inside a
string, where it would have to follow a backslash."""
_CANDIDATES_MAX = 8
"""How many members are tried. Chosen: each costs a decode; one is the rule, three a curiosity."""


class _Numbered(msgspec.Struct, gc=False):
    sequence_number: msgspec.Raw = ABSENT


_numbered_decoder = msgspec.json.Decoder(_Numbered)
_fields_decoder = msgspec.json.Decoder(Fields)


def numbered(data: bytes, said: msgspec.Raw, number: int) -> bytes:
    """`data`, an object that says `said` of its number, with `number` instead."""
    wanted = b"%d" % number
    if said == ABSENT:
        head, _, tail = data.partition(b"{")
        comma = b"" if tail.lstrip().startswith(b"}") else b","
        return b'%b{"sequence_number":%b%b%b' % (head, wanted, comma, tail)
    for member in islice(_MEMBER.finditer(data), _CANDIDATES_MAX):
        changed = data[: member.start(1)] + wanted + data[member.end(1) :]
        if _says(changed, wanted):
            return changed
    fields = read(_fields_decoder, data)  # its values keep their bytes
    return write_object({**fields, "sequence_number": msgspec.Raw(wanted)})


def _says(data: bytes, number: bytes) -> bool:
    try:
        return bytes(read(_numbered_decoder, data).sequence_number) == number
    except ProviderGarbled:
        return False
