"""Windows of 60 s: what fits, when more will, and what was really used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.limits import SLOT, WINDOW, Limits

# Multiples of 1/64 s, so that sums are exact; most pauses are short, some end a window.
PAUSES = st.one_of(st.integers(0, 16), st.integers(0, 5000)).map(lambda ticks: ticks / 64)


@pytest.mark.parametrize(
    ("rpm", "tpm", "taken", "tokens", "seconds"),
    [
        (-1, -1, [100] * 50, 100, 0.0),
        (2, -1, [], 10**9, 0.0),
        (2, -1, [5], 5, 0.0),
        (2, -1, [5, 5], 5, 60.0),
        (-1, 100, [60], 40, 0.0),
        (-1, 100, [60], 41, 60.0),
        (-1, 100, [100], 0, 0.0),
        (-1, 100, [], 500, 0.0),  # larger than the limit: when nothing else is counted
        (-1, 100, [1], 500, 60.0),
        (-1, 100, [0], 500, 0.0),
        (3, 100, [50, 50], 1, 60.0),
    ],
)
def test_room(rpm, tpm, taken, tokens, seconds):
    limits = Limits()
    for each in taken:
        assert limits.take([("a", rpm, tpm)], each, 1000.0) == 0.0

    assert limits.take([("a", rpm, tpm)], tokens, 1000.0) == seconds
    assert limits.rates("a", 1000.0)[0] == len(taken) + (not seconds)


def test_the_seconds_are_those_until_it_fits():
    limits = Limits()
    for now, tokens in ((0.0, 10), (10.0, 50), (20.0, 40)):
        limits.take([("a", -1, 100)], tokens, now)

    assert limits.take([("a", -1, 100)], 10, 25.0) == 35.0
    assert limits.take([("a", -1, 100)], 60, 25.0) == 45.0
    assert limits.take([("a", -1, 100)], 61, 25.0) == 55.0
    assert limits.take([("a", -1, 100)], 60, 25.0 + 45.0) == 0.0


def test_all_names_or_none():
    limits = Limits()
    both = [("a", 5, -1), ("a:m", 1, -1)]

    assert limits.take(both, 7, 0.0) == 0.0
    assert limits.take(both, 7, 1.0) == 59.0
    assert limits.rates("a", 1.0) == (1, 7)
    assert limits.rates("a:m", 1.0) == (1, 7)
    assert limits.take([("a", 5, -1)], 7, 1.0) == 0.0


def test_no_name_is_no_limit():
    assert Limits().take([], 10**9, 0.0) == 0.0


def test_what_was_used_replaces_what_was_estimated():
    limits = Limits()
    wants = [("a", -1, 1000), ("b", -1, 5000)]
    limits.take(wants, 900, 0.0)
    limits.take([("b", -1, 5000)], 50, 5.0)
    limits.settle(["a", "b"], 900, 20, 0.0, 30.0)

    assert (limits.rates("a", 30.0), limits.rates("b", 30.0)) == ((1, 20), (2, 70))
    assert limits.take(wants, 980, 30.0) == 0.0
    assert limits.rates("b", 60.0) == (2, 1030)


def test_more_was_used_than_estimated():
    limits = Limits()
    limits.take([("a", -1, 100)], 10, 0.0)
    limits.settle(["a"], 10, 5000, 0.0, 1.0)

    assert limits.take([("a", -1, 100)], 1, 2.0) == 58.0


@pytest.mark.parametrize("name", ["a", "unknown"])
def test_what_is_no_longer_counted_is_not_corrected(name):
    limits = Limits()
    limits.take([("a", -1, 100)], 10, 0.0)
    limits.take([("a", -1, 100)], 30, 59.0)
    limits.settle([name], 10, 5000, 0.0, 61.0)

    assert limits.rates("a", 61.0) == (1, 30)


def test_usage_below_zero_is_none():
    limits = Limits()
    limits.take([("a", -1, 100)], 10, 0.0)
    limits.settle(["a"], 10, -50, 0.0, 1.0)

    assert limits.rates("a", 1.0) == (1, 0)


def test_a_clock_that_goes_back_moves_no_window_back():
    limits = Limits()
    wants = [("a", 2, -1)]
    limits.take(wants, 1, 100.0)
    limits.take(wants, 1, 40.0)

    assert limits.take(wants, 1, 100.0) == 60.0
    assert limits.take(wants, 1, 159.9) > 0
    assert limits.take(wants, 1, 160.0) == 0.0


def test_what_is_taken_out_of_order_is_settled():
    """Workers ask over pipes: a moment later somebody else's time is the newer one."""
    limits = Limits()
    for now in (10.0, 10.5, 10.4):
        limits.take([("a", -1, 10**6)], 100, now)
    limits.settle(["a"], 100, 0, 10.4, 11.0)

    assert limits.rates("a", 11.0) == (3, 200)
    assert limits.rates("a", 70.2)[1] >= 100
    assert limits.rates("a", 70.5) == (0, 0)


def test_memory_is_bounded():
    limits = Limits()
    for ticks in range(60_000):
        limits.take([("a", 10**9, -1)], 1, ticks / 500)

    assert limits.rates("a", 119.999)[0] >= 29_999
    assert len(limits._windows["a"].slots) <= WINDOW / SLOT + 1


def test_names_that_are_gone_are_forgotten():
    limits = Limits()
    for number in range(100):
        limits.take([(f"n{number}", 1, -1)], 1, 0.0)
    limits.take([("new", 1, -1)], 1, 60.0)

    assert list(limits._windows) == ["new"]
    assert limits.rates("n1", 60.0) == (0, 0)


@given(st.integers(1, 5), st.lists(PAUSES, max_size=60))
def test_never_more_than_rpm_in_any_60_seconds(rpm, pauses):
    limits, now, passed = Limits(), 0.0, []
    for each in pauses:
        now += each
        seconds = limits.take([("a", rpm, -1)], 0, now)
        if not seconds:
            passed.append(now)
        else:
            assert seconds <= WINDOW
            # It was right to refuse: there have been that many, and a slot's width more is all.
            assert sum(now - WINDOW - SLOT < each <= now for each in passed) >= rpm

    for end in passed:
        assert sum(end - WINDOW < each <= end for each in passed) <= rpm


@given(st.integers(10, 100), st.lists(st.tuples(PAUSES, st.integers(0, 120)), max_size=60))
def test_never_more_than_tpm_in_any_60_seconds(tpm, requests):
    """But for a request that is larger by itself, which passes alone."""
    limits, now, passed = Limits(), 0.0, []
    for pause, tokens in requests:
        now += pause
        if not limits.take([("a", -1, tpm)], tokens, now):
            passed.append((now, tokens))

    for end, last in passed:
        within = sum(tokens for at, tokens in passed if end - WINDOW < at <= end)
        assert within <= max(tpm, last, *(tokens for _, tokens in passed))
        assert within <= tpm or max(tokens for at, tokens in passed if end - WINDOW < at) > tpm


@given(st.integers(1, 4), st.lists(PAUSES, max_size=30))
def test_after_the_seconds_it_fits(rpm, pauses):
    limits, now = Limits(), 0.0
    wants = [("a", rpm, -1), ("b", 2 * rpm, 50)]
    for each in pauses:
        now += each
        seconds = limits.take(wants, 10, now)
        if seconds:
            now += seconds + 1e-9
            assert limits.take(wants, 10, now) == 0.0


@given(st.lists(st.tuples(PAUSES, st.integers(0, 50), st.integers(0, 200)), max_size=40))
def test_settled_sums_are_what_was_used(requests):
    limits, now, taken = Limits(), 0.0, []
    for pause, estimated, used in requests:
        now += pause / 20
        limits.take([("a", -1, 10**9)], estimated, now)
        taken.append((now, estimated, used))
    for at, estimated, used in taken:
        limits.settle(["a"], estimated, used, at, now)

    requests_now, tokens = limits.rates("a", now)
    exact = [used for at, _, used in taken if at > now - WINDOW]
    loose = [used for at, _, used in taken if at > now - WINDOW - SLOT]
    assert len(exact) <= requests_now <= len(loose)
    assert sum(exact) <= tokens <= sum(loose)
