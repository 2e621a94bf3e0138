"""The processes of the distributed form: `tribo worker wire`, `tribo worker measure`, `tribo serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable

from aiohttp import web

from tribo.ledger.reader import Reader
from tribo.run.clock import ReceiveClock
from tribo.run.distributed import Distributed
from tribo.run.embedded import standards_of
from tribo.run.ingest import guard, ingest_application
from tribo.run.probes import check_address, listen, probe_routes
from tribo.run.sources import Senders

log = logging.getLogger("tribo")
DRAIN_SECONDS = 8.0


def _log() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)


def _quiet_collector() -> None:
    """What is loaded stays, and events and states hold no cycles: looking for some costs a tenth of the time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def name_of(settings: Distributed) -> str:
    """What tells this worker from the others of its group."""
    return settings.instance or f"{socket.gethostname()}-{os.getpid()}"


def run_wire(settings: Distributed) -> int:
    """Run a `wire` worker until SIGTERM or SIGINT; 0 then. Raises BadConfig before anything is taken."""
    from tribo.run.wire_worker import WireWorker

    _log()
    check_address(settings)
    standards, text = standards_of(settings.standards)
    senders = Senders(settings.sources)

    async def serve() -> int:
        worker = WireWorker(settings, name_of(settings), standards, text)
        app = ingest_application(worker, settings.token, senders, probe_routes(worker, worker.numbers.registry))
        runner, address = await listen(app, settings)
        _on_signals(worker.stop)
        log.warning("wire takes events at %sevents", address)
        _quiet_collector()
        try:
            await worker.run()
        finally:
            await runner.cleanup()
        return 0

    return asyncio.run(serve())


def run_measure(settings: Distributed) -> int:
    """Run a `measure` worker until SIGTERM or SIGINT; 0 then, 1 when it has to be started again. Raises BadConfig."""
    from tribo.run.measure_worker import MeasureWorker, check_database

    _log()
    check_address(settings)
    standards, text = standards_of(settings.standards)
    check_database(settings, text)

    async def serve() -> int:
        worker = MeasureWorker(settings, standards, text)
        app = web.Application(middlewares=[guard(settings.token, Senders({}))])
        app.add_routes(probe_routes(worker, worker.numbers.registry))
        runner, address = await listen(app, settings)
        _on_signals(worker.stop)
        log.warning("measure says how it is at %smetrics", address)
        _quiet_collector()
        try:
            return await worker.run()
        finally:
            await runner.cleanup()

    return asyncio.run(serve())


def run_serve(settings: Distributed) -> int:
    """Serve page and metrics from the ledger until SIGTERM or SIGINT. Raises BadConfig: no ledger there."""
    from tribo.show.metrics import metrics_routes
    from tribo.show.page.views import page_routes

    _log()
    check_address(settings)
    standards, _ = standards_of(settings.standards)
    Reader(settings.database).close()

    async def serve() -> int:
        stop = asyncio.Event()
        app = web.Application(middlewares=[guard(settings.token, Senders({}))])
        app.add_routes(metrics_routes(lambda: Reader(settings.database), standards, settings))
        app.add_routes(page_routes(lambda: Reader(settings.database), standards, settings, now=ReceiveClock().wall))
        runner, address = await listen(app, settings)
        _on_signals(stop.set)
        log.warning("the page is at %s", address)
        _quiet_collector()
        await stop.wait()
        await runner.cleanup()
        return 0

    return asyncio.run(serve())
