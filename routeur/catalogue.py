"""What is publicly known of well-known providers' models: rows of data, made by
tools/make_catalogue.py.

A provider's rows are read when first asked for. A model that has no row under its own id may have
one under its family's, without the date of its making: never under that of another family.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import msgspec

from routeur.usage import Price

# What an id begins with that says nothing of the model: how Google and Amazon spell its place.
_PLACE = re.compile(r"(?:arn:aws[\w-]*:bedrock:.*/|(?:projects/.*/)?publishers/\w+/)?(?:models/)?")
_REGION = re.compile(r"(us-gov|us|eu|apac|global|au|jp|ca|sa)\.(?=\w+\.)")
# What it ends with: Amazon's version of a snapshot of Claude, a date or what stands for one.
_VERSION = re.compile(r"(?<=\.)(claude-.*\d)-v\d+(?::\d+)?$")
_DATE = re.compile(r"[-@](?:(20\d{6}|20\d\d-\d\d-\d\d)|latest|default)$")
_REVISION = re.compile(r"(gemini-\d.*)-(00\d)")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")


class _Price(msgspec.Struct, gc=False):
    """As `Price`, with its tiers."""

    input: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    output: float | None = None
    reasoning: float | None = None
    audio_in: float | None = None
    audio_out: float | None = None
    image_in: float | None = None
    image_out: float | None = None
    over: dict[int, _Price] = {}
    services: dict[str, _Price] = {}

    def made(self) -> Price:
        """The price that it stands for."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        given["over"] = {size: price.made() for size, price in self.over.items()}
        given["services"] = {name: price.made() for name, price in self.services.items()}
        return Price(**given)


class Row(msgspec.Struct, frozen=True, gc=False):
    """A model at a provider. `has` are its abilities in one string, `released` is a date.

    `context` are tokens in and out, `input` and `output` those that each may have; `quality` is
    from 0 to 1. What is None is unknown.
    """

    has: str = ""
    context: int | None = None
    input: int | None = None
    output: int | None = None
    quality: float | None = None
    released: str | None = None
    price: _Price | None = None

    def cost(self) -> Price | None:
        """What its tokens cost."""
        return self.price.made() if self.price else None

    def abilities(self) -> frozenset[str]:
        """Of `image file audio tools json reasoning`."""
        return frozenset(self.has.split())


_ROWS = msgspec.json.Decoder(dict[str, Row])


class Family(NamedTuple):
    """An id without what differs from snapshot to snapshot, and that: a date, and a region."""

    name: str
    date: str
    region: str


@cache
def rows(provider: str) -> Mapping[str, Row]:
    """All rows of a provider by the models' ids; none of one that the catalogue lacks."""
    name = b'"%s":' % provider.encode()
    with files("routeur").joinpath("data/catalogue.json").open("rb") as file:
        for line in file:  # one per provider: the others' need not be read
            if line.startswith(name):
                return _ROWS.decode(line[len(name) :].rstrip(b",\n"))
    return {}


def find(provider: str, id: str) -> Row | None:
    """The row of a model: its own, else the one of its family that is most likely to hold."""
    known = rows(provider)
    row = known.get(id)
    if row is None:
        asked = family(id)
        alike = _families(provider).get(asked.name)
        if alike:
            row = known[max(alike, key=lambda one: _likeness(asked, alike[one], known[one]))]
    return row


def family(id: str) -> Family:
    """`us.anthropic.claude-sonnet-4-20250514-v1:0` is of `anthropic.claude-sonnet-4`.

    Sizes and kinds (`mini`, `pro`, `preview`, `:free`) make families of their own, and so do
    versions and dates in other forms.
    """
    name = _PLACE.sub("", id.lower(), count=1)
    region = date = ""
    if match := _REGION.match(name):
        region, name = match[1], name[match.end() :]
    name = _VERSION.sub(r"\1", name)
    if match := _REVISION.fullmatch(name):
        name, date = match[1], match[2]
    elif match := _DATE.search(name):
        name, date = name[: match.start()], (match[1] or "").replace("-", "")
    return Family(_POINT.sub("-", name), date, region)


@cache
def _families(provider: str) -> Mapping[str, Mapping[str, Family]]:
    """Ids and what they are made of, by their families."""
    found: dict[str, dict[str, Family]] = {}
    for id in rows(provider):
        each = family(id)
        found.setdefault(each.name, {})[id] = each
    return found


def _likeness(asked: Family, other: Family, row: Row) -> tuple[bool, bool, bool, str, float]:
    """What to go by, of rows of the same family; the highest is taken.

    The same date, else none, else the newest if the family as such is asked for; the same region.
    Of what is left the dearest: nothing is taken for cheaper than it is.
    """
    price = row.price
    dear = (price.input or 0.0) + (price.output or 0.0) if price else 0.0
    newest = "" if asked.date else other.date
    return other.date == asked.date, not other.date, other.region == asked.region, newest, dear
