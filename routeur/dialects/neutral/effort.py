"""How hard to think: in words, in tokens, and between the two."""

from __future__ import annotations

from routeur.dialects.neutral import Thinking

LEAST = 1024  # tokens: Anthropic takes no smaller budget
MOST = 32_768

# What others than Anthropic and Gemini call a budget, and the reverse.
_BUDGETS = {
    "none": 0,
    "minimal": 1024,
    "low": 4096,
    "medium": 10_240,
    "high": 24_576,
    "xhigh": MOST,
    "max": MOST,
}


def budget_of(thinking: Thinking, max_tokens: int | None = None) -> int | None:
    """The budget in tokens, at least LEAST; None: leave it to the model.

    A fifth of max_tokens is left for the answer. 0 where reasoning is off, and where max_tokens
    leaves no room for it.
    """
    if thinking.mode == "off":
        return 0
    budget = thinking.budget
    if budget is None:
        budget = _BUDGETS.get(thinking.effort)
    if not budget:
        return budget
    budget = max(LEAST, budget)
    if max_tokens is not None:
        budget = min(budget, max_tokens * 4 // 5)
    return budget if budget >= LEAST else 0


def effort_of(thinking: Thinking, allowed: tuple[str, ...] = ("low", "medium", "high")) -> str:
    """The effort in words, the nearest of those allowed (weakest first); "" leave it to the model.

    `none` where reasoning is off, whether allowed or not.
    """
    if thinking.mode == "off":
        return "none"
    word = thinking.effort
    if not word and thinking.budget is not None:
        word = _nearest(thinking.budget, tuple(_BUDGETS)[1:-2])
    if not word or word in allowed:
        return word
    return _nearest(_BUDGETS.get(word, _BUDGETS["medium"]), allowed)


def _nearest(budget: int, words: tuple[str, ...]) -> str:
    return min(words, key=lambda word: abs(_BUDGETS.get(word, 0) - budget))
