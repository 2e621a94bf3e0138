"""Rejects of `wire` workers in the ledger: each record once, however often it is read.

They stand under a partition number of their own. How far a topic's rejects are kept moves in the same transaction, so that records
read again after a crash leave no second reject.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from tribo.ledger.database import NoRoom, Outpaced, Unreachable
from tribo.ledger.ledger import Ledger
from tribo.measure.advance import Frontier
from tribo.measure.standards import Standards
from tribo.wire.rejects import Reject

log = logging.getLogger("tribo")
PARTITION = -1
AGAIN_SECONDS = 1.0
Said = tuple[str, Reject]
"""A source ('' if it can't be told) and the reject."""


class KeptRejects:
    """Writes rejects; opens the ledger when there is the first."""

    def __init__(self, database: str, standards: Standards, standards_text: str) -> None:
        self.failing = False
        self._database, self._standards, self._text = database, standards, standards_text
        self._ledger: Ledger | None = None

    async def keep(self, rejects: Sequence[Said], reached: Mapping[str, int], now: int, ended: asyncio.Event) -> bool:
        """Keep them, and try again for as long as the database is away; False when `ended` came first.

        `reached`: by input of a topic, the offset up to which this covers its records. `now` in UTC ms.
        """
        while not ended.is_set():
            try:
                await asyncio.to_thread(self._keep, rejects, reached, now)
            except Outpaced:
                continue  # another worker kept some at the same moment
            except (Unreachable, NoRoom) as error:
                if not self.failing:
                    log.error("wire: rejects can't be kept (%s); nothing goes on until they can", error)
                self.failing = True
                try:
                    await asyncio.wait_for(ended.wait(), AGAIN_SECONDS)
                except TimeoutError:
                    continue
            else:
                self.failing = False
                return True
        return False

    def _keep(self, rejects: Sequence[Said], reached: Mapping[str, int], now: int) -> None:
        if self._ledger is None:
            self._ledger = Ledger.open(self._database, self._text, partition=PARTITION)
        places = self._ledger.places()
        kept = {name: position for name, (_, position, _) in places.items()}
        new = [
            (source, refused)
            for source, refused in rejects
            if refused.input not in reached or refused.line >= kept.get(refused.input, 0)
        ]
        inputs = {name: (0, offset, 0) for name, offset in reached.items() if offset > kept.get(name, 0)}
        if new:
            self._ledger.apply([], Frontier(now=now), self._standards, rejects=new, inputs=inputs)

    def close(self) -> None:
        """Let the ledger go."""
        if self._ledger is not None:
            self._ledger.close()
