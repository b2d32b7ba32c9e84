"""The dialect `openai.chat`: OpenAI Chat Completions."""

from proxy.wire.chat.dialect import OpenAIChat

__all__ = ["OpenAIChat"]
