"""How difficult a request is, by simple signs: `easy`, `medium` or `hard`.

    # router.yaml, in the same folder; with OPENAI_API_KEY and ANTHROPIC_API_KEY in the environment
    auto: {classifier: "classifier:difficulty"}
    rules:
      - {name: simple, match: {model: auto, difficulty: easy}, to: [openai/gpt-4o-mini]}
      - {name: demanding, match: {model: auto, difficulty: hard}, to: [anthropic/claude-opus-4-5]}

routeur calls the function once for each request that meets such a rule, before it chooses who
answers. It must be quick, as everybody waits for it: no network, no model. This one takes some 20
microseconds. It counts points:

- words of proof, design, debugging and mathematics speak for a hard request, words of translating,
  extracting and greeting for an easy one; English, German, French and Spanish ones are known;
- code, long questions, lists of demands and reasoning that was asked for make it harder;
- a long conversation with tools is an agent at work, and never easy.

It is wrong at times, and cheap: keep the middle for a model that can do both. To learn what suits
your own traffic, compare `route_reason` and the outcome in your traces, and change the words.
"""

from __future__ import annotations

import re
from typing import Protocol

HARD = re.compile(
    r"\b(?:prov(?:e|ing)|proof|theorem|deriv(?:e|ation)|integral|complexity|algorithm\w*|optimi[sz]e"
    r"|refactor\w*|debug\w*|race condition|deadlock|architect\w*|trade-?offs?|step by step"
    r"|root cause|vulnerabilit\w+|migrat(?:e|ion)|concurren\w+|contract|diagnos\w+"
    r"|beweis\w*|herleit\w*|entwirf|fehlersuche|schritt für schritt"
    r"|démontr\w+|concevoir|étape par étape|demuestr\w+|diseñ\w+|paso a paso)\b",
    re.IGNORECASE,
)
EASY = re.compile(
    r"\b(?:hi|hello|hey|thanks|thank you|translate|spell|capital of|summari[sz]e|classify|extract"
    r"|rephrase|title for|yes or no|what time|define"
    r"|hallo|danke|übersetze|fasse|bonjour|merci|traduis|résume|hola|gracias|traduce|resume)\b",
    re.IGNORECASE,
)
CODE = re.compile(r"```|^\s*(?:def|class|function|SELECT|import|#include)\b", re.MULTILINE)
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|\bat \S+\(\S+:\d+\)|panic:|segfault")
DEMAND = re.compile(r"^\s*(?:[-*]|\d+[.)])\s", re.MULTILINE)
FORMULA = re.compile(r"\\(?:frac|sum|int|sqrt)\b|[∑∫√∀∃≤≥]|\b\w\^\d")

LOOKED_AT = 4000  # characters at the beginning; a document that follows says little


class View(Protocol):
    """What routeur shows: the user's last turn, the number of turns, an estimate of the prompt's
    tokens, what it uses (`image file audio tools json reasoning`), and the model asked for.
    """

    @property
    def text(self) -> str: ...
    @property
    def turns(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def has(self) -> frozenset[str]: ...
    @property
    def model(self) -> str | None: ...


def difficulty(view: View) -> str:
    """`easy`, `medium` or `hard`."""
    points = score(view)
    if points >= 3:
        return "hard"
    return "medium" if points >= 1 or (view.turns > 6 and "tools" in view.has) else "easy"


def score(view: View) -> int:
    """Points: what speaks for a difficult request less what speaks against it."""
    text = view.text[:LOOKED_AT]
    points = min(3, 2 * len(set(map(str.lower, HARD.findall(text)))))
    points += 1 if CODE.search(text) else 0
    points += 2 if TRACEBACK.search(text) else 0
    points += 1 if FORMULA.search(text) else 0
    points += 1 if len(DEMAND.findall(text)) >= 4 else 0
    points += 1 if len(view.text) > 1500 else 0
    points += 1 if view.tokens > 20_000 else 0
    points += 2 if "reasoning" in view.has else 0
    points += 1 if "tools" in view.has else 0
    return points - (2 if EASY.search(text[:200]) and len(view.text) < 1500 else 0)
