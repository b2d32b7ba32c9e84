"""Work for a producer that has one target, for tests."""

from collections.abc import Sequence

from proxy.policy.quotas import Ask, Limit
from proxy.policy.routes import Target
from proxy.relay.ports import Provider, UpstreamRequest
from proxy.relay.work import Candidate, Work
from proxy.stream import Price
from proxy.wire import dialect as wire


def work_for(
    provider: Provider,
    request: UpstreamRequest,
    dialect: wire.Dialect,
    ask: wire.Ask,
    limits: Sequence[Limit] = (),
    most: Ask | None = None,
    price: Price | None = None,
) -> Work:
    """To ask `provider` alone, who speaks the client's `dialect`."""
    target = Target(provider.name, request.model, price)
    candidate = Candidate(target, provider, request, lambda: dialect.translator(ask))
    return Work(dialect, [candidate], limits, most or Ask())
