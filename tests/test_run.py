"""`tribo run` as a process: what was answered is there, whatever happens to the process."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.run.clock import Heard
from tribo.run.commit import Committer
from tribo.run.embedded import application
from tribo.run.importing import import_files
from tribo.run.measure import measure_events
from tribo.run.rejects import list_rejects
from tribo.run.settings import Settings, load_settings
from tribo_schemas.config import BadConfig
from tribo_schemas.event import decode_event, event_of, stamp

STANDARDS = compile_standards(None)
RUN = """
import sys
from tribo.run.embedded import run_embedded
from tribo.run.settings import load_settings
from tribo_schemas.config import BadConfig
try:
    sys.exit(run_embedded(load_settings(), lambda address: print(address, flush=True)))
except BadConfig as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""
NOW = time.time_ns() // 1_000_000
FACTS = ("opened", "assigned", "answered", "customer_replied", "resolved", "reopened", "complained", "put_on_hold", "resumed", "closed")


def row(number: int, **more: Any) -> dict[str, Any]:
    """An event of the last hours; twelve to an item, five items to a customer."""
    fields = {
        "id": f"e{number}", "source": "crm", "time": stamp(NOW - 40_000_000 + number * 1000), "touchpoint": "service",
        "fact": FACTS[number % len(FACTS)], "item": f"case:{number % 53}", "customer": f"customer-{number % 53 // 5}",
        "team": ("a", "b", "c")[number % 3],
    }  # fmt: skip
    return fields | more


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = os.environ | {"TRIBO_DATA": str(folder), "TRIBO_PORT": "0"} | {f"TRIBO_{k.upper()}": v for k, v in settings.items()}
    process = subprocess.Popen([sys.executable, "-c", RUN], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, process.stderr.read() if process.stderr else ""
        yield process, address
    finally:
        process.kill()
        process.communicate()


def post(address: str, body: bytes, kind: str = "application/json", **headers: str) -> tuple[int, dict[str, Any]]:
    more = {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(address + "events", body, {"Content-Type": kind, **more})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def kept(folder: Path) -> list[tuple[str, int]]:
    with Reader(folder) as reader:
        return reader.rows("SELECT id, count(*) FROM events GROUP BY source, id ORDER BY id")


def test_every_answered_event_is_there_once_after_kills(tmp_path: Path) -> None:
    events = [row(number) for number in range(1200)]
    draw = random.Random(3)
    arriving = events + draw.sample(events, 300)
    draw.shuffle(arriving)
    acked: set[str] = set()
    at = 0
    for life in range(4):
        with running(tmp_path) as (process, address):
            killing = threading.Timer(0.15 + 0.1 * life, process.kill)
            if life < 3:
                killing.start()
            while at < len(arriving):
                batch = arriving[at : at + (1, 7, 40)[at % 3]]
                try:
                    status, said = post(address, json.dumps(batch).encode())
                except (OSError, ValueError):
                    break
                assert status == 202
                assert all(item["outcome"] in ("applied", "duplicate", "late", "conflict") for item in said["items"])
                acked.update(event["id"] for event in batch)
                at += len(batch)
            else:
                killing.cancel()
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) in (0, -signal.SIGKILL)
        if at >= len(arriving):
            break
        assert acked <= {identifier for identifier, _ in kept(tmp_path)}
    assert kept(tmp_path) == sorted((event["id"], 1) for event in events)
    ledger = Ledger.open(tmp_path)
    end = NOW + 40 * 86_400_000
    while ledger.tick(Frontier(end, complete=True), STANDARDS):
        pass
    rows, findings, tally = measure_events([event_of(event) for event in events], STANDARDS, end)
    with Reader(tmp_path) as reader:
        assert {one.journey: one.row() for one in reader.all_journeys()} == {one.journey: one.row() for one in rows}
        assert {one.id: one.row() for one in reader.standing()} == {one.id: one.row() for one in findings}
        assert reader.tallies() == {key: number for key, number in tally.items() if number}
    ledger.close()


def test_sigterm_writes_what_waits_and_ends(tmp_path: Path) -> None:
    with running(tmp_path) as (process, address):
        assert post(address, json.dumps([row(number) for number in range(200)]).encode())[0] == 202
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 10
    assert len(kept(tmp_path)) == 200


def test_a_second_process_on_the_folder_exits_2_and_says_why(tmp_path: Path) -> None:
    with running(tmp_path) as (process, address):
        second = subprocess.run(
            [sys.executable, "-c", RUN], env=os.environ | {"TRIBO_DATA": str(tmp_path), "TRIBO_PORT": "0"},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert second.returncode == 2
        assert "another tribo process" in second.stderr
        assert str(process.pid) in second.stderr
        assert post(address, json.dumps(row(1)).encode())[0] == 202


def test_settings_are_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "tribo.yaml"
    path.write_text("data: d\nprot: 80\n")
    with pytest.raises(BadConfig, match=r"tribo.yaml:2: prot: isn't known here: did you mean `port`"):
        load_settings(path, {})
    with pytest.raises(BadConfig, match="TRIBO_PORT"):
        load_settings(None, {"TRIBO_PORT": "high"})
    path.write_text("data: d\nport: 80\n")
    assert load_settings(path, {"TRIBO_PORT": "81"}).port == 81
    from tribo.run.embedded import run_embedded

    with pytest.raises(BadConfig, match="token"):
        run_embedded(Settings(data=tmp_path, host="0.0.0.0"))
    assert not (tmp_path / "ledger.db").exists()


def test_what_is_posted_in_any_form_is_answered_item_by_item(tmp_path: Path) -> None:
    def envelope(number: int) -> dict[str, Any]:
        data = row(number)
        return {"specversion": "1.0", "type": "event", **{name: data.pop(name) for name in ("id", "source", "time")}, "data": data}

    lines = b"\n".join(json.dumps(row(number)).encode() for number in (3, 4))
    with running(tmp_path) as (_, address):
        for body, kind, count in (
            (json.dumps(row(1)).encode(), "application/json", 1),
            (json.dumps([row(2), row(2)]).encode(), "application/json", 2),
            (lines, "application/x-ndjson", 2),
            (json.dumps(envelope(5)).encode(), "application/cloudevents+json", 1),
            (json.dumps([envelope(6), envelope(7)]).encode(), "application/cloudevents-batch+json", 2),
        ):
            status, said = post(address, body, kind)
            assert (status, said["taken"]) == (202, count), said
        data = row(8)
        head = {"ce-id": data.pop("id"), "ce-source": data.pop("source"), "ce-time": data.pop("time"), "ce-specversion": "1.0"}
        assert post(address, json.dumps(data).encode(), "application/json", **head)[0] == 202
        assert post(address, gzip.compress(json.dumps(row(9)).encode()), Content_Encoding="gzip")[0] == 202
        status, said = post(address, json.dumps([row(10), row(11, fact="danced"), row(12, time="2999-01-01T00:00:00Z")]).encode())
        assert status == 202
        assert [item["outcome"] for item in said["items"]] == ["applied", "rejected", "rejected"]
        assert "fact" in said["items"][1]["reason"]
        assert "future" in said["items"][2]["reason"]
        for body, kind, status in (
            (b"", "application/json", 400),
            (b"{", "application/json", 400),
            (b"[1", "application/json", 400),
            (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "application/json", 400),
            (json.dumps(row(13, topic="x" * (1 << 20))).encode(), "application/json", 413),
            (b" " * (9 << 20), "application/json", 413),
            (b"a=b", "application/x-www-form-urlencoded", 415),
        ):
            assert post(address, body, kind)[0] == status
        assert post(address, gzip.compress(b" " * (64 << 20)), Content_Encoding="gzip")[0] == 413
        assert post(address, b"no gzip", Content_Encoding="gzip")[0] == 400
        for path in ("livez", "readyz"):
            with urllib.request.urlopen(address + path, timeout=5) as response:
                assert response.status == 200
    assert len(kept(tmp_path)) == 10
    refused = list_rejects(tmp_path)
    assert len(refused) == 4
    assert any('"danced"' in one["payload"] for one in refused)


def test_files_that_grow_are_read_from_where_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(50)) + '{"id": "half')

    def until(count: int) -> None:
        for _ in range(100):
            if (tmp_path / "data" / "ledger.db").exists() and len(kept(tmp_path / "data")) >= count:
                return
            time.sleep(0.1)
        raise AssertionError(f"{len(kept(tmp_path / 'data'))} of {count} events")

    with running(tmp_path / "data", follow=str(folder)) as (process, _):
        until(50)
        process.kill()
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(50)) + "no event\n")
    with path.open("a") as file:
        file.writelines(json.dumps(row(number)) + "\n" for number in range(50, 80))
    with running(tmp_path / "data", follow=str(folder)):
        until(80)
    with Reader(tmp_path / "data") as reader:
        (source,) = [one for one in reader.sources() if one["name"] == "crm"]
        assert source["duplicate"] == 0
        assert source["applied"] + source["late"] == 80
        assert [(one["input"], one["line"]) for one in reader.rejects()] == [("a.jsonl", 51)]


def test_a_token_guards_everything_but_the_probes(tmp_path: Path) -> None:
    token = "0123456789abcdef-secret"
    with running(tmp_path, token=token) as (_, address):
        body = json.dumps(row(1)).encode()
        assert post(address, body)[0] == 401
        assert post(address, body, Authorization="Bearer wrong")[0] == 401
        assert post(address, body, Authorization=f"Bearer {token}")[0] == 202
        with urllib.request.urlopen(address + "livez", timeout=5) as response:
            assert response.status == 200


def test_a_full_disk_answers_503_and_goes_on_by_itself(tmp_path: Path) -> None:
    async def story() -> None:
        ledger = Ledger.open(tmp_path)
        committer = Committer(ledger, STANDARDS)
        ((pages,),) = ledger.db.rows("PRAGMA page_count")
        ledger.db.rows(f"PRAGMA max_page_count = {pages}")
        committer.start()
        async with TestClient(TestServer(application(committer, Settings(data=tmp_path)))) as client:
            body = [row(number, topic="x" * 900) for number in range(300)]
            answer = await client.post("/events", json=body)
            assert answer.status == 503
            assert "Retry-After" in answer.headers
            assert (await client.get("/readyz")).status == 503
            assert (await client.get("/livez")).status == 200
            ledger.db.rows("PRAGMA max_page_count = 1073741823")
            answer = await client.post("/events", json=body)
            assert answer.status == 202
            assert {item["outcome"] for item in (await answer.json())["items"]} == {"applied"}
            assert (await client.get("/readyz")).status == 200
            ledger.db.rows(f"PRAGMA max_page_count = {ledger.db.rows('PRAGMA page_count')[0][0]}")
            assert (await client.post("/events", json=[row(number, topic="x" * 900) for number in range(300, 600)])).status == 503
            ledger.db.rows("PRAGMA max_page_count = 1073741823")
            for _ in range(50):  # nobody sends anything, and yet it finds out
                if (await client.get("/readyz")).status == 200:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError("still not ready")
        committer.drain()
        ledger.close()

    asyncio.run(story())
    assert len(kept(tmp_path)) == 300


def test_a_full_queue_answers_429(tmp_path: Path) -> None:
    async def story() -> None:
        ledger = Ledger.open(tmp_path)
        committer = Committer(ledger, STANDARDS, queue_events=5)
        async with TestClient(TestServer(application(committer, Settings(data=tmp_path)))) as client:
            waiting = asyncio.ensure_future(client.post("/events", json=[row(number) for number in range(4)]))
            await asyncio.sleep(0.1)
            answer = await client.post("/events", json=[row(number) for number in range(4, 8)])
            assert answer.status == 429
            assert "Retry-After" in answer.headers
            committer.start()
            assert (await waiting).status == 202
        committer.drain()
        ledger.close()

    asyncio.run(story())


def test_imported_history_is_what_measure_finds_and_historical(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    lines = [json.dumps(row(number)) for number in range(900)]
    path.write_text("\n".join([*lines, *lines[:50], "nothing"]))
    for again in (False, True):
        summary = import_files(tmp_path / "data", [str(path)])
        assert summary["outcomes"].get("applied", 0) == (0 if again else 900)
        assert summary["histories"] == (0 if again else 11)
    events = [decode_event(line) for line in lines]
    rows, findings, tally = measure_events(events, STANDARDS, None)
    with Reader(tmp_path / "data") as reader:
        assert {one.journey: one.row() for one in reader.all_journeys()} == {one.journey: one.row() for one in rows}
        assert {one.id: one.row() for one in reader.standing()} == {one.id: one.row() for one in findings}
        found = {key: number for key, number in reader.tallies().items() if not key.startswith("imported|")}
        assert found == {key: number for key, number in tally.items() if number}
        assert all(told.historical for told in reader.latest(1000))


def test_watermarks_never_pass_the_receive_clock_nor_go_back() -> None:
    heard = Heard({"crm": (5_000_000, 5_000_000)}, 5_000_000)
    now = 10_000_000
    heard.take([event_of(row(1, time=stamp(now + 250_000)))], now)
    assert heard.watermark["crm"] == now - 120_000
    heard.take([event_of(row(2, time=stamp(1_000_000)))], now)
    assert heard.watermark["crm"] == now - 120_000
    assert Heard.is_future(event_of(row(3, time=stamp(now + 300_001))), now)
    assert not Heard.is_future(event_of(row(3, time=stamp(now + 300_000))), now)
    assert not heard.frontier(now + 599_999).silent
    assert heard.frontier(now + 600_000).silent == {"crm": now + 600_000}
