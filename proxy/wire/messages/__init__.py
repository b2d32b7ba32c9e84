"""The dialect `anthropic.messages`: Anthropic Messages."""

from proxy.wire.messages.dialect import AnthropicMessages

__all__ = ["AnthropicMessages"]
