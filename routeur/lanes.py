"""The Responses API over a WebSocket, without the WebSocket: which turn begins when, what is
remembered of answers that nobody stores, and what the client is told of each.

Turns of one lane follow each other, lanes run side by side. A turn without `stream_id` is in a lane
of its own.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routeur import body
from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import members, string
from routeur.errors import ClientError, LimitExceeded, RouteurError
from routeur.responses import (
    Item,
    continued,
    members_of,
    object_of,
    output_of,
    own_input,
    require_calls,
    size_of,
)

IN_FLIGHT = 16  # turns
NAMED = 32  # lanes that a connection may name in its life
WAITING = 64  # turns
REMEMBERED = 64  # responses
REMEMBERED_SIZE = 64 * 1024 * 1024  # bytes of JSON, of all of them

CREATE = "response.create"
_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_NOT_ON = ("type", "stream_id", "generate", "stream_options", "background", "stream")
# Events that say more than that the answer grows; in the text of others quotes are escaped.
_NOTABLE = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error)"')
LAST = frozenset("response.completed response.incomplete response.failed".split())


class Refusal(Exception):
    """A turn was refused: the status and the error object are an answer's."""

    def __init__(self, status: int, error: Json) -> None:
        super().__init__(string(error.get("message")))
        self.status = status
        self.error = error


@dataclass(slots=True, eq=False)
class Turn:
    """One `response.create`. `raw` is the body that a POST would have, `previous` the response that
    it goes on from ("": none). `sent` counts its events.

    Once it has begun, `said` is its input with what came before, as far as that is known here:
    `base` is the response before that, which is stored.
    """

    lane: str | None
    raw: bytes
    previous: str = ""
    store: bool = True
    generate: bool = True
    asked: bytes = b""  # `raw` as it came, where what was said before has been put into it
    said: tuple[Item, ...] = ()
    base: str = ""
    sent: int = 0
    id: str = ""  # of the response that is its answer
    output: tuple[Item, ...] = ()
    status: str = ""  # how it has ended; "": it has not, or not well
    _held: bytes = b""  # an error event that a last event may follow

    def take(self, data: bytes) -> list[bytes]:
        """The messages for an event's data."""
        if _NOTABLE.search(data) is None:
            return [self._message(data)]
        event = exact.loads(data)
        kind = event.get("type")
        if kind == "error":  # the last event says it again, and clients wait for that one
            self._held = self.error(Refusal(500, _error_in(event)))
            return []
        if kind in LAST:
            self._note(kind, members(event.get("response")))
        return [self._message(data)]

    def end(self) -> bytes:
        """What is left to say when no more events come: nothing after a good end."""
        if self.status:
            return b""
        error = {"code": "upstream_error", "message": "the provider's answer broke off"}
        return self._held or self.error(Refusal(502, {"type": "upstream_error", **error}))

    def warm(self, response: Json) -> list[bytes]:
        """The messages of a turn that is to prepare the next one: `response` has nothing in it."""
        begun = {**response, "status": "in_progress", "completed_at": None, "usage": None}
        self._note("response.completed", response)
        told = [("response.created", begun), ("response.completed", response)]
        return [
            self._message(exact.dumps({"type": kind, "response": each, "sequence_number": number}))
            for number, (kind, each) in enumerate(told)
        ]

    def error(self, error: RouteurError | Refusal) -> bytes:
        """The message of an error in this turn."""
        return error_event(error, self.lane, self.sent)

    def _note(self, kind: str, response: Json) -> None:
        self.status = kind.removeprefix("response.")
        self.id = string(response.get("id"))
        if self.status != "failed":
            self.output = output_of(exact.dumps(response))

    def _message(self, data: bytes) -> bytes:
        self.sent += 1
        if self.lane is None:
            return data
        return b'%b,"stream_id":"%b"}' % (data.rstrip()[:-1], self.lane.encode())


@dataclass(frozen=True, slots=True)
class Remembered:
    """A conversation up to a response: what was said after `base`."""

    base: str
    said: tuple[Item, ...]


class Lanes:
    """The turns of one connection. A conversation has at most `max_body` bytes."""

    __slots__ = ("_answers", "_names", "_running", "_waiting", "_waiting_size", "max_body")

    def __init__(self, max_body: int) -> None:
        self.max_body = max_body
        self._names: set[str] = set()
        self._running: set[Turn] = set()
        self._waiting: deque[Turn] = deque()
        self._waiting_size = 0
        self._answers: dict[str, Remembered] = {}  # by their last response

    @property
    def idle(self) -> bool:
        """Whether no turn is under way or waits."""
        return not (self._running or self._waiting)

    def take(self, message: bytes) -> Turn:
        """A client's message becomes a turn, which waits. Raises Misread."""
        lane = None
        try:
            event = body.parse(message)
            lane = self._lane(event)
            turn = _turn(message, event, lane)
            size = len(turn.raw) + self._waiting_size
            if len(self._waiting) >= WAITING or (self._waiting and size > self.max_body):
                raise LimitExceeded("too many turns wait on this connection: send them later")
        except RouteurError as error:
            raise Misread(error, lane) from None
        if lane is not None:
            self._names.add(lane)
        self._waiting.append(turn)
        self._waiting_size += len(turn.raw)
        return turn

    def ready(self) -> list[Turn]:
        """The turns that begin now, in the order in which they came."""
        busy = {turn.lane for turn in self._running}
        begun: list[Turn] = []
        for turn in self._waiting:
            if len(self._running) + len(begun) >= IN_FLIGHT:
                break
            if turn.lane not in busy:
                begun.append(turn)
                busy.add(turn.lane)
        for turn in begun:
            self._waiting.remove(turn)
            self._waiting_size -= len(turn.raw)
        self._running.update(begun)
        return begun

    def begin(self, turn: Turn) -> None:
        """Give it what was said before, as far as only this connection knows it.

        Raises ClientError.
        """
        new = own_input(turn.raw)
        known = self._answers.get(turn.previous) or Remembered(turn.previous, ())
        if turn.previous and not known.base:
            require_calls(known.said, new)
        if size_of(known.said) + len(turn.raw) > self.max_body:
            raise ClientError("the conversation has become too long for one request")
        turn.base, turn.said = known.base, known.said + new
        if turn.previous and turn.previous != known.base:
            turn.asked = turn.raw
            turn.raw = continued(turn.raw, known.said, previous_response_id=known.base or None)

    def learn(self, turn: Turn) -> None:
        """Its last event is there: what it has to be remembered by."""
        if turn.status == "failed":
            self._answers.pop(turn.previous, None)
        elif turn.id and not (turn.store and turn.generate):
            self._remember(turn)

    def over(self, turn: Turn) -> None:
        """A turn has ended, however. One without a last event has failed."""
        self._running.discard(turn)
        if not turn.status:
            self._answers.pop(turn.previous, None)

    def drop_waiting(self) -> None:
        """What waits will not begin any more."""
        self._waiting.clear()
        self._waiting_size = 0

    def _remember(self, turn: Turn) -> None:
        said = (*turn.said, *_without_bare_reasoning(turn.output))
        self._answers.pop(turn.id, None)
        self._answers[turn.id] = Remembered(turn.base, said)
        sizes = [size_of(each.said) for each in self._answers.values()]
        while len(sizes) > 1 and (len(sizes) > REMEMBERED or sum(sizes) > REMEMBERED_SIZE):
            del self._answers[next(iter(self._answers))]
            del sizes[0]

    def _lane(self, event: Json) -> str | None:
        """The lane that a message names; raises ClientError."""
        name = event.get("stream_id")
        if name is None:
            return None
        if not isinstance(name, str) or not _STREAM_ID.fullmatch(name):
            raise ClientError(
                "`stream_id` must be 1 to 256 of the characters A-Z a-z 0-9 _ . -",
                code="invalid_stream_id",
                param="stream_id",
            )
        if name not in self._names and len(self._names) >= NAMED:
            raise ClientError(
                "This WebSocket connection has reached its stream limit.",
                code="websocket_stream_limit_reached",
                param="stream_id",
            )
        return name


class Misread(Exception):
    """A message that is no turn, and the lane that it named."""

    def __init__(self, error: RouteurError, lane: str | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.lane = lane


def time_is_up() -> ClientError:
    """For a connection that has lasted as long as it may."""
    return ClientError(
        "This WebSocket connection has reached its time limit.",
        code="websocket_connection_limit_reached",
    )


def error_event(error: RouteurError | Refusal, lane: str | None = None, number: int = 0) -> bytes:
    """The message of an error; codes are those that clients know."""
    if isinstance(error, Refusal):
        told = {name: error.error.get(name) for name in ("code", "message", "type", "param")}
    else:
        told = {"code": error.code, "message": error.message, "type": error.type}
        told["param"] = error.param
    event: dict[str, Any] = {"type": "error", "status": error.status, "sequence_number": number}
    if lane is not None:
        event["stream_id"] = lane
    return exact.dumps({**event, "error": told})


def _turn(message: bytes, event: Json, lane: str | None) -> Turn:
    kind = event.get("type")
    if kind != CREATE:
        raise ClientError(f"`type` must be {CREATE}", param="type")
    if event.get("background"):
        raise ClientError(
            "`background` is not supported over WebSocket: use POST",
            code="unsupported_parameter",
            param="background",
        )
    for name in ("generate", "store"):
        if not isinstance(event.get(name), bool | None):
            raise ClientError(f"`{name}` must be true or false", param=name)
    previous = event.get("previous_response_id")
    if previous is not None and not isinstance(previous, str):
        raise ClientError("`previous_response_id` must be a string", param="previous_response_id")
    return Turn(
        lane,
        _as_post(message),
        previous or "",
        store=event.get("store") is not False,
        generate=event.get("generate") is not False,
    )


def _as_post(message: bytes) -> bytes:
    """The body of a POST that asks for the same; its members keep their bytes."""
    told = members_of(message)
    for name in _NOT_ON:
        told.pop(name, None)
    return object_of({**told, "stream": b"true"})


def _error_in(event: Json) -> Json:
    """The error of an event, which has it in a member, or is it."""
    told = members(event.get("error")) or event
    known = {name: told.get(name) for name in ("code", "message", "param")}
    kind = string(members(event.get("error")).get("type")) or "server_error"
    return {**known, "type": kind}


def _without_bare_reasoning(output: Sequence[Item]) -> tuple[Item, ...]:
    """A provider that stores nothing knows its reasoning only by what is sealed in it."""
    return tuple(item for item in output if not _is_bare(members(exact.loads(item))))


def _is_bare(item: Json) -> bool:
    return (
        item.get("type") == "reasoning"
        and not item.get("encrypted_content")
        and not item.get("content")
    )
