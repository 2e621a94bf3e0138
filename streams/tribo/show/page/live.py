"""Saying to many browsers that something has changed, without any of them holding up the others.

One look at the ledger a second serves all. A browser that is slow is told the newest version when it can take it again: what waits
for it is one number, whatever happened meanwhile. An event's id is the version, so a browser that comes back (`Last-Event-ID`) is told
at once if it missed something, and nothing if it did not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

log = logging.getLogger("tribo")
LOOK_EVERY_SECONDS = 1.0
ALIVE_EVERY_SECONDS = 15.0
WRITE_WITHIN_SECONDS = 20.0
"""A browser that takes nothing for so long is let go; it comes again by itself."""
MOST_STREAMS = 1000


class Stream:
    """The versions as they come, for any number of browsers."""

    def __init__(self, version: Callable[[], Awaitable[int]]) -> None:
        self._version = version
        self._changed = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self.current: int | None = None
        self.readers = 0

    async def answer(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        """Serve one browser until it goes."""
        if self.readers >= MOST_STREAMS:
            return web.Response(status=503, headers={**headers, "Retry-After": "30"})
        self.readers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await response.prepare(request)
            await self._tell(request, response)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self.readers -= 1
            if not self.readers and self._looking is not None:
                self._looking.cancel()
                self._looking = None
        return response

    async def _news(self, told: int | None) -> None:
        """Wait for a version that has not been told. Raises TimeoutError."""
        async with asyncio.timeout(ALIVE_EVERY_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.current != told)

    async def _tell(self, request: web.Request, response: web.StreamResponse) -> None:
        heard = request.headers.get("Last-Event-ID", "")
        told = int(heard) if heard.isascii() and heard.isdigit() and len(heard) < 19 else None
        await self._write(response, b"retry: 2000\n\n")
        while request.transport is not None and not request.transport.is_closing():
            if self.current is not None and self.current != told:
                told = self.current
                await self._write(response, f"id: {told}\nevent: changed\ndata: {told}\n\n".encode())
            try:
                await self._news(told)
            except TimeoutError:
                await self._write(response, b": alive\n\n")

    @staticmethod
    async def _write(response: web.StreamResponse, text: bytes) -> None:
        async with asyncio.timeout(WRITE_WITHIN_SECONDS):
            await response.write(text)

    async def _look(self) -> None:
        while True:
            try:
                version = await self._version()
            except Exception as error:
                log.warning("the page can't look at the ledger (%s)", type(error).__name__)
            else:
                if version != self.current:
                    async with self._changed:
                        self.current = version
                        self._changed.notify_all()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
