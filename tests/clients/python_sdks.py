"""The official Python SDKs, sync and async, asked many questions at once."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai

from tests.clients.hearing import Failure, Heard, Kind, Question
from tests.clients.python_responses import ask_responses, ask_responses_async, seen

_TIMEOUT_S = 30.0
_THREADS = 32
_RAISED = (openai.OpenAIError, anthropic.AnthropicError, RuntimeError)
"""The last by the helper of responses, for one that is not completed."""


def _failure(error: Exception) -> Failure:
    response = getattr(error, "response", None)
    headers: Mapping[str, str] = {} if response is None else response.headers
    return Failure(
        name=type(error).__name__,
        status=getattr(error, "status_code", None),
        code=getattr(error, "code", None),
        type=getattr(error, "type", None),
        message=str(error),
        retry_after=headers.get("retry-after"),
        stream=headers.get("midstream-stream"),
    )


# --- sync -----------------------------------------------------------------------------------------


def ask_sync(
    kind: Kind, url: str, questions: Sequence[Question], *, key: str, max_retries: int = 0
) -> list[Heard]:
    """All questions by one sync client, each in a thread."""
    client: openai.OpenAI | anthropic.Anthropic
    if kind != "anthropic":
        client = openai.OpenAI(
            base_url=f"{url}/v1", api_key=key, max_retries=max_retries, timeout=_TIMEOUT_S
        )
    else:
        client = anthropic.Anthropic(
            base_url=url, api_key=key, max_retries=max_retries, timeout=_TIMEOUT_S
        )

    def one(asked: Question) -> Heard:
        heard = Heard([])
        try:
            if isinstance(client, openai.OpenAI):
                ask = ask_responses if kind == "responses" else _ask_openai
                ask(client, asked, heard)
            else:
                _ask_anthropic(client, asked, heard)
        except _RAISED as error:
            heard.error = _failure(error)
        return heard

    with client, ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(one, questions))


def _ask_openai(client: openai.OpenAI, asked: Question, heard: Heard) -> None:
    body = asked.body
    match asked.how:
        case "create":
            heard.final = seen(client.chat.completions.create(**body))
        case "stream":
            with client.chat.completions.create(**body, stream=True) as stream:
                heard.events.extend(map(seen, stream))
        case "helper":
            with client.chat.completions.stream(**body) as helper:
                heard.events.extend(map(seen, helper))
                heard.final = seen(helper.get_final_completion())
        case "models":
            heard.events.extend(map(seen, client.models.list()))
        case "model":
            heard.final = seen(client.models.retrieve(body["model"]))
        case "embeddings":
            heard.final = seen(client.embeddings.create(**body))


def _ask_anthropic(client: anthropic.Anthropic, asked: Question, heard: Heard) -> None:
    body = asked.body
    match asked.how:
        case "create":
            heard.final = seen(client.messages.create(**body))
        case "stream":
            with client.messages.create(**body, stream=True) as stream:
                heard.events.extend(map(seen, stream))
        case "helper":
            with client.messages.stream(**body) as helper:
                heard.events.extend(map(seen, helper))
                heard.final = seen(helper.get_final_message())
        case "models":
            heard.events.extend(map(seen, client.models.list()))
        case "model":
            heard.final = seen(client.models.retrieve(body["model"]))
        case "count_tokens":
            heard.final = seen(client.messages.count_tokens(**body))


# --- async ----------------------------------------------------------------------------------------


def ask_async(
    kind: Kind, url: str, questions: Sequence[Question], *, key: str, max_retries: int = 0
) -> list[Heard]:
    """All questions by one async client, at once."""

    async def all_of_them() -> list[Heard]:
        client: openai.AsyncOpenAI | anthropic.AsyncAnthropic
        if kind != "anthropic":
            client = openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=key, max_retries=max_retries, timeout=_TIMEOUT_S
            )
        else:
            client = anthropic.AsyncAnthropic(
                base_url=url, api_key=key, max_retries=max_retries, timeout=_TIMEOUT_S
            )
        async with client:
            return await asyncio.gather(*(_one_async(client, kind, asked) for asked in questions))

    return asyncio.run(all_of_them())


async def _one_async(
    client: openai.AsyncOpenAI | anthropic.AsyncAnthropic, kind: Kind, asked: Question
) -> Heard:
    heard = Heard([])
    try:
        if isinstance(client, openai.AsyncOpenAI):
            ask = ask_responses_async if kind == "responses" else _ask_openai_async
            await ask(client, asked, heard)
        else:
            await _ask_anthropic_async(client, asked, heard)
    except _RAISED as error:
        heard.error = _failure(error)
    return heard


async def _ask_openai_async(client: openai.AsyncOpenAI, asked: Question, heard: Heard) -> None:
    body = asked.body
    match asked.how:
        case "create":
            heard.final = seen(await client.chat.completions.create(**body))
        case "stream":
            async with await client.chat.completions.create(**body, stream=True) as stream:
                async for chunk in stream:
                    heard.events.append(seen(chunk))
        case "helper":
            async with client.chat.completions.stream(**body) as helper:
                async for event in helper:
                    heard.events.append(seen(event))
                heard.final = seen(await helper.get_final_completion())
        case "models":
            async for model in client.models.list():
                heard.events.append(seen(model))
        case "model":
            heard.final = seen(await client.models.retrieve(body["model"]))
        case "embeddings":
            heard.final = seen(await client.embeddings.create(**body))


async def _ask_anthropic_async(
    client: anthropic.AsyncAnthropic, asked: Question, heard: Heard
) -> None:
    body = asked.body
    match asked.how:
        case "create":
            heard.final = seen(await client.messages.create(**body))
        case "stream":
            async with await client.messages.create(**body, stream=True) as stream:
                async for event in stream:
                    heard.events.append(seen(event))
        case "helper":
            async with client.messages.stream(**body) as helper:
                async for event in helper:
                    heard.events.append(seen(event))
                heard.final = seen(await helper.get_final_message())
        case "models":
            async for model in client.models.list():
                heard.events.append(seen(model))
        case "model":
            heard.final = seen(await client.models.retrieve(body["model"]))
        case "count_tokens":
            heard.final = seen(await client.messages.count_tokens(**body))
