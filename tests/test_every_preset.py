"""Every preset works by setting its variables: it is on, known, sane, and keeps its address."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

import routeur.app
from routeur.config import Config, load, parse
from routeur.pool import Origin
from routeur.presets import presets
from routeur.providers import Provider, Secret
from tests.conftest import Client, nothing_is_left

KEY = "sk-of-a-test-that-never-leaks"
# What a base URL's variables hold: a name, a host, or a URL.
PARTS = {"NAME": "acme", "HOST": "acme.example", "URL": "https://acme.example"}
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def variables(name: str, alternative: int = 0) -> dict[str, str]:
    """A preset's variables, all set: the last is the key."""
    *parts, key = presets()[name].env[alternative]
    return {each: PARTS.get(each.rpartition("_")[2], "acme") for each in parts} | {key: KEY}


def configured(name: str, alternative: int = 0) -> Config:
    """Without a file where that is enough, else with the one line that it takes."""
    environ = variables(name, alternative)
    if presets()[name].zero_config:
        return load(None, environ)
    return parse(f"providers: {{{name}: {{preset: {name}}}}}", "router.yaml", environ)


def alternatives() -> Iterator[tuple[str, int]]:
    for name, preset in presets().items():
        for alternative in range(len(preset.env)):
            yield name, alternative


def test_there_are_about_120() -> None:
    """Of which most need no file."""
    assert len(presets()) > 120
    assert sum(preset.zero_config for preset in presets().values()) > 100


@pytest.mark.parametrize(("name", "alternative"), [*alternatives()])
def test_its_variables_switch_it_on(name: str, alternative: int) -> None:
    config = configured(name, alternative)
    assert (config.notices, config.off) == ((), {})
    assert list(config.providers) == [name, "echo"]
    provider = config.providers[name]
    _require_sane(provider)
    _require_known(provider)


def _require_sane(provider: Provider) -> None:
    (credential,) = provider.credentials
    url = urlsplit(credential.base_url)
    assert (url.scheme, url.username, url.query, url.fragment) == ("https", None, "", "")
    assert "." in (url.hostname or "") and "$" not in credential.base_url
    assert credential.api_key == Secret(KEY) and KEY not in repr(provider)
    headers = {"openai": "bearer", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}
    assert provider.auth == headers[provider.dialect]
    assert provider.preset == provider.known_as == provider.name
    origin = Origin.of(credential.base_url)
    assert (origin.secure, origin.host, origin.port) == (True, url.hostname, 443)


def _require_known(provider: Provider) -> None:
    """It serves any name, and of those in the catalogue something is known."""
    assert provider.any_name and provider.catalogued
    known = [provider.model(name) for name in provider.models]
    assert known and all(each.context or each.price or each.has for each in known)
    assert provider.default is None or provider.default in provider.models


def test_without_its_key_it_is_off() -> None:
    """And says which variable it waits for."""
    for name, preset in presets().items():
        config = parse(f"providers: {{{name}: {{preset: {name}}}}}", "router.yaml", {})
        assert list(config.providers) == ["echo"]
        assert any(key in config.off[name] for key in preset.keys())
        for parts in [names[:-1] for names in preset.env]:
            assert all(part in config.off[name] for part in parts)


# ---- all at once, behind a proxy that is not there: nothing leaves this machine


@pytest.fixture(scope="module")
def nobody() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
async def router(nobody: int) -> AsyncIterator[Client]:
    environ = {}
    for name in presets():
        environ |= variables(name)
    proxy = f"http://127.0.0.1:{nobody}"
    rows = {name: {"preset": name, "proxy": proxy} for name in presets()}
    given = {
        "server": {"port": 0},
        "store": "memory:",
        "retries": {"attempts": 1},
        "providers": rows,
    }
    router = routeur.app.Router(parse(json.dumps(given), "router.yaml", environ))
    await router.start()
    async with aiohttp.ClientSession() as session:
        client = Client(router, session)
        yield client
        client.close()
    await nothing_is_left(router)


async def test_no_address_reaches_a_client(router: Client) -> None:
    """Lists, plans, refusals and failures name providers and models alone."""
    said: list[str] = []

    async def keep(answer: aiohttp.ClientResponse) -> Any:
        said.append(f"{answer.headers}{await answer.text()}")
        return answer

    for name, preset in presets().items():
        model = f"{name}/{preset.models[0]}"
        planned = await router.post(
            "/v1/chat/completions",
            json={"model": model, **CHAT},
            headers={"Routeur-Dry-Run": "true"},
        )
        assert (await planned.json())["routeur"]["targets"] == [model]
        failed = await keep(await router.post("/v1/chat/completions", json={"model": model} | CHAT))
        assert failed.status in (502, 503), (name, await failed.text())
        await keep(planned)
        await keep(await router.get(f"/v1/traces/{failed.headers['X-Routeur-Trace-Id']}"))
    for path in ("/v1/models", "/v1/models/gpt-4o", "/health", "/vhealth", "/metrics", "/v1/nope"):
        await keep(await router.get(path))
    whole = "\n".join(said)

    assert KEY not in whole and "127.0.0.1" not in whole
    hosts = {
        urlsplit(credential.base_url).hostname
        for provider in router.router.config.providers.values()
        for credential in provider.credentials
        if credential.base_url
    }
    # Some providers are called like their hosts.
    assert [host for host in hosts if host and f"//{host}" in whole] == []
    assert [h for h in hosts if h and h in whole and h not in " ".join(presets())] == []


async def test_every_preset_is_listed(router: Client) -> None:
    listed = (await (await router.get("/v1/models")).json())["data"]
    owners = {each["owned_by"] for each in listed}
    names = {each["id"] for each in listed}
    for name, preset in presets().items():
        # A model that several have is listed once, for the first of them.
        assert name in owners or names.issuperset(preset.models)
