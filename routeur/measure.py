"""What an answer has used, once it is over: read from what the tap kept, estimated where it does
not say.
"""

from __future__ import annotations

import orjson

from routeur.dialects import FORMATS
from routeur.dialects.base import Usage
from routeur.dialects.usage_tail import estimated_usage, streamed_usage
from routeur.facts import Facts
from routeur.relay import Tap


def used(facts: Facts, tap: Tap, *, whole: bool) -> tuple[Usage | None, bool]:
    """What an answer has used, and whether that is an estimate. `whole`: it came to its end."""
    if facts.format is None:
        return None, False
    form = FORMATS[facts.format]
    if whole and (document := tap.document()):
        try:
            usage = form.usage(orjson.loads(document))
            if usage is not None:
                return usage, False
        except orjson.JSONDecodeError:
            pass
    tap.gather()
    if whole:
        usage = streamed_usage(form, tap.first, tap.last, tap.total <= len(tap.last))
        if usage is not None:
            return usage, False
    if facts.method != "POST":
        return None, False
    return estimated_usage(form, tap.first, tap.last, tap.total, facts.prompt()), True
