"""What is counted, and how it is shown."""

import asyncio
import json
import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from routeur.call import Attempt, Call
from routeur.dialects.base import Usage
from routeur.metrics import KINDS, Figures, Metrics, merge, outcome, render

NAMES = {
    "routeur_requests",
    "routeur_request_duration_seconds",
    "routeur_time_to_first_token_seconds",
    "routeur_overhead_seconds",
    "routeur_chunk_delay_seconds",
    "routeur_inflight",
    "routeur_tokens",
    "routeur_cost_usd",
    "routeur_attempts",
    "routeur_stream_aborts",
    "routeur_credential_banned",
    "routeur_event_loop_lag_seconds",
}


def samples(metrics):
    """Name and labels of each sample → its value, as a scraper reads them."""
    text, content_type = render(metrics.snapshot())
    assert content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def a_call(model="gpt-4o", **facts):
    call = Call(provider="openai", model=model, dialect="openai", status=200, started=10.0)
    call.sent, call.first_byte, call.ended = 10.0002, 10.2, 11.0
    call.attempts = [Attempt(f"openai/{model}", "openai", status=200, ms=999.0)]
    for name, value in facts.items():
        setattr(call, name, value)
    return call


def finish(metrics, *calls):
    for _ in calls:
        metrics.started()
        metrics.finished()
    metrics.count(calls)


def test_a_quiet_server_shows_every_name():
    text, _ = render(Metrics({}).snapshot())
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}

    assert set(families) == NAMES
    assert all(family.documentation for family in families.values())


def test_a_call_is_counted_everywhere():
    metrics = Metrics({"openai": ["gpt-4o"]}, ["openai"])
    finish(
        metrics,
        a_call(stream=True, first_token=10.3, usage=Usage(input=3, output=4), cost_usd=0.5),
    )
    seen = samples(metrics)

    labels = (
        ("dialect", "openai"),
        ("model", "gpt-4o"),
        ("provider", "openai"),
        ("status", "200"),
    )
    assert seen["routeur_requests_total", labels] == 1
    assert seen["routeur_request_duration_seconds_sum", ()] == 1.0
    assert seen["routeur_request_duration_seconds_bucket", (("le", "0.5"),)] == 0
    assert seen["routeur_request_duration_seconds_bucket", (("le", "1.0"),)] == 1
    assert seen["routeur_request_duration_seconds_bucket", (("le", "+Inf"),)] == 1
    assert seen["routeur_time_to_first_token_seconds_count", ()] == 1
    assert seen["routeur_overhead_seconds_bucket", (("le", "0.00025"),)] == 1
    assert seen["routeur_tokens_total", (("kind", "input"),)] == 3
    assert seen["routeur_tokens_total", (("kind", "output"),)] == 4
    assert seen["routeur_tokens_total", (("kind", "cache_read"),)] == 0
    assert seen["routeur_cost_usd_total", ()] == 0.5
    assert seen["routeur_attempts_total", (("outcome", "ok"),)] == 1
    assert seen["routeur_stream_aborts_total", (("by", "client"),)] == 0
    assert seen["routeur_credential_banned", (("credential", "openai"),)] == 0


def test_all_kinds_of_tokens_are_shown():
    seen = samples(Metrics({}))
    assert {labels[0][1] for name, labels in seen if name == "routeur_tokens_total"} == set(KINDS)


def test_invented_names_add_no_series(monkeypatch):
    monkeypatch.setattr("routeur.metrics.REMEMBERED", 100)
    metrics = Metrics({"openai": ["gpt-4o"]})
    finish(metrics, a_call(), a_call("first-invention"))
    before = samples(metrics)

    finish(metrics, *(a_call(f"invention-{n}") for n in range(500)))
    finish(metrics, *(a_call(provider=f"provider-{n}") for n in range(2)))
    finish(metrics, a_call(dialect="x", status=999), a_call(dialect="y", status=1000))
    seen = samples(metrics)

    added = set(seen) - set(before)
    assert {dict(labels)["provider"] for _, labels in added} == {"other", "openai"}
    assert len(added) == 2
    assert len(metrics._bound) <= 100


def test_another_configuration():
    metrics = Metrics({"openai": ["gpt-4o"]}, ["openai"])
    finish(metrics, a_call())
    metrics.configure({"openai": ["gpt-5"]}, ["openai.eu"])
    finish(metrics, a_call(), a_call("gpt-5"))
    shot = metrics.snapshot()

    assert [(model, count) for _, model, _, _, count in shot["requests"]] == [
        ("gpt-4o", 1),
        ("other", 1),
        ("gpt-5", 1),
    ]
    assert shot["banned"] == {"openai.eu": 0}


def test_a_call_that_reached_nobody():
    metrics = Metrics({"openai": ["gpt-4o"]})
    finish(metrics, Call(dialect="anthropic", status=404, started=1.0, ended=1.0))
    (labels,) = [
        dict(labels) for name, labels in samples(metrics) if name == "routeur_requests_total"
    ]

    assert labels == {
        "provider": "none",
        "model": "none",
        "dialect": "anthropic",
        "status": "404",
    }


def test_inflight():
    metrics = Metrics({})
    metrics.started()
    metrics.started()
    metrics.finished()

    assert samples(metrics)["routeur_inflight", ()] == 1


def test_aborts_are_of_streams():
    metrics = Metrics({})
    finish(
        metrics,
        a_call(stream=True, aborted_by="client", status=499),
        a_call(stream=True, aborted_by="upstream"),
        a_call(stream=False, aborted_by="client", status=499),
    )
    seen = samples(metrics)

    assert seen["routeur_stream_aborts_total", (("by", "client"),)] == 1
    assert seen["routeur_stream_aborts_total", (("by", "upstream"),)] == 1


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (200, None, "ok"),
        (200, "an error as the first event", "failed"),
        (0, "connection refused", "failed"),
        (0, None, "abandoned"),
        (400, "bad request", "rejected"),
        (401, None, "auth"),
        (403, "forbidden", "auth"),
        (429, None, "rate_limited"),
        (503, "overloaded", "server_error"),
    ],
)
def test_outcomes(status, error, expected):
    assert outcome(status, error is None) == expected


async def test_attempts_that_fail_are_counted(make_router, upstream):
    """Each for itself: an error's answer, what is no answer, and the one that went well."""
    names = ("a", "b", "c", "d")
    credentials = [{"name": name, "api_key": "k"} for name in names]
    openai = {"api_key": None, "credentials": credentials}
    router = await make_router(providers={"openai": openai}, retries={"attempts": 4})
    upstream.answers(b"{}", status=503)
    upstream.answers(b"{}", status=429)
    upstream.answers(b"<html>", headers={"Content-Type": "text/html"})
    upstream.answers(b'{"object": "chat.completion"}')
    answer = await router.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": []})
    assert answer.status == 200
    await answer.read()
    text = await (await router.get("/metrics")).text()
    counted = dict(re.findall(r'routeur_attempts_total{outcome="(\w+)"} (\d+)', text))

    assert {outcome: n for outcome, n in counted.items() if n != "0"} == {
        "server_error": "1",
        "rate_limited": "1",
        "failed": "1",
        "ok": "1",
    }


def test_chunk_delay():
    metrics = Metrics({})
    metrics.chunk_delay(0.00007)

    assert samples(metrics)["routeur_chunk_delay_seconds_bucket", (("le", "0.0001"),)] == 1


def test_processes_are_merged():
    one, two = (Metrics({"openai": ["gpt-4o"]}, ["openai"]) for _ in range(2))
    finish(one, a_call(cost_usd=1.0), a_call(status=500))
    finish(two, a_call(cost_usd=2.0, usage=Usage(output=5)))
    two.started()

    total = merge(json.loads(json.dumps([one.snapshot(), two.snapshot()])))

    assert sorted(total["requests"]) == [
        ["openai", "gpt-4o", "openai", "200", 2],
        ["openai", "gpt-4o", "openai", "500", 1],
    ]
    assert total["cost_usd"] == 3.0
    assert total["tokens"]["output"] == 5
    assert total["inflight"] == 1
    assert total["banned"] == {"openai": 0}
    assert sum(total["histograms"]["routeur_request_duration_seconds"]["counts"]) == 3
    assert b'routeur_attempts_total{outcome="ok"} 3.0' in render(total)[0]


def test_banned_credentials():
    """Those that any worker has banned; others are not shown."""
    one, two = (Metrics({}, ["openai", "google"]) for _ in range(2))
    total = merge([one.snapshot(["openai"]), two.snapshot(["gone"])])

    assert total["banned"] == {"openai": 1, "google": 0}
    assert b'routeur_credential_banned{credential="openai"} 1.0' in render(total)[0]


def test_merging_one_changes_nothing():
    metrics = Metrics({"openai": ["gpt-4o"]}, ["openai"])
    finish(metrics, a_call(usage=Usage(input=1), cost_usd=0.1))

    assert merge([metrics.snapshot()]) == metrics.snapshot()


def test_no_counter_of_workers_goes_back():
    """One that is late counts as when it was heard of last, one that has died for ever."""
    one, two = (Metrics({"openai": ["gpt-4o"]}, ["openai"]) for _ in range(2))
    finish(one, a_call(cost_usd=1.0), a_call(cost_usd=1.0))
    finish(two, a_call(cost_usd=4.0))
    one.started()
    figures = Figures()
    figures.note(1, one.snapshot(["openai"]))
    figures.note(2, two.snapshot())
    figures.note(2, two.snapshot())
    assert figures.sum() == merge([one.snapshot(["openai"]), two.snapshot()])

    figures.gone(1)
    figures.gone(7)  # died before it had said anything
    total = figures.sum()

    assert total["requests"] == [["openai", "gpt-4o", "openai", "200", 3]]
    assert total["cost_usd"] == 6.0
    assert (total["inflight"], total["banned"]) == (0, {"openai": 0})


async def test_a_blocked_event_loop_is_seen(monkeypatch):
    monkeypatch.setattr("routeur.metrics._LAG_EVERY", 0.01)
    metrics = Metrics({})
    metrics.start()
    time.sleep(0.05)  # noqa: ASYNC251 - the blocking is what is measured
    await asyncio.sleep(0)  # the loop comes round and looks
    await asyncio.sleep(0)
    metrics.stop()

    assert metrics.snapshot()["lag"] > 0.02
