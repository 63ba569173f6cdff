"""What an answer has used, once it is over: read from what the tap kept, estimated where it does
not say.
"""

from __future__ import annotations

from routeur.call import Call
from routeur.dialects import FORMATS
from routeur.dialects.base import Usage
from routeur.dialects.usage_tail import estimated_usage, streamed_usage
from routeur.facts import Facts
from routeur.relay import Tap
from routeur.usage import Price, cost


def measure(facts: Facts, call: Call, tap: Tap, price: Price | None, *, whole: bool) -> None:
    """Fill in a call's usage and cost. `whole`: the answer came to its end."""
    call.first_token = tap.first_token
    if call.status >= 400:
        return
    call.usage, call.estimated = used(facts, tap, whole=whole)
    if call.usage is not None:
        call.cost_usd = cost(call.usage, price)


def used(facts: Facts, tap: Tap, *, whole: bool) -> tuple[Usage | None, bool]:
    """What an answer has used, and whether that is an estimate."""
    tap.gather()
    if facts.format is None:
        return None, False
    form = FORMATS[facts.format]
    if whole:
        usage = streamed_usage(form, tap.first, tap.last, tap.total <= len(tap.last))
        if usage is not None:
            return usage, False
    if facts.method != "POST":
        return None, False
    return estimated_usage(form, tap.first, tap.last, tap.total, facts.prompt()), True
