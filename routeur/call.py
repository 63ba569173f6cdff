"""What is known of one request; filled in on the way, and kept as its trace."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from routeur.dialects.base import Usage

if TYPE_CHECKING:
    from routeur.payloads import Payload

CLIENT_GONE = 499  # never sent, only recorded: there is nobody left to read it
# Why attempts end of which nothing can be said.
LEFT, LOST = "the client left", "another target was faster"
GIVEN_UP = frozenset((LEFT, LOST))

# Unique among processes by a random part, within one by counting.
_ids = map(f"tr_{token_hex(6)}%010x".__mod__, itertools.count(1))


def new_id() -> str:
    """An id for a call; also a request's, where nobody else gave it one."""
    return next(_ids)


def ended_well(error: str | None) -> bool:
    """Whether an attempt that ended so says nothing against the one that was asked."""
    return error is None or error in GIVEN_UP


class Attempt:
    """One request to one provider.

    `target` is `provider/model`; `error` says why the attempt ended, if badly. `sent` and
    `answered` are when the request had gone and its answer's head came, on `Call`'s clock; `usage`
    is what an attempt has cost that was not the client's answer.
    """

    status = 0
    ms = 0.0
    error: str | None = None
    sent = 0.0
    answered = 0.0
    usage: Usage | None = None
    micro: int | None = None  # what that costs, in micro-dollars; None: unknown
    number = 1  # in the store's count of what the call has reserved

    def __init__(self, target: str, credential: str, **known: Any) -> None:
        self.target = target
        self.credential = credential
        if known:
            vars(self).update(known)


class Call:
    """One request's facts; what is `known` of it already are attributes too.

    Times are `time.perf_counter()` seconds, `started_at` is Unix time.
    """

    request_id = ""
    requested_model: str | None = None
    stream = False
    provider: str | None = None
    provider_dialect: str | None = None
    credential: str | None = None
    model: str | None = None  # the target's
    reason: str | None = None  # header, vendor, model, rule:NAME, alias:NAME, auto, path, response
    dropped: tuple[str, ...] = ()  # what translation lost
    status = 0
    sent = 0.0  # when the request had gone to the provider
    first_byte = 0.0
    first_token = 0.0
    ended = 0.0
    usage: Usage | None = None
    estimated = False
    cost_usd: float | None = None
    micro: int | None = None  # the same in micro-dollars, rounded up
    number = 1  # of the attempt that was the answer, in the store's count
    # What of its usage is not booked yet, where some is: tokens, and micro-dollars.
    left: tuple[Usage, int | None] | None = None
    told = False  # to the books, where it is counted once
    reserved = False  # in the store, for a key with limits
    remaining: tuple[int | None, int | None] | None = None  # requests and tokens a minute
    error: str | None = None  # what broke, for the log and the trace
    # Why this target, where there was a choice: strategy, why, what told the conversation, scores,
    # rejected targets.
    choice: tuple[Any, ...] | None = None
    aborted_by: str | None = None  # client, upstream, routeur: who ended it before its end
    payload: Payload | None = None  # what passes, if that is kept

    def __init__(
        self,
        method: str = "",
        path: str = "",
        dialect: str = "",
        key: str | None = None,
        **known: Any,
    ) -> None:
        self.id = next(_ids)
        self.started = time.perf_counter()
        self.started_at = time.time()
        self.method = method
        self.path = path
        self.dialect = dialect  # the client's: openai, anthropic, gemini
        self.key = key  # whose call it is: a key's hash, or `master`; None while open to all
        self.attempts: list[Attempt] = []
        if known:
            vars(self).update(known)

    def ms(self, moment: float) -> float | None:
        """Milliseconds from the start to this moment, or None when it did not come."""
        return round((moment - self.started) * 1000, 3) if moment else None

    @property
    def overhead(self) -> float:
        """Seconds that the request spent in routeur before it went to the provider that answered.

        What other attempts took until then is the providers' time. 0.0 if none was sent.
        """
        if not self.sent:
            return 0.0
        seconds = self.sent - self.started
        if len(self.attempts) < 2:
            return seconds
        for attempt in self.attempts:
            if attempt.sent < self.sent:
                seconds -= min(attempt.ms / 1000, self.sent - (attempt.sent or self.started))
        return max(0.0, seconds)


def rfc3339(seconds: float) -> str:
    """Unix time as `2026-01-31T12:00:00.000Z`."""
    return _to_the_ms(int(seconds * 1000))


@lru_cache(maxsize=64)  # of what ends at a time, much ends in one
def _to_the_ms(ms: int) -> str:
    return f"{_to_the_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]
