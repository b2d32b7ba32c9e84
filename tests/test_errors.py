"""What errors say to those who meet them."""

import pytest

from proxy.errors import QuotaExceeded
from proxy.policy.quotas import Kind, Limit, Refusal, Standing


def said(pool: str, kind: Kind, amount: int, *, used: int, retry_after_s: float | None) -> str:
    limit = Limit(pool, kind, amount)
    standings = [Standing(limit, used, 7200.0)]
    return str(QuotaExceeded(Refusal(limit, retry_after_s), standings))


@pytest.mark.parametrize(
    ("amount", "used", "told"),
    [
        (1_000, 999, "$0.001 a day; $0.000001 of it is left"),
        (12_500_000, 12_500_000, "$12.50 a day; $0.00 of it is left"),
        (2_000_000_000, 0, "$2,000.00 a day; $2,000.00 of it is left"),
    ],
)
def test_money_is_told_to_its_last_digit(amount: int, used: int, told: str) -> None:
    sentence = said("key:a", Kind.USD_PER_DAY, amount, used=used, retry_after_s=90.0)
    assert sentence == f"This key may have {told}. Try again in 90 s."


@pytest.mark.parametrize("pool", ["all", "provider:p"])
@pytest.mark.parametrize("retry_after_s", [None, 90.0])
def test_what_is_spent_above_all_keys_is_told_to_nobody(
    pool: str, retry_after_s: float | None
) -> None:
    sentence = said(pool, Kind.USD_PER_DAY, 7_000_000, used=2_000_000, retry_after_s=retry_after_s)
    assert "7" not in sentence
    assert "5" not in sentence
    assert "money" in sentence


def test_tokens_above_all_keys_are_told_as_their_headers_are() -> None:
    sentence = said("all", Kind.TOKENS_PER_DAY, 7000, used=2000, retry_after_s=7200.0)
    assert sentence == (
        "Everybody together may have 7,000 tokens a day; 5,000 of it is left. "
        "Try again in 120 minutes."
    )
