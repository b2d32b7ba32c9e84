"""Everything that can be wrong with a file is told at once, with its line."""

import pytest

from proxy.config import parse
from proxy.errors import ConfigInvalid

CANARY = "CANARY0123456789"
SHA = "a" * 64
OPENAI = '[providers.openai]\nkind = "openai"\n'
SCRIPTED = '[providers.demo]\nkind = "scripted"\n'


SYNTAX = [
    ("x = ", "line 1: this is not TOML"),
    ('[server]\nhost = "a\nport = 1', "line 2: this is not TOML"),
    ("[server]\n\n[server]", "line 3: this is not TOML"),
    ("a = 1\na = 2", "line 2: this is not TOML"),
    ("\n\nlist = [1,", "line 3: this is not TOML"),
    ("a = " + "[" * 5000, "line 1: the file has brackets nested too deep"),
    ("a = " + "1" * 5000, "line 1: the file has a number that is far too long"),
    ("#" * 1_048_577, "line 1: the file has more than 1048576 characters"),
]

NAMES = [
    ("[limits.small]", "line 1: [limits]: is no section of this file; there are: server, "),
    ("[provider.x]", '[provider]: is no section of this file; did you mean "providers"?'),
    ("port = 1", "line 1: [port]: is no section of this file; there are: server, store"),
    ("[server]\nprot = 1", 'line 2: [server] prot: unknown key; did you mean "port"?'),
    ("[server]\ncors_origins = []", "line 2: [server] cors_origins: unknown key; there are: "),
    ("server.prot = 1", 'line 1: [server] prot: unknown key; did you mean "port"?'),
    ("server = 1", "line 1: [server]: must be a table"),
    ("[[server]]", "line 1: [server]: must be a table"),
    ("models = []", "line 1: [models]: must be a section for each name: [models.NAME]"),
    ("[models]\na = 1", "line 2: [models.a]: must be a table"),
    ("[providers]\na = 1", "line 2: [providers.a]: must be a table"),
    ('[server]\n"\\u0007" = 1', 'line 2: [server] "\\u0007": unknown key'),
    (f"[server]\n{'x' * 500} = 1", f'line 2: [server] "{"x" * 80}...": unknown key'),
]

SERVER = [
    ("[server]\nport = 65536", "[server] port: must be a whole number from 0 to 65535, not 65"),
    ("[server]\nport = -1", "must be a whole number from 0 to 65535, not -1"),
    ('[server]\nport = "80"', "line 2: [server] port: must be a whole number from 0 to 65535"),
    ("[server]\nport = true", "must be a whole number from 0 to 65535, not true"),
    ("[server]\nport = 80.5", "must be a whole number from 0 to 65535, not 80.5"),
    (f"[server]\nport = 0x{'f' * 5000}", "port: must be a whole number from 0 to 65535"),
    ("[server]\ndrain_s = nan", "[server] drain_s: must be a number from 0 to 3600"),
    ("[server]\ndrain_s = inf", "[server] drain_s: must be a number from 0 to 3600"),
    ("[server]\nhost = 1", "[server] host: must be an IP address or a host name, not 1"),
    ('[server]\nhost = ""', "[server] host: must be an IP address or a host name"),
    ('[server]\nhost = "a b"', "[server] host: must be an IP address or a host name"),
    ('[server]\nlog = "jsno"', 'must be one of "json", "text"; did you mean "json"?'),
]

STORE = [
    ('[store]\nurl = "http://x"', '[store] url: must be "embedded", "memory://", or'),
    ('[store]\nurl = "redis+sentinel://a"', "must be like redis+sentinel://host1:26379,host2:"),
    ('[store]\nurl = "redis+sentinel://a/m/x"', "must be like redis+sentinel://host1:26379,ho"),
    ('[store]\nurl = "redis+sentinel://a,b:x/m"', "its host number 2 cannot be read: it must"),
    ('[store]\nurl = "redis+sentinel://a,/m"', "its host number 2 cannot be read: it must be"),
    ('[store]\nurl = "redis+sentinel://a/m?x=1"', "its options can be sentinel_password, sent"),
    ('[store]\nurl = "redis+sentinel://:pw@a/m"', "holds a password, which must not stand in"),
    ('[store]\nurl = "redis+sentinel://a/m?sentinel_password=p"', "holds a password, which mus"),
    ('[store]\nurl = "redis+cluster://"', "its host number 1 cannot be read: it must be like"),
    ('[store]\nurl = "redis+cluster://[::1]:1,[::2"', "its host number 2 cannot be read: it mu"),
    ('[store]\nurl = "redis+cluster://a:1/0"', "must be like redis+cluster://host1:6379,host2:"),
    ('[store]\nurl = "redis+cluster://a?db=1"', "its options can be ssl_ca_certs, ssl_certfile"),
    ('[store]\nurl = "rediss+cluster://u:pw@a"', "holds a password, which must not stand in"),
    ('[store]\nurl = "redis://a:1,b:2"', "its host or port cannot be read: it must be like"),
    ('[store]\nurl = "redis://a,b"', "can name several hosts only as redis+sentinel:// or re"),
    ('[store]\nurl = "redis://:pw@h"', "[store] url: holds a password, which must not stand"),
    ('[store]\nurl = "unix://u:pw@/s"', "[store] url: holds a password, which must not stand"),
    ('[store]\nurl = "redis://"', "[store] url: must be like redis://host:6379/0"),
    ('[store]\nurl = "redis://h/x"', "[store] url: must be like redis://host:6379/0"),
    ('[store]\nurl = "redis://h:99999"', "[store] url: its host or port cannot be read"),
    ('[store]\nurl = "redis://[::1"', "[store] url: its host or port cannot be read"),
    ('[store]\nurl = "redis://h/0?x=1"', "[store] url: its options can be db, ssl_ca_certs"),
    ('[store]\nurl = "redis://h /0"', "[store] url: must be printable characters without"),
    ('[store]\nurl = "unix://a/b"', "[store] url: must name a socket by its whole path"),
    ('[store]\nurl = "env:NOPE"', "line 2: [store] url: NOPE is not set"),
    ("[store]\nurl = 1", "[store] url: must be a reference to a secret"),
    ('[store]\nencryption_key = "env:NOPE"', "line 2: [store] encryption_key: NOPE is not set"),
    (f'[store]\nencryption_key = "{SHA}"', "[store] encryption_key: must not stand in the file"),
    ("[store]\nencryption_key = []", 'must be "env:NAME" or "file:PATH", or a list of 1 to 10'),
    ("[store]\nencryption_key = 1", "encryption_key: must be a reference to a secret: "),
    ("[store]\nencryption_key = [{}]", "encryption_key: must be a reference to a secret: "),
    ('[store]\nnamespace = "a{b}"', "[store] namespace: must be 1 to 64 letters, digits or"),
    ('[store]\nnamespace = "a\\n"', "[store] namespace: must be 1 to 64 letters, digits or"),
    ('[store]\npath = ""', "[store] path: must be a path"),
    ("[store]\nretention_s = 90000", "retention_s: must be at most retention_max_s, which is"),
]

STREAMS = [
    ('[streams]\ndetach = "stop"', '[streams] detach: must be "finish", "cancel", or the sec'),
    ("[streams]\ndetach = -1", '[streams] detach: must be "finish", "cancel", or the seconds'),
    ("[streams]\ndetach = true", '[streams] detach: must be "finish", "cancel", or the sec'),
    ("[streams]\nheartbeat_s = 16", "heartbeat_s: must be a number from 0.1 to 15, not 16"),
    (
        "[streams]\nstream_bytes_max = 65536",
        "event_bytes_max: must be at most stream_bytes_max",
    ),
]

PROVIDERS = [
    (
        '[providers.x]\nkind = "scripted"\nrest_s = 130',
        "providers.x] rest_s: must be at most rest_max_s, which is 120",
    ),
    ("[providers.a]", 'line 1: [providers.a]: kind is missing; it must be one of "anthropic"'),
    (
        '[providers.a]\nkind = "opena"',
        'line 2: [providers.a] kind: must be one of "anthropic",',
    ),
    ('[providers.a]\nkind = ["openai"]', "line 2: [providers.a] kind: must be one of"),
    ('[providers."a/b"]\nkind = "openai"', '[providers."a/b"]: the name must be 1 to 64 lett'),
    (f'{OPENAI}api_key = "{CANARY}"', "line 3: [providers.openai] api_key: must not stand in"),
    (f"{OPENAI}api_key = 1", "line 3: [providers.openai] api_key: must be a reference to a"),
    (f'{OPENAI}api_key = "env:"', "api_key: must name a variable after env:, such as"),
    (f'{OPENAI}api_key = "env:A-B"', "api_key: must name a variable after env:, such as"),
    (f'{OPENAI}api_key = "file:"', "api_key: must name a file after file:, such as"),
    (f'{OPENAI}api_key = "env:NOPE"', "line 3: [providers.openai] api_key: NOPE is not set"),
    (f'{OPENAI}api_key = "file:nope"', "api_key: there is no file nope"),
    (f"{OPENAI}optional = true", "optional: needs a secret that may be there or not, such as"),
    (
        f"{OPENAI}events_per_s = 1",
        "line 3: [providers.openai] events_per_s: unknown key; there",
    ),
    (f"{OPENAI}idle_s = 0", "idle_s: must be a number from 0.01 to 86400, not 0"),
    (f'{OPENAI}base_url = "ftp://x"', "base_url: must be an http or https address without"),
    (f'{OPENAI}base_url = "https://u:p@x"', "base_url: must be an http or https address with"),
    (f'{OPENAI}base_url = "https://x/?k=1"', "base_url: must be an http or https address with"),
    (f'{OPENAI}base_url = "https://x/#k"', "base_url: must be an http or https address with"),
    (f"{OPENAI}headers = 1", "line 3: [providers.openai] headers: must be a table of at most"),
    (f"{OPENAI}headers = {{Host = 'x'}}", "headers.Host: this header is the request's own"),
    (f"{OPENAI}headers = {{'a b' = 'x'}}", 'headers."a b": the name of a header is of letters'),
    (f"{OPENAI}headers = {{a = 'x', A = 'y'}}", "headers.A: the same header a second time"),
    (f"{OPENAI}headers = {{a = 1}}", "headers.a: must be a string of at most 1000 printable"),
    (f"{OPENAI}headers = {{a = '\u00e9'}}", "headers.a: must be a string of at most 1000 prin"),
    (f"{OPENAI}headers.api-key = 'x'", "line 3: [providers.openai] headers.api-key: must not"),
    (f"{OPENAI}headers.Authorization = 'Bearer x'", "headers.Authorization: must not stand in"),
    (
        f"{OPENAI}headers.x-a = 'env:NOPE'",
        "line 3: [providers.openai] headers.x-a: NOPE is not",
    ),
    (
        f'{SCRIPTED}api_key = "env:A"',
        "line 3: [providers.demo] api_key: unknown key; there are",
    ),
    (f'{SCRIPTED}fault = "cutt"', '"status"; did you mean "cut"?'),
    (f"{SCRIPTED}fault_after = 1", "fault_after: needs a fault that comes after events"),
    (f'{SCRIPTED}fault = "status"\nfault_after = 1', "fault_after: needs a fault that comes"),
    (f'{SCRIPTED}fault = "cut"\nfault_status = 500', 'fault_status: needs fault = "status"'),
    (f'{SCRIPTED}chunk = "events"', 'must be "event" or a whole number from 1 to 1048576; did'),
    (f"{SCRIPTED}chunk = 0", 'must be "event" or a whole number from 1 to 1048576, not 0'),
]

MODELS = [
    ("[models.a]", "line 1: [models.a]: targets is missing; it must be a list"),
    ('[models.a]\ntargets = "openai/a"', 'must be a list of "provider/model", such as'),
    ("[models.a]\ntargets = []", 'must be a list of "provider/model", such as'),
    (f"[models.a]\ntargets = [{'1, ' * 21}]", "{to = ...}; 20 at most"),
    ("[models.a]\ntargets = [1]", 'targets: entry 1 must be a "provider/model", such as'),
    ('[models.a]\ntargets = ["openai"]', 'targets: entry 1 must be a "provider/model"'),
    ('[models.a]\ntargets = ["/x"]', 'targets: entry 1 must be a "provider/model", such as'),
    (f'{OPENAI}[models.a]\ntargets = ["openai/a", "x y/z"]', "targets: entry 2 must be a"),
    (f'{OPENAI}[models.a]\ntargets = ["openai/a", "opena/x"]', 'did you mean "openai"?'),
    (f'{OPENAI}[models.a]\ntargets = ["openai/a"]\nstrategy = "weigted"', 'mean "weighted"?'),
    (f'{OPENAI}[models.a]\ntargets = ["openai/a"]\nunstreamed = 1', 'one of "fold", "direct"'),
    (f'{OPENAI}[models.a]\ntargets = ["opena/x"]', 'not configured; did you mean "openai"?'),
    ('[models.a]\ntargets = ["x/y"]', "line 2: [models.a] targets: its provider is not conf"),
    (f'{OPENAI}[models.a]\ntargets = ["openai/*"]', "has a *, but the name a has none that it"),
    (f'{OPENAI}[models."*"]\ntargets = ["openai/**"]', "can have one * at most"),
    (f'{OPENAI}[models."a**"]\ntargets = ["openai/*"]', '[models."a**"]: the name must be 1 t'),
    (f'{OPENAI}[models."a b"]\ntargets = ["openai/a"]', '[models."a b"]: the name must be 1 t'),
]

KEYS = [
    ("[keys.a]", "line 1: [keys.a]: must have one of sha256 and secret; `midstream key new"),
    (f'[keys.a]\nsha256 = "{SHA}"\nsecret = "env:KEY"', "must have one of sha256 and secret"),
    ('[keys.a]\nsha256 = "abc"', "line 2: [keys.a] sha256: must be 64 hexadecimal digits"),
    (f'[keys.a]\nsecret = "{CANARY}"', "line 2: [keys.a] secret: must not stand in the file"),
    ('[keys.a]\nsecret = "env:SHORT"', "secret: must have at least 16 characters; `midstream"),
    ('[keys.a]\nsecret = "env:TYPO"', "secret: was not copied whole: its checksum is wrong"),
    ('[keys.a]\nsecret = "env:LINES"', "secret: LINES must hold one line of at most"),
    (
        f'[keys.a]\nsha256 = "{SHA}"\noptional = true',
        "line 3: [keys.a] optional: needs a secret",
    ),
    (f'[keys.a]\nsha256 = "{SHA}"\nrole = "admin"', 'role: must be one of "user", "operator"'),
    (f'[keys.a]\nsha256 = "{SHA}"\nowner = "a b"', "owner: must be 1 to 64 letters, digits or"),
    (
        f'[keys.a]\nsha256 = "{SHA}"\nexpires = 2027-01-01',
        "expires: must be a date and time wi",
    ),
    (
        f'[keys.a]\nsha256 = "{SHA}"\nexpires = 2027-01-01T00:00:00',
        "expires: must be a date and",
    ),
    (
        f'[keys.a]\nsha256 = "{SHA}"\nmodels = "gpt"',
        "models: must be a list, each of it 1 to 20",
    ),
    (f'[keys.a]\nsha256 = "{SHA}"\nmodels = ["x"]', "models: entry 1 is no configured model"),
    (
        f'[keys.a]\nsha256="{SHA}"\n[keys.b]\nsha256="{SHA.upper()}"',
        "line 3: [keys.b]: has the",
    ),
]

REACH = [
    ('[server]\nhost = "0.0.0.0"', "line 2: [server] host: other machines could reach it, and"),
    ('[server]\nhost = "::"', "line 2: [server] host: other machines could reach it, and with"),
    ('[server]\nhost = "example.org"', "line 2: [server] host: other machines could reach it"),
    (
        '[server]\nhost = "0.0.0.0"\n[keys.main]\nsecret = "env:NOPE"\noptional = true',
        "[keys.main] is off: NOPE is not set. Set that (to 16 characters or more), or add a key with",
    ),
]


def no_files(path: str) -> str:
    raise FileNotFoundError(path)


def problems(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        parse(text, env or {}, no_files)
    return list(caught.value.problems)


QUOTAS = [
    ("[quotas.a]\nrequests_per_minute = 0", "requests_per_minute: must be a whole number from 1"),
    ("[quotas.a]\ntokens_per_minute = 1.5", "tokens_per_minute: must be a whole number from 1 to"),
    ("[quotas.a]\nconcurrent_streams = true", "must be a whole number from 1 to 1000000, not true"),
    ("[quotas.a]\nusd_per_day = 0", "line 2: [quotas.a] usd_per_day: must be an amount of USD fr"),
    ("[quotas.a]\nusd_per_day = 0.0000001", "must be an amount of USD from 0.000001 to 1000000000"),
    ("[quotas.a]\nusd_per_day = 1.2345678", "usd_per_day: must be an amount of USD from 0.000001"),
    ("[quotas.a]\nusd_per_day = nan", "[quotas.a] usd_per_day: must be an amount of USD from"),
    ("[quotas.a]\nusd_per_day = inf", "[quotas.a] usd_per_day: must be an amount of USD from"),
    ("[quotas.a]\nusd_per_day = true", "[quotas.a] usd_per_day: must be an amount of USD from"),
    (f"[quotas.a]\nusd_per_day = 0x{'f' * 5000}", "usd_per_day: must be an amount of USD from 0"),
    ('[quotas.a]\nusd_per_day = "5"', "[quotas.a] usd_per_day: must be an amount of USD from"),
    ('[quotas.a]\nzone = "Europe/Berln"', 'zone, such as Europe/Berlin; did you mean "Europe/Be'),
    ('[quotas.a]\nzone = "Europe"', "line 2: [quotas.a] zone: must be the name of a time zone"),
    ('[quotas.a]\nzone = "/etc/passwd"', "[quotas.a] zone: must be the name of a time zone"),
    ('[quotas.a]\nzone = "a..b"', "[quotas.a] zone: must be the name of a time zone, such as"),
    ('[quotas.a]\non_store_error = "alow"', 'must be one of "allow", "refuse"; did you mean'),
    ("[quotas.a]\nusd_per_dya = 5", 'usd_per_dya: unknown key; did you mean "usd_per_day"?'),
    ('[quotas.a]\nmodels = ["m"]', "[quotas.a] models: entry 1 is no configured model"),
    ("quotas = 1", "line 1: [quotas]: must be a section for each name: [quotas.NAME]"),
    ("[quotas.small]\n[server]\nquota = 'smal'", "[server] quota: is no configured quota; did you"),
    ("[server]\nquota = 'a'", "[server] quota: is no configured quota; there is no [quotas.NAME]"),
    ("[server]\nquota = 1", "[server] quota: must be 1 to 64 letters, digits or any of _"),
    (f"{SCRIPTED}quota = 'b'\n[quotas.a]", "[providers.demo] quota: is no configured quota; there"),
    (
        f'{SCRIPTED}quota = "a"\n[models.m]\ntargets = ["demo/m"]\n[quotas.a]\nmodels = ["m"]',
        "line 3: [providers.demo] quota: has models, which only the quota of a key can have",
    ),
]

PRICES = [
    ("price = 1", "line 5: [models.m] price: must be a table, such as {input = 2.5, output = 10"),
    ("price = {input = 1}", "[models.m] price: output is missing; it must be an amount of USD fro"),
    ("price = {input = 1, output = -1}", "[models.m] price.output: must be an amount of USD from"),
    ("price = {input = 1, output = 1, imput = 1}", 'price.imput: unknown key; did you mean "inpu'),
    ("price.input = 1\nprice.output = 1e-7", "line 6: [models.m] price.output: must be an amount"),
]


@pytest.mark.parametrize(("written", "expected"), PRICES)
def test_a_price_is_input_and_output_in_usd(written: str, expected: str) -> None:
    (problem,) = problems(f'{SCRIPTED}[models.m]\ntargets = ["demo/m"]\n{written}')

    assert expected in problem


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ('{to = "demo/m", price = 1}', "[models.m] targets.price: must be a table, such as {inp"),
        (
            '{to = "demo/m", prise = 1}',
            '[models.m] targets: entry 1 has an unknown key; did you mean "price"?',
        ),
        ("{price = {input = 1, output = 1}}", '[models.m] targets: entry 1 must be a "provider/'),
        ('{to = "demo"}', '[models.m] targets: entry 1 must be a "provider/model", such as'),
        ('{to = "demo/m", weight = 0}', "entry 1 has a weight that must be a whole number from 1"),
        ('{to = "demo/m", prefill = 1}', "entry 1 has a prefill that must be true or false"),
        ('{to = "demo/m", parameters = 1}', "entry 1 has parameters that must be a table of at"),
        (
            '{to = "demo/m", parameters = {n = 2, stream = false}}',
            "entry 1 has parameters that a target cannot set: n, stream",
        ),
        (
            '{to = "demo/m", parameters = {"top p" = 1}}',
            "entry 1 has a parameter whose name is not of letters, digits and _",
        ),
        ('{to = "demo/m", parameters = {top_p = nan}}', "entry 1 has a parameter that is no JSON"),
        ('{to = "demo/m", parameters = {at = [2027-01-01]}}', "has a parameter that is no JSON"),
    ],
)
def test_a_target_with_more_than_its_name_is_a_table(target: str, expected: str) -> None:
    (problem,) = problems(f"{SCRIPTED}[models.m]\ntargets = [{target}]")

    assert expected in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [*SYNTAX, *NAMES, *SERVER, *STORE, *STREAMS, *PROVIDERS, *MODELS, *KEYS, *QUOTAS, *REACH],
    ids=lambda text: repr(text)[:50],
)
def test_a_mistake_is_named_with_its_line_and_with_what_would_be_right(
    text: str, expected: str
) -> None:
    env = {
        "KEY": CANARY,
        "SHORT": "CANARY",
        "TYPO": "ms_CANARYxxxxxxxxxxxxxxxx",
        "LINES": f"{CANARY}\n{CANARY}",
    }

    (problem,) = problems(text, env)

    assert problem.startswith("line ")
    assert expected in problem
    assert "CANARY" not in problem


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = """\
[streams]
heartbeat_s = 60

[server]
prot = 1
host = "0.0.0.0"
log = 7

[providers.one]
kind = "openai"
api_key = "env:NOPE"
idle = 3

[providers.two]

[models.x]
targets = ["three/x"]
"""

    found = problems(text)

    assert [problem.partition(":")[0] for problem in found] == [
        f"line {line}" for line in (2, 5, 7, 11, 12, 14, 17)
    ]


def test_a_broken_provider_makes_no_second_problem_of_its_models() -> None:
    text = f'{OPENAI}idle_s = -1\n[models.x]\ntargets = ["openai/x"]'

    assert len(problems(text)) == 1


def test_a_broken_key_makes_no_second_problem_of_the_host() -> None:
    text = '[server]\nhost = "0.0.0.0"\n[keys.a]\nsha256 = ""'

    assert len(problems(text)) == 1


def test_very_many_problems_are_told_in_part() -> None:
    text = "[server]\n" + "".join(f"x{number} = 1\n" for number in range(500))

    found = problems(text)

    assert len(found) == 101
    assert found[-1] == "line 501: and 400 problems more"


def test_a_secret_in_the_wrong_place_is_not_shown() -> None:
    text = f"""\
[server]
host = "{CANARY} "
log = "{CANARY}"
x = "{CANARY}"
[store]
url = "redis://:{CANARY}@host:x"
[streams]
detach = "{CANARY}"
[providers.a]
kind = "{CANARY}"
[providers.b]
kind = "openai"
base_url = "https://{CANARY}@x"
api_key = "{CANARY}"
headers = {{x-token = "{CANARY}", x-a = "env:{CANARY}-"}}
[models.m]
targets = ["{CANARY}/{CANARY}"]
[keys.k]
sha256 = "{CANARY}"
models = ["{CANARY}"]
"""

    found = problems(text)

    assert len(found) > 10
    assert CANARY not in "\n".join(found)


def test_a_file_of_secrets_that_cannot_be_read_says_why() -> None:
    def read_file(path: str) -> str:
        if path == "locked":
            raise PermissionError(13, "Permission denied")
        return b"\xff".decode("utf-8")

    for path, expected in (("locked", "Permission denied"), ("binary", "it is not text")):
        with pytest.raises(ConfigInvalid) as caught:
            parse(f'{OPENAI}api_key = "file:{path}"', {}, read_file)
        assert str(caught.value) == (
            f"line 3: [providers.openai] api_key: its file cannot be read: {expected}"
        )
