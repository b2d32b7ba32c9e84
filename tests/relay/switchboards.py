"""A switchboard in virtual time, as most tests of the heart need it."""

import random

from proxy.relay.ports import Journal, Ledger
from proxy.relay.settings import Settings
from proxy.relay.switchboard import Switchboard
from proxy.relay.writer import Limits
from proxy.wire.dialects import all_dialects
from tests.simulation.world import SeededEntropy, VirtualClock, silent_observer

LEASE_S = 5.0


def make_switchboard(journal: Journal, ledger: Ledger) -> Switchboard:
    """One process's, that leaves no log."""
    return Switchboard(
        journal,
        ledger,
        VirtualClock(),
        SeededEntropy(random.Random(1)),
        silent_observer(),
        all_dialects(),
        Settings(
            lease_s=LEASE_S,
            grace_s=30.0,
            heartbeat_s=15.0,
            streams_max=10,
            limits=Limits(event_bytes_max=1000, stream_bytes_max=1000),
        ),
    )
