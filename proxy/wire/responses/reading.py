"""TODO: a client's body -> Conversation."""

from proxy.wire.conversation import Conversation
from proxy.wire.dialect import Ask


def read_conversation(ask: Ask) -> Conversation:
    """See `Dialect.conversation`."""
    raise NotImplementedError
