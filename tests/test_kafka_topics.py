"""`tribo topics` against a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from typer.testing import CliRunner

from broker import free_port
from tribo.cli import app
from tribo.run.distributed.settings import Distributed, load_distributed
from tribo.run.distributed.topics import make_topics, wanted
from tribo_schemas.config import BadConfig


def test_topics_are_made_once_and_what_differs_is_said(kafka: str) -> None:
    settings = Distributed(kafka=kafka, prefix="topics-test", partitions=3, topics=[{"topic": "topics-test.orders", "partitions": 2}])
    names = [topic.name for topic in wanted(settings)]
    assert names[1:] == [f"topics-test.{name}" for name in ("events", "findings", "journeys", "rejects")]
    assert make_topics(settings, check_only=True) == ([], [f"{name}: is not there; `tribo topics` makes it" for name in names])
    assert make_topics(settings) == (names, [])
    assert make_topics(settings) == ([], [])
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    assert {row["name"]: len(row["partitions"]) for row in admin.describe_topics(names)} == dict(zip(names, (2, 3, 3, 3, 3), strict=True))
    admin.close()
    other = settings.model_copy(update={"partitions": 4, "rejects_days": 3})
    _, differences = make_topics(other)
    assert differences == [
        "topics-test.events: has 3 partitions, the settings say 4; add partitions",
        "topics-test.findings: has 3 partitions, the settings say 4; add partitions",
        "topics-test.journeys: has 3 partitions, the settings say 4; add partitions",
        "topics-test.rejects: has 3 partitions, the settings say 4; add partitions",
        "topics-test.rejects: retention.ms is 1209600000, the settings say 259200000; alter the topic, or the settings",
    ]


def test_exit_status_says_how_it_went(kafka: str, tmp_path: Path) -> None:
    file = tmp_path / "tribo.yaml"
    file.write_text(f"kafka: {kafka}\nprefix: topics-cli\npartitions: 1\n")
    runner = CliRunner()
    assert runner.invoke(app, ["topics", "--check", "--settings", str(file)]).exit_code == 1
    assert runner.invoke(app, ["topics", "--settings", str(file)]).exit_code == 0
    assert runner.invoke(app, ["topics", "--check", "--settings", str(file)]).exit_code == 0
    with pytest.raises(BadConfig, match="no broker answers"):
        make_topics(Distributed(kafka=f"127.0.0.1:{free_port()}"))


@pytest.mark.parametrize(("text", "sentence"), [
    ("topics:\n- topic: a\n- topic: a\n", "topics: the topic a stands twice; one mapping reads a topic"),
    ("topics:\n- topic: tribo.events\n", "topics: tribo.events is a topic that tribo writes itself; name another"),
    ("database: sqlite:///x\n", "database: "),
])  # fmt: skip
def test_wrong_settings_are_said_with_their_place(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "tribo.yaml"
    file.write_text(text)
    with pytest.raises(BadConfig) as wrong:
        load_distributed(file, {})
    assert sentence in str(wrong.value)


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tribo.yaml"
    file.write_text("kafka: one:9092\nprefix: other\n")
    settings = load_distributed(file, {"TRIBO_KAFKA": "two:9092", "TRIBO_DATABASE": "postgresql://tribo@db/tribo", "PATH": "/bin"})
    assert (settings.kafka, settings.prefix, settings.database) == ("two:9092", "other", "postgresql://tribo@db/tribo")
