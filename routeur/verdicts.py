"""What a finished call says of the targets that it has asked: how fast they were, or that they have
failed.

What others are to blame for says nothing: a client that has left, a request that no provider could
have answered.
"""

from __future__ import annotations

from collections.abc import Iterator

from routeur.auto import Target
from routeur.call import CLIENT_GONE, GIVEN_UP, Call
from routeur.dialects.base import Usage

TIME_OVER = "no answer within Routeur-Timeout"  # the client's own bound, which blames nobody
NOT_FOUND = 404  # of a target that the configuration names: it is gone

# Seconds to the first token, seconds of the answer, its usage: as `Record.answered` has them.
Seen = tuple[float | None, float | None, Usage | None]


def outcomes(call: Call, refused: frozenset[int]) -> Iterator[tuple[Target, float, Seen | None]]:
    """Each attempt's target, when it ended (on `Call`'s clock), and what was seen; None: it failed.

    `refused` are statuses that speak against a target.
    """
    last = call.attempts[-1] if call.attempts else None
    for attempt in call.attempts:
        if attempt.error in GIVEN_UP or attempt.error == TIME_OVER:
            continue
        provider, _, model = attempt.target.partition("/")
        target, ended = Target(provider, model), (attempt.sent or call.started) + attempt.ms / 1000
        if attempt.error is not None:
            yield target, ended, None
        elif attempt.status >= 400:
            if attempt.status in refused or attempt.status == NOT_FOUND:
                yield target, ended, None
        elif attempt is last and call.status not in (0, CLIENT_GONE):
            yield target, ended, _seen(call, attempt.sent)


def _seen(call: Call, sent: float) -> Seen:
    """Only of a stream is the first token seen to come; of others what is seen is the whole."""
    usage = None if call.estimated else call.usage
    if call.stream and call.first_token:
        return call.first_token - sent, call.ended - call.first_token, usage
    return None, call.ended - sent if call.ended else None, usage
