"""What is charged for what nobody sees: reasoning that a provider keeps to itself (D16)."""

from collections.abc import Sequence

from proxy.stream import Usage
from tests.relay.charging import CHUNK, START, Told, charged


def thought(
    said: Sequence[bytes | float],
    dialect: str = "openai.chat",
    *,
    bound: int = 4000,
    after_s: float = 12,
) -> int:
    """How many tokens of output are charged to who cancels after so many seconds."""
    usage, tokens, money = charged(Told(said), dialect, output_tokens_max=bound, after_s=after_s)
    assert usage is not None
    assert usage.is_estimate
    assert tokens == usage.input_tokens + usage.output_tokens
    assert money == usage.input_tokens + 2 * usage.output_tokens
    return usage.output_tokens


def test_who_leaves_while_a_model_thinks_unseen_pays_for_the_time_that_it_had() -> None:
    assert thought([]) == 1200
    assert thought([CHUNK % (b"w" * 40)]) == 10 + 1200
    assert thought([CHUNK % (b"w" * 40), 7.0, CHUNK % (b"w" * 40)]) == 20 + 1200


def test_it_pays_for_no_more_than_was_held_and_for_no_silence_where_nothing_was() -> None:
    assert thought([], bound=300) == 300
    assert thought([], bound=0) == 0


def test_time_in_which_text_comes_is_no_silence() -> None:
    said: list[bytes | float] = [CHUNK % (b"w" * 40), 0.9] * 6
    assert thought(said, after_s=5) == 60


def test_pings_are_no_text_and_a_summary_is_not_all_that_was_thought() -> None:
    thinking = (
        b'{"type":"content_block_delta","index":0,'
        b'"delta":{"type":"thinking_delta","thinking":"hm"}}'
    )
    pings: list[bytes | float] = [b'{"type":"ping"}', 3.0] * 4
    assert thought([START, *pings], "anthropic.messages") == 1200
    summary: list[bytes | float] = [thinking, 0.9] * 6
    assert thought([START, *summary], "anthropic.messages", after_s=5) == 3 + 500


def test_what_a_whole_answer_has_not_counted_is_what_was_said() -> None:
    stop = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    provider = Told([5.0, CHUNK % (b"w" * 40), stop, b"[DONE]"])
    usage, *_ = charged(provider, "openai.chat", output_tokens_max=4000, after_s=12)
    assert usage == Usage(input_tokens=100, output_tokens=10, is_estimate=True)
