"""What becomes of a create, or of a stream that runs, that the ledger knows nothing of.

Pure. It admits nobody: that is the ledger's.
"""

import msgspec

from proxy.policy.quotas import Ask
from proxy.relay.ports import Admission


def may_go_without_ledger(admission: Admission) -> bool:
    """Whether a create is let through though nobody can say what is left.

    Only if every limit says so (a budget never does), and nothing is claimed: an idempotent
    create reaches a provider once.
    """
    limits = admission.limits
    return (
        admission.claim is None
        and bool(limits)
        and all(limit.allows_without_store for limit in limits)
    )


def uncounted(admission: Admission) -> Admission:
    """The same, in nobody's way and past all limits: what it uses is not counted."""
    return msgspec.structs.replace(admission, claim=None, limits=(), ask=Ask())
