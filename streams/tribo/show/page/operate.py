"""What operators may do from the page. The page itself only reads: whoever writes the ledger hands these in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Operation = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Operations:
    """Each takes what it is about, and says in a sentence what was done; None: can't be done from this page."""

    replay: Operation | None = None
    """Rejected records of a source ('': of all) are tried again."""
    refold: Operation | None = None
    """The history of an item is folded anew."""
    erase: Operation | None = None
    """A customer, by their plain id."""
