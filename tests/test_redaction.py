"""Secrets are found however they are spelled."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.redaction import Redactor, is_secret, presented

KEY = "sk-proj-Ab3_xY9-0123456789"
ODD = 'p/w+d"=\\%zq&?r'


def spellings(secret: str) -> list[str]:
    """How a secret may stand in a text."""
    raw = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        quote(quote(secret, safe=""), safe=""),
        "".join(f"%{byte:02x}" for byte in raw),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        "".join(f"\\u{byte:04x}" for byte in raw),
        "".join(f"\\\\u{byte:04X}" for byte in raw),
        quote(json.dumps(secret), safe=""),
        *(b64encode(b"user:x"[:n] + raw + b":"[: n % 2]).decode() for n in range(6)),
        *(urlsafe_b64encode(b"{'a"[:n] + raw).decode() for n in range(3)),
        quote(b64encode(b"{" + raw + b"}").decode(), safe=""),
    ]


def holds(text: bytes, secret: str) -> bool:
    return any(each.strip("=").encode()[6:-6] in text for each in spellings(secret))


@pytest.mark.parametrize("secret", [KEY, ODD])
@pytest.mark.parametrize("number", range(len(spellings(KEY))))
def test_every_spelling(secret: str, number: int) -> None:
    text = spellings(secret)[number].encode()
    for body in (text, b'{"a":"' + text + b'","b":"' + text + b'"}', b"x" * 99 + text + b"%25 \\n"):
        cleaned = Redactor([secret.encode()]).clean(body)

        assert b"***" in cleaned
        assert not holds(cleaned, secret), cleaned


@given(st.binary(max_size=300))
def test_what_holds_no_secret_stays(data: bytes) -> None:
    assert Redactor([KEY.encode()]).clean(data) == data or b"key" in data or b"rtr_" in data


def test_one_within_another() -> None:
    both = Redactor([KEY.encode(), KEY[:12].encode()])

    assert both.clean(KEY.encode()) == b"***"
    assert Redactor([KEY[:12].encode()]).knowing([KEY.encode()]).clean(KEY.encode()) == b"***"


def test_short_ones_are_no_secrets() -> None:
    assert Redactor([b"", b"none"]).clean(b'{"tool_choice":"none"}') == b'{"tool_choice":"none"}'


def test_virtual_keys_that_nobody_has_presented() -> None:
    key = b"rtr_live_Zm9vYmFyYmF6cXV4"
    for text in (key, b64encode(key), b64encode(b"a" + key), b64encode(b"ab" + key)):
        assert Redactor([]).clean(text) != text
        assert text[12:] not in Redactor([]).clean(text)
    assert Redactor([]).clean(key + b" is mine") == b"*** is mine"
    assert Redactor([]).clean("rtr_live_ab…yz".encode()) == "rtr_live_ab…yz".encode()  # a label


def test_keys_in_addresses() -> None:
    text = rb'{"url": "https://h/v1?alt=sse&key=AIza123","next":"/x?key=AIza456\u0026page=2"}'
    assert Redactor([]).clean(text) == text.replace(b"AIza123", b"***").replace(b"AIza456", b"***")


def test_a_text_that_breaks_off() -> None:
    redactor = Redactor([KEY.encode()])

    assert redactor.clean(b"it is " + KEY[:9].encode(), whole=False) == b"it is ***"
    assert redactor.clean(b"it is", whole=False) == b"it is"


def test_headers() -> None:
    fields = [
        (b"Authorization", b"Bearer " + KEY.encode()),
        (b"X-Amz-Security-Token", b"t"),
        (b"Referer", b"https://h/?k=" + KEY.encode()),
        (b"Via", b"a"),
        (b"via", b"b"),
    ]
    assert Redactor([KEY.encode()]).headers(fields) == {
        "authorization": "***",
        "x-amz-security-token": "***",
        "referer": "https://h/?k=***",
        "via": "a, b",
    }


@pytest.mark.parametrize(
    "name", b"Authorization x-api-key X-Goog-Api-Key api-key cookie Proxy-Authorization".split()
)
def test_names_of_secrets(name: bytes) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", b"idempotency-key x-ratelimit-remaining-tokens accept".split())
def test_other_names(name: bytes) -> None:
    assert not is_secret(name)


def test_what_headers_present() -> None:
    signed = b"AWS4-HMAC-SHA256 Credential=AKIA1/2026, Signature=abcdef"
    found = {
        *presented([(b"authorization", b"Bearer " + KEY.encode())]),
        *presented([(b"Cookie", b"a=first-one; b=second-one")]),
        *presented([(b"authorization", signed)]),
        *presented([(b"accept", b"text/html")]),
    }

    assert {KEY.encode(), b"first-one", b"second-one", b"AKIA1/2026", b"abcdef"} <= found
    assert b"Bearer" not in found and b"text/html" not in found


@pytest.mark.parametrize("unit", [b"\\", b"%", b"%25", b"\\u00", b"s\\", b"?key=", b"rtr_live_"])
def test_no_text_takes_long(unit: bytes) -> None:
    """It would take hours with an expression whose time grows with the square of a run."""
    data = unit * (288 * 1024 // len(unit)) + KEY.replace("s", "%73").encode()

    assert Redactor([KEY.encode()]).clean(data).endswith(b"***")
