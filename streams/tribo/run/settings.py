"""What `tribo run` is told: a YAML file, and TRIBO_* in the environment, which goes before it."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from tribo.wire.webhooks import Kind, is_public_url
from tribo_schemas.config import BadConfig, read_yaml, validate

PREFIX = "TRIBO_"
Told = TypeVar("Told", bound=BaseModel)


class Follow(BaseModel):
    """A file that grows, or a folder of such files (.jsonl), and the mapping that reads it; without one, canonical events."""

    model_config = ConfigDict(extra="forbid")
    path: Path
    source: str | None = None


def _sendable(text: str) -> str:
    if not is_public_url(text):
        raise ValueError(f"write the address that the vendor sends to, such as https://hooks.example.com/sources/calls; got {text!r}")
    return text


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name, re.ASCII):
        raise ValueError("write the name of an environment variable, such as SHOP_SECRET; the secret itself belongs there")
    return name


Variables = Annotated[list[Annotated[str, AfterValidator(_variable)]], Field(min_length=1, max_length=5)]


class Source(BaseModel):
    """A source that sends to `POST /sources/NAME`, and how it shows who it is: by a signature, or by a token.

    Secrets stand in the environment, never here.
    """

    model_config = ConfigDict(extra="forbid")
    mapping: str | None = None
    """A mapping's name or file; without one, the source sends canonical events of the source NAME."""
    signature: Kind | None = None
    secrets: Variables | None = None
    """Names of environment variables that hold the signature's secret: two while one takes the other's place."""
    tokens: Variables | None = None
    """Names of environment variables that hold the token (`Authorization: Bearer …`), 16 letters or more."""
    url: Annotated[str, AfterValidator(_sendable)] | None = None
    """Where the vendor sends to, without a query: Twilio signs it."""
    requests_per_second: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 100.0
    """More, for longer than a moment, is answered 429."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.signature is None) != (self.secrets is None):
            raise ValueError("write `signature` and `secrets` together: how it signs, and the variables that hold the secret")
        if self.signature is not None and self.tokens is not None:
            raise ValueError("write either a signature or tokens")
        if self.signature == "twilio" and self.url is None:
            raise ValueError("add `url`: Twilio signs the address that it sends to, and nobody else knows it")
        return self


SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"write an address or a network, such as 10.0.0.7 or 10.0.0.0/8; got {text!r}") from None
    return text


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,99}", text, re.ASCII):
        raise ValueError(f"write a header's name, such as X-Forwarded-User; got {text!r}")
    return text


class Proxy(BaseModel):
    """A proxy that asks people who they are, and says so in a header. It must take that header away from what strangers send."""

    model_config = ConfigDict(extra="forbid")
    header: Annotated[str, AfterValidator(_header)] = "X-Forwarded-User"
    addresses: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(min_length=1)]
    """From where it comes: addresses or networks. The header is believed from nowhere else."""
    operators: list[str] = []
    """Who of the people may change something."""


def _is_address(text: str) -> bool:
    """Whether this is the whole address of something that can be called: http or https, a host, no name and password in it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment


def _called(text: str) -> str:
    if not _is_address(text):
        raise ValueError(f"write the whole address, such as https://chat.example.com/hooks/tribo; got {text!r}")
    return text


Address = Annotated[str, AfterValidator(_called)]


class Notify(BaseModel):
    """A chat tool's webhook that hears of promises at risk. Only these addresses are ever called, whatever events say."""

    model_config = ConfigDict(extra="forbid")
    url: Address | None = None
    url_variable: Annotated[str, AfterValidator(_variable)] | None = None
    """Instead, the environment variable that holds the address: that of most chat tools is a secret."""
    owners: list[str] = []
    """Only promises of which a standard with one of these owners speaks; empty: all."""
    teams: list[str] = []
    """Only promises on items that one of these teams holds; empty: all."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.url_variable is None):
            raise ValueError("write either `url` or `url_variable`, the environment variable that holds the address")
        return self


class Page(BaseModel):
    """Who may look at the page, and who may change something there. The run's own token opens it, too."""

    model_config = ConfigDict(extra="forbid")
    readers: Variables | None = None
    """Names of environment variables that hold tokens (16 letters or more) of who may look."""
    operators: Variables | None = None
    """… and of who may replay, fold anew and erase, too."""
    proxy: Proxy | None = None
    url: Address | None = None
    """Where people reach the page, for links in messages; default: the address that is listened on."""
    dashboards: Address | None = None
    """Where people reach Grafana: the page then links there."""


class Settings(BaseModel):
    """Settings of the embedded run. Environment: TRIBO_ and the name in capitals, e.g. TRIBO_PORT; `follow` there is paths with `:`,
    `notify` addresses with spaces between them."""

    model_config = ConfigDict(extra="forbid")
    data: str | Path = "tribo-data"
    """The ledger: a folder, or a postgresql:// URL."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8321
    token: Annotated[str, Field(min_length=16)] | None = None
    """What a request must bear (`Authorization: Bearer …`); without one only this machine is served."""
    standards: Path | None = None
    sources: dict[SourceName, Source] = {}
    """Who sends to `POST /sources/NAME`, by NAME."""
    page: Page = Page()
    notify: list[Notify] = []
    """Who hears of promises at risk."""
    follow: list[Follow] = []
    stdin: bool = False
    raw_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """How long records are kept as they came; 0: not at all."""
    rejects_days: Annotated[int, Field(ge=1, le=3650)] = 14
    detail_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long a customer's history is kept after all its journeys ended. Totals stay."""
    totals_days: Annotated[int, Field(ge=1, le=3650)] = 400
    """How long the daily readings of the totals, which hold no customer, are kept. What has been counted stays counted."""
    queue_events: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """How many events may wait for the ledger before senders are told to come again."""
    batch_events: Annotated[int, Field(ge=1, le=100_000)] = 40_000

    def mappings(self) -> list[str]:
        """The mappings in use, by name or file."""
        named = [*(source.mapping for source in self.sources.values()), *(entry.source for entry in self.follow)]
        return [name for name in named if name is not None]


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file (or none) and the environment. Raises BadConfig with a line for each thing that is wrong."""
    return load(Settings, path, environment)


def load(model: type[Told], path: Path | None, environment: Mapping[str, str] | None) -> Told:
    """Settings of some kind from a file (or none), and from TRIBO_* in the environment, which goes before it. Raises BadConfig."""
    settings = model() if path is None else validate(model, read_yaml(path))
    said: dict[str, object] = {}
    for name, text in (os.environ if environment is None else environment).items():
        field = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and field in model.model_fields and field not in ("sources", "page", "topics"):
            said[field] = text
            if field == "follow":
                said[field] = [{"path": part} for part in text.split(":") if part]
            elif field == "notify":
                said[field] = [{"url": part} for part in text.split()]
    if said:
        try:
            settings = model.model_validate(settings.model_dump(exclude_unset=True) | said)
        except ValidationError as error:
            raise BadConfig("\n".join(
                f"{_named(problem['loc'])}{problem['msg'].removeprefix('Value error, ')}" for problem in error.errors()
            )) from None  # fmt: skip
    return settings


def _named(place: tuple[int | str, ...]) -> str:
    return f"{PREFIX}{str(place[0]).upper()}: " if place else ""


def addresses(targets: Sequence[Notify], environment: Mapping[str, str] | None = None) -> list[tuple[Notify, str]]:
    """Each webhook with its address. Raises BadConfig: a variable that isn't set, or holds no address."""
    found = []
    for target in targets:
        url = target.url or (os.environ if environment is None else environment).get(target.url_variable or "", "")
        if not _is_address(url):
            raise BadConfig(f"notify: the environment variable {target.url_variable} must hold the whole address of the webhook: set it")
        found.append((target, url))
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
