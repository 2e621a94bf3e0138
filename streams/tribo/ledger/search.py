"""What the page and the report look up: lists of journeys, one journey whole, what was found in a stretch of time, promises.

All of it is read through `Reader.rows`, in SQL that SQLite and PostgreSQL both understand; every query is bounded by a number of rows
or by an index. Instants are UTC milliseconds, stretches of time half open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from tribo.ledger.bodies import live_tallies, unpack_counters, unpack_event, unpack_finding, unpack_journey, unpack_tallies
from tribo.ledger.reader import Reader, Told
from tribo.ledger.tables import PROMISE_BITS, STATUSES, TOUCHPOINT_BITS
from tribo.measure.advance import decode_history
from tribo.measure.history import Promise
from tribo.measure.standards import Entry
from tribo_schemas.event import TOUCHPOINTS, Event, order_key
from tribo_schemas.finding import KINDS, Finding
from tribo_schemas.journey import PROMISE_STATES, JourneyRow

LONG_AGO, FAR_OFF = -(2**62), 2**62
DAY = 86_400_000
MOST_LOOKED_THROUGH = 5_000
MOST_PAIRS = 10_000
"""How many pairs of teams are told apart: a hundred teams that all hand on to one another."""
MOST_EVENTS = 5_000
"""How many events of a journey are shown; who has more is no customer."""


class Journey(msgspec.Struct):
    """One journey whole: its row, its events in order, the order in which they arrived, its findings with what they were before
    (the latest revision of each last), and its promises by item."""

    row: JourneyRow
    events: list[Event]
    arrived: dict[str, int]
    findings: list[Told]
    promises: dict[str, list[Promise]]
    set_aside: bool


def journey(reader: Reader, item: str) -> Journey | None:
    """The journey that an item belongs to, or None if nobody knows the item."""
    history = reader.history_of(item)
    if history is None:
        return None
    found = (unpack_journey(body) for (body,) in reader.rows("SELECT body FROM journeys WHERE history = ?", (history,)))
    row = next((row for row in found if item in row.items), None)
    if row is None:
        return None
    items = set(row.items)
    events: list[Event] = []
    arrived: dict[str, int] = {}
    for number, body in reader.rows("SELECT event, body FROM events WHERE history = ? AND length(body) > 0 ORDER BY event", (history,)):
        event = unpack_event(body)
        if event.item in items and len(events) < MOST_EVENTS:
            events.append(event)
            arrived[f"{event.source}/{event.id}"] = number
    told = []
    for table in ("revisions", "findings"):
        for body, revision, status, found_at, historical in reader.rows(
            f"SELECT body, revision, status, found_at, historical FROM {table} WHERE history = ?", (history,)
        ):
            finding = unpack_finding(body)
            if finding.item in items:
                told.append(Told(finding, revision, STATUSES[status], found_at, bool(historical)))
    told.sort(key=lambda one: (one.finding.at, one.finding.id, one.revision))
    promises: dict[str, list[Promise]] = {}
    set_aside = False
    for state, aside in reader.rows("SELECT state, set_aside FROM histories WHERE history = ?", (history,)):
        set_aside = bool(aside)
        if state is not None:
            folded = decode_history(state)
            promises = {name: list(folded.items[name].promises.values()) for name in row.items if name in folded.items}
    return Journey(row, sorted(events, key=order_key), arrived, told, promises, set_aside)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which findings: all of what is given must hold of one finding; `kinds` and `promises` are alternatives."""

    since: int = LONG_AGO
    until: int = FAR_OFF
    kinds: tuple[str, ...] = ()
    touchpoint: str | None = None
    team: str | None = None
    channel: str | None = None
    topic: str | None = None
    standard: str | None = None
    promise: str | None = None
    level: str | None = None
    from_team: str | None = None


OF_COUNTS = {
    "handoffs": ("handoff", None), "team_handoffs": ("handoff", "team"), "ping_pongs": ("ping_pong", None),
    "channel_switches": ("channel_switch", None), "repeat_contacts": ("repeat_contact", None), "repeated": ("repeated", None),
    "holds": ("hold", None), "reopened": ("reopened", None), "abandoned": ("abandoned", None), "escalated": ("escalated", None),
    "complaints": ("complaint", None), "praises": ("praise", None), "surprises": ("surprise", None),
}  # fmt: skip
OF_PRACTICES = {"expectation": "no_expectation", "alternative": "no_alternative", "confirmation": "unconfirmed"}


def behind(entry: Entry, wanted: Wanted) -> Wanted:
    """The findings behind a standard's misses: a clock's and an implied or named promise's are its own; of a count, each occasion."""
    level: str | None = None
    promise: str | None = None
    standard: str | None = None
    kinds: tuple[str, ...]
    if entry.kind == "clock":
        kinds, standard = ("standard_missed",), entry.name
    elif entry.kind in ("promise", "implied"):
        kinds = ("promise_broken", "promise_moved_late")
        promise = f"standard:{entry.name}" if entry.kind == "implied" else None if entry.promise == "any" else entry.promise
    elif entry.kind == "count":
        found, level = OF_COUNTS.get(entry.count or "", ("", None))
        kinds = (found,)
    else:
        kinds = (OF_PRACTICES[entry.practice or ""],)
    return msgspec.structs.replace(
        wanted, kinds=kinds, standard=standard, promise=promise, level=level, touchpoint=wanted.touchpoint or entry.touchpoint,
        team=wanted.team or entry.team, topic=wanted.topic or entry.topic, channel=wanted.channel or entry.channel,
    )  # fmt: skip


def _of_findings(wanted: Wanted) -> tuple[str, list[Any]]:
    """The condition on `findings f`."""
    parts, values = ["f.status = 0"], list[Any]()
    timed = wanted.since != LONG_AGO or wanted.until != FAR_OFF
    if wanted.kinds or timed:  # all kinds, if none is named: the index goes by kind, then by time
        one = len(wanted.kinds) == 1  # then the index has them in the order of time, too
        parts.append("f.kind = ?" if one else "f.kind IN (?*)")
        values.append(wanted.kinds[0] if one else list(wanted.kinds or KINDS))
    if wanted.since != LONG_AGO:
        parts.append("f.at >= ?")
        values.append(wanted.since)
    if wanted.until != FAR_OFF:
        parts.append("f.at < ?")
        values.append(wanted.until)
    for name in ("touchpoint", "team", "channel", "topic", "standard", "promise", "level", "from_team"):
        value = getattr(wanted, name)
        if value is not None:
            parts.append(f"f.{name} = ?")
            values.append(value)
    return " AND ".join(parts), values


ORDERS = {
    "friction": "j.friction DESC, j.last_event_at DESC, j.journey",
    "delight": "j.delight DESC, j.last_event_at DESC, j.journey",
    "newest": "j.opened_at DESC, j.journey",
    "oldest": "j.opened_at, j.journey",
}


def journeys(
    reader: Reader, *, since: int = LONG_AGO, until: int = FAR_OFF, touchpoint: str | None = None, status: str | None = None,
    friction: int | None = None, promise: str | None = None, found: Wanted | None = None, order: str = "friction",
    limit: int = 50, offset: int = 0,
) -> list[JourneyRow]:  # fmt: skip
    """Journeys going on in a stretch of time, or, with `found`, those with such a finding."""
    parts, values = [], list[Any]()
    if found is not None:
        condition, values = _of_findings(found)
        parts.append(f"(j.history, j.journey) IN (SELECT f.history, f.journey FROM findings f WHERE {condition})")
    else:
        if until != FAR_OFF:
            parts.append("j.opened_at < ?")
            values.append(until)
        if since != LONG_AGO:
            parts.append("j.last_event_at >= ?")
            values.append(since)
    if status is not None:
        parts.append("j.status = ?")
        values.append(status)
    if friction is not None:
        parts.append("j.friction >= ?")
        values.append(friction)
    if touchpoint is not None:
        parts.append("(j.touchpoints & ?) <> 0")
        values.append(TOUCHPOINT_BITS[touchpoint])
    if promise is not None:
        parts.append("(j.promises & ?) <> 0")
        values.append(PROMISE_BITS[promise])
    where = f"WHERE {' AND '.join(parts)} " if parts else ""
    sql = f"SELECT j.body FROM journeys j {where}ORDER BY {ORDERS[order]} LIMIT ? OFFSET ?"
    return [unpack_journey(body) for (body,) in reader.rows(sql, (*values, limit, offset))]


def findings(reader: Reader, wanted: Wanted, limit: int) -> list[tuple[int, Finding]]:
    """Standing findings, the latest first, each with its history."""
    condition, values = _of_findings(wanted)
    rows = reader.rows(f"SELECT f.history, f.body FROM findings f WHERE {condition} ORDER BY f.at DESC LIMIT ?", (*values, limit))
    return [(history, unpack_finding(body)) for history, body in rows]


def journeys_with(reader: Reader, wanted: Wanted, limit: int) -> list[tuple[int, str]]:
    """The journeys with such a finding, as (history, journey), the latest found first."""
    condition, values = _of_findings(wanted)
    sql = f"SELECT f.history, f.journey FROM findings f WHERE {condition} GROUP BY f.history, f.journey ORDER BY max(f.at) DESC LIMIT ?"
    return [(history, name) for history, name in reader.rows(sql, (*values, limit))]


def journeys_without(reader: Reader, wanted: Wanted, since: int, until: int, limit: int) -> list[tuple[int, str]]:
    """Journeys that went on in a stretch of time, at the same touchpoint, without any such finding; the newest first. Of the newest
    MOST_LOOKED_THROUGH: where nearly all have such a finding, fewer than `limit` may be found."""
    condition, values = _of_findings(wanted)
    condition = condition.replace("f.kind ", "coalesce(f.kind, '') ")  # of a few histories: by their key, and not by the kind
    scope = "" if wanted.touchpoint is None else f"AND (touchpoints & {TOUCHPOINT_BITS[wanted.touchpoint]}) <> 0 "
    newest = (
        f"SELECT history, journey FROM journeys WHERE opened_at < ? AND last_event_at >= ? {scope}ORDER BY opened_at DESC, journey LIMIT ?"
    )
    some = [(history, name) for history, name in reader.rows(newest, (until, since, MOST_LOOKED_THROUGH))]
    found: list[tuple[int, str]] = []
    for begin in range(0, len(some), 500):
        these = some[begin : begin + 500]
        sql = f"SELECT f.history, f.journey FROM findings f WHERE f.history IN (?*) AND {condition}"
        having = {(history, name) for history, name in reader.rows(sql, ([history for history, _ in these], *values))}
        found += [one for one in these if one not in having]
        if len(found) >= limit:
            break
    return found[:limit]


def items_of(reader: Reader, some: Iterable[tuple[int, str]]) -> dict[tuple[int, str], frozenset[str]]:
    """The items of some journeys, by (history, journey)."""
    wanted = set(some)
    rows = in_batches(reader, "SELECT history, journey, body FROM journeys WHERE history IN (?*)", {history for history, _ in wanted})
    return {(history, name): frozenset(unpack_journey(body).items) for history, name, body in rows if (history, name) in wanted}


def counted(reader: Reader, wanted: Wanted, *by: str, limit: int = 50) -> list[tuple[Any, ...]]:
    """How many findings there are, and how many points, by some of their columns; the most points, then the most findings, first."""
    condition, values = _of_findings(wanted)
    columns = "".join(f"f.{name}, " for name in by)
    group = f"GROUP BY {', '.join(f'f.{name}' for name in by)} " if by else ""
    sql = (
        f"SELECT {columns}count(*), CAST(coalesce(sum(f.points), 0) AS bigint) FROM findings f WHERE {condition} {group}"
        f"ORDER BY {len(by) + 2} DESC, {len(by) + 1} DESC{''.join(f', f.{name}' for name in by)} LIMIT ?"
    )
    return reader.rows(sql, (*values, limit))


def by_touchpoint(reader: Reader, wanted: Wanted) -> list[tuple[str, str, int, int]]:
    """How many findings there are of each kind at each touchpoint, and how many points: as `counted` has them, but without sorting them,
    since the index has them by kind."""
    condition, values = _of_findings(wanted)
    one = "count(*) FILTER (WHERE {0}), CAST(coalesce(sum(f.points) FILTER (WHERE {0}), 0) AS bigint)"
    columns = ", ".join(one.format(f"f.touchpoint = '{name}'") for name in TOUCHPOINTS)
    found = []
    for kind, *figures in reader.rows(f"SELECT f.kind, {columns} FROM findings f WHERE {condition} GROUP BY f.kind", values):
        found += [(kind, name, *figures[2 * place : 2 * place + 2]) for place, name in enumerate(TOUCHPOINTS) if figures[2 * place]]
    return sorted(found, key=lambda one: (-one[3], -one[2], one[0], one[1]))


def distinct_journeys(reader: Reader, wanted: Wanted) -> int:
    """How many journeys have such a finding."""
    condition, values = _of_findings(wanted)
    sql = f"SELECT count(*) FROM (SELECT DISTINCT f.history, f.journey FROM findings f WHERE {condition}) AS chosen"
    return int(reader.rows(sql, values)[0][0])


def handed_on(reader: Reader, wanted: Wanted) -> list[tuple[str | None, str | None, int, int, int]]:
    """Who hands on to whom: (from team, to team, handoffs, ping-pongs, points), the most points first, MOST_PAIRS at most."""
    condition, values = _of_findings(msgspec.structs.replace(wanted, kinds=("handoff", "ping_pong")))
    sql = (
        "SELECT f.from_team, f.team, count(*) FILTER (WHERE f.kind = 'handoff'), count(*) FILTER (WHERE f.kind = 'ping_pong'), "
        f"CAST(coalesce(sum(f.points), 0) AS bigint) FROM findings f WHERE {condition} GROUP BY f.from_team, f.team "
        "ORDER BY 5 DESC, 3 DESC, f.from_team, f.team LIMIT ?"
    )
    return [(sender, receiver, *figures) for sender, receiver, *figures in reader.rows(sql, (*values, MOST_PAIRS))]


def handed_on_by_nobody(reader: Reader, wanted: Wanted, limit: int) -> list[Finding]:
    """Those of them that lack a team at one end: the latest, in no order."""
    condition, values = _of_findings(msgspec.structs.replace(wanted, kinds=("handoff", "ping_pong")))
    unnamed = f"{condition} AND (f.team IS NULL OR f.from_team IS NULL)"
    latest = f"SELECT f.history, f.id FROM findings f WHERE {unnamed} ORDER BY f.at DESC LIMIT ?"
    rows = reader.rows(f"SELECT body FROM findings WHERE (history, id) IN ({latest})", (*values, limit))
    return [unpack_finding(body) for (body,) in rows]


def events_of(reader: Reader, histories: Iterable[int]) -> dict[int, list[Event]]:
    """The events of some histories, in the order of their arrival. For a few hundred histories, not for all."""
    found: dict[int, list[Event]] = {}
    sql = "SELECT history, body FROM events WHERE history IN (?*) AND length(body) > 0 ORDER BY event"
    for history, body in in_batches(reader, sql, histories):
        found.setdefault(history, []).append(unpack_event(body))
    return found


def times_of(reader: Reader, references: Iterable[str]) -> dict[tuple[int, str], int]:
    """When some events were, as (history, `source/id`): UTC ms. For a few thousand events."""
    sources = {name: number for number, name in reader.rows("SELECT source, name FROM sources")}
    wanted: dict[str, set[str]] = {}
    for reference in set(references):
        parts = reference.split("/")
        for end in range(1, len(parts)):  # a source may have a slash in it, as an id may
            source = "/".join(parts[:end])
            if source in sources:
                wanted.setdefault(source, set()).add("/".join(parts[end:]))
    sql = "SELECT history, id, body FROM events WHERE source = ? AND id IN (?*) AND length(body) > 0"
    return {
        (history, f"{source}/{name}"): unpack_event(body).time
        for source, ids in wanted.items()
        for history, name, body in reader.rows(sql, (sources[source], sorted(ids)))
    }


def in_batches(reader: Reader, sql: str, values: Iterable[Any]) -> Iterable[tuple[Any, ...]]:
    """A query over many values."""
    some = sorted(set(values))
    for begin in range(0, len(some), 500):
        yield from reader.rows(sql, (some[begin : begin + 500],))


class Pledge(msgspec.Struct, frozen=True):
    """A promise as the ledger's table has it. `state` as in a journey's row; `told`: the customer heard that it will be late."""

    item: str
    promise: str
    journey: str
    touchpoint: str
    team: str | None
    owner: str | None
    customer: str | None
    state: str
    at_risk: bool
    told: bool
    moved: int
    moved_late: int
    asked: int
    first_due: int
    due: int


_NAMES = Pledge.__struct_fields__
_PLEDGE = ", ".join(_NAMES)


def _pledges(rows: Iterable[Sequence[Any]]) -> list[Pledge]:
    return [msgspec.convert(dict(zip(_NAMES, row, strict=True)), Pledge, strict=False) for row in rows]


def pledges(reader: Reader, states: Sequence[str], limit: int, *, pressing: bool = False, touchpoint: str | None = None) -> list[Pledge]:
    """Promises in some states, the next due first; `pressing`: at risk, or unknown."""
    more = (" AND at_risk = 1" if pressing else "") + (" AND touchpoint = ?" if touchpoint else "")
    found = _by_state(reader, states, more, (touchpoint,) if touchpoint else (), "due, item, promise", limit)
    return sorted(found, key=lambda one: (one.due, one.item, one.promise))[:limit]


def pledges_named(reader: Reader, promise: str, limit: int) -> list[Pledge]:
    """Promises of that name, the latest due first."""
    found = _by_state(reader, PROMISE_STATES, " AND promise = ?", (promise,), "due DESC, item", limit)
    return sorted(found, key=lambda one: (-one.due, one.item))[:limit]


def _by_state(reader: Reader, states: Sequence[str], more: str, values: tuple[Any, ...], order: str, limit: int) -> list[Pledge]:
    """The first ones of each state, in which the index has them by their dues; rows are opened for these alone."""
    first = f"SELECT history, item, promise FROM promises WHERE state = ?{more} ORDER BY {order} LIMIT ?"
    sql = f"SELECT {_PLEDGE} FROM promises WHERE (history, item, promise) IN ({first})"
    return _pledges(row for state in states for row in reader.rows(sql, (state, *values, limit)))


def fates(reader: Reader, since: int, until: int, touchpoint: str | None = None) -> list[tuple[str | None, str, str, int, int]]:
    """Promises due in a stretch of time: (team, promise, state, how many, of which the customer was told in time that they'd be late)."""
    values: tuple[Any, ...] = (list(PROMISE_STATES), since, until, *((touchpoint,) if touchpoint else ()))
    sql = (
        "SELECT team, promise, state, count(*), CAST(sum(told) AS bigint) FROM promises "
        "WHERE state IN (?*) AND due >= ? AND due < ? AND synthetic = 0 "
        f"{'AND touchpoint = ? ' if touchpoint else ''}GROUP BY team, promise, state ORDER BY team, promise, state LIMIT 20000"
    )
    return [(team, promise, state, number, told) for team, promise, state, number, told in reader.rows(sql, values)]


def going_on(reader: Reader, since: int, until: int, days: int, limits: Sequence[int]) -> tuple[int, list[tuple[int, int, int]]]:
    """How many journeys, mystery shoppers' left out, went on in a stretch of time. And of those that are purchases by a known customer,
    opened in so many days before its end, by bands of friction (up to and with each limit; then the rest): (the band's number, how many,
    after how many of them the same customer opened another purchase)."""
    bands = [*(f"friction <= {int(limit)}" for limit in limits), "0 = 0"]
    bought_since = until - days * DAY
    purchase = "known = 1 AND (touchpoints & 1) <> 0"
    columns = ", ".join(f"count(*) FILTER (WHERE {band} AND {purchase} AND opened_at >= {bought_since})" for band in bands)
    sql = f"SELECT count(*) FILTER (WHERE last_event_at >= ?), {columns} FROM journeys WHERE opened_at < ? AND synthetic = 0"
    ((number, *bought),) = reader.rows(sql, (since, until))
    several = "SELECT DISTINCT history FROM journeys WHERE several = 1"  # most have one journey: only the others are looked through
    columns = ", ".join(f"count(*) FILTER (WHERE {band})" for band in bands)
    sql = (
        f"SELECT {columns} FROM ({several}) AS h CROSS JOIN journeys j WHERE j.history = h.history AND synthetic = 0 AND {purchase} "
        "AND opened_at >= ? AND opened_at < ? AND EXISTS (SELECT 1 FROM journeys o WHERE o.history = j.history "
        f"AND (o.opened_at, o.journey) > (j.opened_at, j.journey) AND synthetic = 0 AND {purchase})"
    )
    (again,) = reader.rows(sql, (bought_since, until))
    sides = ([number - before for before, number in pairwise((0, *side))] for side in (bought, again))
    return int(number), [(band, *both) for band, both in enumerate(zip(*sides, strict=True)) if both[0]]


def days(reader: Reader, until: int, most: int) -> list[dict[str, int]]:
    """How the tallies (found − withdrawn) stood when each of the last UTC days began, up to and with the day of `until`; from the first
    day that the ledger knows on."""
    first, last = until // DAY - most, until // DAY
    sql = "SELECT partition, day, tallies FROM days WHERE day >= ? ORDER BY partition, day"
    readings: dict[int, list[tuple[int, dict[str, int]]]] = {}
    for partition, day, body in reader.rows(sql, (first,)):
        readings.setdefault(partition, []).append((day, unpack_tallies(body)))
    if not readings:
        return []
    now = _standing(reader)
    begin = max(first, min(some[0][0] for some in readings.values()))
    found = []
    for day in range(begin, last + 1):
        found.append(_added(
            next((tallies for of, tallies in readings.get(partition, ()) if of >= day), latest) for partition, latest in now.items()
        ))  # fmt: skip
    return found


def reading(reader: Reader, at: int) -> dict[str, int] | None:
    """How the tallies stood when the UTC day of an instant began; None when the ledger knows nothing of that day or an earlier one.

    A partition reads its counters in the first transaction of a day: without one, the next day's reading says how that day began."""
    day = at // DAY
    if not reader.rows("SELECT 1 FROM days WHERE day <= ? LIMIT 1", (day,)):
        return None
    sql = (
        "SELECT d.partition, d.tallies FROM days d "
        "WHERE d.day = (SELECT min(o.day) FROM days o WHERE o.partition = d.partition AND o.day >= ?)"
    )
    partitions = _standing(reader) | {partition: unpack_tallies(body) for partition, body in reader.rows(sql, (day,))}
    return _added(partitions.values())


def live(reader: Reader) -> dict[str, int]:
    """The tallies as they stand now, of what no import brought: what `reading` can be compared with."""
    return _added(_standing(reader).values())


def _standing(reader: Reader) -> dict[int, dict[str, int]]:
    return {
        partition: live_tallies(unpack_counters(counters), {} if historical is None else unpack_counters(historical))
        for partition, counters, historical in reader.rows("SELECT partition, counters, historical FROM partitions")
    }


def _added(some: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for tallies in some:
        for key, number in tallies.items():
            total[key] = total.get(key, 0) + number
    return total


def journeys_with_both(reader: Reader, first: Wanted, second: Wanted) -> tuple[int, int]:
    """How many journeys have a finding of the first sort, and how many of these one of the second as well, of which no journey has two."""
    one, values = _of_findings(first)
    other, more = _of_findings(second)
    sql = (
        f"WITH chosen AS (SELECT DISTINCT f.history, f.journey FROM findings f WHERE {one}) "
        f"SELECT (SELECT count(*) FROM chosen), count(*) FROM findings f WHERE {other} AND (f.history, f.journey) IN (SELECT * FROM chosen)"
    )
    ((number, both),) = reader.rows(sql, (*values, *more))
    return int(number), int(both)


def of_customer(reader: Reader, customer: str, limit: int) -> list[JourneyRow]:
    """The journeys of a customer, by the plain id, the newest first."""
    history = history_named(reader, customer)
    if history is not None:
        rows = reader.rows("SELECT body FROM journeys WHERE history = ? ORDER BY opened_at DESC LIMIT ?", (history, 10 * limit))
        found: list[JourneyRow] = [unpack_journey(body) for (body,) in rows]
        return [row for row in found if row.customer == customer][:limit]
    return []


def history_named(reader: Reader, customer: str) -> int | None:
    """The history that holds a customer, by the plain id; None if nobody knows the customer."""
    rows = reader.rows("SELECT history FROM links WHERE name = ?", ("c:" + customer,))
    while rows:
        history = int(rows[0][0])
        rows = reader.rows("SELECT merged_into FROM histories WHERE history = ? AND merged_into IS NOT NULL", (history,))
        if not rows:
            return history
    return None


def customers(reader: Reader, most: int) -> Iterable[str]:
    """The customers that the ledger knows, by their plain ids."""
    after = "c:"
    while most > 0:
        rows = reader.rows("SELECT name FROM links WHERE name > ? AND name < 'c;' ORDER BY name LIMIT ?", (after, min(most, 10_000)))
        yield from (name[2:] for (name,) in rows)
        if not rows:
            return
        after, most = rows[-1][0], most - len(rows)


def items_of_kind(reader: Reader, kind: str, most: int) -> Iterable[str]:
    """The items of a kind that the ledger knows."""
    after = f"i:{kind}:"
    while most > 0:
        sql = "SELECT name FROM links WHERE name > ? AND name < ? ORDER BY name LIMIT ?"
        rows = reader.rows(sql, (after, f"i:{kind};", min(most, 10_000)))
        yield from (name[2:] for (name,) in rows)
        if not rows:
            return
        after, most = rows[-1][0], most - len(rows)


def reject_reasons(reader: Reader, source: str | None, limit: int) -> list[tuple[str, str, int]]:
    """Why records were rejected: (source, reason, how many), the most first."""
    where, values = ("WHERE source = ? ", (source,)) if source is not None else ("", ())
    sql = f"SELECT source, reason, count(*) FROM rejects {where}GROUP BY source, reason ORDER BY 3 DESC, source, reason LIMIT ?"
    return [(name, reason, number) for name, reason, number in reader.rows(sql, (*values, limit))]
