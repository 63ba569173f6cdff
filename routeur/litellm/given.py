"""Values of a LiteLLM file, read one by one: what is odd, or nobody asks for, is a finding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from math import gcd
from typing import Any

from routeur.errors import did_you_mean

ELSEWHERE = "os.environ/"  # how LiteLLM spells a variable of the environment
LITERAL = "a literal key: better ${NAME}, with the key in the environment"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VARIABLE = re.compile(r"\$\{[^}\n]*\}")
# What people write where a server wants no key.
_NO_KEYS = frozenset(
    "none null empty any dummy fake fake-key not-needed no-key no-key-required x".split()
)


class Given:
    """A mapping at its place in the file, such as `model_list[3].litellm_params`.

    What has been asked for counts as known. `places` are those of values that stand elsewhere.
    """

    __slots__ = ("_known", "findings", "path", "places", "values")

    def __init__(
        self,
        values: Mapping[Any, Any],
        path: str,
        findings: list[str],
        places: Mapping[str, str] | None = None,
    ) -> None:
        self.values = {str(name): value for name, value in values.items()}
        self.path = path
        self.findings = findings
        self.places = places or {}
        self._known: set[str] = set()

    def finding(self, name: str, why: str) -> None:
        place = self.places.get(name) or self.place(name)
        self.findings.append(f"{place}: {why}")

    def place(self, name: str) -> str:
        """`path.name`; the names of files end with `: `."""
        return f"{self.path}{'.' if self.path and self.path[-1] != ' ' else ''}{name}"

    def raw(self, name: str) -> Any:
        """A value as YAML has it; None where it is left out or empty."""
        self._known.add(name)
        value = self.values.get(name)
        return None if value == "" else value

    def text(self, name: str) -> str | None:
        """A scalar in words, a variable as routeur spells it."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, dict | list):
            self.finding(name, f"expected text, found {what(value)}")
            return None
        return self._variable(name, words(value))

    def _variable(self, name: str, value: str) -> str | None:
        if not value.startswith(ELSEWHERE):
            return value
        variable = value.removeprefix(ELSEWHERE)
        if not _NAME.fullmatch(variable):
            self.finding(name, f'expected {ELSEWHERE}NAME, found "{value}"')
            return None
        return f"${{{variable}}}"

    def key(self, name: str) -> str | None:
        """A secret: one that stands in the file is a finding."""
        value = self.text(name)
        if value and not _VARIABLE.search(value) and value.lower() not in _NO_KEYS:
            self.finding(name, LITERAL)
        return value

    def number(self, name: str) -> float | None:
        """A number that is not negative; of the environment there can be none here."""
        value = self.text(name)
        if value is None:
            return None
        try:
            found = float(value)
        except ValueError:
            found = -1.0
        if not 0 <= found < float("inf"):
            found_here = value if _VARIABLE.search(value) else f'"{value}"'
            self.finding(name, f"expected a number, found {found_here}; set it by hand")
            return None
        return found

    def whole(self, name: str) -> int | None:
        found = self.number(name)
        return None if found is None else int(found)

    def flag(self, name: str) -> bool | None:
        value = self.text(name)
        found = {"true": True, "1": True, "false": False, "0": False}.get((value or "").lower())
        if value is not None and found is None:
            self.finding(name, f'expected true or false, found "{value}"')
        return found

    def names(self, name: str) -> list[str]:
        """A list of words; one alone is a list, too."""
        value = self.raw(name)
        items = value if isinstance(value, list) else [] if value is None else [value]
        if any(isinstance(item, dict | list) for item in items):
            self.finding(name, "expected a list of names")
        return [words(item) for item in items if not isinstance(item, dict | list | None)]

    def section(self, name: str) -> Given:
        """A mapping within; empty, and a finding, where it is none."""
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            self.finding(name, f"expected settings, found {what(value)}")
        found = value if isinstance(value, dict) else {}
        return Given(found, self.place(name), self.findings)

    def sections(self, name: str) -> list[Given]:
        """The mappings of a list, all else being findings."""
        value = self.raw(name)
        if value is not None and not isinstance(value, list):
            self.finding(name, f"expected a list, found {what(value)}")
        found = []
        for index, item in enumerate(value if isinstance(value, list) else []):
            path = self.place(f"{name}[{index}]")
            if isinstance(item, dict):
                found.append(Given(item, path, self.findings))
            else:
                self.findings.append(f"{path}: expected a mapping, found {what(item)}")
        return found

    def left(self) -> list[str]:
        """What has a value, and nobody has asked for."""
        return [name for name, value in self.values.items() if self._is_left(name, value)]

    def _is_left(self, name: str, value: Any) -> bool:
        return name not in self._known and value is not None

    def close(self, notes: Mapping[str, str], otherwise: str = "") -> None:
        """A finding for everything that is left: as `notes` have it by name, else this."""
        for name in self.left():
            near = did_you_mean(name, [*self._known, *notes]) if not otherwise else ""
            unknown = otherwise or f"unknown to this import, and not taken over{near}"
            self.finding(name, notes.get(name) or unknown)


def words(value: Any) -> str:
    """A scalar as it would be written; unquoted dates are such to YAML alone."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value).strip()


def what(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "a flag", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def notes(*table: tuple[str, str]) -> dict[str, str]:
    """Notes by name, from (note, names)."""
    return {name: note for note, names in table for name in names.split()}


def whole_numbers(shares: Iterable[float]) -> list[int]:
    """Weights as the smallest whole numbers in the same proportions, none below 1."""
    given = list(shares)
    scaled = [round(share * 1000) for share in given]
    divisor = gcd(*scaled) or 1
    return [max(share // divisor, 1) for share in scaled]
