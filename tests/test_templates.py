"""Heads that are like those before them are read at a glance, and no differently."""

import random

import pytest

from routeur.errors import UpstreamError
from routeur.heads import CHUNKED, Head, read_head
from routeur.templates import AT_MOST, LEARNT, LONGEST, REMEMBERED, Templates

HEADS = {
    "openai": (
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json"
        b"\r\nContent-Length: 12\r\nConnection: keep-alive\r\nx-request-id: req_1\r\n"
        b"openai-processing-ms: 5\r\nSet-Cookie: a=b\r\nx-ratelimit-remaining-tokens: 9\r\n\r\n"
    ),
    "stream": (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\nserver: cloudflare\r\n\r\n"
    ),
    "gzip": (
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Encoding: GZIP \r\n"
        b"Content-Length: 7 \r\nX-Routeur-Trace-Id: theirs\r\nKeep-Alive: timeout=5\r\n\r\n"
    ),
    "short": b"HTTP/1.1 200\r\nContent-Length:3\r\n\r\n",
    "two of a kind": b"HTTP/1.1 200 OK\r\nvia: a\r\nvia: b\r\ncontent-length: 1\r\n\r\n",
    "last stays": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nvia: a\r\nset-cookie: s\r\n\r\n",
}

OTHERS = {
    "until close": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
    "closes": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "no body": b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n",
    "coded": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
}


def learnt(*heads: bytes) -> Templates:
    templates = Templates()
    for head in heads:
        for _ in range(LEARNT):
            templates.learn(head)
    return templates


def carefully(raw: bytes) -> Head | None:
    """As it is read without a template; None where it is refused."""
    try:
        return read_head(int(raw[9:12]), raw, False)
    except (UpstreamError, ValueError):
        return None


@pytest.mark.parametrize("name", HEADS)
def test_as_without_it(name):
    head = learnt(HEADS[name]).read(HEADS[name])
    assert head == carefully(HEADS[name])
    assert head is not None


def test_other_values():
    raw = HEADS["openai"]
    other = raw.replace(b"req_1", b"req_2").replace(b": 12", b": 123456").replace(b"200 OK", b"404")
    head = learnt(raw).read(other)
    assert head == carefully(other)
    assert head is not None and (head.status, head.length) == (404, 123456)
    assert head.request_id == b"req_2"


def test_chunked():
    head = learnt(HEADS["stream"]).read(HEADS["stream"])
    assert head is not None and head.length == CHUNKED


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_to_be_weighed(name):
    """There is no template for it."""
    assert learnt(OTHERS[name]).known == []


WRONG = {
    "a bare line feed": (b"req_1", b"req\n1"),
    "a bare return": (b"req_1", b"req\r1"),
    "a zero": (b"req_1", b"req\0"),
    "folded": (b"req_1", b"req\r\n 1"),
    "another name": (b"\r\nDate:", b"\r\nData:"),
    "a name more": (b"\r\nDate:", b"\r\nContent-Length: 12\r\nDate:"),
    "a space in a name": (b"\r\nDate:", b"\r\nDate :"),
    "closes": (b"keep-alive", b"close"),
    "spaces without end": (b": 12\r\n", b": " + b" " * 50_000 + b"x\r\n"),
    "private names": (b"keep-alive", b"keep-alive, openai-processing-ms"),
    "no number": (b": 12\r\n", b": 1e2\r\n"),
    "a sign": (b": 12\r\n", b": +12\r\n"),
    "no digits": (b": 12\r\n", b": \r\n"),
    "a long number": (b": 12\r\n", b": 1234567890123456789\r\n"),
    "another version": (b"HTTP/1.1", b"HTTP/1.0"),
    "interim": (b"200 OK", b"100 Go"),
    "no body": (b"200 OK", b"304 No"),
    "no status": (b"200 OK", b"20"),
    "a tab in the line": (b"200 OK", b"200\tOK"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else(name):
    """Is not known: it has to be read with care."""
    raw = HEADS["openai"]
    assert raw.count(WRONG[name][0]) == 1
    assert learnt(raw).read(raw.replace(*WRONG[name])) is None


def test_nothing_is_tried_twice():
    """Blanks that may belong to two parts of a pattern would take minutes."""
    blanks = b" " * 20_000
    raw = HEADS["gzip"].replace(b"\r\n\r\n", b"\r\nContent-Type: a\r\nx-request-id: b\r\n\r\n")
    odd = raw.replace(b"GZIP", blanks).replace(b": a", b":" + blanks).replace(b": b", blanks)
    assert learnt(raw).read(raw) is not None
    assert learnt(raw).read(odd.replace(b"7 ", b"x")) is None


def test_a_proxys_word_counts():
    """llhttp reads it as `Connection`."""
    raw = b"HTTP/1.1 200 OK\r\nProxy-Connection: %b\r\nContent-Length: 1\r\n\r\n"
    assert learnt(raw % b"close").known == []
    assert learnt(raw % b"keep-alive").read(raw % b"close") is None


def test_heads_with_hundreds_of_names_are_not_learnt():
    names = b"".join(b"x-%d: 1\r\n" % number for number in range(LONGEST))
    assert learnt(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n%b\r\n" % names).known == []


def test_of_several():
    templates = learnt(*HEADS.values())
    assert len(templates.known) == AT_MOST
    for raw in [*HEADS.values()][:AT_MOST]:
        assert templates.read(raw) == carefully(raw)


def test_only_what_is_seen_often():
    templates = Templates()
    for _ in range(LEARNT - 1):
        templates.learn(HEADS["openai"])
    assert templates.read(HEADS["openai"]) is None


def test_memory_has_an_end():
    """A provider that invents names is read with care each time."""
    templates = Templates()
    for number in range(2 * REMEMBERED):
        templates.learn(b"HTTP/1.1 200 OK\r\nx-%d: 1\r\nContent-Length: 1\r\n\r\n" % number)
    assert len(templates._seen) == REMEMBERED
    assert templates.known == []


def test_broken_heads_are_never_read_differently():
    """Bytes changed, lost and doubled at random."""
    rng = random.Random(7)
    raws = [HEADS[name] for name in ("openai", "stream", "gzip")]
    templates = learnt(*raws)
    for _ in range(3000):
        raw = bytearray(rng.choice(raws)[:-4])
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(raw))
            what = rng.choice([b"", b"\r", b"\n", b":", b" ", b"\0", b"7", bytes(raw[at : at + 9])])
            raw[at : at + rng.randint(0, 2)] = what
        head = templates.read(bytes(raw) + b"\r\n\r\n")
        assert head is None or head == carefully(bytes(raw) + b"\r\n\r\n")
