"""What `routeur explain` says: who would answer a request, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass

import orjson

from routeur import body
from routeur.board import Board
from routeur.choosing import Chooser, Policy
from routeur.config import Config
from routeur.dialects import gemini, match
from routeur.errors import ClientError
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.keys import OPEN
from routeur.reasons import explain, lines
from routeur.rules import Table
from routeur.score import Weights
from routeur.standing import Standings
from routeur.stickiness import Stickiness


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is only thought of; `headers` are lines `K: V`."""

    model: str
    headers: list[str]
    body: bytes | None
    path: str


def answer(config: Config, question: Question, *, as_json: bool = False) -> str:
    """The text to print; raises RouteurError as the request itself would be refused."""
    facts = _thought(question)
    chooser = _chooser(config)
    plan = chooser.plan(facts)
    decision = chooser.decide(plan, facts)
    told = explain(decision.plan if decision else plan, decision, facts, chooser, "explain")
    if as_json:
        return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
    asked = f"request   {question.model} at {question.path} ({facts.dialect})"
    return "\n".join([asked, *lines(told)])


def _chooser(config: Config) -> Chooser:
    """As a router's that has just started: nothing has been measured."""
    auto = config.auto
    standings = Standings(config.ban.after, config.ban.seconds, config.retries.statuses)
    standings.configure(
        config.providers, config.ban.after, config.ban.seconds, config.retries.statuses
    )
    return Chooser(
        Table(config.providers, config.aliases, config.rules, auto.models, strategy=auto.strategy),
        standings,
        Board(),
        Stickiness(),
        Policy(Weights(**auto.weights), auto.classifier),
        random=lambda: math.nextafter(1.0, 0.0),  # nobody is tried only to be known
    )


def _thought(question: Question) -> Facts:
    """The facts of such a request."""
    found = match("POST", question.path)
    if found is None:
        raise ClientError(f"{question.path} is not a path of any dialect")
    family, route = found
    fields = tuple(_field(line) for line in question.headers)
    facts = Facts(Inbound(fields), family, route, question.path, "", OPEN)
    facts.raw = question.body or b""
    facts.doc = body.parse(facts.raw) if facts.raw else {}
    facts.model = question.model
    verb = facts.gemini_path
    streams = bool(verb and verb.verb == gemini.STREAM)
    facts.stream = streams or body.wants_stream(facts.doc)
    return facts


def _field(line: str) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ClientError(f"--header {line!r}: expected 'K: V'")
    return name.strip().encode(), value.strip().encode()
