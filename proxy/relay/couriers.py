"""All couriers of one process: how a passage is admitted, and settled when its courier is back.

Owns their leases in the ledger. A worker that dies leaves its passages there, and a sweep lets
them have used what they held. What surprises: a passage that no limit is on never meets the
store, and so passes while that is away.
"""

import asyncio

from proxy.errors import (
    Draining,
    QuotaExceeded,
    StoreUnavailable,
    StreamLimitReached,
)
from proxy.observe import Observer, Share
from proxy.policy.quotas import Use, cost
from proxy.relay.admission import may_go_without_ledger
from proxy.relay.courier import Courier, Load
from proxy.relay.errands import Errands
from proxy.relay.ports import Admission, Admitted, Ledger, Provider, Refused
from proxy.relay.settings import Settings
from proxy.stream import Birth, StreamId

_RENEWALS = 3
"""Of a lease, while it lasts."""


class Couriers:
    """See the module."""

    def __init__(
        self,
        ledger: Ledger,
        observer: Observer,
        errands: Errands,
        settings: Settings,
    ) -> None:
        self.is_draining = False
        """No new passages are taken."""
        self._ledger = ledger
        self._observer = observer
        self._errands = errands
        self._answer_bytes_max = settings.limits.stream_bytes_max
        self._couriers_max = settings.streams_max
        self._lease_s = settings.lease_s
        self._away: dict[StreamId, Courier] = {}
        self._entered: set[StreamId] = set()
        """Those that the ledger knows of."""

    def __len__(self) -> int:
        return len(self._away)

    def providers(self) -> set[Provider]:
        """Whom they are with."""
        return {courier.load.provider for courier in self._away.values()}

    async def send(self, birth: Birth, load: Load) -> Courier:
        """Admit a passage and send a courier. One round trip, or none where there is no limit.

        Nothing has reached the provider when this raises. Raises `QuotaExceeded`, `Draining`,
        `StreamLimitReached`, `StoreUnavailable`.
        """
        if self.is_draining:
            raise Draining
        if len(self._away) >= self._couriers_max:
            raise StreamLimitReached(self._couriers_max)
        courier = Courier(birth, load, self._observer, answer_bytes_max=self._answer_bytes_max)
        if load.limits:
            await self._admit(courier)
        self._away[birth.id] = courier
        self._errands.tasks.create_task(self._run(courier))
        return courier

    async def _admit(self, courier: Courier) -> None:
        birth, load = courier.birth, courier.load
        begun = asyncio.get_running_loop().time()
        admission = Admission(
            stream=birth.id,
            owner=birth.owner,
            created_at=birth.created_at,
            keep_s=load.provider.deadlines.total_s,
            limits=load.limits,
            ask=load.ask,
            is_listed=False,
        )
        try:
            admitted = await self._ledger.admit(admission)
        except StoreUnavailable:
            if not may_go_without_ledger(admission):
                raise
            return
        if isinstance(admitted, Refused):
            limit = admitted.refusal.limit
            self._observer.refused(limit.kind, limit.pool)
            raise QuotaExceeded(admitted.refusal, admitted.standings)
        assert isinstance(admitted, Admitted), "only a claim is repeated"
        if asyncio.get_running_loop().time() - begun > self._lease_s:  # swept already, perhaps
            self._errands.run(self._ledger.settle(birth.id, Use()))
            raise StoreUnavailable("it took longer than a lease")
        self._entered.add(birth.id)
        courier.standings = admitted.standings

    async def _run(self, courier: Courier) -> None:
        birth = courier.birth
        await courier.run()
        use = _use(courier)
        if courier.usage is not None:
            share = Share(birth.provider, courier.usage, use.microdollars)
            self._observer.charged(birth, [share])
        if birth.id in self._entered:
            await self._errands.insist(lambda: self._ledger.settle(birth.id, use))
            self._entered.discard(birth.id)
        del self._away[birth.id]

    async def keep_leases(self) -> None:
        """Renew them until cancelled: a sweep takes whoever does not for dead."""
        while True:
            await asyncio.sleep(self._lease_s / _RENEWALS)
            if self._entered:
                await self._errands.quietly(
                    self._ledger.put_off(dict.fromkeys(self._entered, self._lease_s))
                )

    def stop(self) -> None:
        """Call all back: their worker ends."""
        for courier in self._away.values():
            courier.stop(Draining())


def _use(courier: Courier) -> Use:
    usage, price = courier.usage, courier.birth.price
    if usage is None:
        return Use()
    return Use(usage.input_tokens, 0 if price is None else cost(usage, price))
