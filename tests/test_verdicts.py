"""What finished calls say of targets, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from routeur.auto import Target
from routeur.call import LEFT, LOST, Attempt, Call
from routeur.dialects.base import Usage
from routeur.verdicts import TIME_OVER, outcomes

REFUSED = frozenset((429, 500, 503))
P = Target("p", "m/x")


def attempt(**known: Any) -> Attempt:
    return Attempt("p/m/x", "p", **{"sent": 10.0, "ms": 500.0, "status": 200} | known)


def call(*attempts: Attempt, **known: Any) -> Call:
    return Call(attempts=list(attempts), **{"status": 200, "ended": 12.0} | known)


def test_a_stream_that_came() -> None:
    usage = Usage(input=5, output=7)
    ended = call(attempt(), stream=True, first_token=10.5, usage=usage)

    assert list(outcomes(ended, REFUSED)) == [(P, 10.5, (0.5, 1.5, usage))]


def test_an_answer_in_one_piece() -> None:
    usage = Usage(input=5, output=7)

    assert list(outcomes(call(attempt(), usage=usage), REFUSED)) == [(P, 10.5, (None, 2.0, usage))]
    guessed = call(attempt(), usage=usage, estimated=True)
    assert list(outcomes(guessed, REFUSED)) == [(P, 10.5, (None, 2.0, None))]


@pytest.mark.parametrize(
    "failed",
    [
        {"status": 503, "error": "the provider answered 503"},
        {"status": 200, "error": "the provider broke off"},
        {"status": 503},  # it was passed on, as nobody was left
        {"status": 404},
    ],
)
def test_failures(failed: dict[str, Any]) -> None:
    assert list(outcomes(call(attempt(**failed), status=503), REFUSED)) == [(P, 10.5, None)]


@pytest.mark.parametrize(
    "blameless",
    [
        {"error": LEFT},
        {"error": LOST},
        {"error": TIME_OVER},
        {"status": 400},
        {"status": 422},
    ],
)
def test_what_speaks_against_nobody(blameless: dict[str, Any]) -> None:
    assert list(outcomes(call(attempt(**blameless), status=400), REFUSED)) == []


def test_a_connection_that_was_refused() -> None:
    refused = attempt(sent=0.0, status=0, error="cannot connect")

    assert list(outcomes(call(refused, status=502, started=3.0), REFUSED)) == [(P, 3.5, None)]


def test_each_attempt_counts() -> None:
    several = call(attempt(status=503, error="x"), attempt(status=200, sent=11.0))

    assert [seen for _, _, seen in outcomes(several, REFUSED)] == [None, (None, 1.0, None)]


def test_a_client_that_left_within_the_answer() -> None:
    assert list(outcomes(call(attempt(), status=499), REFUSED)) == []
