from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from routeur.classifier import LONGEST_TEXT, Classifier, View, load, view

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTHING: frozenset[str] = frozenset()


def shown(text: str, turns: int = 1, tokens: int = 50, has: str = "") -> View:
    return View(text, turns, tokens, frozenset(has.split()), "auto")


@pytest.fixture(scope="module")
def example() -> Classifier:
    return load("classifier:difficulty", EXAMPLES)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (shown("Hello!"), "easy"),
        (shown("What is the capital of France?"), "easy"),
        (shown("Translate to German: good morning"), "easy"),
        (shown(""), "easy"),
        (shown("Write a function that adds two numbers.\n```python\n```"), "medium"),
        (shown("Look it up", has="tools"), "medium"),
        (shown("Go on", turns=20, has="tools"), "medium"),
        (shown("Prove that there are infinitely many primes and derive a bound."), "hard"),
        (shown("Why?\nTraceback (most recent call last):\n```\nx\n```"), "hard"),
        (shown("Beweise den Satz, und entwirf einen Algorithmus dazu."), "hard"),
        (shown("What now?", has="reasoning tools"), "hard"),
        (shown("Refactor this.\n" + "x = 1\n" * 400), "hard"),
    ],
)
def test_the_example(example: Classifier, given: View, expected: str) -> None:
    assert example.difficulty(given) == expected


def test_the_example_is_quick(example: Classifier) -> None:
    text = shown("a (b" * 40_000 + " - " * 20_000 + "\n" * 10_000)
    start = time.process_time()
    example.difficulty(text)

    assert time.process_time() - start < 3  # what goes back and forth takes minutes


def test_what_fails_is_no_difficulty() -> None:
    def breaks(given: View) -> str:
        raise KeyError(given.text)

    found = Classifier(breaks)

    assert found.difficulty(shown("x")) is None
    assert (found.failures, found.failure) == (1, "KeyError: 'x'")


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
def test_nothing_that_it_raises_ends_us(error: BaseException) -> None:
    def breaks(given: View) -> str:
        raise error

    found = Classifier(breaks)

    assert found.difficulty(shown("x")) is None
    assert found.failure.startswith(type(error).__name__)


def test_one_that_waits_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1.0, 1.25])
    monkeypatch.setattr("routeur.classifier.time.perf_counter", lambda: next(moments))
    found = Classifier(lambda given: "hard")

    assert found.difficulty(shown("x")) == "hard"
    assert found.failure == "it took 0.25 s, in which nobody else was served"


@pytest.mark.parametrize("answer", ["", "x" * 65, 7, ["hard"], True])
def test_what_is_no_word_is_no_difficulty(answer: object) -> None:
    found = Classifier(lambda given: answer)

    assert found.difficulty(shown("x")) is None
    assert found.failures == 1


def test_it_may_have_none() -> None:
    found = Classifier(lambda given: None)

    assert (found.difficulty(shown("x")), found.failures) == (None, 0)


def test_one_that_is_installed(tmp_path: Path) -> None:
    assert load("operator:itemgetter", tmp_path).difficulty(shown("x")) is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("classifier", 'expected "module:function"'),
        ("classifier:", 'expected "module:function"'),
        ("../classifier:difficulty", 'expected "module:function"'),
        ("/etc/passwd:x", 'expected "module:function"'),
        ("a b:c", 'expected "module:function"'),
        ("no_such_module_here:x", '"no_such_module_here" cannot be imported: ModuleNotFoundError'),
        ("classifier:no_such", '"classifier" has no function "no_such"'),
        ("classifier:LOOKED_AT", '"classifier" has no function "LOOKED_AT"'),
    ],
)
def test_paths_that_lead_nowhere(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(path, EXAMPLES)


def test_a_module_that_breaks_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("1 / 0")

    with pytest.raises(ValueError, match='"mine" cannot be imported: ZeroDivisionError'):
        load("mine:x", tmp_path)


def test_a_reload_reads_it_anew(tmp_path: Path) -> None:
    for word in ("easy", "tough"):
        (tmp_path / "mine.py").write_text(f"def how(view):\n    return {word!r}\n")
        assert load("mine:how", tmp_path).difficulty(shown("x")) == word


@pytest.mark.parametrize(
    ("doc", "text", "turns"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, "Hi", 1),
        ({"input": "Hi"}, "Hi", 1),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}, "Hi", 1),
        ({"contents": [{"parts": [{"text": "Hi"}, {"text": "you"}]}]}, "Hi\nyou", 1),
        (
            {
                "messages": [
                    {"role": "user", "content": "Do it"},
                    {"role": "assistant", "content": "Well"},
                    {"role": "user", "content": [{"type": "tool_result", "content": "4"}]},
                ]
            },
            "Do it",
            3,
        ),
        ({}, "", 0),
        ({"messages": [None, 7, {"role": "user", "content": 7}]}, "", 3),
    ],
)
def test_what_it_sees(doc: dict[str, Any], text: str, turns: int) -> None:
    assert view(doc, 9, NOTHING, "auto") == View(text, turns, 9, NOTHING, "auto")


def test_a_long_text_is_shown_by_its_ends() -> None:
    seen = view({"input": "a" * 50_000 + "b" * 50_000}, 9, NOTHING, None)

    assert len(seen.text) == LONGEST_TEXT
    assert (seen.text[0], seen.text[-1]) == ("a", "b")
