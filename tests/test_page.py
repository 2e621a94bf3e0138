"""What the page looks up is what is so: lists against the rows themselves, pictures against the events, promises against the states."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shown import NOW, RULES, fill, page, take
from test_ledger import BEGIN, STANDARDS, story
from tribo.ledger import search
from tribo.ledger.bodies import unpack_finding
from tribo.ledger.database import Where
from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.ledger.tables import PROMISE_BITS
from tribo.measure.advance import Frontier, decode_history
from tribo.measure.standards import compile_standards
from tribo.run.company import DAY
from tribo.run.demo import START
from tribo.show.page.access import Access
from tribo.show.page.filters import Filters, filters_of
from tribo.show.page.flows import pairs, picture
from tribo.show.page.picture import draw
from tribo.show.page.told import lines_of, reference, shown
from tribo.show.page.views import Page
from tribo.show.page.why import Shared, compare
from tribo.show.page.why import shared as what_stands_out
from tribo.show.runbooks import OF_FINDINGS, OF_STANDARDS, what_to_do
from tribo.wire.rejects import reject
from tribo_schemas.config import parse_yaml
from tribo_schemas.event import Event, event_of, stamp
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow
from tribo_schemas.standard import standards_of

MINUTE, HOUR = 60_000, 3_600_000


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("company")
    fill(folder)
    return folder


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    yield tmp_path if request.param == "sqlite" else request.getfixturevalue("postgres")


# -- now --------------------------------------------------------------------------------------------------------------


NOW_STANDARDS = b"""
standards:
  - {name: answer, says: We answer within an hour., clock: first_response, within: 1h, objective: 75%}
  - {name: kept, says: We keep our word., promise: any, objective: 90%}
"""


def test_now_says_what_is_so(tmp_path: Path) -> None:
    """A day of answers, one of three in time, and one a day later that doesn't come; promises at risk, told and untold, and one whose source is silent; a complaint and one taken back."""
    rules, at = compile_standards(standards_of(parse_yaml(NOW_STANDARDS, "standards"))), START + DAY + 10 * HOUR
    day = DAY // MINUTE  # from here on in minutes since the beginning
    answers = [
        said(10 * number + place, minutes, fact, f"case:{number}", customer=f"c{number}")
        for number, after in enumerate((30, 90, 120), 1)
        for place, (minutes, fact) in enumerate(((60, "opened"), (60 + after, "answered")))
    ]
    promises = [
        said(100, day, "opened", "order:1"), said(101, day, "assigned", "order:1", team="parcels"), said(102, day, "promised", "order:1", promise="delivery", due=stamp(at + HOUR)),
        said(110, day, "opened", "order:2"), said(111, day, "promised", "order:2", promise="delivery", due=stamp(at + 30 * MINUTE)), said(112, day + 9, "informed", "order:2", promise="delivery"),
        said(120, day, "opened", "order:3", source="shop"), said(121, day, "promised", "order:3", promise="gift", source="shop", due=stamp(at - HOUR)),
    ]  # fmt: skip
    words = [said(130, day, "opened", "case:9", customer="c9"), *(said(131 + more, day + 590, "complained", "case:9", customer="c9") for more in range(2))]
    last = [said(140, day + 595, "retracted", "case:9", customer="c9", retracts="e132"), said(150, day + 599, "opened", "case:10", source="till")]
    rejects = [(source, reject("crm.csv", number, "id: missing", b"{}")) for number, source in enumerate(("desk", "desk", "crm"))]
    with contextlib.closing(Ledger.open(tmp_path)) as ledger:
        take(ledger, [], START, rules)
        take(ledger, answers, START + 20 * HOUR, rules)
        for batch, now in ((promises, at - 9 * HOUR), (words, at - 5 * MINUTE), (last, at)):
            frontier = Frontier(now, heard={"desk": now, "shop": START + DAY}, silent={"shop": START + DAY})
            ledger.apply(batch, frontier, rules, rejects=rejects if now == at else (), received_at=now)
            while ledger.tick(frontier, rules):
                pass
        ledger.db.run("UPDATE histories SET dirty = 1, set_aside = 1 WHERE history = 1")

    async def ask() -> str:
        async with page(tmp_path, now=lambda: at, standards=rules, silent_after=HOUR) as client:
            return await (await client.get("/")).text()

    text = asyncio.run(ask())
    sections = {name: " ".join(re.sub(r"<[^>]+>", " ", part).split()) for name, part in re.findall(r'<section id="(\w+)" data-part>(.*?)</section>', text, re.S)}
    assert list(sections) == ["aside", "standards", "risks", "worst", "changes", "sources"]
    assert "1 history is set aside" in sections["aside"]
    assert "We answer within an hour. answer 75.0 % 25.0 % 50.0 short 1 3 1" in sections["standards"]
    assert 'aria-label="The last 2 days: from 33.3 % to 0.0 %, lowest 0.0 %"' in text
    assert "2 at risk, 1 unknown" in sections["risks"]
    risks = re.findall(r"(overdue|\d+ \w+) (\w+)( source silent)? (order:\d) c-\w+ (\w+)(?: (told|not told))?", sections["risks"].partition("Told ")[2])
    assert risks == [
        ("overdue", "gift", " source silent", "order:3", "nobody", "not told"), ("30 min", "delivery", "", "order:2", "nobody", "told"),
        ("1 h", "delivery", "", "order:1", "parcels", "not told"),
    ]  # fmt: skip
    assert re.search(r"case:9 c-\w+ 8 0", sections["worst"])
    assert "5 min ago case:9 The customer complained." in sections["changes"]
    assert "0 s ago case:9 The customer complained. withdrawn" in sections["changes"]
    assert "<s>The customer complained.</s>" in text
    health = dict(re.findall(r"(desk|shop|till|no known source) (well|silent|rejecting|clock ahead)", sections["sources"]))
    assert health == {"desk": "rejecting", "shop": "silent", "till": "well", "no known source": "rejecting"}


# -- lists -----------------------------------------------------------------------------------------------------------


def all_of(reader: Reader) -> tuple[list[JourneyRow], list[Finding]]:
    return list(reader.all_journeys()), list(reader.standing())


def listed(where: Where, address: str) -> list[str]:
    """The journeys on the list at an address, over all its pages."""

    async def ask() -> list[str]:
        found: list[str] = []
        async with page(where) as client:
            while True:
                number = len(found) // 50 + 1
                text = await (await client.get(f"/journeys?{address}&page={number}")).text()
                rows = [part.partition('"')[0] for part in text.split('<tr data-row data-key="')[1:]]
                found += rows
                if len(rows) < 50:
                    return found

    return asyncio.run(ask())


def test_each_filter_lists_what_it_says(company: Path) -> None:
    with Reader(company) as reader:
        rows, findings = all_of(reader)
    since, until = NOW - 9 * DAY, NOW - 2 * DAY
    window = f"from={stamp(since)}&to={stamp(until)}"

    def journeys_with(**wanted: Any) -> set[str]:
        return {one.journey for one in findings if all(getattr(one, name) == value for name, value in wanted.items())}

    topics = {one.topic for one in findings if one.kind == "complaint"}
    cases: dict[str, set[str]] = {
        "touchpoint=returns": {row.journey for row in rows if "returns" in row.touchpoints},
        "status=ended": {row.journey for row in rows if row.status == "ended"},
        "friction=20": {row.journey for row in rows if row.friction >= 20},
        "promise=kept_late": {row.journey for row in rows if row.promises.kept_late},
        "promise=broken&touchpoint=service": {row.journey for row in rows if row.promises.broken and "service" in row.touchpoints},
        window: {row.journey for row in rows if row.opened_at < until and row.last_event_at >= since},
        "finding=handoff": journeys_with(kind="handoff"),
        f"finding=handoff&{window}": {one.journey for one in findings if one.kind == "handoff" and since <= one.at < until},
        "team=billing-desk": journeys_with(team="billing-desk"),
        "finding=handoff&from_team=first-line&team=delivery-desk": journeys_with(kind="handoff", from_team="first-line", team="delivery-desk"),
        "channel=phone&finding=channel_switch": journeys_with(channel="phone", kind="channel_switch"),
        "standard=phone": journeys_with(standard="phone"),
        "standard=delivery-on-time": {one.journey for one in findings if one.kind in ("promise_broken", "promise_moved_late") and one.promise == "delivery"},
        "standard=refund": {one.journey for one in findings if one.promise == "standard:refund" and one.kind.startswith("promise_") and one.kind != "promise_at_risk"},
        "standard=few-hands": {one.journey for one in findings if one.kind == "handoff" and one.level == "team" and one.touchpoint == "service"},
        "standard=alternative": journeys_with(kind="no_alternative"),
        "team=nobody-like-this": set(),
        **{f"finding=complaint&topic={topic}": journeys_with(kind="complaint", topic=topic) for topic in topics},
    }  # fmt: skip
    for address, wanted in cases.items():
        found = listed(company, address)
        assert len(found) == len(set(found)), address
        assert set(found) == wanted, address
        assert wanted or address == "team=nobody-like-this", f"{address}: tests nothing"
    by_friction = {row.journey: row.friction for row in rows}
    assert [by_friction[name] for name in listed(company, "status=open")] == sorted((row.friction for row in rows if row.status == "open"), reverse=True)
    opened = {row.journey: row.opened_at for row in rows}
    assert [opened[name] for name in listed(company, "status=open&sort=oldest")] == sorted(row.opened_at for row in rows if row.status == "open")


def test_a_list_is_the_same_on_both_databases(postgres: str, tmp_path: Path) -> None:
    for where in (tmp_path, postgres):
        fill(where, days=6, orders_per_day=8)
    addresses = (
        "friction=5", "finding=handoff&sort=newest", "promise=kept&sort=oldest", f"from={stamp(START + 3 * DAY)}", "standard=delivery-on-time", "sort=delight",
    )  # fmt: skip
    for address in addresses:
        assert listed(tmp_path, address) == listed(postgres, address), address

    async def texts(where: Where) -> list[str]:
        async with page(where, now=lambda: START + 6 * DAY) as client:
            paths = ("/handoffs?days=30", "/promises?days=30", "/why?finding=handoff", "/report?week=2026-W02", "/report?week=2026-W02&form=csv")
            return [(await (await client.get(path)).text()) for path in paths]

    assert asyncio.run(texts(tmp_path)) == asyncio.run(texts(postgres))


def test_filters_are_the_address(company: Path) -> None:
    filters = filters_of({"from": "1767600000", "to": "2026-01-06T00:00:00+01:00", "team": "a & b", "friction": "7", "page": "3", "sort": "newest"})
    assert filters == Filters(since=1_767_600_000_000, until=1_767_654_000_000, team="a & b", friction=7, page=3, sort="newest")
    assert filters_of(dict(part.split("=") for part in filters.query(page=3).replace("+", " ").replace("%26", "&").replace("%3A", ":").split("&") if part.count("=") == 1)).friction == 7
    wrong = filters_of({"from": "yesterday", "to": "nan", "touchpoint": "shop", "friction": "-3", "page": "9999999999", "finding": "handof"})
    assert (wrong.since, wrong.until, wrong.touchpoint, wrong.friction, wrong.page, wrong.finding) == (None, None, None, None, 1, None)
    assert [text.partition(":")[0] for text in wrong.wrong] == ["from", "to", "touchpoint", "finding", "friction", "page"]
    assert filters_of({"from": "20", "to": "10"}).wrong == ("to: must come after from",)


# -- what the ledger repeats -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_table_of_promises_is_what_the_states_say(where: Where, seed: int) -> None:
    draw_ = random.Random(seed)
    events = story(seed)
    draw_.shuffle(events)
    with contextlib.closing(Ledger.open(where)) as ledger:
        while events:
            size = draw_.choice((1, 5, 40))
            take(ledger, events[:size], BEGIN + 60 * DAY, STANDARDS)
            events = events[size:]
        with Reader(where) as reader:
            wanted = {}
            for history, body in reader.rows("SELECT history, state FROM histories WHERE state IS NOT NULL"):
                state = decode_history(body)
                for item in state.items.values():
                    for promise in item.promises.values():
                        wanted[history, item.id, promise.id] = ("unknown" if promise.unknown else promise.state, promise.due, item.journey, item.customer)
            rows = reader.rows("SELECT history, item, promise, state, due, journey, customer FROM promises")
            assert {row[:3]: row[3:] for row in rows} == wanted
            assert wanted
            for body, bits, known in reader.rows("SELECT body, promises, known FROM journeys"):
                row = search.unpack_journey(body)
                assert bits == sum(bit for name, bit in PROMISE_BITS.items() if getattr(row.promises, name))
                assert known == (row.customer is not None)
            for body, *columns in reader.rows("SELECT body, from_team, level, promise FROM findings"):
                finding = unpack_finding(body)
                assert columns == [finding.from_team, finding.level, finding.promise]


def test_each_day_is_read_as_it_began(where: Where) -> None:
    fill(where, days=5, orders_per_day=4)
    with contextlib.closing(Ledger.open(where)) as ledger, Reader(where) as reader:
        before = search.live(reader)
        assert search.reading(reader, START + 9 * DAY) == before  # nothing has happened since
        take(ledger, [event_of({"id": "x", "source": "shop", "time": stamp(START + 9 * DAY), "touchpoint": "service", "fact": "complained", "item": "case:x"})],
             START + 9 * DAY + HOUR)  # fmt: skip
        assert search.reading(reader, START + 9 * DAY) == before
        assert search.live(reader)["finding|complaint|service|"] == before.get("finding|complaint|service|", 0) + 1
        assert search.reading(reader, START - DAY) is None
        assert len(search.days(reader, START + 9 * DAY, 4)) == 5


# -- one journey -------------------------------------------------------------------------------------------------------


def said(number: int, minutes: int, fact: str, item: str = "case:1", **more: Any) -> Event:
    touchpoint = {"case": "service", "order": "purchase"}[item.partition(":")[0]]
    base = {"id": f"e{number}", "source": "desk", "time": stamp(START + minutes * MINUTE), "touchpoint": touchpoint, "fact": fact, "item": item}
    return event_of({**base, "customer": "anna", **more})


def told_in(folder: Path, *batches: list[Event], now: int = START + 40 * DAY) -> search.Journey:
    with contextlib.closing(Ledger.open(folder)) as ledger:
        for batch in batches:
            take(ledger, batch, now, STANDARDS)
    with Reader(folder) as reader:
        journey = search.journey(reader, batches[0][0].item)
    assert journey is not None
    return journey


def drawn(journey: search.Journey, standards: Any = STANDARDS) -> Any:
    lines = lines_of(journey)
    numbers = {reference(line.event): line.number for line in lines}
    return draw(journey, [line.event for line in lines if line.holds], numbers, standards.default_calendar, START + 40 * DAY)


def test_a_picture_shows_holders_waits_and_promises(tmp_path: Path) -> None:
    journey = told_in(tmp_path, [
        said(1, 0, "opened", channel="chat", topic="delivery"), said(2, 10, "assigned", team="a"), said(3, 20, "assigned", team="b"),
        said(4, 30, "assigned", team="a"), said(5, 40, "answered"), said(6, 50, "awaiting_customer"), said(7, 80, "customer_replied"),
        said(8, 90, "put_on_hold"), said(9, 100, "resumed"), said(10, 105, "complained"), said(11, 110, "promised", promise="call", due=stamp(START + 170 * MINUTE)),
        said(12, 120, "promised", promise="call", due=stamp(START + 200 * MINUTE)), said(13, 190, "kept", promise="call"), said(14, 195, "resolved"),
        said(15, 200, "praised"),
    ])  # fmt: skip
    found = drawn(journey)
    (lane,) = found.lanes
    at = START - found.begin

    def minutes(span: Any) -> tuple[int, int]:
        return (span.begin - at) // MINUTE, (span.end - at) // MINUTE

    assert [(minutes(span), span.says, span.back) for span in lane.holders] == [
        ((10, 20), "a", False), ((20, 30), "b", False), ((30, 195), "a", True),
    ]  # fmt: skip
    assert lane.holders[0].look == lane.holders[2].look != lane.holders[1].look
    assert [(minutes(span), span.look) for span in lane.waits] == [
        ((0, 40), "us"), ((40, 50), "open"), ((50, 80), "customer"), ((80, 90), "us"), ((90, 100), "hold"), ((100, 195), "us"),
    ]  # fmt: skip
    (flag,) = lane.flags
    assert (flag.state, [(due - at) // MINUTE for due in flag.moves], (flag.due - at) // MINUTE, flag.met_at is not None) == ("kept_as_moved", [170], 200, True)
    assert [mark.look for mark in lane.marks] == ["complaint", "praise"]
    assert [tick.event for tick in lane.ticks] == list(range(1, 16))
    assert found.closed == []  # round the clock


def test_closed_hours_are_shaded(company: Path) -> None:
    with Reader(company) as reader:
        row = max((row for row in reader.all_journeys() if "service" in row.touchpoints), key=lambda row: row.events)
        journey = search.journey(reader, row.journey)
    assert journey is not None
    found = drawn(journey, RULES)
    closed = sum(closes - opens for opens, closes in found.closed)
    assert found.length - closed == RULES.default_calendar.elapsed(found.begin, found.begin + found.length)
    assert 0 < closed < found.length


def test_three_hundred_events_are_drawn(tmp_path: Path) -> None:
    events = [said(0, 0, "opened")]
    events += [said(number, number * 7, *(("assigned",) if number % 3 else ("customer_replied",)), **({"team": f"t{number % 5}"} if number % 3 else {})) for number in range(1, 300)]
    found = drawn(told_in(tmp_path, events))
    assert len(found.lanes[0].ticks) == 300
    assert len(found.legend) == 5


@pytest.mark.parametrize(
    ("first", "later", "kind", "says", "by"),
    [
        ([said(1, 0, "opened"), said(2, 1, "promised", promise="p", due=stamp(START + HOUR))], [said(3, 30, "kept", promise="p")], "promise_broken", "an event that came later", "e3"),
        ([said(1, 0, "opened"), said(2, 5, "complained")], [said(3, 9, "retracted", retracts="e2")], "complaint", "taken back", "e3"),
        ([said(1, 0, "opened", item="order:1")], [said(3, 30, "promised", item="order:1", promise="p", due=stamp(START + 90 * DAY))], "no_expectation", "an event that came later", "e3"),
    ],
)  # fmt: skip
def test_a_withdrawn_finding_names_what_corrected_it(tmp_path: Path, first: list[Event], later: list[Event], kind: str, says: str, by: str) -> None:
    journey = told_in(tmp_path, first, later)
    lines = lines_of(journey)
    (one,) = [one for one in shown(journey, lines) if one.finding.kind == kind]
    assert not one.standing
    assert says in one.corrected
    assert next(line.event.id for line in lines if line.number == one.by) == by

    async def ask() -> str:
        async with page(tmp_path, standards=STANDARDS) as client:
            return await (await client.get(f"/journeys/{first[0].item}")).text()

    assert f"(<a href=\"#e{one.by}\">event {one.by}</a>)" in asyncio.run(ask())


# -- why, handoffs -----------------------------------------------------------------------------------------------------


def test_why_names_what_was_planted(tmp_path: Path) -> None:
    with contextlib.closing(Ledger.open(tmp_path)) as ledger:
        events = []
        for number in range(120):
            bad = number % 4 == 0
            item, at = f"case:{number}", number * 30
            events += [said(10 * number, at, "opened", item, customer=f"c{number}", channel="chat" if bad or number % 3 == 0 else "phone"),
                       said(10 * number + 1, at + 5, "assigned", item, customer=f"c{number}", team="night" if bad else random.Random(number).choice(("day", "late")))]  # fmt: skip
            if bad:
                events.append(said(10 * number + 2, at + 9, "complained", item, customer=f"c{number}", topic="noise"))
        take(ledger, events, START + 3 * DAY, STANDARDS)
    with Reader(tmp_path) as reader:
        found = compare(reader, search.Wanted(kinds=("complaint",)), START + 3 * DAY)
    assert found["compared"] == (30, 90)
    best = {(one.dimension, one.value): one for one in found["shared"]}
    assert best["team", "night"].times is None
    assert (best["team", "night"].behind, best["team", "night"].of_behind, best["team", "night"].others) == (30, 30, 0)
    assert ("channel", "chat") in best
    assert ("source", "desk") not in best  # all have it
    assert what_stands_out([{("team", "a")}] * 3, []) == []
    assert isinstance(found["shared"][0], Shared)


def test_handoffs_are_added_up_by_pair(tmp_path: Path) -> None:
    told_in(tmp_path, [
        said(1, 0, "opened"), said(2, 10, "assigned", team="a"), said(3, 40, "assigned", team="b"), said(4, 50, "assigned", team="a"), said(5, 90, "assigned", team="b"),
    ])  # fmt: skip
    with Reader(tmp_path) as reader:
        rows, read, total = pairs(reader, search.Wanted())
    assert (read, total) == (3, 3)
    assert [(pair.sender, pair.receiver, pair.handoffs, pair.ping_pongs, pair.points, pair.kept_ms // MINUTE) for pair in rows] == [
        ("a", "b", 2, 1, 7, 70), ("b", "a", 1, 1, 5, 10),
    ]  # fmt: skip
    flows = picture(rows)
    assert flows is not None
    assert [(link.sender, link.receiver) for link in flows.links] == [("a", "b"), ("b", "a")]
    assert flows.links[0].width == pytest.approx(2 * flows.links[1].width)
    assert picture([]) is None


def test_why_says_what_to_do(company: Path) -> None:
    own = compile_standards(standards_of(parse_yaml(OWN_RUNBOOKS, "standards")))

    async def ask(address: str, **more: Any) -> str:
        async with page(company, **more) as client:
            return (await (await client.get(f"/why?{address}")).text()).partition('<p class="notice">')[2].partition("</p>")[0]

    assert asyncio.run(ask("standard=phone")).startswith("Tell <b>service</b>. What to do: Stop what causes it if it began with a change.")
    assert 'href="/runbooks/TriboStandardBurnsFast.md"' in asyncio.run(ask("standard=phone"))
    assert asyncio.run(ask("finding=promise_broken")).startswith("What to do: Call the customers, say what happened and offer an alternative (offered);")
    assert asyncio.run(ask("finding=hold")) == ""
    assert asyncio.run(ask("standard=linked", standards=own)) == 'What to do: <a href="https://wiki.example/a" rel="noreferrer">https://wiki.example/a</a>'
    assert asyncio.run(ask("standard=written", standards=own)) == "Tell <b>anna</b>. What to do: Ring &lt;Bob&gt;."
    for alert in (OF_STANDARDS, *OF_FINDINGS.values()):
        assert len(what_to_do(alert)) > 20, alert


OWN_RUNBOOKS = b"""
standards:
  - {name: linked, says: We answer., clock: first_response, within: 1h, runbook: "https://wiki.example/a"}
  - {name: written, says: We answer soon., clock: first_response, within: 2h, owner: anna, runbook: Ring <Bob>.}
"""


def test_handoffs_between_people_without_a_team_are_told_by_their_names(tmp_path: Path) -> None:
    told_in(tmp_path, [
        said(1, 0, "opened"), said(2, 10, "assigned", owner="ann"), said(3, 40, "assigned", owner="bob"), said(4, 70, "assigned", team="b"),
        said(5, 90, "assigned", team="c"),
    ])  # fmt: skip
    with Reader(tmp_path) as reader:
        rows, read, total = pairs(reader, search.Wanted())
    assert {(pair.sender, pair.receiver): pair.handoffs for pair in rows} == {("ann", "bob"): 1, ("bob", "b"): 1, ("b", "c"): 1}
    assert (read, total) == (3, 3)


def test_an_event_is_found_by_its_reference_whatever_slashes_are_in_it(tmp_path: Path) -> None:
    told_in(tmp_path, [
        said(number, minute, "opened", id=name, source=source, item=f"case:{number}", customer=f"c{number}")
        for number, (minute, source, name) in enumerate(((1, "a", "1"), (2, "a/b", "c/d"), (3, "a", "b/c/d")), 1)
    ])  # fmt: skip
    with Reader(tmp_path) as reader:
        histories = [reader.history_of(f"case:{number}") for number in (1, 2, 3)]
        times = search.times_of(reader, ["a/1", "a/b/c/d", "a/none", "nobody/1", "a"])
    assert times == {(histories[0], "a/1"): START + MINUTE, (histories[1], "a/b/c/d"): START + 2 * MINUTE, (histories[2], "a/b/c/d"): START + 3 * MINUTE}


def test_findings_are_counted_by_kind_and_touchpoint_without_sorting_them(company: Path) -> None:
    week = search.Wanted(since=START + 7 * DAY, until=START + 14 * DAY)
    with Reader(company) as reader:
        assert len(search.by_touchpoint(reader, week)) > 20
        assert search.by_touchpoint(reader, week) == search.counted(reader, week, "kind", "touchpoint", limit=1000)


def test_counts_and_filters_by_finding_open_no_finding(company: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[str] = []
    ask = Reader.rows

    def asked(reader: Reader, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        plans.extend(row[3] for row in ask(reader, f"EXPLAIN QUERY PLAN {sql}", parameters) if "findings_of_kind" in row[3])
        return ask(reader, sql, parameters)

    monkeypatch.setattr(Reader, "rows", asked)
    week = search.Wanted(since=START, until=START + 7 * DAY)
    with Reader(company) as reader:
        for wanted in (week, search.Wanted(kinds=("complaint",), topic="delivery"), search.Wanted(kinds=("promise_broken",), promise="delivery", channel="phone"), search.Wanted(kinds=("handoff",), level="team", from_team="a")):
            search.journeys(reader, found=wanted)
            search.counted(reader, wanted, "kind", "touchpoint")
            search.by_touchpoint(reader, wanted)
            search.distinct_journeys(reader, wanted)
            search.journeys_with(reader, wanted, 10)
        search.handed_on(reader, week)
        search.journeys_with_both(reader, week, search.Wanted(kinds=("recovered",)))
    assert len(plans) >= 22
    assert [plan for plan in plans if "COVERING INDEX" not in plan] == []


def test_looks_taken_at_once_are_of_one_state(company: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> list[Reader]:
        shown = Page(lambda: Reader(company), RULES, Access(), now=lambda: NOW, silent_after=DAY)
        return await shown.read_at_once(lambda reader: reader, lambda reader: reader, lambda reader: reader)

    assert len(set(asyncio.run(look()))) == 3
    versions = count()
    monkeypatch.setattr(Reader, "size", lambda reader: {"version": next(versions) // 2})  # something was written between the second and the third
    assert len(set(asyncio.run(look()))) == 1


# -- search ------------------------------------------------------------------------------------------------------------


def test_a_customer_is_searched_by_name_and_shown_by_pseudonym(company: Path) -> None:
    async def ask() -> None:
        async with page(company) as client:
            text = await (await client.get("/search?q=customer-12")).text()
            assert "customer-12<" not in text
            assert 'value="customer-12"' not in text
            pseudonym = text.partition('value="c-')[2].partition('"')[0]
            assert text.count("data-row") > 0
            again = await (await client.get(f"/search?q=c-{pseudonym}")).text()
            assert again.count("data-row") == text.count("data-row")
            assert "No" not in again.partition("<h1>")[2].partition("</h1>")[0]
            for asked, found in (("order:1001", "order:1001"), ("delivery", "order:"), ("refund", "return:"), ("none:such", "Nothing."), ("c-0000000000000000", "Nothing.")):
                assert found in await (await client.get("/search", params={"q": asked})).text(), asked

    asyncio.run(ask())


# -- live --------------------------------------------------------------------------------------------------------------


def test_a_stream_tells_the_newest_version_and_resumes(tmp_path: Path) -> None:
    with contextlib.closing(Ledger.open(tmp_path)) as ledger:
        take(ledger, [said(1, 0, "opened")], START, STANDARDS)

        async def next_event(response: Any) -> dict[str, str]:
            found: dict[str, str] = {}
            while True:
                line = (await asyncio.wait_for(response.content.readline(), 30)).decode().strip()
                if not line and "id" in found:
                    return found
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    found[name] = value

        async def ask() -> None:
            async with page(tmp_path) as client:
                first = await client.get("/stream")
                assert first.headers["Content-Type"] == "text/event-stream"
                begun = await next_event(first)
                await asyncio.to_thread(take, ledger, [said(2, 5, "complained")], START + HOUR, STANDARDS)
                changed = await next_event(first)
                assert int(changed["id"]) > int(begun["id"])
                assert changed["event"] == "changed"
                missed = await client.get("/stream", headers={"Last-Event-ID": begun["id"]})
                assert (await next_event(missed))["id"] == changed["id"]
                current = await client.get("/stream", headers={"Last-Event-ID": changed["id"]})
                await asyncio.to_thread(take, ledger, [said(3, 6, "complained")], START + HOUR, STANDARDS)
                assert int((await next_event(current))["id"]) > int(changed["id"])  # and not what it had heard already
                for response in (first, missed, current):
                    response.close()

        asyncio.run(ask())


def test_many_who_look_at_once_are_written_for_once(company: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tribo.show.page import views

    written = []
    real = views.now_of
    monkeypatch.setattr(views, "now_of", lambda *args: written.append(1) or real(*args))  # type: ignore[func-returns-value]

    async def ask() -> None:
        async with page(company) as client:
            answers = await asyncio.gather(*(client.get("/parts") for _ in range(40)))
            texts = {await answer.text() for answer in answers}
            assert len(texts) == 1

    asyncio.run(ask())
    assert len(written) <= 2  # one, and another if a second passed


def test_standards_that_nobody_has_written_are_no_fault(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()

    async def ask() -> None:
        async with page(tmp_path, standards=compile_standards(None)) as client:
            for path in ("/", "/parts", "/journeys", "/why?standard=none", "/why", "/handoffs", "/promises", "/report", "/search", "/rejects"):
                assert (await client.get(path)).status == 200, path
            assert (await client.get("/report?week=2026-W60")).status == 400
            assert (await client.get("/journeys/none:1")).status == 404

    asyncio.run(ask())


def test_items_that_name_a_person_are_shown_by_pseudonym(tmp_path: Path) -> None:
    with contextlib.closing(Ledger.open(tmp_path)) as ledger:
        base = {"source": "box", "touchpoint": "service", "item": "phone:+43660123", "customer": "anna"}
        rows = [("opened", {}), ("promised", {"promise": "callback", "due": stamp(START + 90 * DAY)}), ("assigned", {"team": "a"}), ("assigned", {"team": "b"}), ("complained", {})]
        events = [event_of({**base, "id": f"+43660123/{fact}{number}", "time": stamp(START + number * HOUR), "fact": fact, **more}) for number, (fact, more) in enumerate(rows)]
        take(ledger, [*events, said(1, 0, "opened")], START + 8 * HOUR, STANDARDS)

    async def ask() -> None:
        async with page(tmp_path, now=lambda: START + 8 * HOUR, personal=("phone",)) as client:
            texts = {path: await (await client.get(path)).text() for path in ("/", "/journeys", "/promises", "/handoffs", "/why?finding=complaint", "/search?q=callback", "/search?q=phone:%2B43660123")}
            hidden = "phone:p-" + texts["/journeys"].partition("/journeys/phone:p-")[2][:16]
            texts["journey"] = await (await client.get(f"/journeys/{hidden}")).text()
            assert "What was found" in texts["journey"]
            texts["missing"] = await (await client.get("/journeys/phone:+43660999")).text()
            assert "case:1" in texts["/journeys"]  # which names nobody
            for path, text in texts.items():
                assert "43660123" not in text.replace("box/+43660123/", ""), path
                assert "43660999" not in text, path
            assert hidden in texts["/search?q=phone:%2B43660123"]

    asyncio.run(ask())
