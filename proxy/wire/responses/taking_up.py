"""What another provider is asked that goes on with a response.

Owns which requests are for one model alone. What surprises: input that is a string becomes a
message of the user's, which says the same.
"""

import msgspec

from proxy.wire.asks import GO_ON, appended, value_of
from proxy.wire.assembly import object_at, objects_at
from proxy.wire.dialect import Ask, Continuing
from proxy.wire.json_text import NULL

_UNLESS_EMPTY = ("conversation", "top_logprobs")
"""A conversation is kept by the provider, which may have half of the answer in it."""
_LOGPROBS = "message.output_text.logprobs"


def indivisible(ask: Ask) -> str | None:
    """See `Dialect.indivisible`."""
    fields = ask.fields
    form = object_at(object_at(value_of(fields, "text")).get("format"))
    if form.get("type", "text") != "text":
        return "text"
    if any(tool.get("type") != "function" for tool in objects_at(value_of(fields, "tools"))):
        return "tools"
    include = value_of(fields, "include")
    if isinstance(include, list) and _LOGPROBS in include:
        return "include"
    return next((name for name in _UNLESS_EMPTY if value_of(fields, name)), None)


def continuing(ask: Ask, said: str) -> Continuing:
    """See `Dialect.continuing`. The dialect has no prefill."""
    found = ask.fields.get("input", NULL)
    if bytes(found).startswith(b'"'):
        found = msgspec.Raw(b'[{"role":"user","content":%b}]' % bytes(found))
    elif not bytes(found).startswith(b"["):
        found = msgspec.Raw(b"[]")
    answer = {"role": "assistant", "content": said}
    told = {"role": "user", "content": GO_ON}
    fields = {**ask.fields, "input": appended(found, answer, told)}
    return Continuing(msgspec.structs.replace(ask, fields=fields), is_prefilled=False)
