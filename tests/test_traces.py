"""The records of finished calls."""

from routeur.call import Attempt, Call
from routeur.dialects.base import Usage
from routeur.traces import Traces, record, shown


def test_the_oldest_falls_out():
    traces = Traces(keep=2)
    first, second, third = Call(), Call(), Call()
    for call in (first, second, third):
        traces.add(call)

    assert traces.get(first.id) is None
    assert traces.get(second.id) is second
    assert traces.get(third.id) is third
    assert len(traces) == 2


def test_a_call_is_kept_once():
    traces = Traces(keep=2)
    call, other = Call(), Call()
    for each in (call, call, other):
        traces.add(each)

    assert traces.get(call.id) is call
    assert traces.get(other.id) is other


def test_only_the_trace_id_finds_a_call():
    traces = Traces()
    call = Call(request_id="req_1")
    traces.add(call)

    assert traces.get("req_1") is None


def test_shape():
    call = Call(
        id="tr_1",
        started=100.0,
        started_at=1767225600.25,
        dialect="openai",
        request_id="req_1",
        key="master",
        requested_model="fast",
        stream=True,
        provider="azure",
        provider_dialect="openai",
        credential="azure.us",
        model="gpt-4o",
        reason="alias:fast",
        attempts=[
            Attempt("azure/gpt-4o", "azure.eu", status=503, ms=40.0, error="overloaded"),
            Attempt("azure/gpt-4o", "azure.us", status=200, ms=459.5, sent=100.0405),
        ],
        status=200,
        sent=100.0405,
        first_byte=100.2,
        first_token=100.3,
        ended=100.5,
        usage=Usage(input=10, cache_read=5, output=7),
        cost_usd=0.25,
    )

    assert shown(record(call)) == {
        "id": "tr_1",
        "request_id": "req_1",
        "provider": "azure",
        "credential": "azure.us",
        "model": "gpt-4o",
        "requested_model": "fast",
        "dialect_in": "openai",
        "dialect_out": "openai",
        "route_reason": "alias:fast",
        "choice": None,
        "attempts": [
            {
                "target": "azure/gpt-4o",
                "credential": "azure.eu",
                "status": 503,
                "ms": 40.0,
                "error": "overloaded",
            },
            {
                "target": "azure/gpt-4o",
                "credential": "azure.us",
                "status": 200,
                "ms": 459.5,
                "error": None,
            },
        ],
        "status_code": 200,
        "started_at": "2026-01-01T00:00:00.250Z",
        "first_byte_ms": 200.0,
        "first_token_ms": 300.0,
        "latency_ms": 500.0,
        "overhead_ms": 0.5,
        "stream": True,
        "usage": {
            "input": 10,
            "cache_read": 5,
            "cache_write": 0,
            "cache_write_1h": 0,
            "output": 7,
            "reasoning": 0,
            "audio_in": 0,
            "audio_out": 0,
            "image_in": 0,
            "image_out": 0,
            "input_total": 15,
            "output_total": 7,
        },
        "cost_usd": 0.25,
        "estimated": False,
        "dropped": [],
        "key": "master",
    }


def test_what_did_not_happen_is_null():
    found = shown(record(Call(status=404, ended=0.0)))

    for name in ("first_byte_ms", "first_token_ms", "latency_ms", "overhead_ms", "usage", "key"):
        assert found[name] is None
    assert found["attempts"] == []
