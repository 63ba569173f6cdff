"""What passes in a call, kept with its trace: headers and bodies as they came of the client and of
the provider, and as they went, without secrets.

It is taken beside the path. Calls of which nothing is kept know nothing of it.
"""

from __future__ import annotations

import codecs
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, cast

import orjson
from aiohttp import web

from routeur.call import Call
from routeur.dialects.inflate import CODINGS, PLAIN, inflate
from routeur.endpoint import Endpoint
from routeur.facts import Facts
from routeur.heads import Head
from routeur.keys import presented as presented_key
from routeur.passage import Passage
from routeur.providers import Aws, Secret
from routeur.redaction import Redactor, presented
from routeur.upstream import Connection

MOST = 256 * 1024  # bytes of a body that are kept
# More of it is looked at, so that a secret is seen whole before it is cut in two.
LOOKED_AT = MOST + 32 * 1024
FRAMING = 512 * 1024  # bytes that a head and the framing of small chunks may take besides
HERE = 64 * 1024 * 1024  # characters of payloads in memory, where the store keeps none
LATEST = 8 * 1024 * 1024  # where it does: they are in it a moment later
AT_ONCE = 4 * 1024 * 1024  # characters that a store gets at once, and
A_SECOND = 16 * 1024 * 1024  # from then on
LONG = 16  # characters of a configured header's value that hardly is a common word

NONE: frozenset[str] = frozenset()


# ---- of one call


class Start:
    """The beginning of what passes; `cut`: there was more."""

    __slots__ = ("_left", "_parts", "cut")

    def __init__(self, data: bytes = b"", most: int = LOOKED_AT) -> None:
        self._parts: list[bytes] = []
        self._left = most
        self.cut = False
        self.add(data)

    def add(self, data: bytes) -> None:
        if len(data) > self._left:
            self.cut = True
            data = data[: self._left]
        if data:
            self._parts.append(data)
            self._left -= len(data)

    @property
    def data(self) -> bytes:
        return b"".join(self._parts)


class Pieces(list[bytes]):
    """A body's pieces as a connection hands them over, of which the beginning is kept."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self._start = start

    def append(self, data: bytes) -> None:
        self._start.add(data)
        super().append(data)


class Exchange:
    """One attempt: its request, its answer, and what has gone to the client."""

    answers = False  # the answer is the client's
    head: list[tuple[bytes, bytes]] | None = None  # of the answer

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        lines = (passage.lines or passage.head_lines()).split(b"\r\n")
        self.request = [each for each in _fields(lines[1:]) if each[0].lower() != b"host"]
        self.body = None if passage.streams else Start(passage.body or b"")
        self.received = Start()
        self.sent = Start(most=LOOKED_AT + FRAMING)


class Payload:
    """What passes in a call. When it is over, `finish` makes of it the `text` that is kept."""

    own: web.Response | None = None  # the answer, where it is one of routeur's own
    exchange: Exchange | None = None  # of the attempt that answers, else of the last one
    text = ""

    def __init__(self, redactor: Redactor, facts: Facts) -> None:
        self._redactor = redactor
        self._facts: Facts | None = facts
        self._body = b""  # the client's

    def begins(self, exchange: Exchange) -> None:
        """A request goes to a provider."""
        self._look()
        if self.exchange is None or not self.exchange.answers:
            self.exchange = exchange

    def finish(self) -> str:
        """Each layer that there was, as JSON. All else is let go of."""
        self._look()
        facts, exchange, own = self._facts, self.exchange, self.own
        self._facts = self.exchange = self.own = None
        assert facts is not None
        self.text = orjson.dumps(dict(self._layers(facts, exchange, own))).decode()
        self._body = b""
        return self.text

    def _look(self) -> None:
        """Take the client's body while it is there; of one that is streamed there is none."""
        if self._facts is not None and not self._body:
            self._body = self._facts.raw[: LOOKED_AT + 1]

    def _layers(
        self, facts: Facts, exchange: Exchange | None, own: web.Response | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        fields = facts.request.raw_headers
        secrets = {*presented(fields)}
        secrets.add(presented_key([], facts.request.raw_path.partition("?")[2]) or b"")
        if exchange is not None:
            secrets.update(presented(exchange.request))
        write = Writer(self._redactor.knowing(secrets))
        came = None if not self._body and _has_body(fields) else Start(self._body)
        yield "caller_request", write.layer(fields, came)
        if exchange is not None:
            hidden = frozenset(map(str.lower, exchange.passage.place.endpoint.provider.headers))
            request = write.layer(exchange.request, exchange.body, hidden=hidden)
            yield "upstream_request", request
        if exchange is not None and exchange.head is not None:
            whole = exchange.passage.complete
            yield "upstream_response", write.layer(exchange.head, exchange.received, whole=whole)
        if own is not None:
            lines = [(name.encode(), text.encode()) for name, text in own.headers.items()]
            said = own.body if isinstance(own.body, bytes) else b""
            yield "caller_response", write.layer(lines, Start(said))
        elif exchange is not None and exchange.answers:
            lines, body = _read_sent(exchange.sent)
            yield "caller_response", write.layer(lines, body, whole=exchange.passage.complete)


class Writer:
    """Layers as they are kept. What passes twice is cleaned once."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: dict[tuple[bytes, bool, bool], dict[str, Any]] = {}

    def layer(
        self,
        fields: Iterable[tuple[bytes, bytes]],
        body: Start | None,
        *,
        whole: bool = True,
        hidden: frozenset[str] = NONE,
    ) -> dict[str, Any]:
        """Headers, of which the values of some are `hidden`, and a body (None: it was streamed).

        `whole`: it came to its end. One in a content coding is kept without it: else secrets could
        not be seen in it.
        """
        headers = self._redactor.headers(fields)
        coding = headers.get("content-encoding", "").strip().lower().encode()
        headers.update((name, "***") for name in hidden & headers.keys())
        if body is None:
            return {"headers": headers, "omitted": "streamed"}
        data, cut = body.data, body.cut
        if coding not in PLAIN and data:
            if coding not in CODINGS:
                return {"headers": headers, "omitted": "encoded"}
            data = inflate(data, coding, LOOKED_AT)
            cut = cut or len(data) == LOOKED_AT
        found = self._known.get((data, cut, whole))
        if found is None:
            found = self._known[data, cut, whole] = self._body(data, cut, whole)
        return {"headers": headers, **found}

    def _body(self, data: bytes, cut: bool, whole: bool) -> dict[str, Any]:
        data = self._redactor.clean(data, whole=whole and not cut)
        if cut:  # its end may be a part of a secret
            data = data[: MOST - LOOKED_AT]
        cut = cut or len(data) > MOST
        data = data[:MOST]
        mark = {"truncated": True} if cut else {}
        try:
            text, _ = codecs.utf_8_decode(data, "strict", whole and not cut)
        except UnicodeDecodeError:
            return {"body_base64": b64encode(data).decode(), **mark}
        return {"body": text, **mark}


def _fields(lines: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers that lines of a head are."""
    split = (line.partition(b":") for line in lines if line)
    return [(name, value.strip()) for name, _, value in split]


def _has_body(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    named = {name.lower(): value.strip() for name, value in fields}
    return b"transfer-encoding" in named or named.get(b"content-length", b"0") != b"0"


def _read_sent(sent: Start) -> tuple[list[tuple[bytes, bytes]], Start]:
    """Headers and body of what has gone to a client."""
    head, _, body = sent.data.partition(b"\r\n\r\n")
    fields = _fields(head.split(b"\r\n")[1:])
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in fields)
    found = Start()
    for piece in _unchunked(body) if chunked else (body,):
        found.add(piece)
    found.cut = found.cut or sent.cut
    return fields, found


def _unchunked(data: bytes) -> Iterator[bytes]:
    """The chunks of a body that ends anywhere; their framing was checked when they came."""
    at = 0
    while (end := data.find(b"\r\n", at)) > at:
        size = int(data[at:end].partition(b";")[0], 16)
        if not size:
            return
        yield data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


# ---- of an attempt


class Watched(Passage):
    """An attempt of which it is kept what passes."""

    _exchange: Exchange

    def go(self, connection: Connection) -> None:
        payload, transport = self.call.payload, self.client.transport
        assert payload is not None and transport is not None
        self._exchange = exchange = Exchange(self)
        payload.begins(exchange)
        self.pieces = Pieces(exchange.received)
        write = transport.write

        def out(data: bytes) -> None:
            write(data)
            exchange.sent.add(data)

        self.write = self.out = out
        super().go(connection)

    def head(self, head: Head, whole: bool) -> bytes:
        self._exchange.head = _fields(head.passed.split(b"\r\n"))
        return super().head(head, whole)

    def settle(self) -> None:
        """What the client gets is kept as well: the call is booked when all of it has gone."""

    def on_start(self) -> None:
        super().on_start()
        assert self.call.payload is not None
        self._exchange.answers = True
        self.call.payload.exchange = self._exchange


def watched(kind: type[Passage]) -> type[Passage]:
    """The same kind of attempt, watched."""
    found: type[Passage] = _watched(cast(Any, kind))
    return found


@cache
def _watched(kind: Any) -> Any:
    return type(f"Watched{kind.__name__}", (Watched, kind), {})


# ---- of all calls


def redactor(endpoints: Iterable[Endpoint], keys: Iterable[Secret | None], salt: bytes) -> Redactor:
    """Knows what is configured: of providers, the keys of callers, what virtual keys are hashed
    with.
    """
    own = (key.reveal() for key in keys if key is not None)
    of_providers = (text for endpoint in endpoints for text in _secrets_of(endpoint))
    texts = [text.encode() for text in (*own, *of_providers)]
    # One that lasts as long as the process is no text, and is never told to anybody.
    return Redactor([*texts, salt] if salt.isascii() else texts)


def _secrets_of(endpoint: Endpoint) -> Iterator[str]:
    credential, proxy = endpoint.credential, endpoint.pool.proxy
    if credential.api_key is not None:
        yield credential.api_key.reveal()
    if isinstance(credential.cloud, Aws):
        account = credential.cloud
        yield account.access_key_id or ""
        for secret in (account.secret_access_key, account.session_token):
            yield secret.reveal() if secret else ""
    for text in endpoint.provider.headers.values():
        if len(text) >= LONG and " " not in text:
            yield text
    if proxy is not None:
        yield proxy.user
        yield proxy.user.partition(":")[2]


class Payloads:
    """The payloads of finished calls. The last ones are in memory: `call.payload.text`.

    `lasting`: the store keeps them with their traces. It gets no more at once than it can take with
    ease, and none while it is in trouble: they must never be in the way of what calls have cost.
    """

    def __init__(self, *, lasting: bool) -> None:
        self._lasting = lasting
        self._calls: deque[Call] = deque()
        self._left = HERE if not lasting else LATEST
        self._allowed = float(AT_ONCE)
        self._at = time.monotonic()

    def finish(self, call: Call, *, trouble: bool) -> str:
        """What the store is to keep; nothing: none of it. `call.payload` is None if nobody does."""
        payload = call.payload
        assert payload is not None
        call.payload = None
        text = payload.finish()
        if self._lasting and (trouble or not self._may_store(len(text))):
            return ""
        call.payload = payload
        self._calls.append(call)
        self._left -= len(text)
        while self._left < 0:
            self._let_go(self._calls.popleft())
        return text if self._lasting else ""

    def _let_go(self, call: Call) -> None:
        assert call.payload is not None
        self._left += len(call.payload.text)
        call.payload.text = ""
        if not self._lasting:
            call.payload = None

    def _may_store(self, size: int) -> bool:
        now = time.monotonic()
        self._allowed = min(AT_ONCE, self._allowed + (now - self._at) * A_SECOND)
        self._at = now
        if self._allowed < size:
            return False
        self._allowed -= size
        return True


def url(id: str) -> str:
    """Where the payload of a call is shown."""
    return f"/v1/traces/{id}/payload"


def joined(trace: str, payload: str) -> str:
    """A trace and its payload as a store keeps them: JSON both, without a line end in either."""
    return f"{trace}\n{payload}" if payload else trace


def parted(text: str) -> tuple[str, str]:
    """The trace, and its payload or nothing."""
    trace, _, payload = text.partition("\n")
    return trace, payload
