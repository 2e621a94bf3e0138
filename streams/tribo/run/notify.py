"""Promises at risk, told to people in time: to the webhooks of chat tools, before the promises break.

Every few seconds the promises at risk (or due while their source is silent) are compared with what was told before. Each change of a
promise's state is told at most once, whatever happens to the process: that it was told is on disk before it is sent, so that a crash in
between loses a word rather than says it twice; of several processes that tell, the one does that noted it first. Only addresses of the
settings are called, and no redirect is followed: nothing that an event says can lead a request anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from urllib.parse import quote

import aiohttp
import msgspec

from tribo.ledger.database import NoRoom, Outpaced, Unreachable, Where, open_writing
from tribo.ledger.reader import Reader
from tribo.measure.standards import Entry, Standards
from tribo.pseudonym import Names, key_of_environment
from tribo.run.clock import ReceiveClock
from tribo.run.commit import Committer
from tribo.run.delivery import Broken
from tribo.run.settings import Notify, Settings, addresses
from tribo.show.words import span
from tribo.wire.mapping import Mapping
from tribo_schemas.event import stamp

log = logging.getLogger("tribo")
LOOK_EVERY_SECONDS = 5.0
ANSWER_WITHIN_SECONDS = 10.0
TRIES = 3
MOST_LINES = 20
"""How many promises a message names; of more, how many there are."""
MOST_LETTERS = 80
MOST_KEPT = 50_000
"""Of how many promises it is remembered what was told; beyond, nothing is told of new ones until others are over."""
NAME = "notices"
NOBODY = "operations"
ACTED_ON = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "(at)"}
STEPS = {
    "untold": "tell the customer now, with a new date if it can't be kept",
    "told": "keep it, or give a new date before this one passes",
    "unknown": "its source is silent: ask the team whether it was kept",
}


class Risk(msgspec.Struct, frozen=True):
    """A promise that may soon break: `state` is untold, told or unknown; `due` is UTC ms; `owners` are those of its standards."""

    item: str
    promise: str
    journey: str
    touchpoint: str
    team: str | None
    owner: str | None
    due: int
    state: str
    owners: tuple[str, ...]

    @property
    def key(self) -> str:
        """What names the occasion: a promise that was moved is another one at its new due."""
        return f"{self.item}\n{self.promise}\n{self.due}"


def owners_of(standards: Standards, item_touchpoint: str, team: str | None, promise: str) -> tuple[str, ...]:
    """The owners of the standards that speak of a promise, those that name it first."""

    def speaks(entry: Entry) -> bool:
        if entry.touchpoint not in (None, item_touchpoint) or entry.team not in (None, team):
            return False
        return entry.promise in ("any", promise) if entry.kind == "promise" else promise == f"standard:{entry.name}"

    entries = [standards.published(name) for name in standards.names]
    speaking = [entry for entry in entries if entry.kind in ("promise", "implied") and speaks(entry)]
    speaking.sort(key=lambda entry: entry.promise == "any")
    return tuple(dict.fromkeys(entry.owner or NOBODY for entry in speaking)) or (NOBODY,)


def at_risk(reader: Reader, standards: Standards) -> list[Risk]:
    """Every promise that may soon break, the next due first. What came with an import and was at risk then is told to nobody."""
    rows = reader.rows(
        "SELECT p.item, p.promise, p.journey, p.touchpoint, p.team, p.owner, p.due, p.state, p.told FROM findings f "
        "JOIN promises p ON p.history = f.history AND p.item = f.item AND p.promise = f.promise "
        "WHERE f.status = 0 AND f.kind IN ('promise_at_risk', 'promise_unknown') AND f.historical = 0 AND p.synthetic = 0 "
        "ORDER BY p.due, p.item, p.promise"  # by the findings to act on, which are few; of promises there are as many as ever were made
    )
    return [
        Risk(
            item, promise, journey, touchpoint, team, owner, due,
            "unknown" if state == "unknown" else "told" if told else "untold", owners_of(standards, touchpoint, team, promise),
        )
        for item, promise, journey, touchpoint, team, owner, due, state, told in rows
    ]  # fmt: skip


def changes(risks: Sequence[Risk], told: dict[str, str]) -> tuple[list[Risk], dict[str, str]]:
    """The promises whose state has changed since it was told, and what has been told when they are told."""
    now = {risk.key: risk.state for risk in risks if risk.key in told}
    new = []
    for risk in risks:
        if now.get(risk.key) is None and len(now) >= MOST_KEPT:
            continue
        if told.get(risk.key) != risk.state:
            new.append(risk)
        now[risk.key] = risk.state
    return new, now


def plain(text: str | None) -> str:
    """Text of an event in a chat message, set as code: one line, not too long, and nothing that the chat tool acts on."""
    cleaned = re.sub(r"[^\w .,:;+/#()=-]", lambda found: ACTED_ON.get(found[0], " "), (text or "")[:MOST_LETTERS])
    return f"`{cleaned}`" if cleaned.strip() else ""


def message(risks: Sequence[Risk], now: int, names: Names, page: str) -> dict[str, object]:
    """What a webhook is sent: `text` for people, and the same as data under `promises`."""
    lines, rows = [], []
    for risk in risks[:MOST_LINES]:
        item = names.item(risk.item)
        left = span(risk.due - now) if risk.due > now else "no time"
        holder = " / ".join(plain(part) for part in (risk.team, risk.owner) if part) or "nobody"
        knows = {"untold": "the customer wasn't told", "told": "the customer was told", "unknown": "nobody knows whether it was kept"}
        link = f"{page}/journeys/{quote(item, safe=':')}"
        lines.append(
            f"{plain(risk.promise)} on {plain(item)} ({risk.touchpoint}, held by {holder}): {left} left, {knows[risk.state]}. "
            f"Next: {STEPS[risk.state]}. {link}"
        )
        rows.append({
            "item": item, "promise": risk.promise, "touchpoint": risk.touchpoint, "team": risk.team, "owner": risk.owner,
            "standard_owners": list(risk.owners), "due": stamp(risk.due), "left_seconds": max(risk.due - now, 0) / 1000,
            "state": risk.state, "told": risk.state == "told", "next": STEPS[risk.state], "journey_url": link,
        })  # fmt: skip
    if len(risks) > MOST_LINES:
        lines.append(f"… and {len(risks) - MOST_LINES} more: {page}/journeys?finding=promise_at_risk")
    head = "A promise is at risk" if len(risks) == 1 else f"{len(risks)} promises are at risk"
    return {"text": "\n".join((f"{head}:", *lines)), "count": len(risks), "promises": rows}


def for_target(target: Notify, risks: Iterable[Risk]) -> list[Risk]:
    """Those that a webhook is to hear of."""
    return [
        risk for risk in risks
        if (not target.owners or set(target.owners) & set(risk.owners)) and (not target.teams or risk.team in target.teams)
    ]  # fmt: skip


async def send(session: aiohttp.ClientSession, url: str, content: dict[str, object]) -> None:
    """POST it, again when nobody answered the door; what was perhaps delivered is not sent again. No log names the address, a secret."""
    for attempt in range(TRIES):
        try:
            async with session.post(url, json=content, allow_redirects=False) as answer:
                if answer.status >= 300:
                    log.warning("a webhook for promises at risk answered %s: %s", answer.status, "it is not followed"
                                if answer.status < 400 else "the message is lost")  # fmt: skip
                return
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(attempt + 1)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("a webhook for promises at risk failed (%s): it isn't sent again", type(error).__name__)
            return
    log.warning("a webhook for promises at risk can't be reached: the message is lost")


async def tell_of_risks(committer: Committer, settings: Settings, port: int) -> None:
    """Tell the webhooks of the embedded run's settings, for ever. `port` is the one that is listened on."""
    ledger = committer.ledger

    def keep(text: str) -> str:
        ledger.keep_text(NAME, text)
        return ""

    async def kept(_: str | None, text: str) -> bool:
        await asyncio.wrap_future(committer.call(partial(keep, text)))
        return True

    page = (settings.page.url or f"http://{settings.host}:{port}").rstrip("/")
    names = Names(key_of_environment(), {kind for name in settings.mappings() for kind in Mapping.load(name).personal})
    await tell(
        addresses(settings.notify), lambda: Reader(ledger.where), committer.standards, kept, committer.clock.wall, names, page
    )  # fmt: skip


async def tell_from_database(
    database: Where, targets: Sequence[tuple[Notify, str]], standards: Standards, names: Names, page: str,
    every_seconds: float = LOOK_EVERY_SECONDS,
) -> None:  # fmt: skip
    """Tell of what a ledger on PostgreSQL holds, for ever: for processes that only serve, any number of them."""

    async def kept(before: str | None, text: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(None, _replace, database, before, text)

    await tell(targets, lambda: Reader(database), standards, kept, ReceiveClock().wall, names, page, every_seconds)


def _replace(database: Where, before: str | None, text: str) -> bool:
    """Put a text in the place of the one before; False if another process was first."""
    writing = open_writing(database)
    try:
        with writing.translated():
            writing.begin()
            if before is None:
                done = writing.run("INSERT INTO settings VALUES (?, ?) ON CONFLICT DO NOTHING", (NAME, text))
            else:
                done = writing.run("UPDATE settings SET value = ? WHERE name = ? AND value = ?", (text, NAME, before))
            writing.commit()
    finally:
        writing.close()
    return done == 1


async def tell(
    targets: Sequence[tuple[Notify, str]], reader_factory: Callable[[], Reader], standards: Standards,
    keep: Callable[[str | None, str], Awaitable[bool]], clock: Callable[[], int], names: Names, page: str,
    every_seconds: float = LOOK_EVERY_SECONDS,
) -> None:  # fmt: skip
    """Look and tell, for ever. `targets`: each with its address. `keep` takes what the setting `notices` was and what it is to be, and
    has that on disk when it returns; False: it was something else already. It raises NoRoom, Unreachable or Outpaced when it can't now,
    Broken when it never will again."""
    loop = asyncio.get_running_loop()

    def look() -> tuple[list[Risk], str | None]:
        reader = reader_factory()
        try:
            return at_risk(reader, standards), reader.setting(NAME)
        finally:
            reader.close()

    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False, max_line_size=8190) as session:
        while True:
            try:
                risks, before = await loop.run_in_executor(None, look)
            except Exception as error:  # a database that is away, or a fault of ours: the next look may do better, and nothing is forgotten
                log.warning("promises at risk can't be looked at (%s)", type(error).__name__)
                await asyncio.sleep(every_seconds)
                continue
            told = msgspec.json.decode(before, type=dict[str, str]) if before else {}
            new, now = changes(risks, told)
            if now != told:
                try:
                    if not await keep(before, msgspec.json.encode(now).decode()):
                        new = []  # another process tells of them
                except (NoRoom, Unreachable, Outpaced):
                    new = []  # told when it can be remembered
                except Broken:
                    return
            contents = [(url, for_target(target, new)) for target, url in targets]
            at = clock()
            await asyncio.gather(*(send(session, url, message(wanted, at, names, page)) for url, wanted in contents if wanted))
            await asyncio.sleep(every_seconds)
