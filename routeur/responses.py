"""Stored responses as values: what is kept of one, and what its key may ask of it later.

Of a provider with a Responses API of its own only the place is kept: which account made a response.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import members, string
from routeur.dialects.neutral.aim import Invalid
from routeur.dialects.openai_responses.requests import read_request
from routeur.dialects.openai_responses.resource import echo
from routeur.dialects.openai_responses.sealed import is_sealed
from routeur.errors import ClientError, NotFound
from routeur.store.base import Kept

LINKS = 16  # responses of a chain that are read at most: the next one keeps the whole of it
SMALL = 512  # bytes, below which compression gains nothing
REFERRED = 256  # responses at most, whose items one request may refer to
PAGE = 20  # items of a page, if nobody says how many
LONGEST_PAGE = 100

_ID = re.compile(rb'"id"\s*:\s*"(resp_[A-Za-z0-9_-]{1,240})"')
_ID_TEXT = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_ITEM_ID = re.compile(r"[a-z]{1,8}_([0-9a-f]{22,24})[0-9a-f]{2}")  # OpenAI's own are longer
_PLAIN, _PRESSED = b"\x01", b"\x02"  # how a record begins: also its version
# How ids of items begin, by type; others: `item_`.
_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "reasoning": "rs_",
    "compaction": "cmp_",
}

_OURS = re.compile(r"rs_[0-9a-f]{26}")  # the provider's own are twice as long
_OURS_IN = re.compile(rb'"rs_[0-9a-f]{26}"')
REFERENCE = b'"item_reference"'

Item = bytes  # JSON as the client or the model wrote it: nothing of it is lost


class Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """One response. New fields need a default, so that what was kept before can be read.

    `provider` and `credential` are those that made it. `pinned`: it is kept there, not here.
    `input` are its own items, after those of the chain that ends with `previous` ("": they are
    all). `depth` is how many responses that chain has. `response` is the object as JSON, `stream`
    the compressed blocks of its events, if it was streamed. `alive` is when somebody was seen to
    work at it, of one in the background.
    """

    id: str
    owner: str
    at: float  # Unix seconds
    provider: str = ""
    credential: str = ""
    pinned: bool = False
    previous: str = ""
    depth: int = 0
    input: tuple[Item, ...] = ()
    response: bytes = b"{}"
    stream: tuple[bytes, ...] = ()
    background: bool = False
    alive: float = 0.0

    @property
    def status(self) -> str:
        """Of the response object."""
        return string(members(exact.loads(self.response)).get("status"))


def pack(stored: Stored) -> Kept:
    """For the store."""
    told = msgspec.structs.asdict(stored)
    for name in ("id", "owner", "at", "stream"):
        del told[name]
    body, head = msgspec.msgpack.encode({k: each for k, each in told.items() if each}), _PLAIN
    if len(body) > SMALL:
        body, head = zlib.compress(body, 1), _PRESSED
    body = msgspec.msgpack.encode((body, stored.stream))  # which is compressed
    return Kept(stored.id, stored.owner, stored.at, head + body)


def unpack(kept: Kept) -> Stored:
    """From the store. Raises ValueError for what a newer routeur has written."""
    head = kept.body[:1]
    if head not in (_PLAIN, _PRESSED):
        raise ValueError("the response was kept by a newer routeur")
    body, stream = msgspec.msgpack.decode(kept.body[1:])
    told = msgspec.msgpack.decode(zlib.decompress(body) if head == _PRESSED else body)
    told |= {"id": kept.id, "owner": kept.owner, "at": kept.at, "stream": stream}
    return msgspec.convert(told, Stored)  # what it does not know it leaves out


def pin(id: str, owner: str, at: float, provider: str, credential: str) -> Kept:
    """A response that a provider keeps: whose it is, and which account can be asked for it."""
    return pack(Stored(id, owner, at, provider, credential, pinned=True))


def id_in(start: bytes) -> str:
    """The id of the response that an answer is, from how its body or stream begins; "": none."""
    found = _ID.search(start)
    return found[1].decode() if found else ""


def referred(item: Item) -> str:
    """The id of the item in whose place a reference stands; "": this is none."""
    told = members(exact.loads(item)) if REFERENCE in item else {}
    return string(told.get("id")) if told.get("type") == "item_reference" else ""


def response_of(item: str) -> str:
    """The id of the response in which an item of this id was made, if it was made here."""
    found = _ITEM_ID.fullmatch(item)
    return f"resp_{found[1]}" if found else ""


def items_of(response: bytes) -> dict[str, Item]:
    """The output items by their ids."""
    return {string(members(exact.loads(each)).get("id")): each for each in output_of(response)}


# ---- who may see it


def not_found(id: str) -> NotFound:
    """For an id in a path."""
    return NotFound(f"Response with id '{_shown(id)}' not found.")


def previous_not_found(id: str) -> ClientError:
    """For a `previous_response_id`; clients know this code."""
    return ClientError(
        f"Previous response with id '{_shown(id)}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def _shown(id: str) -> str:
    return id if _ID_TEXT.fullmatch(id) else "?"


# ---- a conversation goes on


def own_input(raw: bytes) -> tuple[Item, ...]:
    """The input items of a request's body, which has been checked; a string is a user's message."""
    given = members_of(raw).get("input", b"")
    if given[:1] == b"[":
        return _items(given)
    if given[:1] == b'"':
        return (b'{"type":"message","role":"user","content":%b}' % given,)
    return ()


def output_of(response: bytes) -> tuple[Item, ...]:
    """The output items of a response object."""
    given = members_of(response).get("output", b"")
    return _items(given) if given[:1] == b"[" else ()


def _items(raw: bytes) -> tuple[Item, ...]:
    try:
        return tuple(bytes(each) for each in _list.decode(raw))
    except msgspec.DecodeError:  # half a character, as models write them
        return tuple(exact.dumps(each) for each in exact.loads(raw))


def members_of(raw: bytes) -> dict[str, bytes]:
    """The members of a valid object, as they were written."""
    try:
        return {name: bytes(each) for name, each in _object.decode(raw).items()}
    except msgspec.DecodeError:
        return {name: exact.dumps(each) for name, each in exact.loads(raw).items()}


def object_of(told: Mapping[str, bytes]) -> bytes:
    """An object of such members."""
    return b"{%b}" % b",".join(b"%b:%b" % (exact.dumps(k), each) for k, each in told.items())


_list = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def context(chain: Sequence[Stored]) -> tuple[Item, ...]:
    """What was said in a chain, the oldest first, its answers included."""
    return tuple(item for each in chain for item in (*each.input, *output_of(each.response)))


def continued(raw: bytes, before: Sequence[Item], **instead: Any) -> bytes:
    """The body with what was said before in its `input`, and without `previous_response_id`.

    Other members keep their bytes, but for those that are replaced (`None` takes one away).
    """
    body = members_of(raw)
    body.pop("previous_response_id", None)
    if before:
        body["input"] = b"[%b]" % b",".join((*before, *own_input(raw)))
    for name, value in instead.items():
        body.pop(name, None)
        if value is not None:
            body[name] = exact.dumps(value)
    return object_of(body)


def with_input(raw: bytes, given: Sequence[Item]) -> bytes:
    """The body with these input items."""
    return object_of({**members_of(raw), "input": b"[%b]" % b",".join(given)})


def without_reasoning(raw: bytes, *, all: bool) -> bytes:
    """The body without reasoning of other providers, for one that knows only its own: what was
    sealed or named here, or `all` of it.
    """
    given = own_input(raw)
    kept = [item for item in given if not _is_others(members(exact.loads(item)), all)]
    if len(kept) == len(given):
        return raw  # somebody talks about it
    return with_input(raw, kept)


def _is_others(item: Json, all: bool) -> bool:
    if item.get("type") != "reasoning":
        return False
    sealed = string(item.get("encrypted_content"))
    return (
        all or is_sealed(sealed) or (not sealed and bool(_OURS.fullmatch(string(item.get("id")))))
    )


def has_ours(raw: bytes) -> bool:
    """Whether a body may have reasoning in it that only this routeur has a name for."""
    return b'"rs_' in raw and _OURS_IN.search(raw) is not None


def require_calls(before: Sequence[Item], new: Sequence[Item]) -> None:
    """Raise ClientError for the output of a call that nobody has made: providers say it worse."""
    called = {_call(item) for item in (*before, *new)}
    for item in new:
        told = members(exact.loads(item))
        id, kind = told.get("call_id"), string(told.get("type"))
        if kind.endswith("_call_output") and isinstance(id, str) and id not in called:
            raise ClientError(
                f"No tool call found for {kind.replace('_', ' ')} with call_id {_shown(id)}.",
                param="input",
            )


def _call(item: Item) -> str | None:
    told = members(exact.loads(item))
    return string(told.get("call_id")) if string(told.get("type")).endswith("_call") else None


def size_of(said: Sequence[Item]) -> int:
    """Bytes of JSON."""
    return sum(len(item) + 1 for item in said)


def empty(raw: bytes, id: str, previous: str = "") -> Json:
    """The response object of a request that has not been answered. Raises ClientError."""
    doc = exact.loads(raw)
    model = string(doc.get("model"))
    try:
        request = read_request(doc, model=model, stream=doc.get("stream") is True)
    except Invalid as error:
        raise ClientError(error.message, param=error.field) from None
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        "service_tier": "auto",
        **echo(request),
        "previous_response_id": previous or None,
    }


# ---- what is shown


def with_ids(said: Sequence[Item], id: str) -> list[Json]:
    """Items as they are listed: each with an id, which is always the same, and messages in full."""
    token = id.removeprefix("resp_")
    return [_listed(exact.loads(item), f"{token}{at:04x}") for at, item in enumerate(said)]


def _listed(item: Json, token: str) -> Json:
    kind = string(item.get("type")) or ("message" if "role" in item else "item_reference")
    told: Json = {"id": _PREFIXES.get(kind, "item_") + token, **item, "type": kind}
    told["id"] = told["id"] or _PREFIXES.get(kind, "item_") + token
    if kind == "message":
        told.setdefault("status", "completed")
        content = item.get("content")
        if isinstance(content, str):
            told["content"] = [_part(content, item.get("role") == "assistant")]
    return told


def _part(text: str, of_model: bool) -> Json:
    if of_model:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


def page(listed: Sequence[Json], query: Mapping[str, str]) -> Json:
    """A page of items, by `after`, `limit` and `order` (`desc` if nobody says); the rest of the
    query changes nothing, as all there is of an item is shown. Raises ClientError.
    """
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ClientError("`order` must be asc or desc", param="order")
    limit = query.get("limit", str(PAGE))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:4]) <= LONGEST_PAGE):
        raise ClientError(f"`limit` must be a number from 1 to {LONGEST_PAGE}", param="limit")
    rows = [*listed] if order == "asc" else [*reversed(listed)]
    last = query.get("after")
    if last is not None:
        places = [at for at, item in enumerate(rows) if item["id"] == last]
        if not places:
            raise ClientError("`after` names no item of this list", param="after")
        rows = rows[places[0] + 1 :]
    shown = rows[: int(limit)]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(rows) > len(shown),
    }


def deleted(id: str) -> bytes:
    """What a client gets for a response that it has deleted."""
    return exact.dumps({"id": id, "object": "response", "deleted": True})


def starting_after(query: Mapping[str, str]) -> int | None:
    """The number after which a stream is asked for, -1 for all of it; None: no stream is asked for.

    Raises ClientError.
    """
    if query.get("stream") not in ("true", "1"):
        if "starting_after" in query:
            raise ClientError("`starting_after` needs stream=true", param="starting_after")
        return None
    number = query.get("starting_after", "-1")
    if number != "-1" and not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise ClientError("`starting_after` must be a number", param="starting_after")
    return int(number)


def require_stream(stored: Stored) -> None:
    """Raise ClientError for a response that was not streamed."""
    if not stored.stream:
        raise ClientError(
            "this response was not created with stream=true, or its stream was too long to keep",
            param="stream",
        )


def is_stored(body: Json) -> bool:
    """Whether a request's answer is to be kept: unless it says otherwise."""
    return body.get("store") is not False
