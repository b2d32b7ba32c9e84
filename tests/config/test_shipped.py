"""The file that ships: it runs as it is, and explains every key beside its true default."""

import re
import tomllib
from pathlib import Path
from typing import get_type_hints

import msgspec
import msgspec.inspect as inspection
import pytest

from proxy.config import (
    AnthropicProvider,
    OpenAIProvider,
    ScriptedProvider,
    Secret,
    Server,
    Store,
    Streams,
    parse,
)
from proxy.config.quotas import Quota
from proxy.config.tables import KeyTable, ModelTable
from proxy.errors import ConfigInvalid
from proxy.policy.keys import Role
from proxy.policy.quotas import Kind
from proxy.stream import Detach

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "config.toml").read_text(encoding="utf-8")
CANARY = "CANARY-4f1d-of-some-length"
ENV = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MIDSTREAM_KEY"), CANARY)
ENV["MIDSTREAM_ENCRYPTION_KEY"] = bytes(range(32)).hex()

TABLES: dict[str, type[msgspec.Struct]] = {
    "server": Server,
    "store": Store,
    "streams": Streams,
    "providers.demo": ScriptedProvider,
    "providers.openai": OpenAIProvider,
    "providers.anthropic": AnthropicProvider,
    "models.demo": ModelTable,
    "quotas.main": Quota,
    "keys.main": KeyTable,
}
SAME_AS = {"providers.anthropic": "providers.openai"}
"""A section whose keys are explained in another, where the default is the same."""


def no_files(path: str) -> str:
    raise FileNotFoundError(path)


def test_it_ships_in_the_package_as_the_same_file() -> None:
    assert (ROOT / "proxy" / "config.toml").read_text(encoding="utf-8") == TEXT


def test_as_it_is_it_serves_the_demo_on_loopback_with_open_access() -> None:
    config = parse(TEXT, {}, no_files)

    assert config.server.is_loopback
    assert config.store.kind == "embedded"
    assert list(config.providers) == ["demo"]
    assert [route.name for route in config.models] == ["demo"]
    assert config.keys == ()


@pytest.mark.parametrize(
    ("variable", "provider", "model"),
    [
        ("OPENAI_API_KEY", "openai", "gpt-*"),
        ("OPENAI_API_KEY", "openai", "o3*"),
        ("ANTHROPIC_API_KEY", "anthropic", "claude-*"),
    ],
)
def test_a_variable_switches_its_provider_and_models_on(
    variable: str, provider: str, model: str
) -> None:
    config = parse(TEXT, {variable: CANARY}, no_files)

    assert list(config.providers) == ["demo", provider]
    assert model in [route.name for route in config.models]


def test_the_one_key_of_a_single_user_may_do_everything() -> None:
    (key,) = parse(TEXT, {"MIDSTREAM_KEY": CANARY}, no_files).keys

    assert (key.role, key.models, key.expires_at) == (Role.OPERATOR, None, None)


def test_any_other_address_wants_the_key() -> None:
    with pytest.raises(ConfigInvalid, match="MIDSTREAM_KEY is not set"):
        parse(TEXT, {}, no_files, host="0.0.0.0")

    assert parse(TEXT, {"MIDSTREAM_KEY": CANARY}, no_files, host="0.0.0.0").keys


def test_with_everything_on_nothing_is_off_and_no_secret_shows() -> None:
    config = parse(TEXT, ENV, no_files)

    assert config.off == ()
    assert CANARY not in repr(config)


# --- each key is explained -------------------------------------------------------------------


class Written:
    """A key as the file shows it: commented out or set, with the comment above it."""

    def __init__(self, value: str, note: str, comment: str, *, is_set: bool) -> None:
        self.value = tomllib.loads(f"value = {value}")["value"]
        self.note = note
        self.comment = comment
        self.is_set = is_set


ENTRY = re.compile(r"(# )?([a-z0-9_]+) = (.+?)(?:  (?:# )?(\(not set\)|default: .+))?")


def written() -> dict[tuple[str, str], Written]:
    found: dict[tuple[str, str], Written] = {}
    section, comment = "", ""
    for line in TEXT.splitlines():
        entry = ENTRY.fullmatch(line)
        if line.startswith("["):
            section = line.strip("[]").replace('"', "")
        elif entry:
            is_set = not entry[1]
            found[section, entry[2]] = Written(entry[3], entry[4] or "", comment, is_set=is_set)
        elif line.startswith("# "):
            comment += line[2:]
        elif not line:
            comment = ""
    return found


WRITTEN = written()
FIELDS = [
    (section, field) for section, table in TABLES.items() for field in msgspec.structs.fields(table)
]
FIELD_IDS = [f"{section}.{field.name}" for section, field in FIELDS]


def as_written(default: object) -> object:
    """A default in the form that a file has."""
    match default:
        case Secret():
            return default.reveal()
        case Detach(grace_s=None):
            return "finish"
        case _:
            return default


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=FIELD_IDS)
def test_every_key_stands_in_the_file_with_its_default_and_a_comment(
    section: str, field: msgspec.structs.FieldInfo
) -> None:
    entry = WRITTEN.get((section, field.name))
    if entry is None:
        elsewhere = {other.name: other for name, other in FIELDS if name == SAME_AS.get(section)}
        assert field.name in elsewhere, "it is explained nowhere"
        assert field.default == elsewhere[field.name].default
        assert field.default_factory == elsewhere[field.name].default_factory
        return

    default = field.default_factory() if callable(field.default_factory) else field.default
    if entry.is_set and entry.note:
        assert tomllib.loads(f"value = {entry.note.removeprefix('default: ')}")["value"] == default
    elif entry.is_set:
        assert field.required or default is None
    elif default is None:
        assert entry.note == "(not set)"
    else:
        assert entry.value == as_written(default)
        assert entry.note == ""


def test_every_key_that_is_commented_out_has_words_above_it() -> None:
    wordless = [key for key, entry in WRITTEN.items() if not entry.is_set and not entry.comment]

    assert wordless == []


def test_the_file_shows_no_key_that_there_is_not() -> None:
    names = {(section, field.name) for section, field in FIELDS}
    names |= {(section, "kind") for section in TABLES if section.startswith("providers.")}
    shown = {key for key in WRITTEN if not key[0].startswith("models.")}

    assert shown <= names


def test_the_file_with_every_key_set_is_valid() -> None:
    """Each commented key is what it says: uncommented, the file means the same and more."""
    text = re.sub(r"(?m)^# ([a-z0-9_]+ = .+?)(  \(not set\))?$", r"\1", TEXT)
    text = text.replace('secret = "env:MIDSTREAM_KEY"\noptional = true  # default: false\n', "")
    text = text.replace("fault_status = 500", "")
    text = text.replace('ca_file = "authorities.pem"', "")  # which is not there
    text = text.replace('models = ["*"]\n', "")  # of a quota that [server] has too

    config = parse(text, ENV, no_files)

    as_it_is = parse(TEXT, ENV, no_files)
    assert msgspec.structs.replace(config.server, quota=None) == as_it_is.server
    assert config.streams == as_it_is.streams
    assert len(config.pools.everything.limits) == len(Kind)
    assert config.keys[0].models == ("demo", "gpt-*")


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=FIELD_IDS)
def test_every_number_has_a_range(section: str, field: msgspec.structs.FieldInfo) -> None:
    hint = get_type_hints(TABLES[section], include_extras=True)[field.name]

    def numbers(kind: inspection.Type) -> list[inspection.IntType | inspection.FloatType]:
        match kind:
            case inspection.IntType() | inspection.FloatType():
                return [kind]
            case inspection.UnionType():
                return [number for each in kind.types for number in numbers(each)]
            case _:
                return []

    if hint is Detach:
        return  # a word, or seconds in a range of its own: see the tests of problems
    assert all(n.ge is not None and n.le is not None for n in numbers(inspection.type_info(hint)))
