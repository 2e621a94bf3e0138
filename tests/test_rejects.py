"""Rejects: counted by reason, shown with the mapping's line, and read again when the mapping is mended, once or twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from typer.testing import CliRunner

from tribo.cli import app
from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.standards import compile_standards
from tribo.run.commit import Committer
from tribo.run.embedded import application
from tribo.run.rejects import count_rejects, list_rejects, replay
from tribo.run.settings import Settings
from tribo.run.sources import Senders, remember_mappings
from tribo.wire.rejects import KEPT_BYTES

WRONG = """source: desk
kind: records
item: "case:{n}"
id: "{id}"
time: "{at}"
times: [iso]
always: {touchpoint: service}
rules:
  - when: {type: opened}
    fact: opened
  - when: {type: rated}
    fact: rated
    score: "{stars}"
    scale: 5
"""
RIGHT = WRONG.replace("times: [iso]", "times: [iso, d/m/yyyy H:MM]\nzone: UTC").replace("type: opened", "type: [opened, created]")
TOKENS = {"DESK": "desk-token-0123456789", "SHOP": "shop-token-0123456789"}
OPERATOR = "operator-token-0123456789"
AT = "2026-03-02T09:00:00Z"
SENT: list[Any] = [
    {"id": "1", "n": 1, "at": AT, "type": "opened"},
    {"id": "2", "n": 2, "at": "2/3/2026 9:00", "type": "opened"},
    {"id": "3", "n": 3, "at": "2/3/2026 9:30", "type": "opened"},
    {"id": "4", "n": 4, "at": AT, "type": "created"},
    {"id": "5", "n": 5, "at": AT, "type": "rated", "stars": "many"},
    {"id": "6", "n": 6, "at": AT, "type": "opened", "note": "x" * KEPT_BYTES, "more": 1e400},
]  # fmt: skip


def running(folder: Path, story: Any) -> None:
    path = folder / "desk.yaml"
    settings = Settings.model_validate({
        "data": str(folder / "data"), "token": OPERATOR, "sources": {"desk": {"mapping": str(path), "tokens": ["DESK"]}, "shop": {"tokens": ["SHOP"]}},
    })  # fmt: skip

    async def run() -> None:
        ledger = Ledger.open(settings.data)
        remember_mappings(ledger, settings.mappings())
        committer = Committer(ledger, compile_standards(None))
        committer.start()
        async with TestClient(TestServer(application(committer, settings, Senders(settings.sources, TOKENS)))) as client:
            await story(client)
        committer.drain()
        ledger.close()

    asyncio.run(run())


async def send_all(client: TestClient[Any, Any]) -> None:
    desk = {"Authorization": f"Bearer {TOKENS['DESK']}"}
    answer = await client.post("/sources/desk", data=json.dumps(SENT).replace("Infinity", "1e999"), headers=desk | {"Content-Type": "application/json"})
    assert answer.status == 202
    event = {"id": "e", "source": "desk", "time": AT, "touchpoint": "service", "fact": "opened", "item": "case:9"}
    forged = await client.post("/sources/shop", json=event, headers={"Authorization": f"Bearer {TOKENS['SHOP']}"})
    assert forged.status == 403
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    assert (await client.post("/events", json=[event | {"id": "f", "fact": "danced"}], headers=operator)).status == 400
    future = {"id": "7", "n": 7, "at": "2999-01-01T00:00:00Z", "type": "opened"}
    assert (await (await client.post("/sources/desk", json=future, headers=desk)).json())["rejected"] == 1


def ids(data: Path) -> list[str]:
    with Reader(data) as reader:
        return sorted(identifier for (identifier,) in reader.rows("SELECT id FROM events"))


def test_rejects_are_counted_by_reason_and_shown_with_the_mapping_line(tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text(WRONG)
    running(tmp_path, send_all)
    rows = list_rejects(tmp_path / "data")
    by_line = {json.loads(row["payload"])["id"]: row.get("line_of_mapping") for row in rows if row["mapping"] == "desk" and "kept)" not in row["reason"]}
    assert by_line["2"] == 'desk.yaml:5: time: "{at}"'
    assert by_line["5"] == 'desk.yaml:13: score: "{stars}"'
    counts = {(row["source"], row["reason"]): row["count"] for row in count_rejects(tmp_path / "data")}
    assert counts["desk", "time: … fits none of the formats iso"] == 2
    assert sum(counts.values()) == len(rows) == 8
    said = CliRunner().invoke(app, ["rejects", "--count", "--data", str(tmp_path / "data")])
    assert "2  desk  time: … fits none of the formats iso  <- desk.yaml:5" in said.output, said.output
    said = CliRunner().invoke(app, ["rejects", "--source", "desk", "--limit", "2", "--data", str(tmp_path / "data")])
    assert [json.loads(line)["source"] for line in said.output.splitlines()] == ["desk", "desk"]


@pytest.mark.parametrize("way", ["command", "process"])
def test_a_mended_mapping_takes_them_once_however_often_they_are_replayed(tmp_path: Path, way: str) -> None:
    path = tmp_path / "desk.yaml"
    data = tmp_path / "data"
    path.write_text(WRONG)
    running(tmp_path, send_all)
    assert ids(data) == ["1/opened"]
    nothing = replay(data)
    assert (nothing.taken, sum(nothing.left.values())) == (0, 8)
    path.write_text(RIGHT)
    if way == "command":
        asked = ["rejects", "replay", "--source", "desk", "--mapping", str(path), "--data", str(data)]
        first = CliRunner().invoke(app, asked)
        assert first.output.startswith("3 records left the rejects; their events: 3 applied\n4 stay\n"), first.output
        assert "is not kept whole" in first.output
        assert CliRunner().invoke(app, asked).output.startswith("0 records left the rejects; their events: none\n4 stay\n")
    else:

        async def story(client: TestClient[Any, Any]) -> None:
            operator = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
            for wrong in ({}, {"Authorization": f"Bearer {TOKENS['DESK']}"}):
                assert (await client.post("/api/rejects/replay", data=b"{}", headers=wrong)).status == 401
            assert (await client.post("/api/rejects/replay", data=b"{}", headers={"Authorization": operator["Authorization"], "Content-Type": "text/plain"})).status == 415
            both = await asyncio.gather(*(client.post("/api/rejects/replay", data=b"{}", headers=operator) for _ in range(2)))
            said = [await answer.json() for answer in both]
            assert sum(one["events"].get("applied", 0) + one["events"].get("late", 0) for one in said) == 3, said
            again = await (await client.post("/api/rejects/replay?source=desk", data=b"{}", headers=operator)).json()
            assert (again["taken"], again["events"]) == (0, {})

        running(tmp_path, story)
    assert ids(data) == ["1/opened", "2/opened", "3/opened", "4/opened"]
    left = list_rejects(data)
    assert len(left) == 5
    assert {row["source"] for row in left} == {"desk", ""}  # what nobody may say for another stays as well


def test_an_event_from_the_future_is_taken_when_its_time_has_come(tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text(RIGHT)
    running(tmp_path, send_all)
    before = ids(tmp_path / "data")
    done = replay(tmp_path / "data", "desk", now=32_472_144_000_000)
    assert (done.taken, done.events) == (1, {"applied": 1})
    assert ids(tmp_path / "data") == sorted([*before, "7/opened"])
