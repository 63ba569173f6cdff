"""What clients ask of stored responses, over HTTP."""

from __future__ import annotations

import time

import aiohttp
import orjson
import pytest
from aiohttp import web

from routeur import responses
from routeur.errors import RouteurError
from routeur.eventlog import EventLog
from routeur.jobs import Jobs
from routeur.responses import Stored
from routeur.retrieval import Retrieval
from routeur.shelf import Shelf
from routeur.store.memory import MemoryStore

STREAM = b"".join(
    b'event: x\ndata: {"type":"x","sequence_number":%d}\n\n' % number for number in range(4)
)


class Place:
    """A server that knows nothing else. `told` is what it leaves to others."""

    def __init__(self):
        store = MemoryStore("a")
        self.shelf = Shelf(store, 1000.0, 1 << 30, lambda count: None)
        self.retrieval = Retrieval(self.shelf, Jobs(store, self.shelf, lambda bug: None))
        self.told = []

    async def handle(self, request):
        owner = request.headers.get("Owner", "k")
        path, _, query = request.raw_path.partition("?")
        try:
            found = await self.retrieval.answer(request, path, query, owner)
        except RouteurError as error:
            return web.json_response({"error": error.message}, status=error.status)
        if isinstance(found, web.StreamResponse):
            return found
        self.told.append(found)
        return web.Response(status=299)


@pytest.fixture
async def place():
    place = Place()
    runner = web.ServerRunner(web.Server(place.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as place.http:
        yield place
    await runner.cleanup()


def stored(id="resp_1", owner="k", **more):
    log = EventLog()
    log.add(STREAM)
    output = [{"type": "message", "id": "msg_9", "role": "assistant", "content": []}]
    response = orjson.dumps({"id": id, "status": "completed", "output": output})
    said = tuple(orjson.dumps({"role": "user", "content": text}) for text in "ab")
    known = {"response": response, "stream": tuple(log.whole()), "input": said} | more
    return Stored(id, owner, time.time(), **known)


async def ask(place, path, method="GET", **headers):
    async with place.http.request(method, f"/v1/responses/{path}", headers=headers) as answer:
        return answer.status, await answer.read()


async def test_to_see_it(place):
    place.shelf.add(stored())

    assert await ask(place, "resp_1") == (200, stored().response)


async def test_to_take_its_stream_up(place):
    place.shelf.add(stored())

    assert await ask(place, "resp_1?stream=true") == (200, STREAM)
    status, rest = await ask(place, "resp_1?stream=true&starting_after=1")
    assert (status, rest) == (200, STREAM[len(STREAM) // 2 :])
    assert await ask(place, "resp_1?stream=true&starting_after=9") == (200, b"")
    assert (await ask(place, "resp_1?stream=true&starting_after=x"))[0] == 400


async def test_one_that_was_not_streamed(place):
    place.shelf.add(stored(stream=()))

    status, body = await ask(place, "resp_1?stream=true")
    assert status == 400
    assert b"was not created with stream=true" in body


async def test_its_input(place):
    first = stored("resp_0")
    place.shelf.add(first)
    place.shelf.add(stored(previous="resp_0", depth=1))

    status, body = await ask(place, "resp_1/input_items?limit=3&order=asc&include=x")
    told = orjson.loads(body)
    assert [each["content"] and each["content"][0]["text"] for each in told["data"]] == [
        "a",
        "b",
        [],
    ]
    assert (status, told["has_more"], told["data"][2]["id"]) == (200, True, "msg_9")
    rest = orjson.loads(
        (await ask(place, f"resp_1/input_items?order=asc&after={told['last_id']}"))[1]
    )
    assert [each["content"][0]["text"] for each in rest["data"]] == ["a", "b"]
    assert (await ask(place, "resp_1/input_items?limit=0"))[0] == 400


async def test_to_delete_it(place):
    place.shelf.add(stored())
    status, body = await ask(place, "resp_1", "DELETE")

    assert (status, orjson.loads(body)["deleted"]) == (200, True)
    assert (await ask(place, "resp_1"))[0] == 299
    assert place.told == [None]


async def test_to_cancel_it(place):
    place.shelf.add(stored())

    assert (await ask(place, "resp_1/cancel", "POST"))[0] == 400


@pytest.mark.parametrize("path", ["", "?stream=true", "/input_items", "/cancel"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_anothers_is_not_there(place, path, method):
    place.shelf.add(stored())
    place.shelf.add(responses.unpack(responses.pin("resp_2", "k", 1.0, "openai", "x")))

    for id in ("resp_1", "resp_2"):
        status, body = await ask(place, id + path, method, Owner="other")
        assert status == 404
        assert f"Response with id '{id}' not found." in body.decode()
    assert place.told == []


async def test_what_others_keep(place):
    pinned = responses.unpack(responses.pin("resp_2", "k", 1.0, "openai", "openai-2"))
    place.shelf.add(pinned)

    assert (await ask(place, "resp_2"))[0] == 299
    assert (await ask(place, "resp_3/input_items"))[0] == 299
    assert place.told == [pinned, None]
