"""Whose turn it is among a provider's credentials for a model."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.providers import CredentialModel
from tests.standings import Time, chosen, credential, standings

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def weighted(*weights, **more):
    names = "abcdefgh"
    made = [credential(f"p.{name}", weight=w) for name, w in zip(names, weights, strict=False)]
    return standings(*made, **more).group("p", "m")


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ((1,), "aaa"),
        ((1, 1), "abab"),
        ((2, 1), "abaaba"),
        ((5, 1, 1), "aabacaa"),  # nginx's own example
        ((1, 1, 1), "abcabc"),
    ],
)
def test_turns(weights, turns):
    assert "".join(chosen(weighted(*weights), len(turns))) == turns


@given(WEIGHTS, st.integers(1, 3))
def test_a_cycle_has_the_exact_shares(weights, cycles):
    counts = Counter(chosen(weighted(*weights), sum(weights) * cycles))

    assert list(counts[name] for name in "abcdef"[: len(weights)]) == [
        each * cycles for each in weights
    ]


@given(WEIGHTS, st.integers(1, 100))
def test_turns_are_spread_evenly(weights, count):
    """Nobody is ever a whole turn ahead of its share, nor two of equal weight apart by two."""
    counts = Counter(chosen(weighted(*weights), count))
    by_weight = {}
    for name, weight in zip("abcdef", weights, strict=False):
        assert counts[name] < Fraction(count * weight, sum(weights)) + 1
        by_weight.setdefault(weight, []).append(counts[name])
    assert all(max(each) - min(each) <= 1 for each in by_weight.values())


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_turns_stay_bounded_whoever_is_left_out(steps):
    group = weighted(5, 1, 3, 2)
    for index, busy in steps:
        group.choose(1000.0, 0, [group.members[index]], least_busy=busy)

        assert sum(each.turn for each in group.members) == 0
        assert all(abs(each.turn) <= 4 * 11 for each in group.members)


def test_members_are_in_the_configurations_order_and_the_lone_one_is_known():
    alone, several = weighted(1), weighted(1, 2)

    assert alone.lone is alone.members[0] and several.lone is None
    assert [each.credential.name for each in several.members] == ["p.a", "p.b"]


def test_fallback_ones_when_no_other_can_be_asked():
    made = standings(
        credential("p.a", fallback=True), credential("p.b"), credential("p.c", fallback=True)
    )
    group = made.group("p", "m")
    spare, main, other = group.members
    assert chosen(group, 3) == ["b", "b", "b"]
    assert chosen(group, 4, without=[main]) == ["a", "c", "a", "c"]
    assert chosen(group, 1, without=[main, spare]) == ["c"]
    assert chosen(group, 1, without=[main, spare, other]) == ["-"]
    made.rest(main, 5.0, 1000.0)
    assert chosen(group, 1, now=1001.0) == ["a"]


def test_weights_of_a_model():
    made = standings(
        credential("p.a", weight=3, models={"m": CredentialModel(weight=1)}),
        credential("p.b", models={"n": CredentialModel(weight=0), "m": CredentialModel(rpm=9)}),
    )

    assert chosen(made.group("p", "m"), 4) == ["a", "b", "a", "b"]
    assert chosen(made.group("p", "n"), 2) == ["a", "a"]
    assert chosen(made.group("p", "o"), 4) == ["a", "a", "b", "a"]
    assert made.group("p", "n").lone is made.group("p", "n").members[0]


def test_nobody_serves_it():
    made = standings(credential("p.a", models={"m": CredentialModel(weight=0)}))
    group = made.group("p", "m")

    assert (group.members, group.lone, group.limited) == ((), None, False)
    assert (group.choose(0.0, 0), group.refusals(0.0)) == (None, [])
    assert made.group("gone", "m").choose(0.0, 0) is None


def test_the_least_busy_for_its_weight():
    made = standings(
        *(credential(f"p.{name}", weight=w) for name, w in zip("abc", (2, 1, 1), strict=True))
    )
    group = made.group("p", "m")
    a, b, c = group.members
    assert chosen(group, 4, least_busy=True) == ["a", "b", "c", "a"]
    assert [each.inflight for each in group.members] == [2, 1, 1]
    b.inflight -= 1
    assert chosen(group, 1, least_busy=True) == ["b"]
    for each in (a, a, c):
        each.inflight -= 1
    assert chosen(group, 1, without=[a], least_busy=True) == ["c"]


# ── limits


def test_limits_of_a_credential_and_of_its_model():
    made = standings(
        credential("p.a", rpm=3, models={"m": CredentialModel(tpm=50), "n": CredentialModel()})
    )
    m, n = made.group("p", "m").lone, made.group("p", "n").lone

    assert m.wants == (("p.a", 3, -1), ("p.a:m", -1, 50))
    assert n.wants == (("p.a", 3, -1),)
    assert made.group("p", "m").limited and not m.clear
    assert standings(credential("p.a")).group("p", "m").lone.wants == ()


def test_who_is_at_its_limit_is_passed_over():
    made = standings(credential("p.a", rpm=1), credential("p.b", rpm=2), credential("p.c", rpm=1))
    group = made.group("p", "m")

    assert chosen(group, 5) == ["a", "b", "c", "b", "-"]
    assert [each.inflight for each in group.members] == [1, 2, 1]
    assert [(each.why, each.seconds) for each in group.refusals(1000.0)] == [
        ("rate limited", 60.0)
    ] * 3
    assert group.refusals(1000.0)[1].detail == "rpm 2"
    assert chosen(group, 5, now=1060.0) == ["a", "b", "c", "b", "-"]


def test_tokens_are_taken_and_settled():
    time = Time()
    made = standings(credential("p.a", tpm=100), time=time)
    group = made.group("p", "m")
    first = group.choose(time.now, 80)
    assert group.choose(time.now, 30) is None
    assert group.refusals(time.now)[0].detail == "tpm 100"
    made.settle(first, 80, 10, time.now)
    assert group.choose(time.now, 30) is first
    assert made.limits.rates("p.a", time.now) == (2, 40)


def test_limits_are_taken_of_all_or_none():
    made = standings(credential("p.a", rpm=9, models={"m": CredentialModel(rpm=1, tpm=1000)}))
    group = made.group("p", "m")

    assert chosen(group, 2) == ["a", "-"]
    assert made.limits.rates("p.a", 1000.0) == (1, 0)
    assert group.refusals(1000.0)[0].detail == ("rpm 9; for this model rpm 1, tpm 1000")
    assert chosen(made.group("p", "n"), 1) == ["a"]


def test_limits_that_others_keep():
    """With several workers the parent is asked between the two halves."""
    made = standings(credential("p.a", rpm=1), credential("p.b"))
    group = made.group("p", "m")
    first = group.pick(1000.0)
    assert first.inflight == 1 and made.limits.rates("p.a", 1000.0) == (0, 0)
    group.put_back(first, 7.0, 1000.0)
    assert first.inflight == 0
    assert [(each.why, each.seconds) for each in group.refusals(1000.0)] == [("rate limited", 7.0)]
    assert group.pick(1000.0, [first]) is group.members[1]
    assert group.take(first, 0, 1000.0) == 0.0


def test_a_probe_that_its_limits_refuse_is_none():
    time = Time()
    made = standings(credential("p.a", rpm=1), time=time, after=1)
    group = made.group("p", "m")
    made.failed(group.choose(time.now, 0), 500, time.now)
    time.now += 60.0
    made.limits.take([("p.a", 1, -1)], 0, time.now)
    assert chosen(group, 2, now=time.now) == ["-", "-"]
    assert group.refusals(time.now)[0].why == "rate limited"
    time.now += 60.0
    assert chosen(group, 2, now=time.now) == ["a", "-"]
    assert group.refusals(time.now)[0].why == "probing"


def test_a_preferred_one_comes_before_its_turn():
    group = weighted(5, 1, 1)
    a, b, c = group.members

    assert [group.pick(1000.0, prefer="p.c") for _ in range(3)] == [c, c, c]
    assert group.pick(1000.0, [c], prefer="p.c") is a
    b.rest(2000.0)
    assert group.pick(1000.0, prefer="p.b") is a
    assert group.pick(1000.0, prefer="p.gone") in (a, c)
    assert b.inflight == 0


def test_load_and_whether_anybody_can_be_asked():
    group = weighted(3, 1)
    group.pick(1000.0)
    group.pick(1000.0)

    assert group.load == 0.5
    assert group.open(1000.0)
    for each in group.members:
        each.rest(2000.0)
    assert not group.open(1000.0)
    assert group.open(2000.0)
