"""Taking events in: over HTTP, from files that grow, and from standard input. What takes them (`Taker`) is the shell's.

A request is answered when the taker has its events for good (`tribo run`: on disk in the ledger), item by item.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from tribo.ledger.ledger import Outcome
from tribo.run.accept import (
    MOST_BODY_BYTES,
    MOST_EVENT_BYTES,
    TooLarge,
    Unreadable,
    event_in,
    event_of_headers,
    inflated,
    items,
    refused,
    source_of,
)  # fmt: skip
from tribo.run.delivery import Broken, Busy, Delivery, Full, Taker
from tribo.run.settings import Follow
from tribo.wire.mapping import Mapping
from tribo.wire.readers import Record
from tribo.wire.rejects import Raw, Reject, reject
from tribo_schemas.config import BadConfig
from tribo_schemas.event import BadEvent, Event

log = logging.getLogger("tribo")
OPEN_TO_ALL = frozenset(("/livez", "/readyz"))
FORMS = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
"""What a page of another site could send without asking: not taken."""
RETRY_SECONDS = "1"
POLL_SECONDS = 0.5
FOLLOWED_AT_ONCE_BYTES = 2 << 20
TAKER: web.AppKey[Taker] = web.AppKey("taker", Taker)
_json = msgspec.json.Encoder().encode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _answer(status: int, fields: dict[str, Any], **headers: str) -> web.Response:
    return web.Response(
        body=_json(fields), status=status, content_type="application/json",
        headers={name.replace("_", "-"): text for name, text in headers.items()},
    )  # fmt: skip


def _decoded(body: bytes, request: web.Request) -> tuple[Delivery, list[int | Reject]]:
    """What to deliver, and for each item of the body its event's place in the delivery, or its reject. Raises TooLarge, Unreadable."""
    delivery = Delivery([], input="POST /events")
    places: list[int | Reject] = []
    binary = "ce-specversion" in request.headers
    raws = [body] if binary else items(body, request.content_type)
    if len(raws) == 1 and len(raws[0]) > MOST_EVENT_BYTES:
        raise TooLarge
    for number, raw in enumerate(raws):
        try:
            event = event_of_headers(raw, request.headers) if binary else event_in(raw)
        except BadEvent as error:
            wrong = refused(delivery.input, number + 1, error, raw)
            places.append(wrong)
            delivery.rejects.append((source_of(raw), wrong))
        else:
            places.append(len(delivery.events))
            delivery.events.append(event)
    delivery.raw.append(Raw(delivery.input, body))
    return delivery, places


async def take_events(request: web.Request) -> web.Response:
    """POST /events: 202 when at least one item is on disk, 400 when all are wrong; both say item by item what became of it."""
    taker = request.app[TAKER]
    if request.content_type in FORMS and "Content-Type" in request.headers:
        return _answer(415, {"error": "send application/json, application/x-ndjson or application/cloudevents+json"})
    try:
        delivery, places = _decoded(inflated(await request.read(), request.headers.get("Content-Encoding", "")), request)
    except (TooLarge, web.HTTPRequestEntityTooLarge):
        return _answer(
            413, {"error": f"at most {MOST_BODY_BYTES} bytes a body and {MOST_EVENT_BYTES} bytes an event; send less at once"}
        )
    except Unreadable as error:
        return _answer(400, {"error": str(error)})
    try:
        outcomes = await asyncio.wrap_future(taker.submit(delivery))
    except Busy:
        return _answer(429, {"error": "more waits than can be written now; come again"}, Retry_After=RETRY_SECONDS)
    except Full:
        return _answer(503, {"error": "the disk is full; nothing was taken, come again"}, Retry_After="5")
    except Broken:
        return _answer(503, {"error": "the ledger is closed; nothing was taken, come again"}, Retry_After="5")
    told, taken = _told(places, outcomes)
    return _answer(202 if taken else 400, {"taken": taken, "rejected": len(told) - taken, "items": told})


def _told(places: Sequence[int | Reject], outcomes: Sequence[Outcome | Reject]) -> tuple[list[dict[str, Any]], int]:
    told: list[dict[str, Any]] = []
    taken = 0
    for index, place in enumerate(places):
        outcome = outcomes[place] if isinstance(place, int) else place
        if isinstance(outcome, Reject):
            told.append({"index": index, "outcome": "rejected", "reason": outcome.reason})
        else:
            told.append({"index": index, "outcome": outcome})
            taken += 1
    return told, taken


async def livez(_: web.Request) -> web.Response:
    """The process answers."""
    return _answer(200, {"live": True})


async def readyz(request: web.Request) -> web.Response:
    """200 when events are taken; else 503 with the reason."""
    taker = request.app[TAKER]
    if taker.broken is not None:
        return _answer(503, {"ready": False, "reason": "the ledger can't be written"})
    if taker.full:
        return _answer(503, {"ready": False, "reason": "the disk is full"})
    return _answer(200, {"ready": True})


def guard(token: str | None) -> Any:
    """Refuse requests without the token (as bearer, or as the password of basic authentication, for browsers)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is None or request.path in OPEN_TO_ALL or hmac.compare_digest(_shown(request).encode(), token.encode()):
            return await handler(request)
        return _answer(401, {"error": "send the token: Authorization: Bearer …"}, WWW_Authenticate='Basic realm="tribo"')

    return check


def _shown(request: web.Request) -> str:
    kind, _, rest = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return rest.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def ingest_application(taker: Taker, token: str | None) -> web.Application:
    """The routes that take events and say how the process is; a shell adds its own."""
    app = web.Application(middlewares=[guard(token)], client_max_size=MOST_BODY_BYTES)
    app[TAKER] = taker
    app.add_routes([web.post("/events", take_events), web.get("/livez", livez), web.get("/readyz", readyz)])
    return app


# -- files that grow, and standard input -----------------------------------------------------------------------------


class Followed:
    """One entry of `follow`: which files, and how a line becomes events."""

    def __init__(self, follow: Follow) -> None:
        """Raises BadConfig: no such mapping, or one that can't be read line by line."""
        self.path = follow.path
        self.mapping = Mapping.load(follow.source) if follow.source is not None else None
        if self.mapping is not None and (self.mapping.file.kind != "records" or self.mapping.file.id is None):
            raise BadConfig(
                f"{follow.source}: only a mapping of kind `records` with an `id` can follow a file that grows; "
                "use `tribo import` for this one"
            )

    def files(self) -> list[Path]:
        """The file, or the folder's .jsonl files by name."""
        if self.path.is_dir():
            return sorted(path for path in self.path.glob("*.jsonl") if path.is_file())
        return [self.path] if self.path.is_file() else []

    def delivery(self, name: str, first: int, data: bytes) -> Delivery:
        """The events of whole lines; the first is number `first`."""
        delivery = Delivery([], input=name)
        delivery.raw.append(Raw(name, data, "" if self.mapping is None else self.mapping.name, "lines"))
        for number, line in enumerate(data.split(b"\n"), first):
            if not line or line.isspace():
                continue
            for made in self._made(name, number, line):
                if isinstance(made, Event):
                    delivery.events.append(made)
                else:
                    source = source_of(line) if self.mapping is None else self.mapping.file.source
                    delivery.rejects.append((source, made))
        return delivery

    def _made(self, name: str, number: int, line: bytes) -> list[Event | Reject]:
        if len(line) > MOST_EVENT_BYTES:
            return [reject(name, number, f"is longer than {MOST_EVENT_BYTES} bytes", line)]
        if self.mapping is not None:
            return list(self.mapping.events([Record(name, number, line)]))
        try:
            return [event_in(line)]
        except BadEvent as error:
            return [refused(name, number, error, line)]


async def _delivered(taker: Taker, delivery: Delivery) -> None:
    """Deliver, and come again for as long as there is no room. Raises Broken."""
    while True:
        try:
            await asyncio.wrap_future(taker.submit(delivery))
            return
        except (Busy, Full) as error:
            delivery = Delivery(delivery.events, delivery.rejects, delivery.raw, delivery.inputs, delivery.input)
            await asyncio.sleep(0.05 if isinstance(error, Busy) else 1.0)


async def follow(taker: Taker, followed: Followed, places: dict[str, tuple[int, int, int]]) -> None:
    """Read what is added to the files; the place reached moves in the events' own transaction."""
    while True:
        idle = True
        for path in followed.files():
            name = str(path.resolve())
            try:
                with path.open("rb") as file:
                    stat = os.fstat(file.fileno())
                    inode, offset, line = places.get(name, (stat.st_ino, 0, 1))
                    if inode != stat.st_ino or stat.st_size < offset:
                        inode, offset, line = stat.st_ino, 0, 1  # another file under the same name
                    if stat.st_size == offset:
                        continue
                    file.seek(offset)
                    data = file.read(FOLLOWED_AT_ONCE_BYTES)
            except OSError as error:
                log.warning("%s: can't be read: %s", path.name, error.strerror)
                continue
            end = data.rfind(b"\n") + 1
            if not end and len(data) < FOLLOWED_AT_ONCE_BYTES:
                continue  # a line that is still being written
            data = data[:end] if end else data
            delivery = followed.delivery(path.name, line, data)
            places[name] = delivery.inputs[name] = (inode, offset + len(data), line + data.count(b"\n"))
            await _delivered(taker, delivery)
            idle = False
        if idle:
            await asyncio.sleep(POLL_SECONDS)


def follow_stdin(taker: Taker, loop: asyncio.AbstractEventLoop) -> None:
    """Read canonical events from standard input until it ends, in a thread of its own: a silent pipe must not hold up the end."""
    followed = Followed(Follow(path=Path("-")))
    rest = b""
    line = 1
    try:
        while data := os.read(0, FOLLOWED_AT_ONCE_BYTES):
            rest += data
            end = rest.rfind(b"\n") + 1
            if not end and len(rest) <= MOST_EVENT_BYTES:
                continue
            whole, rest = (rest[:end], rest[end:]) if end else (rest, b"")
            asyncio.run_coroutine_threadsafe(_delivered(taker, followed.delivery("-", line, whole)), loop).result()
            line += whole.count(b"\n")
        if rest:
            asyncio.run_coroutine_threadsafe(_delivered(taker, followed.delivery("-", line, rest)), loop).result()
    except (Broken, OSError, RuntimeError) as error:
        log.error("standard input is no longer read (%s)", type(error).__name__)
