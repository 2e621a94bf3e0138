"""The page under load: 100,000 journeys with a million findings, and 500 browsers of which some are slow. `make torture` runs it.

usage: python tests/torture_page.py [journeys] [browsers] [folder] [view]

With a folder, the ledger is made there, and used again the next time; with a view, such as /report, only this one is asked for.

The ledger is made of real journeys of the invented company, those with the most findings, written again under other names and at other times;
their histories' states are left out. A twentieth of the customers have three journeys in one history, the others one. Prints, for each view, how
long the server took (p50, p95, most), first paint in Chromium, and what the browsers cost; exits 1 where an aim is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import msgspec

from shown import RULES, fill
from tribo.ledger.bodies import pack_event, pack_struct
from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.ledger.rows import promise_bits, touchpoint_bits
from tribo.run.demo import STANDARDS, START
from tribo_schemas.event import Event, stamp
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow

DAY = 86_400_000
FINDINGS_EACH = 10
OVER_DAYS = 60
ASKED = 40
P95_SECONDS, PAINT_SECONDS, GROWTH_BYTES = 0.2, 1.0, 200 << 20


def templates(folder: Path) -> list[tuple[JourneyRow, list[Finding], list[Event]]]:
    """Real journeys, about ten findings each."""
    fill(folder, days=60, orders_per_day=40)
    with Reader(folder) as reader:
        rows = {row.journey: row for row in reader.all_journeys()}
        found: dict[str, list[Finding]] = {}
        for finding in reader.standing():
            found.setdefault(finding.journey, []).append(finding)
        names = sorted(rows, key=lambda name: (-len(found.get(name, ())), name))
        total, chosen = 0, []
        for name in names:
            total += len(found.get(name, ()))
            if chosen and total / (len(chosen) + 1) < FINDINGS_EACH:
                break
            chosen.append(name)
        result = []
        for name in chosen[:400]:
            story = reader.journey(name)
            assert story is not None
            result.append((rows[name], found[name], story.events))
        return result


def customer_of(number: int) -> tuple[int, bool]:
    """The first journey of the same customer, whose number is that of the history, and whether there are several: of 20 customers one
    has three, the others one."""
    place = (number - 1) % 22
    return (number - place, True) if place < 3 else (number, False)


def grow(folder: Path, journeys: int, now: int) -> None:
    """The large ledger, as it stands at an instant (UTC ms)."""
    with tempfile.TemporaryDirectory() as small:
        models = templates(Path(small))
        with Reader(small) as reader:
            (body,) = reader.rows("SELECT counters FROM partitions")[0]
            days = reader.rows("SELECT * FROM days")
    draw = random.Random(1)
    ledger = Ledger.open(folder, STANDARDS.read_text("utf-8"))
    ledger.close()
    import sqlite3

    db = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    db.execute("UPDATE partitions SET counters = ?", (body,))
    db.executemany(f"INSERT OR REPLACE INTO days VALUES ({','.join('?' * len(days[0]))})", days)
    sources = sorted({event.source for _, _, events in models for event in events})
    db.executemany("INSERT INTO sources VALUES (?, ?)", list(enumerate(sources, 1)))
    numbers = {name: number for number, name in enumerate(sources, 1)}
    columns = {table: len(db.execute(f"PRAGMA table_info({table})").fetchall()) for table in ("journeys", "findings", "promises", "histories", "events")}
    insert = {table: f"INSERT INTO {table} VALUES ({','.join('?' * count)})" for table, count in columns.items()}
    event_number = found_number = 0
    for number in range(1, journeys + 1):
        row, findings, events = models[number % len(models)]
        by = draw.randrange(OVER_DAYS * DAY)
        name = f"-{number}"
        history, several = customer_of(number)
        journey, customer = row.journey + name, f"customer-{history}"
        row = msgspec.structs.replace(
            row, journey=journey, customer=customer, items=tuple(item + name for item in row.items), opened_at=row.opened_at + by,
            last_event_at=row.last_event_at + by, status="open" if number % 4 == 0 else "ended",
        )  # fmt: skip
        db.execute(insert["histories"].replace("INSERT", "INSERT OR IGNORE"), (history, 1, 0, None, 1, 0, 0, 0, None, None, *[0] * (columns["histories"] - 10)))
        db.execute(insert["journeys"], (
            history, journey, 0, 1, 1, row.status, row.friction, row.delight, row.opened_at, row.last_event_at, touchpoint_bits(row.touchpoints), 0,
            pack_struct(row), promise_bits(row), 1, int(several),
        ))  # fmt: skip
        db.executemany("INSERT OR IGNORE INTO links VALUES (?, ?)", [(f"i:{item}", history) for item in row.items] + [(f"c:{customer}", history)])
        rows = []
        for finding in findings:
            moved = msgspec.structs.replace(
                finding, id=f"{finding.id}{name}", journey=journey, item=finding.item + name, at=finding.at + by,
                evidence=tuple(event + name for event in finding.evidence),
            )  # fmt: skip
            rows.append((
                history, moved.id, 0, 1, 1, 0, moved.at, 0, moved.kind, moved.at, moved.touchpoint, moved.team, moved.standard, moved.topic, moved.channel,
                moved.item, journey, moved.points, pack_struct(moved), moved.from_team, moved.level, moved.promise, *[0] * (columns["findings"] - 22),
            ))  # fmt: skip
        db.executemany(insert["findings"], rows)
        found_number += len(rows)
        written = []
        for event in events:
            event_number += 1
            moved_event = msgspec.structs.replace(event, id=event.id + name, item=event.item + name, time=event.time + by, customer=customer)
            written.append((event_number, numbers[event.source], moved_event.id, history, pack_event(moved_event)))
        db.executemany(insert["events"], written)
        due = row.opened_at + 3 * DAY
        state = "open" if number % 5 == 0 else ("kept", "kept", "broken", "kept_late")[number % 4]
        shift = now - row.opened_at + draw.randrange(5 * DAY) if state == "open" else 0
        db.execute(insert["promises"], (
            history, row.items[0], "delivery", journey, "purchase", draw.choice(("a", "b", "c", None)), None, customer, state, int(state == "open" and number % 50 == 0),
            0, 0, 0, row.opened_at, due + shift, due + shift, 0, *[0] * (columns["promises"] - 17),
        ))  # fmt: skip
    db.execute("COMMIT")
    db.close()
    print(f"{journeys} journeys, {found_number} findings, {event_number} events, {(folder / 'ledger.db').stat().st_size >> 20} MB")


SERVER = """
import sys
from aiohttp import web
from tribo.ledger.reader import Reader
from shown import RULES
from tribo.show.page.views import page_routes
folder, port, now = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
app = web.Application()
app.add_routes(page_routes(lambda: Reader(folder), RULES, None, now=lambda: now))
web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)
"""


@contextlib.contextmanager
def server(folder: Path, now: int):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(folder), str(port), str(now)], cwd=Path(__file__).parent)
    site = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{site}/static/tribo.css", timeout=5).close()
                break
            if time.monotonic() > deadline:
                raise RuntimeError("the page did not start")
            time.sleep(0.1)
        yield site, process.pid
    finally:
        process.terminate()
        process.wait(30)


def addresses(now: int, journeys: int) -> dict[str, list[str]]:
    draw = random.Random(2)

    def window(days: int) -> str:
        until = now - 60 * DAY + draw.randrange(0, 50) * DAY
        return f"from={stamp(until - days * DAY)}&to={stamp(until)}"

    return {
        "/": ["/"],
        "/journeys": ["/journeys", "/journeys?sort=newest", "/journeys?sort=delight&page=3", "/journeys?status=open&friction=20", "/journeys?promise=broken&touchpoint=returns"],
        "/journeys in a time": [f"/journeys?{window(draw.choice((1, 7)))}" for _ in range(8)],
        "/journeys by finding": [f"/journeys?{window(7)}&finding={kind}" for kind in ("handoff", "ping_pong", "complaint", "promise_broken", "standard_missed")]
        + ["/journeys?finding=complaint&topic=delivery", "/journeys?standard=phone", f"/journeys?team=billing-desk&{window(2)}"],
        "/why": [f"/why?standard={name}&{window(1)}" for name in ("phone", "few-hands", "delivery-on-time", "next-answer")] + [f"/why?finding=complaint&{window(2)}"],
        "/handoffs": [f"/handoffs?{window(days)}" for days in (1, 7, 7)],
        "/promises": ["/promises", "/promises?days=30", f"/promises?{window(7)}"],
        "/report": [f"/report?week={week}" for week in ("2026-W08", "2026-W09", "2026-W10")],
        "/search": ["/search?q=customer-67", "/search?q=delivery", "/search?q=order:none"],
        "/rejects": ["/rejects"],
    }  # fmt: skip


def timed(site: str, path: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(site + path, timeout=60) as answer:
        answer.read()
    return time.perf_counter() - began


def views(site: str, now: int, journeys: list[str], only: str | None) -> list[str]:
    missed = []
    groups = addresses(now, len(journeys)) | {"/journeys/ITEM": [f"/journeys/{quote(name, safe=':')}" for name in journeys]}
    groups = groups if only is None else {only: groups[only]}
    print(f"{'view':<22}{'p50':>8}{'p95':>8}{'most':>8}   milliseconds, {ASKED} requests each")
    for name, paths in groups.items():
        for path in paths:
            timed(site, path)  # what the disk has to bring is brought
        times = []
        for number in range(ASKED):
            if name == "/":
                time.sleep(1.05)  # older than what is shared: written anew
            times.append(timed(site, paths[number % len(paths)]))
        times.sort()
        p95 = times[int(len(times) * 0.95) - 1]
        print(f"{name:<22}{1000 * statistics.median(times):>8.0f}{1000 * p95:>8.0f}{1000 * times[-1]:>8.0f}", flush=True)
        if p95 > P95_SECONDS:
            missed.append(f"{name}: p95 {1000 * p95:.0f} ms")
    return missed


PAINTED = """() => new Promise(told => new PerformanceObserver(list => {
  for (const one of list.getEntries()) if (one.name === 'first-contentful-paint') told(one.startTime)
}).observe({type: 'paint', buffered: true}))"""


def paint(site: str, journey: str) -> list[str]:
    chromium = shutil.which("chromium")
    if chromium is None:
        return ["first paint: no Chromium"]
    from playwright.sync_api import sync_playwright

    from test_browser import QUIET

    missed = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        for path in ("/", "/journeys", f"/journeys/{journey}", "/handoffs?days=90", "/promises"):
            times = []
            for _ in range(3):
                tab = browser.new_page()
                tab.goto(site + path)
                times.append(tab.evaluate(PAINTED) / 1000)
                tab.close()
            first = statistics.median(times)
            print(f"first paint {path:<22}{1000 * first:>8.0f} ms")
            if first > PAINT_SECONDS:
                missed.append(f"{path}: first paint {1000 * first:.0f} ms")
        browser.close()
    return missed


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def crowd(site: str, pid: int, folder: Path, browsers: int) -> list[str]:
    """Browsers that listen, a tenth of which never take anything, while the ledger changes each second."""
    host, port = site.removeprefix("http://").split(":")
    heard: list[float] = []
    changed_at = [0.0]
    ended = asyncio.Event()

    async def listen(slow: bool) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /stream HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        if slow:
            await ended.wait()
        while not ended.is_set() and not slow:
            with contextlib.suppress(TimeoutError):
                line = await asyncio.wait_for(reader.readline(), 0.5)
                if line.startswith(b"data:"):
                    heard.append(time.perf_counter() - changed_at[0])
        writer.close()

    before = resident(pid)
    tasks = [asyncio.create_task(listen(number % 10 == 0)) for number in range(browsers)]
    await asyncio.sleep(5)
    import sqlite3

    db = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    answered = []
    heard.clear()
    for _ in range(15):
        changed_at[0] = time.perf_counter()
        db.execute("UPDATE partitions SET version = version + 1")
        answered.append(await asyncio.to_thread(timed, site, "/parts"))
        await asyncio.sleep(1.2)
    grown = resident(pid) - before
    ended.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    db.close()
    heard.sort()
    told = len(heard) / (15 * (browsers - browsers // 10))
    print(
        f"{browsers} browsers, a tenth of which take nothing: {grown >> 20} MB more, {told:.0%} of the changes told, p95 {1000 * heard[int(len(heard) * 0.95) - 1]:.0f} ms "
        f"after the change, /parts meanwhile at most {1000 * max(answered):.0f} ms"
    )
    missed = [f"memory grew by {grown >> 20} MB"] if grown > GROWTH_BYTES else []
    return missed + (["some were not told"] if told < 0.95 else [])


def main() -> int:
    journeys = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    browsers = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    assert RULES.names
    with tempfile.TemporaryDirectory(prefix="tribo-torture-") as name:
        folder = Path(sys.argv[3] if len(sys.argv) > 3 else name)
        now = START + (OVER_DAYS + 60) * DAY
        if not (folder / "ledger.db").exists():
            grow(folder, journeys, now)
        Ledger.open(folder).close()  # made by an earlier version, it is brought up
        with Reader(folder) as reader:
            if reader.rows("SELECT count(*) FROM journeys") != [(journeys,)]:
                raise SystemExit(f"{folder} holds a ledger of another size, or one half made: name another folder")
            some = [row for (row,) in reader.rows("SELECT journey FROM journeys WHERE history IN (?*)", ([1, 77, 999, journeys // 2, journeys],))]
        with server(folder, now) as (site, pid):
            only = sys.argv[4] if len(sys.argv) > 4 else None
            missed = views(site, now, some, only)
            if only is None:
                missed += paint(site, some[0])
                missed += asyncio.run(crowd(site, pid, folder, browsers))
    for line in missed:
        print("MISSED", line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
