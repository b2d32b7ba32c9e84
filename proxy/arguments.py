"""What can be said on the command line, and how it is explained.

Owns the arguments' names, ranges and help. It reads nothing: neither environment nor files.
What surprises: a key is never an argument, because everybody on a machine sees those; what is
given says where the key is.

This is longer than a file should be because all that can be said stands in one place.
"""

import argparse
import textwrap
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from proxy.config.expectations import expected
from proxy.config.names import Name
from proxy.config.tables import BaseUrl, Host
from proxy.stream import EVENT_ID_MAX, STREAM_ID_PATTERN
from proxy.terminal.bench import DIALECTS
from proxy.terminal.picture import SORTS
from proxy.terminal.tail import OVER

_EVERY_S: Final = 2.0
"""Of `top`. Chosen: as often as workers report."""
_STREAMS: Final = 10
_PROMPT: Final = "Tell me about the sea, in some hundred words."
_MAX_TOKENS: Final = 256


def parser() -> argparse.ArgumentParser:
    """Of the command ``midstream``."""
    made = argparse.ArgumentParser(
        prog="midstream",
        description="A proxy for streamed LLM answers that outlive their connections.",
        epilog="Without a file: $MIDSTREAM_CONFIG, then ./config.toml, then the one that ships.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _serve(commands.add_parser("serve", help="run the proxy"))
    _check(_explained(commands, "check", "say what a config means, or what is wrong", _CHECK))
    keys = commands.add_parser("key", help="make keys for applications")
    _key_new(keys.add_subparsers(dest="key_command", required=True, metavar="COMMAND"))
    _tail(_explained(commands, "tail", "follow a stream", _TAIL))
    _top(_explained(commands, "top", "watch what a proxy does", _TOP))
    _usage(_explained(commands, "usage", "what is used of each limit", _USAGE))
    _bench(_explained(commands, "bench", "measure a provider, or a proxy", _BENCH))
    return made


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name


_CHECK = """
    Say what a config means, or everything that is wrong with it, with lines.

    examples:
      midstream check
      midstream check new.toml --against config
      midstream check new.toml --against env:REDIS_URL --from config.toml
      midstream check --probe
"""


def _check(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", nargs="?", metavar="FILE", help="the config to check")
    command.add_argument(
        "--against",
        metavar="STORE",
        help="say what it would change for what is used: the address of a store, "
        "a reference to one (env:NAME, file:PATH), or config for the file's own",
    )
    command.add_argument(
        "--from",
        dest="before",
        metavar="FILE",
        help="say what changes from this file, now in force",
    )
    command.add_argument(
        "--probe",
        action="store_true",
        help="ask each target of each model for a token, which is paid for (a target with a *: its "
        "provider for its models), and say how long it took, or what is wrong; the exit code is 1 "
        "if anything is",
    )


def _explained(commands: Commands, name: str, summary: str, said: str) -> argparse.ArgumentParser:
    """A command whose help is more than a list: a sentence, then examples."""
    sentence, _, examples = textwrap.dedent(said).strip().partition("\n\n")
    return commands.add_parser(
        name,
        help=summary,
        description=sentence,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _serve(serving: argparse.ArgumentParser) -> None:
    serving.add_argument("--config", metavar="FILE", help="the config to run with")
    serving.add_argument("--host", type=_one_of(Host), help="listen here, whatever the file says")
    serving.add_argument("--port", type=_port, help="and on this port; 0 for any that is free")


def _key_new(commands: Commands) -> None:
    new = commands.add_parser("new", help="make a secret, and the section that admits it")
    new.add_argument("name", type=_one_of(Name), metavar="NAME", help="what to call the key")
    new.add_argument("--owner", type=_one_of(Name), help="whose its streams are (default: NAME)")
    new.add_argument("--operator", action="store_true", help="it sees and stops all streams")


# --- those that talk to a server ----------------------------------------------------------------

_TAIL = """
    Follow a stream to its end, through every break of the connection. Its text goes to stdout;
    reasoning, calls of tools and what happens to the connection go to stderr. Looking changes
    nothing: Ctrl-C leaves the stream running. The exit code is 0 only for a stream that completed.

    examples:
      midstream tail st_0123456789abcdefghijklmnop
      midstream tail st_0123456789abcdefghijklmnop --after 117 > rest.txt
      midstream tail st_0123456789abcdefghijklmnop --events | cut -f3
"""


def _tail(tailing: argparse.ArgumentParser) -> None:
    tailing.add_argument("stream", type=_stream, metavar="STREAM", help="its id, st_…")
    tailing.add_argument(
        "--after",
        type=_whole(0, EVENT_ID_MAX),
        default=0,
        metavar="N",
        help="begin after this event (default: 0, the beginning)",
    )
    tailing.add_argument(
        "--over",
        choices=OVER,
        default="auto",
        help="the transport; auto goes from WebSocket to server-sent events to long-poll where "
        "one brings nothing in two tries (default: auto)",
    )
    tailing.add_argument(
        "--events",
        action="store_true",
        help="print each event instead: id, name and data, with tabs between",
    )
    _server(tailing)


_TOP = """
    Watch a proxy: its workers, the streams that run, and those that have just ended. A user's key
    sees the streams of its owner, an operator's sees all, and the workers. Keys: q leaves, s sorts
    otherwise.

    examples:
      midstream top
      midstream top --sort rate --every 0.5
      midstream top --once --json | jq '.streams[] | select(.readers == 0) | .id'
"""


def _top(watching: argparse.ArgumentParser) -> None:
    watching.add_argument(
        "--every",
        type=_seconds(0.2, 3600),
        default=_EVERY_S,
        metavar="S",
        help=f"seconds between two looks (default: {_EVERY_S:g})",
    )
    watching.add_argument(
        "--once", action="store_true", help="print one table and leave, as it always is in a pipe"
    )
    watching.add_argument(
        "--json", action="store_true", help="print each look as a line of JSON instead"
    )
    watching.add_argument(
        "--sort",
        choices=SORTS,
        default=SORTS[0],
        help=f"which streams come first: the oldest, or the fastest (default: {SORTS[0]})",
    )
    _server(watching)


_USAGE = """
    Say what is used of each limit, what is left, and when it is whole again. A user's key sees its
    own limits and those of its team, an operator's sees all keys, and what is above them.

    examples:
      midstream usage
      midstream usage --of shop
      midstream usage --json | jq '.data[].limits[] | select(.remaining == 0)'
"""


def _usage(asking: argparse.ArgumentParser) -> None:
    asking.add_argument("--of", type=_one_of(Name), metavar="NAME", help="only of this key")
    asking.add_argument("--json", action="store_true", help="print the server's answer instead")
    _server(asking)


_BENCH = """
    Load anything that speaks OpenAI's or Anthropic's wire language, and measure how its answers
    come. It says first what it is going to send. URL is the base URL, as the SDKs take it. Tokens
    are counted by events that hold content, and by the provider's own usage where that is told.
    Without --requests and --seconds it sends 30 requests, and stops after 60 s.

    examples:
      midstream bench http://127.0.0.1:8080/v1 --model demo
      midstream bench https://api.anthropic.com --dialect anthropic --model claude-haiku-4-5 \\
          --key env:ANTHROPIC_API_KEY --streams 2 --requests 10
      midstream bench http://127.0.0.1:8000/v1 --model llama --streams 200 --seconds 30 --json
"""


def _bench(loading: argparse.ArgumentParser) -> None:
    loading.add_argument("url", type=_one_of(BaseUrl), metavar="URL", help="the base URL")
    loading.add_argument("--model", required=True, metavar="M", help="the model to ask")
    loading.add_argument(
        "--dialect",
        choices=DIALECTS,
        default=DIALECTS[0],
        help=f"what it speaks (default: {DIALECTS[0]})",
    )
    loading.add_argument(
        "--streams",
        type=_whole(1, 10_000),
        default=_STREAMS,
        metavar="N",
        help=f"how many answers at once (default: {_STREAMS})",
    )
    loading.add_argument(
        "--requests", type=_whole(1, 1_000_000), metavar="N", help="send so many requests"
    )
    loading.add_argument(
        "--seconds",
        type=_seconds(1, 86_400),
        metavar="S",
        help="stop after so many seconds, whatever is still running",
    )
    loading.add_argument("--prompt", default=_PROMPT, metavar="TEXT", help="what is asked")
    loading.add_argument(
        "--max-tokens",
        type=_whole(1, 1_000_000),
        default=_MAX_TOKENS,
        metavar="N",
        help=f"the longest answer that is asked for (default: {_MAX_TOKENS})",
    )
    loading.add_argument("--json", action="store_true", help="print the figures as JSON")
    _key(loading, "$MIDSTREAM_KEY, but only for the server that --url of other commands means")


def _server(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--url",
        type=_one_of(BaseUrl),
        help="where the proxy is (default: where the config in use says that it listens)",
    )
    _key(command, "$MIDSTREAM_KEY, if it is set")


def _key(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument(
        "--key",
        type=_reference,
        metavar="env:NAME | file:PATH",
        help=f"where the key is, never the key itself (default: {default})",
    )


# --- kinds of arguments -------------------------------------------------------------------------


def _one_of(hint: object) -> Callable[[str], str]:
    """An argument that the file would take too."""

    def read(given: str) -> str:
        try:
            msgspec.convert(given, hint)
        except msgspec.ValidationError:
            raise argparse.ArgumentTypeError(f"must be {expected(hint)}") from None
        return given

    return read


def _port(given: str) -> int:
    return _whole(0, 65_535)(given)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(given: str) -> int:
        if not (given.isascii() and given.isdecimal() and len(given) <= 16):
            given = "-1"
        if not low <= int(given) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(given)

    return read


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def read(given: str) -> float:
        try:
            seconds = float(given)
        except ValueError:
            seconds = -1.0
        if not low <= seconds <= high:  # which is false for NaN too
            raise argparse.ArgumentTypeError(f"must be seconds from {low:g} to {high:g}")
        return seconds

    return read


def _reference(given: str) -> str:
    if not given.startswith(("env:", "file:")):  # which is not repeated: it may be the key
        raise argparse.ArgumentTypeError(
            "must be env:NAME or file:PATH; everybody on this machine sees a command's words"
        )
    return given


def _stream(given: str) -> str:
    if not STREAM_ID_PATTERN.fullmatch(given):
        raise argparse.ArgumentTypeError("must be st_ and 26 lower-case letters or digits")
    return given
