"""What a valid file means."""

import base64
import ipaddress
import json
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import (
    AnthropicProvider,
    Config,
    Off,
    OpenAIProvider,
    ScriptedProvider,
    Secret,
    parse,
)
from proxy.errors import ConfigInvalid
from proxy.policy.keys import Key, Keyring, Role, digest, new_secret
from proxy.policy.quotas import Kind, Limit
from proxy.policy.routes import Route, Strategy, Target, Unstreamed
from proxy.stream import Detach, Price

SECRET = "a secret of many chars"


def read(text: str, host: str | None = None, port: int | None = None, **env: str) -> Config:
    files = {"key.txt": SECRET + "\n", "empty.txt": "\n"}

    def read_file(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return parse(text, env, read_file, host=host, port=port)


def test_an_empty_file_is_all_defaults() -> None:
    config = read("")

    assert config.server.url == "http://127.0.0.1:8080"
    assert config.store.kind == "embedded"
    assert config.streams.detach == Detach(grace_s=None)
    assert (config.providers, config.models, config.keys, config.off) == ({}, (), (), ())


def test_every_kind_of_provider_is_read() -> None:
    config = read(
        """
        [providers.a]
        kind = "openai"
        base_url = "http://[::1]:11434/v1"
        idle_s = 5
        [providers.b]
        kind = "anthropic"
        api_key = "env:B"
        headers = {X-Team = "search", x-api-token = "file:key.txt"}
        [providers.c]
        kind = "scripted"
        chunk = 7
        fault = "status"
        fault_status = 529
        """,
        B="sk-b",
    )

    a, b, c = config.providers.values()
    assert isinstance(a, OpenAIProvider)
    assert (a.base_url, a.idle_s, a.api_key) == ("http://[::1]:11434/v1", 5.0, None)
    assert isinstance(b, AnthropicProvider)
    assert b.api_key is not None
    assert b.api_key.reveal() == "sk-b"
    assert {name: secret.reveal() for name, secret in b.headers.items()} == {
        "x-team": "search",
        "x-api-token": SECRET,
    }
    assert isinstance(c, ScriptedProvider)
    assert (c.chunk, c.fault, c.fault_status) == (7, "status", 529)


def test_models_become_routes_in_the_order_of_the_file() -> None:
    config = read(
        """
        [models.fast]
        targets = ["a/some/model"]
        [models."x-*"]
        targets = [
            "a/*",
        ]
        [providers.a]
        kind = "scripted"
        """
    )

    assert config.models == (
        Route("fast", (Target("a", "some/model"),)),
        Route("x-*", (Target("a", "*"),)),
    )


def test_a_route_has_what_its_model_and_its_targets_say() -> None:
    config = read(
        """
        [providers.a]
        kind = "scripted"
        [providers.b]
        kind = "openai"
        api_key = "env:NOPE"
        optional = true
        [models.fast]
        targets = [
            {to = "a/one", weight = 3, parameters = {top_p = 0.5, stop = ["x"]}, prefill = true},
            "b/one",
            {to = "a/two", price = {input = 1, output = 2}, silent_tokens_per_s = 0},
        ]
        strategy = "weighted"
        continue_after_failure = true
        unstreamed = "direct"
        silent_tokens_per_s = 7
        price = {input = 3, output = 4}
        [models.gone]
        targets = ["b/x", "b/y"]
        """
    )

    (route,) = config.models
    one, two = route.targets
    assert (route.strategy, route.unstreamed) == (Strategy.WEIGHTED, Unstreamed.DIRECT)
    assert route.continue_after_failure
    assert (one.name, one.weight, one.prefill, one.silent_tokens_per_s) == ("a/one", 3, True, 7)
    assert {name: bytes(value) for name, value in one.parameters.items()} == {
        "top_p": b"0.5",
        "stop": b'["x"]',
    }
    assert one.price == Price(3_000_000, 3_000_000, 4_000_000, 4_000_000)
    assert (two.name, two.weight, two.prefill, two.silent_tokens_per_s) == ("a/two", 1, None, 0)
    assert two.price == Price(1_000_000, 1_000_000, 2_000_000, 2_000_000)
    assert [(off.name, off.reason) for off in config.off][1:] == [("gone", "provider b is off")]


def test_targets_that_are_perhaps_not_meant_are_warned_of() -> None:
    head = "[providers.a]\nkind = 'scripted'\n[models.m]\n"
    weights = "targets = ['a/x', {to = 'a/y', weight = 2}]\n"

    assert read(f"{head}{weights}strategy = 'least_busy'").warnings == ()
    (unused,) = read(f"{head}{weights}").warnings
    (twice,) = read(f"{head}targets = ['a/x', 'a/x']").warnings
    (alone,) = read(f"{head}targets = ['a/x']\ncontinue_after_failure = true").warnings

    assert unused.startswith("line 4: [models.m] targets: has weights, which strategy")
    assert twice.startswith("line 4: [models.m] targets: names a target twice")
    assert alone.startswith("line 5: [models.m] continue_after_failure: has one target")


def test_keys_are_kept_as_digests() -> None:
    config = read(
        f"""
        [providers.a]
        kind = "scripted"
        [models."gpt-*"]
        targets = ["a/*"]
        [keys.one]
        sha256 = "{digest("one").hex().upper()}"
        [keys.two]
        secret = "file:key.txt"
        owner = "team@example.org"
        role = "operator"
        expires = 2001-09-09T03:46:40+02:00
        models = ["gpt-4o", "gpt-*", "*"]
        """
    )

    assert config.keys == (
        Key(name="one", digest=digest("one"), owner="one"),
        Key(
            name="two",
            digest=digest(SECRET),
            owner="team@example.org",
            role=Role.OPERATOR,
            expires_at=1_000_000_000.0,
            models=("gpt-4o", "gpt-*", "*"),
        ),
    )
    assert Keyring(config.keys).find(SECRET, 0) is not None


OPTIONAL = """
[providers.p]
kind = "openai"
api_key = "env:P"
optional = true
[models.m]
targets = ["p/m"]
[keys.k]
secret = "env:K"
optional = true
[keys.f]
secret = "file:nope"
optional = true
[keys.e]
secret = "file:empty.txt"
optional = true
"""


@pytest.mark.parametrize("env", [{}, {"P": "", "K": " \n"}])
def test_what_is_optional_is_off_while_its_secret_is_not_there(env: dict[str, str]) -> None:
    config = read(OPTIONAL, None, None, **env)

    assert (config.providers, config.models, config.keys) == ({}, (), ())
    assert config.off == (
        Off("providers", "p", "P is not set"),
        Off("models", "m", "provider p is off"),
        Off("keys", "k", "K is not set"),
        Off("keys", "f", "there is no file nope"),
        Off("keys", "e", "the file empty.txt is empty"),
    )


def test_what_is_optional_is_on_once_its_secret_is_there() -> None:
    config = read(OPTIONAL, P="sk-p", K=new_secret(bytes(24)) + "\n")

    assert list(config.providers) == ["p"]
    assert [route.name for route in config.models] == ["m"]
    assert [key.digest for key in config.keys] == [digest(new_secret(bytes(24)))]


def test_an_optional_provider_with_a_mistake_is_a_problem_even_while_it_is_off() -> None:
    with pytest.raises(ConfigInvalid, match="idle_s"):
        read(OPTIONAL.replace('"env:P"', '"env:P"\nidle_s = 0'))


@pytest.mark.parametrize(
    ("written", "expected"),
    [('"finish"', None), ('"cancel"', 0.0), ("0", 0.0), ("2.5", 2.5), ("86_400", 86_400.0)],
)
def test_detach_is_a_word_or_seconds(written: str, expected: float | None) -> None:
    assert read(f"streams.detach = {written}").streams.detach == Detach(grace_s=expected)


@pytest.mark.parametrize(
    ("url", "kind", "address"),
    [
        ("embedded", "embedded", "embedded:.midstream"),
        ("memory://", "memory", "memory"),
        ("redis://h", "redis", "redis://h"),
        ("redis://user@h:6380/2?db=3", "redis", "redis://h:6380/2"),
        ("rediss://[::1]:6380/?ssl_ca_certs=/ca.pem", "redis", "rediss://[::1]:6380/"),
        ("unix:///run/redis.sock?db=1", "redis", "unix:///run/redis.sock"),
    ],
)
def test_a_store_has_a_kind_and_an_address(url: str, kind: str, address: str) -> None:
    store = read(f'store.url = "{url}"').store

    assert (store.kind, store.address, store.url.reveal()) == (kind, address, url)


def test_a_stores_password_comes_from_a_reference_and_is_not_in_its_address() -> None:
    url = "redis://user:pw@h:6379/0"
    store = read('store.url = "env:REDIS_URL"', REDIS_URL=url).store

    assert store.url.reveal() == url
    assert store.address == "redis://h:6379/0"
    assert "pw" not in repr(store)


def test_a_referred_address_is_checked_too() -> None:
    with pytest.raises(ConfigInvalid, match=r"line 1: \[store\] url: must be"):
        read('store.url = "env:REDIS_URL"', REDIS_URL="http://h")


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("localhost.example.org", False),
        ("127.1", False),
    ],
)
def test_only_this_machines_own_addresses_are_open_without_a_key(
    host: str, is_loopback: bool
) -> None:
    with_key = f'[server]\nhost = "{host}"\n[keys.a]\nsha256 = "{"0" * 64}"'
    assert read(with_key).server.is_loopback is is_loopback

    if is_loopback:
        assert read(f'server.host = "{host}"').server.host == host
    else:
        with pytest.raises(ConfigInvalid):
            read(f'server.host = "{host}"')


def test_overrides_win_and_the_rules_apply_to_them() -> None:
    assert read('server.host = "0.0.0.0"', host="::1", port=0).server.url == "http://[::1]:0"
    assert read("server.port = 1", port=9).server.port == 9
    with pytest.raises(ConfigInvalid, match=r"line 1: \[server\] host: other machines"):
        read("", host="0.0.0.0")


def test_a_url_puts_an_ipv6_address_into_brackets() -> None:
    url = read('server.host = "::1"').server.url

    assert str(ipaddress.ip_address(url.removeprefix("http://[").partition("]")[0])) == "::1"


def test_a_secret_is_never_shown_nor_written_down() -> None:
    secret = Secret(SECRET, "env:X")

    assert SECRET not in f"{secret} {secret!r}"
    for write in (msgspec.json.encode, msgspec.to_builtins, json.dumps, pickle.dumps):
        with pytest.raises(TypeError):
            write(secret)
    assert secret.reveal() == SECRET


def test_a_config_never_shows_a_secret() -> None:
    config = read(
        OPTIONAL + '[providers.q]\nkind = "openai"\nheaders = {x-key = "env:P"}',
        P="CANARY-provider",
        K="CANARY-key-of-16-characters",
    )

    assert "CANARY" not in repr(config)
    assert "CANARY" not in str(msgspec.structs.asdict(config))


# --- quotas ---------------------------------------------------------------------------------------

QUOTAS = f"""
[server]
quota = "house"
[providers.a]
kind = "scripted"
quota = "account"
[models.cheap]
targets = ["a/cheap"]
price = {{input = 0.1, cached_input = 0.025, output = 12.345678}}
[models.dear]
targets = [{{to = "a/dear", price = {{input = 3, output = 15, reasoning = 20, cache_write = 6}}}}]
price = {{input = 1, output = 1}}
[models.free]
targets = ["a/free"]
price = {{input = 0, output = 0.0}}
[quotas.house]
usd_per_month = 0.1
zone = "Europe/Berlin"
max_output_tokens = 9000
[quotas.account]
tokens_per_minute = 1000
on_store_error = "allow"
[quotas.each]
requests_per_minute = 7
tokens_per_day = 50
on_store_error = "allow"
models = ["cheap", "d*"]
max_output_tokens = 100
[quotas.team]
concurrent_streams = 3
shared = true
[keys.one]
sha256 = "{"1" * 64}"
quota = "each"
models = ["dear", "free"]
[keys.two]
sha256 = "{"2" * 64}"
quota = "each"
[keys.three]
sha256 = "{"3" * 64}"
quota = "team"
[keys.four]
sha256 = "{"4" * 64}"
quota = "team"
"""


def test_each_key_has_its_quota_for_itself_unless_that_is_shared() -> None:
    one, two, three, four = read(QUOTAS).keys

    assert [(limit.pool, limit.kind.value, limit.amount) for limit in one.limits] == [
        ("key:one", "requests_per_minute", 7),
        ("key:one", "tokens_per_day", 50),
    ]
    assert {limit.pool for limit in two.limits} == {"key:two"}
    assert three.limits == four.limits == (Limit("team:team", Kind.CONCURRENT_STREAMS, 3),)
    assert (one.max_output_tokens, three.max_output_tokens) == (100, None)


def test_a_budget_never_lets_through_what_the_store_cannot_count() -> None:
    requests, tokens = read(QUOTAS).keys[0].limits

    assert (requests.allows_without_store, tokens.allows_without_store) == (True, False)


def test_a_key_may_use_what_it_and_its_quota_allow() -> None:
    one, two, three, _ = read(QUOTAS).keys

    assert one.models == ("dear",)
    assert two.models == ("cheap", "d*")
    assert three.models is None


def test_a_create_is_under_the_limits_of_its_key_of_everybody_and_of_its_provider() -> None:
    config = read(QUOTAS)
    principal = Keyring([msgspec.structs.replace(config.keys[2], digest=digest("k"))]).find("k", 0)
    assert principal is not None

    limits = config.pools.limits_for(principal, "a")

    assert limits == (
        Limit("team:team", Kind.CONCURRENT_STREAMS, 3),
        Limit("all", Kind.USD_PER_MONTH, 100_000, zone="Europe/Berlin"),
        Limit("provider:a", Kind.TOKENS_PER_MINUTE, 1000, allows_without_store=True),
    )
    assert config.pools.max_output_tokens_for(principal, "a") == 9000
    assert config.pools.limits_for(Keyring.open_principal, "b") == limits[1:2]


def test_prices_are_micro_dollars_to_the_digit_and_a_targets_own_wins() -> None:
    cheap, dear, free = [model.targets[0] for model in read(QUOTAS).models]

    assert cheap.price == Price(100_000, 25_000, 12_345_678, 12_345_678)
    assert dear.price == Price(3_000_000, 3_000_000, 15_000_000, 20_000_000, 6_000_000)
    assert free.price == Price(0, 0, 0, 0)


@given(st.integers(1, 10**15))
def test_every_amount_that_can_be_written_is_read_to_the_micro_dollar(amount: int) -> None:
    text = f"[quotas.a]\nusd_per_day = {amount // 10**6}.{amount % 10**6:06}"

    assert read(text).quotas["a"].usd_per_day == amount


def test_what_is_allowed_and_perhaps_not_meant_is_a_warning_with_its_line() -> None:
    text = QUOTAS + "[quotas.idle]\ntokens_per_day = 1\n[models.new]\ntargets = ['a/new']\n"

    unused, unpriced = read(text).warnings

    assert read(QUOTAS).warnings == ()
    assert unused == "line 45: [quotas.idle]: nobody has it: no key, no provider, nor [server]"
    assert unpriced.startswith("line 47: [models.new]: has no price, and is refused to whom a lim")
    assert unpriced.endswith(": everybody")


def test_a_model_without_a_price_is_warned_of_for_the_keys_that_may_use_it() -> None:
    text = """
    [providers.a]
    kind = "scripted"
    [models."m-*"]
    targets = ["a/*"]
    [quotas.q]
    usd_per_day = 1
    """
    for number in range(5):
        text += f'[keys.k{number}]\nsha256 = "{str(number) * 64}"\nquota = "q"\n'
    text += f'[keys.off]\nsha256 = "{"a" * 64}"\nquota = "q"\nmodels = []\n'

    (warning,) = read(text).warnings

    assert warning.endswith("is refused to whom a limit in USD holds for: k0, k1, k2 and 2 more")


KEY = bytes(range(200, 232))


@pytest.mark.parametrize(
    "written",
    [
        KEY.hex(),
        KEY.hex().upper(),
        base64.b64encode(KEY).decode(),
        base64.urlsafe_b64encode(KEY).decode().rstrip("="),
    ],
)
def test_an_encryption_key_is_32_bytes_in_hexadecimal_or_base64(written: str) -> None:
    config = read(
        '[store]\nencryption_key = ["env:A", "env:B"]', A=written, B=bytes(range(32)).hex()
    )

    assert config.store.encryption_keys == (KEY, bytes(range(32)))
    assert written not in repr(config)


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        KEY.hex()[:-1],
        KEY.hex() + "0",
        KEY.hex()[:-1] + "g",
        base64.b64encode(KEY[:31]).decode(),
        base64.b64encode(KEY + b"0").decode(),
        "changeme" * 8,
        "0" * 64,
        "A" * 43 + "=",
        "deadbeef" * 8,
    ],
)
def test_what_is_no_random_encryption_key_is_refused_and_told_how_to_make_one(
    written: str,
) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        read('[store]\nencryption_key = ["env:A", "env:B"]', A=KEY.hex(), B=written)

    (problem,) = refused.value.problems
    assert problem == (
        "line 2: [store] encryption_key: what env:B holds must be 32 random bytes in base64 or "
        "hexadecimal; `openssl rand -base64 32` makes them"
    )
