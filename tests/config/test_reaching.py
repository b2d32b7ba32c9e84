from pathlib import Path

import msgspec
import pytest

from proxy.config import AnthropicProvider, Config, OpenAIProvider, Secret, describe, parse
from proxy.errors import ConfigInvalid

PEM = (Path(__file__).parents[1] / "upstream" / "loopback.pem").read_text()
FILES = {"ca.pem": PEM, "text.pem": "no certificates", "empty.pem": "", "huge.pem": "x" * 2**21}
CANARY = "CANARY-4f1d-of-some-length"
OPENAI = '[providers.a]\nkind = "openai"\n'


def read_file(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[path]


def read(text: str, **env: str) -> Config:
    return parse(text, env, read_file)


def test_everything_about_the_way_to_a_provider_is_read() -> None:
    config = read(
        f"""
        {OPENAI}
        base_url = "https://name.openai.azure.com/openai/deployments/{{model}}"
        query = {{api-version = "2024-10-21"}}
        body = {{store = false, provider = {{order = ["a", 1.5]}}}}
        auth = "api-key"
        proxy = "env:PROXY"
        ca_file = "ca.pem"
        terminator = "optional"
        retries = 0
        retry_wait_s = 0
        [providers.b]
        kind = "anthropic"
        proxy = "https://proxy.example:3128"
        """,
        PROXY=f"http://user:{CANARY}@proxy.example",
    )
    a, b = config.providers.values()
    assert isinstance(a, OpenAIProvider)
    assert isinstance(b, AnthropicProvider)
    assert a.query == {"api-version": "2024-10-21"}
    assert a.body == {
        "store": msgspec.Raw(b"false"),
        "provider": msgspec.Raw(b'{"order":["a",1.5]}'),
    }
    assert a.ca_file is not None
    assert a.ca_file.pem == PEM
    assert (a.auth, a.terminator, a.retries, a.retry_wait_s) == ("api-key", "optional", 0, 0.0)
    assert a.proxy == Secret(f"http://user:{CANARY}@proxy.example", "env:PROXY")
    assert b.proxy == Secret("https://proxy.example:3128", "")
    told = describe(config, 0)
    assert "through http://proxy.example, trusting ca.pem" in told
    assert CANARY not in told + repr(config)


def test_the_same_text_means_the_same_and_a_changed_certificate_does_not() -> None:
    text = f'{OPENAI}ca_file = "ca.pem"\nbody = {{a = 1}}'
    first, second = read(text), read(text)
    assert first.providers == second.providers
    changed = parse(text, {}, lambda path: FILES[path] + "\n")
    assert changed.providers != first.providers


def test_certificates_that_nothing_uses_are_warned_of() -> None:
    (warning,) = read(f'{OPENAI}base_url = "http://h/v1"\nca_file = "ca.pem"').warnings
    assert "ca_file: is used by nothing" in warning


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('ca_file = "nope.pem"', "ca_file: its file cannot be read: No such file or directory"),
        ('ca_file = "text.pem"', "ca_file: its file holds no certificates in PEM"),
        ('ca_file = "empty.pem"', "ca_file: its file holds no certificates in PEM"),
        ('ca_file = "huge.pem"', "ca_file: its file has more than 1048576 characters"),
        ("ca_file = 1", "ca_file: must be the path of a PEM file"),
        ('proxy = "socks5://h:1"', "proxy: must be like http://host:3128"),
        ('proxy = "http://h:1/path"', "proxy: must be like http://host:3128"),
        ('proxy = "http://h:99999"', "proxy: must be like http://host:3128"),
        ('proxy = "http://"', "proxy: must be like http://host:3128"),
        (f'proxy = "http://u:{CANARY}@h:1"', "proxy: holds credentials, which must not stand"),
        ('proxy = "env:NOPE"', "proxy: NOPE is not set"),
        ("proxy = 1", "proxy: must be a reference to a secret"),
        ("query = 1", "query: must be a table of at most 50 strings"),
        ('query = {"a b" = "c"}', 'query."a b": its name must be of letters'),
        ("query = {a = 1}", "query.a: must be a string of at most 1000 printable"),
        ("body = 1", "body: must be a table of at most 50 fields"),
        ('body = {"a b" = 1}', 'body."a b": its name must be of letters'),
        ('body = {model = "m"}', "body.model: is for the client and the proxy to say"),
        ("body = {Stream = true}", "body.Stream: is for the client and the proxy to say"),
        ("body = {max_tokens = 1}", "body.max_tokens: is for the client and the proxy to say"),
        ("body = {a = 2030-01-01}", "body.a: must be JSON: no times, and no infinity"),
        ("body = {a = [inf]}", "body.a: must be JSON: no times, and no infinity"),
        (f'body = {{a = "{"x" * 70_000}"}}', "body: must be of at most 65536 bytes"),
        ('auth = "basic"', 'auth: must be one of "api-key", "bearer", "x-api-key"'),
        ('base_url = "https://h/{deployment}"', "base_url: can have no other braces than those"),
        ('terminator = "maybe"', 'terminator: must be one of "optional", "required"'),
        ("retries = 11", "retries: must be a whole number from 0 to 10, not 11"),
    ],
)
def test_what_is_wrong_is_told_with_its_key_and_without_a_secret(
    written: str, problem: str
) -> None:
    with pytest.raises(ConfigInvalid) as invalid:
        read(OPENAI + written)
    assert f"line 3: [providers.a] {problem}" in str(invalid.value)
    assert CANARY not in str(invalid.value)
