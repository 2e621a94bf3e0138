"""`tribo demo`: the invented company in fast time, through the same ingest, ledger and page as any other source."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from tribo.ledger.reader import Reader
from tribo.measure.score import scoreboard
from tribo.measure.standards import compile_standards
from tribo.run.clock import ReceiveClock
from tribo.run.company import DAY, company
from tribo.run.embedded import run_embedded
from tribo.run.settings import Settings
from tribo.show.words import sentence
from tribo_schemas.event import instant, stamp
from tribo_schemas.standard import load_standards

STANDARDS = Path(__file__).with_name("demo_standards.yaml")
START = instant("2026-01-05T00:00:00Z")  # a Monday
SENT_AT_ONCE = 500


class FastClock(ReceiveClock):
    """A receive clock for the company's time: it starts at `start` (UTC ms) and passes `days_per_second`."""

    silent_after = 3 * DAY  # a quiet night takes a blink of an eye here, and is no silence

    def __init__(self, start: int, days_per_second: float) -> None:
        self._start = start
        self._began = time.monotonic()
        self._speed = days_per_second * DAY

    def wall(self) -> int:
        """The company's time, too."""
        return self.now()

    def now(self) -> int:
        """The company's time, UTC milliseconds."""
        return self._start + int((time.monotonic() - self._began) * self._speed)


def demo(seed: int, days_per_second: float, port: int, seconds: float | None, folder: Path | None, screen: Console) -> int:
    """Run the demo until it is interrupted, or for `seconds`. `folder` keeps the ledger; without, it goes with the demo."""
    logging.getLogger("tribo").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="tribo-demo-") as fresh:
        data = folder if folder is not None else Path(fresh)
        clock = FastClock(START, days_per_second)
        ended = threading.Event()

        def ready(address: str) -> None:
            screen.print(f"The page: {address}")  # also where there is no terminal to draw on
            threading.Thread(target=_feed, args=(address, seed, clock, ended), daemon=True).start()
            threading.Thread(target=_watch, args=(address, data, clock, seconds, ended, screen), daemon=True).start()

        try:
            return run_embedded(Settings(data=data, port=port, standards=STANDARDS, raw_days=0), ready, clock)
        finally:
            ended.set()


def _feed(address: str, seed: int, clock: FastClock, ended: threading.Event) -> None:
    """Send the company's events as their time comes."""
    events = company(seed, START)
    event = next(events)
    while not ended.is_set():
        batch: list[dict[str, Any]] = []
        now = clock.now()
        while len(batch) < SENT_AT_ONCE and instant(event["time"]) <= now:
            batch.append(event)
            event = next(events)
        if not batch:
            ended.wait(0.05)
        while batch and not ended.is_set():
            body = "\n".join(map(json.dumps, batch)).encode()
            request = urllib.request.Request(f"{address}events", body, {"Content-Type": "application/x-ndjson"})
            try:
                urllib.request.urlopen(request, timeout=30).close()
                break
            except urllib.error.URLError:
                ended.wait(0.5)


def _watch(address: str, data: Path, clock: FastClock, seconds: float | None, ended: threading.Event, screen: Console) -> None:
    """Show how things stand, twice a second."""
    standards = compile_standards(load_standards(STANDARDS))
    began = time.monotonic()
    with Live(console=screen, auto_refresh=False, transient=False) as live:
        while not ended.wait(0.5):
            with Reader(data) as reader:
                tallies, latest, size = reader.tallies(), reader.latest(8), reader.size()
            board = Table(title=f"{stamp(clock.now())[:16]}   {size['events']} events   page: {address}", title_justify="left")
            for name in ("What customers are told", "expected", "actual", "missed"):
                board.add_column(name, justify="left" if name.startswith("What") else "right")
            for row in scoreboard(standards, tallies):
                actual = "-" if row["actual"] is None else f"{row['actual']:.1%}"
                style = "red" if row["gap"] is not None and row["gap"] > 0 else "green" if row["gap"] is not None else "dim"
                board.add_row(row["says"], f"{row['expected']:.0%}", f"[{style}]{actual}[/]", str(row["missed"]))
            found = Table(title="Found last", title_justify="left", show_header=False)
            for told in latest:
                text = sentence(told.finding)
                found.add_row(told.finding.item, text if told.status == "found" else f"[strike]{text}[/]")
            live.update(Group(board, found), refresh=True)
            if seconds is not None and time.monotonic() - began >= seconds:
                break
    if not ended.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
