"""A response that nobody waits for: queued, in progress, and ended in one of four ways.

It is made of the events of an ordinary stream, under the id that its client was told at once.
"""

from __future__ import annotations

from time import time

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import members, string
from routeur.errors import ClientError

QUEUED, IN_PROGRESS, CANCELLED, FAILED = "queued", "in_progress", "cancelled", "failed"
# What may follow; nothing does once it has ended.
NEXT = {
    QUEUED: frozenset([IN_PROGRESS, "completed", "incomplete", FAILED, CANCELLED]),
    IN_PROGRESS: frozenset([IN_PROGRESS, "completed", "incomplete", FAILED, CANCELLED]),
}
# What an answer does not change: its client has been told.
_MINE = ("id", "created_at", "background", "store", "previous_response_id")


class Background:
    """One response. `response` is its object now, `number` the next event's.

    `queued` is that object as it was made, with its id; `background` and `store` are true in it.
    """

    __slots__ = ("number", "response")

    def __init__(self, queued: Json, number: int = 0) -> None:
        self.response = {**queued, "status": QUEUED, "background": True, "store": True}
        self.number = number

    @classmethod
    def resumed(cls, response: Json, number: int) -> Background:
        """One as it was when somebody looked."""
        found = cls(response, number)
        found.response = response
        return found

    @property
    def status(self) -> str:
        return string(self.response.get("status"))

    @property
    def ended(self) -> bool:
        return self.status not in NEXT

    def begin(self) -> bytes:
        """The first frames: it is made, and it waits."""
        return self._frame("response.created", response=self.response) + self._frame(
            "response.queued", response=self.response
        )

    def take(self, event: Json) -> bytes:
        """The frames of an event of the stream that it is made of."""
        kind = string(event.get("type"))
        if self.ended or not kind or kind in ("response.created", "response.queued"):
            return b""
        told = members(event.get("response"))
        if told:
            status = string(told.get("status")) or kind.removeprefix("response.")
            if status not in NEXT[self.status]:
                return b""
            event = {**event, "response": self._become(told, status)}
        elif self.status == QUEUED:
            self.response = {**self.response, "status": IN_PROGRESS}
        rest = {name: each for name, each in event.items() if name != "type"}
        return self._frame(kind, **rest)

    def fail(self, code: str, message: str) -> bytes:
        """It will not be completed."""
        if self.ended:
            return b""
        error = {"code": code, "message": message}
        self._become({"error": error}, FAILED)
        return self._frame("response.failed", response=self.response)

    def cancel(self) -> bytes:
        """Its client wants it no more. A second time changes nothing."""
        if self.ended:
            return b""
        self._become({}, CANCELLED)
        return self._frame("response.cancelled", response=self.response)

    def _become(self, told: Json, status: str) -> Json:
        mine = {name: self.response[name] for name in _MINE if name in self.response}
        if status == "completed":
            mine["completed_at"] = int(time())
        self.response = {**self.response, **told, **mine, "status": status}
        return self.response

    def _frame(self, kind: str, **members: object) -> bytes:
        told = {"type": kind, **members, "sequence_number": self.number}
        self.number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), exact.dumps(told))


def require_background(response: Json) -> None:
    """Raise ClientError for a response that cannot be cancelled."""
    if response.get("background") is not True:
        raise ClientError(
            "only a response that was created with `background: true` can be cancelled"
        )


def interrupted(response: Json) -> Json:
    """The object of one whose process ended before it did."""
    error = {"code": "server_error", "message": "the response was interrupted: ask again"}
    return {**response, "status": FAILED, "error": error}
