"""How the turns of a WebSocket are answered: each is a request of its own, made inside.

So every turn has its plan, its limits and its trace, whoever answers it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from routeur.call import new_id
from routeur.dialects import exact
from routeur.dialects.base import Json, Usage
from routeur.dialects.loose import members
from routeur.dialects.openai_responses.resource import write_usage
from routeur.inside import Fields, Inside, Serve, fields_of
from routeur.lanes import Refusal, Turn
from routeur.responses import empty
from routeur.turn_sockets import Berth, Sockets

PATH = "/v1/responses"
DRY_RUN = (b"Routeur-Dry-Run", b"true")


class Turns:
    """Those of one connection. `target` and `fields` are its handshake's: they carry its key."""

    def __init__(
        self, serve: Serve, target: str, fields: Fields, malformed: Callable[..., None]
    ) -> None:
        _, mark, query = target.partition("?")
        self._serve = serve
        self._target = PATH + mark + query
        self._fields = fields
        self._malformed = malformed
        self._sockets = Sockets()

    def close(self) -> None:
        """The connection has ended."""
        self._sockets.close()

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """The data of a turn's events; raises Refusal and RouteurError."""
        berth = Berth(self._sockets, turn.lane, turn.raw, turn.asked, turn.previous)
        request = self._ask(turn.raw, berth=berth)
        try:
            await request.ask()
            if request.status >= 300 or not request.streams:
                raise refusal(request.status, await request.whole())
            async for data in request.events():
                yield data
        finally:
            await request.close()

    async def warm(self, turn: Turn) -> Json:
        """The response of a turn to prepare the next: whether that could be answered is asked."""
        request = self._ask(turn.raw, DRY_RUN)
        try:
            await request.ask()
            body = await request.whole()
        finally:
            await request.close()
        if request.status != 200:
            raise refusal(request.status, body)
        response = empty(turn.raw, f"resp_{new_id()[3:]}", turn.previous)
        return {**response, "status": "completed", "usage": write_usage(Usage())}

    def _ask(self, raw: bytes, *more: tuple[bytes, bytes], berth: Berth | None = None) -> Inside:
        fields = (*fields_of(self._fields, raw), *more)
        return Inside(self._serve, "POST", self._target, fields, raw, self._malformed, berth)


def refusal(status: int, body: bytes) -> Refusal:
    """An answer that is no stream of events, as the error that it says it is."""
    try:
        error = members(members(exact.loads(body)).get("error"))
    except ValueError:
        error = {}
    if not error.get("message"):
        error = {"code": "upstream_error", "message": "the provider sent no stream", **error}
        status = max(status, 502)
    return Refusal(status, error)
