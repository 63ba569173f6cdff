"""What an answer has used, once it is over: read from what the tap kept, estimated where it does
not say.
"""

from __future__ import annotations

from routeur.call import Call
from routeur.dialects import FORMATS
from routeur.dialects.usage_tail import estimated_usage, streamed_usage
from routeur.facts import Facts
from routeur.relay import Tap
from routeur.usage import Price, cost


def measure(facts: Facts, call: Call, tap: Tap, price: Price | None, *, whole: bool) -> None:
    """Fill in a call's usage and cost. `whole`: the answer came to its end."""
    tap.gather()
    call.first_token = tap.first_token
    if facts.format is None or call.status >= 400:
        return
    form = FORMATS[facts.format]
    usage = None
    if whole:
        usage = streamed_usage(form, tap.first, tap.last, tap.total <= len(tap.last))
    if usage is None and facts.method == "POST":
        usage = estimated_usage(form, tap.first, tap.last, tap.total, facts.prompt())
        call.estimated = True
    if usage is not None:
        call.usage = usage
        call.cost_usd = cost(usage, price)
