"""What a call that is over has cost, as the store books it."""

from __future__ import annotations

from routeur.call import Attempt, Call
from routeur.store.base import NOTHING, Charge, Settlement
from routeur.traces import buckets, written


def settlement(call: Call, *, traced: bool) -> Settlement:
    """A finished call for the books; with its trace, if that is to be kept there."""
    tokens, attempts, began = buckets(call.usage), call.attempts, call.started_at
    failed = tuple([_failed(each) for each in attempts if each.usage is not None])
    return Settlement(
        call.id,
        call.key or "",
        began,
        began + call.ended - call.started,
        call.status,
        (*failed, _answer(call, tokens)) if attempts and call.provider is not None else failed,
        call.reserved,
        written(call, tokens) if traced else "",
    )


def _answer(call: Call, tokens: tuple[int, ...] | None) -> Charge:
    """What the client has got."""
    provider, model, number = call.provider or "", call.model or "", call.number
    if call.left is not None:  # the rest is booked already
        usage, micro = call.left
        return Charge(provider, model, buckets(usage) or NOTHING, micro, 0, number)
    if tokens is None:
        return Charge(provider, model, NOTHING, 0, 1, number)
    return Charge(provider, model, tokens, call.micro, 1, number)


def _failed(attempt: Attempt) -> Charge:
    """An attempt that was not the answer, after tokens had flowed."""
    provider, _, model = attempt.target.partition("/")
    tokens = buckets(attempt.usage) or NOTHING
    return Charge(provider, model, tokens, attempt.micro, 0, attempt.number)
