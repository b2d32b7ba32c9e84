"""A real inference server behind Midstream, through the SDKs: ``python -m tests.inference``.

llama.cpp speaks all three dialects, so each of them is a provider, and each SDK asks every one:
real tokens, real counts, real cancellation. The first run makes an environment for the server (some
60 MB from PyPI) in `--environment`. Not a test of pytest's, as it is too heavy to be installed for
each run; exit code 1 if anything is not as it should be.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import openai

from tests.server import Served, serving

PACKAGES = ("xllamacpp==2026.10.11549", "gguf==0.19.0")
_SERVER = Path(__file__).parent / "server.py"
_DIALECTS = ("openai.chat", "openai.responses", "anthropic.messages")
_TOKENS = 40
_PROMPT = "the thin man"
"""Answered with a whole letter first: this version of the server forgets to begin a message that
begins with half of one, which the SDK takes as badly without a proxy."""
_LONG = 1800
"""Tokens of an answer that is left in the middle: at some 5,000 a second it lasts long enough."""
_STOPS_WITHIN_S = 2.0
_SAID: Any = {"role": "user", "content": _PROMPT}


class Said(NamedTuple):
    """An answer, as the SDK of a dialect gives it."""

    text: str
    input_tokens: int
    output_tokens: int
    ended: str


def main() -> int:
    """The process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.inference", description=__doc__)
    default = Path(tempfile.gettempdir()) / "midstream-inference"
    parser.add_argument("--environment", type=Path, default=default)
    environment: Path = parser.parse_args().environment
    wrong: list[str] = []
    with (
        running_server(_python_of(environment)) as url,
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), configured(url)) as served,
    ):
        for name, check in checks(served, url):
            begun = time.monotonic()
            try:
                told = check()
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are asked too
                told = f"{type(error).__name__}: {error}"
                wrong.append(name)
            print(
                f"{'FAILED' if name in wrong else 'ok':8}{name:48}{time.monotonic() - begun:5.2f} s  {told}"
            )
    return 1 if wrong else 0


def _python_of(environment: Path) -> Path:
    python = environment / "bin" / "python"
    if not python.exists():
        print(f"making {environment}", flush=True)
        venv.create(environment, with_pip=True)
    command = [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", *PACKAGES]
    subprocess.run(command, check=True)
    return python


@contextmanager
def running_server(python: Path) -> Iterator[str]:
    """The address of llama.cpp, in a process of its own."""
    with subprocess.Popen(
        [python, _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.stdin.close()


def configured(url: str) -> str:
    """A provider for each dialect, and what passes through of them."""
    config = '[store]\nurl = "memory://"\n'
    for name in _DIALECTS:
        kind = name.partition(".")[0]
        path = "/v1" if kind == "openai" else ""
        config += f'[providers."{name}"]\nkind = "{kind}"\nbase_url = "{url}{path}"\n'
        if kind == "openai":
            config += f'dialects = ["{name}"]\n'
        config += f'[models."{name}"]\ntargets = ["{name}/tiny"]\n'
    return config


# --- what is asked ----------------------------------------------------------------------------


def checks(served: Served, url: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each with a name; it tells what it saw, or raises."""
    for ours in _DIALECTS:
        for theirs in _DIALECTS:
            yield f"{ours} of {theirs}", partial(_answers, served, url, ours, theirs)
            yield f"{ours} of {theirs}, left", partial(_stops, served, url, ours, theirs)
    yield "a count of tokens", partial(_counts, served, url)


def _answers(served: Served, url: str, ours: str, theirs: str) -> str:
    """As the provider's own SDK hears it directly: the text, and the counts."""
    own = _ASKS[theirs](url, "tiny", _TOKENS)
    said = _ASKS[ours](served.url, theirs, _TOKENS)
    assert said.output_tokens == own.output_tokens == _TOKENS, (said, own)
    assert said.input_tokens == own.input_tokens, (said, own)
    assert said.text == own.text, (said, own)
    return f"{said.input_tokens} + {said.output_tokens} tokens, {said.ended}, {said.text[:20]!r}"


def _chat(url: str, model: str, tokens: int) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        pieces: list[str] = []
        asked: Any = {"model": model, "messages": [_SAID], "max_tokens": tokens}
        asked["stream_options"] = {"include_usage": True}
        ended, counted = "", (0, 0)
        for chunk in client.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                ended = choice.finish_reason or ended
            if chunk.usage is not None:
                counted = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        return Said("".join(pieces), *counted, ended)


def _responses(url: str, model: str, tokens: int) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        asked: Any = {"model": model, "input": _PROMPT, "max_output_tokens": tokens}
        pieces: list[str] = []
        last: Any = None
        for event in client.responses.create(**asked, stream=True):
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
            elif event.type in {"response.completed", "response.incomplete"}:
                last = event.response
        assert "".join(pieces) == last.output_text, (pieces, last.output_text)
        return Said(
            last.output_text, last.usage.input_tokens, last.usage.output_tokens, last.status
        )


def _messages(url: str, model: str, tokens: int) -> Said:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        with client.messages.stream(
            model=model, max_tokens=tokens, messages=[{"role": "user", "content": _PROMPT}]
        ) as stream:
            pieces = "".join(stream.text_stream)
            whole = stream.get_final_message()
        text = "".join(block.text for block in whole.content if block.type == "text")
        assert text == pieces, (text, pieces)
        usage = whole.usage
        read = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Said(text, usage.input_tokens + read, usage.output_tokens, str(whole.stop_reason))


_ASKS: dict[str, Callable[[str, str, int], Said]] = {
    "openai.chat": _chat,
    "openai.responses": _responses,
    "anthropic.messages": _messages,
}
_PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.responses": "/v1/responses",
    "anthropic.messages": "/v1/messages",
}


def _stops(served: Served, url: str, ours: str, theirs: str) -> str:
    """Who leaves an answer that is to be cancelled then stops the model."""
    bound = "max_output_tokens" if ours == "openai.responses" else "max_tokens"
    said = {"input": _PROMPT} if ours == "openai.responses" else {"messages": [_SAID]}
    body = {"model": theirs, "stream": True, bound: _LONG, **said}
    request = urllib.request.Request(
        served.url + _PATHS[ours],
        json.dumps(body).encode(),
        {"content-type": "application/json", "midstream-detach": "cancel"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.readline()
        assert _busy(url) == 1, "it answers"
    left = time.monotonic()
    while _busy(url):
        assert time.monotonic() - left < _STOPS_WITHIN_S, "it goes on"
        time.sleep(0.005)
    with urllib.request.urlopen(f"{served.url}/v1/streams?limit=1", timeout=5) as answer:
        stream = json.load(answer)["data"][0]
    assert stream["ending"] == "cancelled", stream
    return f"stopped after {(time.monotonic() - left) * 1000:.0f} ms"


def _busy(url: str) -> int:
    with urllib.request.urlopen(f"{url}/slots", timeout=5) as answer:
        return sum(slot["is_processing"] for slot in json.load(answer))


def _counts(served: Served, url: str) -> str:
    """The same count as without a proxy."""
    counted = []
    for base, model in ((url, "tiny"), (served.url, "anthropic.messages")):
        with anthropic.Anthropic(base_url=base, api_key="none") as client:
            asked: Any = {"model": model, "messages": [_SAID]}
            counted.append(client.messages.count_tokens(**asked).input_tokens)
    assert counted[0] == counted[1], counted
    return f"{counted[0]} tokens"


if __name__ == "__main__":
    sys.exit(main())
