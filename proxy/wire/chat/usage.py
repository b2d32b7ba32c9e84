"""What a chat completion has used, as its provider counts it."""

import msgspec

from proxy.stream import Usage
from proxy.wire.bounds import Count


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


_usage_decoder = msgspec.json.Decoder(_Usage)


def read_usage(raw: msgspec.Raw, *, is_last: bool) -> Usage | None:
    """None for counts that are none: they are the provider's own, and not worth failing for.

    Some servers count in every chunk: what is not the last is true of what was said until then.
    """
    try:
        said = _usage_decoder.decode(raw)
    except msgspec.ValidationError:
        return None
    prompt, completion = said.prompt_tokens_details, said.completion_tokens_details
    is_whole = said.prompt_tokens is not None and said.completion_tokens is not None
    return Usage(
        input_tokens=said.prompt_tokens or 0,
        output_tokens=said.completion_tokens or 0,
        cached_input_tokens=(prompt.cached_tokens if prompt else 0) or 0,
        cache_write_tokens=(prompt.cache_write_tokens if prompt else 0) or 0,
        reasoning_tokens=(completion.reasoning_tokens if completion else 0) or 0,
        is_estimate=not (is_whole and is_last),
    )
