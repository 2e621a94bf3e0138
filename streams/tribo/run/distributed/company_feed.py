"""`tribo demo --publish`: the invented company as its systems would publish it: to source topics, each event at its time.

A company begins every eight weeks and lives by the host's clock; its first weeks are published at once, so that there is something to
see. Whoever starts again within its time publishes the same events again, which are duplicates then.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from tribo.run.company import DAY, company
from tribo.run.distributed.settings import Distributed
from tribo_schemas.config import BadConfig
from tribo_schemas.event import instant

log = logging.getLogger("tribo")
LIFE_DAYS = 56
LEAST_PAST_DAYS = 14
ORDERS_A_DAY = 400
FIRST_MONDAY = instant("2026-01-05T00:00:00Z")
AT_ONCE = 500
AGAIN_SECONDS = 2.0


def topic_of(source: str, settings: Distributed) -> str:
    """The topic that ends in the source's name, else the first one."""
    return next((entry.topic for entry in settings.topics if entry.topic.rpartition(".")[2] == source), settings.topics[0].topic)


def begins(now: int) -> tuple[int, int]:
    """Which company lives at `now` (UTC ms), counted from 0, and when it began."""
    which = (now - LEAST_PAST_DAYS * DAY - FIRST_MONDAY) // (LIFE_DAYS * DAY)
    return which, FIRST_MONDAY + which * LIFE_DAYS * DAY


def publish_company(settings: Distributed, seed: int, ended: threading.Event, until: int | None = None) -> int:
    """Publish until `ended`, or what happens before `until` (UTC ms); returns how many events. Raises BadConfig: no source topics."""
    if not settings.topics:
        raise BadConfig("topics: name the topics that the company's systems publish to")
    which, start = begins(_now())
    events = company(seed + which, start, ORDERS_A_DAY, first_order=1_000_001 + 1_000_000 * max(which, 0))
    event = next(events)
    sent = 0
    while not ended.is_set():
        due = _now() if until is None else until
        batch: list[dict[str, Any]] = []
        while len(batch) < AT_ONCE and instant(event["time"]) <= due:
            batch.append(event)
            event = next(events)
        if batch:
            sent += _send(batch, settings, ended)
        elif until is not None:
            break
        else:
            ended.wait(0.5)
    return sent


def _now() -> int:
    return time.time_ns() // 1_000_000


def _send(batch: list[dict[str, Any]], settings: Distributed, ended: threading.Event) -> int:
    """Send, and try again for as long as the broker is away."""
    while not ended.is_set():
        try:
            producer = KafkaProducer(bootstrap_servers=settings.kafka.split(","), acks="all", linger_ms=50)
            for sent in [
                producer.send(topic_of(one["source"], settings), json.dumps(one).encode(), key=one["customer"].encode()) for one in batch
            ]:
                sent.get(30)
            producer.close()
        except KafkaError as error:
            log.warning("the company can't publish now (%s); it tries again", type(error).__name__)
            ended.wait(AGAIN_SECONDS)
        else:
            return len(batch)
    return 0
