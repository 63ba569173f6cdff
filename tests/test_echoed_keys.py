"""A provider's error may repeat the key that it was asked with: it stays here."""

from __future__ import annotations

import pytest

from tests.conftest import KEYS, Client, MakeRouter
from tests.fake import CLOSE, Part, Upstream, chunked, head, whole

KEY = KEYS["openai"].encode()
STARS = b"*" * len(KEY)
BODY = b'{"error":{"message":"no such thing for %b","type":"t"}}' % KEY

ERRORS: dict[str, tuple[int, list[Part]]] = {
    "copied": (404, [whole(BODY, 404)]),
    "copied in two": (404, [whole(BODY, 404)[:-30], whole(BODY, 404)[-30:]]),
    "chunked": (422, [chunked(BODY, 99).replace(b"200 OK", b"422 No")]),
    "until close": (404, [head(404, [("Content-Type", "application/json")]), BODY, CLOSE]),
    "held": (500, [whole(BODY, 500)]),
    "in a header": (404, [whole(BODY, 404, ("X-Asked", KEY.decode()))]),
}


@pytest.mark.parametrize("express", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("name", ERRORS)
async def test_it_is_hidden(router: Client, upstream: Upstream, name: str, express: bool) -> None:
    """And as long as it was, so that the framing holds."""
    status, parts = ERRORS[name]
    if express:
        upstream.sends(whole(b'{"id":"x","choices":[]}'))
        await router.post("/v1/chat/completions", data=b'{"model": "gpt-4o"}')
    upstream.sends(*parts)
    answer = await router.post("/v1/chat/completions", data=b'{"model": "gpt-4o"}')
    assert answer.status == status
    assert await answer.read() == BODY.replace(KEY, STARS)
    assert KEY.decode() not in str(answer.headers)


async def test_translated(router: Client, upstream: Upstream) -> None:
    upstream.sends(whole(BODY, 404))
    said = b'{"model":"openai/gpt-4o","max_tokens":5,"messages":[{"role":"user","content":"x"}]}'
    answer = await router.post("/v1/messages", data=said)
    text = await answer.read()
    assert answer.status == 404
    assert b"no such thing for" in text and KEY not in text


async def test_answers_are_copied(router: Client, upstream: Upstream) -> None:
    """Whatever a model says is the client's."""
    said = b'{"id":"x","choices":[{"message":{"content":"%b"}}]}' % KEY
    upstream.sends(whole(said))
    answer = await router.post("/v1/chat/completions", data=b'{"model": "gpt-4o"}')
    assert await answer.read() == said


async def test_short_words_are_no_keys(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(providers={"openai": {"api_key": "thing"}})
    upstream.sends(whole(BODY, 404))
    answer = await client.post("/v1/chat/completions", data=b'{"model": "gpt-4o"}')
    assert await answer.read() == BODY
