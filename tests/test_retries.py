"""What providers say of when to come back, pauses, and the budget."""

from __future__ import annotations

import random
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.retries import Budget, pause, retry_after

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"2", 2.0),
        (b"0", 0.0),
        (b" 7 ", 7.0),
        (b"1.5", 1.5),
        (b"3600", 3600.0),
        (b"86400", 3600.0),
        (b"99999999999999999999", 3600.0),
        (b"Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        (b"Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        (b"Sun Nov  6 08:49:47 1994", 10.0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        (b"Sun, 06 Nov 1994 08:49:27 GMT", None),
        (b"Sun, 06 Nov 99999 08:49:27 GMT", None),
        (b"-1", None),
        (b"+1", None),
        (b"", None),
        (b"soon", None),
        (b"1e3", None),
        (b"nan", None),
        (b"inf", None),
        (b"1_000", None),
        (b"2, 3", None),
        (b"10s", None),
        ("٣".encode(), None),
        (b"\xff", None),
    ],
)
def test_retry_after(said, seconds):
    assert retry_after({b"retry-after": said}, None, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "hint", "seconds"),
    [
        ({}, None, None),
        ({b"retry-after-ms": b"250"}, None, 0.25),
        ({b"retry-after-ms": b"250", b"retry-after": b"1"}, 9.0, 0.25),
        ({b"retry-after-ms": b"-250", b"retry-after": b"1"}, 9.0, 1.0),
        ({b"retry-after-ms": b"x", b"retry-after": b"y"}, 9.0, 9.0),
        ({b"retry-after-ms": b"99999999999"}, None, 3600.0),
        ({}, 9.5, 9.5),
        ({}, 86400.0, 3600.0),
        ({}, -1.0, None),
        ({}, float("nan"), None),
        ({}, float("inf"), None),
    ],
)
def test_which_of_them_holds(headers, hint, seconds):
    assert retry_after(headers, hint, NOW) == seconds


@given(st.binary(max_size=60))
def test_garbage_is_ignored(said):
    found = retry_after({b"retry-after": said, b"retry-after-ms": said}, None, NOW)

    assert found is None or 0 <= found <= 3600


@given(st.integers(0, 3600))
def test_any_date(seconds):
    date = formatdate(NOW + seconds, usegmt=True).encode()

    assert retry_after({b"retry-after": date}, None, NOW) == seconds


@pytest.mark.parametrize(
    ("attempt", "most"), [(1, 0.1), (2, 0.2), (3, 0.4), (5, 1.6), (6, 2.0), (100, 2.0)]
)
def test_pause(attempt, most):
    """Full jitter: from nothing to the most."""
    assert pause(attempt, lambda: 0.0) == 0.0
    assert pause(attempt, lambda: 0.5) == pytest.approx(most / 2)
    assert all(0 <= pause(attempt, random.random) < most for _ in range(20))


def allowed(budget, now):
    """How many retries pass at once, of very many."""
    return sum(budget.may_retry(now) for _ in range(1000))


@pytest.mark.parametrize(
    ("share", "calls", "retries"),
    [(0.2, 0, 10), (0.2, 50, 10), (0.2, 100, 20), (0.2, 1000, 200), (0.0, 1000, 10), (1.0, 30, 30)],
)
def test_budget(share, calls, retries):
    budget = Budget(share)
    for _ in range(calls):
        budget.called(7.5)

    assert allowed(budget, 7.5) == retries


def test_the_budget_is_that_of_the_last_minute():
    budget = Budget(0.5)
    for second in range(100, 110):
        for _ in range(10):
            budget.called(second + 0.5)

    assert allowed(budget, 110.0) == 50
    assert allowed(budget, 150.0) == 0
    budget.called(165.0)  # of the calls those of 106 to 109 are left
    assert allowed(budget, 165.9) == 0
    assert allowed(budget, 170.0) == 10


def test_a_long_silence_empties_the_budget():
    budget = Budget(0.2, floor=2)
    for _ in range(100):
        budget.called(5.0)

    assert allowed(budget, 5.0) == 20
    assert allowed(budget, 10.0**6) == 2


def test_a_clock_that_goes_back_gives_nothing():
    budget = Budget(0.2, floor=2)
    assert allowed(budget, 500.0) == 2
    budget.called(100.0)
    assert allowed(budget, 100.0) == 0
    assert allowed(budget, 559.0) == 0
    assert allowed(budget, 560.0) == 2


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=80))
def test_never_beyond_the_budget(steps):
    """Whatever happens in which order, by whole seconds."""
    budget, now, calls, retries = Budget(0.5, floor=3), 0, [], []
    for step, is_call in steps:
        now += step // 10
        calls = [each for each in calls if each > now - 60]
        retries = [each for each in retries if each > now - 60]
        if is_call:
            budget.called(now)
            calls.append(now)
        else:
            may = len(retries) < 3 or len(retries) < 0.5 * len(calls)
            assert budget.may_retry(now) == may
            retries += [now] if may else []
