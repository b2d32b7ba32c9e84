"""What another provider is asked that goes on with a message.

Owns which requests are for one model alone, and which models take a prefill. What surprises: they
are those of `models`, a list of the past: Anthropic's newer ones refuse it, as all do that think.
"""

import msgspec

from proxy.wire.asks import GO_ON, appended, ends_with_an_answer, value_of
from proxy.wire.assembly import object_at, objects_at
from proxy.wire.dialect import Ask, Continuing
from proxy.wire.messages.models import BEFORE_EFFORTS

_UNLESS_EMPTY = ("output_format", "mcp_servers", "container")
_OWN_TOOLS = frozenset({None, "custom"})
"""Types of tools that the client runs."""


def indivisible(ask: Ask) -> str | None:
    """See `Dialect.indivisible`."""
    fields = ask.fields
    if object_at(value_of(fields, "output_config")).get("format"):
        return "output_config"
    if any(tool.get("type") not in _OWN_TOOLS for tool in objects_at(value_of(fields, "tools"))):
        return "tools"
    return next((name for name in _UNLESS_EMPTY if value_of(fields, name)), None)


def continuing(ask: Ask, model: str, said: str, prefill: bool | None) -> Continuing:
    """See `Dialect.continuing`. A prefill that ends with white space would be refused."""
    messages = ask.fields["messages"]
    if prefill is None:
        prefill = BEFORE_EFFORTS.search(model) is not None
    thinks = object_at(value_of(ask.fields, "thinking")).get("type") in {"enabled", "adaptive"}
    is_prefilled = prefill and not thinks and not ends_with_an_answer(messages)
    if is_prefilled:
        more = [{"role": "assistant", "content": said.rstrip()}]
    else:
        more = [{"role": "assistant", "content": said}, {"role": "user", "content": GO_ON}]
    fields = {**ask.fields, "messages": appended(messages, *more)}
    return Continuing(msgspec.structs.replace(ask, fields=fields), is_prefilled)
