"""The vendors' own packages as clients: only their base URL is changed.

The provider answers recorded bytes; `echo`, the built-in one, answers in every dialect by itself.
"""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.conftest import ANY_NAME, Client, MakeRouter
from tests.exchanges import Exchange, exchange
from tests.fake import Upstream

# What the packages say of themselves and of the models in recordings is not our business.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning"),
]
HI = [{"role": "user", "content": "hi there"}]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.4\n" + bytes(range(256)) + b"\n%%EOF\n"


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


@pytest.fixture
async def router(make_router: MakeRouter) -> Client:
    return await make_router(providers=ANY_NAME)


@pytest.fixture
async def gpt(router: Client) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{router.url}/v1", api_key="anything", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def claude(router: Client) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=router.url, api_key="anything", max_retries=0
    ) as client:
        yield client


def new_gemini(router: Client) -> genai.Client:
    return genai.Client(api_key="anything", http_options=types.HttpOptions(base_url=router.url))


@pytest.fixture
async def gemini(router: Client) -> AsyncIterator[genai.Client]:
    client = new_gemini(router)
    yield client
    await client.aio.aclose()
    client.close()


def answer(upstream: Upstream, recorded: Exchange) -> Exchange:
    upstream.answers(
        recorded.answer,
        recorded.status,
        {"Content-Type": recorded.answer_type},
        chunk_size=37 if recorded.streamed else None,
    )
    return recorded


# ── OpenAI


async def test_openai_chat(gpt, upstream):
    recorded = answer(upstream, exchange("openai-chat", "openai-gpt-5-simple"))
    said = await gpt.chat.completions.create(model="gpt-5", messages=HI)
    wanted = json.loads(recorded.answer)
    assert said.choices[0].message.content == wanted["choices"][0]["message"]["content"]
    assert said.usage.prompt_tokens == wanted["usage"]["prompt_tokens"]
    assert json.loads(upstream.request.body) == {"model": "gpt-5", "messages": HI}


async def test_openai_chat_stream(gpt, upstream):
    recorded = answer(upstream, exchange("openai-chat", "openai-gpt-5-simple_streaming"))
    stream = await gpt.chat.completions.create(model="gpt-5", messages=HI, stream=True)
    chunks = [chunk async for chunk in stream]
    frames = [line[6:] for line in recorded.answer.split(b"\n") if line.startswith(b"data: {")]
    assert [chunk.to_dict() for chunk in chunks] == [json.loads(frame) for frame in frames]


async def test_openai_tools(gpt, upstream):
    """A question, the model's calls, their results: both turns as recorded."""
    for number in (0, 1):
        recorded = answer(upstream, exchange("openai-chat", "gpt-5-multi_tool", number))
        asked = json.loads(recorded.body)
        said = await gpt.chat.completions.create(**asked)
        assert json.loads(upstream.request.body) == asked
        calls = json.loads(recorded.answer)["choices"][0]["message"].get("tool_calls") or []
        assert [call.to_dict() for call in said.choices[0].message.tool_calls or []] == calls


async def test_openai_images_and_pdfs(gpt, upstream):
    answer(upstream, exchange("openai-chat", "openai-gpt-5-simple"))
    content = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": data_url("image/png", PNG)}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": data_url("application/pdf", PDF)},
        },
    ]
    await gpt.chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": content}]
    )
    assert json.loads(upstream.request.body)["messages"][0]["content"] == content


async def test_openai_responses(gpt, upstream):
    recorded = answer(upstream, exchange("openai-responses", "openai-gpt-5-simple"))
    said = await gpt.responses.create(model="gpt-5", input="hi")
    assert said.id == json.loads(recorded.answer)["id"]
    assert said.output_text
    assert upstream.request.path == "/v1/responses"


async def test_openai_responses_stream(gpt, upstream):
    recorded = answer(upstream, exchange("openai-responses", "openai-gpt-5-simple_streaming"))
    stream = await gpt.responses.create(model="gpt-5", input="hi", stream=True)
    kinds = [event.type async for event in stream]
    assert kinds == [
        line[7:].decode() for line in recorded.answer.split(b"\n") if line.startswith(b"event: ")
    ]
    assert kinds[-1] == "response.completed"


async def test_openai_responses_tools_in_a_stream(gpt, upstream):
    for number in (0, 1):
        recorded = answer(upstream, exchange("openai-responses", "gpt-5-tool_streaming", number))
        async with gpt.responses.stream(model="gpt-5", input="hi") as stream:
            said = await stream.get_final_response()
        assert said.output
        assert recorded.answer.count(said.id.encode())


async def test_openai_responses_retrieve_and_delete(gpt, upstream):
    answer(upstream, exchange("openai-responses", "openai-gpt-5-simple"))
    said = await gpt.responses.retrieve("resp_1")
    assert said.id.startswith("resp_")
    assert (upstream.request.method, upstream.request.path) == ("GET", "/v1/responses/resp_1")
    upstream.answers(b"{}")
    await gpt.responses.delete("resp_1")
    assert upstream.request.method == "DELETE"


async def test_openai_embeddings(gpt, upstream):
    recorded = answer(upstream, exchange("embeddings-models", "test_embeddings_with_dimensions"))
    said = await gpt.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(said.data) == len(json.loads(recorded.answer)["data"])
    assert said.data[0].embedding


async def test_openai_audio(gpt, upstream):
    """A form with a file, and a file as the answer."""
    upstream.answers(b'{"text": "hello"}')
    said = await gpt.audio.transcriptions.create(model="whisper-1", file=("a.wav", bytes(100_000)))
    assert said.text == "hello"
    assert upstream.request.size > 100_000
    sound = bytes(range(256)) * 1000
    upstream.answers(sound, headers={"Content-Type": "audio/mpeg"}, chunk_size=4096)
    spoken = await gpt.audio.speech.create(model="tts-1", voice="alloy", input="hi")
    assert spoken.content == sound


async def test_openai_files(gpt, upstream):
    upstream.answers(b'{"id":"file-1","object":"file","bytes":3,"created_at":1,"filename":"a"}')
    said = await gpt.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert said.id == "file-1"
    assert b'filename="a.jsonl"' in upstream.request.body


async def test_openai_models(make_router):
    router = await make_router()
    async with openai.AsyncOpenAI(base_url=f"{router.url}/v1", api_key="x") as client:
        names = [model.id async for model in client.models.list()]
        assert {"gpt-4o", "fast"} <= {*names}
        assert (await client.models.retrieve("gpt-4o")).id == "gpt-4o"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nothing")


# ── Anthropic


async def test_anthropic(claude, upstream):
    recorded = answer(upstream, exchange("anthropic", "claude-sonnet-4-simple"))
    said = await claude.messages.create(model="claude-x", max_tokens=9, messages=HI)
    wanted = json.loads(recorded.answer)
    assert said.content[0].text == wanted["content"][0]["text"]
    assert said.usage.input_tokens == wanted["usage"]["input_tokens"]
    assert upstream.request.header("x-api-key") == "sk-at-anthropic"
    assert upstream.request.header("anthropic-version")


async def test_anthropic_stream(claude, upstream):
    recorded = answer(upstream, exchange("anthropic", "claude-sonnet-4-simple_streaming"))
    async with claude.messages.stream(model="claude-x", max_tokens=9, messages=HI) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        said = await stream.get_final_message()
    assert said.content[0].text == text
    assert said.id.encode() in recorded.answer
    assert said.stop_reason == "end_turn"


@pytest.mark.parametrize("name", ["claude-sonnet-4-multi_tool", "claude-sonnet-4-tool"])
async def test_anthropic_tools(claude, upstream, name):
    for number in (0, 1):
        recorded = answer(upstream, exchange("anthropic", name, number))
        asked = json.loads(recorded.body)
        said = await claude.messages.create(**asked)
        assert json.loads(upstream.request.body) == asked
        assert [block.type for block in said.content] == [
            block["type"] for block in json.loads(recorded.answer)["content"]
        ]


async def test_anthropic_tools_in_a_stream(claude, upstream):
    answer(upstream, exchange("anthropic", "claude-sonnet-4-multi_tool_streaming"))
    async with claude.messages.stream(model="claude-x", max_tokens=9, messages=HI) as stream:
        said = await stream.get_final_message()
    assert [block.input for block in said.content if block.type == "tool_use"]


async def test_anthropic_thinking(claude, upstream):
    """Signatures arrive as they were."""
    recorded = answer(upstream, exchange("anthropic", "test_anthropic_model_thinking_part_stream"))
    async with claude.messages.stream(model="claude-x", max_tokens=9, messages=HI) as stream:
        said = await stream.get_final_message()
    (thought,) = [block for block in said.content if block.type == "thinking"]
    assert thought.signature.encode() in recorded.answer


async def test_anthropic_images_and_pdfs(claude, upstream):
    answer(upstream, exchange("anthropic", "claude-sonnet-4-simple"))
    content = [
        {"type": kind, "source": {"type": "base64", "media_type": media, "data": packed}}
        for kind, media, packed in (
            ("image", "image/png", b64encode(PNG).decode()),
            ("document", "application/pdf", b64encode(PDF).decode()),
        )
    ]
    await claude.messages.create(
        model="claude-x", max_tokens=9, messages=[{"role": "user", "content": content}]
    )
    assert json.loads(upstream.request.body)["messages"][0]["content"] == content


async def test_anthropic_count_tokens(claude, upstream):
    upstream.answers(b'{"input_tokens": 12}')
    said = await claude.messages.count_tokens(model="claude-x", messages=HI)
    assert said.input_tokens == 12
    assert upstream.request.path == "/v1/messages/count_tokens"


async def test_anthropic_models(make_router):
    router = await make_router(aliases={"smart": ["anthropic/claude-opus-4-1"]})
    async with anthropic.AsyncAnthropic(base_url=router.url, api_key="x") as client:
        names = [model.id async for model in client.models.list()]
    assert "smart" in names


# ── Gemini


async def test_gemini(gemini, upstream):
    recorded = answer(upstream, exchange("gemini", "gemini-3-pro-preview-simple"))
    said = await gemini.aio.models.generate_content(model="gemini-x", contents="hi")
    wanted = json.loads(recorded.answer)
    assert said.candidates[0].finish_reason.value == wanted["candidates"][0]["finishReason"]
    assert said.usage_metadata.prompt_token_count == wanted["usageMetadata"]["promptTokenCount"]
    assert upstream.request.path.endswith("/models/gemini-x:generateContent")
    assert upstream.request.header("x-goog-api-key") == "sk-at-google"


async def test_gemini_stream(gemini, upstream):
    recorded = answer(upstream, exchange("gemini", "gemini-3-pro-preview-simple_streaming"))
    stream = await gemini.aio.models.generate_content_stream(model="gemini-x", contents="hi")
    chunks = [chunk async for chunk in stream]
    assert len(chunks) == recorded.answer.count(b"data: ")
    assert upstream.request.path.endswith("/models/gemini-x:streamGenerateContent?alt=sse")


async def test_gemini_tools(gemini, upstream):
    recorded = answer(upstream, exchange("gemini", "gemini-3-pro-preview-multi_tool"))
    said = await gemini.aio.models.generate_content(model="gemini-x", contents="hi")
    assert len(said.function_calls) == recorded.answer.count(b'"functionCall"')


async def test_gemini_images_and_pdfs(gemini, upstream):
    answer(upstream, exchange("gemini", "gemini-3-pro-preview-simple"))
    await gemini.aio.models.generate_content(
        model="gemini-x",
        contents=[
            types.Part.from_bytes(data=PNG, mime_type="image/png"),
            types.Part.from_bytes(data=PDF, mime_type="application/pdf"),
        ],
    )
    parts = json.loads(upstream.request.body)["contents"][0]["parts"]
    for part, kind, data in zip(parts, ("image/png", "application/pdf"), (PNG, PDF), strict=True):
        (sent,) = part.values()
        assert {*sent.values()} == {kind, urlsafe_b64encode(data).decode()}


async def test_gemini_count_and_embed(gemini, upstream):
    upstream.answers(b'{"totalTokens": 12}')
    said = await gemini.aio.models.count_tokens(model="gemini-x", contents="hi")
    assert said.total_tokens == 12
    assert upstream.request.path.endswith("/models/gemini-x:countTokens")


async def test_gemini_models(make_router):
    router = await make_router(aliases={"smart": ["google/gemini-2.5-pro"]})
    client = new_gemini(router)
    names = [model.name async for model in await client.aio.models.list()]
    await client.aio.aclose()
    client.close()
    assert "models/smart" in names


# ── errors

OPENAI_ERRORS = {
    400: openai.BadRequestError,
    404: openai.NotFoundError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}
ANTHROPIC_ERRORS = {
    400: anthropic.BadRequestError,
    404: anthropic.NotFoundError,
    413: anthropic.RequestTooLargeError,
    429: anthropic.RateLimitError,
    529: anthropic.OverloadedError,
}


@pytest.mark.parametrize("status", OPENAI_ERRORS)
async def test_openai_errors(gpt, upstream, status):
    upstream.answers(b'{"error":{"message":"as said","type":"t","param":"p","code":"c"}}', status)
    with pytest.raises(OPENAI_ERRORS[status]) as raised:
        await gpt.chat.completions.create(model="gpt-5", messages=HI)
    assert raised.value.body == {"message": "as said", "type": "t", "param": "p", "code": "c"}
    assert raised.value.request_id


@pytest.mark.parametrize("status", ANTHROPIC_ERRORS)
async def test_anthropic_errors(claude, upstream, status):
    said = {"type": "error", "error": {"type": "t", "message": "as said"}}
    upstream.answers(json.dumps(said), status)
    with pytest.raises(ANTHROPIC_ERRORS[status]) as raised:
        await claude.messages.create(model="claude-x", max_tokens=9, messages=HI)
    assert raised.value.body == said


async def test_gemini_errors(gemini, upstream):
    upstream.answers(b'{"error":{"code":429,"message":"as said","status":"X"}}', 429)
    with pytest.raises(errors.ClientError) as raised:
        await gemini.aio.models.generate_content(model="gemini-x", contents="hi")
    assert (raised.value.code, raised.value.message) == (429, "as said")


async def test_routeurs_own_errors(make_router, upstream):
    """Unknown models, wrong keys and dead providers are what each package expects them to be."""
    router = await make_router(auth={"master_key": "a-master-key-of-some-length"})
    key = "a-master-key-of-some-length"
    base = f"{router.url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=0) as gpt:
        with pytest.raises(openai.NotFoundError) as missing:
            await gpt.chat.completions.create(model="nothing", messages=HI)
        assert missing.value.code == "model_not_found"
        assert missing.value.request_id
        with pytest.raises(openai.AuthenticationError):
            await gpt.with_options(api_key="wrong").models.list()
    async with anthropic.AsyncAnthropic(base_url=router.url, api_key=key, max_retries=0) as claude:
        with pytest.raises(anthropic.NotFoundError):
            await claude.messages.create(model="nothing", max_tokens=9, messages=HI)
        await upstream.stop()
        with pytest.raises(anthropic.InternalServerError) as dead:
            await claude.messages.create(model="claude-x", max_tokens=9, messages=HI)
        assert dead.value.status_code == 502


# ── echo


@pytest.fixture
async def echoing(make_router: MakeRouter) -> Client:
    """A routeur without any provider but its own."""
    return await make_router(providers=None, aliases=None)


async def test_echo_openai(echoing):
    async with openai.AsyncOpenAI(base_url=f"{echoing.url}/v1", api_key="x") as gpt:
        said = await gpt.chat.completions.create(model="echo", messages=HI)
        assert said.choices[0].message.content == "hi there"
        assert said.choices[0].finish_reason == "stop"
        assert said.usage.prompt_tokens > 0
        stream = await gpt.chat.completions.create(
            model="echo", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "hi there"
        assert chunks[-1].usage.completion_tokens > 0


async def test_echo_responses(echoing):
    async with openai.AsyncOpenAI(base_url=f"{echoing.url}/v1", api_key="x") as gpt:
        said = await gpt.responses.create(model="echo", input="hi there")
        assert said.output_text == "hi there"
        async with gpt.responses.stream(model="echo", input="hi there") as stream:
            whole = await stream.get_final_response()
        assert whole.output_text == "hi there"


async def test_echo_anthropic(echoing):
    async with anthropic.AsyncAnthropic(base_url=echoing.url, api_key="x") as claude:
        said = await claude.messages.create(model="echo", max_tokens=9, messages=HI)
        assert (said.content[0].text, said.stop_reason) == ("hi there", "end_turn")
        async with claude.messages.stream(model="echo", max_tokens=9, messages=HI) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            whole = await stream.get_final_message()
        assert text == whole.content[0].text == "hi there"
        assert whole.usage.input_tokens > 0


async def test_echo_gemini(echoing):
    gemini = new_gemini(echoing)
    said = await gemini.aio.models.generate_content(model="echo", contents="hi there")
    assert said.text == "hi there"
    stream = await gemini.aio.models.generate_content_stream(model="echo", contents="hi there")
    assert "".join([chunk.text or "" async for chunk in stream]) == "hi there"
    await gemini.aio.aclose()
    gemini.close()
