"""Bodies with one or two values put in the place of others: what readers must bear."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, "", "text", " \n", [], {}, [[]], [{}], {"type": "text"},
    {"type": None}, ["x"], {"x": {"y": 1}}, "auto", "tool_use", "tool_result", "\ud83d",
)  # fmt: skip


def mutated(body: Any, random: Random) -> Any:
    """A copy in which some values are others, or gone."""
    found = copy.deepcopy(body)
    for _ in range(random.randint(1, 2)):
        places = list(_places(found))
        if not places:
            break
        holder, key = random.choice(places)
        if random.random() < 0.2:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(random.choice(JUNK))
    return found


def _places(value: Any) -> Any:
    """Every place within a value: what holds it, and its key or index."""
    stack = [value]
    while stack:
        holder = stack.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], dict | list):
                stack.append(holder[key])
