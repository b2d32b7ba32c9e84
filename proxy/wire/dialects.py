"""The registry of dialects: the one place that knows all of them."""

from proxy.wire.chat import OpenAIChat
from proxy.wire.dialect import Dialect
from proxy.wire.messages import AnthropicMessages
from proxy.wire.responses import OpenAIResponses


def all_dialects() -> dict[str, Dialect]:
    """Every dialect, by name. A new one is one line here."""
    dialects: tuple[Dialect, ...] = (OpenAIChat(), OpenAIResponses(), AnthropicMessages())
    return {dialect.name: dialect for dialect in dialects}
