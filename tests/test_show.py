"""What people see: /metrics as Prometheus reads it, and the page, whatever the events say."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.run.demo import STANDARDS
from tribo.show.metrics import Vitals, metrics_routes
from tribo.show.page.views import page_routes
from tribo.show.words import last_revisions
from tribo_schemas.event import Event, event_of, instant, stamp
from tribo_schemas.finding import KINDS
from tribo_schemas.standard import load_standards

CALM = Vitals(0, 50_000, False, False, 0.0, ((0.1, 3), (float("inf"), 3)), 0.2)
HOSTILE = "<script>alert(1)</script>\"'} 1e9\n\\ \u202e =1+1"


def events(now: int) -> list[Event]:
    said = [
        (0, "purchase", "opened", "order:1", {}),
        (0, "purchase", "promised", "order:1", {"promise": HOSTILE, "due": stamp(now + 60_000)}),
        (1, "service", "opened", "case:<b>1</b>", {"about": ["order:1"], "topic": HOSTILE, "channel": "chat"}),
        (2, "service", "assigned", "case:<b>1</b>", {"team": HOSTILE, "owner": HOSTILE}),
        (3, "service", "assigned", "case:<b>1</b>", {"team": "b"}),
        (4, "service", "complained", "case:<b>1</b>", {"topic": HOSTILE}),
    ]
    return [
        event_of({"id": f"e{number}", "source": HOSTILE, "time": stamp(now - 86_400_000 + minute * 60_000), "touchpoint": touchpoint,
                  "fact": fact, "item": item, "customer": HOSTILE, **more})
        for number, (minute, touchpoint, fact, item, more) in enumerate(said)
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def look(folder: Path, paths: list[str], given: bool = True) -> dict[str, tuple[int, dict[str, str], str]]:
    """The answers to some paths, over a ledger that holds hostile events."""
    standards = compile_standards(load_standards(STANDARDS))
    ledger = Ledger.open(folder)
    now = time.time_ns() // 1_000_000
    if given:
        ledger.apply(events(now), Frontier(now, complete=True), standards, received_at=now)
    try:

        async def ask() -> dict[str, tuple[int, dict[str, str], str]]:
            app = web.Application()
            app.add_routes(metrics_routes(lambda: Reader(ledger.where), standards, None, lambda: CALM))
            app.add_routes(page_routes(lambda: Reader(ledger.where), standards, None, dashboards="https://grafana.example.com/d"))
            async with TestClient(TestServer(app)) as client:
                found = {}
                for path in paths:
                    answer = await client.get(path)
                    found[path] = (answer.status, dict(answer.headers), await answer.text())
                return found

        return asyncio.run(ask())
    finally:
        ledger.close()


def test_every_series_exists_from_the_start(folder: Path) -> None:
    text = look(folder, ["/metrics"], given=False)["/metrics"][2]
    for kind in KINDS:
        assert f'tribo_findings_total{{kind="{kind}",touchpoint="service"}} 0.0' in text
    for name in compile_standards(load_standards(STANDARDS)).names:
        assert f'tribo_standard_judged_total{{outcome="missed",standard="{name}"}} 0.0' in text
    assert 'tribo_wait_seconds_bucket{clock="queue",le="120.0",touchpoint="service"} 0.0' in text  # the standard's own target


@pytest.mark.skipif(not shutil.which("promtool"), reason="SKIPPED, NOT TESTED: promtool isn't installed")
def test_promtool_has_nothing_to_say(folder: Path) -> None:
    text = look(folder, ["/metrics"])["/metrics"][2]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_strangers_choose_no_label_but_a_source(folder: Path) -> None:
    text = look(folder, ["/metrics"])["/metrics"][2]
    assert 'tribo_team_findings_total{kind="handoff",team="other"} 1.0' in text
    assert [line for line in text.splitlines() if "script" in line and "source=" not in line and line[0] != "#"] == []


def test_the_page_shows_events_as_text_only(folder: Path) -> None:
    answers = look(folder, ["/", "/parts", "/journeys/order:1", "/journeys/case:%3Cb%3E1%3C%2Fb%3E", "/journeys/none:1", "/static/tribo.js"])
    for path, (status, headers, text) in answers.items():
        assert status == (404 if path == "/journeys/none:1" else 200), path
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        if not path.startswith("/static"):
            assert "<script>alert" not in text
            assert "<b>1</b>" not in text
            assert HOSTILE not in text
    assert "Handed from" in answers["/journeys/order:1"][2]
    assert "data-left" in answers["/"][2]
    assert '<a href="https://grafana.example.com/d" rel="noreferrer">Dashboards</a>' in answers["/"][2]


def test_the_last_revision_is_shown_even_when_it_moved_back_in_time(folder: Path) -> None:
    standards = compile_standards(None)
    now = instant("2026-03-10T00:00:00Z")

    def said(number: int, when: str, fact: str, **more: object) -> Event:
        base = {"id": f"e{number}", "source": "shop", "time": when, "touchpoint": "purchase", "item": "order:a/b", "customer": "anna"}
        return event_of({**base, "fact": fact, **more})

    with contextlib.closing(Ledger.open(folder)) as ledger:
        for batch in (
            [
                said(1, "2026-03-01T00:00:00Z", "opened"),
                said(2, "2026-03-01T01:00:00Z", "promised", promise="p", due="2026-03-05T00:00:00Z"),
            ],
            [said(3, "2026-03-02T00:00:00Z", "informed", promise="p", due="2026-03-03T00:00:00Z")],
        ):
            ledger.apply(batch, Frontier(now, complete=True), standards, received_at=now)
    answers = look(folder, ["/journeys/order:a/b", "/journeys/order:a%2Fb"], given=False)
    with Reader(folder) as reader:
        story = reader.journey("order:a/b")
    assert story is not None
    assert last_revisions(story.findings)[next(one.finding.id for one in story.findings if one.finding.kind == "promise_broken")] == 2
    for status, _, text in answers.values():
        assert status == 200
        assert "revision 2" in text
        assert text.count("was broken") == 1


def test_measure_knows_no_clock_no_io_and_nobody_else() -> None:
    import ast

    import tribo.measure

    allowed = {
        "__future__", "ast", "bisect", "collections", "dataclasses", "datetime", "functools", "hashlib", "heapq", "itertools", "msgspec", "operator",
        "tribo", "tribo_schemas", "typing", "zoneinfo",
    }  # fmt: skip
    for path in Path(tribo.measure.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in allowed, (path, name)
                assert not name.startswith("tribo.") or name.startswith("tribo.measure"), (path, name)
            assert not (isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today") and isinstance(node.value, ast.Name)
                        and node.value.id in ("datetime", "date")), path  # fmt: skip


def test_the_demo_shows_its_first_findings_within_seconds(tmp_path: Path) -> None:
    import sys

    command = [sys.executable, "-m", "tribo", "demo", "--seconds", "8", "--port", "0", "--data", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    with Reader(tmp_path / "demo") as reader:
        tallies = reader.tallies()
        assert reader.size()["events"] > 500
    assert tallies["finding|promise_broken|purchase|"] > 0
    assert instant("2026-01-05T00:00:00Z") < max(row["last_event_at"] for row in Reader(tmp_path / "demo").sources())


def test_every_metric_is_documented(folder: Path) -> None:
    text = look(folder, ["/metrics"])["/metrics"][2]
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    table = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text()
    documented = {name for line in table.splitlines() if line.startswith("| `") for name in line.split("|")[1].replace("`", "").replace(",", " ").split()}
    assert names == documented
