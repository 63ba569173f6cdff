"""Configured providers, their credentials and models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from routeur import catalogue
from routeur.usage import Price

_REMEMBERED = 1024  # models of a provider
# At these clouds a deployment may have any id; then its name here says what it is.
_DEPLOYED = frozenset(["azure", "amazon-bedrock"])


class Secret:
    """A key. Prints as `***`, so that it shows up in no log, trace or error by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `idle` is the pause between two chunks; there is no limit on the whole."""

    connect: float = 5.0
    first_byte: float = 120.0
    idle: float = 60.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: `ca` instead of the system's, `cert` and `key` to identify ourselves."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Aws:
    """An account at Amazon: keys of its own, a profile, or neither for AWS's usual chain."""

    region: str
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Google:
    """An account at Google; without a file Google's usual chain is asked."""

    project: str
    location: str
    credentials_file: str | None = None


@dataclass(frozen=True, slots=True)
class CredentialModel:
    """What a credential has for one model. `weight` None: as for the others; 0: not served."""

    weight: int | None = None
    rpm: int = -1
    tpm: int = -1


@dataclass(frozen=True, slots=True)
class Credential:
    """One account of a provider. `name` is unique in the configuration (`openai`, `azure.eu`).

    `rpm` and `tpm` are requests and tokens a minute, of all models together; -1: no limit.
    """

    name: str
    provider: str
    base_url: str
    api_key: Secret | None = None
    weight: int = 1
    fallback: bool = False
    rpm: int = -1
    tpm: int = -1
    cloud: Aws | Google | None = None
    models: Mapping[str, CredentialModel] = field(default_factory=dict, hash=False)

    def weight_for(self, model: str) -> int:
        """Its share of a model's calls; 0: it does not serve that model."""
        own = self.models.get(model)
        return self.weight if own is None or own.weight is None else own.weight

    @property
    def account(self) -> tuple[object, ...]:
        """What makes it this account, whatever weights and limits it is given."""
        return self.name, self.provider, self.base_url, self.api_key, self.cloud


@dataclass(frozen=True, slots=True)
class Model:
    """A model as clients name it; `id` is its name at the provider. What is None is unknown.

    `context` are tokens in and out, `input` and `output` those that each may have; `quality` is
    from 0 to 1, `released` a date.
    """

    name: str
    id: str
    price: Price | None = None
    context: int | None = None
    output: int | None = None
    has: frozenset[str] | None = None
    input: int | None = None
    quality: float | None = None
    released: str | None = None

    @property
    def room(self) -> int | None:
        """The tokens that a prompt may have."""
        return min((size for size in (self.context, self.input) if size), default=None)

    def completed(self, row: catalogue.Row) -> Model:
        """With what the catalogue says where the configuration does not."""
        return Model(
            name=self.name,
            id=self.id,
            price=self.price or row.cost(),
            context=self.context or row.context,
            output=self.output or row.output,
            has=row.abilities() if self.has is None else self.has,
            # A context of one's own is also a limit of one's own.
            input=self.input or (None if self.context else row.input),
            quality=row.quality if self.quality is None else self.quality,
            released=self.released or row.released,
        )


@dataclass(frozen=True, slots=True)
class Provider:
    """A configured place that answers.

    `models` are the names it lists literally, `globs` its patterns; `any_name` says that it serves
    any other name too, last of all. `auth` is the header that carries the key: `bearer`,
    `x-api-key`, `api-key` or `x-goog-api-key`. `known_as` is its name in the catalogue, if it is
    one of those.
    """

    name: str
    dialect: str
    credentials: tuple[Credential, ...]
    preset: str | None = None
    known_as: str | None = None
    models: Mapping[str, Model] = field(default_factory=dict)
    globs: tuple[str, ...] = ()
    any_name: bool = False
    auth: str = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    responses: bool = True
    speak: str = "chat"
    usage_ask: bool = False
    websocket: bool = False
    commit: str = "first_event"
    keepalive: float | None = None
    api_version: str | None = None
    data_url_files: bool = False
    catalogued: bool = False  # its models are the catalogue's, not the configuration's
    default: str | None = None  # which of them `auto` takes where nothing else is said
    tls: Tls | None = None
    proxy: str | None = None
    _known: dict[str, Model] = field(default_factory=dict, init=False, repr=False, compare=False)

    def lists(self, name: str) -> bool:
        """Whether the configuration names this model here, literally or by a pattern."""
        return name in self.models or any(fnmatchcase(name, glob) for glob in self.globs)

    def model(self, name: str) -> Model:
        """What is known of a model by the name that clients give it, be it listed or not."""
        model = self._known.get(name)
        if model is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            model = self._known[name] = self._look_up(name)
        return model

    def _look_up(self, name: str) -> Model:
        """As the configuration has it, the rest from the catalogue."""
        given = self.models.get(name) or Model(name, name)
        if self.known_as is None:
            return given
        row = catalogue.find(self.known_as, given.id)
        if row is None and self.known_as in _DEPLOYED:
            row = catalogue.find(self.known_as, name)
        return given if row is None else given.completed(row)

    def id_of(self, name: str) -> str:
        """The provider's own name of a model."""
        model = self.models.get(name)
        return model.id if model else name
