"""`tribo worker wire`: source topics and HTTP in, events out to `tribo.events`.

A round takes the records that are there, maps them, and sends the events, many to a record; when the broker has acknowledged all of
it, and the rejects are kept, the offsets read are committed. So a crash at any moment means that records are read again, never that
they are lost, and events sent twice are duplicates by their ids. A request is answered 202 on the same terms. When the broker fails
for longer than the clients try, what was not acknowledged is given back: HTTP senders come again, topics are read again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tribo.ledger.ledger import Outcome
from tribo.measure.standards import Standards
from tribo.run.accept import MOST_EVENT_BYTES, event_in, source_of
from tribo.run.clock import Heard, ReceiveClock
from tribo.run.commit import FUTURE_REASON
from tribo.run.delivery import Broken, Busy, Delivery, Full
from tribo.run.distributed.frontier import later, mark_of
from tribo.run.distributed.records import FRONTIER, MOST_SENT_BYTES, Input, Report, encode_report, encoded, packed, partition_of
from tribo.run.distributed.rejected import KeptRejects
from tribo.run.distributed.settings import Distributed, SourceTopic
from tribo.wire.mapping import Mapping as SourceMapping
from tribo.wire.mapping import Unmapped
from tribo.wire.rejects import Reject, reject
from tribo_schemas.config import BadConfig
from tribo_schemas.event import BadEvent, Event, canonical

log = logging.getLogger("tribo")
BEAT_SECONDS = 1.0
POLL_MS = 200
PAUSE_SECONDS = 1.0
LET_GO_SECONDS = 5.0
STUCK_SECONDS = 60.0
TOO_LONG = f"is longer than {MOST_SENT_BYTES} bytes when written as an event"
MOST_REJECT_BYTES = 900_000
NO_BROKER = "the broker can't be reached"
CONNECT = "__connect.errors."
Headers = list[tuple[str, bytes]]


class Reading:
    """How one source topic is read."""

    def __init__(self, entry: SourceTopic) -> None:
        """Raises BadConfig: no such mapping, or one whose records don't stand alone."""
        self.topic = entry.topic
        self.mapping = SourceMapping.load(entry.mapping) if entry.mapping is not None else None
        if self.mapping is not None and self.mapping.file.kind == "update_log":
            raise BadConfig(
                f"topics: {entry.topic}: {entry.mapping} reads an update log, whose rows say something only beside the row before; "
                "publish whole records to the topic, or bring the log in with `tribo import`"
            )
        self.source = self.mapping.source if self.mapping is not None else None

    def events(self, value: bytes | None) -> list[Event]:
        """The events of one record. Raises BadEvent, Unmapped."""
        if value is None:
            return []  # a tombstone of a compacted topic says nothing about customers
        if len(value) > MOST_EVENT_BYTES:
            raise BadEvent("", f"is longer than {MOST_EVENT_BYTES} bytes")
        return [event_in(value)] if self.mapping is None else self.mapping.map_record(value)

    @property
    def stage(self) -> str:
        """Which stage refuses, in Kafka Connect's words."""
        return "VALUE_CONVERTER" if self.mapping is None else "TRANSFORMATION"


class Numbers:
    """What a `wire` worker says of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = Counter("tribo_wire_records", "Records read from source topics.", ("topic",), registry=self.registry)
        self.events = Counter("tribo_wire_events", "Events sent to tribo.events.", registry=self.registry)
        self.rejects = Counter("tribo_wire_rejects", "Records refused, by topic ('http' for requests).", ("topic",), registry=self.registry)
        places = ("topic", "partition")
        self.lag = Gauge("tribo_wire_lag_records", "Records of a source topic not read yet.", places, registry=self.registry)
        self.round_seconds = Histogram("tribo_wire_round_seconds", "How long a round took, until acknowledged.", registry=self.registry)
        self.round_events = Histogram(
            "tribo_wire_round_events", "Events in a round.", buckets=(1, 10, 100, 1000, 5000, 20_000), registry=self.registry
        )
        self.failures = Counter("tribo_wire_failures", "Times the broker failed and what was read was read again.", registry=self.registry)


class _Round:
    """What is to be sent together."""

    def __init__(self) -> None:
        self.parts: dict[int, list[bytes]] = defaultdict(list)
        self.events: dict[str, list[Event]] = defaultdict(list)  # by input
        self.rejects: list[tuple[str, Reject]] = []
        self.reached: dict[str, int] = {}  # by input of a topic: up to which offset its rejects are among these
        self.refused: list[tuple[bytes | None, bytes | None, Headers]] = []
        self.count = 0

    def add(self, event: Event, origin: str, partitions: int, now: int) -> str | None:
        """Have an event sent; returns why not, or None."""
        if Heard.is_future(event, now):
            return FUTURE_REASON
        part = encoded(event)
        if len(part) > MOST_SENT_BYTES:
            return TOO_LONG
        self.parts[partition_of(event, partitions)].append(part)
        self.events[origin].append(event)
        self.count += 1
        return None


class WireWorker:
    """One worker of the group. It takes deliveries as `ingest` gives them (`Taker`)."""

    def __init__(
        self, settings: Distributed, name: str, standards: Standards, standards_text: str, clock: ReceiveClock | None = None
    ) -> None:
        """`name` tells this worker from the others of its group. Raises BadConfig."""
        self.settings = settings
        self.readings = {entry.topic: Reading(entry) for entry in settings.topics}
        self.clock = clock or ReceiveClock()
        self.numbers = Numbers()
        for topic in (*self.readings, "http"):
            self.numbers.rejects.labels(topic)
        self.broken: BaseException | None = None
        self.full = True
        """Until the broker is there."""
        self._group = f"{settings.prefix}.wire"
        self._address = f"http/{name}"
        self._kept = KeptRejects(settings.database, standards, standards_text)
        self._queue: deque[Delivery] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._stop = asyncio.Event()
        self._sending = asyncio.Lock()
        self._inputs: dict[str, Input] = {}
        self._unread: dict[str, bool] = {}
        """By input: whether something lay there unread when it was last looked at."""
        self._assigned = False
        self._progress_at = time.monotonic()

    # -- what ingest and the probes ask ----------------------------------------------------------------------------------

    def submit(self, delivery: Delivery) -> Future[list[Outcome | Reject]]:
        """Queue a delivery. Raises Busy when too much waits already, Broken when this worker ends, Full when there is no broker."""
        if self.broken is not None or self._stop.is_set():
            raise Broken
        if self.full:
            raise Full(NO_BROKER)
        size = len(delivery.events) + len(delivery.rejects) + 1
        if self._waiting and self._waiting + size > self.settings.queue_events:
            raise Busy
        self._waiting += size
        self._queue.append(delivery)
        self._arrived.set()
        return delivery.done

    def unready(self) -> str | None:
        """Why no events are taken, or None."""
        if self.full:
            return NO_BROKER
        if self._kept.failing:
            return "the ledger can't be written"
        if self.readings and not self._assigned:
            return "no partition of a source topic is assigned yet"
        return None

    def stuck(self) -> bool:
        """Whether nothing has moved for a minute although the broker is there."""
        return not self.full and time.monotonic() - self._progress_at > STUCK_SECONDS

    def stop(self) -> None:
        """Finish what was begun, and end."""
        self._stop.set()
        self._arrived.set()

    # -- sessions with the broker ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`; comes again whenever the broker fails."""
        while not self._stop.is_set():
            try:
                await self._session()
            except (KafkaError, OSError) as error:
                self.numbers.failures.inc()
                log.warning("wire: the broker fails (%s: %s); what was not acknowledged is read again", type(error).__name__, error)
                self._give_back()
                await self._pause()
        self._give_back()
        await asyncio.to_thread(self._kept.close)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), PAUSE_SECONDS)

    def _give_back(self) -> None:
        self.full = True
        while self._queue:
            _fail(self._queue.popleft())
        self._waiting = 0

    async def _session(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka, acks="all", enable_idempotence=True, max_batch_size=1_000_000, linger_ms=0,
            request_timeout_ms=20_000,
        )  # fmt: skip
        await producer.start()
        try:
            partitions = len(await producer.partitions_for(self.settings.events_topic))
            if not partitions:
                raise OSError(f"there is no topic {self.settings.events_topic} yet; `tribo topics` makes it")
            self._progress_at = time.monotonic()
            loops = [self._beat(producer, partitions), self._deliver(producer, partitions)]
            if self.readings:
                loops.append(self._read(producer, partitions))
            self.full = False
            await _first_end([asyncio.ensure_future(loop) for loop in loops])
        finally:
            self.full = True
            await _ended(producer.stop())

    async def _read(self, producer: AIOKafkaProducer, partitions: int) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka, group_id=self._group, group_instance_id=self._instance(),
            enable_auto_commit=False, auto_offset_reset="earliest", session_timeout_ms=6_000, heartbeat_interval_ms=2_000,
            max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=POLL_MS,
        )  # fmt: skip
        consumer.subscribe(list(self.readings))
        await consumer.start()
        try:
            while not self._stop.is_set():
                taken = await consumer.getmany(timeout_ms=POLL_MS, max_records=self.settings.batch_events)
                self._progress_at = time.monotonic()
                await self._note(consumer, taken)
                if taken:
                    began = time.monotonic()
                    await self._round(self._mapped(taken, partitions), producer)
                    await self._commit(consumer, taken)
                    self.numbers.round_seconds.observe(time.monotonic() - began)
        finally:
            self._assigned = False
            await _ended(consumer.stop())

    def _instance(self) -> str | None:
        return None if self.settings.instance is None else f"{self.settings.instance}.wire"

    async def _note(self, consumer: AIOKafkaConsumer, taken: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        """What is assigned now, and how far behind each of it is; what is no longer is somebody else's to report on."""
        assigned = consumer.assignment()
        self._assigned = bool(assigned) or self._assigned
        names = set()
        for place in assigned:
            name = f"{place.topic}/{place.partition}"
            names.add(name)
            high = consumer.highwater(place)
            position = await consumer.position(place) if high is not None else 0
            lag = max(high - position, 0) if high is not None else None
            held = self._inputs.get(name)
            if held is None:
                source = self.readings[place.topic].source
                held = self._inputs[name] = Input(True, {source: (None, None)} if source is not None else {})
            self._unread[name] = lag is None or lag > 0
            held.behind = self._unread[name] or bool(taken.get(place))  # what was taken was not sent yet
            if lag is not None:
                self.numbers.lag.labels(place.topic, place.partition).set(lag)
        for name in [name for name in self._inputs if name not in names and name != self._address]:
            del self._inputs[name]
            self.numbers.lag.remove(*name.rsplit("/", 1))

    async def _commit(self, consumer: AIOKafkaConsumer, taken: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        mine = consumer.assignment()
        offsets = {place: records[-1].offset + 1 for place, records in taken.items() if records and place in mine}
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            log.info("wire: a partition went to another worker before its offset was committed; it is read again there")

    # -- rounds ----------------------------------------------------------------------------------------------------------

    def _mapped(self, taken: Mapping[TopicPartition, list[ConsumerRecord]], partitions: int) -> _Round:
        now = self.clock.now()
        work = _Round()
        for place, records in taken.items():
            reading = self.readings[place.topic]
            origin = f"{place.topic}/{place.partition}"
            self.numbers.records.labels(place.topic).inc(len(records))
            work.reached[origin] = records[-1].offset + 1
            for record in records:
                try:
                    wrong = [work.add(event, origin, partitions, now) for event in reading.events(record.value)]
                    reasons = [reason for reason in wrong if reason is not None]
                except (BadEvent, Unmapped) as error:
                    self._refuse(work, reading, record, str(error), type(error).__name__)
                except Exception as error:  # ours: it must hold up neither this source nor others, and the record is kept
                    log.error("wire: %s/%s: a fault of tribo", origin, record.offset, exc_info=error)
                    kind = type(error).__name__
                    self._refuse(work, reading, record, f"a fault of tribo ({kind}), not of the record", kind)
                else:
                    if reasons:
                        self._refuse(work, reading, record, reasons[0], BadEvent.__name__)
        return work

    def _refuse(self, work: _Round, reading: Reading, record: ConsumerRecord, reason: str, kind: str) -> None:
        value = record.value or b""
        refused = reject(f"{record.topic}/{record.partition}", record.offset, reason, value)
        refused.through = reading.mapping.name if reading.mapping is not None else ""
        work.rejects.append((reading.source if reading.source is not None else source_of(value), refused))
        said = {
            "topic": record.topic, "partition": str(record.partition), "offset": str(record.offset), "connector.name": self._group,
            "task.id": "0", "stage": reading.stage, "class.name": "tribo.wire", "exception.class.name": kind, "exception.message": reason,
        }  # fmt: skip
        headers = [*record.headers, *((CONNECT + name, text.encode("utf-8", "replace")) for name, text in said.items())]
        work.refused.append((record.key, record.value, headers))
        self.numbers.rejects.labels(record.topic).inc()

    async def _deliver(self, producer: AIOKafkaProducer, partitions: int) -> None:
        """Rounds of what came by HTTP."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                taken: list[Delivery] = []
                events = 0
                while self._queue and (not taken or events + len(self._queue[0].events) <= self.settings.batch_events):
                    taken.append(self._queue.popleft())
                    events += len(taken[-1].events)
                    self._waiting -= len(taken[-1].events) + len(taken[-1].rejects) + 1
                await self._take(taken, producer, partitions)
            if self._stop.is_set():
                return

    async def _take(self, taken: list[Delivery], producer: AIOKafkaProducer, partitions: int) -> None:
        now = self.clock.now()
        work = _Round()
        answers: list[list[Outcome | Reject]] = []
        for delivery in taken:
            answer: list[Outcome | Reject] = []
            for event in delivery.events:
                reason = work.add(event, self._address, partitions, now)
                if reason is None:
                    answer.append("applied")
                else:
                    refused = reject(delivery.input, 0, reason, canonical(event))
                    answer.append(refused)
                    self._refuse_delivered(work, event.source, refused)
            for source, refused in delivery.rejects:
                self._refuse_delivered(work, source, refused)
            answers.append(answer)
        try:
            await self._round(work, producer)
        except BaseException:
            for delivery in taken:
                _fail(delivery)
            raise
        for delivery, answer in zip(taken, answers, strict=True):
            if not delivery.done.cancelled():
                delivery.done.set_result(answer)

    def _refuse_delivered(self, work: _Round, source: str, refused: Reject) -> None:
        work.rejects.append((source, refused))
        said = {"connector.name": self._group, "stage": "VALUE_CONVERTER", "exception.message": refused.reason, "class.name": refused.input}
        headers = [(CONNECT + name, text.encode("utf-8", "replace")) for name, text in said.items()]
        work.refused.append((None, refused.payload.encode("utf-8", "surrogatepass"), headers))
        self.numbers.rejects.labels("http").inc()

    async def _round(self, work: _Round, producer: AIOKafkaProducer) -> None:
        """Send all of it and wait until it is acknowledged and the rejects are kept. Raises KafkaError."""
        now = self.clock.now()
        pending: list[asyncio.Future[Any]] = []
        async with self._sending:  # a report may only speak of events that were sent before it
            for origin, events in work.events.items():
                self._hear(origin, events, now)
            for origin in work.reached:
                if origin in self._inputs:
                    self._inputs[origin].behind = self._unread[origin]
            report = self._report(now)
            for partition, parts in work.parts.items():
                values = list(packed(parts))
                for number, value in enumerate(values):
                    headers = [(FRONTIER, report)] if number == len(values) - 1 else []
                    pending.append(await producer.send(self.settings.events_topic, value, partition=partition, headers=headers))
            for key, payload, told in work.refused:
                fits = payload if payload is None or len(payload) <= MOST_REJECT_BYTES else payload[:MOST_REJECT_BYTES]
                pending.append(await producer.send(self.settings.rejects_topic, fits, key=key, headers=told))
        if work.rejects:
            if not await self._kept.keep(work.rejects, work.reached, now, self._stop):
                raise OSError("stopped before the rejects could be kept")
        await asyncio.gather(*pending)
        self.numbers.events.inc(work.count)
        self.numbers.round_events.observe(work.count)

    def _hear(self, origin: str, events: Iterable[Event], now: int) -> None:
        held = self._inputs.setdefault(origin, Input(False, {}))
        for event in events:
            held.sources[event.source] = later(held.sources.get(event.source, (None, None)), mark_of(event, now))

    def _report(self, now: int) -> bytes:
        self._inputs.setdefault(self._address, Input(False, {}))
        return encode_report(Report(now, self._inputs))

    async def _beat(self, producer: AIOKafkaProducer, partitions: int) -> None:
        """Say each second how far time has come, to every partition."""
        while not self._stop.is_set():
            async with self._sending:
                report = self._report(self.clock.now())
                pending = [
                    await producer.send(self.settings.events_topic, b"[]", partition=partition, headers=[(FRONTIER, report)])
                    for partition in range(partitions)
                ]
            await asyncio.gather(*pending)
            if not self.readings:
                self._progress_at = time.monotonic()
            elif self.stuck():
                raise OSError(f"nothing was read for {STUCK_SECONDS:.0f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), BEAT_SECONDS)


def _fail(delivery: Delivery) -> None:
    if not delivery.done.done():
        delivery.done.set_exception(Full(NO_BROKER))


async def _ended(end: Coroutine[Any, Any, None]) -> None:
    """Let go of the broker, without waiting for one that is away."""
    with suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(end, LET_GO_SECONDS)


async def _first_end(tasks: list[asyncio.Future[None]]) -> None:
    """Wait until all end well, or one does not: then the others are cancelled, and its error is raised."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
