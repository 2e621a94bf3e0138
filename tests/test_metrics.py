"""What /metrics says: how things stand now, what was taken back, and how it holds when strangers send what they like."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import Standards, compile_standards
from tribo.run.commit import Committer, Delivery
from tribo.run.demo import STANDARDS
from tribo.run.importing import import_files
from tribo.run.notify import at_risk
from tribo.show.metrics import MOST_SOURCES, LedgerCollector, metrics_routes
from tribo_schemas.event import event_of, stamp
from tribo_schemas.standard import load_standards

RULES = compile_standards(load_standards(STANDARDS))
NOW = 1_772_000_000_000
MINUTE = 60_000


def row(number: int, minutes: float, fact: str, **more: Any) -> Any:
    base = {"id": f"e{number}", "source": "desk", "time": stamp(NOW + int(minutes * MINUTE)), "touchpoint": "service", "item": "case:1"}
    return event_of(base | {"fact": fact} | more)


@contextmanager
def ledger_at(folder: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(folder)
    try:
        yield ledger
    finally:
        ledger.close()


def shown(folder: Path, standards: Standards = RULES) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a scrape by name and sorted labels."""
    return samples(LedgerCollector(lambda: Reader(folder), standards))


def samples(collector: LedgerCollector) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in collector.collect() for sample in family.samples
    }


def value(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_how_things_stand_now(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as ledger:
        said = [
            row(1, 0, "opened", channel="phone", topic="invoice"),
            row(2, 0, "assigned", team="first-line"),
            row(3, 0, "queued"),
            row(4, 1, "complained"),
            row(5, 1, "complained", topic="the moon"),
            row(6, 1, "promised", promise="call", due=stamp(NOW + 11 * MINUTE)),
        ]
        ledger.apply(said, Frontier(NOW + 10 * MINUTE, complete=True), RULES)
        found = shown(tmp_path)
        assert value(found, "tribo_promises_at_risk", touchpoint="service", team="first-line", told="no") == 1
        assert value(found, "tribo_promises_next_due_timestamp_seconds", touchpoint="service", team="first-line", told="no") == NOW / 1000 + 660
        assert value(found, "tribo_team_queue_running", team="first-line") == 1
        assert value(found, "tribo_waits_running", clock="queue", touchpoint="service") == 1
        assert value(found, "tribo_complaints_total", topic="invoice") == 1
        assert value(found, "tribo_complaints_total", topic="other") == 1
        more = [row(7, 10, "informed", promise="call"), row(8, 10, "answered", team="first-line")]
        ledger.apply(more, Frontier(NOW + 10 * MINUTE + 1, complete=True), RULES)
        found = shown(tmp_path)
        assert value(found, "tribo_promises_at_risk", touchpoint="service", team="first-line", told="yes") == 1
        assert value(found, "tribo_promises_at_risk", touchpoint="service", team="first-line", told="no") == 0
        assert value(found, "tribo_team_queue_running", team="first-line") == 0
        assert value(found, "tribo_team_queue_seconds_count", team="first-line") == 1
        assert value(found, "tribo_team_queue_seconds_sum", team="first-line") == 600
        assert value(found, "tribo_wait_seconds_count", clock="queue", touchpoint="service") == 1


def test_what_a_late_event_takes_back_is_counted_apart(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as ledger:
        ledger.apply([row(1, 0, "opened"), row(2, 0, "queued"), row(3, 30, "answered")], Frontier(NOW + 60 * MINUTE, complete=True), RULES)
        late = row(4, 0.5, "answered")
        ledger.apply([late], Frontier(NOW + 61 * MINUTE, complete=True), RULES)
    found = shown(tmp_path)
    assert value(found, "tribo_wait_seconds_count", clock="queue", touchpoint="service") == 2
    assert value(found, "tribo_wait_withdrawn_seconds_count", clock="queue", touchpoint="service") == 1
    stands = [value(found, f"tribo_wait_{name}seconds_sum", clock="queue", touchpoint="service") for name in ("", "withdrawn_")]
    assert stands[0] - stands[1] == 30
    assert value(found, "tribo_standard_judged_withdrawn_total", standard="phone", outcome="missed") == 1


def test_of_too_many_sources_those_heard_most_keep_their_name_and_the_rest_never_falls(tmp_path: Path) -> None:
    collector = LedgerCollector(lambda: Reader(tmp_path), RULES)

    def crowd(first: int, last: int, each: int) -> list[Any]:
        return [
            row(number * 100 + more, 0, "opened", source=f"s{number:04}", item=f"case:{number}")
            for number in range(first, last) for more in range(each)
        ]  # fmt: skip

    with ledger_at(tmp_path) as ledger:
        frontier = Frontier(NOW + MINUTE, complete=True)
        ledger.apply(crowd(0, MOST_SOURCES + 50, 1), frontier, RULES)
        ledger.apply([row(1, 0, "opened", source="zebra", id=f"z{number}") for number in range(9)], frontier, RULES)
        before = samples(collector)
        assert value(before, "tribo_events_total", source="zebra", outcome="applied") == 9
        assert value(before, "tribo_events_total", source="other", outcome="applied") == 51
        assert len({labels for name, labels in before if name == "tribo_source_heard_timestamp_seconds"}) == MOST_SOURCES
        ledger.apply(crowd(MOST_SOURCES + 10, MOST_SOURCES + 20, 30), frontier, RULES)  # ten that were `other` become the most heard
        after = samples(collector)
        assert value(after, "tribo_events_total", source=f"s{MOST_SOURCES + 10:04}", outcome="applied") == 30
        assert value(after, "tribo_events_total", source="other", outcome="applied") >= 51


def test_imported_history_moves_gauges_and_no_counter(tmp_path: Path) -> None:
    told = ["opened", "complained", "queued", "answered", "reopened", "assigned", "resolved"]
    path = tmp_path / "old.jsonl"
    lines = [
        json.dumps({"id": f"{case}-{number}", "source": "archive", "time": stamp(NOW + number * 10 * MINUTE), "touchpoint": "service",
                    "fact": fact, "item": f"case:{case}"}) for case in range(30) for number, fact in enumerate(told)
    ]  # fmt: skip
    lines.append(json.dumps({"id": "p", "source": "archive", "time": stamp(NOW), "touchpoint": "service", "fact": "promised", "item": "case:x",
                             "promise": "p", "due": stamp(NOW + 100 * 86_400_000)}))  # fmt: skip
    path.write_text("\n".join([*lines, "nothing"]))
    Ledger.open(tmp_path / "data").close()
    before = shown(tmp_path / "data")
    import_files(tmp_path / "data", [str(path)], standards=STANDARDS)
    after = shown(tmp_path / "data")
    risen = {key[0] for key, number in after.items() if key[0].endswith(("_total", "_count", "_sum", "_bucket")) and number != before.get(key, 0)}
    assert risen <= {"tribo_ledger_transactions_total"}
    assert value(after, "tribo_standard_occasions", standard="phone", outcome="missed") == 30
    assert value(after, "tribo_promises", state="open", touchpoint="service") == 1
    assert not [labels for name, labels in after if ("source", "archive") in labels]
    with ledger_at(tmp_path / "data") as ledger:
        ledger.apply([row(1, 0, "opened", source="archive", item="case:new")], Frontier(NOW + MINUTE, complete=True), RULES)
    found = shown(tmp_path / "data")
    assert value(found, "tribo_events_total", source="archive", outcome="applied") == 1


def test_the_last_ten_occasions_of_a_standard(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as ledger:
        for case in range(12):
            wait = 30 if case in (0, 5, 11) else 1  # two minutes are promised
            said = [row(3 * case + number, 60 * case + at, fact, item=f"case:{case}")
                    for number, (at, fact) in enumerate(((0, "opened"), (0, "queued"), (wait, "answered")))]  # fmt: skip
            ledger.apply(said, Frontier(NOW + (60 * case + 50) * MINUTE, complete=True), RULES)
    found = shown(tmp_path)
    assert value(found, "tribo_standard_last_judged", standard="phone") == 10
    assert value(found, "tribo_standard_last_missed", standard="phone") == 2
    assert value(found, "tribo_standard_judged_total", standard="phone", outcome="missed") == 3
    assert value(found, "tribo_standard_last_judged", standard="refund") == 0


def test_strangers_cannot_add_series_nor_grow_the_counters(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as ledger:
        series, counters = len(shown(tmp_path)), 0
        for begin in range(0, 4000, 1000):
            said = [
                event
                for number in range(begin, begin + 1000)
                for event in (
                    row(3 * number, 0, "opened", item=f"case:{number}", topic=f"topic{number}", channel=f"channel{number}"),
                    row(3 * number + 1, 1, "assigned", item=f"case:{number}", team=f"team{number}", owner=f"owner{number}"),
                    row(3 * number + 2, 2, "assigned", item=f"case:{number}", team=f"other{number}"),
                )
            ]
            ledger.apply(said, Frontier(NOW + 5 * MINUTE, complete=True), RULES)
            if not counters:
                counters = len(ledger.counters)
        assert len(ledger.counters) == counters
    found = shown(tmp_path)
    assert value(found, "tribo_team_findings_total", kind="handoff", team="other") == 4000
    assert len(found) - series < 12  # what is known of the one source
    assert len(found) < 10_000


def test_events_from_the_future_are_counted_for_their_source(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as ledger:
        committer = Committer(ledger, RULES)
        committer.start()
        now = committer.clock.wall()
        for number, at in enumerate((now - MINUTE, now + 3_600_000)):
            delivery = Delivery([row(number, (at - NOW) / MINUTE, "opened")], input="test")
            committer.submit(delivery).result(20)
        committer.drain()
    found = shown(tmp_path)
    assert value(found, "tribo_source_future_events_total", source="desk") == 1
    assert value(found, "tribo_events_total", source="desk", outcome="rejected") == 1


def test_no_scrape_walks_through_all_that_ever_was(tmp_path: Path) -> None:
    """Findings and promises are as many as ever were; what a scrape and a webhook ask for is found by an index."""
    Ledger.open(tmp_path).close()
    asked: list[str] = []
    with Reader(tmp_path) as reader:
        rows = reader.db.rows
        reader.db.rows = lambda sql, parameters=(): asked.append(sql) or rows(sql, parameters)  # type: ignore[method-assign]
        reader.next_dues()
        reader.set_aside()
        at_risk(reader, RULES)
        assert len(asked) == 3
        for sql in asked:
            plan = [row[3] for row in rows("EXPLAIN QUERY PLAN " + sql.replace("?", "9"))]
            assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step], plan


def test_a_slow_ledger_holds_up_no_other_request(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    answered = threading.Event()

    def slow() -> Reader:
        assert answered.wait(30), "the scrape held up the loop"
        return Reader(tmp_path)

    async def nothing(_: web.Request) -> web.Response:
        return web.Response()

    async def story() -> str:
        app = web.Application()
        app.add_routes([*metrics_routes(slow, RULES, None), web.get("/", nothing)])
        async with TestClient(TestServer(app)) as client:
            scrape = asyncio.ensure_future(client.get("/metrics"))
            await asyncio.sleep(0)
            assert (await client.get("/")).status == 200
            answered.set()
            answer = await scrape
            assert answer.status == 200
            return await answer.text()

    families = {family.name for family in text_string_to_metric_families(asyncio.run(story()))}
    assert {"tribo_findings", "process_cpu_seconds"} <= families


def test_the_process_says_how_it_is_doing(tmp_path: Path) -> None:
    from tribo.run.embedded import application
    from tribo.run.settings import Settings

    async def story(committer: Committer) -> str:
        async with TestClient(TestServer(application(committer, Settings(data=tmp_path)))) as client:
            return await (await client.get("/metrics")).text()

    with ledger_at(tmp_path) as ledger:
        committer = Committer(ledger, RULES)
        committer.start()
        committer.submit(Delivery([row(1, (time.time() * 1000 - NOW) / MINUTE - 1, "opened")], input="test")).result(20)
        text = asyncio.run(story(committer))
        committer.drain()
    assert "tribo_commit_seconds_count 1.0" in text
    assert "tribo_queue_events 0.0" in text
    assert "tribo_ledger_full 0.0" in text
    assert "tribo_behind_seconds 0.0" in text
