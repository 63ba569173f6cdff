"""The header policy as one table, in both directions."""

from __future__ import annotations

import pytest

from routeur import headers
from routeur.headers import SESSIONS, Inbound
from tests.test_upstream import Line, Sink

REQUEST = {
    # between two hops only
    "Connection": False,
    "Keep-Alive": False,
    "Proxy-Authenticate": False,
    "Proxy-Authorization": False,
    "Proxy-Connection": False,
    "TE": False,
    "Trailer": False,
    "Transfer-Encoding": False,
    "Upgrade": False,
    # written anew
    "Content-Length": False,
    "Expect": False,
    "Host": False,
    # who the client is
    "Authorization": False,
    "x-api-key": False,
    "x-goog-api-key": False,
    "api-key": False,
    "Cookie": False,
    "X-Forwarded-For": False,
    "X-Forwarded-Host": False,
    "x-forwarded-anything": False,
    # to us
    "vendor": False,
    "Routeur-Model": False,
    "routeur-anything": False,
    # all the others
    "Content-Type": True,
    "Content-Encoding": True,
    "Accept": True,
    "Accept-Encoding": True,
    "User-Agent": True,
    "Idempotency-Key": True,
    "OpenAI-Organization": True,
    "OpenAI-Beta": True,
    "anthropic-version": True,
    "anthropic-beta": True,
    "x-goog-user-project": True,
    "X-Request-Id": True,
    "X-Stainless-Lang": True,
    "traceparent": True,
    "tracestate": True,
    "X-Unknown": True,
    "vendors": True,
    "X-Routeur": True,
    "X-Forwarded": True,
    "hosts": True,
}

ANSWER = {
    "Keep-Alive": False,
    "Proxy-Authenticate": False,
    "Proxy-Authorization": False,
    "Proxy-Connection": False,
    "TE": False,
    "Trailer": False,
    "Upgrade": False,
    "Set-Cookie": False,
    "Set-Cookie2": False,
    "Alt-Svc": False,
    "Strict-Transport-Security": False,
    "X-Routeur-Trace-Id": False,
    "x-routeur-anything": False,
    "Retry-After": True,
    "request-id": True,
    "openai-processing-ms": True,
    "anthropic-ratelimit-requests-limit": True,
    "x-ratelimit-remaining-tokens": True,
    "Cache-Control": True,
    "Server": True,
    "Date": True,
    "Vary": True,
    "X-Unknown": True,
    "set-cookies": True,
}


def spellings(name: str) -> list[bytes]:
    return [spelt.encode() for spelt in (name, name.lower(), name.upper(), name.title())]


@pytest.mark.parametrize("name", REQUEST)
def test_to_the_provider(name: str) -> None:
    for spelt in spellings(name):
        line = b"%b: value\r\n" % spelt
        sent = Inbound([(spelt, b"value")]).to_provider(frozenset())
        assert sent == (line if REQUEST[name] else b"")


@pytest.mark.parametrize("name", ANSWER)
def test_to_the_client(name: str) -> None:
    for spelt in spellings(name):
        line = Line()
        sink = line.ask(Sink())
        line.come(b"HTTP/1.1 200 OK\r\n%b: value\r\nContent-Length: 0\r\n\r\n" % spelt)
        assert (b"\r\n%b: value" % spelt in sink.heads[0].passed) is ANSWER[name]


def test_order_spelling_and_repetition_stay() -> None:
    fields = ((b"X-b", b"1"), (b"cookie", b"a=b"), (b"x-A", b"\xff"), (b"X-b", b""))
    assert Inbound(fields).to_provider(frozenset()) == b"X-b: 1\r\nx-A: \xff\r\nX-b: \r\n"


def test_without() -> None:
    fields = ((b"X-Mine", b"1"), (b"x-MINE", b"2"), (b"X-Mined", b"3"))
    sorted_once = Inbound(fields)
    for _ in range(2):
        assert sorted_once.to_provider(frozenset([b"x-mine"])) == b"X-Mined: 3\r\n"
        assert sorted_once.to_provider(frozenset()).count(b"\r\n") == 3


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"close", b"ab"),
        (b"Keep-Alive", b"ab"),
        (b"close, X-A", b"b"),
        (b"X-A ,\tx-b,", b""),
        (b"\xe6\x97\xa5, \xff, x-b", b"a"),
    ],
)
def test_nominated(said: bytes, kept: bytes) -> None:
    """What `Connection` names is between two hops only, whatever else it says."""
    fields = ((b"X-A", b"a"), (b"Connection", said), (b"X-B", b"b"))
    lines = Inbound(fields).to_provider(frozenset()).splitlines()
    assert b"".join(line[-1:] for line in lines) == kept


@pytest.mark.parametrize("id", ["a", "req_1", "a.b:c/d+e=f@g-h_i", "0" * 128])
def test_sane_ids(id: str) -> None:
    assert headers.sane_id(id) == id


@pytest.mark.parametrize(
    "id",
    [None, "", "0" * 129, "a b", "a\nb", "a\n", "a\r\nX: y", "\0", "é", "a;b", 'a"b', "\u0661"],
)
def test_other_ids(id: str | None) -> None:
    assert not headers.sane_id(id)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gpt-4o", b"gpt-4o"),
        ("anthropic/claude x:nitro", b"anthropic/claude x:nitro"),
        ("a\r\nSet-Cookie: b", b"a%0D%0ASet-Cookie: b"),
        ("é\x00\x7f", b"%C3%A9%00%7F"),
    ],
)
def test_names_as_values(name: str, wanted: bytes) -> None:
    assert headers.value(name) == wanted


def test_two_connection_headers_count_both():
    inbound = headers.Inbound(((b"Connection", b"X-A"), (b"connection", b"X-B"), (b"X-B", b"1")))
    assert inbound.to_provider(frozenset()) == b""


@pytest.mark.parametrize("name", SESSIONS)
def test_what_names_a_session_is_read_and_goes_on(name: bytes) -> None:
    inbound = Inbound(((name.title(), b"s1"),))

    assert inbound.word(name) == "s1"
    assert inbound.to_provider(frozenset()) == name.title() + b": s1\r\n"
    assert not inbound.steers
