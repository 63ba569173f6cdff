"""What clients ask of stored responses: to see, follow, list, cancel and delete them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from urllib.parse import parse_qsl

from aiohttp import web

from routeur import answers
from routeur.dialects import exact
from routeur.jobs import Jobs
from routeur.responses import Stored, page, require_stream, starting_after, with_ids
from routeur.shelf import Shelf

PREFIX = "/v1/responses/"
STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "Server": "routeur",
}
NOTHING: Mapping[str, str] = {}


class Retrieval:
    """`owner` is who asks, by the key's id."""

    def __init__(self, shelf: Shelf, jobs: Jobs) -> None:
        self._shelf = shelf
        self._jobs = jobs

    async def answer(
        self, request: web.BaseRequest, path: str, query: str, owner: str
    ) -> web.StreamResponse | Stored | None:
        """The answer; a response that a provider keeps, who has to be asked; None: nobody here
        knows it. Raises ClientError, StoreUnavailable.
        """
        id, _, what = path.removeprefix(PREFIX).partition("/")
        found = await self._jobs.find(id, owner)
        if found is None or found.pinned:
            return found
        asked = dict(parse_qsl(query))
        if request.method == "DELETE":
            return answers.plain(200, await self._jobs.delete(id, owner))
        if what == "input_items":
            said = await self._shelf.before(found)
            return answers.plain(200, exact.dumps(page(with_ids(said, id), asked)))
        if what == "cancel":
            return answers.plain(200, (await self._jobs.cancel(id, owner)).response)
        number = starting_after(asked)
        if number is None:
            return answers.plain(200, found.response)
        require_stream(found)
        return await send(request, self._jobs.follow(id, owner, number))


async def send(
    request: web.BaseRequest,
    frames: AsyncGenerator[bytes, None],
    about: Mapping[str, str] = NOTHING,
) -> web.StreamResponse:
    """Frames as they come, to a client that may leave at any time; `about` are more headers."""
    answer = web.StreamResponse(headers={**about, **STREAM})
    async with aclosing(frames):
        await answer.prepare(request)
        async for each in frames:
            await answer.write(each)
    await answer.write_eof()
    return answer
