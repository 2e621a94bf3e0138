"""The live page: the standards and their gaps, promises about to break, the journeys with most friction, and any journey's story.

Everything from events is text on the page, never markup: Jinja2 escapes, and the content security policy allows no inline script.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web
from aiohttp_sse import sse_response

from tribo.ledger.reader import Reader
from tribo.measure.score import scoreboard
from tribo.measure.standards import Standards
from tribo.pseudonym import key_of_environment, pseudonym
from tribo.show.words import holder, last_revisions, sentence, span
from tribo_schemas.event import stamp

HERE = Path(__file__).parent
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
LOOK_EVERY_SECONDS = 1.0
MOST_STREAMS = 500
STATIC = {"tribo.css": "text/css", "tribo.js": "text/javascript"}

ReaderFactory = Callable[[], Reader]


def _wall() -> int:
    return time.time_ns() // 1_000_000


def page_routes(
    reader_factory: ReaderFactory, standards: Standards, settings: object, now: Callable[[], int] = _wall
) -> list[web.RouteDef]:
    """GET / and /parts (its live parts), /journeys/ITEM, /stream (says when something changed), /static/….

    `now` is the clock that the dues are held against, UTC milliseconds: the demo's runs faster than the host's."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"span": span, "stamp": stamp, "sentence": sentence}
    environment.globals["holder"] = holder
    key = key_of_environment()
    streams = 0

    def shown(customer: str | None) -> str:
        return "unknown" if customer is None else pseudonym(customer, key)

    def answer(template: str, **values: Any) -> web.Response:
        text = environment.get_template(template).render(shown=shown, **values)
        return web.Response(text=text, content_type="text/html", headers={**SECURITY, "Cache-Control": "no-store"})

    async def read(look: Callable[[Reader], Any]) -> Any:
        def run() -> Any:
            reader = reader_factory()
            try:
                return look(reader)
            finally:
                reader.close()

        return await asyncio.get_running_loop().run_in_executor(None, run)

    def now_parts(reader: Reader) -> dict[str, Any]:
        return {
            "board": scoreboard(standards, reader.tallies()),
            "risks": reader.at_risk(25),
            "journeys": reader.journeys(25),
            "sources": reader.sources(),
            "size": reader.size(),
            "now": now(),
        }

    def overview(template: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def view(request: web.Request) -> web.StreamResponse:
            return answer(template, **await read(now_parts))

        return view

    async def journey(request: web.Request) -> web.StreamResponse:
        item = request.match_info["item"]
        story = await read(lambda reader: reader.journey(item))
        if story is None:
            response = answer("missing.html", item=item[:200])
            response.set_status(404)
            return response
        last = last_revisions(story.findings)
        told = [one for one in story.findings if one.revision == last[one.finding.id]]
        entries = sorted(
            [(event.time, 0, event, None) for event in story.events] + [(one.finding.at, 1, None, one) for one in told],
            key=lambda entry: entry[:2],
        )
        return answer("journey.html", row=story.row, entries=entries)

    async def stream(request: web.Request) -> web.StreamResponse:
        nonlocal streams
        if streams >= MOST_STREAMS:
            return web.Response(status=503, headers={**SECURITY, "Retry-After": "30"})
        streams += 1
        try:
            async with sse_response(request, headers=SECURITY) as response:
                version = None
                while response.is_connected():
                    size = await read(lambda reader: reader.size())
                    if size["version"] != version:
                        version = size["version"]
                        await response.send(str(version), event="changed")
                    await asyncio.sleep(LOOK_EVERY_SECONDS)
                return response
        finally:
            streams -= 1

    async def static(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in STATIC:
            raise web.HTTPNotFound(headers=SECURITY)
        return web.Response(body=(HERE / "static" / name).read_bytes(), content_type=STATIC[name], headers=SECURITY)

    return [
        web.get("/", overview("index.html")),
        web.get("/parts", overview("parts.html")),
        web.get("/journeys/{item:.+}", journey),
        web.get("/stream", stream),
        web.get("/static/{name}", static),
    ]
