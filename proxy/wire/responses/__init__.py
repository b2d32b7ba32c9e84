"""The dialect `openai.responses`: OpenAI Responses."""

from proxy.wire.responses.dialect import OpenAIResponses

__all__ = ["OpenAIResponses"]
