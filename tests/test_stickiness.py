from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.auto import Target
from routeur.conversation import Conversation
from routeur.stickiness import TTL, Binding, Stay, Stickiness, order, stay

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m")
AT_A, AT_B = Binding(A, "a.eu"), Binding(B, "b")
TALK = Conversation(b"i" * 16, "opening")
LOOP = Conversation(b"i" * 16, "opening", loop=True)
SIGNED = Conversation(b"i" * 16, "opening", signed=True)


def id_(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_conversation_is_kept_for_six_minutes_after_each_use() -> None:
    memory = Stickiness()
    memory.keep(id_(1), AT_A, 0.0)

    assert memory.find(id_(1), TTL - 1) == AT_A
    memory.keep(id_(1), AT_A, TTL - 1)
    assert memory.find(id_(1), 2 * TTL - 2) == AT_A
    assert memory.find(id_(1), 2 * TTL) is None
    assert len(memory) == 0


def test_the_least_used_goes_first() -> None:
    memory = Stickiness(size=3)
    for number in (1, 2, 3, 1, 4):
        memory.keep(id_(number), AT_A, float(number))

    assert [number for number in range(1, 5) if memory.find(id_(number), 5.0)] == [1, 3, 4]
    assert len(memory) == 3


def test_a_failure_ends_it_only_for_whom_it_was() -> None:
    memory = Stickiness()
    memory.keep(id_(1), AT_A, 0.0)
    memory.leave(id_(1), AT_B)
    assert memory.find(id_(1), 1.0) == AT_A

    memory.leave(id_(1), AT_A)
    memory.leave(id_(1), AT_A)
    assert memory.find(id_(1), 1.0) is None


def test_what_has_no_id_is_not_kept() -> None:
    memory = Stickiness(tells=True)
    memory.keep(b"", AT_A, 0.0)

    assert (len(memory), memory.find(b"", 0.0), memory.outgoing(0.0)) == (0, None, None)


# ---- several processes


def test_others_hear_of_it() -> None:
    one, other = Stickiness(tells=True), Stickiness(tells=True)
    one.keep(id_(1), AT_A, 0.0)
    one.keep(id_(2), AT_B, 0.0)
    one.keep(id_(1), AT_B, 0.0)
    batch = one.outgoing(wall=1000.0)

    assert batch is not None
    assert other.learn(batch, now=77.0, wall=1001.0) == 2
    assert other.find(id_(1), 78.0) == other.find(id_(2), 78.0) == AT_B
    assert one.outgoing(1002.0) is None
    assert other.outgoing(1002.0) is None  # what was heard is not told again


def test_a_batch_is_small_and_bounded() -> None:
    memory = Stickiness(tells=True)
    for number in range(10_000):
        memory.keep(id_(number), AT_A if number % 2 else AT_B, 0.0)
    batch = memory.outgoing(0.0)

    assert batch is not None
    assert len(batch) < 80_000
    assert Stickiness().learn(batch, 0.0, 0.0) == 4096


def test_what_was_told_long_ago_is_forgotten() -> None:
    memory = Stickiness(tells=True)
    memory.keep(id_(1), AT_A, 0.0)
    batch = memory.outgoing(1000.0)

    assert batch is not None
    assert Stickiness().learn(batch, 0.0, 1000.0 + TTL) == 0


@given(st.binary(max_size=200))
def test_damage_is_nothing(raw: bytes) -> None:
    assert Stickiness().learn(raw, 0.0, 0.0) == 0


@pytest.mark.parametrize("whose", [[5], [-1], [0, 0]])
def test_a_batch_that_does_not_fit_together(whose: list[int]) -> None:
    raw = msgspec.msgpack.encode([0.0, [("a", "m", "a.eu")], whose, id_(1)])

    assert Stickiness().learn(raw, 0.0, 0.0) == 0


# ---- whether to stay


def test_nothing_known_changes_nothing() -> None:
    assert stay((A, B), None, LOOP, lambda target: "") == Stay((A, B))


@pytest.mark.parametrize("conversation", [TALK, LOOP, SIGNED])
def test_its_own_target_comes_first(conversation: Conversation) -> None:
    found = stay((A, C, B), AT_B, conversation, lambda target: "is not asked about")

    assert found == Stay((B, A, C), "b", "stays with b/m")


def test_one_that_cannot_take_the_request_is_left() -> None:
    found = stay((A, C), AT_B, TALK, lambda target: "")

    assert found == Stay((A, C), None, "leaves b/m, which cannot take this request")


@pytest.mark.parametrize(
    ("conversation", "held"), [(LOOP, "within a tool loop"), (SIGNED, "with signed reasoning")]
)
def test_but_not_within_a_loop_or_with_signed_reasoning(
    conversation: Conversation, held: str
) -> None:
    found = stay((A, C), AT_B, conversation, lambda target: "")

    assert found == Stay((B, A, C), "b", f"stays with b/m {held}")


def test_unless_it_is_not_to_be_asked_at_all() -> None:
    found = stay((A, C), AT_B, LOOP, lambda target: "is not allowed for this key")

    assert found.targets == (A, C)
    assert found.why == "leaves b/m within a tool loop, as it is not allowed for this key"


# ---- a conversation's own order


def test_an_order_is_the_same_everywhere() -> None:
    assert order(id_(1), ["a", "b", "c"]) == order(id_(1), ["c", "a", "b"])
    assert len({tuple(order(id_(number), "abc")) for number in range(100)}) == 6


@given(st.binary(min_size=16, max_size=16), st.sets(st.text(), min_size=2, max_size=8))
def test_who_goes_leaves_the_others_order(id: bytes, names: set[str]) -> None:
    first, *rest = order(id, names)

    assert order(id, names - {first}) == rest


def test_weights_are_heeded() -> None:
    rng = Random(1)
    weights = {"a": 3.0, "b": 1.0, "none": 0.0}
    firsts = Counter(order(rng.randbytes(16), weights)[0] for _ in range(4000))

    assert firsts["none"] == 0
    assert 0.72 < firsts["a"] / 4000 < 0.78
