"""What the heart is told by the config. Owns no rule."""

import msgspec

from proxy.relay.writer import Limits


class Settings(msgspec.Struct, frozen=True):
    """Of one process."""

    lease_s: float
    grace_s: float
    """How long a producer keeps what the store does not take."""
    heartbeat_s: float
    streams_max: int
    """Of streams that are produced here, and as many passages."""
    limits: Limits
