"""Routes in the management API: what requests may say of them, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from secrets import token_hex

import msgspec

from routeur.call import rfc3339
from routeur.desk import Asked, Desk, Json, only, text
from routeur.errors import ClientError, NotFound
from routeur.matching import Match
from routeur.routes import (
    AUTO,
    OF_FILE,
    PIN,
    Ground,
    Route,
    conflict,
    file_id,
    known_provider,
    read_action,
    read_match,
    skipped,
)
from routeur.rules import Rule
from routeur.store.base import StoreUnavailable

MEMBERS = ("name", "priority", "enabled", "action_kind", "match", "action")
HIGHEST = 10**9  # priority, and its negative: as in the file


# ---- handlers


async def create(desk: Desk, asked: Asked) -> Json:
    given = asked.given
    for name in ("name", "action_kind", "match"):
        if given.get(name) is None:
            raise ClientError(f"`{name}` is missing", param=name)
    now = desk.clock.wall()
    blank = Route(f"route_{token_hex(12)}", "", 0, True, "", {}, {}, now, now)
    route = changed(blank, given, desk.ground)

    def add(known: tuple[Route, ...]) -> Iterable[Route]:
        _require_free(route, known)
        return (*known, route)

    await desk.routes.edit(add)
    _log(desk, asked, route, "was made")
    return shown(route, desk.ground)


async def listed(desk: Desk, asked: Asked) -> Json:
    """All, in the order in which they are asked."""
    found = [(rule.priority, shown_rule(rule)) for rule in desk.ground.rules]
    found += [(each.priority, shown(each, desk.ground)) for each in await _known(desk)]
    found.sort(key=lambda each: -each[0])
    return {"object": "list", "data": [each for _, each in found]}


async def one(desk: Desk, asked: Asked) -> Json:
    rule = _of_file(desk, asked.name)
    if rule is not None:
        return shown_rule(rule)
    return shown(_find(asked.name, await _known(desk)), desk.ground)


async def change(desk: Desk, asked: Asked) -> Json:
    _require_ours(desk, asked)
    now = desk.clock.wall()
    made: list[Route] = []

    def replace(known: tuple[Route, ...]) -> Iterable[Route]:
        old = _find(asked.name, known)
        new = msgspec.structs.replace(changed(old, asked.given, desk.ground), updated_at=now)
        if new.name != old.name:
            _require_free(new, known)
        made.append(new)
        return (new if each is old else each for each in known)

    await desk.routes.edit(replace)
    _log(desk, asked, made[-1], f"was changed ({', '.join(asked.given) or 'nothing'})")
    return shown(made[-1], desk.ground)


async def remove(desk: Desk, asked: Asked) -> Json:
    _require_ours(desk, asked)
    gone: list[Route] = []

    def leave_out(known: tuple[Route, ...]) -> Iterable[Route]:
        gone.append(_find(asked.name, known))
        return (each for each in known if each.id != asked.name)

    await desk.routes.edit(leave_out)
    _log(desk, asked, gone[-1], "was deleted")
    return {"id": asked.name, "deleted": True}


async def _known(desk: Desk) -> tuple[Route, ...]:
    """Also those that were made elsewhere a moment ago; while the store does not answer, those in
    force.
    """
    with suppress(StoreUnavailable):
        await desk.routes.learn()
    return desk.routes.known


def _find(id: str, known: Iterable[Route]) -> Route:
    found = next((each for each in known if each.id == id), None)
    if found is None:
        raise NotFound("no route has this id: GET /v1/routes lists them")
    return found


def _of_file(desk: Desk, id: str) -> Rule | None:
    rules = desk.ground.rules if id.startswith(OF_FILE) else ()
    return next((rule for rule in rules if file_id(rule) == id), None)


def _require_ours(desk: Desk, asked: Asked) -> None:
    if _of_file(desk, asked.name) is not None:
        raise conflict("this rule stands in the configuration's file: change it there")


def _require_free(route: Route, known: Iterable[Route]) -> None:
    """Raises ClientError (conflict) if another route has the name."""
    if any(each.name == route.name for each in known):
        raise conflict(f'there is a route called "{route.name}": names are unique', "name")


def _log(desk: Desk, asked: Asked, route: Route, what: str) -> None:
    who = asked.caller.name or "somebody on this machine"
    desk.log.event("info", "route", f'route "{route.name}" ({route.id}) {what} by {who}')


# ---- what requests say


def changed(route: Route, given: Json, ground: Ground) -> Route:
    """A route with some of its members replaced. Raises ClientError, for a name of the file's
    rules, too.
    """
    only(given, MEMBERS)
    new = msgspec.structs.replace(
        route,
        name=_name(given, ground) if "name" in given else route.name,
        priority=_priority(given, route.priority),
        enabled=_enabled(given, route.enabled),
    )
    if "match" in given:
        if given["match"] is None:  # a slip must not make a rule hold for everything
            raise ClientError("`match` must be an object; {} holds for any alias", param="match")
        read_match(given["match"])
        match = {name: each for name, each in given["match"].items() if each is not None}
        new = msgspec.structs.replace(new, match=match)
    if "action_kind" in given or "action" in given:
        kind = given.get("action_kind", route.action_kind)
        # What was pinned says nothing once `auto` chooses.
        usual = {} if kind == AUTO else route.action
        kind, action = read_action(kind, given.get("action", usual))
        if kind == PIN:
            known_provider(ground, action["provider"])
        new = msgspec.structs.replace(new, action_kind=kind, action=action)
    return new


def _name(given: Json, ground: Ground) -> str:
    name = text(given, "name")
    if not name or name.isspace():
        raise ClientError("`name` must be a string that names the route in traces", param="name")
    if name in ground.names:
        raise conflict(f'a rule of the configuration\'s file is called "{name}"', "name")
    return name


def _priority(given: Json, usual: int) -> int:
    value = given.get("priority")
    if value is None:
        return usual
    if type(value) is not int or abs(value) > HIGHEST:
        what = f"a whole number from {-HIGHEST} to {HIGHEST}"
        raise ClientError(f"`priority` must be {what}", param="priority")
    return int(value)


def _enabled(given: Json, usual: bool) -> bool:
    value = given.get("enabled")
    if value is None:
        return usual
    if type(value) is not bool:
        raise ClientError("`enabled` must be true or false", param="enabled")
    return bool(value)


# ---- how they are shown


def shown(route: Route, ground: Ground) -> Json:
    """`skipped` says why it is not asked although it is enabled."""
    return {
        "id": route.id,
        "name": route.name,
        "priority": route.priority,
        "enabled": route.enabled,
        "action_kind": route.action_kind,
        "match": route.match,
        "action": route.action,
        "source": "api",
        "skipped": skipped(ground, route) or None,
        "created_at": rfc3339(route.created_at),
        "updated_at": rfc3339(route.updated_at),
    }


def shown_rule(rule: Rule) -> Json:
    """A rule of the file; of several targets the first is `provider` and `model`."""
    targets = rule.to or tuple(target for target, _ in rule.split)
    action: Json = {}
    if targets:
        action = {"provider": targets[0].provider, "model": targets[0].model}
    if len(targets) > 1:
        action["targets"] = [str(target) for target in targets]
    if rule.split:
        action["split"] = {str(target): weight for target, weight in rule.split}
    for name in ("sort", "strategy"):
        if value := getattr(rule, name):
            action[name] = value
    return {
        "id": file_id(rule),
        "name": rule.name,
        "priority": rule.priority,
        "enabled": True,
        "action_kind": PIN if targets else AUTO,
        "match": shown_match(rule.match),
        "action": action,
        "source": "file",
        "skipped": None,
        "created_at": None,
        "updated_at": None,
    }


def shown_match(match: Match) -> Json:
    """As a request would say it; a list of one as that."""
    bounds = {"gt": match.tokens_gt, "lt": match.tokens_lt}
    said = {
        "requested_model": _short(match.model),
        "has": sorted(match.has),
        "tokens": {name: each for name, each in bounds.items() if each is not None},
        "stream": match.stream,
        "key": _short(match.key),
        "headers": dict(match.headers),
        "path": _short(match.path),
        "difficulty": sorted(match.difficulty),
    }
    return {name: each for name, each in said.items() if each not in (None, [], {})}


def _short(words: tuple[str, ...]) -> str | list[str]:
    return words[0] if len(words) == 1 else [*words]
