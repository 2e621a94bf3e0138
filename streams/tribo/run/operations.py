"""What operators do from the page, done through the thread that writes the ledger."""

from __future__ import annotations

import asyncio

from tribo.ledger.ledger import Reader
from tribo.run.commit import Committer
from tribo.run.delivery import Broken, Busy, Full
from tribo.run.rejects import replay_through, told
from tribo.show.page.operate import Operations

NOT_NOW = "The ledger can't be written now; nothing more was done."


def operations_of(committer: Committer) -> Operations:
    """The operations that this process can do."""

    async def replay(source: str) -> str:
        try:
            done = await replay_through(lambda: Reader(committer.ledger.where), committer, committer.clock.wall(), source or None)
        except (Busy, Full, Broken):
            return NOT_NOW
        return "; ".join(" ".join(line.split()) for line in told(done)) + "."

    async def take_up(item: str) -> str:
        try:
            return await asyncio.wrap_future(committer.call(lambda: refold(committer, item)))
        except Broken:
            return NOT_NOW

    async def forget(customer: str) -> str:
        try:
            return await asyncio.wrap_future(committer.call(lambda: erase(committer, customer)))
        except Broken:
            return NOT_NOW

    return Operations(replay=replay, refold=take_up, erase=forget)


def refold(committer: Committer, item: str) -> str:
    """Fold the history of an item anew, from its events; says what came of it."""
    ledger = committer.ledger
    history = ledger.history_of(item)
    if history is None:
        return f"Nobody has told of {item[:200]}; nothing was done."
    mended = ledger.refold(committer.heard.frontier(committer.clock.now()), committer.standards, [history])
    return f"{item[:200]} was folded anew." if mended else f"{item[:200]} still can't be folded; it stays set aside."


def erase(committer: Committer, customer: str) -> str:
    """Erase a customer; says how much went, without the name."""
    if not customer:
        return "No customer was named; nothing was erased."
    gone = committer.ledger.erase(customer, committer.heard.frontier(committer.clock.now()), committer.standards)
    return f"{gone.events} events, {gone.journeys} journeys, {gone.raw} raw records and {gone.rejects} rejects were erased."
