"""Wire and measure by themselves, in this process, against a real broker and a real database."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import ConsumerRecord, TopicPartition
from faust.types import TP
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as Place
from prometheus_client import CollectorRegistry, generate_latest

from fleet import events_kept
from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.run.distributed.company_feed import begins, publish_company
from tribo.run.distributed.measure_worker import MeasureWorker
from tribo.run.distributed.probes import probe_routes
from tribo.run.distributed.records import unpacked
from tribo.run.distributed.settings import Distributed
from tribo.run.distributed.topics import make_topics
from tribo.run.distributed.wire_worker import CONNECT, Reading, WireWorker
from tribo.run.ingest import ingest_application
from tribo.run.sources import Senders
from tribo_schemas.config import BadConfig
from tribo_schemas.event import Event, decode_event, stamp

STANDARDS = compile_standards(None)
DESK = """source: desk
kind: records
item: "case:{case}"
id: "{id}"
time: "{at}"
always: {touchpoint: service, customer: "{who}"}
rules:
- {when: {type: opened}, fact: opened}
- {when: {type: solved}, fact: resolved}
examples:
- raw: {id: 1, case: 7, at: "2026-03-02T09:00:00Z", who: c1, type: opened}
  events:
  - {id: "1:opened", source: desk, time: "2026-03-02T09:00:00Z", touchpoint: service, fact: opened, item: "case:7", customer: c1}
"""


def settings_of(kafka: str, database: str, folder: Path, **more: Any) -> Distributed:
    prefix = f"parts-{time.time_ns()}"
    (folder / "desk.yaml").write_text(DESK)
    topics = [{"topic": f"{prefix}.desk", "mapping": str(folder / "desk.yaml"), "partitions": 1}, {"topic": f"{prefix}.plain", "partitions": 2}]
    settings = Distributed(kafka=kafka, database=database, prefix=prefix, partitions=2, topics=topics, **more)
    make_topics(settings)
    return settings


async def until(reached: Callable[[], bool], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


def wired(settings: Distributed, work: Callable[[WireWorker], Awaitable[None]]) -> WireWorker:
    """Run a wire worker while the work is done."""

    async def run() -> WireWorker:
        worker = WireWorker(settings, "w", STANDARDS, "")
        running = asyncio.ensure_future(worker.run())
        try:
            await until(lambda: worker.unready() is None)
            await work(worker)
        finally:
            worker.stop()
            await running
        return worker

    return asyncio.run(run())


def measured(settings: Distributed, work: Callable[[MeasureWorker], Awaitable[None]]) -> MeasureWorker:
    """Run a measure worker while the work is done."""

    async def run() -> MeasureWorker:
        worker = MeasureWorker(settings, STANDARDS, "")
        running = asyncio.ensure_future(worker.run())
        try:
            await work(worker)
        finally:
            worker.stop()
            await running
        return worker

    return asyncio.run(run())


def read(kafka: str, topic: str, wanted: int) -> list[Any]:
    with closing(KafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest", consumer_timeout_ms=6_000)) as consumer:
        found = []
        for record in consumer:
            if record.value != b"[]":
                found.append(record)
            if len(found) == wanted:
                break
        return found


def latest(kafka: str, topic: str, wanted: Collection[str]) -> dict[str, Any]:
    """What a reader ends with who keeps the highest revision of each id: read until these ids stand, and no others."""
    kept: dict[str, Any] = {}
    with closing(KafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest", consumer_timeout_ms=15_000)) as consumer:
        for record in consumer:
            row = json.loads(record.value) if record.value is not None else {"revision": 2**62, "status": "gone"}
            if row["revision"] >= kept.get(record.key.decode(), {"revision": 0})["revision"]:
                kept[record.key.decode()] = row
            stands = {key: row for key, row in kept.items() if row["status"] not in ("withdrawn", "gone")}
            if stands.keys() == set(wanted):
                return stands
    return kept


def total(registry: CollectorRegistry, name: str) -> float:
    lines = generate_latest(registry).decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}(\{{| )", line))


def case(number: int, **more: object) -> dict[str, object]:
    at = stamp(time.time_ns() // 1_000_000 - 3_600_000)
    return {"id": f"e{number}", "source": "crm", "time": at, "touchpoint": "service", "fact": "opened", "item": f"case:{number}", **more}


def test_records_become_events_and_each_reject_is_kept_once(kafka: str, postgres: str, tmp_path: Path) -> None:
    settings = settings_of(kafka, postgres, tmp_path)
    desk, plain = (entry.topic for entry in settings.topics)
    with closing(KafkaProducer(bootstrap_servers=kafka)) as producer:
        producer.send(desk, json.dumps({"id": 1, "case": 7, "at": "2026-03-02T09:00:00Z", "who": "c1", "type": "opened"}).encode())
        producer.send(desk, b'{"id": 2, "case": 7}', key=b"k", headers=[("trace", b"t1")])
        producer.send(plain, json.dumps(case(1)).encode(), partition=0)
        producer.send(plain, json.dumps(case(2, time="2999-01-01T00:00:00Z")).encode(), partition=0)
        producer.send(plain, b"\xff\xfe", partition=1)
        producer.flush()

    async def all_read(worker: WireWorker) -> None:
        await until(lambda: total(worker.numbers.registry, "tribo_wire_records_total") == 5)
        await until(lambda: total(worker.numbers.registry, "tribo_wire_events_total") == 2)

    wired(settings, all_read)
    events = [event for record in read(kafka, settings.events_topic, 2) for event in unpacked(record.value)[0]]
    assert {(event.source, event.item, event.customer) for event in events} == {("desk", "case:7", "c1"), ("crm", "case:1", None)}
    refused = {record.value: record for record in read(kafka, settings.rejects_topic, 3)}
    assert len(refused) == 3
    told = dict(refused[b'{"id": 2, "case": 7}'].headers)
    assert (refused[b'{"id": 2, "case": 7}'].key, told["trace"]) == (b"k", b"t1")
    assert {name: told[CONNECT + name] for name in ("topic", "partition", "offset", "stage")} == {
        "topic": desk.encode(), "partition": b"0", "offset": b"1", "stage": b"TRANSFORMATION",
    }  # fmt: skip
    assert told[CONNECT + "exception.message"]
    with closing(KafkaAdminClient(bootstrap_servers=kafka)) as admin:  # the group forgets where it was: all is read again
        admin.delete_groups([f"{settings.prefix}.wire"])
    wired(settings, all_read)
    with Reader(postgres) as reader:
        rows = reader.rejects(50)
        assert sorted((row["input"], row["line"]) for row in rows) == [(f"{desk}/0", 1), (f"{plain}/0", 1), (f"{plain}/1", 0)]
        assert {row["mapping"] for row in rows if "mapping" in row} >= {str(tmp_path / "desk.yaml")} or "desk" in str(rows)


def test_a_request_is_answered_when_the_broker_has_its_events(kafka: str, postgres: str, tmp_path: Path) -> None:
    settings = settings_of(kafka, postgres, tmp_path)

    async def asked(worker: WireWorker) -> None:
        app = ingest_application(worker, None, Senders({}), probe_routes(worker, worker.numbers.registry))
        async with TestClient(TestServer(app)) as client:
            assert (await client.get("/livez")).status == (await client.get("/readyz")).status == 200
            body = [case(1, customer="c1"), case(2, fact="danced"), case(3, time="2999-01-01T00:00:00Z")]
            answer = await client.post("/events", json=body)
            said = await answer.json()
            assert (answer.status, said["taken"], said["rejected"]) == (202, 1, 2)
            assert "tribo_wire_events_total 1.0" in await (await client.get("/metrics")).text()
            worker.full = True  # as when no broker answers
            assert (await client.post("/events", json=body)).status == 503
            waits = await client.get("/readyz")
            assert (waits.status, (await waits.json())["reason"]) == (503, "the broker can't be reached")

    wired(settings, asked)
    (record,) = read(kafka, settings.events_topic, 1)
    assert [event.item for event in unpacked(record.value)[0]] == ["case:1"]
    with Reader(postgres) as reader:
        assert len(reader.rejects(50)) == 2


def test_an_update_log_is_refused_with_a_remedy(tmp_path: Path) -> None:
    settings = Distributed(topics=[{"topic": "log", "mapping": "servicenow_incidents"}])
    with pytest.raises(BadConfig, match=r"reads an update log.*tribo import"):
        Reading(settings.topics[0])


def test_a_fault_of_ours_costs_one_record_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = WireWorker(Distributed(topics=[{"topic": "plain"}]), "w", STANDARDS, "")
    whole = worker.readings["plain"].events

    def crashing(value: bytes | None) -> list[Event]:
        if value is not None and b"case:2" in value:
            raise ZeroDivisionError
        return whole(value)

    monkeypatch.setattr(worker.readings["plain"], "events", crashing)
    records = [
        ConsumerRecord("plain", 0, offset, 0, 0, None, json.dumps(case(offset)).encode(), None, 0, 0, ()) for offset in range(1, 4)
    ]
    work = worker._mapped({TopicPartition("plain", 0): records}, 2)
    assert [event.item for event in work.events["plain/0"]] == ["case:1", "case:3"]
    assert [(refused.line, refused.reason) for _, refused in work.rejects] == [
        (2, "a fault of tribo (ZeroDivisionError), not of the record")
    ]


def publish(settings: Distributed, *values: bytes, partition: int = 0) -> None:
    with closing(KafkaProducer(bootstrap_servers=settings.kafka)) as producer:
        for value in values:
            producer.send(settings.events_topic, value, partition=partition)
            producer.flush()


def test_measure_takes_arrays_and_single_events_refuses_what_is_none_and_publishes(kafka: str, postgres: str, tmp_path: Path) -> None:
    settings = settings_of(kafka, postgres, tmp_path)
    promised = case(2, id="p", fact="promised", promise="call-back", due=stamp(time.time_ns() // 1_000_000 - 1_800_000), customer="c9")
    publish(settings, json.dumps([case(1), case(2, customer="c9"), promised]).encode(), json.dumps(case(3)).encode(), b"[1, rubbish")
    later = stamp(time.time_ns() // 1_000_000)
    publish(settings, json.dumps([case(4, time=later), case(5, fact="danced", time=later)]).encode())

    def standing() -> dict[str, str]:
        with Reader(postgres) as reader:
            return {finding.id: finding.kind for finding in reader.standing()}

    async def folded(worker: MeasureWorker) -> None:
        await until(lambda: events_kept(postgres) == 5)
        await until(lambda: "promise_broken" in standing().values())  # by time alone
        await until(lambda: worker.unready() is None)
        assert total(worker.numbers.registry, "tribo_measure_rejects_total") == 2
        found = await asyncio.to_thread(latest, kafka, settings.findings_topic, standing().keys())
        assert {row["id"]: row["kind"] for row in found.values()} == standing()
        with Reader(postgres) as reader:
            journeys = {row.journey for row in reader.all_journeys()}
        rows = await asyncio.to_thread(latest, kafka, settings.journeys_topic, journeys)
        assert rows["case:2"]["customer"].startswith("c-") and rows["case:2"]["revision"] >= 1
        with socket.socket() as asking:  # Faust's own web server isn't there
            assert asking.connect_ex(("127.0.0.1", 6066)) != 0

    assert measured(settings, folded).failed is None
    with Reader(postgres) as reader:
        assert len(reader.rejects(50)) == 2


def test_what_retention_took_unread_is_counted_as_lost(kafka: str, postgres: str, tmp_path: Path) -> None:
    settings = settings_of(kafka, postgres, tmp_path)
    publish(settings, *(json.dumps(case(number)).encode() for number in range(4)))
    with closing(KafkaAdminClient(bootstrap_servers=kafka)) as admin:
        admin.delete_records({Place(settings.events_topic, 0): 3})

    async def folded(worker: MeasureWorker) -> None:
        await until(lambda: events_kept(postgres) == 1)
        assert total(worker.numbers.registry, "tribo_measure_lost_total") == 3
        assert total(worker.numbers.registry, "tribo_measure_gaps_total") == 1

    assert measured(settings, folded).failed is None
    with Reader(postgres) as reader:
        assert reader.counters()["lost"] == (3, 0)


def test_what_faust_noted_down_as_read_drops_nothing(kafka: str, postgres: str, tmp_path: Path) -> None:
    settings = settings_of(kafka, postgres, tmp_path)
    publish(settings, json.dumps(case(1)).encode())

    async def folded(worker: MeasureWorker) -> None:
        await until(lambda: events_kept(postgres) == 1)
        worker.app.consumer._read_offset[TP(settings.events_topic, 0)] = 1_000_000  # as when a note is made just after a seek
        await asyncio.to_thread(publish, settings, json.dumps(case(2)).encode())
        await until(lambda: events_kept(postgres) == 2)

    assert measured(settings, folded).failed is None


def test_the_company_publishes_to_the_topics_of_its_systems(kafka: str) -> None:
    prefix = f"company-{time.time_ns()}"
    settings = Distributed(kafka=kafka, prefix=prefix, topics=[{"topic": f"{prefix}.shop", "partitions": 1}, {"topic": f"{prefix}.billing", "partitions": 1}])
    make_topics(settings)
    _, start = begins(time.time_ns() // 1_000_000)
    until_noon = start + 12 * 3_600_000
    sent = publish_company(settings, 7, threading.Event(), until_noon)
    assert publish_company(settings, 7, threading.Event(), until_noon) == sent > 200  # the same again: duplicates by their ids
    with closing(KafkaConsumer(bootstrap_servers=kafka)) as asking:
        ends = asking.end_offsets([Place(f"{prefix}.{topic}", 0) for topic in ("shop", "billing")])
    found = {place.topic.removeprefix(f"{prefix}."): read(kafka, place.topic, end) for place, end in ends.items()}
    sources = {topic: {json.loads(record.value)["source"] for record in records} for topic, records in found.items()}
    assert sources["billing"] == {"billing"} and "shop" in sources["shop"]
    ids = [json.loads(record.value)["id"] for records in found.values() for record in records]
    assert len(ids) == 2 * sent and len(set(ids)) == sent


def test_a_topic_made_anew_ends_the_worker_with_a_message(kafka: str, postgres: str, tmp_path: Path) -> None:
    settings = settings_of(kafka, postgres, tmp_path)
    with closing(Ledger.open(postgres)) as ledger:
        ledger.apply([], Frontier(now=1), STANDARDS, offset=7)

    async def ended(worker: MeasureWorker) -> None:
        await until(worker.ended.is_set)

    worker = measured(settings, ended)
    assert "ends at offset 0, but the ledger has read it up to 7: the topic was deleted and made anew" in str(worker.failed)


def test_serve_shows_page_and_metrics_of_a_ledger_and_says_when_it_is_gone(postgres: str, tmp_path: Path) -> None:
    with closing(Ledger.open(postgres)) as ledger:
        ledger.apply([decode_event(json.dumps(case(1, customer="c1")))], Frontier(time.time_ns() // 1_000_000), STANDARDS)
    file = tmp_path / "tribo.yaml"
    file.write_text(f"database: {postgres}\nport: 0\n")
    with subprocess.Popen([sys.executable, "-m", "tribo", "serve", "--settings", str(file)], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(line for line in process.stderr if "the page is at" in line).split()[-1]
            assert b"tribo_ledger_events 1.0" in urlopen(f"{address}metrics").read()
            assert b"case:1" in urlopen(f"{address}journeys/case:1").read()
            assert json.loads(urlopen(f"{address}readyz").read()) == {"ready": True}
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute("DROP TABLE tribo_tables")
            with pytest.raises(HTTPError, match="503"):
                urlopen(f"{address}readyz")
        finally:
            process.terminate()
        assert process.wait(10) == 0


def test_every_number_of_a_worker_is_documented() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "distributed.md").read_text()
    settings = Distributed()
    names = set()
    registries = (WireWorker(settings, "w", STANDARDS, "").numbers.registry, MeasureWorker(settings, STANDARDS, "").numbers.registry)
    for registry in registries:
        for line in generate_latest(registry).decode().splitlines():
            if line.startswith("# TYPE") and not line.split()[2].endswith("_created"):
                names.add(line.split()[2])
    assert len(names) > 15
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


