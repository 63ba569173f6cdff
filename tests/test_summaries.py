"""The model is asked for a summary, and what a client gets of it."""

from __future__ import annotations

import orjson
import pytest

from routeur.compaction import PREFIX, made, secret_for, unseal
from routeur.errors import UpstreamError
from routeur.lanes import Refusal
from routeur.summaries import compact, shortened

KEY = secret_for(b"a secret")
SUMMARY = {
    "id": "resp_x",
    "created_at": 5,
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "A SUMMARY"}]}],
    "usage": {"total_tokens": 7},
}


class Model:
    """Answers requests inside, and keeps their bodies."""

    def __init__(self, answer=SUMMARY, status=200):
        self.answer, self.status = answer, status
        self.asked, self.closed = [], 0

    def __call__(self, raw):
        self.asked.append(orjson.loads(raw))
        return self

    async def ask(self):
        pass

    async def whole(self):
        return orjson.dumps(self.answer)

    async def close(self):
        self.closed += 1

    @property
    def text(self):
        return self.asked[-1]["input"][0]["content"][0]["text"]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def body(*said, **more):
    return orjson.dumps({"model": "m", "input": [*said], **more})


async def test_a_conversation_is_compacted():
    model = Model()
    told = orjson.loads(await compact(body(user("a"), assistant("b")), KEY, model))

    assert (told["object"], told["created_at"], told["usage"]["total_tokens"]) == (
        "response.compaction",
        5,
        7,
    )
    assert told["id"].startswith("resp_")
    first, item = told["output"]
    assert (first["role"], first["content"][0]["text"]) == ("user", "a")
    assert unseal(item["encrypted_content"], KEY) == "A SUMMARY"
    assert (model.asked[0]["model"], model.closed) == ("m", 1)


async def test_with_what_was_compacted_before():
    model = Model()
    said = (made("FIRST", "resp_1", KEY), user("then"), user("now"))
    told = orjson.loads(await compact(body(*said), KEY, model))

    assert model.text == f"[user]\n{PREFIX}FIRST\n\n[user]\nthen\n\n[user]\nnow"
    texts = [each["content"][0]["text"] for each in told["output"][:-1]]
    assert texts == ["then", "now"]


async def test_the_model_refuses():
    model = Model({"error": {"message": "no", "code": "c"}}, status=429)

    with pytest.raises(Refusal) as caught:
        await compact(body(user("a")), KEY, model)
    assert (caught.value.status, caught.value.error["code"]) == (429, "c")
    assert model.closed == 1


async def test_the_model_says_nothing():
    with pytest.raises(UpstreamError):
        await compact(body(user("a")), KEY, Model({**SUMMARY, "output": []}))


async def test_by_itself():
    model = Model()
    raw = body(
        user("a"),
        assistant("b"),
        user("c"),
        assistant("d"),
        user("e"),
        context_management=[{"type": "compaction", "compact_threshold": 1000}],
        temperature=1.0,
    )
    found = await shortened(raw, "resp_1", KEY, model)

    assert model.text == "[user]\na\n\n[assistant]\nb\n\n[user]\nc\n\n[assistant]\nd"
    told = orjson.loads(found.raw)
    texts = [each["content"] for each in told["input"]]
    assert [t if isinstance(t, str) else t[0]["text"] for t in texts] == [
        "a",
        "c",
        f"{PREFIX}A SUMMARY",
        "e",
    ]
    assert "context_management" not in told
    assert told["temperature"] == 1.0
    kinds = [orjson.loads(each).get("type") for each in found.said]
    assert kinds == ["message", "message", "compaction", None]
    assert orjson.loads(found.said[2]) == found.item


async def test_nothing_came_before():
    assert await shortened(body(user("a")), "resp_1", KEY, Model()) is None
