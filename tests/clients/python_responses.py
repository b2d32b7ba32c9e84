"""What OpenAI's Python SDK does in its newer language, sync and async."""

from typing import Any

import anthropic
import openai

from tests.clients.hearing import Heard, Question


def seen(thing: openai.BaseModel | anthropic.BaseModel) -> tuple[str, object]:
    """An SDK's object as data: its type, and every field that was set, at every depth.

    Taken at once, as helpers go on to change the snapshots that they hand out.
    """
    return type(thing).__name__, thing.to_dict(mode="json", warnings=False)


def by_id(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id, and what else is said."""
    return body["id"], {name: value for name, value in body.items() if name != "id"}


def ask_responses(client: openai.OpenAI, asked: Question, heard: Heard) -> None:
    """One question."""
    body, responses = asked.body, client.responses
    match asked.how:
        case "create":
            heard.final = seen(responses.create(**body))
        case "stream":
            with responses.create(**body, stream=True) as stream:
                heard.events.extend(map(seen, stream))
        case "helper":
            with responses.stream(**body) as helper:
                heard.events.extend(map(seen, helper))
                heard.final = seen(helper.get_final_response())
        case "retrieve":
            name, fields = by_id(body)
            heard.final = seen(responses.retrieve(name, **fields))
        case "resume":
            name, fields = by_id(body)
            with responses.retrieve(name, stream=True, **fields) as stream:
                heard.events.extend(map(seen, stream))
        case "replay":
            name, fields = by_id(body)
            with responses.stream(response_id=name, **fields) as helper:
                heard.events.extend(map(seen, helper))
                heard.final = seen(helper.get_final_response())
        case "cancel":
            heard.final = seen(responses.cancel(body["id"]))
        case "delete":
            responses.delete(body["id"])


async def ask_responses_async(client: openai.AsyncOpenAI, asked: Question, heard: Heard) -> None:
    """The same."""
    body, responses = asked.body, client.responses
    match asked.how:
        case "create":
            heard.final = seen(await responses.create(**body))
        case "stream":
            async with await responses.create(**body, stream=True) as stream:
                async for event in stream:
                    heard.events.append(seen(event))
        case "helper":
            async with responses.stream(**body) as helper:
                async for each in helper:
                    heard.events.append(seen(each))
                heard.final = seen(await helper.get_final_response())
        case "retrieve":
            name, fields = by_id(body)
            heard.final = seen(await responses.retrieve(name, **fields))
        case "resume":
            name, fields = by_id(body)
            async with await responses.retrieve(name, stream=True, **fields) as stream:
                async for event in stream:
                    heard.events.append(seen(event))
        case "replay":
            name, fields = by_id(body)
            async with responses.stream(response_id=name, **fields) as helper:
                async for each in helper:
                    heard.events.append(seen(each))
                heard.final = seen(await helper.get_final_response())
        case "cancel":
            heard.final = seen(await responses.cancel(body["id"]))
        case "delete":
            await responses.delete(body["id"])
