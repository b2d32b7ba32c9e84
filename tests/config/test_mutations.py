"""The shipped file, changed at random: it is valid, or it is told what is wrong and where.

MIDSTREAM_MUTATIONS in the environment says how many times, 400 by default.
"""

import os
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config import Config, needs_restart, parse
from proxy.config.comparison import all_limits, compare
from proxy.config.summary import describe
from proxy.errors import ConfigInvalid
from proxy.policy.calendar import windows
from proxy.policy.quotas import Standing
from proxy.policy.routes import Routes

TEXT = (Path(__file__).parents[2] / "config.toml").read_text(encoding="utf-8")
MUTATIONS = int(os.environ.get("MIDSTREAM_MUTATIONS", "400"))
ENTRY = re.compile(r"(# )?[a-z0-9_]+ = .+")
CANARY = "CANARY-4f1d-of-some-length"
ENV = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MIDSTREAM_KEY"), CANARY)
ENV["MIDSTREAM_ENCRYPTION_KEY"] = bytes(range(32)).hex()


NOW_S = 1_800_000_000.0


def no_files(path: str) -> str:
    raise FileNotFoundError(path)


SHIPPED = parse(TEXT, {}, no_files)


SCRAPS = st.sampled_from(
    [
        "[server]",
        "[providers.openai]",
        "[keys]",
        "[a.b.c]",
        "[[models]]",
        "port = 99999",
        'host = "0.0.0.0"',
        "x = {y = [1, {z = 2}]}",
        f'api_key = "{CANARY}"',
        f'secret = "{CANARY}"',
        'targets = ["demo/a", "b/c"]',
        "detach = inf",
        "expires = 0001-01-01T00:00:00+23:59",
        '"""',
        "]",
        "a.b.c.d = 1",
        "kind = 1",
        'quota = "mian"',
        'quota = "main"',
        "[quotas.main]",
        '[quotas."a b"]',
        "usd_per_day = 0.00000001",
        "usd_per_month = 1e300",
        "tokens_per_day = 9223372036854775807",
        'zone = "Mars/Olympus"',
        "price = {input = -1, output = nan}",
        "price.input = 0.1",
        'targets = [{to = "demo/demo", price = {input = 1, output = 2}}]',
        "targets = [{to = 1}]",
        'targets = [{to = "demo/a", weight = 0, parameters = {x = nan, stream = 1}}, 3, "x"]',
        'strategy = "weighted"',
        'models = ["*", "gpt-*"]',
        "optional = true",
        "= 1",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The shipped file, uncommented here and there, with a few lines or characters changed."""
    lines = TEXT.splitlines()
    entries = [place for place, line in enumerate(lines) if ENTRY.fullmatch(line)]
    for place in draw(st.lists(st.sampled_from(entries), max_size=8)):
        lines[place] = lines[place].removeprefix("# ").replace("  (not set)", "")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["delete", "double", "swap", "insert", "value", "char", "cut"])):
            case "delete":
                lines[place] = ""
            case "double":
                lines.insert(place, lines[place])
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[place], lines[other] = lines[other], lines[place]
            case "insert":
                lines.insert(place, draw(SCRAPS))
            case "value":
                place = draw(st.sampled_from(entries)) % len(lines)
                value = draw(
                    st.sampled_from(["-1", "true", '"x"', "[]", "{}", "1e400", "''", "0x"])
                )
                lines[place] = lines[place].partition("=")[0].removeprefix("# ") + f"= {value}"
            case "char":
                at = draw(st.integers(0, len(lines[place])))
                char = draw(st.characters(exclude_categories=["Cs"]))
                lines[place] = lines[place][:at] + char + lines[place][at + 1 :]
            case "cut":
                lines[-1] = lines[-1][: draw(st.integers(0, 10))]
    return "\n".join(lines)


def all_that_is_made_of(config: Config) -> tuple[str, ...]:
    """Everything but the start of a server: what it shows, changes, and limits."""
    limits = all_limits(config)
    standings = [Standing(limit, 0, 1.0) for limit in limits]
    Routes(config.models).names()
    for limit in limits:
        if limit.kind.is_budget:
            windows(limit.kind, limit.zone, NOW_S)
    return (
        repr(config),
        describe(config, NOW_S),
        compare(config, standings, {"nobody": 1}, SHIPPED),
        *needs_restart(SHIPPED, config),
    )


@settings(max_examples=MUTATIONS, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(text=mutated(), env=st.sampled_from([{}, ENV]))
def test_a_changed_file_is_valid_or_each_problem_has_a_line_and_shows_no_secret(
    text: str, env: dict[str, str]
) -> None:
    said: tuple[str, ...] = ()
    try:
        shown = all_that_is_made_of(parse(text, env, no_files))
    except ConfigInvalid as invalid:
        shown = said = invalid.problems or ("nothing",)

    last_line = text.count("\n") + 1
    for problem in said:
        line = re.match(r"line (\d+): ", problem)
        assert line is not None
        assert 1 <= int(line[1]) <= last_line
        assert problem.isprintable()
    assert CANARY not in "\n".join(shown)
