"""Routes: which provider serves the name that a client asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ModelNotFound
from proxy.policy.routes import MODEL_CHARS_MAX, Route, Routes, Target, in_both, is_allowed, match


def routes(table: dict[str, str]) -> Routes:
    """`table` maps names to targets as the config writes them."""
    return Routes(
        [
            Route(name, (Target(provider, model),))
            for name, target in table.items()
            for provider, _, model in [target.partition("/")]
        ]
    )


EVERYTHING = routes(
    {
        "fast": "openai/gpt-5-mini",
        "gpt-*": "openai/*",
        "gpt-4*": "azure/prod-gpt-4*",
        "gpt-4o": "openai/gpt-4o-2024-11-20",
        "groq/*": "groq/*",
        "meta/*": "vllm/meta/*",
        "*-preview": "google/*",
        "claude-*-latest": "anthropic/claude-*",
    }
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("fast", ("openai", "gpt-5-mini")),
        ("gpt-5", ("openai", "gpt-5")),
        ("gpt-", ("openai", "gpt-")),
        ("gpt-4o", ("openai", "gpt-4o-2024-11-20")),
        ("gpt-4.1", ("azure", "prod-gpt-4.1")),
        ("gpt-4", ("azure", "prod-gpt-4")),
        ("groq/llama/70b", ("groq", "llama/70b")),
        ("meta/llama-3", ("vllm", "meta/llama-3")),
        ("veo-preview", ("google", "veo-preview")),
        ("claude-opus-latest", ("anthropic", "claude-opus")),
        ("*", None),
        ("groq/", None),
        ("fas", None),
        ("fast ", None),
        ("FAST", None),
        ("", None),
        ("xgpt-5", None),
        ("claude-latest", None),
        ("gpt-" + "x" * MODEL_CHARS_MAX, None),
    ],
)
def test_a_name_leads_to_its_target(model: str, expected: tuple[str, str] | None) -> None:
    if expected is None:
        with pytest.raises(ModelNotFound) as caught:
            EVERYTHING.resolve(model)
        assert caught.value.problem().param == "model"
    else:
        assert EVERYTHING.resolve(model).targets == (Target(*expected),)


def test_a_longer_pattern_wins_wherever_it_stands() -> None:
    table = {"*": "a/*", "gpt-*": "b/*", "gpt-4*": "c/*"}
    for names in (list(table), list(reversed(table))):
        ordered = routes({name: table[name] for name in names})

        served = [ordered.resolve(model).targets[0].provider for model in ("x", "gpt-5", "gpt-4o")]

        assert served == ["a", "b", "c"]


def test_of_two_patterns_of_one_length_the_earlier_wins() -> None:
    assert routes({"a*": "one/*", "*b": "two/*"}).resolve("ab").name == "a*"


@given(model=st.text(min_size=1, max_size=MODEL_CHARS_MAX))
def test_a_lone_star_passes_every_name_on_unchanged(model: str) -> None:
    assert routes({"*": "openai/*"}).resolve(model).targets == (Target("openai", model),)


@given(head=st.text(max_size=4), middle=st.text(max_size=4), tail=st.text(max_size=4))
def test_a_star_matches_whatever_stands_in_its_place(head: str, middle: str, tail: str) -> None:
    pattern = f"{head}*{tail}"
    if pattern.count("*") == 1:
        assert match(pattern, head + middle + tail) == middle


@pytest.mark.parametrize(
    ("allowed", "model", "expected"),
    [
        (None, "gpt-5", True),
        ((), "gpt-5", False),
        (("gpt-5",), "gpt-5", True),
        (("gpt-*",), "gpt-5", True),
        (("gpt-4*", "claude-*"), "gpt-5", False),
    ],
)
def test_a_list_of_models_allows_names_and_patterns(
    allowed: tuple[str, ...] | None, model: str, expected: bool
) -> None:
    assert is_allowed(allowed, model) is expected


def test_a_model_that_the_caller_may_not_use_is_not_found() -> None:
    assert EVERYTHING.resolve("gpt-5", ("gpt-*",)).targets == (Target("openai", "gpt-5"),)
    with pytest.raises(ModelNotFound):
        EVERYTHING.resolve("fast", ("gpt-*",))


def test_names_are_those_of_the_config_and_those_explicitly_allowed() -> None:
    assert EVERYTHING.names() == ["fast", "gpt-4o"]
    assert EVERYTHING.names(("gpt-*",)) == ["gpt-4o"]
    assert EVERYTHING.names(("fast", "gpt-5", "unheard-of")) == ["fast", "gpt-5"]
    assert EVERYTHING.names(()) == []


def test_patterns_are_listed_longest_first() -> None:
    lengths = [len(route.name) for route in EVERYTHING.patterns]

    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 6


NAMES = st.lists(st.text("ab*", min_size=1, max_size=6).filter(lambda n: n.count("*") < 2))


@given(NAMES, NAMES, st.text("ab", min_size=1, max_size=12))
def test_what_is_in_both_lists_is_what_each_of_them_allows(
    one: list[str], other: list[str], model: str
) -> None:
    in_each = is_allowed(one, model) and is_allowed(other, model)

    assert is_allowed(in_both(one, other), model) == in_each


def test_two_patterns_meet_in_one_and_in_names_where_they_overlap() -> None:
    assert in_both(["gpt-*", "demo"], ["*"]) == ("gpt-*", "demo")
    assert in_both(["ab*"], ["*ba"]) == ("ab*ba", "aba")
    assert in_both(["gpt-*"], ["claude-*"]) == ()


def test_a_star_stands_for_the_same_in_every_target() -> None:
    several = (Target("openai", "*"), Target("azure", "prod-*"), Target("demo", "small", weight=2))
    found = Routes([Route("gpt-*", several)]).resolve("gpt-5")

    assert [(each.provider, each.model) for each in found.targets] == [
        ("openai", "gpt-5"),
        ("azure", "prod-5"),
        ("demo", "small"),
    ]
    assert found.name == "gpt-*"


def test_a_target_whose_star_would_stand_for_nothing_is_left_out() -> None:
    both = Route("a/*", (Target("a", "*"), Target("b", "m")))

    assert Routes([both]).resolve("a/").targets == (Target("b", "m"),)
    assert Route("a/*", (Target("a", "*"),)).serve("a/") is None
