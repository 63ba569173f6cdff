"""One attempt at a target that speaks another dialect: the request is written anew for it, and its
answer for the client.

What is copied is held and judged by `reply.py`; here it is read, so its first events decide.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Literal

import msgspec

from routeur.addressing import ANTHROPIC, body_for, on_vertex
from routeur.answers import with_block
from routeur.dialects import exact
from routeur.dialects.base import Json, Usage
from routeur.dialects.inflate import CODINGS, PLAIN, Inflater, inflate
from routeur.dialects.neutral import Fault, Request, Response
from routeur.dialects.neutral.aim import Aim, Caller, Invalid, Losses, Untranslatable, vendor_of
from routeur.dialects.neutral.collect import events_of
from routeur.dialects.neutral.events import Event, Failed
from routeur.dialects.translate import TRANSLATORS, Writer
from routeur.errors import ClientError, RouteurError, UpstreamError
from routeur.facts import CHARACTERS_PER_TOKEN, Facts
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head
from routeur.marks import mark_request
from routeur.passage import Passage, target_of
from routeur.reply import HEADERS, HOLD, LATE
from routeur.routing import Place
from routeur.stream import Fallen, Stream, size_of

ANTHROPIC_VERSION = b"2023-06-01"  # what a client of another dialect does not say
OVERLOADED = 529  # Anthropic's own status
STEP = 1024 * 1024  # bytes that are inflated at once
WHOLE_AT_MOST = 64 * 1024 * 1024  # bytes of an unstreamed answer
TOO_LARGE = "the provider's answer is too large to be translated"
# Of the client's headers, what is said in its dialect; the answer has to be read, so is not coded.
NOT_ON = frozenset(
    b"accept accept-encoding anthropic-version anthropic-beta openai-beta content-type".split()
)
# And what names an account at the client's vendor, or its SDK: nobody else's business.
OF_A_VENDOR = frozenset(
    b"openai-organization openai-project anthropic-dangerous-direct-browser-access"
    b" x-goog-api-client x-goog-user-project x-goog-request-params".split()
)
# Of the provider's headers, what is about the bytes that are not passed on.
_ABOUT_BYTES = re.compile(
    rb"\r\n(?:content-[a-z-]+|etag|vary|accept-ranges|digest):[^\r]*(?=\r\n)", re.IGNORECASE
)
_STATUSES = frozenset(HTTPStatus)


def neutral(facts: Facts) -> Request:
    """The client's request in nobody's format; raises Invalid."""
    assert facts.format is not None
    # Read once more where there are integers that only so stay what they are.
    body = facts.doc if exact.is_plain(facts.raw) else exact.loads(facts.raw)
    reader = TRANSLATORS[facts.format].requests
    return reader.read_request(body, model=facts.model or "", stream=facts.stream)


def aim_at(place: Place, room: int | None = None) -> Aim:
    """The target as the dialects' writers see it; `room` are the tokens that an answer may have
    where nobody says how many the model can.
    """
    provider, speaks = place.endpoint.provider, place.manner.speaks
    assert speaks is not None
    model = provider.models.get(place.target.model)  # configured abilities only: they refuse
    platform: Literal["", "vertex", "bedrock", "azure"] = ""
    if on_vertex(provider):
        platform = "vertex"
    elif provider.dialect == "bedrock":
        platform = "bedrock"
    return Aim(
        speaks,
        place.id,
        vendor=vendor_of(place.id),
        platform=platform,
        max_output=provider.model(place.target.model).output or room,
        abilities=model.has if model else None,
    )


class TranslatedPassage(Passage):
    """Writes the request for a target that speaks another dialect, and its answer for the client.

    Raises ClientError (unsupported_parameter) for what the other dialect cannot say.
    """

    decoded = True  # frames are cut from the body's bytes, not from its chunks
    without = NOT_ON
    _stream: Stream | None = None
    _inflater: Inflater | None = None
    _judged = True  # its status may justify another attempt
    _unpacked = 0  # bytes of a body without its content coding
    used: Usage | None = None
    seen = 0  # characters of what the model wrote

    def _prepare(self) -> None:
        """Write the body for the target."""
        facts, place = self.facts, self.place
        assert place.manner.speaks is not None and facts.format is not None
        losses = Losses(facts.strict or facts.inbound.asks(b"routeur-strict"), facts.format)
        self._answer_losses = Losses()  # what is in an answer has been paid for
        try:
            spending = self.attempts.spending
            aim = aim_at(place, spending.output if spending is not None else None)
            path, body = self._write_request(facts, aim, losses)
        except Invalid as error:
            raise ClientError(error.message, param=error.field) from None
        except Untranslatable as error:
            raise ClientError(
                error.message, code="unsupported_parameter", param=error.field
            ) from None
        self.path, _, self.query = path.partition("?")
        self.body = body_for(place.standing.credential, place.manner.speaks, self.path, body)
        self._dropped = losses.dropped
        self._here = TRANSLATORS[facts.format].answers
        self._there = TRANSLATORS[place.manner.speaks].answers

    def _write_request(self, facts: Facts, aim: Aim, losses: Losses) -> tuple[str, bytes]:
        """Path and body for the target; raises TranslationError."""
        request = facts.neutral = facts.neutral or neutral(facts)
        call, writer = self.call, TRANSLATORS[aim.dialect].requests
        self._caller = Caller(
            self.echoed(request),
            f"{call.id[3:]:0<24}",
            int(call.started_at),
            self._answer_losses,
            sse=facts.format != "gemini" or "alt=sse" in facts.query.split("&"),
        )
        if self.place.marks:
            request = mark_request(request, aim.model)
        body = writer.write_request(request, aim, losses)
        return writer.address(aim.model, facts.stream), body

    def echoed(self, request: Request) -> Request:
        """What an answer has to repeat of the request."""
        return replace(request, messages=())  # a stream that lasts would keep them in memory

    def writing(self, writer: Writer) -> Callable[[Event], bytes]:
        """What writes the events of a stream."""
        return writer.write

    def written(self, whole: bytes) -> bytes:
        """An answer has come to its end, unstreamed or (b"") as a stream: what to send of it."""
        return whole

    @property
    def target(self) -> str:
        return target_of(self.place, self.facts, self.path, self.query, self.manner.speaks)

    def head_lines(self) -> bytes:
        facts = self.facts
        instead = {b"accept-encoding": b"identity", b"content-type": b"application/json"}
        if self.manner.speaks == ANTHROPIC and not on_vertex(self.place.endpoint.provider):
            instead[b"anthropic-version"] = ANTHROPIC_VERSION
        endpoint, without = self.place.endpoint, self.without
        if facts.dialect != endpoint.provider.dialect:
            without |= OF_A_VENDOR
        return endpoint.head("POST", self.target, facts.inbound, without, instead)

    # ---- what its answer does

    def head(self, head: Head, whole: bool) -> bytes:
        status = self.attempt.status = head.status
        self.attempt.answered = time.perf_counter()
        self.watching = False
        self._head, self._held = head, []
        if status == 304:  # there can be no body to say it in (RFC 9110, 15.4.5)
            raise UpstreamError("the provider answered 304, as if there was nothing new")
        if status >= 300:
            self._judged = self._refuses(status)
            self._collect(head, whole)
            if not self._judged:
                self._at_end = self._go
            return b""
        if head.content_encoding in CODINGS:
            self._inflater = Inflater(head.content_encoding)
        elif head.content_encoding not in PLAIN:
            raise UpstreamError("the provider used a content coding that nobody has asked for")
        kind = head.content_type.lower()
        if kind.startswith(self._there.STREAM_TYPE.partition(";")[0].encode()):
            self._read_stream()
            if self.manner.commit == HEADERS and self.facts.stream:
                self.out(self._client_head(self._stream_type(), None))
        elif kind.startswith(b"application/json") and not self.facts.stream:
            self._read_at_end()
        elif self._inflater is not None:
            self._read_stream() if self.facts.stream else self._read_at_end()
        else:
            self.write, self._at_end = self._safely(self._sniff), self._safely(self._end_of_whole)
        return b""

    def gather(self) -> None:
        """What has been read is not needed twice."""
        self.total += sum(map(len, self.pieces))
        self.pieces.clear()

    def pass_on(self) -> None:
        self._pass_error_on()
        self.complete = True

    def on_start(self) -> None:
        super().on_start()
        self._tell_losses()  # here, as they are those of the attempt that answers

    # ---- inside

    def _safely(self, do: Callable[..., None]) -> Callable[..., None]:
        """A mistake of ours must not let the client wait: it is a failed attempt, too."""

        def done(*data: bytes) -> None:
            try:
                do(*data)
            except RouteurError:
                raise
            except Exception as bug:
                if self.gone:
                    raise
                self.client.server.malformed(500, bug)
                raise UpstreamError("the provider's answer could not be translated") from bug

        return done

    def hopeful(self) -> bool:
        return self._judged and super().hopeful()

    def _go(self) -> None:
        """An error is the client's, with what has come of it: the rest is not waited for."""
        self._at_end, self.write = None, _ignore
        self.connection.redirect(self, _ignore)
        self._pass_error_on()

    def _read_stream(self) -> None:
        self._stream = Stream(self, self._there, self._here, self._caller)
        self.write = self._safely(self._translate)
        self._at_end = self._safely(self._end_of_stream)

    def _read_at_end(self) -> None:
        self.write, self._at_end = self._take_block, self._safely(self._end_of_whole)

    def _sniff(self, data: bytes) -> None:
        """The type does not say it: the first byte of an answer tells what it is."""
        start = data.lstrip()[:1]
        if not start:
            return
        if start == b"<":
            raise UpstreamError("the provider sent an HTML page")
        if start == b"{":
            self._read_at_end()
        else:
            self._read_stream()
        self.connection.redirect(self, self.write)
        self.write(data)

    def _inflated(self, data: bytes) -> bytes:
        """A block without its content coding."""
        inflater = self._inflater
        if inflater is None:
            return data
        pieces = []
        try:
            while piece := inflater.feed(data, STEP):
                pieces.append(piece)
                data = b""
                self._unpacked += len(piece)
                if self._unpacked > WHOLE_AT_MOST:
                    raise UpstreamError(TOO_LARGE)
        except ValueError:
            raise UpstreamError("the provider sent a body that cannot be inflated") from None
        return b"".join(pieces)

    def _take_block(self, data: bytes) -> None:
        self.first_token = self.attempt.answered  # if it breaks off now, it has cost something
        if self._keep(self._inflated(data)) > WHOLE_AT_MOST:
            raise UpstreamError(TOO_LARGE)

    def _translate(self, data: bytes) -> None:
        assert self._stream is not None
        self.gather()
        text = self._stream.feed(self._inflated(data))
        if self._stream.collector is not None:
            if self.total > WHOLE_AT_MOST:
                raise UpstreamError(TOO_LARGE)
            return
        if not self.started:
            size = self._keep(text)
            late = time.perf_counter() - self.attempt.answered > LATE
            if not (self._stream.may_go or late or size > HOLD):
                return
            text = b"".join(self._held)
            self._held = []
            self.out(self._client_head(self._stream_type(), None) + self.framed(text))
        elif text:
            self.out(self.framed(text))

    def _end_of_stream(self) -> None:
        """The provider's bytes are over; raises UpstreamError where they are not the whole."""
        assert self._stream is not None
        text = self._stream.end()
        if self._stream.collector is not None:
            self._send_whole(self._stream.collector.response())
            return
        self.written(b"")
        if not self.started:
            text = b"".join((*self._held, text))
            self.out(self._client_head(self._stream_type(), None))
        self.settle()
        last = b"0\r\n\r\n" if self.facts.modern else b""
        self.out(self.framed(text) + last)

    def _end_of_whole(self) -> None:
        """A whole answer; raises UpstreamError where it is none."""
        self._take_whole(self._read_whole())

    def _take_whole(self, body: Json) -> None:
        response = self._there.read_response(body, self.place.id)
        self.used = response.usage
        if response.usage is None:
            self.seen = size_of(events_of(response))
        if response.error is not None:
            raise Fallen(response.error)
        if self._caller.request.stream:
            writer = self._here.EventWriter(self._caller)
            write = self.writing(writer)
            text = b"".join([write(event) for event in events_of(response)])
            self.written(b"")
            self._send_last(self._client_head(self._stream_type(), len(text)), text)
        else:
            self._send_whole(response)

    def _read_whole(self) -> Json:
        raw = b"".join(self._held)
        try:
            body = exact.loads(raw)  # integers of any size stay what they are
        except ValueError:
            raise UpstreamError("the provider sent an answer that is no JSON") from None
        if not isinstance(body, dict):
            raise UpstreamError("the provider sent an answer that is no JSON object")
        self.total = len(raw)
        return body

    def _send_whole(self, response: Response) -> None:
        self._send(self.written(self._here.write_response(response, self._caller)))

    def _send(self, text: bytes) -> None:
        if self.facts.inbound.steers and self.facts.inbound.asks(b"routeur-trace"):
            self.call.status, self.call.ended = 200, time.perf_counter()
            self._measure(whole=True)
            text = with_block(text, self.call)
        self._send_last(self._client_head(b"application/json", len(text)), text)

    def _send_last(self, head: bytes, text: bytes) -> None:
        self.settle()
        self.out(head + text)

    def _pass_error_on(self) -> None:
        """An error answer, in the client's dialect."""
        head = self._head
        assert head is not None
        lines = head.passed.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = inflate(b"".join(self.pieces), head.content_encoding, HOLD)
        fault = self._there.read_error(head.status, headers, body)
        if fault.status == OVERLOADED and self.facts.format != ANTHROPIC:
            fault = replace(fault, status=503)
        call = self.call
        text = self._here.write_error(fault, call.request_id or call.id)
        if fault.retry_after is not None and "retry-after" not in headers:
            wait = max(1, round(fault.retry_after))
            head.passed += b"Retry-After: %d\r\n" % wait
        head.status = fault.status
        self._send_last(self._client_head(b"application/json", len(text)), text)

    def _stream_type(self) -> bytes:
        if not self._caller.sse:
            return b"application/json"
        return self._here.STREAM_TYPE.encode()

    def _client_head(self, kind: bytes, length: int | None) -> bytes:
        """The client's head, for a body of this type and length (None: a stream)."""
        head = self._head
        assert head is not None
        status = head.status
        passed = _ABOUT_BYTES.sub(b"", head.passed) + b"Content-Type: %b\r\n" % kind
        if length is not None:
            passed += b"Content-Length: %d\r\n" % length
        elif self.facts.modern:
            passed += b"Transfer-Encoding: chunked\r\n"
        line = b"HTTP/1.1 %d %b" % (
            status,
            HTTPStatus(status).phrase.encode() if status in _STATUSES else b"Error",
        )
        if length is None:
            length = CHUNKED if self.facts.modern else UNTIL_CLOSE
        told = Head(status, line, passed, length)
        told.content_type, told.request_id = kind, head.request_id
        return self._begin(told)

    def framed(self, text: bytes) -> bytes:
        if not text or not self.facts.modern:
            return text
        return b"%x\r\n%b\r\n" % (len(text), text)

    def _as_block(self, frame: bytes, head: Head) -> bytes:
        return self.framed(frame)

    def so_far(self) -> Usage:
        used = self.used or Usage(input=self.facts.tokens())
        seen = self.seen // CHARACTERS_PER_TOKEN - used.reasoning
        return msgspec.structs.replace(used, output=max(used.output, seen))

    def _measure(self, *, whole: bool) -> None:
        call, used = self.call, self.used
        call.first_token = self.first_token
        if call.status >= 400:
            return
        self._tell_losses()
        call.estimated = used is None or not whole
        call.usage = self.so_far() if used is None or call.estimated else used
        self._price(call.usage)

    def _tell_losses(self) -> None:
        lost = (*self._dropped, *self._answer_losses.dropped)
        self.call.dropped = tuple(dict.fromkeys(lost))

    def _cut(self, error: RouteurError) -> None:
        """The client is told in its dialect, as its last event. Behind that the body has its end:
        where a connection breaks, clients in JavaScript lose what they have not read yet.
        """
        if self._stream is not None:
            fault = error.fault if isinstance(error, Fallen) else Fault(error.status, error.message)
            last = b"0\r\n\r\n" if self.facts.modern else b""
            self.out(self.framed(self._stream.write(Failed(fault))) + last)
        self.client.force_close()


def _ignore(data: bytes) -> None:
    """What comes of an error that the client has got already."""
