"""Whose key it is, in whatever way it comes, and what is local enough to do without one."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from routeur import keys
from routeur.errors import ClientError, Forbidden, Unauthorized
from routeur.keys import OPEN, OPEN_INFERENCE, Keys
from routeur.providers import Secret

MASTER, MANAGE = Secret("m" * 20), Secret("g" * 20)


@pytest.mark.parametrize(
    ("carried", "query", "key"),
    [
        ([], "", None),
        ([], "alt=sse", None),
        ([b"Bearer k"], "", b"k"),
        ([b"bEARER   k "], "", b"k"),
        ([b"k"], "", b"k"),
        ([b" k"], "", b"k"),
        ([], "key=k", b"k"),
        ([], "alt=sse&key=k", b"k"),
        ([], "key=a%2Fb+c", b"a/b c"),
        ([], "monkey=k", None),
        ([b"Bearer "], "", None),
        ([b""], "", None),
        ([b"Bearer k", b"k"], "key=k", b"k"),
    ],
)
def test_presented(carried: list[bytes], query: str, key: bytes | None) -> None:
    assert keys.presented(carried, query) == key


@pytest.mark.parametrize(
    ("carried", "query"),
    [
        ([b"Bearer a", b"b"], ""),
        ([b"Bearer a", b"Bearer b"], ""),
        ([b"a"], "key=b"),
        ([], "key=a&key=b"),
    ],
)
def test_two_different_keys(carried: list[bytes], query: str) -> None:
    with pytest.raises(ClientError, match="two different keys"):
        keys.presented(carried, query)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", ""),
        ("alt=sse", "alt=sse"),
        ("key=k", ""),
        ("key=k&alt=sse", "alt=sse"),
        ("a=%2f&key=k&b=+", "a=%2f&b=+"),
        ("%6bey=k&a=b", "a=b"),
        ("keys=a&monkey=b&KEY=c", "keys=a&monkey=b&KEY=c"),
    ],
)
def test_query_without_the_key(query: str, kept: str) -> None:
    assert keys.without_key(query) == kept


@pytest.mark.parametrize(
    ("master", "management", "given", "caller"),
    [
        (None, None, None, (None, True, True)),
        (None, None, b"any", (None, True, True)),
        (None, MANAGE, None, (None, True, False)),
        (None, MANAGE, b"any", (None, True, False)),
        (None, MANAGE, b"g" * 20, ("management", False, True)),
        (MASTER, None, b"m" * 20, ("master", True, True)),
        (MASTER, MANAGE, b"m" * 20, ("master", True, False)),
        (MASTER, MANAGE, b"g" * 20, ("management", False, True)),
    ],
)
def test_identify(
    master: Secret | None, management: Secret | None, given: bytes | None, caller: tuple[Any, ...]
) -> None:
    found = Keys(master, management).identify(given)
    assert (found.name, found.infers, found.manages) == caller


@pytest.mark.parametrize("given", [None, b"", b"m", b"m" * 19, b"m" * 21, b"M" * 20, b"\xff"])
def test_wrong(given: bytes | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        Keys(MASTER, MANAGE).identify(given)
    assert "m" * 20 not in caught.value.message
    assert caught.value.status == 401


def test_open() -> None:
    assert Keys(None, None).open
    assert Keys(None, MANAGE).open
    assert not Keys(MASTER, None).open
    assert OPEN.manages
    assert not OPEN_INFERENCE.manages


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that are known, wherever the right one stands."""
    compared = []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return hmac_compare(known, given)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    known = Keys(MASTER, MANAGE)
    for given in (b"m" * 20, b"g" * 20):
        known.identify(given)
    with pytest.raises(Unauthorized):
        known.identify(b"wrong")
    assert compared == [b"m" * 20, b"g" * 20] * 3


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.8.9.1:1",
        "[::1]",
        "[::1]:8080",
        "app.localhost:80",
        "",
    ],
)
def test_local_hosts(host: str) -> None:
    keys.require_local(host, None)
    if host:
        keys.require_local("localhost", f"http://{host}")


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:8080",
        "localhost.example.org",
        "notlocalhost",
        "127.0.0.1.nip.io",
        "127.0.0.1.example.org:80",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::2]:80",
        "[fe80::1]",
        "[::1].example.org",
        "[::1]x",
        "::1x",
        ":80",
        "localhost@example.org",
        "user:pw@localhost",
        "example.org#@localhost",
    ],
)
def test_foreign_hosts(host: str) -> None:
    with pytest.raises(Forbidden, match="localhost"):
        keys.require_local(host, None)
    with pytest.raises(Forbidden, match="website"):
        keys.require_local("localhost", f"http://{host}")


@pytest.mark.parametrize("origin", ["null", "", "file://", "http://[", "localhost", "x:localhost"])
def test_odd_origins(origin: str) -> None:
    with pytest.raises(Forbidden):
        keys.require_local("localhost", origin)
