"""What operators do from the page, done by the thread that writes the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from tribo.ledger.ledger import Reader
from tribo.run.commit import Committer
from tribo.run.delivery import Broken, Busy, Full
from tribo.run.rejects import replay_through, told
from tribo.show.page.operate import Operation, Operations


def operations_of(committer: Committer) -> Operations:
    """The operations that this process can do."""
    return Operations(refold=_called(committer, lambda item: refold(committer, item)), replay=partial(_replay, committer))


async def _replay(committer: Committer, source: str) -> str:
    try:
        done = await replay_through(lambda: Reader(committer.ledger.where), committer, committer.clock.wall(), source or None)
    except (Busy, Full, Broken):
        return "The ledger can't be written now; come again."
    return "; ".join(" ".join(line.split()) for line in told(done)) + "."


def _called(committer: Committer, what: Callable[[str], str]) -> Operation:
    async def operation(about: str) -> str:
        try:
            return await asyncio.wrap_future(committer.call(lambda: what(about)))
        except Broken:
            return "The ledger can't be written now; nothing was done."

    return operation


def refold(committer: Committer, item: str) -> str:
    """Fold the history of an item anew, from its events; says what came of it."""
    ledger = committer.ledger
    history = ledger.history_of(item)
    if history is None:
        return f"Nobody has told of {item[:200]}; nothing was done."
    mended = ledger.refold(committer.heard.frontier(committer.clock.now()), committer.standards, [history])
    return f"{item[:200]} was folded anew." if mended else f"{item[:200]} still can't be folded; it stays set aside."
