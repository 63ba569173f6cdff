"""Where a request goes: `base_url` and path joined, the credential put in, proxies for HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from routeur.endpoint import Endpoint, Endpoints
from routeur.headers import Inbound
from routeur.pool import Origin, Pool
from routeur.providers import Credential, Provider, Secret, Tls


def provider(dialect: str, base_url: str, **more: Any) -> Provider:
    credential = Credential("c", "p", base_url, Secret("sk-1"))
    return Provider("p", dialect, (credential,), **more)


def endpoint(dialect: str, base_url: str, **more: Any) -> Endpoint:
    (found,) = Endpoints([provider(dialect, base_url, **more)]).by_credential.values()
    return found


def inbound(*fields: tuple[bytes, bytes]) -> Inbound:
    return Inbound(fields)


def sent(head: bytes) -> tuple[str, list[str]]:
    """A request line and the other lines of a head, which has no end yet."""
    line, *fields = head.decode("latin-1").removesuffix("\r\n").split("\r\n")
    return line, fields


@pytest.mark.parametrize(
    ("dialect", "base_url", "path", "wanted"),
    [
        ("openai", "https://h/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "https://h/v1/", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "https://h/v1", "/chat/completions", "/v1/chat/completions"),
        ("openai", "https://h", "/v1/chat/completions", "/chat/completions"),
        ("openai", "https://h/openai/v1", "/v1/responses/r_1", "/openai/v1/responses/r_1"),
        ("openai", "https://h/api/v3", "/v1/embeddings", "/api/v3/embeddings"),
        ("openai", "https://h/v1beta/openai/", "/v1/models", "/v1beta/openai/models"),
        ("openai", "https://h/v1", "/v1", "/v1"),
        ("openai", "https://h/v1", "/v1x/y", "/v1/v1x/y"),
        ("anthropic", "https://h", "/v1/messages", "/v1/messages"),
        ("anthropic", "https://h/", "/v1/messages", "/v1/messages"),
        ("anthropic", "https://h/v1", "/v1/messages", "/v1/messages"),
        ("anthropic", "https://h/anthropic", "/v1/messages", "/anthropic/v1/messages"),
        ("gemini", "https://h", "/v1beta/models/g:generateContent", None),
        ("gemini", "https://h/v1beta", "/v1beta/models/g:generateContent", None),
        ("gemini", "https://h", "/v1/models/g:generateContent", None),
        ("gemini", "https://h", "/v1/projects/p/locations/l/publishers/google/models/g:x", None),
        ("gemini", "https://h/x", "/v1beta/models/g:x", "/x/v1beta/models/g:x"),
    ],
)
@pytest.mark.parametrize("query", ["", "alt=sse", "a=%2f&b=?"])
def test_addresses(dialect: str, base_url: str, path: str, wanted: str | None, query: str) -> None:
    """`base_url` is what the vendor's own SDK takes; None: the path as it is."""
    found = endpoint(dialect, base_url).address(path, query)
    assert found == (wanted or path) + (f"?{query}" if query else "")


def test_bytes_of_a_path_stay() -> None:
    """No decoding, no normalising: what the client wrote is what the provider gets."""
    here = endpoint("openai", "https://h/v1")
    path = "/v1/files/a%2Fb/%e9//x;y=1"
    assert here.address(path, "q=%20+&&") == path + "?q=%20+&&"
    line, _ = sent(here.head("GET", here.address("/v1/\udce9"), inbound()))
    assert line == "GET /v1/\xe9 HTTP/1.1"


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://h.example/v1", "h.example"),
        ("https://h.example:443/v1", "h.example"),
        ("https://h.example:8443/v1", "h.example:8443"),
        ("http://h.example/v1", "h.example"),
        ("http://h.example:443/v1", "h.example:443"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("http://H.Example/v1", "h.example"),
    ],
)
def test_host(base_url: str, host: str) -> None:
    _, lines = sent(endpoint("openai", base_url).head("GET", "/", inbound()))
    assert lines[0] == f"Host: {host}"


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        ("bearer", "Authorization: Bearer sk-1"),
        ("x-api-key", "x-api-key: sk-1"),
        ("api-key", "api-key: sk-1"),
        ("x-goog-api-key", "x-goog-api-key: sk-1"),
    ],
)
def test_credential(auth: str, line: str) -> None:
    here = endpoint("openai", "https://h", auth=auth)
    _, lines = sent(here.head("GET", "/", inbound((b"Authorization", b"Bearer theirs"))))
    assert lines == ["Host: h", line]


def test_no_credential() -> None:
    keyless = Provider("p", "openai", (Credential("c", "p", "http://h"),))
    (here,) = Endpoints([keyless]).by_credential.values()
    assert sent(here.head("GET", "/", inbound())) == ("GET / HTTP/1.1", ["Host: h"])


def test_headers_of_the_provider_replace_the_clients() -> None:
    here = endpoint("openai", "https://h", headers={"X-Team": "ours"})
    theirs = [(b"x-team", b"theirs"), (b"X-Gone", b"1"), (b"X-Other", b"2")]
    _, lines = sent(here.head("GET", "/", inbound(*theirs), frozenset([b"x-gone"])))
    assert lines[1:] == ["X-Team: ours", "Authorization: Bearer sk-1", "X-Other: 2"]


def test_each_credential_has_connections_of_its_own() -> None:
    """A connection that was opened with one key never carries another."""
    credentials = tuple(Credential(name, "p", "http://h") for name in ("a", "b", "c"))
    endpoints = Endpoints([Provider("p", "openai", credentials)])
    assert [*endpoints.by_credential] == ["a", "b", "c"]
    assert len({id(pool) for pool in endpoints.pools}) == 3


def test_contexts_are_shared_by_those_that_verify_alike() -> None:
    first, second = provider("openai", "https://a"), provider("openai", "https://b")
    endpoints = Endpoints([first])
    assert endpoints._context(None) is endpoints._context(None)
    assert endpoints._context(Tls()) is not endpoints._context(None)
    assert Endpoints([second])._context(None) is not endpoints._context(None)


def pool(setting: str | None, base_url: str) -> Pool:
    return endpoint("openai", base_url, proxy=setting).pool


def test_proxy() -> None:
    """Told the whole address for plain HTTP; a tunnel, and so the path alone, for HTTPS."""
    plain = endpoint("openai", "http://h.example/v1", proxy="http://proxy:3128")
    assert plain.pool.proxy == Origin(False, "proxy", 3128, "")
    assert plain.address("/v1/models", "a=b") == "http://h.example/v1/models?a=b"
    secure = endpoint("openai", "https://h.example/v1", proxy="http://proxy:3128")
    assert secure.pool.proxy == plain.pool.proxy
    assert secure.address("/v1/models") == "/v1/models"


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://h.example/v1", "secure"),
        ("http://h.example/v1", "plain"),
        ("https://inside.example/v1", None),
        ("https://deep.inside.example/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_proxy_of_the_environment(
    base_url: str, host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:1")
    monkeypatch.setenv("http_proxy", "http://plain:2")
    monkeypatch.setenv("NO_PROXY", "inside.example,127.0.0.1")
    found = pool("environment", base_url).proxy
    assert (found.host if found else None) == host
    assert pool(None, base_url).proxy is None
