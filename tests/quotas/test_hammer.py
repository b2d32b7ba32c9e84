"""Four processes at once never pass a limit, and are never refused what there is."""

import secrets

import pytest

from tests.quotas.hammer import hammer

ADMISSIONS = 20_000
KINDS = (
    "concurrent_streams",
    "requests_per_minute",
    "tokens_per_minute",
    "usd_per_day",
    "tokens_per_month",
)


@pytest.mark.parametrize("store", ["valkey", "cluster"])
def test_under_a_hammer_the_store_decides_as_specified_in_its_own_order(
    request: pytest.FixtureRequest, store: str
) -> None:
    url = request.getfixturevalue(f"{store}_url")

    seen, _ = hammer(url, f"hammer-{secrets.token_hex(4)}", ADMISSIONS, seed=1)

    asked = sum(seen.values()) - seen["settled"]
    assert asked >= ADMISSIONS - 256
    assert seen["admitted"] > ADMISSIONS / 20
    assert seen["repeated"] > 0
    assert {f"refused: {kind}" for kind in KINDS} <= set(seen)
