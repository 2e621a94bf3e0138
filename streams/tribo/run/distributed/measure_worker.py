"""`tribo worker measure`: a Faust app over `tribo.events` whose truth is the ledger.

Faust gives membership, the dealing of partitions, fetching, the agent and the timer. Where to read on is the ledger's word alone:
whenever partitions are dealt, and whenever something does not fit, a partition is sought to the ledger's offset. Each held partition
(`Share`) has an inbox; what is in it is folded in a thread, a transaction for all of it, and the timer lets its deadlines fire and
publishes what changed, under the same lock. A record's own fault is rejected; a database that is away is waited for; anything else
ends the process, since whoever goes on after a fault of its own can't say what it lost.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from tribo.ledger.database import NoRoom, Outpaced, Unreachable
from tribo.ledger.ledger import Ledger
from tribo.measure.standards import Standards
from tribo.run.clock import ReceiveClock
from tribo.run.distributed.measure_numbers import Numbers
from tribo.run.distributed.publish import Publisher
from tribo.run.distributed.records import FRONTIER
from tribo.run.distributed.settings import Distributed
from tribo.run.distributed.share import Got, Share
from tribo.wire.mapping import Mapping as SourceMapping
from tribo.wire.mapping import brought_by
from tribo_schemas.config import BadConfig

log = logging.getLogger("tribo")
TICK_SECONDS = 1.0
TICKS_AT_ONCE = 20
STARVED_SECONDS = 15.0
MOST_SEEKS = 4
MOST_TRIES = 50
STUCK_SECONDS = 60.0
BEHIND_SECONDS = 60.0
AGAIN_SECONDS = 1.0
INBOX_RECORDS = 64
MOST_BYTES_AT_ONCE = 2 << 20
THREADS = 4
HISTORIES_KEPT = 40_000
"""How many histories a worker keeps in memory, over all its partitions."""
DAY = 86_400_000
HOUR_SECONDS = 3600.0
DRAIN_SECONDS = 5.0
Given = TypeVar("Given")


class Stale(Exception):
    """A topic ends before the ledger's offset: it was deleted and made anew."""


class _Unfiltered(dict[TP, int | None]):
    """Stands for what Faust notes down as read. It would drop what is read again, whenever a note is made just after a seek: a record
    on its way then overwrites where to begin. `Offsets` says what to take, and nothing else does."""

    def __getitem__(self, _: TP) -> None:
        return None

    def __setitem__(self, _: TP, __: int | None) -> None:
        return None

    def update(self, *_: Any, **__: Any) -> None:
        """Forget it."""


class _Consumer(driver.Consumer):
    """Faust's consumer, but for where it begins, and what it drops: what Kafka thinks was committed is not asked."""

    worker: MeasureWorker

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._read_offset = _Unfiltered()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to the ledger's offset."""
        offsets = await self.worker.take_up(self.assignment())
        await self.seek_wait(offsets)
        return offsets


class MeasureWorker:
    """One worker of the group."""

    def __init__(
        self, settings: Distributed, standards: Standards, standards_text: str, clock: Callable[[], ReceiveClock] = ReceiveClock
    ) -> None:
        self.settings = settings
        self.numbers = Numbers(self)
        self.shares: dict[int, Share] = {}
        self.failed: BaseException | None = None
        self.database_away = False
        self.ended = asyncio.Event()
        self._standards, self._text, self._clock = standards, standards_text, clock
        self._brings = brought_by(map(SourceMapping.load, settings.mappings()))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fold")
        self._works: dict[int, asyncio.Task[None]] = {}
        self._taking_up = asyncio.Lock()
        self._publisher = Publisher(settings)
        self._dealt_at = time.monotonic()
        self._expires_at = self._dealt_at + 60
        self.app = self._faust()

    def _faust(self) -> faust.App:
        brokers = ";".join(f"kafka://{address.strip()}" for address in self.settings.kafka.split(","))
        app = faust.App(
            f"{self.settings.prefix}.measure", broker=brokers, store="memory://", datadir=tempfile.gettempdir(), autodiscover=False,
            web_enabled=False, topic_disable_leader=True, topic_allow_declare=False, consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=None if self.settings.instance is None else f"{self.settings.instance}.measure",
            broker_session_timeout=6.0, broker_heartbeat_interval=2.0, broker_request_timeout=20.0, broker_max_poll_records=100,
            stream_buffer_maxsize=16, stream_wait_empty=False, worker_redirect_stdouts=False, processing_guarantee="at_least_once",
        )  # fmt: skip
        consumer = type("LedgerConsumer", (_Consumer,), {"worker": self})
        app.transport.Consumer = consumer  # type: ignore[misc] # this app's transport, no other's
        topic = app.topic(
            self.settings.events_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False
        )

        async def arrive(stream: faust.StreamT[bytes]) -> None:
            try:
                async for event in stream.events():
                    await self._arrive(event.message)
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                self.fail(error)

        app.agent(topic, name="events")(arrive)
        app.timer(TICK_SECONDS, name="time")(self._pass_time)
        app.timer(TICK_SECONDS, name="publish")(self._publish)
        return app

    # -- life ------------------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Work until `stop`; 0 then, 1 when something failed that can't be mended from within."""
        await self.app.start()
        try:
            while not self.ended.is_set():
                try:
                    await asyncio.wait_for(self.ended.wait(), 0.5)
                except TimeoutError:
                    if self.app.crashed:
                        self.fail(self.app.crash_reason or RuntimeError("Faust has ended"))
                    elif self.stuck():
                        self.fail(RuntimeError("nothing moves any more"))
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._let_all_go(), DRAIN_SECONDS)
            with suppress(TimeoutError):  # Faust waits for a broker that is away
                await asyncio.wait_for(self.app.stop(), DRAIN_SECONDS)
        return 0 if self.failed is None else 1

    async def _let_all_go(self) -> None:
        for number in list(self.shares):
            await self._let_go(number)
        await self._publisher.stop()

    def stop(self) -> None:
        """End in good order: what was begun is committed, the rest is read by others."""
        self.ended.set()

    def fail(self, error: BaseException) -> None:
        """This process can't go on."""
        if self.failed is None:
            self.failed = error
            log.critical("measure: ends, to be started again: %s: %s", type(error).__name__, error, exc_info=error)
        self.ended.set()

    def unready(self) -> str | None:
        """Why this worker does not do its work, or None."""
        if self.database_away:
            return "the ledger's database can't be reached"
        if self.app.rebalancing:
            return "partitions are being dealt"
        if not self.shares:
            return "no partition is assigned"
        now = time.monotonic()
        late = [number for number, share in self.shares.items() if share.behind_since and now - share.behind_since > BEHIND_SECONDS]
        if late:
            return f"partitions {', '.join(map(str, sorted(late)))} have been behind for more than {BEHIND_SECONDS:.0f} s"
        return None

    def stuck(self) -> bool:
        """Whether for a minute a partition with records to read hasn't moved though the database is there, or no deal was reached."""
        now = time.monotonic()
        if not self.app.rebalancing:
            self._dealt_at = now
        return not self.database_away and (
            now - self._dealt_at > STUCK_SECONDS
            or any(share.behind and now - share.moved_at > STUCK_SECONDS for share in self.shares.values())
        )

    async def _in_thread(self, work: Callable[..., Given], *arguments: Any) -> Given:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    # -- partitions --------------------------------------------------------------------------------------------------------

    async def take_up(self, assigned: set[TP]) -> dict[TP, int]:
        """Hold these partitions and no others; returns where to read on in each. Ends the process if a topic was made anew."""
        async with self._taking_up:
            wanted = {place.partition: place for place in assigned if place.topic == self.settings.events_topic}
            for number in [number for number in self.shares if number not in wanted]:
                await self._let_go(number)
            offsets: dict[TP, int] = {}
            for number, place in wanted.items():
                share = self.shares.get(number)
                if share is None:
                    share = await self._until_reachable(self._hold, number)
                    if share is None:
                        return offsets
                    self.shares[number] = share
                    self._works[number] = asyncio.create_task(self._work(share))
                async with share.lock:
                    if await self._until_reachable(share.ledger.reread) is None:
                        return offsets
                    offsets[place] = share.take_up_again()
                    share.moved_at = time.monotonic()
            for share in self.shares.values():
                share.ledger.histories_kept = HISTORIES_KEPT // len(self.shares)
            await self._note_ends(wanted)
            return offsets

    def _hold(self, number: int) -> Share:
        ledger = Ledger.open(self.settings.database, self._text, partition=number)
        return Share(number, ledger, self._standards, self._clock(), self._brings)

    async def _let_go(self, number: int) -> None:
        share = self.shares.pop(number)
        share.gone = True
        share.arrived.set()
        share.room.set()
        await self._works.pop(number)
        async with share.lock:  # the timer may be at it
            self.numbers.let_go(number, share.counts())
            await self._in_thread(share.close)

    async def _until_reachable(self, work: Callable[..., Given], *arguments: Any) -> Given | None:
        """Do it, and again for as long as the database is away; None when the process ends meanwhile."""
        while not self.ended.is_set():
            try:
                done = await self._in_thread(work, *arguments)
            except (Unreachable, NoRoom, Outpaced, BadConfig) as error:  # the configuration was right when the process began
                self._away(error)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self.database_away = False
                return done
        return None

    def _away(self, error: Exception) -> None:
        if not isinstance(error, Outpaced):
            if not self.database_away:
                log.error("measure: %s; it is tried again each second", error)
            self.database_away = True

    async def _note_ends(self, wanted: Mapping[int, TP]) -> None:
        ends = await self.app.consumer.highwaters(*wanted.values()) if wanted else {}
        for place, end in ends.items():
            share = self.shares[place.partition]
            share.high = end or 0
            if share.high < share.ledger.offset:
                self.fail(Stale(
                    f"{place.topic}/{place.partition} ends at offset {share.high}, but the ledger has read it up to {share.ledger.offset}: "
                    "the topic was deleted and made anew. Give the new one another name (prefix), or begin with an empty ledger"
                ))  # fmt: skip

    # -- records -----------------------------------------------------------------------------------------------------------

    async def _arrive(self, message: Any) -> None:
        share = self.shares.get(message.partition)
        if share is None or share.gone:
            return
        verdict = share.offsets.judge(message.offset)
        if verdict == "seek":
            log.warning(
                "measure: partition %s: offset %s came where %s should; read again", share.number, message.offset, share.offsets.following
            )
            await self._seek(share)
        elif verdict == "take":
            share.high = max(share.high, message.offset + 1, self._high(share))
            report = next((value for name, value in _pairs(message.headers) if name == FRONTIER), None)
            got = Got(message.offset, message.value or b"", report, int(message.timestamp * 1000))
            share.inbox.append(got)
            share.inbox_bytes += len(got.value)
            share.moved_at = time.monotonic()
            share.arrived.set()
            if len(share.inbox) >= INBOX_RECORDS or share.inbox_bytes >= MOST_BYTES_AT_ONCE:
                share.room.clear()
                await share.room.wait()

    def _high(self, share: Share) -> int:
        """The offset that the next record of the partition will have, as the last fetch said; 0: not known."""
        try:
            return self.app.consumer.highwater(TP(self.settings.events_topic, share.number)) or 0
        except AssertionError:  # aiokafka's word for a partition that is being dealt to another worker
            return 0

    async def _seek(self, share: Share) -> None:
        """Read again from where the share is. What fails here is seen by `_watch`, which tries again."""
        place = TP(self.settings.events_topic, share.number)
        share.sought += 1
        share.moved_at = time.monotonic()
        with suppress(KafkaError, TimeoutError):
            if place in self.app.consumer.assignment():
                await self.app.consumer.seek_wait({place: share.offsets.following})

    async def _work(self, share: Share) -> None:
        """Fold what comes in, until the share is let go."""
        try:
            while not share.gone:
                await share.arrived.wait()
                share.arrived.clear()
                while share.inbox and not share.gone:
                    async with share.lock:
                        records = self._next(share)
                        if records:
                            await self._fold(share, records)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    def _next(self, share: Share) -> list[Got]:
        records: list[Got] = []
        size = 0
        while share.inbox and (not records or size + len(share.inbox[0].value) <= MOST_BYTES_AT_ONCE):
            records.append(share.inbox.popleft())
            size += len(records[-1].value)
        share.inbox_bytes -= size
        share.room.set()
        return records

    async def _fold(self, share: Share, records: list[Got]) -> None:
        """One transaction: tried again while the database is away or somebody is in the way, dropped when another moved the partition."""
        while not share.gone:
            began = time.monotonic()
            try:
                count = await self._in_thread(share.fold, records, share.behind)
            except (Outpaced, Unreachable, NoRoom) as error:
                if not await self._again(share, error):
                    return
            else:
                self.database_away = False
                share.moved_at = time.monotonic()
                self.numbers.batch(share.number, count, time.monotonic() - began)
                return

    async def _again(self, share: Share, error: Exception) -> bool:
        """After a failed transaction: whether the same may be tried again. If not, the share goes by the ledger from here on."""
        self._away(error)
        if isinstance(error, Outpaced):
            share.outpaced += 1
        else:
            await asyncio.sleep(AGAIN_SECONDS)
        if share.gone or await self._until_reachable(share.ledger.reread) is None:
            return False
        if share.unmoved():
            return True
        log.warning("measure: partition %s was moved by another worker; read again from %s", share.number, share.ledger.offset)
        share.take_up_again()
        await self._seek(share)
        return False

    # -- time --------------------------------------------------------------------------------------------------------------

    def _active(self) -> dict[int, Share]:
        """The shares that are this worker's now; none while partitions are dealt."""
        if self.app.rebalancing or self.app.in_recovery or self.ended.is_set():
            return {}
        assigned = {place.partition for place in self.app.consumer.assignment() if place.topic == self.settings.events_topic}
        return {number: share for number, share in self.shares.items() if number in assigned and not share.gone}

    async def _pass_time(self) -> None:
        """Once a second: let deadlines fire, and look after partitions that don't move."""
        try:
            await asyncio.gather(*(self._tick(share) for share in self._active().values()))
            await self._expire()
            for share in self._active().values():
                await self._watch(share)
            if not (self.app.rebalancing or self.app.in_recovery) and len(self.app.consumer.assignment()) > len(self.shares):
                await self._missing()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    async def _publish(self) -> None:
        """Once a second: send what changed."""
        try:
            for share in self._active().values():
                try:
                    if not await self._publisher.publish(share, self._in_thread):
                        break
                except (Outpaced, Unreachable, NoRoom) as error:
                    share.changed = True
                    self._away(error)  # the next transaction finds out where the ledger stands
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    async def _tick(self, share: Share) -> None:
        """Let deadlines fire, a few transactions at most; between them events that have come have their turn."""
        for _ in range(TICKS_AT_ONCE):
            async with share.lock:
                try:
                    woken = 0 if share.gone else await self._in_thread(share.tick)
                    self.database_away = False
                except (Outpaced, Unreachable, NoRoom) as error:
                    await self._again(share, error)
                    return
            if not woken:
                return

    async def _expire(self) -> None:
        """Now and then, whoever holds the first partition lets go of what is older than its retention."""
        share = self._active().get(0)
        if share is None or time.monotonic() < self._expires_at:
            return
        kept = (self.settings.rejects_days * DAY, self.settings.detail_days * DAY, self.settings.totals_days * DAY)
        async with share.lock:
            if share.gone:
                return
            try:
                more = await self._in_thread(share.expire, *kept)
            except (Outpaced, Unreachable, NoRoom) as error:
                await self._again(share, error)
                return
        self._expires_at = time.monotonic() + (0 if more else HOUR_SECONDS)

    async def _watch(self, share: Share) -> None:
        """A partition with records to read that doesn't move is sought again; when that doesn't help, the process ends."""
        now = time.monotonic()
        share.high = max(share.high, self._high(share))
        if not share.behind:
            share.behind_since, share.sought = None, 0
            return
        share.behind_since = share.behind_since or now
        if not share.inbox and not share.lock.locked() and now - share.moved_at > STARVED_SECONDS:
            if share.sought > MOST_SEEKS:
                self.fail(RuntimeError(f"partition {share.number} is not read any more, though it is assigned"))
                return
            log.warning("measure: partition %s has records but is not read; sought again", share.number)
            async with share.lock:
                share.take_up_again()
                await self._seek(share)

    async def _missing(self) -> None:
        """Partitions that were dealt without having been taken up: the database was away then."""
        consumer = self.app.consumer
        await consumer.seek_wait(await self.take_up(consumer.assignment()))


def _pairs(headers: Any) -> list[tuple[str, bytes]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())


def check_database(settings: Distributed, text: str) -> None:
    """Open the ledger once, so that what is wrong with it is said before anything starts. Raises BadConfig."""
    for _ in range(MOST_TRIES):
        try:
            Ledger.open(settings.database, text, partition=0).close()
        except Unreachable as error:
            raise BadConfig(str(error)) from None
        except Outpaced:
            continue  # another worker began at the same moment
        return
