"""The Responses API where it outlives a request: what is stored, continued, in the background, and
connections whose turns remember each other.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from routeur.call import Call
from routeur.choosing import Chooser
from routeur.compaction import secret_for
from routeur.continuation import Continuation
from routeur.dialects.base import Route
from routeur.errors import Forbidden
from routeur.facts import Facts
from routeur.inside import Serve
from routeur.jobs import Jobs
from routeur.keys import Caller
from routeur.responses import Stored, not_found
from routeur.retrieval import PREFIX, Retrieval
from routeur.shelf import Shelf
from routeur.store.base import Store
from routeur.turns import PATH, Turns
from routeur.websocket import Answerer, Session

RESPONSES = "openai_responses"


class Stateful:
    """All of it, for one process. `shared`: others use the store, too. `secret` seals summaries.

    `keep` is in seconds, `max_size` in bytes, `max_body` the same of a WebSocket's messages.
    `inside` is the door for requests that routeur makes of itself. `lost` is told how many
    responses could not be kept, `malformed` and `bug` mistakes of ours.
    """

    def __init__(
        self,
        store: Store,
        secret: bytes,
        keep: float,
        max_size: int,
        max_body: int,
        chooser: Callable[[], Chooser],
        inside: Serve,
        lost: Callable[[int], None],
        malformed: Callable[..., None],
        bug: Callable[[BaseException], None],
        *,
        shared: bool,
    ) -> None:
        self.shelf = Shelf(store, keep, max_size, lost, shared=shared)
        self._jobs = Jobs(store, self.shelf, bug)
        self._retrieval = Retrieval(self.shelf, self._jobs)
        key = secret_for(secret)
        self._before = Continuation(self.shelf, self._jobs, key, chooser, inside, malformed)
        self._sessions: set[Session] = set()
        self._draining = False
        self._max_body = max_body
        self._inside = inside
        self._malformed = malformed
        self._bug = bug

    # ---- life

    def start(self) -> None:
        self.shelf.start()

    def configure(self, keep: float, max_size: int) -> None:
        """Other bounds from now on."""
        self.shelf.keep, self.shelf.max_size = keep, max_size

    def drain(self) -> None:
        """Connections end when their turns have."""
        self._draining = True
        for session in self._sessions:
            session.drain()

    @property
    def busy(self) -> bool:
        """Whether a response is made in the background."""
        return self._jobs.busy

    async def stop(self) -> None:
        """What is still made in the background fails; what waits is written."""
        await self._jobs.stop()
        await self.shelf.stop()

    # ---- requests

    async def prepare(self, facts: Facts, call: Call) -> web.StreamResponse | None:
        """Before it is decided who answers: the answer, if that is made here."""
        return await self._before.prepare(facts, call)

    async def answer(
        self, request: web.BaseRequest, caller: Caller, route: Route, path: str, query: str
    ) -> web.StreamResponse | tuple[str, str]:
        """To a request about a response that was made before; else who has to be asked: provider
        and credential ("": any). Raises NotFound.
        """
        if not caller.infers:
            raise Forbidden("this key manages: it cannot be used for inference")
        found = await self._retrieval.answer(request, path, query, caller.id)
        if isinstance(found, Stored):
            return found.provider, found.credential
        if found is not None:
            return found
        name = self._before.only_keeper()
        if name is None:
            raise not_found(path.removeprefix(PREFIX).partition("/")[0])
        return name, ""

    async def converse(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """Serve a WebSocket to its end. Raises ClientError for what is no handshake.

        Each turn is a request inside, which has to be allowed by its key, and its limits.
        """
        if not caller.infers:
            raise Forbidden("this key manages: it cannot be used for inference")
        turns = Turns(self._inside, request.raw_path, request.raw_headers, self._malformed)
        session = Session(Answerer(turns.run, turns.warm, self._bug), self._max_body)
        self._sessions.add(session)
        if self._draining:
            session.drain()
        try:
            return await session.serve(request)
        finally:
            self._sessions.discard(session)
            turns.close()


def is_about_stored(route: Route) -> bool:
    """Whether requests that create nothing are about a response that was made before."""
    return route.format == RESPONSES


def is_conversation(path: str, upgrade: str | None) -> bool:
    """Whether a GET asks for a WebSocket of the Responses API."""
    return path == PATH and (upgrade or "").lower() == "websocket"
