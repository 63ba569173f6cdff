"""What one look at a request tells, and its body on the way through.

JSON bodies are read whole and checked. A form is read until its `model` is known, anything else not
at all: the rest of both is streamed, in constant memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

import orjson
from aiohttp import HttpVersion11, web
from multidict import MultiMapping

from routeur import body, handshake, multipart
from routeur.call import Call
from routeur.classifier import Classifier, view
from routeur.dialects import FORMATS, gemini
from routeur.dialects.base import Json, Route
from routeur.dialects.neutral import Request
from routeur.errors import ClientError, TooLarge
from routeur.headers import Inbound
from routeur.keys import Caller
from routeur.providers import Provider
from routeur.words import Words

if TYPE_CHECKING:
    from routeur.recording import Recording

BODY_IDLE = 30.0  # seconds a client may pause within a body
SPOOL = 1024 * 1024  # of a form whose model is not known yet, in memory; beyond, in a file
READ_WHOLE = 256 * 1024  # bodies of other kinds are read whole up to here: they can be sent twice
CHARACTERS_PER_TOKEN = 4
NOTHING: Json = {}  # for who has no JSON body any more
OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(slots=True)
class Outgoing:
    """A request body: `first` is sent with the head, `rest` after it.

    `length` is both, None: chunked.
    """

    first: bytes
    length: int | None
    rest: AsyncIterator[bytes] | None = None


class Facts:
    """One request's facts; `has` and `tokens` are computed when first asked for.

    `inbound` are its headers, `path` and `query` where it goes (the path as it came,
    percent-encoded; the query without a key), `key` is the caller's name, if it has one.
    """

    model: str | None = None
    stream = False
    raw = b""
    method = "POST"
    modern = keep = True  # the client speaks HTTP/1.1, and keeps its connection
    as_is = False  # the path is the provider's own
    over: Callable[[Call], None] | None = None  # is told of the call when it has ended
    neutral: Request | None = None  # the request in nobody's format, once somebody has read it
    gemini_path: gemini.GeminiPath | None = None
    words: Words | None = None  # what the body says about who may answer; they are taken out
    worded = b""  # the body as it came, for who heeds them
    strict = False  # what another dialect cannot say is refused, not dropped
    classifier: Classifier | None = None
    recording: Recording | None = None  # for an answer of the Responses API that is translated
    place: tuple[str, str] | None = None  # the only provider and credential ("": any) to ask
    _difficulty: str | None = None
    _request: web.BaseRequest | None = None
    _form: multipart.Form | None = None
    _spool: SpooledTemporaryFile[bytes] | None = None
    _has: frozenset[str] | None = None
    _prompt: int | None = None
    _service: object = None

    doc: Json  # the JSON body; empty for others

    def __init__(
        self,
        inbound: Inbound,
        dialect: str,
        route: Route,
        path: str,
        query: str,
        caller: Caller,
    ) -> None:
        self.inbound = inbound
        self.dialect = dialect
        self.route = route
        self.format = route.format
        self.path = path
        self.query = query
        self.caller = caller
        self.key = caller.name
        if route.format == "gemini" and route.creates:
            self.gemini_path = gemini.parse_path(path)

    def come_with(self, request: web.BaseRequest, max_body: int) -> None:
        """This is the request, of which the body may be still to come."""
        self._request = request
        self.method = request.method
        self.modern = request.version == HttpVersion11
        self.keep = self.modern and request.keep_alive
        self.max_body = max_body
        self.doc = {}

    @property
    def purpose(self) -> str:
        """What a provider of another dialect can be asked for; nothing: no other has it."""
        return "" if self.as_is else self.route.purpose

    @property
    def lasts(self) -> bool:
        """Whether it asks for a WebSocket that is relayed."""
        return self.route.body == "socket"

    @property
    def request(self) -> web.BaseRequest:
        assert self._request is not None
        return self._request

    @property
    def headers(self) -> MultiMapping[str]:
        return self.inbound.headers

    def look(self) -> bool:
        """Read what has come: true if it was a JSON body, and whole. Raises ClientError."""
        content = self.request.content
        if self.route.body != "json" or not content.is_eof():
            return False
        if not self.inbound.plain_json:
            return False
        self._take_bounded(content.read_nowait())
        return True

    async def read(self) -> None:
        """Read as much of the body as it takes to know model and stream; raises ClientError."""
        request = self.request
        size = request.content_length
        if size is not None and size > self.max_body:
            raise TooLarge(f"the body is larger than {self.max_body} bytes (server.max_body)")
        expected = self.inbound.word(b"expect")
        if expected and expected.lower() == "100-continue" and not request.content.is_eof():
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        kind = self.route.body
        if kind == "json" and self._is_form():
            kind = "form"
        if kind == "json":
            await self._read_json()
        elif kind == "form" and self._is_form():
            await self._read_form()
        elif kind == "socket":
            handshake.require(self.inbound)
            self.model, self.stream = handshake.model_of(self.query), True
        elif size is not None and size <= READ_WHOLE:
            self.raw = await self._whole()
            self._peek()

    def _peek(self) -> None:
        """A raw body's model and stream, if it is JSON: for the trace, nothing depends on them."""
        if self.inbound.words.get(b"content-type", b"").startswith(b"application/json"):
            with suppress(orjson.JSONDecodeError):
                doc = orjson.loads(self.raw)
                if isinstance(doc, dict) and isinstance(doc.get("model"), str):
                    self.model = doc["model"][: body.MODEL_LENGTH]
                    self.stream = doc.get("stream") is True

    def _is_form(self) -> bool:
        return self.inbound.words.get(b"content-type", b"")[:10].lower() == b"multipart/"

    async def _read_json(self) -> None:
        coding = self.inbound.word(b"content-encoding") or "identity"
        if coding != "identity":
            raise ClientError(
                f"a request body in {coding!r} cannot be routed: send it without Content-Encoding",
                status=415,
                code="unsupported_media_type",
            )
        self._take_bounded(await self._whole())

    def _take_bounded(self, raw: bytes) -> None:
        if len(raw) > self.max_body:
            raise TooLarge(f"the body is larger than {self.max_body} bytes (server.max_body)")
        self.take(raw)

    def take(self, raw: bytes) -> None:
        """Check a whole JSON body, and see what it asks for; raises ClientError."""
        self.raw = raw
        self.doc = doc = body.parse(raw)
        if self.gemini_path is not None:
            self.model = self.gemini_path.model
            self.stream = self.gemini_path.verb == gemini.STREAM
        elif self.route.creates:
            if self.route.needs_model or "model" in doc:
                self.model = body.require_model(doc)
            if "stream" in doc:
                self.stream = body.wants_stream(doc)

    def retake(self, raw: bytes) -> None:
        """Go on with another body in the place of the client's; raises ClientError."""
        self._has = self._prompt = self.neutral = None
        self.take(raw)

    async def _read_form(self) -> None:
        """Read until the form's model is known; what has come waits in memory, or in a file beyond
        1 MiB.
        """
        form = multipart.Form.of(self.inbound.word(b"content-type") or "")
        # closed in `close`, when the request is over
        spool = SpooledTemporaryFile(max_size=SPOOL)
        self._form, self._spool = form, spool
        async for chunk in self._chunks():
            spool.write(chunk)
            form.feed(chunk)
            if form.model is not None or form.done:
                break
        if form.model is None and self.route.needs_model:
            raise ClientError('the form has no field "model"', param="model")
        self.model = form.model

    async def _whole(self) -> bytes:
        content = self.request.content
        if content.is_eof():
            return content.read_nowait()
        return b"".join([chunk async for chunk in self._chunks()])

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises ClientError where it is late, too large or broken."""
        content = self.request.content
        size = 0
        while True:
            try:
                async with asyncio.timeout(BODY_IDLE):
                    chunk = await content.readany()
            except TimeoutError:
                raise ClientError(
                    "the body did not arrive in time", status=408, code="request_timeout"
                ) from None
            except (web.RequestPayloadError, ValueError):
                raise ClientError("the body's framing is broken") from None
            if not chunk:
                return
            size += len(chunk)
            if size > self.max_body:
                raise TooLarge(f"the body is larger than {self.max_body} bytes (server.max_body)")
            yield chunk

    def unread(self) -> bool:
        """Whether a part of the request is still to come."""
        return self._request is not None and not self._request.content.is_eof()

    # ---- what rules may ask

    def output(self) -> int:
        """The most tokens that may come out, as far as the request says; 0: it does not."""
        config = self.doc.get("generationConfig")
        given = (config.get("maxOutputTokens"),) if isinstance(config, dict) else ()
        named = (self.doc.get(name) for name in OUTPUT_LIMITS)
        return max((n for n in (*named, *given) if type(n) is int and n > 0), default=0)

    def has(self) -> frozenset[str]:
        if self._has is None:
            self._has = FORMATS[self.format].has(self.doc) if self.format else frozenset()
        return self._has

    def prompt(self) -> int:
        """The size of the prompt in characters of text."""
        if self._prompt is None:
            self._prompt = FORMATS[self.format].prompt(self.doc) if self.format else len(self.raw)
        return self._prompt

    def tokens(self) -> int:
        """An estimate of the prompt's tokens."""
        return self.prompt() // CHARACTERS_PER_TOKEN + 1

    def difficulty(self) -> str | None:
        """What the operator's classifier says of it, if there is one; it is asked once."""
        classifier, self.classifier = self.classifier, None
        if classifier is not None:
            seen = view(self.doc, self.tokens(), self.has(), self.model)
            self._difficulty = classifier.difficulty(seen)
        return self._difficulty

    def service(self) -> object:
        """The speed that is asked for (`flex`, `priority`, `fast`), None for the ordinary one."""
        doc = self.doc
        if not doc:
            return self._service
        said = doc.get("speed") or doc.get("service_tier") or doc.get("serviceTier")
        return said.lower() if isinstance(said, str) else said

    def let_go(self) -> None:
        """The answer has begun: the body will not be sent again, and a stream may take long."""
        if self.stream and self.raw:
            self.prompt()
            self._service = self.service()
            self.raw, self.doc, self.neutral = b"", NOTHING, None

    # ---- the way on

    def outgoing(self, provider: Provider, name: str) -> Outgoing | None:
        """The body for a provider, with its own name for the model in place (`name` is ours).

        None: the request has no body.
        """
        if self.raw and name == self.model and not provider.models and not provider.data_url_files:
            return Outgoing(self.raw, len(self.raw))  # nothing to change, as for most
        model = provider.id_of(name) if name else None
        if self._form is not None and self._spool is not None:
            return self._rest_of_form(self._form, self._spool, model)
        if self.raw:
            raw = self.raw
            if self.doc:
                if (
                    model is not None
                    and self.gemini_path is None
                    and model != self.doc.get("model")
                ):
                    named = "model" in self.doc
                    raw = (body.replace_model if named else body.add_model)(raw, model)
                if provider.data_url_files:
                    raw = body.with_data_urls(raw)
            return Outgoing(raw, len(raw))
        if self.request.content.at_eof():
            return Outgoing(b"", 0) if self.request.content_length is not None else None
        return Outgoing(b"", self.request.content_length, self._chunks())

    def _rest_of_form(
        self, form: multipart.Form, spool: SpooledTemporaryFile[bytes], model: str | None
    ) -> Outgoing:
        """What has been read of a form, then what is still to come."""
        length = self.request.content_length
        spool.seek(0)
        if model is None or model == form.model:
            first = b""
        else:
            start, end = form.span
            first = spool.read(start) + model.encode()
            spool.seek(end)
            if length is not None:
                length += len(model.encode()) - (end - start)

        async def rest() -> AsyncIterator[bytes]:
            while block := spool.read(SPOOL // 4):
                yield block
            async for chunk in self._chunks():
                form.feed(chunk)  # raises for a second model
                yield chunk

        return Outgoing(first, length, rest())

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()
