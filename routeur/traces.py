"""Records of finished calls: the last ones, in memory, and the shape in which they are shown."""

from __future__ import annotations

from itertools import islice
from typing import Any

from routeur.call import Attempt, Call, rfc3339

ATTEMPT = ("target", "credential", "status", "ms", "error")  # what is shown of one


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


def shown(call: Call) -> dict[str, Any]:
    """A call as `GET /v1/traces/{id}` shows it. What did not happen is null, never 0."""
    return {
        "id": call.id,
        "request_id": call.request_id,
        "provider": call.provider,
        "credential": call.credential,
        "model": call.model,
        "requested_model": call.requested_model,
        "dialect_in": call.dialect,
        "dialect_out": call.provider_dialect,
        "route_reason": call.reason,
        "attempts": [_attempt(attempt) for attempt in call.attempts],
        "status_code": call.status,
        "started_at": rfc3339(call.started_at),
        "first_byte_ms": call.ms(call.first_byte),
        "first_token_ms": call.ms(call.first_token),
        "latency_ms": call.ms(call.ended),
        "overhead_ms": round(call.overhead * 1000, 3) if call.sent else None,
        "stream": call.stream,
        "usage": call.usage.as_dict() if call.usage else None,
        "cost_usd": call.cost_usd,
        "estimated": call.estimated,
        "dropped": list(call.dropped),
        "key": call.key,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in ATTEMPT}
