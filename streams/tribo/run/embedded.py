"""`tribo run`: one process that takes events, keeps the ledger, and shows what it found.

An asyncio loop takes requests and follows files (`ingest.py`); one thread writes (`commit.py`). A request is answered 202 when
its events are on disk, item by item. SIGTERM stops taking, writes what waits, and ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate

from aiohttp import web

from tribo.ledger.ledger import Ledger, Reader
from tribo.run.clock import ReceiveClock
from tribo.run.commit import COMMIT_BOUNDS, Committer
from tribo.run.garbage import collect_seldom
from tribo.run.ingest import Followed, follow, follow_stdin, ingest_application
from tribo.run.notify import tell_of_risks
from tribo.run.operations import operations_of
from tribo.run.rejects import replay_route
from tribo.run.settings import Page as PageAccess
from tribo.run.settings import Settings, addresses, is_loopback
from tribo.run.sources import SHORTEST_TOKEN, Senders, of_environment, remember_mappings
from tribo.run.standards import standards_of
from tribo.show.metrics import Vitals, metrics_routes
from tribo.show.page.access import Access
from tribo.show.page.views import page_routes
from tribo.wire.mapping import Mapping as SourceMapping
from tribo.wire.mapping import brought_by
from tribo_schemas.config import BadConfig

log = logging.getLogger("tribo")
DRAIN_SECONDS = 8.0


def application(committer: Committer, settings: Settings, senders: Senders | None = None) -> web.Application:
    """All routes of the process."""
    token = settings.token
    if token is None and not is_loopback(settings.host):
        token = secrets.token_urlsafe(32)  # nobody has it: only the page and sources with credentials of their own are open to others
    app = ingest_application(committer, token, senders or Senders(settings.sources))
    where = committer.ledger.where
    for routes in _shown_routes(committer, settings):
        app.add_routes(routes(lambda: Reader(where), committer.standards, settings))
    app.add_routes([replay_route(lambda: Reader(where), committer, committer.clock.wall)])
    return app


def access_of(page: PageAccess, token: str | None, environment: Mapping[str, str] | None = None) -> Access:
    """Who may look at the page: with nothing said, this machine alone, without being asked. `token` opens all of it. Raises BadConfig."""
    variables = os.environ if environment is None else environment
    readers = of_environment("page.readers", page.readers or (), variables, SHORTEST_TOKEN)
    operators = of_environment("page.operators", page.operators or (), variables, SHORTEST_TOKEN)
    if set(readers) & {*operators, token}:
        raise BadConfig("page: a reader and an operator have the same token; give each its own")
    if token is not None:
        operators.append(token)
    if page.proxy is None:
        return Access(readers, operators)
    return Access(readers, operators, page.proxy.header, page.proxy.addresses, page.proxy.operators)


def _shown_routes(committer: Committer, settings: Settings) -> list[Callable[..., list[web.RouteDef]]]:
    """Metrics and page."""

    def vitals() -> Vitals:
        commits = zip((*COMMIT_BOUNDS, float("inf")), accumulate(committer.commits), strict=True)
        return Vitals(
            committer.waiting, committer.queue_events, committer.full, committer.broken is not None, committer.behind_seconds(),
            tuple(commits), committer.commit_seconds,
        )  # fmt: skip

    page = partial(
        page_routes, now=committer.clock.wall, access=access_of(settings.page, settings.token), operations=operations_of(committer),
        silent_after=committer.clock.silent_after, dashboards=settings.page.dashboards,
        personal={kind for name in settings.mappings() for kind in SourceMapping.load(name).personal},
    )  # fmt: skip
    return [partial(metrics_routes, vitals=vitals, now=committer.clock.wall), page]


async def _serve(committer: Committer, settings: Settings, senders: Senders, ready: Callable[[str], None] | None) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        application(committer, settings, senders), access_log=None, shutdown_timeout=3.0, keepalive_timeout=30.0, auto_decompress=False
    )
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise BadConfig(f"{settings.host}:{settings.port}: can't be listened on ({error.strerror}); name another port") from None
    committer.start()
    places = committer.ledger.places()
    tasks = [asyncio.ensure_future(follow(committer, Followed(entry), places)) for entry in settings.follow]
    if settings.notify:
        tasks.append(asyncio.ensure_future(tell_of_risks(committer, settings, runner.addresses[0][1])))
    if settings.stdin:
        threading.Thread(target=follow_stdin, args=(committer, loop), name="stdin", daemon=True).start()
    host, port = runner.addresses[0][:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    log.warning("tribo runs at %s", address)
    if ready is not None:
        ready(address)
    while not stop.is_set() and committer.broken is None:
        try:
            await asyncio.wait_for(stop.wait(), 1.0)
        except TimeoutError:
            for task in [task for task in tasks if task.done() and task.exception() is not None]:
                tasks.remove(task)
                log.error("an input is no longer read", exc_info=task.exception())
    for task in tasks:
        task.cancel()
    await site.stop()
    await runner.shutdown()
    await runner.cleanup()  # answers what was asked before; the committer still writes
    await loop.run_in_executor(None, committer.drain, DRAIN_SECONDS)
    return 0 if committer.broken is None else 1


def run_embedded(settings: Settings, ready: Callable[[str], None] | None = None, clock: ReceiveClock | None = None) -> int:
    """Run until SIGTERM or SIGINT; 0 then, 1 when the ledger can't be written any more.

    `ready` is told the address; `clock` is another receive clock than the host's.
    Raises BadConfig before anything is taken: another process has the ledger, a file is wrong, or the address is open to others
    without a token.
    """
    access = access_of(settings.page, settings.token)
    if not is_loopback(settings.host) and access.open:
        raise BadConfig(
            f"host: {settings.host} can be reached by others: set token (TRIBO_TOKEN, 16 letters or more), name readers and operators "
            "or a proxy under `page`, or leave host at 127.0.0.1"
        )
    for entry in settings.follow:
        Followed(entry)
    addresses(settings.notify)
    collect_seldom()
    standards, text = standards_of(settings.standards)
    ledger = Ledger.open(settings.data, text)
    try:
        senders = Senders(settings.sources, known=ledger.remembered())
        remember_mappings(ledger, settings.mappings())
        committer = Committer(
            ledger, standards, queue_events=settings.queue_events, batch_events=settings.batch_events,
            raw_days=settings.raw_days, rejects_days=settings.rejects_days,
            detail_days=settings.detail_days, totals_days=settings.totals_days, clock=clock,
            brings=brought_by(map(SourceMapping.load, settings.mappings())),
        )  # fmt: skip
        return asyncio.run(_serve(committer, settings, senders, ready))
    finally:
        ledger.close()
