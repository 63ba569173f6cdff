"""Limits and probes: at once in one process, by the parent where there are several workers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from routeur import admission
from routeur.admission import Desk, Local, Shared, choose
from routeur.standing import Group, Standing, Standings
from tests.standings import Time, credential, standings


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(admission.time, "monotonic", made.clock)
    return made


class Parent:
    """Answers at once with what was prepared, or does not."""

    def __init__(self, *answers: float | type[BaseException] | None) -> None:
        self.answers = [*answers]
        self.asked: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []

    async def ask(self, asked: dict[str, Any]) -> float | None:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, type):
            raise answer
        return answer

    def shared(self, made: Standings) -> Shared:
        return Shared(made, self.ask, self.said.append)


def half_open(made: Standings, time: Time) -> tuple[Group, Standing]:
    """A credential whose ban is over."""
    group = made.group("p", "m")
    standing = group.members[0]
    made.failed(standing, 503, time.now, at_once="broken")
    time.now += 61
    return group, standing


async def test_what_has_no_limits_is_not_asked_about(time: Time) -> None:
    made, parent = standings(time=time), Parent()
    standing = await choose(parent.shared(made), made.group("p", "m"), 5)

    assert standing is not None
    assert (standing.inflight, parent.asked) == (1, [])


async def test_failures_alone_are_no_question(time: Time) -> None:
    made, parent = standings(time=time), Parent()
    made.failed(made.group("p", "m").members[0], 503, time.now)

    assert await choose(parent.shared(made), made.group("p", "m"), 5)
    assert parent.asked == []


async def test_alone(time: Time) -> None:
    """Two have room for one request each; what was used less is given back."""
    made = standings(credential("p.a", tpm=100), credential("p.b", tpm=100), time=time)
    local, group = Local(made), made.group("p", "m")
    first = await choose(local, group, 80)
    second = await choose(local, group, 80)

    assert first and second and first is not second
    assert await choose(local, group, 80) is None
    local.settle(first, 80, 10, time.now)
    assert await choose(local, group, 80) is first


async def test_the_parent_decides(time: Time) -> None:
    """Who has no room there is passed over, and says so."""
    made = standings(credential("p.a", rpm=5), credential("p.b", rpm=5), time=time)
    parent, group = Parent(30.0, 0.0), made.group("p", "m")
    standing = await choose(parent.shared(made), group, 7)

    assert standing is group.members[1]
    assert parent.asked[0] == {"wants": (("p.a", 5, -1),), "tokens": 7, "probe": None}
    assert [each.inflight for each in group.members] == [0, 1]
    (refusal,) = group.refusals(time.now)
    assert (refusal.credential, refusal.why, refusal.seconds) == ("p.a", "rate limited", 30.0)


async def test_what_was_used_is_told(time: Time) -> None:
    made, parent = standings(credential("p", tpm=100), time=time), Parent(0.0)
    shared = parent.shared(made)
    standing = await choose(shared, made.group("p", "m"), 80)
    assert standing
    taken_at = time.now
    time.now += 3
    shared.settle(standing, 80, 10, taken_at)

    assert parent.said == [{"names": ["p"], "from": 80, "to": 10, "ago": 3.0}]
    assert made.limits.rates("p", time.now) == (1, 10)


async def test_without_the_parent_what_was_taken_here_decides(time: Time) -> None:
    made = standings(credential("p", rpm=2), time=time)
    shared = Parent(0.0, TimeoutError, TimeoutError).shared(made)
    group = made.group("p", "m")

    assert await choose(shared, group, 0)
    assert await choose(shared, group, 0)
    assert await choose(shared, group, 0) is None


async def test_whoever_leaves_meanwhile_has_not_asked(time: Time) -> None:
    made = standings(credential("p", rpm=2), time=time)
    group = made.group("p", "m")
    with pytest.raises(asyncio.CancelledError):
        await choose(Parent(asyncio.CancelledError).shared(made), group, 0)

    assert group.members[0].inflight == 0
    assert group.refusals(time.now) == []


async def test_a_probe_that_another_worker_makes(time: Time) -> None:
    """It is nobody's turn, until that has ended."""
    told: list[dict[str, Any]] = []
    made = standings(time=time, tell=told.append)
    group, standing = half_open(made, time)
    parent = Parent(None, 0.0)
    shared = parent.shared(made)

    assert await choose(shared, group, 0) is None
    assert parent.asked[0] == {"wants": (), "tokens": 0, "probe": ["p", "m"]}
    assert standing.inflight == 0
    assert [refusal.why for refusal in group.refusals(time.now)] == ["probing"]
    assert told[-1]["do"] == "probe"  # and not that it has left
    made.apply({"do": "left", "credential": "p", "model": "m"})
    assert await choose(shared, group, 0) is standing


PROBE = {"do": "probe", "credential": "p", "model": "m"}
ASKED = {"wants": [], "tokens": 0, "probe": ["p", "m"]}


def test_one_probe_at_a_time() -> None:
    desk = Desk()

    assert desk.heard(1, PROBE, 0.0)
    assert not desk.heard(2, PROBE, 0.0)
    assert desk.take(2, ASKED, 0.0) is None
    assert desk.take(1, ASKED, 0.0) == 0.0
    assert desk.take(2, {**ASKED, "probe": ["p", "other"]}, 0.0) == 0.0


@pytest.mark.parametrize("do", ["succeeded", "failed", "left"])
def test_a_probe_ends(do: str) -> None:
    desk = Desk()
    desk.heard(1, PROBE, 0.0)

    assert desk.heard(1, {**PROBE, "do": do}, 1.0)
    assert desk.take(2, ASKED, 1.0) == 0.0


def test_only_its_own_worker_leaves_a_probe() -> None:
    """A request from before the ban may leave at any time: that is no news."""
    desk = Desk()
    desk.heard(1, PROBE, 0.0)

    assert not desk.heard(2, {**PROBE, "do": "left"}, 1.0)
    assert desk.take(2, ASKED, 1.0) is None


def test_a_probe_of_which_nothing_is_heard() -> None:
    desk = Desk()
    desk.heard(1, PROBE, 0.0)

    assert desk.take(2, ASKED, admission.PROBE - 1) is None
    assert desk.take(2, ASKED, admission.PROBE) == 0.0


def test_a_worker_dies_while_it_probes() -> None:
    desk = Desk()
    desk.heard(1, PROBE, 0.0)

    assert desk.gone(2) == []
    assert desk.gone(1) == [{"do": "left", "credential": "p", "model": "m"}]
    assert desk.take(2, ASKED, 1.0) == 0.0


def test_limits_of_all() -> None:
    desk = Desk()
    asked = {"wants": [["p", 2, 100]], "tokens": 60, "probe": None}

    assert desk.take(1, asked, 0.0) == 0.0
    assert desk.take(2, asked, 1.0) == 59.0
    desk.settle({"names": ["p"], "from": 60, "to": 10, "ago": 1.0}, 1.0)
    assert desk.take(2, asked, 1.0) == 0.0
    assert desk.take(1, {**asked, "tokens": 0}, 1.0) == 59.0  # two requests


def test_other_news_is_for_all() -> None:
    assert Desk().heard(1, {"do": "ban", "ban": {}}, 0.0)
    assert Desk().heard(1, {"do": "unban", "credential": "p", "model": "*"}, 0.0)
