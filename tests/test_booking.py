"""What a finished call is for the books."""

from __future__ import annotations

from routeur.booking import settlement
from routeur.call import Attempt, Call
from routeur.dialects.base import Usage
from routeur.store.base import NOTHING, Charge
from routeur.traces import read, record
from tests.stores import tokens


def ended(**known):
    known = {"started": 10.0, "started_at": 1000.0, "ended": 10.5, "status": 200} | known
    return Call("POST", "/v1/chat/completions", "openai", "k", **known)


def answered(**known):
    known = {"provider": "p", "model": "m", "attempts": [Attempt("p/m", "p")]} | known
    return ended(**known)


def test_an_answer():
    call = answered(usage=Usage(input=10, output=7), micro=5, reserved=True)
    done = settlement(call, traced=False)

    assert (done.id, done.key, done.status, done.trace) == (call.id, "k", 200, "")
    assert (done.started_at, done.ended_at, done.reserved) == (1000.0, 1000.5, True)
    assert done.charges == (Charge("p", "m", tokens(input=10, output=7), 5),)


def test_an_answer_without_a_price():
    (charge,) = settlement(answered(usage=Usage(input=10)), traced=False).charges
    assert charge == Charge("p", "m", tokens(input=10), None)


def test_an_answer_that_used_nothing():
    (charge,) = settlement(answered(), traced=False).charges
    assert charge == Charge("p", "m", NOTHING, 0)


def test_attempts_that_failed_after_tokens_had_flowed():
    failed = Attempt("q/a/b", "q", usage=Usage(output=3), micro=2)
    attempts = [failed, Attempt("r/m", "r"), Attempt("p/m", "p")]
    done = settlement(answered(attempts=attempts, number=3, usage=Usage()), traced=False)

    assert done.charges == (
        Charge("q", "a/b", tokens(output=3), 2, 0, 1),
        Charge("p", "m", NOTHING, None, 1, 3),
    )


def test_the_only_attempt_failed_after_tokens_had_flowed():
    failed = Attempt("p/m", "p", usage=Usage(output=3), micro=2)
    done = settlement(answered(attempts=[failed], status=502), traced=False)
    assert done.charges == (
        Charge("p", "m", tokens(output=3), 2, 0, 1),
        Charge("p", "m", NOTHING, 0),
    )


def test_nobody_has_answered():
    failed = Attempt("q/m", "q", usage=Usage(output=3), micro=2)
    done = settlement(ended(attempts=[failed], status=502), traced=False)
    assert done.charges == (Charge("q", "m", tokens(output=3), 2, 0, 1),)


def test_nobody_was_asked():
    call = ended(status=401)
    call.key = None
    done = settlement(call, traced=False)
    assert (done.key, done.charges) == ("", ())


def test_its_trace_can_be_read():
    """With what stands beside it in a store."""
    attempts = [Attempt("q/m", "q", error="busy"), Attempt("p/m", "p", sent=10.0005, ms=9.25)]
    times = {"sent": 10.0005, "first_byte": 10.001, "first_token": 10.0}
    known = {"attempts": attempts, "usage": Usage(output=3), "cost_usd": 0.1, "dropped": ("top_k",)}
    for call in (answered(**times, **known), ended(), ended(request_id="req_1"), Call()):
        text = settlement(call, traced=True).trace
        assert read(text, call.id, call.key) == record(call)


def test_what_cannot_be_written_down_is_booked():
    call = answered(usage=Usage(input=10, output=1 << 80), requested_model="\ud800")
    done = settlement(call, traced=True)
    assert (done.trace, done.charges[0].tokens) == ("", tokens(input=10, output=1 << 80))
