"""From the ledger to `tribo.findings` and `tribo.journeys`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tribo.run.distributed import Distributed
from tribo.run.share import Share


class Publisher:
    """Sends what changed, a partition at a time and in the order of its transactions."""

    def __init__(self, settings: Distributed) -> None:
        self._settings = settings

    async def publish(self, share: Share, in_thread: Callable[..., Any]) -> None:
        """Send what changed since the last time."""

    async def stop(self) -> None:
        """Let the broker go."""
