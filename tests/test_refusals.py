"""Errors of providers: whose fault they are, and whether waiting helps."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import orjson
import pytest

from routeur.dialects.inflate import inflate
from routeur.dialects.refusals import Refusal, read_refusal, refusal_of, status_of
from tests.recording import HERE, Recording, answers, recording

DOCUMENTED: list[dict[str, Any]] = json.loads(
    (HERE / "errors" / "documented-errors.json").read_text()
)["bodies"]
BODIES = [each for each in DOCUMENTED if "body" in each]
RECORDED = [each for each in answers() if each.status >= 400]


def documented(dialect: str, status: int, number: int = 0) -> tuple[str, int, bytes]:
    """One of the documented errors, as arguments of read_refusal; some have several a status."""
    known = [each for each in BODIES if (each["dialect"], each["status"]) == (dialect, status)]
    return dialect, status, orjson.dumps(known[number]["body"])


def openai(**error: object) -> bytes:
    return orjson.dumps({"error": {"message": "m", "param": None, **error}})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (documented("anthropic", 401), Refusal(ours=True, code="authentication_error")),
        (documented("anthropic", 403), Refusal(ours=True, code="permission_error")),
        (documented("anthropic", 404), Refusal(code="not_found_error")),
        (documented("anthropic", 429), Refusal(code="rate_limit_error")),
        (
            documented("anthropic", 429, 1),
            Refusal(exhausted=True, code="enforced_spend_limit_reached"),
        ),
        (documented("anthropic", 529), Refusal(code="overloaded_error")),
        (documented("openai", 401), Refusal(ours=True, code="invalid_api_key")),
        (documented("openai", 429), Refusal(code="rate_limit_exceeded")),
        (
            documented("openai", 429, 1),
            Refusal(exhausted=True, code="insufficient_quota"),
        ),
        (documented("openai", 503), Refusal(code="server_error")),
        (documented("azure-openai", 429), Refusal(code="429")),
        (documented("gemini", 503), Refusal(code="UNAVAILABLE")),
        (documented("gemini", 400), Refusal(code="INVALID_ARGUMENT")),  # an array of one
    ],
)
def test_documented_errors(error: tuple[str, int, bytes], expected: Refusal) -> None:
    assert read_refusal(*error) == expected


@pytest.mark.parametrize("recorded", RECORDED, ids=str)
def test_recorded_errors(recorded: Recording) -> None:
    """A recorded 4xx is about our credential if its status says so, and nobody is out of money."""
    found = read_refusal(recorded.dialect, recorded.status, recorded.body)

    assert found.ours == (recorded.status in (401, 402, 403))
    assert not found.exhausted


def test_gemini_says_with_a_400_that_the_key_is_wrong() -> None:
    body = recording("unary-failure-api-key.json").body
    expected = Refusal(ours=True, code="API_KEY_INVALID")

    assert read_refusal("gemini", 400, body) == expected
    assert read_refusal("gemini", 400, b"[" + body + b"]") == expected
    assert read_refusal("openai", 400, body) == expected  # Google's OpenAI endpoint
    assert status_of(orjson.loads(body)) == 400


def test_gemini_says_how_long_to_wait() -> None:
    found = read_refusal("gemini", 429, recording("google-429-retry-info.json").body)

    assert found == Refusal(wait=34.4, code="RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(
    ("delay", "wait"),
    [
        ("34s", 34),
        ("1.5s", 1.5),
        ("0.000000001s", 1e-9),
        ("0s", 0),
        ("-1s", None),
        ("34", None),
        ("1e9s", None),
        ("NaNs", None),
        ("99999999999s", None),
        (34, None),
        (None, None),
        ({"seconds": 3}, None),
    ],
)
def test_forms_of_a_delay(delay: object, wait: float | None) -> None:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    body = orjson.dumps({"error": {"code": 429, "details": [{"@type": kind, "retryDelay": delay}]}})

    assert read_refusal("gemini", 429, body).wait == wait


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
    ],
)
def test_accounts_without_money(code: str) -> None:
    body = openai(type="insufficient_quota", code=code)
    assert read_refusal("openai", 429, body) == Refusal(exhausted=True, code=code)
    assert read_refusal("openai", 429, openai(type=code, code=None)).exhausted
    assert not read_refusal("openai", 429, openai(type="requests", message=code)).exhausted


def test_402_is_our_account() -> None:
    body = b'{"error": {"code": 402, "message": "m", "status": "RESOURCE_EXHAUSTED"}}'
    expected = Refusal(ours=True, exhausted=True, code="RESOURCE_EXHAUSTED")

    assert read_refusal("gemini", 402, body) == expected
    assert read_refusal("openai", 402, b"").exhausted


@pytest.mark.parametrize(
    ("message", "ours"),
    [
        ("Your credit balance is too low to access the Anthropic API. Please go to Plans", True),
        ("You have reached your specified API usage limits. You will regain access", True),
        ("You have reached your specified workspace API usage limits.", True),
        ("messages.0: Your credit balance is too low", False),
    ],
)
def test_anthropic_says_some_of_it_in_words(message: str, ours: bool) -> None:
    error = {"type": "invalid_request_error", "message": message}
    body = orjson.dumps({"type": "error", "error": error})
    found = read_refusal("anthropic", 400, body)

    assert (found.ours, found.exhausted) == (ours, ours)
    assert not read_refusal("openai", 400, body).ours


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>403 Forbidden</h1></html>",
        b"upstream connect error or disconnect/reset before headers",
        b"null",
        b"[]",
        b"[[]]",
        b'"text"',
        b"{}",
        b'{"error": null}',
        b'{"error": "overloaded"}',
        b'{"error": []}',
        b'{"error": {"code": null, "type": 5.5, "status": {}, "details": "x"}}',
        b'{"error": {"code": "not a name", "type": ""}}',
        b'{"error": {"code": "%b"}}' % (b"x" * 65),
        b'{"error": {"type": "\xff"}}',
        b"[" * 100_000,
        b"\x1f\x8b\x08",
    ],
)
def test_bodies_that_say_nothing(body: bytes) -> None:
    assert read_refusal("openai", 500, body) == Refusal()
    assert read_refusal("anthropic", 403, body) == Refusal(ours=True)
    assert read_refusal("gemini", 429, body, b"gzip") == Refusal()
    assert read_refusal("gemini", 429, body, b"br") == Refusal()


def test_half_a_body_still_says_it() -> None:
    _, _, whole = documented("openai", 429, 1)
    assert read_refusal("openai", 429, whole[:-2]).exhausted
    _, _, whole = documented("anthropic", 429, 1)
    assert read_refusal("anthropic", 429, whole[:-3]).code == "enforced_spend_limit_reached"
    for name, expected in (
        ("unary-failure-api-key.json", Refusal(ours=True, code="API_KEY_INVALID")),
        ("google-429-retry-info.json", Refusal(wait=34.4, code="RESOURCE_EXHAUSTED")),
    ):
        assert read_refusal("gemini", 400, recording(name).body.rstrip()[:-3]) == expected


def test_an_error_after_a_long_text_is_cut_but_read() -> None:
    body = b'{"error": {"code": "insufficient_quota", "message": "%b"}}' % (b"x" * 10_000_000)
    assert read_refusal("openai", 429, body).exhausted


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "raw deflate"])
def test_compressed_bodies(coding: str) -> None:
    dialect, status, body = documented("openai", 429, 1)
    raw = zlib.compressobj(wbits=-15)
    pack = {
        "deflate": zlib.compress(body),
        "raw deflate": raw.compress(body) + raw.flush(),
    }.get(coding, gzip.compress(body))
    header = coding.split()[-1].upper().encode()

    assert inflate(pack, header, 1000) == body
    assert read_refusal(dialect, status, pack, header).exhausted
    assert inflate(pack[:20], header, 1000) == body[: len(inflate(pack[:20], header, 1000))]


def test_a_bomb_costs_what_is_read_of_it() -> None:
    bomb = gzip.compress(b'{"error": {"code": "x"}, "a": "' + bytes(50_000_000))

    assert len(inflate(bomb, b"gzip", 64 * 1024)) == 64 * 1024
    assert read_refusal("openai", 500, bomb, b"gzip").code == "x"


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, 529),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, 429),
        ({"type": "error", "code": "server_error", "message": "m"}, 500),  # Responses: flat
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, 429),
        ({"error": {"code": 503, "status": "UNAVAILABLE"}}, 503),
        ([{"error": {"code": 400, "status": "INVALID_ARGUMENT"}}], 400),
        ({"error": {"code": "502", "message": "m"}}, 502),  # OpenRouter and others: a number
        ({"object": "error", "code": 404, "message": "m"}, 404),  # vLLM
        ({"error": {"type": "invalid_request_error", "code": "invalid_api_key"}}, 401),
        ({"error": {"type": "invalid_request_error", "code": "new_code"}}, 400),
        ({"error": {"type": "insufficient_quota", "code": "project_spend_limit_exceeded"}}, 429),
        ({"error": {"status": "DEADLINE_EXCEEDED"}}, 504),
        ({"error": "overloaded"}, 502),
        ({"error": {"code": 200}}, 502),
        ({"error": {"code": True}}, 502),
        (None, 502),
    ],
)
def test_the_status_an_error_in_a_stream_stands_for(document: object, status: int) -> None:
    assert status_of(document) == status


def test_an_error_in_a_stream_can_be_about_our_credential() -> None:
    document = {"type": "error", "error": {"type": "authentication_error", "message": "m"}}

    assert refusal_of("anthropic", status_of(document), document).ours
