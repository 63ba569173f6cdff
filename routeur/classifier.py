"""A function of the operator's that says how difficult a request is, for `match: {difficulty: …}`.

It is named in the configuration, as `module:function`, and nothing else is ever run. It gets what
the request asks, and neither headers nor keys. What it raises or returns amiss is no difficulty:
then no rule that asks for one holds, and the call goes on. It must not wait for anything.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.loose import either, items, members

LONGEST_WORD = 64  # characters of an answer
SLOW = 0.1  # seconds for an answer that are a failure to be told of: all calls wait meanwhile
LONGEST_TEXT = 16_384  # characters of what it is shown, both ends of longer ones

_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_DEEP = 4096  # values within a turn that are looked at


@dataclass(frozen=True, slots=True)
class View:
    """What a classifier sees. `text` is the user's last turn, `turns` the number of all.

    `tokens` is an estimate of the whole prompt; `has` is of `image file audio tools json
    reasoning`; `model` is the name that was asked for.
    """

    text: str
    turns: int
    tokens: int
    has: frozenset[str]
    model: str | None


Classify = Callable[[View], Any]


class Classifier:
    """Asks the function. `failures` counts what went wrong, `failure` is the last of it."""

    __slots__ = ("_classify", "failure", "failures")

    def __init__(self, classify: Classify) -> None:
        self._classify = classify
        self.failures = 0
        self.failure = ""

    def difficulty(self, view: View) -> str | None:
        """A word such as `hard`, None where the function has none, or fails."""
        began = time.perf_counter()
        try:
            found = self._classify(view)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it is not ours: whatever it is, the call goes on
            self._failed(f"{type(error).__name__}: {error}")
            return None
        took = time.perf_counter() - began
        if took > SLOW:
            self._failed(f"it took {took:.2f} s, in which nobody else was served")
        if found is None or (isinstance(found, str) and 0 < len(found) <= LONGEST_WORD):
            return found
        self._failed(f"it must return a word, not {type(found).__name__}")
        return None

    def _failed(self, why: str) -> None:
        self.failures += 1
        self.failure = why[:500]


def load(path: str, folder: Path) -> Classifier:
    """The function at `module:function`, of a file in `folder` or of what is installed.

    Raises ValueError, whose message says what was expected.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(f'expected "module:function", as in "classifier:difficulty", not "{path}"')
    name, _, function = path.partition(":")
    try:
        module = _module(name, folder)
    except Exception as error:  # a module may do anything when it is read
        raise ValueError(f'"{name}" cannot be imported: {type(error).__name__}: {error}') from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f'"{name}" has no function "{function}"')
    return Classifier(found)


def _module(name: str, folder: Path) -> ModuleType:
    file = folder.joinpath(*name.split(".")).with_suffix(".py")
    if not file.is_file():
        return import_module(name)
    # Read anew by each reload of the configuration; dataclasses look themselves up by name.
    named = f"routeur_classifier.{name}"
    spec = spec_from_file_location(named, file)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = sys.modules[named] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[named]
        raise
    return module


def view(doc: Json, tokens: int, has: frozenset[str], model: str | None) -> View:
    """What a classifier sees of a request, whatever its dialect."""
    given = either(doc, "messages", "input", "contents")
    if isinstance(given, str):
        return View(_bounded(given), 1, tokens, has, model)
    turns = items(given)
    asked = (turn for turn in reversed(turns) if members(turn).get("role", "user") == "user")
    text = next((found for turn in islice(asked, 16) if (found := _text(turn))), "")
    return View(_bounded(text), len(turns), tokens, has, model)


def _text(turn: Any) -> str:
    """The words of a turn: its content, or the texts of its blocks."""
    content = either(members(turn), "content", "parts")
    if isinstance(content, str):
        return content
    texts = (members(each).get("text") for each in items(content)[:_DEEP])
    return "\n".join(text for text in texts if isinstance(text, str))


def _bounded(text: str) -> str:
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else text[:half] + text[-half:]
