"""`models` of a provider: what is read, what is wrong, and what the catalogue fills in."""

from __future__ import annotations

import pytest

from routeur.config import parse
from routeur.errors import ConfigError
from routeur.providers import Model, Provider
from routeur.usage import Price

KEYS = {
    "OPENAI_API_KEY": "sk-of-a-test",
    "AWS_BEARER_TOKEN_BEDROCK": "key",
    "GOOGLE_CLOUD_PROJECT": "p",
    "GOOGLE_CLOUD_LOCATION": "global",
}


def provider(settings: str) -> Provider:
    return parse(f"providers: {{p: {{{settings}}}}}", "r.yaml", KEYS).providers["p"]


def findings(price: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        provider(f"preset: openai, models: {{m: {{price: {price}}}}}")
    return [text.removeprefix("r.yaml:1: providers.p.models.m.") for text in error.value.findings]


def test_a_price_with_tiers_and_speeds() -> None:
    text = "{input: 2.5, output: 10, over: {200000: {input: 5, output: 15}}, flex: {output: 5}}"
    price = provider(f"preset: openai, models: {{m: {{price: {text}}}}}").model("m").price

    assert price == Price(
        input=2.5,
        output=10,
        over={200_000: Price(input=5, output=15)},
        services={"flex": Price(input=2.5, output=5)},
    )


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("7", ['price: expected a mapping, found "7"']),
        ("{inptu: 1}", ['price.inptu: unknown setting "inptu"; did you mean "input"?']),
        ("{flx: {input: 1}}", ['price.flx: unknown setting "flx"; did you mean "flex"?']),
        ("{input: -1}", ["price.input: expected a number from 0 to 1e+06, found -1"]),
        ("{over: 3}", ['price.over: expected a mapping, found "3"']),
        ("{over: {7: 3}}", ['price.over.7: expected a mapping, found "3"']),
        (
            "{over: {200k: {input: 1}}}",
            ['price.over.200k: expected a whole number of tokens, such as 200000, found "200k"'],
        ),
        ("{over: {7: {}}}", ["price.over.7: expected prices, such as {input: 5, output: 15}"]),
        (
            "{over: {7: {outptu: 1}}}",
            ['price.over.7.outptu: unknown setting "outptu"; did you mean "output"?'],
        ),
        ("{flex: {}}", ["price.flex: expected prices, such as {input: 5, output: 15}"]),
    ],
)
def test_wrong_prices(price: str, said: list[str]) -> None:
    assert findings(price) == said


def test_a_given_price_replaces_the_catalogue_s() -> None:
    known = provider("preset: openai, models: {gpt-4o: {price: {input: 9}}}").model("gpt-4o")

    assert known.price == Price(input=9)
    assert known.context == 128_000


def test_an_empty_price_is_left_out() -> None:
    own, usual = (
        provider(f"preset: openai, models: {{gpt-4o: {{price: {price}}}}}").model("gpt-4o").price
        for price in ("", "{input: 2.5, cache_read: 1.25, output: 10, image_in: 2.5}")
    )
    assert own == usual


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ('preset: openai, models: ["gpt-*"]', "gpt-4o-2024-08-06"),
        ("preset: openai", "gpt-4o"),
        ("preset: openai, base_url: http://127.0.0.1:1/v1", "gpt-4o"),
        ("dialect: bedrock, region: us-east-1", "us.anthropic.claude-sonnet-5"),
        ("preset: vertex", "claude-sonnet-4-5@20250929"),
    ],
)
def test_what_the_catalogue_knows(settings: str, id: str) -> None:
    model = provider(settings).model(id)

    assert model.price is not None and model.price.input
    assert model.context and model.output and model.has and "tools" in model.has


def test_of_a_base_url_of_one_s_own_nothing_is_known() -> None:
    plain = provider("dialect: openai, base_url: http://127.0.0.1:1/v1")

    assert plain.model("gpt-4o") == Model("gpt-4o", "gpt-4o")
