"""What a config means, as it is told to a person."""

from proxy.config import describe, parse

CANARY = "CANARY-4f1d-of-some-length"

TEXT = """
[server]
host = "0.0.0.0"
port = 80
quota = "house"
[store]
url = "env:REDIS"
retention_s = 90
[streams]
detach = 120
[providers.a]
kind = "openai"
api_key = "env:A"
headers = {x-key = "env:A"}
[providers.b]
kind = "anthropic"
api_key = "env:B"
optional = true
[providers.c]
kind = "scripted"
recordings = "tapes"
quota = "house"
fault = "cut"
[providers.d]
kind = "openai"
base_url = "http://localhost:11434/v1"
[models."gpt-*"]
targets = ["a/*"]
price = {input = 2.5, cached_input = 1, output = 10.123456}
[models.claude]
targets = ["b/claude"]
[models.both]
targets = ["a/x", {to = "d/y", parameters = {top_p = 0.5}}]
continue_after_failure = true
[models.shared]
targets = ["b/claude", {to = "a/x", weight = 3}, "d/y"]
strategy = "weighted"
[quotas.team]
requests_per_minute = 60
usd_per_day = 0.5
max_output_tokens = 100
models = ["gpt-*"]
shared = true
zone = "Europe/Berlin"
on_store_error = "allow"
[quotas.house]
concurrent_streams = 9
[quotas.idle]
[keys.web]
secret = "env:A"
quota = "team"
models = ["gpt-*"]
expires = 2001-09-09T01:46:40Z
[keys.ops]
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
role = "operator"
owner = "team"
expires = 2101-01-01T00:00:00Z
[keys.off]
secret = "env:NOPE"
optional = true
"""


def no_files(path: str) -> str:
    raise FileNotFoundError(path)


def test_a_summary_tells_everything_but_secrets() -> None:
    env = {"A": CANARY, "REDIS": f"redis://:{CANARY}@h:6379/1", "OTEL_TRACES_EXPORTER": "otlp"}

    told = describe(parse(TEXT, env, no_files), now=1_000_000_000.0)

    assert CANARY not in told
    assert (
        told
        == """\
listens on  http://0.0.0.0:80, reachable from other machines, with a key
store       redis://h:6379/1
streams     kept 90 s after their end, 1 d if asked for; they stop 2 min after the last reader left
traces      on: OTEL_TRACES_EXPORTER is set
providers
  a  openai at https://api.openai.com/v1, key from env:A, asked in openai.chat and openai.responses
  c  scripted, plays tapes, with fault cut
  d  openai at http://localhost:11434/v1, without a key, asked in openai.chat
  b  off: B is not set
models
  gpt-*   a/*, USD for a million tokens: 2.5 in, 10.123456 out, 1 cached
  both    first a/x; then d/y with top_p; goes on after a failure
  shared  by chance: 3 of 4 a/x; 1 of 4 d/y
  claude  off: provider b is off
quotas
  team   60 requests a minute, 0.5 USD a day, 100 tokens an answer, models gpt-*, \
days of Europe/Berlin, rates let through without the store; for keys web together
  house  9 streams at a time; for provider c; everything
  idle   no limit; for nobody
keys
  web  user of owner web, models gpt-*, quota team, EXPIRED 2001-09-09 01:46:40 UTC
  ops  operator of owner team, all models, expires 2101-01-01 00:00:00 UTC
  off  off: NOPE is not set
"""
    )


def test_it_tells_how_requests_are_kept() -> None:
    key, takeover = bytes(range(32)).hex(), "[streams]\ntakeover = true\n[store]\n"

    def told(store: str) -> str:
        return describe(parse(takeover + store, {"A": key, "B": key}, no_files), now=0)

    line = "takeover    on; until an answer ends its request is kept "
    assert f"{line}as it is\n" in told("")
    assert f"{line}encrypted with env:A\n" in told('encryption_key = "env:A"')
    two = told('encryption_key = ["env:A", "env:B"]')
    assert f"{line}encrypted with env:A, decrypted with env:B too\n" in two
    assert key not in two


def test_an_empty_config_says_that_there_is_nothing() -> None:
    told = describe(parse('streams.detach = "cancel"', {}, no_files), now=0)

    assert (
        told
        == """\
listens on  http://127.0.0.1:8080, this machine only, open access, no key needed
store       embedded:.midstream
streams     kept 1 h after their end, 1 d if asked for; they stop when the last reader leaves
traces      off: no OTEL_EXPORTER_OTLP_ENDPOINT is set
providers   none
models      none
quotas      none
keys        none
"""
    )
