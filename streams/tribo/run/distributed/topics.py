"""`tribo topics`: the topics that the settings want, made where they are missing, and what differs where they are not as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from tribo.run.distributed.settings import Distributed
from tribo_schemas.config import BadConfig

DAY = 86_400_000
MOST_RECORD_BYTES = 1_048_588  # what brokers take unless told otherwise
REQUEST_MS = 5_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it should be: `settings` are Kafka's own names and texts."""

    name: str
    partitions: int
    settings: dict[str, str]


def wanted(settings: Distributed) -> list[Topic]:
    """Every topic that the settings speak of, the sources' first."""
    kept = {"cleanup.policy": "delete"}
    latest = {"cleanup.policy": "compact"}
    topics = [
        Topic(entry.topic, entry.partitions, kept | {"retention.ms": str(entry.retention_days * DAY)}) for entry in settings.topics
    ]
    many = settings.partitions
    return [
        *topics,
        Topic(settings.events_topic, many, kept | {"retention.ms": str(settings.events_days * DAY)}),
        Topic(settings.findings_topic, many, latest),
        Topic(settings.journeys_topic, many, latest),
        Topic(settings.rejects_topic, many, kept | {"retention.ms": str(settings.rejects_days * DAY)}),
    ]


def admin_of(settings: Distributed) -> KafkaAdminClient:
    """A connection for such questions. Raises BadConfig: nobody answers there."""
    try:
        brokers = settings.kafka.split(",")
        return KafkaAdminClient(bootstrap_servers=brokers, request_timeout_ms=REQUEST_MS, bootstrap_timeout_ms=REQUEST_MS)
    except (KafkaError, OSError, ValueError) as error:
        why = f"no broker answers ({type(error).__name__}); start it, or name another (TRIBO_KAFKA)"
        raise BadConfig(f"kafka: {settings.kafka}: {why}") from None


def make_topics(settings: Distributed, check_only: bool = False) -> tuple[list[str], list[str]]:
    """Make what is missing (unless `check_only`); returns the names made, and a line for each thing that differs.

    Raises BadConfig: no broker, or it refuses.
    """
    admin = admin_of(settings)
    try:
        there = set(admin.list_topics())
        missing = [topic for topic in wanted(settings) if topic.name not in there]
        differences = []
        made: list[str] = []
        for topic in missing:
            if check_only:
                differences.append(f"{topic.name}: is not there; `tribo topics` makes it")
            elif _make(admin, topic, settings.replication):
                made.append(topic.name)
        if made:
            admin.wait_for_topics(made)
        present = [topic for topic in wanted(settings) if topic.name in there]
        differences += _differences(admin, present, settings.replication)
    except KafkaError as error:
        raise BadConfig(f"kafka: {settings.kafka}: {getattr(error, 'message', None) or type(error).__name__}") from None
    finally:
        admin.close()
    return made, differences


def _make(admin: KafkaAdminClient, topic: Topic, replication: int) -> bool:
    asked = {"num_partitions": topic.partitions, "replication_factor": replication, "configs": topic.settings}
    try:
        admin.create_topics({topic.name: asked})
    except TopicAlreadyExistsError:
        return False  # another one was quicker
    return True


def _differences(admin: KafkaAdminClient, topics: list[Topic], replication: int) -> Iterator[str]:
    if not topics:
        return
    described = {row["name"]: row["partitions"] for row in admin.describe_topics([topic.name for topic in topics])}
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    configured = admin.describe_configs(resources, config_filter="all")["topic"]
    for topic in topics:
        partitions = described[topic.name]
        if len(partitions) != topic.partitions:
            more = "add partitions" if len(partitions) < topic.partitions else "a topic can't lose partitions: correct the settings"
            yield f"{topic.name}: has {len(partitions)} partitions, the settings say {topic.partitions}; {more}"
        copies = min(len(partition["replica_nodes"]) for partition in partitions)
        if copies < replication:
            yield f"{topic.name}: a partition has {copies} replicas, the settings say {replication}; reassign it"
        for name, text in topic.settings.items():
            stands = configured[topic.name][name]["value"]
            if stands != text:
                yield f"{topic.name}: {name} is {stands}, the settings say {text}; alter the topic, or the settings"
        most = int(configured[topic.name]["max.message.bytes"]["value"])
        if most < MOST_RECORD_BYTES:
            yield f"{topic.name}: max.message.bytes is {most}; tribo writes records of up to {MOST_RECORD_BYTES}"
