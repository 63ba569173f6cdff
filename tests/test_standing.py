"""Failures, bans, rests and probes; what workers tell each other, what a reload keeps."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.providers import CredentialModel, Secret
from routeur.standing import REMEMBERED, Ban
from tests.standings import Time, chosen, configure, credential, ended, standings, workers


@pytest.fixture
def time():
    return Time()


def failing(made, standing, *statuses, time):
    """Let attempts fail; whether it is banned after each."""
    found = []
    for status in statuses:
        made.begin(standing)
        found.append(ended(made, standing, "fail", time.now, status))
    return found


def why(group, time):
    return [(each.why, each.seconds) for each in group.refusals(time.now)]


# ── failures and bans


@pytest.mark.parametrize(
    ("statuses", "banned"),
    [
        ([500, 500], False),
        ([500, 500, 500], True),
        ([429, 500, 503, 429, 500, 503], False),  # counted per status
        ([429, 500, 429, 500, 429], True),
        ([401, 401, 401], True),
        ([402, 402, 402], True),
        ([403, 403, 403], True),
        ([502, 502, 502], True),  # connections that break
        ([504, 504, 504], True),  # timeouts
        ([404] * 9, False),
        ([400, 500, 400, 500], False),
        ([500, 404, 500, 404, 500], True),
    ],
)
def test_so_many_failures_of_one_status(statuses, banned, time):
    made = standings(time=time)
    group = made.group("p", "m")
    found = failing(made, group.lone, *statuses, time=time)

    assert found == [False] * (len(statuses) - 1) + [banned]
    assert (group.choose(time.now, 0) is None) == banned
    assert group.lone.inflight == (not banned)


def test_a_success_clears_the_counts(time):
    made = standings(time=time)
    standing = made.group("p", "m").lone
    failing(made, standing, 500, 500, time=time)
    made.begin(standing)
    ended(made, standing, "succeed", time.now)

    assert standing.clear and standing.inflight == 0
    assert failing(made, standing, 500, 500, 500, time=time) == [False, False, True]


def test_a_ban_is_of_one_credential_and_model(time):
    made = standings(credential("p.a"), credential("p.b"), time=time)
    group = made.group("p", "m")
    failing(made, group.members[0], 500, 500, 500, time=time)

    assert chosen(group, 3) == ["b", "b", "b"]
    assert sorted(chosen(made.group("p", "n"), 2)) == ["a", "b"]


def test_what_is_said_of_a_ban(time):
    made = standings(time=time)
    group = made.group("p", "m")
    failing(made, group.lone, 429, 429, 429, time=time)
    (ban,) = made.bans()

    assert ban.as_dict() == {
        "credential": "p",
        "model": "m",
        "origin": "routeur",
        "reason": "status 429, 3 times since the last success",
        "error_code": 429,
        "since": "2023-11-14T22:13:20.000Z",
        "until": "2023-11-14T22:14:20.000Z",
        "permanent": False,
    }
    time.now += 20
    (refusal,) = group.refusals(time.now)
    assert (refusal.credential, refusal.model, refusal.why, refusal.seconds) == (
        "p",
        "m",
        "banned",
        40.0,
    )
    assert refusal.detail == ban.reason
    time.now += 40
    assert made.bans() == [] and group.refusals(time.now) == []


def test_some_failures_ban_at_once(time):
    made = standings(time=time)
    standing = made.group("p", "m").lone
    made.begin(standing)

    assert made.failed(standing, 429, time.now, at_once="insufficient_quota")
    assert [(ban.reason, ban.error_code) for ban in made.bans()] == [("insufficient_quota", 429)]


def test_a_late_success_does_not_end_a_ban(time):
    """Of ten requests that were under way one may still be lucky."""
    made = standings(time=time)
    group = made.group("p", "m")
    made.begin(group.lone)
    failing(made, group.lone, 500, 500, 500, time=time)
    made.succeeded(group.lone, time.now + 1)

    assert why(group, time) == [("banned", 60.0)]


def test_the_longest_deadline_is_kept(time):
    made = standings(time=time)
    group = made.group("p", "m")
    failing(made, group.lone, 500, 500, 500, time=time)
    time.now += 30
    made.begin(group.lone)
    made.failed(group.lone, 429, time.now, at_once="insufficient_quota")

    assert why(group, time) == [("banned", 60.0)]
    assert [(ban.since, ban.until) for ban in made.bans()] == [(1_700_000_000.0, 1_700_000_090.0)]
    made.configure({}, 3, 60.0, frozenset())


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 100)), min_size=1, max_size=12))
def test_of_bans_that_overlap_the_latest_end_counts(bans):
    time = Time()
    made = standings(time=time)
    group = made.group("p", "m")
    ends = 0.0
    for pause, ttl in bans:
        time.now += pause
        ban = made.ban("p", "m", float(ttl), "tests")
        ends = max(ends, time.now + ttl)
        assert why(group, time) == [("banned", ends - time.now)]
        assert ban.until == pytest.approx(ends + time.turned)
    time.now = ends
    assert group.choose(time.now, 0) is group.lone


def test_a_clock_that_is_set_ends_no_ban(time):
    made = standings(time=time)
    group = made.group("p", "m")
    failing(made, group.lone, 500, 500, 500, time=time)
    time.turned += 10**6
    assert why(group, time) == [("banned", 60.0)]
    assert len(made.bans()) == 1


# ── half-open


def half_open(time, *more, **settings):
    made = standings(credential("p.a"), *more, time=time, **settings)
    group = made.group("p", "m")
    failing(made, group.members[0], 500, 500, 500, time=time)
    time.now += 60
    return made, group


def test_one_probe_at_a_time(time):
    _, group = half_open(time)

    assert chosen(group, 3, now=time.now) == ["a", "-", "-"]
    assert why(group, time) == [("probing", None)]


def test_while_one_is_probed_others_are_asked(time):
    _, group = half_open(time, credential("p.b"))

    assert sorted(chosen(group, 4, now=time.now)) == ["a", "b", "b", "b"]


def test_a_probes_success_clears_everything(time):
    made, group = half_open(time)
    made.succeeded(group.choose(time.now, 0), time.now)

    assert group.lone.clear and why(group, time) == []
    assert failing(made, group.lone, 500, 500, time=time) == [False, False]


@pytest.mark.parametrize("status", [500, 429])
def test_a_probes_failure_bans_again_at_once(status, time):
    made, group = half_open(time)
    assert made.failed(group.choose(time.now, 0), status, time.now)

    assert why(group, time) == [("banned", 60.0)]
    (ban,) = made.bans()
    assert ban.reason == f"status {status} again after a ban"
    assert ban.since == time.wall()
    time.now += 60
    assert chosen(group, 2, now=time.now) == ["a", "-"]


@pytest.mark.parametrize("end", ["leave", "fail"])
def test_a_probe_without_a_verdict_lets_the_next_one_try(end, time):
    made, group = half_open(time)
    standing = group.choose(time.now, 0)
    assert not ended(made, standing, end, time.now, status=400)

    assert chosen(group, 2, now=time.now) == ["a", "-"]


def test_a_probe_that_is_never_heard_of_again_is_given_up(time):
    _, group = half_open(time)
    assert chosen(group, 2, now=time.now) == ["a", "-"]
    time.now += 600
    assert chosen(group, 2, now=time.now) == ["a", "-"]


EVENTS = st.sampled_from(["choose", "choose", "choose", "fail", "succeed", "leave", "rest", "wait"])


@given(st.lists(st.tuples(EVENTS, st.integers(0, 70)), max_size=60))
def test_whatever_happens(events):
    """One probe at a time; clear says nothing is to be asked; in flight is what has not ended."""
    time = Time()
    made = standings(time=time, after=2)
    group = made.group("p", "m")
    standing, running = group.lone, []
    for event, number in events:
        half_open = standing.half_open(time.now)
        if event == "wait":
            time.now += number
        elif event == "rest":
            made.rest(standing, number, time.now)
        elif event == "choose":
            was_clear = standing.clear
            found = group.choose(time.now, 0)
            assert (found is None) == bool(group.refusals(time.now)) or half_open
            assert found or not was_clear
            if found:
                assert not (half_open and "probe" in running)
                running.append("probe" if half_open else "plain")
        elif running:
            kind = running.pop(number % len(running))
            banned = ended(made, standing, event, time.now)
            assert banned or not half_open or event != "fail"
            if kind == "plain" or event != "leave":  # anyone may end what a probe is for
                running = ["plain" for _ in running]
        assert standing.inflight == len(running)
        if standing.clear:
            assert group.refusals(time.now) == [] and not standing.half_open(time.now)
        elif group.choose(time.now, 0):
            ended(made, standing, "leave", time.now)
            running = ["plain" for _ in running]


# ── rests


def test_a_rest(time):
    made = standings(time=time)
    group = made.group("p", "m")
    made.rest(group.lone, 5.0, time.now)
    made.rest(group.lone, 2.0, time.now)
    time.now += 1

    assert group.choose(time.now, 0) is None
    (refusal,) = group.refusals(time.now)
    assert (refusal.why, refusal.seconds) == ("resting", 4.0)
    assert refusal.detail == "the provider asked for a pause"
    assert made.bans() == []
    time.now += 4
    assert group.choose(time.now, 0) is group.lone and group.lone.clear


def test_no_rest(time):
    made = standings(time=time)
    made.rest(made.group("p", "m").lone, 0.0, time.now)

    assert made.group("p", "m").lone.clear


# ── operators' bans


@pytest.mark.parametrize("model", ["*", "", None])
def test_all_models_of_a_credential(model, time):
    made = standings(credential("p.a"), credential("p.b"), time=time)
    known = made.group("p", "m")
    ban = made.ban("p.a", model, None, "too dear")

    assert (ban.model, ban.origin, ban.until, ban.error_code) == ("*", "admin", None, None)
    assert ban.as_dict()["permanent"] and ban.as_dict()["until"] is None
    for group in (known, made.group("p", "later")):
        assert chosen(group, 2) == ["b", "b"]
        assert [(each.why, each.seconds, each.detail) for each in group.refusals(time.now)] == [
            ("banned", None, "too dear")
        ]
    assert made.unban("p.a", model) and not made.unban("p.a", model)
    assert known.members[0].clear and made.bans() == []


def test_a_ban_for_good_is_not_cleared_by_a_success(time):
    made = standings(time=time)
    group = made.group("p", "m")
    made.begin(group.lone)
    made.ban("p", "m", None, "maintenance")
    made.succeeded(group.lone, time.now)
    time.now += 10**9

    assert why(group, time) == [("banned", None)]
    assert len(made.bans()) == 1


def test_after_an_operators_ban_nothing_has_to_be_probed(time):
    made = standings(time=time)
    group = made.group("p", "m")
    made.ban("p", "m", 10.0, "maintenance")
    assert why(group, time) == [("banned", 10.0)]
    time.now += 10

    assert chosen(group, 2, now=time.now) == ["", ""]
    assert group.lone.clear


def test_both_kinds_of_ban(time):
    made = standings(time=time)
    group = made.group("p", "m")
    made.ban("p", "m", 10.0, "maintenance")
    time.now += 1
    failing(made, group.lone, 500, 500, 500, time=time)

    assert [ban.origin for ban in made.bans()] == ["admin", "routeur"]
    assert why(group, time) == [("banned", 60.0)]
    assert made.unban("p", "m")
    assert made.bans() == [] and group.lone.clear


def test_unban_of_one_model(time):
    made = standings(time=time)
    m, n = made.group("p", "m"), made.group("p", "n")
    made.ban("p", "m", None, "")
    made.ban("p", None, 10.0, "")
    assert why(m, time) == [("banned", None)] and why(n, time) == [("banned", 10.0)]

    assert made.unban("p", "m") and not made.unban("p", "n")
    assert why(m, time) == why(n, time) == [("banned", 10.0)]
    assert not made.unban("q", "m") and not made.unban("unknown", None)


def test_a_ban_beyond_all_measure_is_for_good(time):
    made = standings(time=time)

    assert made.ban("p", "m", 1e300, "").until is None


def test_a_ban_lasts_on_two_clocks():
    ban = Ban("c", "m", "admin", "", None, 5.0, None).lasting(7.0, now=1.0)

    assert (ban.until, ban.ends, ban.left(3.0)) == (12.0, 8.0, 5.0)


# ── workers


def test_failures_are_counted_over_all_workers(time):
    one, other = workers(time=time)
    here, there = one.group("p", "m"), other.group("p", "m")
    failing(one, here.lone, 500, 500, time=time)
    failing(other, there.lone, 500, time=time)

    assert why(here, time) == why(there, time) == [("banned", 60.0)]
    assert one.bans() == other.bans() != []
    assert (here.lone.inflight, there.lone.inflight) == (0, 0)


def test_a_success_anywhere_clears(time):
    one, other = workers(time=time)
    failing(one, one.group("p", "m").lone, 500, 500, time=time)
    standing = other.group("p", "m").lone
    assert not standing.clear
    other.begin(standing)
    other.succeeded(standing, time.now)

    assert one.group("p", "m").lone.clear and standing.clear


def test_one_probe_among_all_workers(time):
    one, other = workers(time=time)
    here, there = one.group("p", "m"), other.group("p", "m")
    failing(one, here.lone, 500, 500, 500, time=time)
    time.now += 60
    assert here.choose(time.now, 0) and there.choose(time.now, 0) is None
    one.left(here.lone)
    assert there.choose(time.now, 0) and here.choose(time.now, 0) is None
    other.succeeded(there.lone, time.now)
    assert here.lone.clear and there.lone.clear


def test_rests_and_operators_bans_are_told(time):
    one, other = workers(credential("p.a"), credential("p.b"), time=time)
    one.rest(one.group("p", "m").members[0], 7.0, time.now)
    ban = other.ban("p.b", None, 9.0, "tests")

    assert one.bans() == other.bans() == [ban]
    assert why(one.group("p", "m"), time) == why(other.group("p", "m"), time)
    assert why(one.group("p", "m"), time) == [("resting", 7.0), ("banned", 9.0)]
    assert one.unban("p.b", None) and other.bans() == []


def test_what_is_clear_is_not_told(time):
    told = []
    made = standings(time=time, tell=told.append)
    standing = made.group("p", "m").lone
    for end in (made.succeeded, lambda each, _: made.left(each)):
        made.begin(standing)
        end(standing, time.now)

    assert told == []


def test_a_worker_that_starts_knows_what_the_others_do(time):
    one, other = workers(credential("p.a"), credential("p.b"), time=time)
    a, b = one.group("p", "m").members
    failing(one, a, 500, 500, 500, time=time)
    one.group("p", "n").choose(time.now, 0)
    failing(one, one.group("p", "half").members[0], 500, 500, 500, time=time)
    one.ban("p.b", "*", None, "tests")
    one.rest(b, 70.0, time.now)
    failing(one, b, 429, 429, time=time)
    time.now += 30
    made = standings(credential("p.a"), credential("p.b"), time=time)
    for each in (one, other, one):
        made.apply(json.loads(json.dumps(each.state())))

    assert made.bans() == one.bans() and len(made.bans()) == 3
    assert made.state() == one.state()
    assert why(made.group("p", "m"), time) == [("banned", 30.0), ("banned", None)]
    made.unban("p.b", None)
    assert why(made.group("p", "m"), time)[1] == ("resting", 40.0)
    assert failing(made, made.group("p", "m").members[1], 429, 429, 429, time=time)[-1]


def test_a_worker_that_starts_while_one_is_probed(time):
    one, _ = workers(time=time)
    failing(one, one.group("p", "m").lone, 500, 500, 500, time=time)
    time.now += 60
    made = standings(time=time)
    made.apply(one.state())
    assert one.group("p", "m").choose(time.now, 0)
    made.apply(one.state())

    assert why(made.group("p", "m"), time) == [("probing", None)]


@pytest.mark.parametrize(
    "news",
    [
        {
            "do": "failed",
            "credential": "gone",
            "model": "m",
            "status": 500,
            "at": 1,
            "at_once": None,
        },
        {"do": "unban", "credential": "gone", "model": "*"},
        {"do": "of a newer version", "credential": "p", "model": "m"},
        {"do": "of a newer version"},
    ],
)
def test_news_of_what_is_not_known_here(news, time):
    made = standings(time=time)
    made.apply(news)

    assert made.group("p", "m").lone.clear


# ── reload and memory


def test_a_reload_keeps_the_state_of_accounts_that_stay(time):
    made = standings(credential("p.a"), credential("p.b"), credential("p.c"), time=time)
    held = made.group("p", "m")
    a, b, c = held.members
    failing(made, a, 500, 500, 500, time=time)
    made.begin(b)
    made.ban("p.c", None, None, "")
    configure(
        made,
        credential("p.a", weight=5, rpm=7),
        credential("p.b", models={"m": CredentialModel(weight=0)}),
        credential("p.c", api_key=Secret("new")),
        credential("p.d"),
    )
    group = made.group("p", "m")

    assert [each.credential.name for each in group.members] == ["p.a", "p.c", "p.d"]
    assert group.members[0] is a and (a.weight, a.wants) == (5, (("p.a", 7, -1),))
    assert [each for each, _ in why(group, time)] == ["banned", "banned"]
    assert group.members[1] is not c
    assert held.members == (a, b, c) and b.inflight == 1
    made.left(b)
    assert chosen(group, 2) == ["d", "d"]


def test_a_key_that_was_replaced_starts_anew(time):
    made = standings(credential("p.a", api_key=Secret("old")), time=time)
    failing(made, made.group("p", "m").lone, 401, 401, 401, time=time)
    configure(made, credential("p.a", api_key=Secret("new")))

    assert made.group("p", "m").lone.clear and made.bans() == []


def test_a_reload_changes_what_bans(time):
    made = standings(time=time)
    configure(made, after=1)

    assert failing(made, made.group("p", "m").lone, 500, time=time) == [True]
    assert made.bans()[0].reason == "status 500"


def test_a_provider_that_is_gone(time):
    made = standings(time=time)
    failing(made, made.group("q", "m").lone, 500, 500, 500, time=time)
    made.configure({}, 3, 60.0, frozenset())

    assert made.group("q", "m").members == () and made.bans() == []


def test_groups_are_made_once():
    made = standings()

    assert made.group("p", "m") is made.group("p", "m")
    assert made.group("p", "m") is not made.group("p", "n")


def test_names_that_clients_invent_do_not_grow_memory(time):
    made = standings(time=time)
    first = made.group("p", "first")
    busy = made.group("p", "busy")
    made.begin(busy.lone)
    failing(made, made.group("p", "failed").lone, 500, time=time)
    failing(made, made.group("p", "banned").lone, 500, 500, 500, time=time)
    made.ban("p", "forbidden", None, "")
    for number in range(3 * REMEMBERED):
        made.group("p", f"invented-{number}")

    assert len(made._groups) <= REMEMBERED
    assert made.group("p", "first") is not first
    assert made.group("p", "busy") is busy
    assert made.group("p", "failed").lone.failures == {500: 1}
    assert len(made.bans()) == 2
    assert why(made.group("p", "forbidden"), time) == [("banned", None)]


def test_bans_of_invented_names_do_not_grow_memory(time):
    """A provider that is down bans every name it is asked for; the longest known are let go."""
    made = standings(time=time, after=1)
    for number in range(REMEMBERED + 10):
        failing(made, made.group("p", f"invented-{number}").lone, 502, time=time)

    assert len(made.bans()) == len(made._groups) <= REMEMBERED
    assert why(made.group("p", f"invented-{REMEMBERED}"), time) != []


def test_bans_are_told_of_once(time):
    """For the log: those that failures here have led to, each once."""
    told: list[Ban] = []
    made = standings(credential("p"), time=time, on_ban=told.append)
    standing = made.group("p", "m").members[0]
    failing(made, standing, 500, 500, 500, 500, time=time)
    assert [(ban.credential, ban.model, ban.error_code) for ban in told] == [("p", "m", 500)]
