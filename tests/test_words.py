from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur import body
from routeur.auto import Target
from routeur.errors import ClientError
from routeur.providers import Provider
from routeur.usage import Price
from routeur.words import About, MaxPrice, Words, about, apply, read, take_out

A, B, C, ROUTER = (Target(name, "m") for name in ("openai", "anthropic", "azure", "openrouter"))
KNOWN = {
    A: About(frozenset({"openai"}), Price(input=2, output=8)),
    B: About(frozenset({"anthropic"}), Price(input=3, output=15)),
    C: About(frozenset({"azure", "openai"})),
    ROUTER: About(frozenset({"openrouter", "openai"}), openrouter=True),
}


def provider(**said: Any) -> Words:
    found = read({"model": "m", "provider": said})
    assert found is not None
    return found


def applied(*targets: Target, **said: Any) -> tuple[Target, ...]:
    return apply(provider(**said), targets, KNOWN.__getitem__).targets


def rejected(*targets: Target, **said: Any) -> dict[str, str]:
    return dict(apply(provider(**said), targets, KNOWN.__getitem__).rejected)


# ---- reading


def test_most_bodies_have_none() -> None:
    assert read({"model": "m", "messages": []}) is None


@pytest.mark.parametrize(
    "doc",
    [
        {"provider": "openai"},
        {"provider": ["openai"]},
        {"models": "gpt-4o"},
        {"models": {"a": 1}},
        {"models": ["a", 1]},
        {"route": "/chat"},
        {"route": {"name": "fallback"}},
    ],
)
def test_members_of_another_shape_are_somebody_elses(doc: dict[str, Any]) -> None:
    assert read(doc) is None


def test_null_says_nothing_and_is_taken_out() -> None:
    raw = b'{"models": null, "model": "m", "provider":null, "route": null, "x": null}'
    words = read(orjson.loads(raw))
    assert words == Words(frozenset(("models", "provider", "route")))
    assert take_out(raw, words) == b'{"model": "m", "x": null}'


def test_all_words() -> None:
    found = read(
        {
            "model": "a",
            "models": ["b", "a", "b"],
            "route": "fallback",
            "provider": {
                "order": ["OpenAI", "Amazon-Bedrock/us", "Google Vertex"],
                "only": ["openai"],
                "ignore": [],
                "sort": {"by": "price", "partition": "model"},
                "allow_fallbacks": False,
                "require_parameters": True,
                "max_price": {"prompt": 1, "completion": "2.5", "request": 0, "image": None},
                "data_collection": "allow",
                "zdr": None,
                "preferred_min_throughput": {"p90": 50},
            },
        }
    )

    assert found == Words(
        frozenset({"models", "route", "provider"}),
        models=("b", "a"),
        order=("openai", "bedrock", "vertex"),
        only=("openai",),
        sort="price",
        allow_fallbacks=False,
        require_parameters=True,
        max_price=MaxPrice(1.0, 2.5),
    )
    assert found.names("a") == ("a", "b")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"order": "openai"}, "provider.order"),
        ({"only": ["openai", 1]}, "provider.only"),
        ({"ignore": {}}, "provider.ignore"),
        ({"sort": "fastest"}, "provider.sort"),
        ({"sort": {"by": ["price"]}}, "provider.sort"),
        ({"sort": 1}, "provider.sort"),
        ({"allow_fallbacks": "no"}, "provider.allow_fallbacks"),
        ({"require_parameters": 1}, "provider.require_parameters"),
        ({"max_price": 3}, "provider.max_price"),
        ({"max_price": {"prompt": "cheap"}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": -1}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": "nan"}}, "provider.max_price.prompt"),
        ({"max_price": {"completion": True}}, "provider.max_price.completion"),
        ({"max_price": {"completion": "1e999"}}, "provider.max_price.completion"),
        ({"max_price": {"prompt": 10**400}}, "provider.max_price.prompt"),
    ],
)
def test_wrong_values_are_refused(said: dict[str, Any], path: str) -> None:
    with pytest.raises(ClientError, match="must be") as refused:
        provider(**said)

    assert refused.value.param == path


@pytest.mark.parametrize("models", [["a"] * 33, [""], ["a", " "], ["x" * 513]])
def test_models_are_names(models: list[str]) -> None:
    with pytest.raises(ClientError) as refused:
        read({"model": "m", "models": models})

    assert refused.value.param == "models"


# ---- applying


def test_only_and_ignore_and_order() -> None:
    assert applied(A, B, C, only=["OpenAI"]) == (A, C)
    assert applied(A, B, C, ignore=["openai"]) == (B,)
    assert applied(A, B, C, order=["azure", "anthropic"]) == (C, B, A)
    assert applied(A, B, C, order=["nobody"]) == (A, B, C)
    assert applied(A, B, C) == (A, B, C)


def test_without_fallbacks() -> None:
    assert applied(A, B, C, allow_fallbacks=False) == (A,)
    assert applied(A, B, C, order=["azure", "anthropic"], allow_fallbacks=False) == (C, B)
    assert rejected(A, B, allow_fallbacks=False) == {
        "anthropic/m": "is a fallback, which provider.allow_fallbacks forbids"
    }


def test_the_most_to_be_paid() -> None:
    assert applied(A, B, C, max_price={"prompt": 2, "completion": 8}) == (A,)
    assert rejected(A, B, C, max_price={"prompt": 3, "completion": 10}) == {
        "anthropic/m": "costs 15 USD, more than provider.max_price.completion (10)",
        "azure/m": "has no known price, and provider.max_price.prompt is 3",
    }
    assert applied(A, C, max_price={"request": 0.01}) == (A, C)


def test_reasons() -> None:
    assert rejected(A, B, only=["anthropic"]) == {"openai/m": "is not in provider.only"}
    assert rejected(A, B, ignore=["anthropic"]) == {"anthropic/m": "is in provider.ignore"}


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"zdr": True}, "provider.zdr"),
        ({"data_collection": "deny"}, "provider.data_collection"),
        ({"quantizations": ["fp8"]}, "provider.quantizations"),
        ({"max_price": {"image": 0.1}}, "provider.max_price.image"),
    ],
)
def test_promises_are_openrouters(said: dict[str, Any], path: str) -> None:
    assert applied(A, ROUTER, **said) == (ROUTER,)
    assert rejected(A, **said) == {"openai/m": f"cannot promise {path}, as OpenRouter can"}


def test_unknown_words_are_refused_but_for_openrouter() -> None:
    with pytest.raises(ClientError, match=r'unknown `provider.oder`; did you mean "order"') as no:
        applied(A, B, oder=["openai"])
    with pytest.raises(ClientError, match="expected one of order, only, ignore"):
        applied(A, xyz=1)

    assert no.value.param == "provider.oder"
    assert applied(A, ROUTER, oder=["openai"]) == (ROUTER,)
    assert rejected(A, ROUTER, oder=["openai"]) == {"openai/m": "does not know provider.oder"}


def test_openrouter_heeds_them_itself() -> None:
    assert applied(ROUTER, B, only=["deepinfra", "anthropic"]) == (ROUTER, B)
    assert applied(ROUTER, ignore=["openai"], max_price={"prompt": 1}) == (ROUTER,)


def test_what_is_known_of_a_provider() -> None:
    mine = Provider("Mine", dialect="openai", credentials=(), preset="openrouter")

    names = frozenset({"mine", "openrouter"})
    assert about(mine, names, None) == About(names, None, openrouter=True)


# ---- taking them out


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        (b'{"model":"a","models":["b"],"n":1}', b'{"model":"a","n":1}'),
        (b'{ "models" : ["b"] ,  "model" : "a" }', b'{ "model" : "a" }'),
        (b'{"model": "a", "route": "fallback"}', b'{"model": "a"}'),
        (b'{"provider":{"sort":"price"}}', b"{}"),
        (b'{\n "provider": {},\n "route": "fallback",\n "model": "a"\n}', b'{\n "model": "a"\n}'),
        (
            b'{"provider":{},"model":"a","provider":{"only":["x"]}, "x": 1.10 }',
            b'{"model":"a", "x": 1.10 }',
        ),
        (b'{"model":"a","pro\\u0076ider":{}}', b'{"model":"a"}'),
        (
            b'{"model":"a","x":{"provider":{},"models":[]},"models":[]}',
            b'{"model":"a","x":{"provider":{},"models":[]}}',
        ),
        (b'{"model":"a","route":"other","models":[]}', b'{"model":"a","route":"other"}'),
        (b'{"models":["b","c"],"n":1}', b'{"model":"b","n":1}'),
        (b'{"n":1, "models": ["\\u00fc"]}', '{"n":1, "model":"ü"}'.encode()),
    ],
)
def test_every_other_byte_stays(raw: bytes, left: bytes) -> None:
    words = read(body.parse(raw))

    assert words is not None
    assert take_out(raw, words) == left


names = st.sampled_from(["model", "models", "route", "provider", "n", "é", '"', "messages"])
values = st.sampled_from([["a"], "fallback", {"only": ["a"]}, 1, "x", None, {"provider": {}}, []])


@given(st.dictionaries(names, values), st.booleans())
def test_what_is_left_is_the_rest(doc: dict[str, Any], indented: bool) -> None:
    raw = orjson.dumps(doc, option=orjson.OPT_INDENT_2 if indented else 0)
    words = read(doc)
    if words is None:
        return
    expected = {name: value for name, value in doc.items() if name not in words.members}
    if words.nameless:
        expected["model"] = words.models[0]

    assert orjson.loads(take_out(raw, words)) == expected
