"""`tribo rejects`: what could not be read, by reason, with the mapping's line; and, once the mapping is mended, read again.

A record that is taken now leaves the rejects in the same transaction in which its events come in. What was replayed before is gone, what
is replayed at the same time elsewhere gives duplicates: to replay twice does no harm.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Environment
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from tribo.ledger.database import Where, until_taken
from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.advance import Frontier
from tribo.run.accept import event_in
from tribo.run.clock import Heard
from tribo.run.commit import FUTURE_REASON
from tribo.run.delivery import Broken, Busy, Delivery, Full, Taker
from tribo.run.ingest import FORBIDDEN, mapped
from tribo.run.sources import mapping_path
from tribo.run.standards import standards_kept
from tribo.wire.mapping import Mapping
from tribo.wire.rejects import Reject
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import BadEvent, Event
from tribo_schemas.source import source_of

AT_ONCE = 500
MOST_REASONS = 50
CUT = re.compile(r"\(only the first \d+ of \d+ bytes are kept\)$")
PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


class Replayed(msgspec.Struct):
    """What a replay did: records that left the rejects, their events by outcome, and why the others stayed (reason: how many)."""

    taken: int = 0
    events: dict[str, int] = {}
    left: dict[str, int] = {}

    def count(self, outcomes: Sequence[str]) -> None:
        """Add outcomes of events."""
        for outcome in outcomes:
            self.events[outcome] = self.events.get(outcome, 0) + 1


# -- looking at them ------------------------------------------------------------------------------------------------------


def list_rejects(where: Where, limit: int = 50, source: str | None = None) -> list[dict[str, Any]]:
    """The records refused last, newest first, with the text of the mapping's line. Raises BadConfig if there is no ledger."""
    with Reader(where) as reader:
        rows = reader.rejects(limit, source)
        lines = _Lines(reader)
        for row in rows:
            if "place" in row:
                row["line_of_mapping"] = lines.of(row["mapping"], row["place"])
        return rows


def count_rejects(where: Where, source: str | None = None) -> list[dict[str, Any]]:
    """How many, by source, the mapping's line and reason (what is particular to one record left out), most first."""
    with Reader(where) as reader:
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        lines = _Lines(reader)
        for row in reader.reject_counts(source):
            place = row["place"] and lines.of(row["mapping"], row["place"])
            reason = PARTICULAR.sub("…", CUT.sub("", row["reason"]).rstrip())
            held = found.setdefault(
                (row["source"], row["mapping"], place, reason),
                {"count": 0, "source": row["source"], "mapping": row["mapping"], "line_of_mapping": place, "reason": reason, "latest": 0},
            )
            held["count"] += row["count"]
            held["latest"] = max(held["latest"], row["latest"])
    return sorted(found.values(), key=lambda row: (-row["count"], row["source"], row["reason"]))


def counted(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Counts in lines to read."""
    if not rows:
        return ["no record was rejected"]
    wide = max(len(row["source"]) for row in rows)
    return [f"{'count':>8}  {'source':<{wide}}  reason"] + [
        f"{row['count']:>8}  {row['source']:<{wide}}  {row['reason']}"
        + (f"  <- {row['line_of_mapping']}" if row["line_of_mapping"] else f"  <- {row['mapping']}" if row["mapping"] else "")
        for row in rows
    ]


class _Lines:
    """Lines of mappings, as the ledger remembers their texts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._texts: dict[str, list[str]] = {}

    def of(self, mapping: str, place: str) -> str:
        """`file:line: what stands there`."""
        if mapping not in self._texts:
            texts = self._reader.texts(f"mapping:{mapping}")
            self._texts[mapping] = texts[-1].splitlines() if texts else []
        number = place.rpartition(":")[2]
        lines = self._texts[mapping]
        return f"{place}: {lines[int(number) - 1].strip()}" if number.isdecimal() and 0 < int(number) <= len(lines) else place


# -- reading them again ---------------------------------------------------------------------------------------------------


class Again:
    """Rejected records, read again with the mappings as they are now."""

    def __init__(self, texts: Callable[[str], list[str]], files: Environment[str, str] | None = None) -> None:
        """`texts`: a setting's remembered texts (`mapping:NAME`); `files`: texts of mappings that go before those."""
        self._texts, self._files = texts, files or {}
        self._mappings: dict[str, Mapping | None] = {}

    def events(self, row: dict[str, Any], now: int) -> list[Event] | str:
        """Its events, perhaps none; or why it stays."""
        reason = str(row["reason"])
        if reason.startswith(f"source: {FORBIDDEN}"):
            return "was sent by somebody who may not speak for its source"
        if CUT.search(reason):
            return "is not kept whole"
        raw = base64.b64decode(row["payload"]) if row["encoding"] == "base64" else row["payload"].encode("utf-8", "surrogatepass")
        name = row["mapping"]
        if not name:
            try:
                made: list[Event | Reject] = [event_in(raw)]
            except BadEvent as error:
                return str(error)
        else:
            mapping = self._mapping(name)
            if mapping is None:
                return f"its mapping {name} is not known: name its file with --mapping"
            if mapping.file.kind == "update_log":
                return "rows of an update log say something only together: use `tribo remap`"
            made = mapped(mapping, row["input"], row["line"], raw)
        events: list[Event] = []
        for one in made:
            if isinstance(one, Reject):
                return one.reason
            if Heard.is_future(one, now):
                return FUTURE_REASON
            events.append(one)
        return events

    def _mapping(self, name: str) -> Mapping | None:
        if name not in self._mappings:
            text = self._files.get(name) or next(iter(reversed(self._texts(f"mapping:{name}"))), None)
            try:
                self._mappings[name] = None if text is None else Mapping(source_of(parse_yaml(text.encode(), name)), name)
            except BadConfig:
                self._mappings[name] = None
        return self._mappings[name]

    def batch(self, rows: Sequence[dict[str, Any]], now: int, done: Replayed) -> tuple[list[Event], list[int]]:
        """The events of these, and which of them go; what stays is noted in `done`."""
        events: list[Event] = []
        going: list[int] = []
        for row in rows:
            found = self.events(row, now)
            if isinstance(found, str):
                reason = PARTICULAR.sub("…", found)
                if reason in done.left or len(done.left) < MOST_REASONS:
                    done.left[reason] = done.left.get(reason, 0) + 1
                else:
                    done.left["other reasons"] = done.left.get("other reasons", 0) + 1
            else:
                events += found
                going.append(row["reject"])
        done.taken += len(going)
        return events, going


def replay(
    where: Where, source: str | None = None, mappings: Sequence[str] = (), standards: Path | None = None, now: int | None = None
) -> Replayed:
    """Read the rejects again, those of one source or all, in a ledger that no other process writes to. Raises BadConfig.

    `mappings`: files of corrected mappings (or names of packaged ones); default: as the ledger last knew them.
    """
    files = {mapping_path(name).stem: mapping_path(name).read_text("utf-8") for name in mappings if Mapping.load(name)}
    rules, text = standards_kept(where, standards)
    now = time.time_ns() // 1_000_000 if now is None else now
    done = Replayed()
    ledger = Ledger.open(where, text)
    try:
        for name, content in files.items():
            ledger.remember_text(f"mapping:{name}", content)
        again = Again(ledger.texts, files)
        frontier = Frontier(now, heard={name: mark for name, (mark, _) in ledger.watermarks().items() if mark is not None})
        with Reader(where) as reader:
            for rows in _pages(reader, source):
                events, going = again.batch(rows, now, done)
                if going:
                    done.count(until_taken(lambda events=events, going=going: ledger.apply(events, frontier, rules, replayed=going)))  # type: ignore[misc]
    finally:
        ledger.close()
    return done


def _pages(reader: Reader, source: str | None) -> Iterator[list[dict[str, Any]]]:
    last = -1
    while rows := reader.rejects_after(last, source, AT_ONCE):
        last = rows[-1]["reject"]
        yield rows


def told(done: Replayed) -> list[str]:
    """What was done, in lines to read."""
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(done.events.items())) or "none"
    lines = [f"{done.taken} records left the rejects; their events: {outcomes}"]
    if done.left:
        lines.append(f"{sum(done.left.values())} stay")
        lines += [f"  {number:>8}  {reason}" for reason, number in sorted(done.left.items(), key=lambda pair: (-pair[1], pair[0]))]
    return lines


# -- in the process that runs ---------------------------------------------------------------------------------------------


ROUTE = "/api/rejects/replay"


async def replay_through(open_reader: Callable[[], Reader], taker: Taker, now: int, source: str | None = None) -> Replayed:
    """As `replay`, through the process that has the ledger. Raises Busy, Full, Broken: what was replayed until then is."""
    done = Replayed()
    reader = await asyncio.to_thread(open_reader)
    try:
        again = Again(reader.texts)
        last = -1
        while rows := await asyncio.to_thread(reader.rejects_after, last, source, AT_ONCE):
            last = rows[-1]["reject"]
            events, going = again.batch(rows, now, done)
            if going:
                delivery = Delivery(events, input=f"POST {ROUTE}", replayed=going)
                outcomes = await asyncio.wrap_future(taker.submit(delivery))
                done.count(["rejected" if isinstance(one, Reject) else one for one in outcomes])
    finally:
        reader.close()
    return done


def replay_route(open_reader: Callable[[], Reader], taker: Taker, now: Callable[[], int]) -> web.RouteDef:
    """POST /api/rejects/replay[?source=NAME], with the operator's token."""

    async def handler(request: web.Request) -> web.Response:
        if request.content_type != "application/json":  # which no page of another site sends without asking
            return web.json_response({"error": "send Content-Type: application/json"}, status=415)
        try:
            done = await replay_through(open_reader, taker, now(), request.query.get("source"))
        except (Busy, Full, Broken):
            return web.json_response({"error": "can't be written now; come again"}, status=503, headers={"Retry-After": "5"})
        return web.json_response(msgspec.to_builtins(done))

    return web.post(ROUTE, handler)


def replay_at(address: str, token: str | None, source: str | None = None) -> Replayed:
    """Ask a running process to replay. Raises BadConfig: it doesn't answer, or refuses."""
    url = address.rstrip("/") + ROUTE + (f"?{urllib.parse.urlencode({'source': source})}" if source is not None else "")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers), timeout=600) as response:
            return msgspec.json.decode(response.read(), type=Replayed)
    except urllib.error.HTTPError as error:
        said = error.read(1000).decode("utf-8", "replace")
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(said)["error"]
        raise BadConfig(f"{address}: answers {error.code}: {said}" + ("; set TRIBO_TOKEN" if error.code == 401 else "")) from None
    except (OSError, ValueError) as error:
        raise BadConfig(f"{address}: can't be asked ({error}); is `tribo run` there?") from None
