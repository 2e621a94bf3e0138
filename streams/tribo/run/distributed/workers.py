"""The processes of the distributed form: `tribo worker wire`, `tribo worker measure`, `tribo serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import NoReturn

from aiohttp import web
from prometheus_client import CollectorRegistry

from tribo.ledger.reader import Reader
from tribo.pseudonym import Names, key_of_environment
from tribo.run.clock import ReceiveClock
from tribo.run.distributed.probes import check_address, listen, probe_routes
from tribo.run.distributed.settings import Distributed
from tribo.run.embedded import access_of
from tribo.run.garbage import collect_seldom
from tribo.run.ingest import guard, ingest_application
from tribo.run.notify import tell_from_database
from tribo.run.settings import addresses
from tribo.run.sources import Senders
from tribo.run.standards import standards_of
from tribo.wire.mapping import Mapping
from tribo_schemas.config import BadConfig

log = logging.getLogger("tribo")
DRAIN_SECONDS = 8.0


def _log() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # a timer that waits its turn is no fault


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _end(code: int) -> NoReturn:
    """End now: what had to be kept is kept, and threads that wait for a broker that is away would hold the process up."""
    logging.shutdown()
    os._exit(code)


def name_of(settings: Distributed) -> str:
    """What tells this worker from the others of its group."""
    return settings.instance or f"{socket.gethostname()}-{os.getpid()}"


def run_wire(settings: Distributed) -> int:
    """Run a `wire` worker until SIGTERM or SIGINT; 0 then. Raises BadConfig before anything is taken."""
    from tribo.run.distributed.wire_worker import WireWorker

    _log()
    check_address(settings)
    standards, text = standards_of(settings.standards)
    senders = Senders(settings.sources)

    async def serve() -> None:
        worker = WireWorker(settings, name_of(settings), standards, text)
        app = ingest_application(worker, settings.token, senders, probe_routes(worker, worker.numbers.registry))
        runner, address = await listen(app, settings)
        _on_signals(worker.stop)
        log.warning("wire takes events at %sevents", address)
        collect_seldom()
        await worker.run()
        await runner.cleanup()
        _end(0)

    asyncio.run(serve())
    return 0


def run_measure(settings: Distributed) -> int:
    """Run a `measure` worker until SIGTERM or SIGINT; 0 then, 1 when it has to be started again. Raises BadConfig."""
    from tribo.run.distributed.measure_worker import MeasureWorker, check_database

    _log()
    check_address(settings)
    standards, text = standards_of(settings.standards)
    check_database(settings, text)

    async def serve() -> None:
        worker = MeasureWorker(settings, standards, text)
        app = web.Application(middlewares=[guard(settings.token, Senders({}))])
        app.add_routes(probe_routes(worker, worker.numbers.registry))
        runner, address = await listen(app, settings)
        _on_signals(worker.stop)
        log.warning("measure says how it is at %smetrics", address)
        collect_seldom()
        code = await worker.run()
        await runner.cleanup()
        _end(code)

    asyncio.run(serve())
    return 1


def run_company(settings: Distributed, seed: int) -> int:
    """Publish the invented company to the source topics until SIGTERM or SIGINT. Raises BadConfig."""
    from tribo.run.distributed.company_feed import publish_company

    _log()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    publish_company(settings, seed, ended)
    return 0


class _Served:
    """How `serve` is: ready when the ledger answers."""

    def __init__(self, settings: Distributed) -> None:
        self._settings = settings

    def unready(self) -> str | None:
        """Why nothing can be shown, or None."""
        try:
            Reader(self._settings.database).close()
        except BadConfig as error:
            return str(error)
        return None

    def stuck(self) -> bool:
        """It only reads."""
        return False


def run_serve(settings: Distributed) -> int:
    """Serve page and metrics from the ledger until SIGTERM or SIGINT. Raises BadConfig: no ledger there."""
    from tribo.show.metrics import metrics_routes
    from tribo.show.page.views import page_routes

    _log()
    access = access_of(settings.page, settings.token)
    if access.open:
        check_address(settings)
    standards, _ = standards_of(settings.standards)
    Reader(settings.database).close()
    targets = addresses(settings.notify)
    mappings = [entry.mapping for entry in settings.topics] + [source.mapping for source in settings.sources.values()]
    personal = {kind for name in mappings if name is not None for kind in Mapping.load(name).personal}
    names = Names(key_of_environment(), personal)

    def reader() -> Reader:
        return Reader(settings.database)

    async def serve() -> int:
        stop = asyncio.Event()
        app = web.Application(middlewares=[guard(settings.token, Senders({}))])
        live, ready, _ = probe_routes(_Served(settings), CollectorRegistry())
        app.add_routes([live, ready, *metrics_routes(reader, standards, settings)])
        shown = page_routes(
            reader, standards, settings, now=ReceiveClock().wall, access=access, personal=personal, dashboards=settings.page.dashboards
        )  # fmt: skip
        app.add_routes(shown)
        runner, address = await listen(app, settings)
        _on_signals(stop.set)
        log.warning("the page is at %s", address)
        page = (settings.page.url or address).rstrip("/")
        telling = asyncio.ensure_future(tell_from_database(settings.database, targets, standards, names, page)) if targets else None
        collect_seldom()
        await stop.wait()
        if telling is not None:
            telling.cancel()
        await runner.cleanup()
        return 0

    return asyncio.run(serve())
