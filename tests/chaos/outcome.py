"""What a server's answer means to a client that wants to go on, whatever the transport."""

DONE = b"[DONE]"
QUOTED_DONE = b'"[DONE]"'
"""How JSON says the one data that is no JSON."""


class Refused(Exception):
    """The server's answer is final."""


class Passing(Exception):
    """The server says: later, or elsewhere."""


def refuse(status: int, text: str) -> None:
    """Raise what the status means, if it is no success."""
    if status in {409, 429} or status >= 500:
        raise Passing(f"{status}")
    if status >= 300:
        raise Refused(f"{status}: {text[:200]}")
