"""The registry of dialects: the one place that knows all of them."""

from proxy.wire.anthropic_messages import AnthropicMessages
from proxy.wire.dialect import Dialect
from proxy.wire.openai_chat import OpenAIChat


def all_dialects() -> dict[str, Dialect]:
    """Every dialect, by name. A new one is one line here."""
    dialects: tuple[Dialect, ...] = (OpenAIChat(), AnthropicMessages())
    return {dialect.name: dialect for dialect in dialects}
