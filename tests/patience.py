"""Others use this machine, too: nobody is late in a test that is not about those who are.

`wait_long` sets how long routeur waits for them; such tests set it back.
"""

from __future__ import annotations

from importlib import import_module

PATIENCE = 20.0  # seconds in which anything must have happened; only failing tests wait so long

ALWAYS = {
    "routeur.bus": ("PATIENCE", "SHORT"),
    "routeur.store.schema": ("PATIENCE",),
    "routeur.store.sqlite": ("PATIENCE",),
    "routeur.store.writer": ("PATIENCE",),
}
WITH_REDIS = {
    "routeur.store.line": ("CONNECT",),
    "routeur.store.redis": ("PATIENCE", "OPERATION", "QUESTION", "REPORT"),
}
own: dict[str, float] = {}  # routeur's, of those that were set


def wait_long(limits: dict[str, tuple[str, ...]]) -> None:
    for path, names in limits.items():
        module = import_module(path)
        for name in names:
            own[f"{path}.{name}"] = getattr(module, name)
            setattr(module, name, PATIENCE)
