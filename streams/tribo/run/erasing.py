"""`tribo erase`: a customer's rows leave the ledger, for good."""

from __future__ import annotations

import contextlib
import time

from tribo.ledger.database import Outpaced, Where, until_taken
from tribo.ledger.ledger import Ledger, Reader
from tribo.ledger.letting_go import Erased
from tribo.measure.advance import Frontier
from tribo.run.standards import standards_kept
from tribo_schemas.config import BadConfig


def erase(data: Where, customer: str) -> Erased:
    """Erase a customer, by their id as events say it, and say how much went. What is left of a history that others share is folded by the
    standards that are in force. Raises BadConfig: another process writes to this folder, or there is no ledger."""
    Reader(data).close()  # only where there is a ledger
    rules, text = standards_kept(data, None)
    with contextlib.closing(Ledger.open(data, text)) as ledger:
        try:
            return until_taken(lambda: ledger.erase(customer, _now(ledger), rules))
        except Outpaced:
            raise BadConfig("the workers write without a pause; try again when less comes in") from None


def _now(ledger: Ledger) -> Frontier:
    heard = {name: mark for name, (mark, _) in ledger.watermarks().items() if mark is not None}
    return Frontier(time.time_ns() // 1_000_000, heard=heard)
