"""From the ledger to `tribo.findings` and `tribo.journeys`: what each transaction changed, in order, at least once.

The key is the finding's or the journey's id, the value its row with `revision` and `status`; a row that is no more is a deletion.
Customers, and items of the kinds that mappings call personal, are pseudonyms. A change is sent again after a crash, and two partitions
whose histories met may send in either order: of one id the highest revision holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from zlib import crc32

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tribo.ledger.database import Unreachable
from tribo.ledger.reader import Change, Reader
from tribo.pseudonym import Names, key_of_environment
from tribo.run.distributed.settings import Distributed
from tribo.run.distributed.share import Share
from tribo.wire.mapping import Mapping
from tribo_schemas.config import BadConfig

log = logging.getLogger("tribo")
AT_ONCE = 2_000
ROUNDS = 20
"""How often in a row one partition's changes are sent before the next one's turn."""
_json = msgspec.json.Encoder().encode
InThread = Callable[..., Awaitable[Any]]
Message = tuple[str, bytes, bytes | None]
"""A topic, a key, a value (None: deleted)."""


class Publisher:
    """Sends the changes of one worker's partitions."""

    def __init__(self, settings: Distributed) -> None:
        """Raises BadConfig: no such mapping."""
        self._settings = settings
        personal = {kind for name in settings.mappings() for kind in Mapping.load(name).personal}
        self._names = Names(key_of_environment(), personal)
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}
        self._reader: Reader | None = None
        self._away = False

    async def publish(self, share: Share, in_thread: InThread) -> bool:
        """Send what changed in a partition since the last time; False: the broker is away, and it is sent the next time.

        Raises Outpaced, Unreachable, NoRoom.
        """
        for _ in range(ROUNDS):
            if share.gone or not share.changed:
                return True
            share.changed = False  # what changes from here on is another reason
            messages, upto = await in_thread(self._read, share)
            try:
                await self._send(messages)
            except (KafkaError, OSError) as error:
                if not self._away:
                    log.warning("measure: findings can't be published now (%s); it is tried again", type(error).__name__)
                self._away = share.changed = True
                await self._drop_producer()
                return False
            self._away = False
            share.published += len(messages)
            if upto > share.published_upto:
                async with share.lock:
                    if not share.gone:
                        await in_thread(share.note_published, upto)
                share.changed = share.changed or len(messages) >= AT_ONCE
        return True

    def _read(self, share: Share) -> tuple[list[Message], int]:
        try:
            if self._reader is None:
                self._reader = Reader(self._settings.database)
            with self._reader.db.translated():
                if share.published_upto < 0:
                    share.published_upto = self._reader.published(share.number)
                changes, upto = self._reader.changes(share.number, share.published_upto, AT_ONCE)
        except BadConfig as error:  # there was a ledger when the process began
            raise Unreachable(str(error)) from None
        return [self._message(change) for change in changes], upto

    def _message(self, change: Change) -> Message:
        topic = self._settings.findings_topic if change.kind == "finding" else self._settings.journeys_topic
        key = self._names.text(change.id) if change.kind == "finding" else self._names.item(change.id)
        if change.subject is None:
            return topic, key.encode(), None
        row = self._names.row(change.subject.row())
        return topic, key.encode(), _json(row | {"revision": change.revision, "status": change.status})

    async def _send(self, messages: list[Message]) -> None:
        if not messages:
            return
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._settings.kafka, acks="all", enable_idempotence=True, max_batch_size=500_000,
                request_timeout_ms=20_000,
            )  # fmt: skip
            self._producer = producer
            await producer.start()
            for topic in (self._settings.findings_topic, self._settings.journeys_topic):
                self._partitions[topic] = len(await producer.partitions_for(topic))
        pending = []
        for topic, key, value in messages:
            pending.append(await self._producer.send(topic, value, key=key, partition=crc32(key) % self._partitions[topic]))
        await asyncio.gather(*pending)

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), 5)
            except (KafkaError, OSError, TimeoutError):
                log.warning("measure: a producer could not be ended in good order")

    async def stop(self) -> None:
        """Let the broker and the ledger go."""
        await self._drop_producer()
        if self._reader is not None:
            self._reader.close()
