"""How a stream comes into the journal, and what is done if it does not.

Between its admission and its first append a stream is charged, and nobody can read it. Whatever
goes wrong there takes the admission back, as well as can be; no provider has been asked by then.
"""

from proxy.errors import StoreFull, StoreUnavailable
from proxy.policy.quotas import Use
from proxy.relay.committer import Committer
from proxy.relay.errands import Errands
from proxy.relay.ports import Append, Claim, Journal, Ledger, Outcome
from proxy.stream import Birth


class Births:
    """See the module."""

    def __init__(
        self, journal: Journal, ledger: Ledger, committer: Committer, errands: Errands
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._committer = committer
        self._errands = errands

    async def write(self, birth: Birth, recipe: bytes | None) -> None:
        """Write the birth. If that fails the admission is taken back, as well as can be."""
        try:
            append = Append(stream=birth.id, epoch=1, first_id=1, birth=birth, recipe=recipe)
            (receipt,) = await self._journal.append([append])
        except StoreUnavailable:
            self._committer.note_trouble()
            self.take_back(birth)
            raise
        if receipt.outcome is not Outcome.WRITTEN:
            self.take_back(birth)
            if receipt.outcome is Outcome.MOVING:
                raise StoreUnavailable("it is just moving what would be the stream's place")
            raise StoreFull

    async def check_claim(self, birth: Birth, claim: Claim) -> None:
        """Raise `StoreUnavailable` if the claim was given to another meanwhile.

        That happens if this process stood still between claim and birth: a repeat takes the
        key back, and looks whether the stream is born. One of the two sees the other.
        """
        found = await self._ledger.find_claim(birth.owner, claim.key)
        if found is None or found[0] != birth.id:
            self.take_back(birth)
            raise StoreUnavailable("the idempotency key was taken back")

    def take_back(self, birth: Birth) -> None:
        """No provider was asked, so it has used nothing; a sweep that finds it would guess."""

        async def take_back() -> None:
            await self._ledger.settle(birth.id, Use())
            await self._journal.erase(birth.id)
            if birth.idempotency_key is not None:
                await self._ledger.release(birth.owner, birth.idempotency_key, birth.id)
            await self._ledger.forget(birth.id, birth.owner, birth.tag)

        self._errands.run(self._errands.insist(take_back))
