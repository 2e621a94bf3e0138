"""What operators do from the page, done by the thread that writes the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tribo.run.commit import Committer
from tribo.run.delivery import Broken
from tribo.show.page.operate import Operation, Operations


def operations_of(committer: Committer) -> Operations:
    """The operations that this process can do."""
    return Operations(refold=_called(committer, lambda item: refold(committer, item)))


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
