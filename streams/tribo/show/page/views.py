"""The live page: what is so now, journeys and their pictures, why a number is what it is, handoffs, promises, the report.

Each view reads the ledger in a thread, as it stands at one moment, and is written there, too; the loop only passes it on. Everything from
events is text on the page, never markup: Jinja2 escapes, and the content security policy allows no inline script or style.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from tribo.ledger import search
from tribo.ledger.reader import Reader
from tribo.measure.score import scoreboard
from tribo.measure.standards import Standards
from tribo.pseudonym import Names, key_of_environment, pseudonym
from tribo.show import report as reports
from tribo.show.page import flows, looks, told
from tribo.show.page.access import Access, Denied, Who
from tribo.show.page.filters import CHOICES, NAMES, Filters, filters_of
from tribo.show.page.live import Stream
from tribo.show.page.now import now_of
from tribo.show.page.operate import Operation, Operations
from tribo.show.page.paper import values_of
from tribo.show.page.picture import DAY, draw, reference
from tribo.show.page.pledges import promises_of
from tribo.show.page.why import compare
from tribo.show.runbooks import OF_FINDINGS, OF_STANDARDS, what_to_do
from tribo.show.words import KIND_WORDS
from tribo_schemas.config import BadConfig
from tribo_schemas.finding import DELIGHT

log = logging.getLogger("tribo")
HERE = Path(__file__).parent
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types tribo"
)
SECURITY = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATIC = {"tribo.css": "text/css", "tribo.js": "text/javascript", "mark.svg": "image/svg+xml"}
ROWS = 50
FRESH_SECONDS = 1.0
"""A live view is written at most so often, however many browsers look."""
THREADS = 4
PSEUDONYM = re.compile("c-[0-9a-f]{16}")
HIDDEN = re.compile("p-[0-9a-f]{16}")
MOST_CUSTOMERS = 500_000
"""Among how many customers one is looked for by pseudonym."""

FORMS = {"markdown": (reports.as_markdown, "text/markdown", "md"), "csv": (reports.as_csv, "text/csv", "csv")}

ReaderFactory = Callable[[], Reader]
Look = Callable[[Reader], dict[str, Any]]


def _wall() -> int:
    return time.time_ns() // 1_000_000


class Page:
    """All views over one ledger. `now` is the clock that the dues are held against, UTC ms: the demo's runs faster than the host's."""

    def __init__(
        self, reader_factory: ReaderFactory, standards: Standards, access: Access, now: Callable[[], int], silent_after: int,
        personal: Collection[str] = (), dashboards: str | None = None,
    ) -> None:  # fmt: skip
        self.reader_factory = reader_factory
        self.standards = standards
        self.access = access
        self.now = now
        self.silent_after = silent_after
        self.key = key_of_environment()
        self.names = Names(self.key, personal)
        self.personal = frozenset(personal)
        self.templates = looks.environment()
        self.templates.globals["shown"] = self.shown
        self.templates.globals["dashboards"] = dashboards
        self.templates.filters |= {"item": self.names.item, "spoken": self.names.text}
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="page")
        self.stream = Stream(self._version)
        self._fresh: dict[str, tuple[float, asyncio.Future[str]]] = {}

    def shown(self, customer: str | None) -> str:
        """A customer as people see them."""
        return "unknown" if customer is None else pseudonym(customer, self.key)

    def plain_item(self, reader: Reader, asked: str) -> str:
        """The item that somebody asks for, which may be by a pseudonym."""
        kind, _, name = asked.partition(":")
        if kind not in self.personal or HIDDEN.fullmatch(name) is None:
            return asked
        return next((item for item in search.items_of_kind(reader, kind, MOST_CUSTOMERS) if self.names.item(item) == asked), asked)

    def plain(self, reader: Reader, asked: str) -> str | None:
        """The customer that somebody asks for, by the id or by the pseudonym; None: there is none."""
        if search.history_named(reader, asked) is not None:
            return asked
        if PSEUDONYM.fullmatch(asked) is None:
            return None
        return next((customer for customer in search.customers(reader, MOST_CUSTOMERS) if pseudonym(customer, self.key) == asked), None)

    async def _version(self) -> int:
        return int(await self.read(lambda reader: reader.size()["version"]))

    async def read(self, look: Callable[[Reader], Any]) -> Any:
        """What a look at the ledger, as it stands at one moment, finds: off the loop."""

        def run() -> Any:
            with self.reader_factory() as reader, reader.db.snapshot():
                return look(reader)

        return await asyncio.get_running_loop().run_in_executor(self.threads, run)

    async def read_at_once(self, *looks: Callable[[Reader], Any]) -> list[Any]:
        """What several looks find in one state of the ledger: each in a thread of its own. Every transaction raises the version; were there
        different ones, what was found is dropped, and one reader looks for all."""

        def versioned(look: Callable[[Reader], Any]) -> Callable[[Reader], tuple[int, Any]]:
            return lambda reader: (reader.size()["version"], look(reader))

        found = await asyncio.gather(*(self.read(versioned(look)) for look in looks))
        if len({version for version, _ in found}) == 1:
            return [result for _, result in found]
        return list(await self.read(lambda reader: [look(reader) for look in looks]))

    async def written(self, template: str, here: str, look: Look, **values: Any) -> str:
        """A template, written over what a look finds."""

        def write(reader: Reader) -> str:
            return self.templates.get_template(template).render(here=here, now=self.now(), **{**look(reader), **values})

        return str(await self.read(write))

    async def shared(self, template: str, here: str, look: Look) -> str:
        """The same, written once a second for all who ask."""
        loop = asyncio.get_running_loop()
        at, text = self._fresh.get(template, (0.0, None))
        if text is None or loop.time() - at > FRESH_SECONDS or (text.done() and (text.cancelled() or text.exception() is not None)):
            text = asyncio.ensure_future(self.written(template, here, look))
            self._fresh[template] = (loop.time(), text)
        return await asyncio.shield(text)


def answer(text: str, status: int = 200, content_type: str = "text/html", name: str = "") -> web.Response:
    """A page, with what keeps it safe; with a `name`, a file to keep."""
    headers = {**SECURITY, "Cache-Control": "no-store"}
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return web.Response(text=text, status=status, content_type=content_type, charset="utf-8", headers=headers)


def page_routes(
    reader_factory: ReaderFactory, standards: Standards, settings: object, now: Callable[[], int] = _wall, access: Access | None = None,
    operations: Operations | None = None, silent_after: int = 600_000, personal: Collection[str] = (),
    dashboards: str | None = None,
) -> list[web.RouteDef]:  # fmt: skip
    """The page's routes. `access` says who may look and who may change something (without: loopback only, and there everybody);
    `operations` what operators may do; `silent_after`: how long (ms) a source may say nothing;
    `personal`: kinds of items that are shown as pseudonyms; `dashboards`: where Grafana is, for a link there."""
    page = Page(reader_factory, standards, access or Access(), now, silent_after, personal, dashboards)
    views = Views(page, operations or Operations())
    looks_at = {
        "/": views.now, "/parts": views.parts, "/journeys": views.journeys, "/journeys/{item:(?s:.+)}": views.journey, "/why": views.why,
        "/handoffs": views.handoffs, "/promises": views.promises, "/report": views.report, "/search": views.search,
        "/rejects": views.rejects, "/stream": views.stream, "/static/{name}": views.static,
    }  # fmt: skip
    changes = {"/operate/replay": views.replay, "/operate/refold": views.refold, "/operate/erase": views.erase}
    return [
        *(web.get(path, views.guarded(view)) for path, view in looks_at.items()),
        *(web.post(path, views.changing(change)) for path, change in changes.items()),
    ]


View = Callable[[web.Request, Who], Awaitable[web.StreamResponse]]


class Views:
    """The handlers."""

    def __init__(self, page: Page, operations: Operations) -> None:
        self.page = page
        self.operations = operations
        self.static_files = {name: (HERE / "static" / name).read_bytes() for name in STATIC}

    def guarded(self, view: View) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A view for readers and operators only."""

        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                who = self.page.access.needs(request, "reader")
                return await view(request, who)
            except Denied as denied:
                denied.headers.update(SECURITY)
                raise

        handler.guards_itself = True  # type: ignore[attr-defined]
        return handler

    def changing(self, change: Callable[[dict[str, str]], Awaitable[str]]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A change by an operator, told of on the next view."""

        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                who, form = await self.page.access.change(request)
            except Denied as denied:
                denied.headers.update(SECURITY)
                raise
            said = await change(form)
            log.warning("%s: %s (by %s)", request.path, said, who.name)
            return await self._rejects("", who, said)

        handler.guards_itself = True  # type: ignore[attr-defined]
        return handler

    async def static(self, request: web.Request, who: Who) -> web.StreamResponse:
        """Style and script."""
        name = request.match_info["name"]
        if name not in STATIC:
            raise web.HTTPNotFound(headers=SECURITY)
        return web.Response(
            body=self.static_files[name], content_type=STATIC[name], charset="utf-8", headers={**SECURITY, "Cache-Control": "max-age=300"}
        )

    async def stream(self, request: web.Request, who: Who) -> web.StreamResponse:
        """Says when something has changed."""
        return await self.page.stream.answer(request, SECURITY)

    # -- now ---------------------------------------------------------------------------------------------------------

    async def now(self, request: web.Request, who: Who) -> web.StreamResponse:
        """What is so now."""
        return answer(await self.page.shared("now.html", "/", self._now))

    async def parts(self, request: web.Request, who: Who) -> web.StreamResponse:
        """The live parts of what is so now, for the script."""
        return answer(await self.page.shared("parts.html", "/", self._now))

    def _now(self, reader: Reader) -> dict[str, Any]:
        return now_of(reader, self.page.standards, self.page.now(), self.page.silent_after)

    # -- journeys ----------------------------------------------------------------------------------------------------

    async def journeys(self, request: web.Request, who: Who) -> web.StreamResponse:
        """A list of journeys, filtered as the address says."""
        filters = filters_of(request.query)

        def look(reader: Reader) -> dict[str, Any]:
            rows = self._listed(reader, filters, ROWS + 1)
            return {"rows": rows[:ROWS], "more": len(rows) > ROWS}

        text = await self.page.written("journeys.html", "/journeys", look, **self._asked(filters))
        return answer(text)

    def _asked(self, filters: Filters) -> dict[str, Any]:
        """What the filters' form shows."""
        says = {field: name for field, name in NAMES.items() if field not in ("sort", "page") and getattr(filters, field) is not None}
        return {
            "filters": filters, "choices": CHOICES, "said": says, "standards": self.page.standards.names,
            "unknown_standard": filters.standard is not None and filters.standard not in self.page.standards.names,
        }  # fmt: skip

    def _listed(self, reader: Reader, filters: Filters, limit: int) -> list[Any]:
        found = self.wanted(filters) if filters.by_finding else None
        return search.journeys(
            reader,
            since=search.LONG_AGO if filters.since is None else filters.since,
            until=search.FAR_OFF if filters.until is None else filters.until,
            touchpoint=filters.touchpoint, status=filters.status, friction=filters.friction, promise=filters.promise, found=found,
            order=filters.sort, limit=limit, offset=(filters.page - 1) * ROWS,
        )  # fmt: skip

    def wanted(self, filters: Filters) -> search.Wanted:
        """The findings that filters speak of."""
        wanted = search.Wanted(
            since=search.LONG_AGO if filters.since is None else filters.since,
            until=search.FAR_OFF if filters.until is None else filters.until,
            kinds=() if filters.finding is None else (filters.finding,),
            team=filters.team, channel=filters.channel, topic=filters.topic, from_team=filters.from_team,
        )  # fmt: skip
        if filters.standard is None:
            return wanted
        if filters.standard not in self.page.standards.names:
            return msgspec.structs.replace(wanted, standard=filters.standard)
        of_standard = search.behind(self.page.standards.published(filters.standard), wanted)
        kinds = of_standard.kinds if filters.finding is None else wanted.kinds
        return msgspec.structs.replace(of_standard, kinds=kinds)

    async def journey(self, request: web.Request, who: Who) -> web.StreamResponse:
        """One journey: its picture, its findings, its events. It is found under any of its items."""
        item = request.match_info["item"]

        def look(reader: Reader) -> dict[str, Any] | None:
            journey = search.journey(reader, self.page.plain_item(reader, item))
            return None if journey is None else self._journey(journey)

        def write(reader: Reader) -> tuple[int, str]:
            values = look(reader)
            template = "missing.html" if values is None else "journey.html"
            text = self.page.templates.get_template(template).render(
                here="/journeys", now=self.page.now(), **(values if values is not None else {"item": self.page.names.item(item[:200])})
            )
            return (404 if values is None else 200), text

        status, text = await self.page.read(write)
        return answer(text, status)

    def _journey(self, journey: search.Journey) -> dict[str, Any]:
        lines = told.lines_of(journey)
        numbers = {reference(line.event): line.number for line in lines}
        shown = told.shown(journey, lines)
        picture = draw(
            journey, [line.event for line in lines if line.holds], numbers, self.page.standards.default_calendar, self.page.now()
        )
        points: dict[str, list[int]] = {}
        for one in shown:
            if one.standing and one.finding.points:
                total = points.setdefault(one.finding.kind, [0, 0])
                total[0] += 1
                total[1] += one.finding.points
        chips = sorted(((kind, count, total) for kind, (count, total) in points.items()), key=lambda chip: (-chip[2], chip[0]))
        return {
            "row": journey.row, "lines": lines, "told": shown, "picture": picture, "aside": journey.set_aside,
            "friction": [(KIND_WORDS[kind], count, total) for kind, count, total in chips if kind not in DELIGHT],
            "delight": [(KIND_WORDS[kind], count, total) for kind, count, total in chips if kind in DELIGHT],
        }  # fmt: skip

    # -- why, handoffs, promises, report -------------------------------------------------------------------------------

    async def why(self, request: web.Request, who: Who) -> web.StreamResponse:
        """The journeys behind a number, what they share, and the runbook."""
        filters = filters_of(request.query)
        wanted = self.wanted(filters)
        if filters.touchpoint is not None:
            wanted = msgspec.structs.replace(wanted, touchpoint=filters.touchpoint)
        standards = self.page.standards
        standard = standards.published(filters.standard) if filters.standard in standards.names and filters.standard else None
        alert = OF_FINDINGS.get(filters.finding or "", OF_STANDARDS if standard is not None else "")

        def look(reader: Reader) -> dict[str, Any]:
            rows = search.journeys(reader, found=wanted, limit=ROWS // 2 + 1)
            figures = next((row for row in scoreboard(standards, reader.tallies()) if row["name"] == filters.standard), None)
            return {
                "rows": rows[: ROWS // 2], "more": len(rows) > ROWS // 2, "figures": figures,
                "behind": search.distinct_journeys(reader, wanted), "occasions": search.counted(reader, wanted)[0][0],
                **compare(reader, wanted, self.page.now()),
            }  # fmt: skip

        text = await self.page.written(
            "why.html", "/journeys", look, standard=standard, alert=alert, advice=what_to_do(alert), **self._asked(filters)
        )
        return answer(text)

    def _window(self, request: web.Request) -> tuple[Filters, int]:
        """The filters, with the stretch of time asked for: so many days (7 unless said) up to now, or from … to."""
        filters = filters_of(request.query)
        if filters.since is not None or filters.until is not None:
            return filters, 0
        text = request.query.get("days", "7")
        days = int(text) if text in ("1", "7", "30", "90") else 7
        now = self.page.now()
        return msgspec.structs.replace(filters, since=now - days * DAY, until=now + 1), days

    async def handoffs(self, request: web.Request, who: Who) -> web.StreamResponse:
        """Who hands to whom."""
        filters, window = self._window(request)
        wanted = msgspec.structs.replace(self.wanted(filters), touchpoint=filters.touchpoint)

        def look(reader: Reader) -> dict[str, Any]:
            rows, read, total = flows.pairs(reader, wanted)
            return {"pairs": rows[:ROWS], "flows": flows.picture(rows), "read": read, "total": total}

        return answer(await self.page.written("handoffs.html", "/handoffs", look, window=window, **self._asked(filters)))

    async def promises(self, request: web.Request, who: Who) -> web.StreamResponse:
        """The open promises on a line of time, and what became of the others."""
        filters, window = self._window(request)
        since = search.LONG_AGO if filters.since is None else filters.since
        until = search.FAR_OFF if filters.until is None else filters.until

        def look(reader: Reader) -> dict[str, Any]:
            return promises_of(reader, since, until, filters.touchpoint, self.page.now())

        return answer(await self.page.written("promises.html", "/promises", look, window=window, **self._asked(filters)))

    async def report(self, request: web.Request, who: Who) -> web.StreamResponse:
        """The report of a week: a page, Markdown or CSV."""
        try:
            name, since, until = reports.week(request.query.get("week"), self.page.now())
        except BadConfig as error:
            return answer(self.page.templates.get_template("wrong.html").render(here="/report", now=0, says=str(error)), 400)
        found, stood = await self.page.read_at_once(*reports.halves(self.page.standards, since, until))
        report = reports.Report(name=name, since=since, until=until, **found, **stood)
        form = request.query.get("form", "")
        if form in FORMS:
            write, kind, ending = FORMS[form]
            return answer(write(report), content_type=kind, name=f"tribo-{name}.{ending}")
        text = self.page.templates.get_template("report.html").render(
            here="/report", now=self.page.now(), **values_of(report)
        )
        return answer(text)

    # -- search, rejects, changes ---------------------------------------------------------------------------------------

    async def search(self, request: web.Request, who: Who) -> web.StreamResponse:
        """An item, a customer, or a promise."""
        asked = request.query.get("q", "").replace("\x00", "").strip()[:200]

        def look(reader: Reader) -> dict[str, Any]:
            if not asked:
                return {"rows": [], "promises": [], "asked": ""}
            journey = search.journey(reader, self.page.plain_item(reader, asked))
            customer = self.page.plain(reader, asked)
            rows = [] if customer is None else search.of_customer(reader, customer, ROWS)
            if journey is not None:
                rows = [journey.row, *(row for row in rows if row.journey != journey.row.journey)]
            promises = search.pledges_named(reader, asked, ROWS) or search.pledges_named(reader, f"standard:{asked}", ROWS)
            # who asked for a customer by name is shown the pseudonym: a page that is left open tells nobody's name
            told = self.page.names.item(asked) if customer is None else self.page.shown(customer)
            return {"rows": rows, "promises": promises, "asked": told}

        return answer(await self.page.written("search.html", "/search", look))

    async def rejects(self, request: web.Request, who: Who) -> web.StreamResponse:
        """Rejected records with their reasons, and the histories that were set aside."""
        return await self._rejects(request.query.get("source", "")[:100].replace("\x00", ""), who, "")

    async def _rejects(self, source: str, who: Who, said: str) -> web.StreamResponse:
        def look(reader: Reader) -> dict[str, Any]:
            return {
                "reasons": search.reject_reasons(reader, source or None, ROWS), "rows": reader.rejects(ROWS, source or None),
                "aside": reader.set_aside(ROWS),
            }  # fmt: skip

        operator = who.role == "operator"
        text = await self.page.written(
            "rejects.html", "/rejects", look, source=source, said=said, mark=self.page.access.mark(who) if operator else "",
            can_replay=operator and self.operations.replay is not None, can_refold=operator and self.operations.refold is not None,
            can_erase=operator and self.operations.erase is not None,
        )  # fmt: skip
        return answer(text)

    async def replay(self, form: dict[str, str]) -> str:
        """Rejected records are tried again."""
        return await _done(self.operations.replay, form.get("source", ""))

    async def refold(self, form: dict[str, str]) -> str:
        """A history is folded anew."""
        return await _done(self.operations.refold, form.get("item", ""))

    async def erase(self, form: dict[str, str]) -> str:
        """A customer is erased."""
        return await _done(self.operations.erase, form.get("customer", ""))


async def _done(operation: Operation | None, about: str) -> str:
    if operation is None:
        raise web.HTTPNotFound(headers=SECURITY, text="this can't be done from this page\n")
    return await operation(about)
