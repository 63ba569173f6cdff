"""What `routeur explain` says: who would answer a request, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from multidict import CIMultiDict

from routeur import body, rules
from routeur.config import Config
from routeur.dialects import FORMATS, gemini, match
from routeur.errors import ClientError
from routeur.facts import CHARACTERS_PER_TOKEN
from routeur.rules import Plan, Table


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is only thought of; `headers` are lines `K: V`."""

    model: str
    headers: list[str]
    body: bytes | None
    path: str


class Thought:
    """The facts of such a request (rules.Facts)."""

    def __init__(self, question: Question) -> None:
        self.headers: Mapping[str, str] = CIMultiDict(_field(line) for line in question.headers)
        self.path = question.path
        found = match("POST", question.path)
        if found is None:
            raise ClientError(f"{question.path} is not a path of any dialect")
        self.dialect, route = found
        self.format = route.format
        self.purpose = route.purpose
        self.doc: dict[str, Any] = body.parse(question.body) if question.body else {}
        self.model: str | None = question.model
        verb = gemini.parse_path(question.path)
        self.stream = bool(self.doc.get("stream")) or bool(verb and verb.verb == gemini.STREAM)
        self.key: str | None = None

    def has(self) -> frozenset[str]:
        return FORMATS[self.format].has(self.doc) if self.format else frozenset()

    def tokens(self) -> int:
        size = FORMATS[self.format].prompt(self.doc) if self.format else 0
        return size // CHARACTERS_PER_TOKEN + 1


def answer(config: Config, question: Question, *, as_json: bool = False) -> str:
    """The text to print; raises RouteurError as the request itself would be refused."""
    facts = Thought(question)
    table = Table(config.providers, config.aliases, config.rules, config.auto.models)
    headers = facts.headers
    plan = table.plan(
        facts,
        provider=headers.get("Routeur-Provider"),
        vendor=headers.get("vendor"),
        model=headers.get("Routeur-Model"),
    )
    if as_json:
        shown = rules.explain(plan, facts, config.providers, "explain")
        return orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()
    return _told(plan, facts, question)


def _told(plan: Plan, facts: Thought, question: Question) -> str:
    lines = [
        f"request   {question.model} at {question.path} ({facts.dialect})",
        f"reason    {plan.reason}",
        f"answers   {plan.targets[0]}",
    ]
    lines += [f"then      {target}" for target in plan.targets[1:]]
    lines += [f"not       {target}: {why}" for target, why in plan.rejected]
    return "\n".join(lines)


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ClientError(f"--header {line!r}: expected 'K: V'")
    return name.strip(), value.strip()
