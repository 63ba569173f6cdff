"""Streams that are asked for usage although their client does not ask: on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import openai
import pytest

from routeur.asking import Asking, has_only_usage
from tests import targets
from tests.conftest import Client, MakeRouter
from tests.fake import CLOSE, EVENTS, HOLD, PATIENCE, RESET, Upstream, chunked, head, split, whole
from tests.recording import recording

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RECORDED = recording("OpenAICommon-openai-gpt-5-simple_streaming").body
FEW = [
    "OpenAICommon-openai-gpt-5-multi_tool_streaming.0",
    "azure-gpt-5-mini-tool_streaming.0",
    "openai-azure-model-router.1",
]
ASKS = '"stream_options":{"include_usage":true}'
TEXT = b'data: {"choices":[{"delta":{"content":"hello you"}}],"usage":null}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":31,"completion_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = b": hi\n\n" + TEXT + TEXT + LAST + USAGE + DONE
SEEN = b": hi\n\n" + TEXT + TEXT + LAST + DONE
UNKNOWN = b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}'


Make = Callable[..., Any]


@pytest.fixture
def make(make_router: MakeRouter, upstream: Upstream) -> Make:
    """A routeur whose providers `p` and `q` serve the same model; `p` has these settings."""

    async def made(retries: int = 1, rule: dict[str, Any] | None = None, **more: Any) -> Client:
        here = {"dialect": "openai", "base_url": f"{upstream.url}/v1", "models": ["m"]}
        p = {"api_key": "p", "usage": "ask", **more}
        providers = {"p": here | p, "q": here | {"api_key": "q"}}
        named = {"name": "r", "match": {"model": "any"}, "to": ["p/m", "q/m"], **(rule or {})}
        return await make_router(
            providers={"openai": None, "anthropic": None, "google": None, **providers},
            aliases=None,
            rules=[named],
            retries={"attempts": retries},
        )

    return made


@pytest.fixture
async def router(make: Make) -> Client:
    client: Client = await make()
    return client


def body(model: str = "p/m", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [], "stream": True, **more}).encode()


def request(asked: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    asked = asked or body()
    lines = [f"POST {CHAT} HTTP/{version}", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(asked)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + asked


async def ask(client: Client, asked: bytes = b"", path: str = CHAT) -> tuple[bytes, dict[str, Any]]:
    """What the client gets, and the trace."""
    answer = await client.post(path, data=asked or body())
    assert answer.status == 200, await answer.read()
    return await answer.read(), await client.trace(answer)


def exact(trace: dict[str, Any]) -> tuple[int, int]:
    assert trace["estimated"] is False
    return trace["usage"]["input_total"], trace["usage"]["output_total"]


# ── what a provider is asked


async def test_the_question(router: Client, upstream: Upstream) -> None:
    """At the end of the body, of which every other byte stays but for the model's name."""
    upstream.answers(STREAM)
    asked = b'{ "model" : "p/m", "stream":true,  "x": 1.50 , "messages":[]\n}\n'
    await router.post(CHAT, data=asked, headers={"Accept-Encoding": "gzip, br", "X-Odd": "1"})
    sent = upstream.request
    wanted = asked.replace(b"p/m", b"m").replace(b"[]", b"[]," + ASKS.encode())
    assert sent.body == wanted
    assert (sent.header("accept-encoding"), sent.header("x-odd")) == ("identity", "1")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("null", '{"include_usage":true}'),
        ('{"include_usage": false}', '{"include_usage": true}'),
        ('{"include_obfuscation": false }', '{"include_obfuscation": false,"include_usage":true }'),
    ],
)
async def test_options(router: Client, upstream: Upstream, options: str, wanted: str) -> None:
    upstream.answers(STREAM)
    asked = '{"model":"m","stream":true,"stream_options":%s,"messages":[]}'
    answer = await router.post(
        CHAT, data=asked % options, headers={"Routeur-Provider": "p", "Routeur-Model": "m"}
    )
    assert (await answer.read(), upstream.request.body.decode()) == (SEEN, asked % wanted)


@pytest.mark.parametrize(
    "asked",
    [
        body(stream_options={"include_usage": True}),
        body(stream_options={"include_usage": "yes"}),
        body(stream_options=5),
        body(stream=False),
        body("q/m"),
    ],
    ids=["asked", "odd", "odder", "whole", "no setting"],
)
async def test_no_question(router: Client, upstream: Upstream, asked: bytes) -> None:
    """Then nothing is read and nothing withheld."""
    upstream.answers(STREAM)
    answer = await router.post(CHAT, data=asked, headers={"Accept-Encoding": "br"})
    assert await answer.read() == STREAM
    assert upstream.request.body == asked.replace(b"p/m", b"m").replace(b"q/m", b"m")
    assert upstream.request.header("accept-encoding") == "br"


async def test_no_question_on_other_paths(router: Client, upstream: Upstream) -> None:
    """Raw ones neither: their bytes are nobody's but the client's."""
    for path in ("/v1/audio/speech", "/v1/images/generations", "/p/v1/chat/completions"):
        upstream.answers(STREAM)
        asked = body("m" if path.startswith("/p/") else "p/m")
        answer = await router.post(path, data=asked)
        assert await answer.read() == STREAM
        assert upstream.request.body == body("m")


# ── what a client gets


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", COMPLETIONS])
async def test_usage_is_withheld_and_booked(router: Client, upstream: Upstream, path: str) -> None:
    upstream.answers(STREAM)
    answer = await router.post(path, data=body())
    assert await answer.read() == SEEN
    assert answer.headers["Content-Type"] == EVENTS
    assert exact(await router.trace(answer)) == (31, 7)


@pytest.mark.parametrize("name", FEW)
async def test_recordings(router: Client, upstream: Upstream, name: str) -> None:
    """With Azure's first frame, which has no choices either."""
    stream = recording(name).body
    frames = stream.split(b"\n\n")
    counted = json.loads(frames.pop(-3)[6:])["usage"]
    for size in (1, 7, 64, 1000, None):
        upstream.answers(stream, chunk_size=size)
        got, trace = await ask(router)
        assert got == b"\n\n".join(frames)
        assert exact(trace) == (counted["prompt_tokens"], counted["completion_tokens"])


@pytest.mark.parametrize(
    "name",
    ["deepseek-tool-call", "groq-tool-call", "mistral-reasoning", "mistral-incremental-tool-call"],
)
async def test_usage_with_the_last_words(router: Client, upstream: Upstream, name: str) -> None:
    """Such a frame is the client's, as its content would be lost."""
    stream = recording(name).body
    upstream.answers(stream, chunk_size=100)
    got, trace = await ask(router)
    assert got == stream
    assert min(exact(trace)) > 0


async def test_cut_at_every_position(router: Client, upstream: Upstream) -> None:
    """Head and body in two reads; connections are kept on both sides."""
    frames = RECORDED.split(b"\n\n")
    seen = b"\n\n".join(frames[:-3] + frames[-2:])
    raw = chunked(RECORDED, 100)
    reader, writer = await router.connect()
    for at in range(1, len(raw), 3):
        upstream.sends(raw[:at], raw[at:])
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        got = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            got += (await reader.readexactly(size + 2))[:-2]
        assert await reader.readexactly(2) == b"\r\n"
        assert got == seen, at
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [1, 3, 64, None])
async def test_any_framing(router: Client, upstream: Upstream, framing: str, size: int) -> None:
    """A length would be wrong; a client of HTTP/1.0 gets no chunks."""
    upstream.answers(STREAM, chunk_size=size, framing=framing)
    answer = await router.post(CHAT, data=body())
    assert (await answer.read(), "Content-Length" in answer.headers) == (SEEN, False)
    raw = await router.raw(request(b"", "Connection: close"))
    assert b"Transfer-Encoding: chunked" in raw
    assert raw.endswith(b"0\r\n\r\n")
    raw = await router.raw(request(version="1.0"))
    start, _, got = raw.partition(b"\r\n\r\n")
    assert (got, b"chunked" in start.lower()) == (SEEN, False)


async def test_byte_by_byte(router: Client, upstream: Upstream) -> None:
    """Also the framing, and line ends of two bytes."""
    upstream.sends(chunked(STREAM.replace(b"\n", b"\r\n"), 1), chunk_size=1)
    got, trace = await ask(router)
    assert (got, exact(trace)) == (SEEN.replace(b"\n", b"\r\n"), (31, 7))


async def test_frames_go_when_they_come(router: Client, upstream: Upstream) -> None:
    upstream.answers(STREAM, hold=len(STREAM) - len(DONE) - 9, cuts=[10])
    reader, writer = await router.connect()
    writer.write(request(b"", "Connection: close"))
    await reader.readuntil(LAST)  # not the usage that has come with it
    upstream.release()
    assert (await reader.read()).count(b"usage") == 0


async def test_the_sdk_sees_what_it_would_see(router: Client, upstream: Upstream) -> None:
    frames = RECORDED.split(b"\n\n")
    direct = b"\n\n".join(frames[:-3] + frames[-2:])
    seen: list[list[Any]] = []
    for base, stream in ((upstream.url, direct), (router.url, RECORDED)):
        upstream.answers(stream)
        async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as gpt:
            model = "m" if base == upstream.url else "p/m"
            asked = gpt.chat.completions.create(model=model, messages=[], stream=True)
            seen.append([chunk.model_dump() async for chunk in await asked])
    assert seen[0] == seen[1]
    assert all(chunk["choices"] for chunk in seen[1])


# ── answers that are something else


@pytest.mark.parametrize("coding", ["gzip", "deflate", "members"])
@pytest.mark.parametrize("size", [None, 5])
async def test_coded_all_the_same(
    router: Client, upstream: Upstream, coding: str, size: int
) -> None:
    """The client has not been asked for it: it gets none."""
    packed = zlib.compress(STREAM)
    if coding != "deflate":
        parts = (STREAM,) if coding == "gzip" else (STREAM[:100], STREAM[100:])
        packed, coding = b"".join(map(gzip.compress, parts)), "gzip"
    headers = {"Content-Type": EVENTS, "Content-Encoding": coding}
    upstream.answers(packed, headers=headers, chunk_size=size, framing="chunked")
    answer = await router.post(CHAT, data=body())
    assert (await answer.read(), "Content-Encoding" in answer.headers) == (SEEN, False)
    assert exact(await router.trace(answer)) == (31, 7)


@pytest.mark.parametrize("sent", ["br", "gzip, br"])
async def test_coded_as_nobody_can_read(router: Client, upstream: Upstream, sent: str) -> None:
    headers = {"Content-Type": EVENTS, "Content-Encoding": sent}
    upstream.answers(b"\x8b\x00\x80\x03", headers=headers)
    answer = await router.post(CHAT, data=body())
    assert await answer.read() == b"\x8b\x00\x80\x03"
    assert answer.headers["Content-Encoding"] == sent


@pytest.mark.parametrize("size", [None, 5])
async def test_gzip_that_breaks_off_in_whole_chunks(
    router: Client, upstream: Upstream, size: int | None
) -> None:
    """Without its coding nothing else would tell the client that something is missing."""
    packed = gzip.compress(STREAM)[:-40]
    headers = {"Content-Type": EVENTS, "Content-Encoding": "gzip"}
    upstream.answers(packed, headers=headers, chunk_size=size, framing="chunked")
    answer = await router.raw(request())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert not answer.endswith(b"0\r\n\r\n")


async def test_broken_gzip_in_mid_stream(router: Client, upstream: Upstream) -> None:
    packed = zlib.compressobj(wbits=31)
    start = packed.compress(TEXT) + packed.flush(zlib.Z_SYNC_FLUSH)
    headers = [("Content-Type", EVENTS), ("Content-Encoding", "gzip"), ("Connection", "close")]
    upstream.sends(head(200, headers) + start, HOLD, b"\xff" * 99, CLOSE)
    reader, writer = await router.connect()
    writer.write(request())
    await reader.readuntil(TEXT)
    upstream.release()
    assert not (await reader.read()).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_json(router: Client, upstream: Upstream, framing: str) -> None:
    """A provider that does not stream."""
    said = b'{ "choices":[], "usage": {"prompt_tokens":31,"completion_tokens":7}}'
    upstream.answers(said, framing=framing, chunk_size=9)
    got, trace = await ask(router)
    assert (got, exact(trace)) == (said, (31, 7))


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_errors(router: Client, upstream: Upstream, status: int, framing: str) -> None:
    """Which say nothing of the question are passed on as ever, and it was one attempt."""
    upstream.answers(b'{"error": {"message":"no"}}', status, framing=framing, chunk_size=9)
    answer = await router.post(CHAT, data=body())
    assert (answer.status, await answer.read()) == (status, b'{"error": {"message":"no"}}')
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [400, 422])
async def test_a_large_error(router: Client, upstream: Upstream, status: int) -> None:
    upstream.answers(b'{"error":"%b"}' % (b"no " * 50_000), status)
    answer = await router.post(CHAT, data=body())
    assert (answer.status, len(await answer.read())) == (status, 150_012)


async def test_an_error_event_is_a_failed_attempt(make: Make, upstream: Upstream) -> None:
    """The next one is asked with the client's own body."""
    router = await make(retries=2)
    upstream.answers(b'data: {"error":{"message":"Oops"}}\n\n')
    upstream.answers(STREAM)
    got, trace = await ask(router, body("any"))
    assert got == STREAM
    assert [each["target"] for each in trace["attempts"]] == ["p/m", "q/m"]
    assert upstream.requests[1].body == body("m")


# ── a provider that refuses the question


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_a_refusal(
    router: Client, upstream: Upstream, status: int, pack: Callable[[bytes], bytes]
) -> None:
    """It is asked once more without it, and not again; usage is estimated then."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Content-Encoding": "gzip"} if pack is not bytes else {}
    upstream.answers(pack(UNKNOWN), status, headers=headers)
    plain = TEXT + LAST + DONE
    upstream.answers(plain)
    got, trace = await ask(router)

    assert (got, trace["estimated"]) == (plain, True)
    assert trace["first_token_ms"] >= trace["first_byte_ms"] > 0
    assert [ASKS in each.body.decode() for each in upstream.requests] == [True, False]
    assert upstream.requests[1].body == body("m")
    told = [(each["target"], each["status"], each["error"]) for each in trace["attempts"]]
    why = "the provider does not know `stream_options.include_usage`"
    assert told == [("p/m", status, why), ("p/m", 200, None)]
    assert (await ask(router))[0] == plain
    assert len(upstream.requests) == 3


async def test_a_refusal_of_something_else(router: Client, upstream: Upstream) -> None:
    """The second answer counts: whoever repeats the request has not refused the question."""
    for status in (400, 500):
        upstream.answers(UNKNOWN, 400)
        upstream.answers(b'{"error":{"message":"no"}}', status)
        answer = await router.post(CHAT, data=body())
        assert (answer.status, await answer.read()) == (status, b'{"error":{"message":"no"}}')
    assert [ASKS in each.body.decode() for each in upstream.requests] == [True, False] * 2
    assert not router.router.proxy.routing.asking._refused


async def test_a_refusal_and_the_clients_own_options(router: Client, upstream: Upstream) -> None:
    """What the client has asked for is refused to it."""
    upstream.answers(UNKNOWN, 400)
    asked = body(stream_options={"include_obfuscation": False})
    answer = await router.post(CHAT, data=asked)
    assert (answer.status, await answer.read()) == (400, UNKNOWN)
    assert upstream.request.body == asked.replace(b"p/m", b"m")
    assert len(upstream.requests) == 2


async def test_a_refusal_then_a_failure(make: Make, upstream: Upstream) -> None:
    router = await make(retries=3)
    upstream.answers(UNKNOWN, 400)
    upstream.answers(b"", 503)
    upstream.answers(SEEN)
    got, trace = await ask(router, body("any"))
    assert got == SEEN
    assert [each["status"] for each in trace["attempts"]] == [400, 503, 200]


async def test_the_client_leaves_after_a_refusal(router: Client, upstream: Upstream) -> None:
    upstream.answers(UNKNOWN, 400)
    upstream.sends(HOLD)
    _, writer = await router.connect()
    writer.write(request())
    again = await upstream.requested(2)
    writer.close()
    await again.connection.wait_closed()
    (id,) = router.router.traces._by_id
    trace = await router.trace_of(id)
    assert trace["status_code"] == 499
    assert [each["status"] for each in trace["attempts"]] == [400, 0]


def test_memory_is_bounded() -> None:
    asking = Asking()

    class Place:
        def __init__(self, id: str) -> None:
            self.target, self.id = self, id
            self.provider = "p"

    for number in range(2000):
        asking.refused(Place(str(number)))  # type: ignore[arg-type]
    assert len(asking._refused) == 1024
    assert ("p", "1999") in asking._refused


# ── when it goes, and how it ends


async def test_first_token(make: Make, upstream: Upstream) -> None:
    """Held bytes are looked at like others; pings keep the client's framing."""
    router = await make(commit="first_token")
    empty = b'data: {"choices":[{"delta":{"role":"assistant"}}],"usage":null}\n\n'
    for size in (1, 50, None):
        upstream.answers(empty + USAGE + STREAM, chunk_size=size)
        got, trace = await ask(router)
        assert (got, exact(trace)) == (empty + SEEN, (31, 7))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_headers_and_pings(make: Make, upstream: Upstream, version: str) -> None:
    router = await make(commit="headers", keepalive="20ms")
    upstream.sends(head(200, [("Content-Type", EVENTS), ("Content-Length", str(len(STREAM)))]))
    upstream._script[-1] += [HOLD, *split(STREAM, 30)]  # type: ignore[operator]
    reader, writer = await router.connect()
    writer.write(request(b"", "Connection: close", version=version))
    await reader.readuntil(b"\r\n\r\n")
    ping = b": keep-alive\n\n"
    ping = ping if version == "1.0" else b"%x\r\n%b\r\n" % (len(ping), ping)
    assert await reader.readexactly(2 * len(ping)) == 2 * ping
    upstream.release()
    rest = await reader.read()
    assert rest.endswith(DONE if version == "1.0" else DONE + b"\r\n0\r\n\r\n")
    assert USAGE not in rest


async def test_a_stream_longer_than_what_is_held(make: Make, upstream: Upstream) -> None:
    """64 KiB without content go, with what has been let go of meanwhile."""
    router = await make(commit="first_token")
    quiet = b'data: {"choices":[{"delta":{}}]}\n\n' * 3000
    for size in (999, 50_000):
        upstream.answers(quiet + STREAM, chunk_size=size)
        assert (await ask(router))[0] == quiet + SEEN


async def test_a_long_frame(router: Client, upstream: Upstream) -> None:
    long = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * 300_000)
    upstream.answers(long + STREAM, chunk_size=10_000)
    got, trace = await ask(router)
    assert (got, exact(trace)) == (long + SEEN, (31, 7))


@pytest.mark.parametrize("how", [CLOSE, RESET])
@pytest.mark.parametrize(
    ("came", "held"),
    [(LAST[:-1], LAST[:-1]), (USAGE[:-9], b""), (USAGE, b"")],
    ids=["in a frame", "in usage", "after usage"],
)
async def test_the_provider_breaks_off(
    router: Client, upstream: Upstream, how: Any, came: bytes, held: bytes
) -> None:
    """Visibly; the client has what has come, but for a piece of what it has not asked for."""
    upstream.sends(chunked(TEXT + came, 40, end=b""), HOLD, how)
    reader, writer = await router.connect()
    writer.write(request())
    await reader.readuntil(TEXT + b"\r\n")
    upstream.release()
    assert await reader.read() == (b"%x\r\n%b\r\n" % (len(held), held) if held else b"")
    (id,) = router.router.traces._by_id
    trace = await router.trace_of(id)
    assert (trace["estimated"], trace["usage"]["output_total"] >= 2) == (True, True)


async def test_the_client_leaves(router: Client, upstream: Upstream) -> None:
    upstream.answers(STREAM, hold=len(STREAM) - len(DONE) - 5)
    reader, writer = await router.connect()
    writer.write(request())
    await reader.readuntil(LAST)
    writer.transport.abort()
    await upstream.request.connection.wait_closed()
    (id,) = router.router.traces._by_id
    trace = await router.trace_of(id)
    assert (trace["status_code"], trace["estimated"]) == (499, True)


async def test_a_slow_client_makes_the_provider_wait(router: Client, upstream: Upstream) -> None:
    upstream.answers(TEXT * 200_000 + STREAM, chunk_size=50_000)
    reader, writer = await router.connect()
    writer.write(request(b"", "Connection: close"))
    await reader.readuntil(TEXT)
    async with asyncio.timeout(PATIENCE):
        await upstream.request.connection.blocked.wait()
    rest = await reader.read()
    assert rest.endswith(DONE + b"\r\n0\r\n\r\n")
    assert USAGE not in rest


async def test_a_race(make: Make, upstream: Upstream) -> None:
    """The rival asks for itself, or not; the loser's usage is nobody's."""
    router = await make(retries=2, rule={"hedge": "20ms"})
    upstream.sends_to("p", HOLD)
    upstream.sends_to("q", chunked(STREAM))
    got, trace = await ask(router, body("any"))
    assert (got, exact(trace)) == (STREAM, (31, 7))
    upstream.sends_to("p", 0.06, chunked(STREAM))
    upstream.sends_to("q", HOLD)
    got, trace = await ask(router, body("any"))
    assert (got, exact(trace)) == (SEEN, (31, 7))


async def test_two_refusals_in_a_race(make: Make, upstream: Upstream) -> None:
    router = await make(retries=3, rule={"hedge": "20ms"})
    upstream.sends_to("q", HOLD)
    upstream.sends_to("p", 0.05, whole(UNKNOWN, 400))
    reader, writer = await router.connect()
    writer.write(request(body("any"), "Connection: close"))
    await upstream.requested(2)
    upstream.sends_to("p", chunked(SEEN))
    assert (await reader.read()).endswith(DONE + b"\r\n0\r\n\r\n")


# ── where it is translated


@pytest.mark.parametrize("client", ["openai_responses", "anthropic", "gemini"])
async def test_a_client_of_another_dialect(
    make_router: MakeRouter, upstream: Upstream, client: str
) -> None:
    """Its words are written anew, with the question in them."""
    router = await targets.maker(make_router, upstream)()
    targets.answers(upstream, targets.STREAMS[targets.CHAT])
    path, asked = targets.request(client, targets.TARGETS[targets.CHAT], stream=True)
    answer = await router.post(path, json=asked)
    await answer.read()
    assert json.loads(upstream.request.body)["stream_options"] == {"include_usage": True}
    assert exact(await router.trace(answer)) == (19, 75)


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("provider", ["anthropic", "gemini", "bedrock"])
async def test_a_provider_of_another_dialect(
    make_router: MakeRouter, upstream: Upstream, provider: str, asks: bool
) -> None:
    """The frame with usage is the client's only if it has asked for it."""
    router = await targets.maker(make_router, upstream)()
    targets.answers(upstream, targets.STREAMS[provider])
    options = {"stream_options": {"include_usage": True}} if asks else {}
    _, asked = targets.request("openai_chat", targets.TARGETS[provider], stream=True, **options)
    got, trace = await ask(router, json.dumps(asked).encode())
    frames = [each for each in got.split(b"\n\n") if each]
    assert [has_only_usage(each) for each in frames].count(True) == asks
    assert has_only_usage(frames[-2]) is asks
    assert min(exact(trace)) > 0
