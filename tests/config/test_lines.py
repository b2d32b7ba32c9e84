"""Where keys stand: the scanner agrees with tomllib about every key, and knows its line."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.lines import line_of, locate

TRICKY = r'''# a comment with [brackets] and "quotes"
top = "a # that is no comment" # one that is

[server] # after a header
host = '[not a header]'
port	=	8080
"quoted key" = 1
'literal key' = 2
dotted . "in parts" . key = 3

[ providers . "with.dot" ]
headers = { "x-a" = "}", x-b = ["[", "]"] } # inline
headers_after = true

[models."gpt-*"]
targets = [
    "openai/gpt", # a comment with ] in it
    'x"]',
    """
]
[not.a.header]
""",
]
after_array = 1979-05-27T07:32:00Z
text = """ends in quotes \""""""
literal = @@@

[decoy]
@@@
after_text = "é \" ] = "
"esc\u0041ped" = ""

[[list]]
a = 1
[[list]]
a = 2
[providers]
last = {}'''.replace("@@@", "'" * 3)

EXPECTED = {
    ("top",): "top =",
    ("server",): "[server]",
    ("server", "host"): "host =",
    ("server", "port"): "port\t=",
    ("server", "quoted key"): '"quoted key"',
    ("server", "literal key"): "'literal key'",
    ("server", "dotted"): "dotted .",
    ("server", "dotted", "in parts", "key"): "dotted .",
    ("providers",): "[ providers",
    ("providers", "with.dot"): "[ providers",
    ("providers", "with.dot", "headers"): "headers =",
    ("providers", "with.dot", "headers_after"): "headers_after",
    ("models", "gpt-*"): "[models.",
    ("models", "gpt-*", "targets"): "targets = [",
    ("models", "gpt-*", "after_array"): "after_array",
    ("models", "gpt-*", "text"): "text =",
    ("models", "gpt-*", "literal"): "literal =",
    ("models", "gpt-*", "after_text"): "after_text",
    ("models", "gpt-*", "escAped"): '"esc',
    ("list",): "[[list]]",
    ("providers", "last"): "last =",
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_each_key_has_the_line_that_it_stands_on(newline: str) -> None:
    text = TRICKY.replace("\n", newline)
    tomllib.loads(text)

    lines = locate(text)

    written = text.split(newline)
    assert {path: written[lines[path] - 1].startswith(EXPECTED[path]) for path in EXPECTED} == (
        dict.fromkeys(EXPECTED, True)
    )


def test_what_stands_inside_strings_and_arrays_is_no_key() -> None:
    assert not {("not",), ("decoy",), ("models", "gpt-*", "x")} & set(locate(TRICKY))


def test_a_key_inside_an_inline_table_has_the_line_of_the_key_that_holds_it() -> None:
    lines = locate(TRICKY)

    inner = line_of(lines, ("providers", "with.dot", "headers", "x-b"))

    assert inner == lines["providers", "with.dot", "headers"]


def test_what_is_not_in_the_file_has_the_line_of_its_table_or_the_first() -> None:
    lines = locate("a = 1\n[server]\nport = 1\n")

    assert line_of(lines, ("server", "host")) == 2
    assert line_of(lines, ("store", "url")) == 1


KEYS = st.sampled_from(["a", "b-c", '"q.u"', "'l]t'", "x . y", '"a#"."b="'])
VALUES = st.sampled_from(
    [
        "1",
        "-inf",
        '""',
        "''",
        '"#"',
        "'['",
        '"\\\\"',
        '"\\""',
        '""""""',
        '"""\n"""',
        '"""a\\\n  "" b"""',
        '"""x"""""',
        "'''\n[k]\n'''",
        "'''x'''''",
        "[]",
        "[\n  1, # ]\n  [2],\n]",
        '{a = 1, b = {c = "}"}}',
        "2024-01-01 10:00:00",
        '["""\n]"""]',
    ]
)
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]} # x = [ 1"),
    KEYS.map(lambda key: f"[ {key} ]"),
    KEYS.map(lambda key: f"[[{key}]] # ]"),
    st.sampled_from(["", "  ", "# [no] = 1", "\t"]),
)


def paths(table: dict[str, Any], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for key, value in table.items():
        found.add((*above, key))
        inner = value if isinstance(value, list) else [value]
        for each in inner:
            if isinstance(each, dict):
                found |= paths(each, (*above, key))
    return found


@given(lines=st.lists(LINES, max_size=12), newline=st.sampled_from(["\n", "\r\n"]))
def test_the_scanner_finds_only_keys_that_tomllib_finds(lines: list[str], newline: str) -> None:
    text = "\n".join(lines).replace("\n", newline)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    found = locate(text)

    assert set(found) <= paths(document)
    assert {path[:1] for path in paths(document)} == {path for path in found if len(path) == 1}
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


def test_a_key_of_very_many_parts_costs_little() -> None:
    lines = locate(".".join(["a"] * 3000) + " = 1")

    assert len(lines) < 10
