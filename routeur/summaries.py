"""A conversation is made short by the model that its client has named, through a request inside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from routeur.call import new_id
from routeur.compaction import (
    answer,
    compacted,
    made,
    split,
    summary_of,
    summary_request,
    with_summaries,
)
from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.inside import Inside
from routeur.responses import Item, continued, own_input
from routeur.turns import refusal

Ask = Callable[[bytes], Inside]  # a POST of this body to /v1/responses


async def compact(raw: bytes, key: bytes, ask: Ask) -> bytes:
    """The answer to `POST /v1/responses/compact`.

    Raises Refusal and RouteurError.
    """
    id = f"resp_{new_id()[3:]}"
    item, response = await summarise(raw, id, key, ask)
    response = {"created_at": int(time.time()), **response}
    return answer(id, compacted(own_input(raw), id, item), response)


@dataclass(frozen=True, slots=True)
class Shortened:
    """A request whose conversation was made short: its body, and its input as it is to be kept.

    `item` stands at the beginning of the answer.
    """

    raw: bytes
    said: tuple[Item, ...]
    item: Json


async def shortened(raw: bytes, id: str, key: bytes, ask: Ask) -> Shortened | None:
    """The request with a summary of what came before its last turn; None: nothing came before.

    Raises Refusal and RouteurError.
    """
    old, new = split(own_input(raw))
    if not old:
        return None
    alone = continued(raw, (), input=[orjson.Fragment(each) for each in old])
    item, _ = await summarise(alone, id, key, ask)
    users = [exact.dumps(each) for each in compacted(old, id, item)]
    said = (*users, *new)
    body = continued(raw, (), context_management=None, input=[orjson.Fragment(s) for s in said])
    return Shortened(with_summaries(body, key), said, item)


async def summarise(raw: bytes, id: str, key: bytes, ask: Ask) -> tuple[Json, Json]:
    """The item of the summary, and the response that it was made of."""
    request = ask(summary_request(with_summaries(raw, key)))
    try:
        await request.ask()
        body = await request.whole()
    finally:
        await request.close()
    if request.status != 200:
        raise refusal(request.status, body)
    response = exact.loads(body)
    return made(summary_of(response), id, key), response
