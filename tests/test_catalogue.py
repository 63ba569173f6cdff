"""The data that comes with the package, and who is found in it under which name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from routeur.catalogue import Family, Row, family, find, rows
from routeur.config_models import ABILITIES
from routeur.presets import presets
from routeur.providers import Model, Provider
from routeur.usage import BUCKETS, SERVICES, Price

TEXT = files("routeur").joinpath("data/catalogue.json").read_text("utf-8")
DATA: dict[str, dict[str, dict[str, Any]]] = json.loads(TEXT)["providers"]


def every_row() -> Iterator[tuple[str, dict[str, Any]]]:
    for provider, models in DATA.items():
        for name, row in models.items():
            yield f"{provider}/{name}", row


# ---- the file


def test_it_says_where_it_comes_from() -> None:
    about = json.loads(TEXT)["about"]

    assert about["source"] == "https://github.com/anomalyco/models.dev"
    assert "MIT" in about["licence"] and len(about["commit"]) == 40


def test_one_line_per_provider() -> None:
    """So that one can be read without the others."""
    lines = TEXT.splitlines()[2:-1]

    assert [json.loads(line.partition(":")[0]) for line in lines] == list(DATA)
    assert list(DATA) == sorted(DATA)


def test_it_has_the_models_of_every_preset() -> None:
    for name, preset in presets().items():
        assert set(preset.models) <= DATA[name].keys()


def test_the_clouds_are_there() -> None:
    assert {"amazon-bedrock", "google-vertex", "azure"} <= DATA.keys()


def test_it_reads_as_rows() -> None:
    for provider, models in DATA.items():
        assert rows(provider).keys() == models.keys()


def test_figures_are_sane() -> None:
    for name, row in every_row():
        assert 1 <= row.get("context", 1) <= 100_000_000, name
        assert 1 <= row.get("output", 1) <= 10_000_000, name
        assert row.get("input", 1) < row.get("context", 2), name
        assert 0 <= row.get("quality", 0) <= 1, name
        assert re.fullmatch(r"20\d\d(-\d\d){0,2}", row.get("released", "2000")), name
        assert set(row.get("has", "").split()) <= set(ABILITIES), name


def test_prices_are_sane() -> None:
    """All of input and output are there, or none is; a tier or a speed is more than nothing."""
    for name, row in every_row():
        price = row.get("price", {"input": 0, "output": 0})
        assert {"input", "output"} <= price.keys() <= {*BUCKETS, "over", "services"}, name
        over, services = price.pop("over", {}), price.pop("services", {})
        assert all(int(size) >= 1000 for size in over), name
        assert services.keys() <= set(SERVICES), name
        for each in (price, *over.values(), *services.values()):
            assert each and each.keys() <= set(BUCKETS), name
            assert all(0 <= usd <= 1000 for usd in each.values()), name


def test_long_prompts_are_not_cheaper() -> None:
    odd = [
        f"{provider}/{name}"
        for provider in ("anthropic", "google", "google-vertex", "openai", "amazon-bedrock")
        for name, row in rows(provider).items()
        if (price := row.cost())
        for tier in price.over.values()
        if any((tier.usd(bucket) or 0) < (price.usd(bucket) or 0) for bucket in BUCKETS)
    ]
    assert odd == []


# ---- looking up


@pytest.mark.parametrize(
    ("provider", "id", "own"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),  # dearer than the others
        ("openai", "gpt-4o-2031-01-01", "gpt-4o"),
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai", "gpt-5-chat", "gpt-5-chat-latest"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-20250514"),
        ("anthropic", "claude-sonnet-4", "claude-sonnet-4-20250514"),
        ("anthropic", "claude-opus-4-6-20260205", "claude-opus-4-6"),
        ("anthropic", "claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("google-vertex", "claude-sonnet-4-5", "claude-sonnet-4-5@20250929"),
        ("google-vertex", "claude-opus-4-6", "claude-opus-4-6@default"),
        ("google-vertex", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("openrouter", "anthropic/claude-sonnet-4-20250514", "anthropic/claude-sonnet-4"),
        ("openrouter", "anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5"),
        (
            "amazon-bedrock",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "amazon-bedrock",
            "eu.anthropic.claude-sonnet-4-5",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "amazon-bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-5",
            "us.anthropic.claude-sonnet-5",
        ),
        ("amazon-bedrock", "us.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("minimax", "minimax-m2", "MiniMax-M2"),
    ],
)
def test_found(provider: str, id: str, own: str) -> None:
    assert find(provider, id) is rows(provider)[own]


@pytest.mark.parametrize(
    ("provider", "id"),
    [
        ("openai", "gpt-4o-"),
        ("openai", "gpt-4o-nano"),
        ("openai", "gpt-4o-audio-preview-2024-12-17"),
        ("openai", "gpt-4o:free"),
        ("openai", "gpt"),
        ("openai", ""),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x"),  # costs more
        ("openai", "gpt-3.5-turbo-0613"),
        ("openai", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet"),
        ("anthropic", "claude-sonnet-4-7"),
        ("google", "gemini-embedding-002"),
        ("mistral", "mistral-large-2302"),
        ("amazon-bedrock", "anthropic.claude-v2:1"),
        ("amazon-bedrock", "amazon.titan-embed-text-v2:0"),
        ("nobody", "gpt-4o"),
        ('x":', "gpt-4o"),
    ],
)
def test_not_found(provider: str, id: str) -> None:
    assert find(provider, id) is None


def test_of_regions_the_dearest() -> None:
    """Where nothing is said of this one."""
    found = find("amazon-bedrock", "apac.anthropic.claude-sonnet-4-5-20250929-v1:0")

    assert found is rows("amazon-bedrock")["eu.anthropic.claude-sonnet-4-5-20250929-v1:0"]


def test_no_two_kinds_are_one_family() -> None:
    """Rows of one family, date and region are other spellings of one model: they cost the same."""
    for provider in DATA:
        told: dict[Family, set[Any]] = {}
        for id, row in rows(provider).items():
            price = row.price and (row.price.input, row.price.output)
            told.setdefault(family(id), set()).add(price)
        assert [key for key, prices in told.items() if len(prices) > 1] == [], provider


@pytest.mark.parametrize("kind", ["mini", "nano", "pro", "lite", "flash", "turbo", "preview"])
def test_kinds_are_families(kind: str) -> None:
    assert family(f"model-1-{kind}").name != family("model-1").name
    assert family(f"model-1-{kind}-2025-01-01").name == family(f"model-1-{kind}").name


# ---- of a configured provider


def provider(known_as: str | None, *models: Model) -> Provider:
    return Provider("p", "openai", (), known_as=known_as, models={m.name: m for m in models})


def test_a_model_that_nobody_listed() -> None:
    model = provider("openai").model("gpt-4o-2024-08-06")

    assert (model.name, model.id) == ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06")
    assert model.price is not None and model.price.input == 2.5
    assert (model.context, model.output) == (128_000, 16_384)
    assert model.has == {"image", "tools", "json"}


def test_nothing_is_assumed_of_strangers() -> None:
    assert provider(None).model("gpt-4o") == Model("gpt-4o", "gpt-4o")
    assert provider("openai").model("our-own") == Model("our-own", "our-own")


def test_the_configuration_wins_field_by_field() -> None:
    own = Model("fast", "gpt-5", price=Price(input=1), context=1000, has=frozenset())
    model = provider("openai", own).model("fast")

    assert (model.price, model.context, model.has) == (Price(input=1), 1000, frozenset())
    assert (model.name, model.id, model.output, model.room) == ("fast", "gpt-5", 128_000, 1000)


def test_the_id_counts_not_the_name() -> None:
    assert provider("openai", Model("gpt-4o-mini", "our-own")).model("gpt-4o-mini").price is None


def test_a_deployment_is_what_its_name_says() -> None:
    deployed = provider("azure", Model("gpt-4o", "deployment-7")).model("gpt-4o")
    by_id = provider("azure", Model("gpt-4o-mini", "gpt-4o")).model("gpt-4o-mini")

    assert deployed.price == by_id.price == provider("azure").model("gpt-4o").price
    assert deployed.id == "deployment-7"


def test_a_prompt_may_have_less_room_than_the_context() -> None:
    assert provider("openai").model("gpt-5").room == 272_000
    assert provider("openai").model("gpt-4o").room == 128_000
    assert provider(None).model("gpt-5").room is None


def test_names_that_clients_invent_are_not_kept_for_ever() -> None:
    asked = provider("openai")
    for number in range(5000):
        asked.model(f"invented-{number}")

    assert len(asked._known) <= 1024
    assert asked.model("gpt-4o") is asked.model("gpt-4o")


def test_hours_in_the_cache_have_their_price() -> None:
    price = provider("anthropic").model("claude-sonnet-4-5").price

    assert price is not None
    assert (price.cache_write, price.cache_write_1h) == (3.75, 6)
    assert price.rates(200_000)[0] == 3_000_000
    assert price.rates(200_001)[0] == 6_000_000


def test_what_is_seen_and_heard_has_its_price() -> None:
    pro, flash = (provider("google").model(f"gemini-2.5-{kind}").price for kind in ("pro", "flash"))
    vertex = provider("google-vertex").model("gemini-2.5-flash").price

    assert pro and flash and vertex
    assert (pro.image_in, pro.audio_in) == (1.25, 1.25)
    assert (flash.image_in, flash.audio_in) == (0.3, 1.0)
    assert vertex.audio_in is None


def test_a_speed_has_its_price() -> None:
    price = provider("openai").model("gpt-5.4").price

    assert price is not None
    assert price.at("priority") == price.services["priority"] != price
    assert price.at("flex") is price


def test_a_row_says_what_it_takes() -> None:
    assert Row(has="image tools").abilities() == {"image", "tools"}
    assert Row().cost() is None
