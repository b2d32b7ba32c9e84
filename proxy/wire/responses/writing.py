"""TODO: Conversation -> a provider's body."""

from proxy.wire.conversation import Conversation
from proxy.wire.dialect import Ask


def write_conversation(conversation: Conversation) -> Ask:
    """See `Dialect.ask_of`."""
    raise NotImplementedError
