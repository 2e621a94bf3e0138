"""The servers that tests start are what they say."""

from __future__ import annotations

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from broker import Broker, free_port
from servers import PostgresServer, postgres_database, postgres_program


def test_a_database_is_empty_and_speaks_utf8(postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'").fetchone() == (0,)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


@pytest.mark.skipif(postgres_program("initdb") is None, reason="PostgreSQL is missing: install the package `postgresql`")
def test_a_server_keeps_what_was_committed_through_a_hard_stop() -> None:
    server = PostgresServer()
    try:
        with postgres_database(server.address, "kept") as url:
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
            server.stop(hard=True)
            server.start()
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    finally:
        server.close()


def test_a_broker_keeps_what_was_acknowledged_through_a_kill(own_broker: Broker) -> None:
    topic = f"kept-{free_port()}"
    admin = KafkaAdminClient(bootstrap_servers=own_broker.address)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=own_broker.address, acks="all")
    producer.send(topic, b"seven").get(10)
    producer.close()
    own_broker.kill()
    own_broker.start()
    consumer = KafkaConsumer(topic, bootstrap_servers=own_broker.address, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    assert next(consumer).value == b"seven"
    consumer.close()
