"""The lines on stderr."""

import asyncio
import io
import json
import logging
import os

import pytest

from routeur.call import Attempt, Call
from routeur.dialects.base import Usage
from routeur.log import Log, quiet_aiohttp
from tests.fake import PATIENCE


class Terminal(io.StringIO):
    def isatty(self):
        return True


def a_call(**facts):
    call = Call(
        id="tr_1",
        request_id="req_1",
        method="POST",
        path="/v1/chat/completions",
        dialect="openai",
        requested_model="fast",
        provider="openai",
        credential="openai",
        model="gpt-4o",
        reason="alias:fast",
        attempts=[Attempt("openai/gpt-4o", "openai", status=200, ms=12.0)],
        status=200,
        stream=True,
        started=10.0,
        first_byte=10.25,
        ended=11.5,
        started_at=1767225600.0,
        usage=Usage(input=8, cache_read=2, output=5),
        cost_usd=0.0125,
        key="master",
    )
    for name, value in facts.items():
        setattr(call, name, value)
    return call


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(call, **how):
    """What a call looks like on a stream."""
    stream = io.StringIO()
    log = Log(stream, **how)
    log.finished(call)
    log.close()
    return stream.getvalue()


def test_a_call_is_one_json_line():
    text = logged(a_call())

    assert text.count("\n") == 1
    assert json.loads(text) == {
        "ts": "2026-01-01T00:00:01.500Z",
        "level": "info",
        "event": "call",
        "id": "tr_1",
        "request_id": "req_1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "dialect": "openai",
        "requested_model": "fast",
        "provider": "openai",
        "credential": "openai",
        "model": "gpt-4o",
        "reason": "alias:fast",
        "attempts": 1,
        "status": 200,
        "stream": True,
        "latency_ms": 1500.0,
        "first_byte_ms": 250.0,
        "input_tokens": 10,
        "output_tokens": 5,
        "estimated": False,
        "cost_usd": 0.0125,
        "key": "master",
        "aborted_by": None,
        "error": None,
    }


def test_no_query_is_logged():
    for format in ("json", "pretty"):
        assert "secret" not in logged(a_call(path="/v1beta/models?key=secret"), format=format)


@pytest.mark.parametrize("format", ["json", "pretty"])
@pytest.mark.parametrize(
    "evil", ["a\nb", "a\r\x1b[2Jb", "a\x9b31mb", "a\u2028b", "a\u202eb", "a\udc80b", "a\x7fb\x00"]
)
def test_control_characters_are_escaped(format, evil):
    text = logged(
        a_call(path=f"/{evil}", requested_model=evil, model=evil, error=evil), format=format
    )

    assert text.endswith("\n")
    assert text[:-1].isprintable()
    if format == "json" and "\udc80" not in evil:
        assert json.loads(text)["error"] == evil


def test_pretty():
    text = logged(a_call(), format="pretty")

    assert "\x1b" not in text
    assert text[8:] == (
        " 200   1.50s  POST /v1/chat/completions      fast → openai/gpt-4o  10 in, 5 out  $0.0125\n"
    )


def test_pretty_says_what_broke():
    text = logged(
        a_call(
            status=499,
            estimated=True,
            aborted_by="client",
            error="reset",
            attempts=[Attempt("a/b", "a"), Attempt("c/d", "c")],
        ),
        format="pretty",
    )

    for shown in (" 499 ", "~10 in, ~5 out", "2 attempts", "broken off by client", "reset"):
        assert shown in text


def test_pretty_of_a_call_that_reached_nobody():
    text = logged(
        Call(method="GET", path="/x", status=404, requested_model="nope"), format="pretty"
    )

    assert text[8:].split() == ["404", "-", "GET", "/x", "nope"]


@pytest.mark.parametrize(
    ("stream", "no_color", "pretty", "coloured"),
    [
        (Terminal(), None, True, True),
        (Terminal(), "1", True, False),
        (io.StringIO(), None, False, False),
    ],
)
def test_auto(stream, no_color, pretty, coloured, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    log = Log(stream)
    log.finished(a_call())
    log.close()

    assert stream.getvalue().startswith("{") != pretty
    assert ("\x1b[32m200\x1b[0m" in stream.getvalue()) == coloured


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["call", "call", "d", "i", "e"]),
        ("info", ["call", "call", "i", "e"]),
        ("warning", ["call", "e"]),
        ("error", ["e"]),
    ],
)
def test_levels(level, expected):
    stream = io.StringIO()
    log = Log(stream, level)
    log.finished(a_call())
    log.finished(a_call(status=502))
    for each in ("debug", "info", "error"):
        log.event(each, each[0], "something happened")
    log.close()

    assert [line["event"] for line in lines(stream)] == expected


def test_events_carry_fields():
    stream, pretty = io.StringIO(), io.StringIO()
    Log(stream).event("warning", "reload", "router.yaml has errors", findings=2)
    Log(pretty, format="pretty").event("warning", "reload", "router.yaml has errors", findings=2)

    (line,) = lines(stream)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "reload",
        "message": "router.yaml has errors",
        "findings": 2,
    }
    assert pretty.getvalue()[8:] == " warning router.yaml has errors  findings=2\n"


async def test_lines_are_gathered(monkeypatch):
    monkeypatch.setattr("routeur.log.GATHER", 0.0)
    stream = io.StringIO()
    log = Log(stream)
    log.finished(a_call())
    log.finished(a_call())
    assert stream.getvalue() == ""

    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(lines(stream)) == 2

    log.finished(a_call())
    log.close()
    assert len(lines(stream)) == 3


async def test_many_lines_do_not_wait(monkeypatch):
    monkeypatch.setattr("routeur.log.AT_ONCE", 10)
    stream = io.StringIO()
    log = Log(stream)
    for _ in range(25):
        log.finished(a_call())

    assert len(lines(stream)) == 20
    log.close()
    assert len(lines(stream)) == 25


async def test_order_is_kept():
    stream = io.StringIO()
    log = Log(stream)
    log.finished(a_call())
    log.event("info", "stop", "stopping")

    assert [line["event"] for line in lines(stream)] == ["call", "stop"]


class Waking(io.StringIO):
    """Says when something was written."""

    def __init__(self):
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text):
        self.written.set()
        return super().write(text)


async def test_counted(monkeypatch):
    monkeypatch.setattr("routeur.log.REPEAT", 0.01)
    stream = Waking()
    log = Log(stream)
    for number in range(100):
        log.counted("bad_request", f"number {number}")
    assert [(line["message"], line["count"]) for line in lines(stream)] == [("number 0", 1)]

    stream.written.clear()
    await asyncio.wait_for(stream.written.wait(), PATIENCE)
    log.close()

    assert [(line["message"], line["count"]) for line in lines(stream)[1:]] == [("number 99", 99)]


async def test_counts_are_not_lost_at_the_end():
    stream = io.StringIO()
    log = Log(stream)
    for _ in range(3):
        log.counted("bad_request", "bad")
    log.close()

    assert [line["count"] for line in lines(stream)] == [1, 2]


def test_nobody_reads():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        log = Log(stream)
        os.close(reading)
        log.finished(a_call())
        log.event("error", "x", "y")
        log.close()


def test_a_slow_reader_gets_whole_lines():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        log = Log(stream)
        got = b""
        for _ in range(1000):
            log.finished(a_call())
            log.flush()
        while log._out.pending:
            got += reader.read(1 << 16)
            log.flush()
        got += reader.read(1 << 20)

    assert [json.loads(line)["id"] for line in got.splitlines()] == ["tr_1"] * 1000


def test_a_reader_that_stopped_costs_bounded_memory(monkeypatch):
    monkeypatch.setattr("routeur.log.BACKLOG", 10_000)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w") as stream:
        log = Log(stream)
        for _ in range(1000):
            log.finished(a_call())
            log.flush()
        os.close(reading)

    assert len(log._out.pending) < 11_000


async def test_a_reader_that_stopped_stops_nobody():
    """A pipe as a shell or Docker hands it over: one that blocks."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        log = Log(stream)
        writes = asyncio.to_thread(lambda: [log.event("info", "x", "y" * 100) for _ in range(2000)])
        try:
            await asyncio.wait_for(writes, PATIENCE)
        finally:
            os.close(reading)


def test_a_closed_stream():
    stream = io.StringIO()
    log = Log(stream)
    stream.close()
    log.event("info", "x", "y")


def test_aiohttp_is_quiet(caplog):
    stream = io.StringIO()
    log = Log(stream)
    undo = quiet_aiohttp(log)
    try:
        raise ValueError("GET /secret of a client")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", "1.2.3.4")
    logging.getLogger("aiohttp.access").info("not shown")
    undo()

    (line,) = lines(stream)
    assert line["event"] == "aiohttp.server"
    assert line["message"] == "Error handling request"
    assert line["error"] == "ValueError"
    assert line["at"].startswith("test_log.py:")
    assert "secret" not in stream.getvalue()
    assert not caplog.records
    assert logging.getLogger("aiohttp").propagate
