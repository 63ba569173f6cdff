from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.auto import Target
from routeur.board import COLD, STALE, WINDOW, Board, Mean, Record
from routeur.dialects.base import Usage
from routeur.score import Ask, Candidate, Ranking, Score, Weights, pick, rate
from routeur.usage import Price

ASK = Ask(1000)
NAMES = "abcdefgh"


def target(name: str) -> Target:
    return Target(name, "m")


def price(input: float, output: float, **more: float) -> Price:
    return Price(input=input, output=output, **more)


def candidate(name: str, **more: Any) -> Candidate:
    return Candidate(target(name), **more)


def warm(board: Board, name: str, first_token: float, rate: float = 100.0, **usage: int) -> None:
    """Measured well enough, at second 0."""
    for _ in range(COLD):
        used = Usage(**(usage or {"input": 1000, "output": 100}))
        board.record(target(name)).answered(0.0, first_token, used.output / rate, used)


def names(scores: tuple[Score, ...]) -> str:
    return "".join(score.target.provider for score in scores)


# ---- what is measured


def test_a_mean_is_plain_at_first_then_of_the_last_fifty() -> None:
    mean = Mean()
    for sample in (1.0, 2.0, 3.0):
        mean.add(sample)
    assert mean.value == pytest.approx(2.0)

    for _ in range(WINDOW):
        mean.add(10.0)
    assert 8.5 < (mean.value or 0) < 9.8
    for _ in range(3 * WINDOW):
        mean.add(10.0)
    assert mean.value == pytest.approx(10.0, rel=0.01)


def test_a_record_of_answers() -> None:
    record = Record()
    record.answered(1.0, 0.5, 2.0, Usage(input=250, cache_read=750, output=200))
    record.answered(2.0, None, None, Usage(input=1000, output=5))
    record.answered(3.0)

    assert record.first_token.value == 0.5
    assert record.rate.value == 100.0
    assert record.cached.value == pytest.approx(0.375)
    assert record.output.value == pytest.approx(102.5)
    assert (record.calls, record.trust(3.0)) == (3, 1.0)


def test_an_answer_without_tokens_or_time_teaches_no_speed() -> None:
    record = Record()
    record.answered(1.0, 0.1, 0.0, Usage(output=1000))
    record.answered(1.0, 0.1, 1.0, Usage())

    assert record.rate.value is record.cached.value is None


def test_a_failure_takes_a_target_down_at_once_and_time_brings_it_back() -> None:
    record = Record()
    for _ in range(50):
        record.answered(0.0)
    record.failed(100.0)
    down = record.trust(100.0)
    later = [record.trust(100.0 + seconds) for seconds in (5, 10, 20, 40)]

    assert down == pytest.approx(0.25, abs=0.01)
    assert sorted(later) == later
    assert later[0] > 0.5
    assert later[-1] > 0.92


def test_a_success_brings_it_back_to_its_share_of_errors() -> None:
    record = Record()
    for number in range(200):
        if number % 5:
            record.answered(0.0)
        else:
            record.failed(0.0)

    assert record.share_of_errors(0.0) == pytest.approx(0.2, abs=0.05)
    assert record.trust(0.0) == pytest.approx(0.64, abs=0.08)
    assert record.trust(900.0) > 0.99  # forgiven, without any call
    record.answered(900.0)
    assert record.trust(900.0) > 0.99


def test_more_failures_in_a_row_are_believed_longer() -> None:
    once, often = Record(), Record()
    once.failed(0.0)
    for _ in range(100):
        often.failed(0.0)

    assert often.trust(0.0) < 0.01
    assert often.trust(30.0) < 0.3 < 0.8 < once.trust(30.0)
    assert often.trust(600.0) > 0.9


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1000)), max_size=60), st.floats(0, 1e6))
def test_trust_is_a_share(calls: list[tuple[bool, float]], now: float) -> None:
    record = Record()
    for good, at in calls:
        if good:
            record.answered(at)
        else:
            record.failed(at)

    assert 0.0 <= record.trust(now) <= 1.0


# ---- scores


def test_each_strategy_asks_for_its_own() -> None:
    board = Board()
    warm(board, "a", 0.2, 50)
    warm(board, "b", 0.4, 200)
    warm(board, "c", 0.6, 100)
    known = [
        candidate("a", price=price(3, 12), quality=0.7),
        candidate("b", price=price(2, 8), quality=0.6),
        candidate("c", price=price(1, 4), quality=0.9),
    ]

    def by(strategy: Any) -> str:
        return names(rate(known, board, strategy, ASK, 0.0))

    assert by("latency") == "abc"
    assert by("throughput") == "bca"
    assert by("price") == "cba"
    assert by("quality") == "cab"


def test_twice_as_slow_is_worth_twice_as_cheap() -> None:
    board = Board()
    warm(board, "a", 0.2)
    warm(board, "b", 0.4)
    known = [candidate("a", price=price(2, 8)), candidate("b", price=price(1, 4))]
    one, other = rate(known, board, "balanced", ASK, 0.0)

    assert one.total == pytest.approx(other.total, abs=0.01)


def test_weights_decide() -> None:
    board = Board()
    warm(board, "a", 0.2)
    warm(board, "b", 0.3)
    known = [candidate("a", price=price(2, 8)), candidate("b", price=price(1, 4))]

    def by(**weights: float) -> str:
        return names(rate(known, board, "balanced", ASK, 0.0, Weights(**weights)))

    assert by(latency=1, price=0, quality=0) == "ab"
    assert by(latency=0, price=1, quality=0) == "ba"
    assert by(latency=0, price=0, quality=0) == "ba"  # all the same


def test_what_is_unknown_neither_helps_nor_hurts() -> None:
    board = Board()
    warm(board, "a", 0.2)
    warm(board, "c", 0.8)
    found = rate([candidate(name) for name in "abc"], board, "latency", ASK, 0.0)

    assert names(found) == "abc"
    assert found[1].latency is None
    assert found[1].total == pytest.approx((found[0].total + found[2].total) / 2)


def test_all_unknown_keep_their_order() -> None:
    assert names(rate([candidate(name) for name in "bca"], Board(), "balanced", ASK, 0.0)) == "bca"


def test_errors_lower_every_strategy() -> None:
    board = Board()
    known = [candidate("a", price=price(1, 1), quality=1.0), candidate("b", price=price(3, 3))]
    warm(board, "a", 0.1, 500)
    warm(board, "b", 0.4)
    board.failed(target("a"), 1.0)

    for strategy in ("balanced", "latency", "throughput", "price", "quality"):
        assert names(rate(known, board, strategy, ASK, 1.0)) == "ba"  # type: ignore[arg-type]


def test_a_price_is_what_the_request_is_expected_to_cost() -> None:
    board = Board()
    warm(board, "a", 0.1, input=100, cache_read=900, output=100)
    warm(board, "b", 0.1, input=1000, output=100)
    known = [
        candidate("a", price=price(2, 4, cache_read=0.2)),
        candidate("b", price=price(1, 4, cache_read=0.1)),
    ]
    one, other = rate(known, board, "price", Ask(10_000), 0.0)

    assert one.target == target("a")
    assert one.cost == pytest.approx((1000 * 2 + 9000 * 0.2 + 100 * 4) / 1e6)
    assert other.cost == pytest.approx((10_000 * 1 + 100 * 4) / 1e6)


def test_a_bound_on_the_answer_bounds_its_cost() -> None:
    known = [candidate("a", price=price(1, 10))]
    (found,) = rate(known, Board(), "price", Ask(1000, output=50), 0.0)

    assert found.cost == pytest.approx((1000 + 500) / 1e6)


def test_free_is_best_and_unknown_prices_are_neutral() -> None:
    known = [candidate("a", price=price(1, 4)), candidate("b"), candidate("c", price=price(0, 0))]
    found = rate(known, Board(), "balanced", ASK, 0.0)

    assert names(found) == "cba"
    assert found[1].cost is None
    assert found[0].price == pytest.approx(1.0)
    # Where nothing else counts nobody knows that it is not the dearest.
    assert (
        names(rate([*known[:2], candidate("d", price=price(2, 8))], Board(), "price", ASK, 0.0))
        == "adb"
    )


def test_what_is_shown() -> None:
    board = Board()
    warm(board, "a", 0.2)
    (found,) = rate([candidate("a", price=price(1, 4))], board, "balanced", ASK, 0.0)

    assert found.shown() == {
        "target": "a/m",
        "score": 0.9,
        "latency": 1.0,
        "throughput": 1.0,
        "price": 1.0,
        "quality": None,
        "trust": 1.0,
        "cold": False,
        "estimated_cost_usd": pytest.approx(0.0014),
    }


# ---- who is asked


def idle(target: Target) -> float:
    return 0.0


def never() -> float:
    return 0.99


def test_the_best_comes_first_then_the_others_in_order() -> None:
    board = Board()
    for name, seconds in zip("abc", (0.5, 0.2, 0.9), strict=True):
        warm(board, name, seconds)
    found = pick(rate([candidate(n) for n in "abc"], board, "latency", ASK, 0.0), idle, never)

    assert found.targets == (target("b"), target("a"), target("c"))
    assert found.why == "has the best score"


def test_of_two_near_ones_the_less_busy_is_asked() -> None:
    board = Board()
    warm(board, "a", 0.2)
    warm(board, "b", 0.203)
    scores = rate([candidate(n) for n in "ab"], board, "latency", ASK, 0.0)
    busy = {target("a"): 5.0, target("b"): 4.0}

    assert pick(scores, busy.__getitem__, never).targets[0] == target("b")
    assert pick(scores, lambda each: -busy[each], never).targets[0] == target("a")


def test_near_ones_share_the_calls() -> None:
    scores = rate([candidate(n) for n in NAMES], Board(), "balanced", ASK, 0.0)
    rng = Random(1)
    firsts = Counter(pick(scores, idle, rng.random).targets[0].provider for _ in range(4000))

    assert len(firsts) == len(NAMES)
    assert all(350 < count < 650 for count in firsts.values())


@pytest.mark.parametrize("many", [2, 8, 16, 17, 300])
def test_a_conversation_compares_the_same_two_everywhere(many: int) -> None:
    scores = rate([candidate(f"p{n}") for n in range(many)], Board(), "balanced", ASK, 0.0)
    ids = [Random(number).randbytes(16) for number in range(60)]
    one = [pick(scores, idle, Random(1).random, id).targets[0] for id in ids]
    other = [pick(scores, idle, Random(7).random, id).targets[0] for id in ids]
    same = sum(a == b for a, b in zip(one, other, strict=True))

    assert same >= 50  # the rest are tries of cold ones
    assert len(set(one)) > min(many, 16) // 2
    assert all(len(set(pick(scores, idle, never, id).targets)) == many for id in ids)


def test_cold_ones_are_tried_a_little() -> None:
    board = Board()
    warm(board, "a", 0.2)
    warm(board, "b", 2.5)
    scores = rate([candidate(n) for n in "abc"], board, "latency", ASK, 0.0)
    rng = Random(3)
    firsts = Counter(pick(scores, idle, rng.random).targets[0].provider for _ in range(5000))

    assert 0.02 < firsts["c"] / 5000 < 0.07
    assert firsts["b"] == 0


def test_one_that_cannot_be_the_best_is_not_tried() -> None:
    known = [candidate("a", price=price(1, 4)), candidate("b", price=price(50, 200))]
    board = Board()
    warm(board, "a", 0.2)
    scores = rate(known, board, "balanced", ASK, 0.0)

    assert all(pick(scores, idle, lambda: 0.0).targets[0] == target("a") for _ in range(10))


def test_one_that_was_not_asked_for_long_is_cold_again() -> None:
    record = Record()
    for _ in range(COLD):
        record.answered(0.0)

    assert not record.cold(STALE)
    assert record.cold(STALE + 1)


# ---- many targets


def test_an_order_holds_for_a_moment_and_not_beyond_a_failure() -> None:
    board = Board()
    warm(board, "a", 0.2)
    warm(board, "b", 0.5)
    ranking = Ranking(board, [candidate("a"), candidate("b")], "latency")
    first = ranking.scores(ASK, 0.0)

    assert names(first) == "ab"
    assert ranking.scores(Ask(1010), 0.2) is first
    assert ranking.scores(Ask(100_000), 0.2) is not first
    assert ranking.scores(ASK, 0.3) is not first
    board.failed(target("a"), 0.4)
    assert names(ranking.scores(ASK, 0.42)) == "ba"


def test_an_order_among_some() -> None:
    ranking = Ranking(Board(), [candidate(name) for name in "abcd"])

    assert names(ranking.scores(ASK, 0.0, {target("d"), target("b")})) == "bd"
    assert ranking.scores(ASK, 0.0, set()) == ()


def test_absurd_requests_do_not_fill_the_memory() -> None:
    ranking = Ranking(Board(), [candidate("a", price=price(1, 1))])
    for power in range(400):
        ranking.scores(Ask(10**power, 10**power), 0.0)

    assert len(ranking._known) < 200


def test_the_same_chances_make_the_same_choices() -> None:
    board = Board()
    scores = rate([candidate(n) for n in NAMES], board, "balanced", ASK, 0.0)
    one, other = Random(5), Random(5)

    assert [pick(scores, idle, one.random) for _ in range(50)] == [
        pick(scores, idle, other.random) for _ in range(50)
    ]


def test_a_board_is_bounded() -> None:
    board = Board()
    for number in range(5000):
        board.record(Target("p", str(number)))

    assert len(board._records) == 4096
