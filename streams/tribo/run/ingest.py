"""Taking events in: over HTTP, from files that grow, and from standard input. What takes them (`Taker`) is the shell's.

A request is answered when the taker has its events for good (`tribo run`: on disk in the ledger), item by item.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import time
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
from tribo.run.sources import Sender, Senders
from tribo.wire.mapping import Mapping, Unmapped
from tribo.wire.readers import Record
from tribo.wire.rejects import Raw, Reject, reject
from tribo.wire.webhooks import Proof, Unauthorized, shows_token, verify
from tribo.wire.webhooks import Request as Signed
from tribo_schemas.config import BadConfig
from tribo_schemas.event import BadEvent, Event

log = logging.getLogger("tribo")
OPEN_TO_ALL = frozenset(("/livez", "/readyz"))
FORMS = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
"""What a page of another site could send without asking: not taken."""
FORBIDDEN = "forbidden"
"""How the reason begins when a request may not speak for an event's source: such a record is never taken later, either."""
RETRY_SECONDS = "1"
POLL_SECONDS = 0.5
FOLLOWED_AT_ONCE_BYTES = 2 << 20
TAKER: web.AppKey[Taker] = web.AppKey("taker", Taker)
SENDERS: web.AppKey[Senders] = web.AppKey("senders", Senders)
SENDER: web.RequestKey[Sender] = web.RequestKey("sender", Sender)
"""Whose token the request bore."""
OPERATOR: web.AppKey[bool] = web.AppKey("operator", bool)
"""Whether there is an operator's token, so that who speaks without a source's token is the operator."""
_json = msgspec.json.Encoder().encode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _answer(status: int, fields: dict[str, Any], **headers: str) -> web.Response:
    return web.Response(
        body=_json(fields), status=status, content_type="application/json",
        headers={name.replace("_", "-"): text for name, text in headers.items()},
    )  # fmt: skip


Place = int | Reject | list[int | Reject]
"""What became of one record: its event's place in the delivery, or its reject; through a mapping, a list of such."""


def _decoded(body: bytes, request: web.Request, may_speak: MaySpeak) -> tuple[Delivery, list[Place]]:
    """What to deliver of canonical events, and for each item of the body what became of it. Raises TooLarge, Unreadable."""
    delivery = Delivery([], input=f"POST {request.path}")
    places: list[Place] = []
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
            continue
        forbidden = may_speak(event.source)
        if forbidden is not None:
            places.append(_Foreign(delivery.input, number + 1, forbidden, ""))
            delivery.rejects.append(("", refused(delivery.input, number + 1, BadEvent("source", forbidden), raw)))
        else:
            places.append(len(delivery.events))
            delivery.events.append(event)
    delivery.raw.append(Raw(delivery.input, body))
    return delivery, places


class _Foreign(Reject, gc=False):
    """An event of a source that the request may not speak for."""


MaySpeak = Callable[[str], str | None]
"""Why no event of this source is taken from this request; None when it may."""


def _mapped(body: bytes, request: web.Request, sender: Sender, mapping: Mapping) -> tuple[Delivery, list[Place]]:
    """What to deliver of the records in the body, and for each what became of it. Raises Unreadable."""
    delivery = Delivery([], input=f"POST {request.path}")
    try:
        records = mapping.received(body, request.content_type, dict(request.headers))
    except Unmapped as error:
        raise Unreadable(str(error)) from None
    places: list[Place] = []
    for number, record in enumerate(records, 1):
        place: list[int | Reject] = []
        for made in mapped(mapping, delivery.input, number, record):
            if isinstance(made, Reject):
                delivery.rejects.append((sender.speaks_for, made))
                place.append(made)
            else:
                place.append(len(delivery.events))
                delivery.events.append(made)
        places.append(place)
    if any(b"\n" in record for record in records):
        delivery.raw.append(Raw(delivery.input, records[0] if len(records) == 1 else b"[" + b",".join(records) + b"]", mapping.name))
    elif records:
        delivery.raw.append(Raw(delivery.input, b"\n".join(records), mapping.name, "lines"))
    return delivery, places


def mapped(mapping: Mapping, name: str, number: int, record: bytes) -> list[Event | Reject]:
    """The events of one record that came alone, and what of it can't be mapped."""
    if len(record) > MOST_EVENT_BYTES:
        made: list[Event | Reject] = [reject(name, number, f"is longer than {MOST_EVENT_BYTES} bytes", record)]
    else:
        made = list(mapping.events([Record(name, number, record)]))
    for place, one in enumerate(made):
        if isinstance(one, Reject):
            if mapping.file.unpack is not None:  # a part says nothing without what is around it
                one = made[place] = msgspec.structs.replace(reject(name, number, one.reason, record), mapping=one.mapping)
            one.through = mapping.name
    return made


async def take_events(request: web.Request) -> web.Response:
    """POST /events: 202 when at least one item is on disk, 400 when all are wrong; both say item by item what became of it."""
    if request.content_type in FORMS and "Content-Type" in request.headers:
        return _answer(415, {"error": "send application/json, application/x-ndjson or application/cloudevents+json"})
    sender = request.get(SENDER)
    if sender is not None and (wait := sender.rate.wait_seconds(time.monotonic())):
        return _too_often(sender, wait)
    senders = request.app[SENDERS]
    operator = request.app[OPERATOR]

    def may_speak(source: str) -> str | None:
        if sender is not None:
            return None if source == sender.speaks_for else f"{FORBIDDEN}: this token speaks for {sender.speaks_for!r} alone"
        return f"{FORBIDDEN}: it has a credential of its own: send that" if not operator and senders.is_guarded(source) else None

    return await _taken(request, lambda body: _decoded(body, request, may_speak))


async def take_source(request: web.Request) -> web.Response:
    """POST /sources/NAME: the body through the source's mapping.

    202 once all of it is kept, what was rejected too: a vendor that sends it again changes nothing.
    """
    senders = request.app[SENDERS]
    sender = senders.get(request.match_info["name"])
    if sender is None:
        return _answer(404, {"error": "no such source; name it under `sources` in the settings"})
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return _too_large()
    try:
        proof = _proof(request, sender, raw)
    except Unauthorized as error:
        _complain(sender.name, str(error))
        return _answer(401, {"error": str(error)}, WWW_Authenticate="Bearer")
    if wait := sender.rate.wait_seconds(time.monotonic()):
        return _too_often(sender, wait)
    if not sender.guarded and request.content_type in FORMS:
        return _answer(415, {"error": "send application/json or application/x-ndjson"})
    now = int(time.time() * 1000)
    deliveries, digest = senders.deliveries, proof.digest
    if digest is not None:
        known = not deliveries.take(sender.name, digest, now) if proof.once else deliveries.knows(sender.name, digest, now)
        if known and proof.once:
            _complain(sender.name, "the delivery came before")
            return _answer(401, {"error": "this delivery came before: sign it anew"}, WWW_Authenticate="Bearer")
        if known:
            return _answer(200, {"taken": 0, "rejected": 0, "repeated": True, "items": []})
    remember = [] if digest is None else [(sender.name, digest)]

    def may_speak(source: str) -> str | None:
        return None if source == sender.speaks_for else f"{FORBIDDEN}: this source speaks for {sender.speaks_for!r} alone"

    def decoded(body: bytes) -> tuple[Delivery, list[Place]]:
        mapping = sender.mapping
        delivery, places = _decoded(body, request, may_speak) if mapping is None else _mapped(body, request, sender, mapping)
        delivery.remember = remember
        return delivery, places

    answer: web.Response | None = None
    try:
        answer = await _taken(request, decoded, raw, always=sender.mapping is not None)
    finally:
        if digest is not None and (answer is None or answer.status >= 400):
            deliveries.forget(sender.name, digest)
    if digest is not None and answer.status < 400:
        deliveries.take(sender.name, digest, now)
    return answer


def _proof(request: web.Request, sender: Sender, raw: bytes) -> Proof:
    """That the request is its source's. Raises Unauthorized."""
    if sender.kind is not None:
        asked = Signed(request.headers, raw, request.raw_path.partition("?")[2], sender.url, request.content_type)
        return verify(sender.kind, asked, sender.secrets, time.time())
    if sender.tokens and not shows_token(_shown(request), sender.tokens):
        raise Unauthorized("send the source's token: Authorization: Bearer …")
    return Proof(None, once=False)


_complained: dict[tuple[str, str], float] = {}


def _complain(name: str, reason: str) -> None:
    """Say once a minute that requests of a source are refused: its secret may be wrong here, or somebody is trying."""
    now = time.monotonic()
    if _complained.get((name, reason), -60.0) <= now - 60.0:
        _complained[name, reason] = now
        log.warning("POST /sources/%s is refused: %s", name, reason)


def _too_large() -> web.Response:
    return _answer(413, {"error": f"at most {MOST_BODY_BYTES} bytes a body and {MOST_EVENT_BYTES} bytes an event; send less at once"})


def _too_often(sender: Sender, wait: int) -> web.Response:
    return _answer(429, {"error": f"{sender.name} sends more than its requests_per_second; come again"}, Retry_After=str(wait))


async def _taken(
    request: web.Request, decoded: Callable[[bytes], tuple[Delivery, list[Place]]], raw: bytes | None = None, always: bool = False
) -> web.Response:
    """Decode the body, have it kept, and tell what became of each item; `always`: 202 even when all was rejected."""
    try:
        body = inflated(await request.read() if raw is None else raw, request.headers.get("Content-Encoding", ""))
        delivery, places = decoded(body)
    except (TooLarge, web.HTTPRequestEntityTooLarge):
        return _too_large()
    except Unreadable as error:
        return _answer(400, {"error": str(error)})
    try:
        outcomes = await asyncio.wrap_future(request.app[TAKER].submit(delivery))
    except Busy:
        return _answer(429, {"error": "more waits than can be written now; come again"}, Retry_After=RETRY_SECONDS)
    except Full as error:
        return _answer(503, {"error": f"{error or 'the disk is full'}; nothing was taken, come again"}, Retry_After="5")
    except Broken:
        return _answer(503, {"error": "the ledger is closed; nothing was taken, come again"}, Retry_After="5")
    told, taken, rejected = _told(places, outcomes)
    foreign = any(isinstance(place, _Foreign) for place in places)
    status = 202 if taken or always else 403 if foreign else 400
    return _answer(status, {"taken": taken, "rejected": rejected, "items": told})


def _told(places: Sequence[Place], outcomes: Sequence[Outcome | Reject]) -> tuple[list[dict[str, Any]], int, int]:
    """What became of each item, and how many events were taken and rejected."""
    told: list[dict[str, Any]] = []
    taken = rejected = 0
    for index, place in enumerate(places):
        each = [outcomes[one] if isinstance(one, int) else one for one in (place if isinstance(place, list) else [place])]
        reasons = [one.reason for one in each if isinstance(one, Reject)]
        rejected += len(reasons)
        taken += len(each) - len(reasons)
        if isinstance(place, list):
            row: dict[str, Any] = {"index": index, "events": [one for one in each if not isinstance(one, Reject)]}
            told.append(row | {"rejected": reasons} if reasons else row)
        elif reasons:
            told.append({"index": index, "outcome": "rejected", "reason": reasons[0]})
        else:
            told.append({"index": index, "outcome": each[0]})
    return told, taken, rejected


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


def guard(token: str | None, senders: Senders) -> Any:
    """Refuse requests without the operator's token (as bearer, or as the password of basic authentication, for browsers).

    A source's own token opens POST /events for its own events; POST /sources/NAME asks for what that source shows.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        shown = _shown(request)
        if request.path in OPEN_TO_ALL or (token is not None and shows_token(shown, [token])):
            return await handler(request)
        route = request.match_info.handler
        if getattr(route, "guards_itself", False):  # the page: it knows more roles than this
            return await handler(request)
        if route is take_source:
            sender = senders.get(request.match_info["name"])
            if sender is not None and sender.guarded:
                return await handler(request)
        elif route is take_events:
            sender = senders.of_token(shown)
            if sender is not None:
                request[SENDER] = sender
                return await handler(request)
        taking = route in (take_source, take_events)
        if token is None and not (taking and shown and senders.have_tokens):
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


def ingest_application(
    taker: Taker, token: str | None, senders: Senders | None = None, probes: list[web.RouteDef] | None = None
) -> web.Application:
    """The routes that take events and say how the process is (`probes`: a shell's own ones for that); a shell adds its own."""
    senders = senders or Senders({})
    app = web.Application(middlewares=[guard(token, senders)], client_max_size=MOST_BODY_BYTES)
    app[TAKER] = taker
    app[SENDERS] = senders
    app[OPERATOR] = token is not None
    app.add_routes([
        web.post("/events", take_events), web.post("/sources/{name}", take_source),
        *(probes or [web.get("/livez", livez), web.get("/readyz", readyz)]),
    ])  # fmt: skip
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
        if self.mapping is not None:
            return mapped(self.mapping, name, number, line)
        if len(line) > MOST_EVENT_BYTES:
            return [reject(name, number, f"is longer than {MOST_EVENT_BYTES} bytes", line)]
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
