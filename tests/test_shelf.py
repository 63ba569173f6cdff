"""The shelf: responses are found at once, whose they are, and conversations go on from them."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest

from routeur import responses, shelf
from routeur.errors import ClientError, NotFound
from routeur.recording import Tape, linked
from routeur.responses import LINKS, Stored
from routeur.shelf import Shelf
from routeur.store.base import StoreUnavailable
from routeur.store.memory import MemoryStore
from tests.fake import PATIENCE


class Store(MemoryStore):
    """One that can be out of order, and be slow."""

    broken = False

    def __init__(self):
        super().__init__("a")
        self.news = asyncio.Event()

    async def keep(self, items):
        self.require()
        await super().keep(items)
        self.news.set()

    async def kept(self, id):
        self.require()
        return await super().kept(id)

    def require(self):
        if self.broken:
            raise StoreUnavailable("out of order")

    async def until_kept(self, id):
        async with asyncio.timeout(PATIENCE):
            while await MemoryStore.kept(self, id) is None:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
async def made(store, monkeypatch):
    monkeypatch.setattr(shelf, "PAUSE", 0.0)
    monkeypatch.setattr(shelf, "AGAIN", 0.01)
    found = Shelf(store, keep=1000.0, max_size=1 << 30, lost=lambda count: None)
    found.start()
    yield found
    await found.stop()


def user(text):
    return orjson.dumps({"role": "user", "content": text})


def answered(id, text="yes", owner="k", **more):
    part = {"type": "output_text", "text": text}
    output = [{"type": "message", "role": "assistant", "content": [part]}]
    response = orjson.dumps({"id": id, "status": "completed", "output": output})
    return Stored(id, owner, time.time(), response=response, **more)


def texts(said):
    told = [orjson.loads(item)["content"] for item in said]
    return [each if isinstance(each, str) else each[0]["text"] for each in told]


async def test_found_at_once_and_kept_later(made, store):
    one = answered("resp_1", input=(user("Hi"),))
    store.broken = True
    made.add(one)
    assert await made.get("resp_1", "k") == one
    await asyncio.sleep(0.02)
    assert await made.get("resp_1", "k") == one
    store.broken = False

    await store.until_kept("resp_1")
    assert await made.get("resp_1", "k") == one


async def test_anothers_is_not_there(made, store):
    made.add(answered("resp_1"))
    for _ in range(2):
        with pytest.raises(NotFound, match=r"Response with id 'resp_1' not found\."):
            await made.get("resp_1", "other")
        with pytest.raises(NotFound):
            await made.find("resp_1", "other")
        with pytest.raises(NotFound):
            await made.delete("resp_1", "other")
        with pytest.raises(ClientError) as caught:
            await made.previous("resp_1", "other")
        assert caught.value.code == "previous_response_not_found"
        await store.until_kept("resp_1")
    assert await made.find("resp_2", "other") is None


async def test_deleted(made, store):
    made.add(answered("resp_1"))
    assert orjson.loads(await made.delete("resp_1", "k"))["deleted"] is True
    with pytest.raises(NotFound):
        await made.get("resp_1", "k")
    made.add(answered("resp_2"))
    await store.until_kept("resp_2")
    await made.delete("resp_2", "k")

    assert await store.kept("resp_1") is None
    assert await store.kept("resp_2") is None


async def test_what_was_deleted_does_not_come_back(made, store, monkeypatch):
    """Not even if it was just being written."""
    monkeypatch.setattr(shelf, "LARGE", 10)
    made.add(answered("resp_1"))
    for _ in range(3):  # until it is being packed
        await asyncio.sleep(0)
    assert not made._news.is_set()
    await made.delete("resp_1", "k")
    made.add(answered("resp_2"))
    await store.until_kept("resp_2")

    assert await store.kept("resp_1") is None


async def test_the_rest_is_written_at_the_end(store):
    one = Shelf(store, 1000.0, 1 << 30, lambda count: None)
    one.start()
    one.add(answered("resp_1"))
    await one.stop()

    assert await store.kept("resp_1") is not None


async def test_a_store_that_never_works_does_not_fill_the_memory(store, monkeypatch):
    monkeypatch.setattr(shelf, "WAITING", 3)
    lost = []
    one = Shelf(store, 1000.0, 1 << 30, lost.append)
    for number in range(5):
        one.add(answered(f"resp_{number}"))

    assert lost == [1, 1]
    assert [*one._waiting] == ["resp_2", "resp_3", "resp_4"]


async def test_what_is_too_old_is_forgotten(store, monkeypatch):
    await store.keep([responses.pin("resp_1", "k", time.time() - 2000, "openai", "a")])
    await store.keep([responses.pin("resp_2", "k", time.time(), "openai", "a")])
    one = Shelf(store, 1000.0, 1 << 30, lambda count: None)
    one.start()
    await asyncio.sleep(0.01)
    await one.stop()

    assert await store.kept("resp_1") is None
    assert await store.kept("resp_2") is not None


async def test_a_long_conversation(made, store):
    """Each response keeps its own part; now and then one keeps all, so that none has to be read
    whole from many.
    """
    previous, before = None, ()
    for number in range(3 * LINKS):
        new = (user(f"q{number}"),)
        one = linked(answered(f"resp_{number}", f"a{number}"), previous, before, new)
        made.add(one)
        previous, before = one, await made.said(one)
        expected = [f"{side}{n}" for n in range(number + 1) for side in "qa"]
        assert texts(before) == expected
        assert texts(await made.before(one)) == expected[:-1]

    kept = [await made.get(f"resp_{n}", "k") for n in range(3 * LINKS)]
    assert [n for n, each in enumerate(kept) if not each.previous] == [0, LINKS, 2 * LINKS]
    assert max(each.depth for each in kept) == LINKS - 1


async def test_a_conversation_with_a_gap(made):
    first = linked(answered("resp_1"), None, (), (user("q"),))
    second = linked(answered("resp_2"), first, (), (user("r"),))
    made.add(first)
    made.add(second)
    await made.delete("resp_1", "k")

    with pytest.raises(ClientError) as caught:
        await made.said(second)
    assert caught.value.code == "previous_response_not_found"


async def test_what_a_provider_keeps_is_not_said_here(made, store):
    await store.keep([responses.pin("resp_1", "k", time.time(), "openai", "openai-2")])

    assert await made.previous("resp_9", "k") is None
    assert (await made.previous("resp_1", "k")).credential == "openai-2"


async def test_a_store_that_does_not_answer(made, store):
    store.broken = True

    with pytest.raises(StoreUnavailable):
        await made.previous("resp_1", "k")
    with pytest.raises(StoreUnavailable):
        await made.get("resp_1", "k")


# ---- requests and their answers


async def prepared(made, body, owner="k"):
    return await made.prepare(orjson.dumps(body), body, owner, 1000)


async def test_a_request_without_a_past(made):
    found = await prepared(made, {"model": "m", "input": "Hi"})

    assert found.raw == b'{"model":"m","input":"Hi"}'
    assert (found.place, found.unknown) == (None, "")
    assert found.recording.keeps
    assert not (await prepared(made, {"input": "Hi", "store": False})).recording.keeps


async def test_a_request_that_goes_on(made):
    made.add(answered("resp_1", input=(user("q"),)))
    body = {"model": "m", "input": "More", "previous_response_id": "resp_1"}
    found = await prepared(made, body)
    assert texts(responses.own_input(found.raw)) == ["q", "yes", "More"]
    assert b"previous_response_id" not in found.raw

    tape = Tape(found.recording)
    assert tape.stored(5.0, "anthropic", "main") is None
    text = b'{"id":"resp_2","status":"completed","output":[]}'
    assert tape.whole(text) == text
    kept = tape.stored(5.0, "anthropic", "main")
    assert (kept.id, kept.owner, kept.previous, kept.provider) == (
        "resp_2",
        "k",
        "resp_1",
        "anthropic",
    )
    made.add(kept)
    assert texts(await made.before(kept)) == ["q", "yes", "More"]


async def test_a_request_that_a_provider_has_to_answer(made):
    pinned = responses.pin("resp_1", "k", time.time(), "openai", "openai-2")
    made.add(responses.unpack(pinned))
    found = await prepared(made, {"previous_response_id": "resp_1", "input": "x"})
    assert found.place == ("openai", "openai-2")
    assert b"resp_1" in found.raw

    other = await prepared(made, {"previous_response_id": "resp_9", "input": "x"})
    assert (other.place, other.unknown) == (None, "resp_9")


@pytest.mark.parametrize(
    "body, code",
    [
        ({"previous_response_id": 1}, "invalid_request"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "invalid_request"),
        ({"previous_response_id": "resp_other"}, "previous_response_not_found"),
        ({"previous_response_id": "resp_1", "input": "x" * 990}, "request_too_large"),
        (
            {
                "previous_response_id": "resp_1",
                "input": [{"type": "function_call_output", "call_id": "c", "output": ""}],
            },
            "invalid_request",
        ),
    ],
)
async def test_requests_that_cannot_go_on(made, body, code):
    made.add(answered("resp_1", input=(user("q"),)))
    made.add(answered("resp_other", owner="other"))

    with pytest.raises(ClientError) as caught:
        await prepared(made, body)
    assert caught.value.code == code


async def test_what_another_process_is_about_to_write(store, monkeypatch):
    monkeypatch.setattr(shelf, "PAUSE", 0.01)
    here = Shelf(store, 1000.0, 1 << 30, lambda count: None, shared=True)
    there = Shelf(store, 1000.0, 1 << 30, lambda count: None)
    there.start()
    one = answered("resp_1")
    there.add(one)

    assert await here.get("resp_1", "k") == one
    await there.stop()
