"""A ledger to look at: some weeks of the invented company, taken day by day, and the page over it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tribo.ledger.database import Where
from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import Standards, compile_standards
from tribo.run.company import DAY, company
from tribo.run.demo import STANDARDS, START
from tribo.show.page.views import page_routes
from tribo_schemas.event import Event, event_of
from tribo_schemas.standard import load_standards

DAYS = 30
RULES: Standards = compile_standards(load_standards(STANDARDS))
NOW = START + DAYS * DAY


def fill(where: Where, days: int = DAYS, orders_per_day: int = 12) -> int:
    """Take the company's events day by day; returns the instant at which it ends (UTC ms)."""
    with contextlib.closing(Ledger.open(where, STANDARDS.read_text("utf-8"))) as ledger:
        batch: list[Event] = []
        day = START + DAY
        for row in company(7, START, orders_per_day):
            event = event_of(row)
            while event.time >= day:
                take(ledger, batch, day)
                batch, day = [], day + DAY
                if day > START + days * DAY:
                    return START + days * DAY
            batch.append(event)
    raise AssertionError("the company never ends")


def take(ledger: Ledger, events: Sequence[Event], now: int, standards: Standards = RULES) -> None:
    """Events, and all that time decides up to `now`."""
    frontier = Frontier(now, complete=True)
    ledger.apply(events, frontier, standards, received_at=now)
    while ledger.tick(frontier, standards):
        pass


@asynccontextmanager
async def page(where: Where, now: Callable[[], int] = lambda: NOW, standards: Standards = RULES, **more: Any) -> AsyncIterator[TestClient[Any, Any]]:
    """The page's routes over a ledger."""
    app = web.Application()
    app.add_routes(page_routes(lambda: Reader(where), standards, None, now=now, **more))
    async with TestClient(TestServer(app)) as client:
        yield client
