"""Tables for people: columns, numbers, and what gives way where a terminal is narrow."""

from __future__ import annotations

import pytest

from routeur.columns import table, terminal

HEAD = ("NAME", "COUNT", "WORDS")
ROWS = [("a", "5", "one two three four"), ("a-long-name", "12345", "one")]


def test_columns_are_as_wide_as_they_have_to_be() -> None:
    assert table(HEAD, ROWS, right=(1,)).splitlines() == [
        "NAME         COUNT  WORDS",
        "a                5  one two three four",
        "a-long-name  12345  one",
    ]


def test_a_column_gives_way() -> None:
    assert table(HEAD, ROWS, right=(1,), cut=(2, 0), width=30).splitlines() == [
        "NAME         COUNT  WORDS",
        "a                5  one two t…",
        "a-long-name  12345  one",
    ]


def test_the_first_one_first_and_none_to_nothing() -> None:
    lines = table(HEAD, ROWS, right=(1,), cut=(2, 0), width=10).splitlines()
    assert lines == [
        "NAME      COUNT  WORDS",
        "a             5  one two…",
        "a-long-…  12345  one",
    ]


def test_columns_that_are_narrow_stay_so() -> None:
    assert table(("A", "B"), [("1", "2")], cut=(0, 1), width=1) == "A  B\n1  2"


@pytest.mark.parametrize("rows", [[], [("", "", "")]])
def test_nothing_to_show(rows: list[tuple[str, ...]]) -> None:
    assert table(HEAD, rows, width=80).splitlines()[0] == "NAME  COUNT  WORDS"


def test_where_there_is_no_terminal_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal() is None
