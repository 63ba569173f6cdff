"""Well-known providers: rows of data, made by tools/make_presets.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec

_VARIABLE = re.compile(r"\$\{(\w+)\}", re.ASCII)


class Preset(msgspec.Struct, frozen=True):
    """A provider that needs but a key.

    `env` are alternatives: of one all variables must be set, and the last is the key. `zero_config`
    says that they are set for nothing else, so that they may switch the provider on.
    """

    title: str
    dialect: str
    base_url: str
    env: tuple[tuple[str, ...], ...]
    zero_config: bool
    responses: bool
    models: tuple[str, ...]
    data_url_files: bool = False
    default: str | None = None

    def key(self, environ: Mapping[str, str]) -> str | None:
        """The key of the first alternative whose key is set."""
        return next((environ[names[-1]] for names in self.env if environ.get(names[-1])), None)

    def keys(self) -> tuple[str, ...]:
        """The variables of which one must hold the key."""
        return tuple(names[-1] for names in self.env)

    def address(self, environ: Mapping[str, str]) -> str:
        """The base URL, its variables filled in as far as they are set."""
        return _VARIABLE.sub(lambda match: environ.get(match[1]) or match[0], self.base_url)

    def missing(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Variables of the base URL that are not set."""
        return tuple(name for name in _VARIABLE.findall(self.base_url) if not environ.get(name))


class _Presets(msgspec.Struct):
    presets: dict[str, Preset]


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name, vendors before resellers."""
    data = files("routeur").joinpath("data/presets.json").read_bytes()
    return msgspec.json.decode(data, type=_Presets).presets


def from_environment(environ: Mapping[str, str]) -> list[str]:
    """The presets whose variables are all set, and for nothing else."""
    return [
        name
        for name, preset in presets().items()
        if preset.zero_config and preset.key(environ) and not preset.missing(environ)
    ]
