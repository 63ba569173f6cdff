"""The Lua scripts that a Redis runs for us: each does all of its work, or nothing, at once."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

HOME = Path(__file__).parent / "lua"
ROOT = "{routeur}"  # what all names begin with; a cluster keeps together what has the same tag

# What a script consists of, besides `begin` and the file of its name.
CALLS = ("steady", "accounts", "windows", "calls")
SUMS = ("accounts", "windows", "calls", "sums")
PARTS: dict[str, tuple[str, ...]] = {
    "greet": ("steady",),
    "reserve": CALLS,
    "cancel": CALLS[1:],
    "settle": SUMS,
    "beat": CALLS,
    "expire": ("steady", *SUMS, "endings"),
    "leave": (*SUMS, "endings"),
    "add_key": (),
    "change_key": (),
    "remove_key": (),
    "key": (),
    "keys": (),
    "key_changes": (),
    "prune": (),
    "usage": (),
    "keep": ("responses",),
    "kept": (),
    "renew": ("responses",),
    "drop": ("responses",),
    "evict": ("responses",),
    "put": (),
    "values": (),
}


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    sha: str


def _script(name: str, parts: tuple[str, ...]) -> Script:
    files = (HOME / f"{each}.lua" for each in ("begin", *parts, name))
    text = "\n".join(file.read_text("utf-8") for file in files)
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


SCRIPTS = {name: _script(name, parts) for name, parts in PARTS.items()}
