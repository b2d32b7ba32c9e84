"""What passes through whole: a request whose answer is one JSON object that nobody comes back for.

Owns which there are, what each must say, and how much it has used. Pure. It changes nothing but
the model's name, so there is no translation: a provider has it, or has not. What surprises: the
answer is read to its end before any of it goes on, so that what is cut or no JSON is an error
with a status, and never half an answer.
"""

import msgspec

from proxy.errors import MalformedRequest, ProviderReported
from proxy.stream import Usage
from proxy.wire.asks import check_messages, read_model
from proxy.wire.bounds import Count, text_tokens
from proxy.wire.json_text import ABSENT, Fields, read, read_body, says_nothing, write_object


class Passage(msgspec.Struct, frozen=True):
    """One kind of them."""

    name: str
    path: str
    """Where clients ask for it."""
    dialect: str
    """In whose words: headers that go on, and errors."""
    what: str
    """What a provider has or has not, for a sentence."""
    is_free: bool
    """Providers count it as a request alone; else its tokens are input, and cost as such."""


EMBEDDINGS = Passage("embeddings", "/v1/embeddings", "openai.chat", "embeddings", is_free=False)
COUNT_TOKENS = Passage(
    "count_tokens",
    "/v1/messages/count_tokens",
    "anthropic.messages",
    "way to count tokens",
    is_free=True,
)
PASSAGES = (EMBEDDINGS, COUNT_TOKENS)


class PassageAsk(msgspec.Struct, frozen=True):
    """One request, read as far as a proxy must understand it."""

    passage: Passage
    model: str
    fields: Fields


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    prompt_tokens: Count


_answer_decoder = msgspec.json.Decoder(_Answer)
_usage_decoder = msgspec.json.Decoder(_Usage)


def read_passage(passage: Passage, body: bytes) -> PassageAsk:
    """Raises `MalformedRequest`, which names the field. The rest is the provider's to judge."""
    fields = read_body(body)
    model = read_model(fields)
    if passage == COUNT_TOKENS:
        check_messages(fields)
    elif says_nothing(fields.get("input", ABSENT)):
        raise MalformedRequest("'input' is required: what is to be embedded.", param="input")
    return PassageAsk(passage, model, fields)


def upstream_body(ask: PassageAsk, model: str) -> bytes:
    """The client's body with another model; every other field keeps its bytes and its place."""
    return write_object({**ask.fields, "model": msgspec.Raw(msgspec.json.encode(model))})


def tokens_at_most(ask: PassageAsk) -> int:
    """How many it can use, for all that can be known beforehand: see `bounds`."""
    return text_tokens(ask.fields)


def read_usage(passage: Passage, body: bytes) -> Usage | None:
    """What an answer has used; None if it does not say.

    Raises `ProviderGarbled` for one that is no JSON object, `ProviderReported` for one that says
    that it is an error.
    """
    answer = read(_answer_decoder, body)
    if not says_nothing(answer.error):
        raise ProviderReported(
            body,
            code="provider_error",
            message="The provider reported an error.",
            status=502,
        )
    if passage.is_free:
        return Usage()
    try:
        return Usage(input_tokens=_usage_decoder.decode(answer.usage).prompt_tokens)
    except msgspec.DecodeError:  # a count that is none is not worth failing for
        return None
