"""The port of a worker: `/metrics`, and `/livez` and `/readyz` that mean it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from tribo.run.distributed.settings import Distributed
from tribo.run.settings import is_loopback
from tribo_schemas.config import BadConfig


class Probed(Protocol):
    """What can be asked how it is."""

    def unready(self) -> str | None:
        """Why it does not do its work at the moment, or None."""
        ...

    def stuck(self) -> bool:
        """Whether it should be started again."""
        ...


def probe_routes(probed: Probed, registry: CollectorRegistry) -> list[web.RouteDef]:
    """The routes; 503 says why."""

    async def livez(_: web.Request) -> web.Response:
        stuck = probed.stuck()
        return web.json_response({"live": not stuck}, status=503 if stuck else 200)

    async def readyz(_: web.Request) -> web.Response:
        reason = await asyncio.to_thread(probed.unready)
        said = {"ready": True} if reason is None else {"ready": False, "reason": reason}
        return web.json_response(said, status=200 if reason is None else 503)

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", make_aiohttp_handler(registry))]


def check_address(settings: Distributed) -> None:
    """Raises BadConfig: the address is open to others without a token."""
    if not is_loopback(settings.host) and settings.token is None:
        raise BadConfig(
            f"host: {settings.host} can be reached by others: set token (TRIBO_TOKEN, 16 letters or more), or leave host at 127.0.0.1"
        )


async def listen(app: web.Application, settings: Distributed) -> tuple[web.AppRunner, str]:
    """Serve an application at the settings' address; returns what ends it, and the address. Raises BadConfig."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=3.0, keepalive_timeout=30.0, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        raise BadConfig(f"{settings.host}:{settings.port}: can't be listened on ({error.strerror}); name another port") from None
    host, port = runner.addresses[0][:2]
    return runner, f"http://{f'[{host}]' if ':' in host else host}:{port}/"
