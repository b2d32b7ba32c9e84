"""A switchboard in virtual time, as most tests of the heart need it."""

import random

from proxy.errors import StoreUnavailable
from proxy.relay.ports import Admission, Admitted, Journal, Ledger, Refused, Repeat, Rests
from proxy.relay.settings import Settings
from proxy.relay.switchboard import Switchboard
from proxy.relay.writer import Limits
from proxy.store.memory import MemoryLedger, MemoryStore
from proxy.store.memory_rests import MemoryRests
from proxy.wire.dialects import all_dialects
from tests.simulation.world import SeededEntropy, VirtualClock, silent_observer

LEASE_S = 5.0


class Away(MemoryLedger):
    """It does not answer while it is away."""

    is_away = True

    async def admit(self, admission: Admission) -> Admitted | Repeat | Refused:
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().admit(admission)


def make_switchboard(
    journal: Journal, ledger: Ledger, *, bytes_max: int = 1000, rests: Rests | None = None
) -> Switchboard:
    """One process's, that leaves no log."""
    return Switchboard(
        journal,
        ledger,
        rests or MemoryRests(MemoryStore(VirtualClock())),
        VirtualClock(),
        SeededEntropy(random.Random(1)),
        silent_observer(),
        all_dialects(),
        Settings(
            lease_s=LEASE_S,
            grace_s=30.0,
            heartbeat_s=15.0,
            streams_max=10,
            limits=Limits(event_bytes_max=bytes_max, stream_bytes_max=bytes_max),
        ),
    )
