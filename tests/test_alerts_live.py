"""Prometheus, Alertmanager and a receiver, all real, around a running Tribo: trouble comes in as events over HTTP, and the right people
hear of it, with a link that shows the very journeys.

Everything is faster: windows, waits and intervals are a sixtieth (`tribo rules --faster 60`). The tests of this file share one world and
run in order.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from broker import free_port
from test_dashboards import queries
from tribo.run.company import DAY, company
from tribo.run.demo import STANDARDS
from tribo_schemas.event import instant, stamp

PROGRAMS = ("prometheus", "prometheus-alertmanager")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"SKIPPED, NOT TESTED: {' and '.join(PROGRAMS)} must be installed"
)
INTERVAL_SECONDS = 2
MINUTE = 60_000
TEAMS_INVENTED = 100_000
STRINGS = 10_000
ALPHABET = "ab \"\\{}=,\n\t\r\u0001\u202e\u2028\ufeff\ud800é漢🙂%$#<>'`|"
HOSTILE = ['"} 1e9\n', "\\", "\u202e\u0000", "{{ .Labels }}", "a\nb", "'; DROP TABLE events; --", "<script>alert(1)</script>", "=1+1", "\ufeff", "é" * 90]


def now() -> int:
    return time.time_ns() // 1_000_000


T = TypeVar("T")


def until(what: Callable[[], T], text: str, seconds: float = 60) -> T:
    """What it says as soon as it says something; fails with `text` after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if found := what():
                return found
        time.sleep(0.1)
    raise AssertionError(text)


class Receiver:
    """Who is told: keeps every notification by its receiver's name. `raised` is the dead man's switch outside."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.last_beat = time.monotonic()
        this = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = self.path.strip("/")
                if name == "watchdog":
                    this.last_beat = time.monotonic()
                else:
                    this.told.append((name, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def raised(self) -> bool:
        """Nothing was heard of the watchdog for six beats."""
        return time.monotonic() - self.last_beat > 6

    def heard(self, alert: str, status: str, since: int = 0, **labels: str) -> tuple[str, dict[str, Any]] | None:
        """The first word of an alert: who got it, and the alert."""
        for name, body in self.told[since:]:
            for one in body["alerts"]:
                if one["labels"]["alertname"] == alert and one["status"] == status and labels.items() <= one["labels"].items():
                    return name, one
        return None


class World:
    """The processes, and what may be done to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.receiver = Receiver()
        self.ports = {name: free_port() for name in ("tribo", "prometheus", "alertmanager")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.quiet = threading.Event()
        self._serial = 0
        tribo = [sys.executable, "-m", "tribo"]
        subprocess.run(
            [*tribo, "rules", "--standards", str(STANDARDS), "--out", str(folder), "--alertmanager", str(folder / "alertmanager.yml"),
             "--page", self.at("tribo"), "--notify", self.receiver.address + "/{receiver}", "--watchdog", self.receiver.address + "/watchdog",
             "--faster", "60"], check=True)  # fmt: skip
        config = {
            "global": {"scrape_interval": f"{INTERVAL_SECONDS}s", "evaluation_interval": f"{INTERVAL_SECONDS}s", "scrape_timeout": f"{INTERVAL_SECONDS}s"},
            "rule_files": ["tribo-rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{self.ports['alertmanager']}"]}]}]},
            "scrape_configs": [{"job_name": "tribo", "sample_limit": 20_000, "static_configs": [{"targets": [f"127.0.0.1:{self.ports['tribo']}"]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.commands = {
            "tribo": [*tribo, "run"],
            "prometheus": ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus",
                           f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}", "--rules.alert.resend-delay=2s", "--log.level=error"],
            "alertmanager": ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alertmanager",
                             f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}", "--cluster.listen-address=", "--log.level=error"],
        }  # fmt: skip

    def at(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, name: str) -> None:
        environment = os.environ | {"TRIBO_DATA": str(self.folder / "ledger"), "TRIBO_PORT": str(self.ports["tribo"]), "TRIBO_STANDARDS": str(STANDARDS)}
        log = (self.folder / f"{name}.log").open("ab")
        self.running[name] = subprocess.Popen(self.commands[name], env=environment, stdout=log, stderr=log, cwd=self.folder)
        path = "/readyz" if name == "tribo" else "/-/ready"
        until(lambda: urllib.request.urlopen(self.at(name) + path, timeout=5).status == 200, f"{name} does not start")

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        self.quiet.set()
        for name in list(self.running):
            self.kill(name)
        self.receiver.server.shutdown()
        self.receiver.server.server_close()

    def event(self, at: int, source: str, touchpoint: str, fact: str, item: str, **more: Any) -> dict[str, Any]:
        self._serial += 1
        return {"id": f"w{self._serial}", "source": source, "time": stamp(at), "touchpoint": touchpoint, "fact": fact, "item": item, **more}

    def send(self, events: list[dict[str, Any]]) -> None:
        for begin in range(0, len(events), 5000):
            body = "\n".join(map(json.dumps, events[begin : begin + 5000])).encode()
            request = urllib.request.Request(self.at("tribo") + "/events", body, {"Content-Type": "application/x-ndjson"})
            while True:
                try:
                    urllib.request.urlopen(request, timeout=60).close()
                    break
                except urllib.error.HTTPError as error:
                    if error.code == 400:
                        break  # every one of them was refused
                    assert error.code == 429
                    time.sleep(0.2)

    def beat(self) -> None:
        """Something of each source every few seconds, so that none is silent."""
        while not self.quiet.wait(3):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.send([self.event(now(), source, "billing", "opened", "invoice:beat", by="system") for source in ("shop", "phones")])

    def ask(self, query: str) -> list[dict[str, Any]]:
        text = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self.at('prometheus')}/api/v1/query?{text}", timeout=20) as answer:
            data = json.loads(answer.read())["data"]
        return data["result"] if data["resultType"] != "scalar" else [{"value": data["result"]}]

    def is_settled(self) -> bool:
        """Whether Tribo was up at each scrape of late, and whatever was told is over, and was told to be."""
        firing = [one["labels"]["alertname"] for _, body in self.receiver.told for one in body["alerts"] if one["status"] == "firing"]
        return self.number('min_over_time(up{job="tribo"}[10s])') == 1 and all(self.receiver.heard(name, "resolved") for name in firing)

    def number(self, query: str) -> float:
        found = self.ask(query)
        return float(found[0]["value"][1]) if found else math.nan


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    try:
        for name in ("tribo", "alertmanager", "prometheus"):
            world.start(name)
        threading.Thread(target=world.beat, daemon=True).start()
        until(lambda: world.number('count_over_time(up{job="tribo"}[1m])') >= 3, "Prometheus does not scrape")
        until(world.is_settled, "something is wrong from the start")  # a busy machine may miss a scrape while all of it starts
        world.receiver.told.clear()
        yield world
    finally:
        world.end()


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert answer.status == 200
        return answer.read().decode()


def test_when_all_is_well_only_the_watchdog_speaks(world: World) -> None:
    begun = world.receiver.last_beat
    until(lambda: world.receiver.last_beat > begun, "the watchdog isn't heard")
    assert not world.receiver.raised()
    assert world.receiver.told == []


def test_promises_about_to_break_untold_reach_their_owner_with_the_journeys_behind_them(world: World) -> None:
    at = now()
    orders = [f"order:planted-{number}" for number in range(3)]
    world.send([
        event for order in orders for event in (
            world.event(at - 100 * MINUTE, "shop", "purchase", "opened", order, customer=f"c-{order}"),
            world.event(at - 100 * MINUTE, "shop", "purchase", "promised", order, promise="delivery", due=stamp(at + 15 * MINUTE)),
        )
    ])  # fmt: skip
    name, alert = until(lambda: world.receiver.heard("TriboPromisesAtRiskUntold", "firing"), "nobody is told")
    assert name == "owner-logistics"
    assert re.match(r"3 promises held by other .*, the first of them due in 14m .*Next: tell", alert["annotations"]["description"])
    listed = page(alert["annotations"]["journeys_url"])
    assert all(order in listed for order in orders)
    # detected within `for` (five minutes, faster) and two evaluations: it was pending no longer than that
    pending = world.number('max(count_over_time(ALERTS{alertname="TriboPromisesAtRiskUntold",alertstate="pending"}[5m]))')
    assert pending <= math.ceil(5 / INTERVAL_SECONDS) + 2
    world.send([world.event(now(), "shop", "purchase", "kept", order, promise="delivery") for order in orders])
    until(lambda: world.receiver.heard("TriboPromisesAtRiskUntold", "resolved"), "it does not resolve")


def test_a_missed_standard_pages_and_its_link_lists_the_very_journeys(world: World) -> None:
    at = now()
    calls = [f"call:planted-{number}" for number in range(24)]
    world.send([
        world.event(at - ago * MINUTE, "phones", "service", fact, call, customer=f"c-{call}")
        for call in calls for ago, fact in ((9, "opened"), (9, "queued"), (5, "answered"), (4, "resolved"))
    ])  # fmt: skip
    name, alert = until(lambda: world.receiver.heard("TriboStandardBurnsFast", "firing", standard="phone"), "nobody is paged")
    assert name == "page"
    assert alert["annotations"]["summary"] == "We pick up the phone within two minutes."
    listed = page(alert["annotations"]["journeys_url"])
    assert all(call in listed for call in calls)
    assert "order:planted" not in listed
    assert "## What to do" in page(alert["annotations"]["runbook_url"])
    until(lambda: world.receiver.heard("TriboStandardBurnsFast", "resolved", standard="phone"), "it does not resolve", 120)


def test_ten_thousand_promises_breaking_together_make_five_notifications_at_most(world: World) -> None:
    at = now()
    before = len(world.receiver.told)
    world.send([
        event for number in range(10_000) for event in (
            world.event(at - 600 * MINUTE, "shop", "purchase", "opened", f"order:storm-{number}", customer=f"storm-{number}"),
            world.event(at - 600 * MINUTE, "shop", "purchase", "promised", f"order:storm-{number}", promise="delivery", due=stamp(at - 10 * MINUTE)),
        )
    ])  # fmt: skip
    until(lambda: world.number('sum(tribo_promises{state="broken",touchpoint="purchase"})') >= 10_000, "they don't break", 90)
    until(lambda: world.receiver.heard("TriboPromisesBroken", "firing", before), "nobody hears of broken promises")
    until(lambda: world.receiver.heard("TriboStandardBurnsFast", "firing", before, standard="delivery-on-time"), "nobody is paged")
    evaluated = world.number('count_over_time(up{job="tribo"}[1h])')  # two more rounds of grouping: what changes then is told, too
    until(lambda: world.number('count_over_time(up{job="tribo"}[1h])') >= evaluated + 6, "Prometheus does not scrape")
    firing = [(name, [one["labels"]["alertname"] for one in body["alerts"]]) for name, body in world.receiver.told[before:] if body["status"] == "firing"]
    assert len(firing) <= 5, firing


def test_a_silent_source_is_not_told_as_broken_promises(world: World) -> None:
    def alert(name: str, severity: str, **labels: str) -> dict[str, Any]:
        return {"labels": {"alertname": name, "severity": severity, **labels}, "annotations": {}, "generatorURL": "http://127.0.0.1/"}

    before = len(world.receiver.told)
    planted = [
        alert("TriboSourceSilent", "page", about="source", source="carrier"),
        alert("TriboPromisesUnknown", "ticket", about="customers", touchpoint="returns", owner="returns"),
        alert("TriboPromisesBroken", "ticket", about="customers", touchpoint="returns", owner="returns"),
        alert("TriboPromisesBroken", "ticket", about="customers", touchpoint="billing", owner="returns"),
    ]
    request = urllib.request.Request(world.at("alertmanager") + "/api/v2/alerts", json.dumps(planted).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()
    until(lambda: world.receiver.heard("TriboSourceSilent", "firing", before), "the silence isn't told")
    until(lambda: world.receiver.heard("TriboPromisesBroken", "firing", before, touchpoint="billing"), "another touchpoint's are held back too")
    told = [one["labels"] for _, body in world.receiver.told[before:] for one in body["alerts"]]
    assert [one for one in told if one.get("touchpoint") == "returns"] == []


def test_every_panel_shows_something(world: World) -> None:
    start = now() - 12 * DAY
    said = []
    for event in company(7, start):
        if instant(event["time"]) > now():
            break
        said.append(event)
    third = len(said) // 3
    for begin in range(0, len(said), third):
        scrapes = world.number('count_over_time(up{job="tribo"}[1h])')
        world.send(said[begin : begin + third])
        until(lambda before=scrapes: world.number('count_over_time(up{job="tribo"}[1h])') >= before + 2, "Prometheus does not scrape")

    def empty() -> list[str]:
        found = []
        for where, text in queries("expr"):
            filled = re.sub(r'"\$\w+"', '".*"', text).replace("$__rate_interval", "1m").replace("[1h]", "[5m]").replace("[6h]", "[5m]")
            values = [float(one["value"][1]) for one in world.ask(filled)]
            if not any(not math.isnan(value) for value in values):
                found.append(f"{where}: {text}")
        return found

    with contextlib.suppress(AssertionError):  # what is usual has no past in a world's first minute
        until(lambda: not empty(), "empty", 75)
    assert empty() == []


def test_strangers_cannot_flood_prometheus(world: World) -> None:
    at = now() - 5 * MINUTE
    started = len(world.ask('{__name__=~"tribo_.+",job="tribo",source=""}'))
    world.send([
        world.event(at, "shop", "service", "assigned", f"case:flood-{number}", team=f"team {number}", owner=f"owner {number}")
        for number in range(TEAMS_INVENTED)
    ])  # fmt: skip
    draw = random.Random(5)
    texts = [draw.choice(HOSTILE) + "".join(draw.choices(ALPHABET, k=draw.randrange(1, 20))) for _ in range(STRINGS)]
    world.send([
        world.event(at + number, text, "service", "complained", f"case:{text}", team=text, owner=text, topic=text, channel=text, customer=text, promise=text)
        for number, text in enumerate(texts)
    ])  # fmt: skip
    until(lambda: world.number("max(tribo_ledger_events)") > TEAMS_INVENTED, "the events don't arrive")
    before = world.number('count_over_time(up{job="tribo"}[1h])')
    until(lambda: world.number('count_over_time(up{job="tribo"}[1h])') >= before + 3, "Prometheus does not scrape")
    assert world.number('min_over_time(up{job="tribo"}[20s])') == 1
    assert world.number('max_over_time(scrape_samples_scraped{job="tribo"}[20s])') < 10_000
    assert len(world.ask('{__name__=~"tribo_.+",job="tribo",source=""}')) <= started + 20
    sources = {one["metric"]["source"] for one in world.ask('tribo_source_heard_timestamp_seconds{job="tribo"}')}
    assert 190 <= len(sources) <= 200
    assert len(sources & set(texts)) > 100  # each came through as it was sent
    assert sources <= set(texts) | {"shop", "phones", "billing", "carrier", "helpdesk", "returns-desk", "survey"}
    print("scrape:", world.number('max_over_time(scrape_duration_seconds{job="tribo"}[20s])'), "s")


def test_whatever_is_stopped_somebody_is_told(world: World) -> None:
    before = len(world.receiver.told)
    world.kill("tribo")
    name, _ = until(lambda: world.receiver.heard("TriboDown", "firing", before), "nobody hears that the monitor is down")
    assert name == "page"
    world.start("tribo")
    until(lambda: world.receiver.heard("TriboDown", "resolved", before), "it does not resolve")
    for metric in ("tribo_findings_total", "tribo_standard_judged_total", "tribo_events_total", "tribo_wait_seconds_count"):
        assert world.number(f"max(resets({metric}[1h]))") == 0  # killed and started again, and nothing began anew
    assert not world.receiver.raised()
    for name in ("prometheus", "alertmanager"):
        world.kill(name)
        until(world.receiver.raised, f"nobody notices that {name} is gone")
        world.start(name)
        until(lambda: not world.receiver.raised(), "the watchdog isn't heard again")
