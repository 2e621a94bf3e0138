"""The report: its figures against a story made for them, its texts against who might read them as something else."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from shown import RULES, fill, take
from tribo.ledger import search
from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.measure.score import BANDS
from tribo.measure.standards import compile_standards
from tribo.run.demo import START
from tribo.show.page.paper import as_html
from tribo.show.report import Queue, as_csv, as_markdown, cell, plain, report_of, rows, week, wilson
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import Event, event_of, stamp
from tribo_schemas.standard import standards_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TWO_WORKDAYS = b"""
standards:
  - {name: answer, says: We answer within an hour., clock: first_response, within: 1h, objective: 75%}
  - {name: kept, says: We keep our word., promise: any, objective: 90%}
"""
STANDARDS = compile_standards(standards_of(parse_yaml(TWO_WORKDAYS, "standards")))


def said(number: int, at: int, fact: str, item: str, customer: str, **more: Any) -> Event:
    touchpoint = {"case": "service", "order": "purchase"}[item.partition(":")[0]]
    return event_of({"id": f"e{number}", "source": "desk", "time": stamp(at), "touchpoint": touchpoint, "fact": fact, "item": item, "customer": customer, **more})


def test_the_figures_are_those_of_the_week(tmp_path: Path) -> None:
    first, second = START, START + 7 * DAY  # two Mondays
    events: list[Event] = []

    def case(number: int, at: int, answered_after: int, *more: tuple[int, str, dict[str, Any]]) -> None:
        item, customer = f"case:{number}", f"c{number}"
        events.append(said(len(events), at, "opened", item, customer, topic="noise"))
        events.append(said(len(events), at + answered_after, "answered", item, customer))
        for after, fact, fields in more:
            events.append(said(len(events), at + after, fact, item, customer, **fields))

    complained, praised = (2 * HOUR, "complained", {"topic": "noise"}), (3 * HOUR, "praised", {"topic": "noise"})
    rated = (4 * HOUR, "rated", {"score": 4, "scale": 5, "by": "customer", "standard": "answer"})
    doubted = (4 * HOUR, "rated", {"score": 1, "scale": 5, "by": "human", "standard": "answer"})
    case(1, first + DAY, 30 * MINUTE)
    case(2, first + DAY, 90 * MINUTE, complained)
    case(3, second + DAY, 30 * MINUTE, complained, praised, rated, doubted)
    case(4, second + DAY, 2 * HOUR, complained)
    case(5, second + DAY, 3 * HOUR, (2 * HOUR, "complained", {"topic": "bill"}))
    case(6, second + 2 * DAY, 10 * MINUTE, (5 * HOUR, "assigned", {"team": "a"}), (6 * HOUR, "assigned", {"team": "b"}), (8 * HOUR, "assigned", {"team": "a"}))
    ledger = Ledger.open(tmp_path)
    take(ledger, [], START, STANDARDS)
    for day in range(15):
        now = START + (day + 1) * DAY
        take(ledger, [event for event in events if now - DAY <= event.time < now], now, STANDARDS)
    ledger.close()
    with Reader(tmp_path) as reader:
        report = report_of(reader, STANDARDS, *week("2026-W03", 0))
        before = report_of(reader, STANDARDS, *week("2026-W02", 0))
        nothing = report_of(reader, STANDARDS, *week("2025-W02", 0))
    assert (report.since, report.until) == (second, second + 7 * DAY)
    assert [(topic.topic, topic.complaints, topic.praises) for topic in report.complaints] == [("noise", 2, 1), ("bill", 1, 0)]
    assert (report.complained, report.praised, report.journeys, report.problems, report.recovered) == (3, 1, 4, 3, 1)
    assert [(thing.kind, thing.touchpoint, thing.number, thing.points) for thing in report.worst] == [
        ("complaint", "service", 3, 15), ("standard_missed", "service", 2, 6), ("no_expectation", "service", 4, 4),
    ]  # fmt: skip
    assert [(thing.kind, thing.number) for thing in report.best] == [("recovered", 1), ("praise", 1)]
    by_name = {one.name: one for one in report.standards}
    answer = by_name["answer"]
    assert (answer.expected, answer.actual, answer.decided, answer.gap, report.whole) == (0.75, 0.5, 4, 0.25, False)
    assert (answer.customers, answer.customers_asked, answer.employees, answer.employees_asked) == (0.8, 1, 0.2, 1)
    assert by_name["kept"].actual is None
    assert {one.name: (one.actual, one.decided) for one in before.standards}["answer"] == (0.5, 2)
    assert [(pair.sender, pair.receiver, pair.handoffs, pair.ping_pongs, pair.points) for pair in report.handoffs] == [("b", "a", 1, 1, 5), ("a", "b", 1, 0, 2)]
    assert (nothing.journeys, nothing.complaints, nothing.worst, nothing.whole) == (0, [], [], True)


def test_the_service_level_of_the_week_is_told_beside_who_gave_up(tmp_path: Path) -> None:
    """By hand: of the second week's six calls, two were answered within 20 s, and of the two that were given up one within 20 s."""
    second = START + 7 * DAY
    ledger = Ledger.open(tmp_path)
    take(ledger, [], START, STANDARDS)
    for begin, waits in (
        (START + DAY, ((1, "answered"), (2, "answered"))),
        (second + DAY, ((20, "answered"), (20.001, "answered"), (3, "answered"), (5, "abandoned"), (70, "abandoned"), (10, "closed"))),
    ):
        calls = [call(begin // DAY * 100 + number, begin, seconds, ending) for number, (seconds, ending) in enumerate(waits)]
        take(ledger, [event for one in calls for event in one], begin + DAY, STANDARDS)
    take(ledger, [], second + 7 * DAY, STANDARDS)
    ledger.close()
    with Reader(tmp_path) as reader:
        report = report_of(reader, STANDARDS, *week("2026-W03", 0))
        before = report_of(reader, STANDARDS, *week("2026-W02", 0))
    assert report.queues == [Queue("service", 6, 2 / 5, 2 / 6)]
    assert before.queues == [Queue("service", 2, 1.0, 0.0)]
    table = {(row[0], row[1]): row[2:4] for row in csv.reader(io.StringIO(as_csv(report)))}
    assert (table["service level", "service"], table["gave up waiting", "service"]) == (["6", "0.4"], ["6", "0.333333"])
    assert "| service | 6 | 40.0 % | 33.3 % |" in as_markdown(report)
    assert re.search(r"<td>service</td>\D+>6<\D+>40.0 %<\D+>33.3 %<", as_html(report))
    assert "In live queues" not in as_markdown(msgspec.structs.replace(report, queues=[]))


def call(number: int, at: int, waited_seconds: float, ending: str) -> list[Event]:
    """Somebody calls and waits; it ends as said."""
    item, ends = f"case:{number}", at + round(waited_seconds * 1000)
    return [
        said(10 * number + place, time, fact, item, f"c{number}")
        for place, (time, fact) in enumerate(((at, "opened"), (at, "queued"), (ends, ending)))
    ]


def test_who_bought_again_is_told_by_friction(tmp_path: Path) -> None:
    events: list[Event] = []
    for number in range(20):
        customer, at = f"c{number}", START + number * HOUR
        events.append(said(len(events), at, "opened", f"order:{number}", customer))
        if number < 8:  # 8 with a complaint (5 points), of which 2 come again; of the other 12, 9
            events.append(said(len(events), at + MINUTE, "complained", f"order:{number}", customer))
        if number in (0, 1) or number >= 11:
            events.append(said(len(events), at + 20 * DAY, "opened", f"order:{number + 100}", customer))
    nobody = event_of({"id": "n", "source": "desk", "time": stamp(START), "touchpoint": "purchase", "fact": "opened", "item": "order:999"})
    ledger = Ledger.open(tmp_path)
    take(ledger, [*events, nobody], START + 20 * DAY + 22 * HOUR, compile_standards(None))
    ledger.close()
    with Reader(tmp_path) as reader:
        report = report_of(reader, RULES, "", START, START + 10 * DAY)
    bands = {band.friction: band for band in report.bands}
    assert (bands["5-9"].purchases, bands["5-9"].again, bands["5-9"].share) == (8, 2, 0.25)
    assert (bands["1-4"].purchases, bands["1-4"].again) == (12, 9)  # a point each: a day without telling what to expect
    assert (bands["5-9"].low, bands["5-9"].high) == pytest.approx((0.0715, 0.5907), abs=1e-4)


def test_who_bought_again_is_what_the_rows_say(tmp_path: Path) -> None:
    """Customers with one purchase to four, some of them at one instant, and cases beside them, which are journeys of their own."""
    draw, events = Random(4), list[Event]()
    for number in range(120):
        customer = f"c{number}"
        for place in range(number % 5):
            at, item = START + draw.choice((0, 1, 3, 8, 12)) * DAY, f"order:{number}-{place}"
            events.append(said(len(events), at, "opened", item, customer))
            events += [said(len(events) + more, at + HOUR + more, "complained", item, customer) for more in range(draw.randrange(5))]
        events.append(said(len(events), START - 40 * DAY, "opened", f"case:{number}", customer))
    ledger = Ledger.open(tmp_path)
    take(ledger, events, START + 14 * DAY)
    ledger.close()
    since, until, limits = START + 2 * DAY, START + 9 * DAY, [most for most, _ in BANDS]
    with Reader(tmp_path) as reader:
        number, found = search.going_on(reader, since, until, 8, limits)
        rows = list(reader.all_journeys())
    assert number == sum(row.opened_at < until and row.last_event_at >= since for row in rows)
    bought = [row for row in rows if "purchase" in row.touchpoints]
    expected: dict[int, list[int]] = {}
    for row in bought:
        if until - 8 * DAY <= row.opened_at < until:
            many = expected.setdefault(sum(row.friction > limit for limit in limits), [0, 0])
            later = any(one.customer == row.customer and (one.opened_at, one.journey) > (row.opened_at, row.journey) for one in bought)
            many[0] += 1
            many[1] += later
    assert {band: [many, again] for band, many, again in found} == expected
    assert len(expected) > 3
    assert all(0 < again < many for many, again in expected.values())


@pytest.mark.parametrize(("hits", "number", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0), (1, 1, 0.2065, 1.0)])
def test_wilsons_interval(hits: int, number: int, low: float, high: float) -> None:
    assert wilson(hits, number) == pytest.approx((low, high), abs=1e-4)


def test_a_week_has_a_name() -> None:
    assert week("2026-W10", 0) == ("2026-W10", 1_772_409_600_000, 1_773_014_400_000)
    assert week(None, 1_773_014_400_000)[0] == "2026-W10"
    assert week(None, 1_773_014_399_999)[0] == "2026-W09"
    assert week("2020-W53", 0)[0] == "2020-W53"
    for wrong in ("2026-W54", "2025-W53", "2026-10", "W10", "2026-W00", "", "٢٠٢٦-W10", "0000-W01"):
        with pytest.raises(BadConfig, match="is no week"):
            week(wrong, 0)


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1+1", "=cmd|' /C calc'!A0", "|x", "%0A=1", "  -2+3")


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == "'" + text
    assert cell(f"a{text}") == f"a{text}"
    assert cell(-1.5) == -1.5


def test_strangers_words_stay_words_in_csv_and_markdown(tmp_path: Path) -> None:
    hostile = [*FORMULAS[:9], "a | b", "**bold** [x](javascript:alert(1)) <script>alert(1)</script>", 'quote " and, comma\nnew line']
    ledger = Ledger.open(tmp_path)
    events = [said(2 * number, START + DAY, "opened", f"case:{number}", "c") for number in range(len(hostile))]
    events += [said(2 * number + 1, START + DAY + HOUR + number, "complained", f"case:{number}", "c", topic=text) for number, text in enumerate(hostile)]
    events += [said(900 + number, START + DAY + 2 * HOUR + number, "assigned", "case:0", "c", team=text) for number, text in enumerate(hostile)]
    take(ledger, events, START + 2 * DAY, compile_standards(None))
    ledger.close()
    with Reader(tmp_path) as reader:
        report = report_of(reader, RULES, *week("2026-W02", 0))
    text = as_csv(report)
    table = list(csv.reader(io.StringIO(text, newline="")))
    assert len(table) == len(rows(report)) + 1
    assert all(len(row) == 9 for row in table)
    for row in table[1:]:
        for value in row:
            assert not re.match(r"\s*[=+@|%]|\s*-[^0-9.]", value), value
    markdown = as_markdown(report)
    assert "<script>" not in markdown
    assert "](javascript" not in markdown
    assert {line.replace("\\|", "").count("|") for line in markdown.splitlines() if line.startswith("| ")} <= {5, 7, 8}
    assert plain("a\nb `c`") == "a b \\`c\\`"


def test_the_command_writes_each_form(tmp_path: Path) -> None:
    fill(tmp_path, days=8, orders_per_day=6)
    for form, begins in (("markdown", "# Dealing with us, 2026"), ("csv", '"section","what"'), ("html", "<!doctype html>")):
        command = [sys.executable, "-m", "tribo", "report", "--data", str(tmp_path), "--week", "2026-W02", "--form", form]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(begins)
        assert "Your parcel comes on the day we promised." in done.stdout or "delivery-on-time" in done.stdout
        assert "<script" not in done.stdout
        assert "http:" not in done.stdout and "https:" not in done.stdout
    for wrong, says in ((["--week", "2026-W99"], "is no week"), (["--form", "pdf"], "write one of markdown, csv, html"), (["--data", str(tmp_path / "none")], "there is no ledger")):
        done = subprocess.run([sys.executable, "-m", "tribo", "report", "--data", str(tmp_path), *wrong], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert says in done.stderr
