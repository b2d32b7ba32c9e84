"""How much a model reasons: as a word, or as a number of tokens.

Owns the one table between the two. What surprises: it is not the same both ways. A budget becomes
one of the three words that every model that reasons knows.
"""

BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 65_536,
}
"""Tokens for each word. Chosen: doubled from Anthropic's least, 1,024, to the most that its models
with budgets had."""

_EVERYWHERE = ("low", "medium")
"""Above these it is high."""


def effort_of(budget_tokens: int) -> str:
    """The word for a budget: the least that has as much."""
    return next((word for word in _EVERYWHERE if budget_tokens <= BUDGETS[word]), "high")
