"""What a call that is over has cost, as the store books it."""

from __future__ import annotations

from routeur.call import Attempt, Call
from routeur.store.base import NOTHING, Charge, Settlement
from routeur.traces import buckets, written


def settlement(call: Call, *, traced: bool) -> Settlement:
    """A finished call for the books; with its trace, if that is to be kept there."""
    attempts, provider = call.attempts, call.provider
    tokens = buckets(call.usage)
    charges: tuple[Charge, ...] = ()
    if len(attempts) > 1 or provider is None:
        charges = tuple(_failed(each) for each in attempts if each.usage is not None)
    if attempts and provider is not None:
        booked, micro, requests = tokens, 0 if tokens is None else call.micro, 1
        if call.left is not None:  # the rest is booked already
            booked, micro, requests = buckets(call.left[0]), call.left[1], 0
        name, number = call.model or "", call.number
        answer = Charge(provider, name, booked or NOTHING, micro, requests, number)
        charges = (*charges, answer)
    return Settlement(
        call.id,
        call.key or "",
        call.started_at,
        call.started_at + call.ended - call.started,
        call.status,
        charges,
        call.reserved,
        written(call, tokens) if traced else "",
    )


def _failed(attempt: Attempt) -> Charge:
    """An attempt that was not the answer, after tokens had flowed."""
    provider, _, model = attempt.target.partition("/")
    tokens = buckets(attempt.usage) or NOTHING
    return Charge(provider, model, tokens, attempt.micro, 0, attempt.number)
