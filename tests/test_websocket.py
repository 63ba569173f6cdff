"""A WebSocket of the Responses API on the server that clients see; a test answers its turns."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager, suppress

import aiohttp
import orjson
import pytest

from routeur import websocket
from routeur.errors import PaymentRequired, RouteurError
from routeur.lanes import Lanes, Refusal
from routeur.server import ClientConnection, Server
from routeur.websocket import Answerer, Session
from tests.fake import PATIENCE

MAX_BODY = 4 << 20


class Answers:
    """Answers turns as a test wants; notes which were begun, and which were cancelled."""

    def __init__(self):
        self.begun, self.cancelled, self.bugs = [], [], []
        self.go = asyncio.Event()
        self.go.set()
        self.news = asyncio.Event()
        self.sent = 0
        self.size = 1
        self.pieces = 2

    async def run(self, turn):
        self.begun.append(turn)
        number = len(self.begun)
        self.news.set()
        body = orjson.loads(turn.raw)
        try:
            match body["model"]:
                case "refuse":
                    raise Refusal(418, {"code": "teapot", "message": "no", "type": "t"})
                case "poor":
                    raise PaymentRequired("no money")
                case "bug":
                    raise KeyError("a mistake")
            yield b'{"type":"response.created","sequence_number":0}'
            await self.go.wait()
            for _ in range(self.pieces):
                self.sent += 1
                yield b'{"type":"response.output_text.delta","delta":"%b"}' % (b"x" * self.size)
            if body["model"] != "cut":
                yield self.last(f"resp_{number}")
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(turn)
            self.news.set()
            raise

    def last(self, id):
        response = {"id": id, "status": "completed", "output": [], "pad": "y" * 2000}
        return orjson.dumps({"type": "response.completed", "response": response})

    async def warm(self, turn):
        return {"id": "resp_warm", "status": "completed", "output": []}

    async def until(self, true):
        async with asyncio.timeout(PATIENCE):
            while not true():
                self.news.clear()
                await self.news.wait()


class Socket:
    """A client of it."""

    def __init__(self, socket):
        self.socket = socket

    async def send(self, **more):
        await self.raw(
            orjson.dumps({"type": "response.create", "model": "m", "input": "Hi", **more})
        )

    async def raw(self, data):
        await self.socket.send_str(data.decode())

    async def get(self):
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return orjson.loads(message.data)

    async def closed(self):
        async with asyncio.timeout(PATIENCE):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return self.socket.close_code, message.extra

    async def turn(self, **more):
        """The types of a turn's events."""
        await self.send(**more)
        found = []
        while True:
            event = await self.get()
            found.append(event["type"])
            if event["type"] in ("response.completed", "error"):
                return found


async def until(true):
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not true():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
def answers():
    return Answers()


class Place:
    """A server on loopback with nothing but that, and its sessions."""

    def __init__(self, answers, life):
        self.answers, self.life = answers, life
        self.sessions = []
        self.server = Server(self.handle, error_body=lambda *_: b"", malformed=lambda *_: None)

    async def handle(self, request):
        connection = request.protocol
        assert isinstance(connection, ClientConnection)
        connection.request_begins()
        answers = self.answers
        answerer = Answerer(answers.run, answers.warm, answers.bugs.append)
        session = Session(answerer, MAX_BODY, life=self.life)
        self.sessions.append(session)
        try:
            return await session.serve(request)
        except RouteurError as error:
            return aiohttp.web.Response(status=error.status, text=error.message)
        finally:
            self.sessions.remove(session)
            connection.request_ends(request)


@asynccontextmanager
async def serving(answers, life=websocket.LIFE):
    place = Place(answers, life)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(place.server, "127.0.0.1", 0)
    place.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    async with aiohttp.ClientSession() as session:
        place.http = session
        yield place
    listener.close()
    await place.server.shutdown(1.0)


@pytest.fixture
async def place(answers):
    async with serving(answers) as place:
        yield place


async def connect(place, **options):
    return Socket(await place.http.ws_connect(place.url, max_msg_size=0, **options))


async def test_turns_one_after_the_other(place, answers):
    client = await connect(place)
    usual = ["response.created", *["response.output_text.delta"] * 2, "response.completed"]

    assert await client.turn() == usual
    assert await client.turn() == usual
    assert len(answers.begun) == 2


async def test_lanes_side_by_side(place, answers):
    answers.go.clear()
    client = await connect(place)
    for lane in ("a", "b", "a"):
        await client.send(stream_id=lane)
    await answers.until(lambda: len(answers.begun) == 2)
    assert {(await client.get())["stream_id"] for _ in range(2)} == {"a", "b"}
    answers.go.set()

    ended = []
    while len(ended) < 3:
        event = await client.get()
        if event["type"] == "response.completed":
            ended.append(event["stream_id"])
    assert sorted(ended) == ["a", "a", "b"]


async def test_the_17th_turn_waits(place, answers):
    answers.go.clear()
    client = await connect(place)
    for number in range(17):
        await client.send(stream_id=str(number))
    await client.raw(b"{")
    while (await client.get())["type"] != "error":
        pass
    assert len(answers.begun) == 16
    answers.go.set()

    await answers.until(lambda: len(answers.begun) == 17)


@pytest.mark.parametrize("text", [b"{", b"{}", b"[1]", b'{"type":"x"}', b"", b"null"])
async def test_nonsense_gets_an_error_and_the_connection_stays(place, text):
    client = await connect(place)
    await client.raw(text)
    event = await client.get()

    assert (event["type"], event["status"], event["sequence_number"]) == ("error", 400, 0)
    assert (await client.turn())[-1] == "response.completed"


async def test_a_mistake_of_ours(place, answers, monkeypatch):
    def take(self, message):
        raise KeyError("a mistake")

    client = await connect(place)
    with monkeypatch.context() as patched:
        patched.setattr(Lanes, "take", take)
        await client.send()
        assert (await client.get())["error"]["code"] == "internal_error"
    assert len(answers.bugs) == 1
    assert (await client.turn())[-1] == "response.completed"


async def test_bytes_are_no_messages(place):
    client = await connect(place)
    await client.socket.send_bytes(b"{}")

    assert (await client.get())["error"]["message"] == "messages must be text"
    assert (await client.turn())[-1] == "response.completed"


@pytest.mark.parametrize(
    "model, status, code",
    [
        ("refuse", 418, "teapot"),
        ("poor", 402, "insufficient_balance"),
        ("bug", 500, "internal_error"),
    ],
)
async def test_errors_of_turns(place, answers, model, status, code):
    client = await connect(place)
    await client.send(model=model, stream_id="a")
    event = await client.get()

    assert (event["status"], event["error"]["code"], event["stream_id"]) == (status, code, "a")
    assert bool(answers.bugs) == (model == "bug")
    assert (await client.turn(stream_id="a"))[-1] == "response.completed"


async def test_an_answer_that_breaks_off(place):
    client = await connect(place)

    assert (await client.turn(model="cut"))[-1] == "error"
    assert (await client.turn())[-1] == "response.completed"


async def test_to_warm_up_and_go_on(place, answers):
    client = await connect(place)
    assert await client.turn(generate=False) == ["response.created", "response.completed"]
    await client.turn(previous_response_id="resp_warm", input="Go")

    (turn,) = answers.begun
    assert [each["content"] for each in orjson.loads(turn.raw)["input"]] == ["Hi", "Go"]


async def test_another_lane_goes_on_at_once(place, answers):
    """As soon as a client has the last event, it may use the id."""
    client = await connect(place)
    await client.turn(store=False, stream_id="a")
    await client.turn(previous_response_id="resp_1", input="More", stream_id="b")

    assert len(orjson.loads(answers.begun[1].raw)["input"]) == 2


async def test_a_new_connection_remembers_nothing(place, answers):
    first = await connect(place)
    await first.turn(store=False)
    await first.socket.close()
    second = await connect(place)
    await second.turn(previous_response_id="resp_1")

    assert orjson.loads(answers.begun[1].raw)["previous_response_id"] == "resp_1"


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_client_that_leaves_cancels_its_turns(place, answers, how):
    answers.go.clear()
    client = await connect(place)
    for lane in ("a", "b", "a"):
        await client.send(stream_id=lane)
    await answers.until(lambda: len(answers.begun) == 2)
    if how == "close":
        closing = asyncio.ensure_future(client.socket.close())
    else:
        client.socket._response.connection.transport.abort()

    await answers.until(lambda: len(answers.cancelled) == 2)
    if how == "close":
        await closing
    assert len(answers.begun) == 2
    await until(lambda: not place.server.connections)


async def test_draining_waits_for_what_is_under_way(place, answers):
    answers.go.clear()
    client, idle = await connect(place), await connect(place)
    await client.send(stream_id="a")
    await client.send(stream_id="a")
    await answers.until(lambda: len(answers.begun) == 1)
    for session in place.sessions:
        session.drain()

    assert (await idle.closed())[0] == websocket.RESTART
    answers.go.set()
    while (await client.get())["type"] != "response.completed":
        pass
    assert await client.closed() == (1012, "routeur is restarting: connect again")
    assert len(answers.begun) == 1


async def test_a_connection_lasts_for_an_hour(answers):
    async with serving(answers, life=0.05) as place:
        client = await connect(place)
        event = await client.get()

        assert event["error"]["code"] == "websocket_connection_limit_reached"
        assert event["status"] == 400
        assert (await client.closed())[0] == 1001


async def test_what_is_under_way_may_end_after_that(answers):
    answers.go.clear()
    async with serving(answers) as place:
        client = await connect(place)
        await client.send()
        await answers.until(lambda: len(answers.begun) == 1)
        place.sessions[0].expire()
        answers.go.set()
        types = []
        while not types or types[-1] != "error":
            types.append((await client.get())["type"])

        assert types[-2:] == ["response.completed", "error"]
        assert (await client.closed())[0] == 1001


@pytest.mark.parametrize("compress", [0, 15, 9])
async def test_messages_up_to_the_bound(place, answers, compress):
    client = await connect(place, compress=compress)
    large = "é" * (MAX_BODY // 2 - 100)
    answers.size = 300_000
    assert (await client.turn(input=large))[-1] == "response.completed"
    assert orjson.loads(answers.begun[0].raw)["input"] == large

    with suppress(ConnectionError):  # it is closed before all has been sent
        await client.send(input="x" * MAX_BODY)
    await client.closed()
    assert len(answers.begun) == 1


async def test_compression(place, answers):
    """Large messages are compressed, small ones not: no compressor stays in memory."""
    client = await connect(place, compress=15)
    answers.size = 100_000
    transport = client.socket._response.connection.transport
    assert client.socket.compress == 15
    got = []
    protocol = transport.get_protocol()
    receive = protocol.data_received
    protocol.data_received = lambda data: (got.append(len(data)), receive(data))
    await client.turn()

    assert sum(got) < 5_000


async def test_pings(place, answers):
    answers.go.clear()
    client = await connect(place, autoping=False)
    await client.send()
    await client.socket.ping(b"there?")
    async with asyncio.timeout(PATIENCE):
        while (message := await client.socket.receive()).type is not aiohttp.WSMsgType.PONG:
            pass
    assert message.data == b"there?"
    answers.go.set()


async def test_a_silent_client_is_asked(answers, monkeypatch):
    monkeypatch.setattr(websocket, "HEARTBEAT", 0.05)
    async with serving(answers) as place:
        deaf = await connect(place, autoping=False)
        alive = await connect(place)
        receiving = asyncio.ensure_future(alive.get())
        await until(lambda: len(place.sessions) == 1)
        answers.size = 1
        await alive.send()

        assert (await receiving)["type"] == "response.created"
        deaf.socket._response.close()


async def test_a_slow_reader_holds_its_turn(place, answers):
    """What it does not read is not made: a provider waits as long."""
    answers.size, answers.pieces = 65_000, 2_000
    client = await connect(place)
    transport = client.socket._response.connection.transport
    await client.send()
    await client.get()
    transport.pause_reading()
    before = -1
    async with asyncio.timeout(PATIENCE):
        while before != answers.sent:
            before = answers.sent
            await asyncio.sleep(0.1)

    assert answers.sent < 500
    transport.abort()
    await answers.until(lambda: answers.cancelled)


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "99"},
        {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"},
        {},
    ],
)
async def test_what_is_no_handshake(place, headers):
    async with place.http.get(place.url, headers=headers) as answer:
        assert answer.status == 400


async def test_sweeps_leave_it_alone(place):
    client = await connect(place)
    loop = asyncio.get_running_loop()
    for _ in range(40):
        place.server._idle_looked_at = 0.0
        place.server.sweep(loop.time() + 30)
    place.server.close_idle()

    assert (await client.turn())[-1] == "response.completed"


@pytest.mark.full
async def test_a_thousand_that_are_idle(place, answers):
    """Both ends are in this process: 64 KiB for the two of them."""

    def size():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    place.http._connector._limit = 0
    clients = [await connect(place) for _ in range(50)]
    before = size()
    clients += [await connect(place) for _ in range(1000)]
    grown = (size() - before) / 1000

    assert grown < 64 * 1024
    for client in clients:
        client.socket._response.connection.transport.abort()
