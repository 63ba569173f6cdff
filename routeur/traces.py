"""Records of finished calls: the last ones, in memory, what a store keeps of each, and the shape in
which they are shown.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import astuple

from routeur.call import Call, rfc3339
from routeur.dialects.base import Usage

ATTEMPT = ("target", "credential", "status", "ms", "error")  # what is kept of one
MICRO = 1_000_000  # microseconds of a second

_attempt = attrgetter(*ATTEMPT)


# Strategy, why, what told the conversation, scores, rejected targets: as a `Call` has them.
Choice = tuple[str | None, str, str, list[dict[str, Any]], list[tuple[str, str]]]


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is kept of a call. All but `id` and `key`, which stand beside it in every store, is
    written to the spool: hence no dict.

    New fields go before these two, with a default, so that what is older can be read. `started_at`
    is Unix time; the moments after it are in microseconds since then, 0 for what did not come.
    """

    request_id: str | None  # None: the call's id
    requested_model: str | None
    dialect_in: str
    stream: bool
    started_at: float
    status: int
    reason: str | None
    provider: str | None
    dialect_out: str | None
    credential: str | None
    model: str | None
    attempts: list[tuple[str, str, int, float, str | None]]
    overhead: int | None  # None: nothing was sent
    first_byte: int
    first_token: int
    ended: int
    usage: tuple[int, ...] | None  # in the order of BUCKETS
    cost_usd: float | None
    estimated: bool
    dropped: tuple[str, ...]
    choice: Choice | None = None
    id: str = ""
    key: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class Traces:
    """The last `keep` calls; the oldest fall out, some at a time."""

    def __init__(self, keep: int = 10_000) -> None:
        self._keep = keep
        self._most = keep + keep // 64
        self._by_id: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, call: Call) -> None:
        self._by_id[call.id] = call
        if len(self._by_id) > self._most:
            # In one go: to find its first key, a dictionary looks at all that were before it.
            for id in [*islice(self._by_id, len(self._by_id) - self._keep)]:
                del self._by_id[id]

    def get(self, id: str) -> Call | None:
        """The call with this trace id (`tr_…`), if it is still kept."""
        return self._by_id.get(id)


def record(call: Call) -> Record:
    facts = _facts(call, buckets(call.usage))
    return msgspec.convert((*facts, call.id, call.key), Record)


def buckets(usage: Usage | None) -> tuple[int, ...] | None:
    return None if usage is None else astuple(usage)


def _facts(call: Call, tokens: tuple[int, ...] | None) -> tuple[Any, ...]:
    """The fields of a record, but for the last two."""
    id, request_id, started = call.id, call.request_id, call.started
    first_byte, first_token, ended = call.first_byte, call.first_token, call.ended
    return (
        None if request_id == id else request_id,
        call.requested_model,
        call.dialect,
        call.stream,
        call.started_at,
        call.status,
        call.reason,
        call.provider,
        call.provider_dialect,
        call.credential,
        call.model,
        [*map(_attempt, call.attempts)],
        round(call.overhead * MICRO) if call.sent else None,
        round((first_byte - started) * MICRO) if first_byte else 0,
        round((first_token - started) * MICRO) if first_token else 0,
        round((ended - started) * MICRO) if ended else 0,
        tokens,
        call.cost_usd,
        call.estimated,
        call.dropped,
        call.choice,
    )


def written(call: Call, tokens: tuple[int, ...] | None) -> str:
    """A call's record as text, for `read`; `tokens` are the call's `buckets`.

    "" where that cannot be: what the call has cost is booked all the same.
    """
    try:
        return _encode(_facts(call, tokens)).decode()
    except (UnicodeError, OverflowError):  # a name or a number that nobody sends
        return ""


def read(text: str, id: str, key: str | None) -> Record:
    """Raises msgspec.DecodeError."""
    return msgspec.structs.replace(_decode(text), id=id, key=key)


def shown(record: Record) -> dict[str, Any]:
    """A record as `GET /v1/traces/{id}` shows it. What did not happen is null, never 0."""
    return {
        "id": record.id,
        "request_id": record.request_id or record.id,
        "provider": record.provider,
        "credential": record.credential,
        "model": record.model,
        "requested_model": record.requested_model,
        "dialect_in": record.dialect_in,
        "dialect_out": record.dialect_out,
        "route_reason": record.reason,
        "choice": _choice(record.choice),
        "attempts": [dict(zip(ATTEMPT, each, strict=True)) for each in record.attempts],
        "status_code": record.status,
        "started_at": rfc3339(record.started_at),
        "first_byte_ms": _ms(record.first_byte),
        "first_token_ms": _ms(record.first_token),
        "latency_ms": _ms(record.ended),
        "overhead_ms": None if record.overhead is None else record.overhead / 1000,
        "stream": record.stream,
        "usage": Usage(*record.usage).as_dict() if record.usage else None,
        "cost_usd": record.cost_usd,
        "estimated": record.estimated,
        "dropped": list(record.dropped),
        "key": record.key,
    }


def _choice(choice: Choice | None) -> dict[str, Any] | None:
    """Why this target, where there was a choice."""
    if choice is None:
        return None
    strategy, why, conversation, scores, rejected = choice
    return {
        "strategy": strategy,
        "why": why or None,
        "conversation": conversation or None,
        "scores": scores,
        "rejected": [{"target": target, "why": reason} for target, reason in rejected],
    }


def _ms(microseconds: int) -> float | None:
    return microseconds / 1000 if microseconds else None
