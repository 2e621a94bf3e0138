"""Real workers on a real broker with PostgreSQL: the answer is that of one fold of all events, whatever happens to them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from broker import Broker
from fleet import Feed, Fleet, demo_standards, difference, events_kept, expected, finished, history, until
from servers import PostgresServer, postgres_database, postgres_program
from torture import torture
from tribo.run.distributed.settings import Distributed
from tribo.run.distributed.topics import make_topics

HOUR = 3_600_000


def prefix_of(name: str) -> str:
    return f"{name}-{time.time_ns()}"


def test_two_hundred_thousand_events_through_three_workers(kafka: str, postgres: str, tmp_path: Path) -> None:
    count = 200_000
    now = time.time_ns() // 1_000_000
    rows = history(count, 1, now - HOUR)
    standards, text = demo_standards()
    prefix = prefix_of("many")
    settings = Distributed(
        kafka=kafka, database=postgres, prefix=prefix, partitions=6, standards=standards_file(tmp_path, text),
        topics=[{"topic": f"{prefix}.crm", "partitions": 3}],
    )  # fmt: skip
    make_topics(settings)
    fleet = Fleet(settings, tmp_path)
    try:
        fleet.start("wire")
        fleet.start("measure", 3)
        feed = Feed(settings, rows, 10)
        feed.start()
        until(lambda: events_kept(postgres) >= count, lambda: f"{events_kept(postgres)} of {count} events\n{fleet.tail()}")
        feed.join(60)
        assert feed.failed is None
    finally:
        fleet.stop()
    assert fleet.restarts == 0, fleet.tail()
    end = time.time_ns() // 1_000_000
    assert difference(finished(settings, standards, text, end), expected(rows, standards, end)) == ""


@pytest.mark.skipif(postgres_program("initdb") is None, reason="PostgreSQL is missing: install the package `postgresql`")
def test_kills_pauses_and_restarts_change_nothing(own_broker: Broker, tmp_path: Path) -> None:
    server = PostgresServer(durable=True)
    try:
        with postgres_database(server.address, "torture") as database:
            told = torture(own_broker, server, database, tmp_path, events=40_000, kills=10, pauses=5, changes=4, restarts=2, seed=5)
    finally:
        server.close()
    assert told["kills"] == 10 and told["pauses"] == 5


def standards_file(folder: Path, text: str) -> Path:
    file = folder / "standards.yaml"
    file.write_text(text)
    return file

