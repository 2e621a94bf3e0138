"""What the distributed form is told: one file for `tribo topics`, `tribo worker wire|measure` and `tribo serve`; TRIBO_* goes before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tribo.run.settings import Notify, Page, Source, SourceName, load
from tribo_schemas.config import BadConfig

Days = Annotated[int, Field(ge=1, le=36_500)]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]


class SourceTopic(BaseModel):
    """A topic that a system publishes to, one record for each raw record, and the mapping that reads it; without one, canonical events."""

    model_config = ConfigDict(extra="forbid")
    topic: TopicName
    mapping: str | None = None
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    retention_days: Days = 30


class Distributed(BaseModel):
    """Settings of the distributed form. Environment: TRIBO_ and the name in capitals, e.g. TRIBO_KAFKA."""

    model_config = ConfigDict(extra="forbid")
    kafka: str = "127.0.0.1:9092"
    """Brokers as host:port, with commas between them."""
    database: Annotated[str, Field(pattern=r"^postgres(ql)?://")] = "postgresql://tribo@127.0.0.1/tribo"
    """The ledger's PostgreSQL, as a URL."""
    standards: Path | None = None
    topics: list[SourceTopic] = []
    """Where `wire` reads."""
    sources: dict[SourceName, Source] = {}
    """Who sends to `wire` at `POST /sources/NAME`, by NAME."""
    prefix: TopicName = "tribo"
    """What the names of Tribo's own topics and consumer groups begin with."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 12
    """Of `tribo.events`; at most so many `measure` workers have something to do."""
    replication: Annotated[int, Field(ge=1, le=9)] = 1
    events_days: Days = 30
    rejects_days: Days = 14
    detail_days: Annotated[int, Field(ge=15, le=3650)] = 90
    """How long the detail of histories is kept all of whose journeys ended; their totals stay."""
    totals_days: Annotated[int, Field(ge=8, le=3650)] = 400
    """How long daily readings of the totals are kept."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where a worker serves `/metrics`, `/livez` and `/readyz`, `wire` its ingest and `serve` its page; 0: any port that is free."""
    token: Annotated[str, Field(min_length=16)] | None = None
    """What a request must bear, but for `/livez` and `/readyz`; without one only this machine is served."""
    page: Page = Page()
    """Who may look at the page of `serve`."""
    notify: list[Notify] = []
    """Who hears of promises at risk, told by `serve`: of several such processes by one."""
    instance: str | None = None
    """A name of this worker that stays the same over restarts: it then comes back without its group being dealt anew."""
    batch_events: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """How many events a transaction, or a round of `wire`, takes at most."""
    queue_events: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """How many events may wait for the broker before HTTP senders are told to come again."""

    @model_validator(mode="after")
    def _topics_once(self) -> Distributed:
        names = [entry.topic for entry in self.topics]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"topics: the topic {twice} stands twice; one mapping reads a topic")
        own = next((name for name in names if name in self.own_topics()), None)
        if own is not None:
            raise ValueError(f"topics: {own} is a topic that tribo writes itself; name another")
        return self

    @property
    def events_topic(self) -> str:
        """Events for `measure`, many to a record."""
        return f"{self.prefix}.events"

    @property
    def findings_topic(self) -> str:
        """The latest revision of each finding, by its id; compacted."""
        return f"{self.prefix}.findings"

    @property
    def journeys_topic(self) -> str:
        """The row of each journey, by its id; compacted."""
        return f"{self.prefix}.journeys"

    @property
    def rejects_topic(self) -> str:
        """Records that could not be read, as they came."""
        return f"{self.prefix}.rejects"

    def mappings(self) -> list[str]:
        """The mappings in use, by name or file."""
        named = [*(entry.mapping for entry in self.topics), *(source.mapping for source in self.sources.values())]
        return [name for name in named if name is not None]

    def own_topics(self) -> tuple[str, ...]:
        """The topics that Tribo writes."""
        return self.events_topic, self.findings_topic, self.journeys_topic, self.rejects_topic


def load_distributed(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Distributed:
    """The settings of a file (or none) and the environment. Raises BadConfig with a line for each thing that is wrong."""
    settings = load(Distributed, path, environment)
    if settings.instance is not None and not settings.instance.strip():
        raise BadConfig("instance: give the worker a name, or leave it out")
    return settings
