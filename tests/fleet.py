"""A company's worth of events, and a fleet of real workers that measures them while things go wrong."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from broker import Broker, broker, fetch_jars
from servers import PostgresServer, postgres_database
from tribo.ledger.ledger import Ledger, Reader, Unreachable
from tribo.measure.advance import Frontier
from tribo.measure.standards import Standards, compile_standards
from tribo.run.company import company
from tribo.run.demo import STANDARDS
from tribo.run.distributed.settings import Distributed
from tribo.run.measure import measure_events
from tribo_schemas.config import BadConfig
from tribo_schemas.event import Event, decode_event, stamp
from tribo_schemas.standard import load_standards

Row = dict[str, Any]
Table = tuple[dict[str, Row], dict[str, Row], dict[str, int]]
DAY = 86_400_000
WAIT_SECONDS = 240


def history(count: int, seed: int, ends_at: int, a_day: int = 400) -> list[Row]:
    """That many events of the invented company, with so many orders a day, in the order in which they arrive: out of order, some twice,
    and a tenth of the service items without a customer until a link, which comes late, says whose they are."""
    rng = random.Random(seed)
    start = ends_at - (count // (a_day * 9) + 8) * DAY
    rows: list[Row] = []
    links: dict[str, Row] = {}
    for row in company(seed, start, a_day):
        if row["time"] > stamp(ends_at) or len(rows) >= count:
            break
        if row["item"].startswith("case:") and hash_of(row["item"]) % 10 == 0:
            links.setdefault(row["item"], {
                "id": f"link-{row['item']}", "source": "crm", "time": row["time"], "touchpoint": "service", "fact": "linked",
                "item": row["item"], "customer": row["customer"],
            })  # fmt: skip
            row = {name: value for name, value in row.items() if name not in ("customer", "about")}
        rows.append(row)
    late = list(links.values())
    rng.shuffle(late)
    del rows[count - len(late) :]
    assert len(rows) + len(late) == count
    placed = [(number + rng.randint(0, 500) if rng.random() < 0.05 else number, row) for number, row in enumerate(rows)]
    placed += [(rng.randint(len(rows) // 2, len(rows)), row) for row in late]
    placed += [(number + rng.randint(0, 2000), row) for number, row in enumerate(rows) if rng.random() < 0.03]
    placed.sort(key=lambda entry: entry[0])
    return [row for _, row in placed]


def hash_of(text: str) -> int:
    return sum(text.encode())


def expected(rows: Iterable[Row], standards: Standards, until: int) -> Table:
    """What one fold of all the events gives."""
    events: dict[tuple[str, str], Event] = {(row["source"], row["id"]): decode_event(json.dumps(row)) for row in rows}
    journeys, findings, tally = measure_events(events.values(), standards, until)
    return (
        {row.journey: row.row() for row in journeys},
        {finding.id: finding.row() for finding in findings},
        {key: number for key, number in tally.items() if number},
    )


def finished(settings: Distributed, standards: Standards, text: str, until: int) -> Table:
    """What stands in the ledger once time has passed everything: the workers must have ended."""
    frontier = Frontier(until, complete=True)
    again = True
    while again:  # a partition may wake a history that another one then merges
        again = False
        for number in range(settings.partitions):
            ledger = Ledger.open(settings.database, text, partition=number)
            while ledger.tick(frontier, standards):
                again = True
            ledger.close()
    with Reader(settings.database) as reader:
        return (
            {row.journey: row.row() for row in reader.all_journeys()},
            {finding.id: finding.row() for finding in reader.standing()},
            reader.tallies(),
        )


def demo_standards() -> tuple[Standards, str]:
    return compile_standards(load_standards(STANDARDS)), STANDARDS.read_text("utf-8")


@contextmanager
def real_servers(name: str) -> Iterator[tuple[Broker, PostgresServer, str, Path]]:
    """A broker, a durable PostgreSQL with a database of this name, and a folder, for as long as a long run takes."""
    wrong = fetch_jars()
    if wrong is not None:
        sys.exit(f"no Kafka: {wrong}")
    server = PostgresServer(durable=True)
    try:
        with broker() as own, postgres_database(server.address, name) as database, tempfile.TemporaryDirectory() as folder:
            yield own, server, database, Path(folder)
    finally:
        server.close()


class Fleet:
    """Workers as processes of their own. Those that end by themselves are started again, as a supervisor would."""

    def __init__(self, settings: Distributed, folder: Path) -> None:
        self.settings = settings
        self.file = folder / "tribo.yaml"
        self.log = folder / "workers.log"
        self.file.write_text(json.dumps(json.loads(settings.model_dump_json(exclude_none=True))))  # JSON is YAML
        self.restarts = 0
        self._workers: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._supervise, daemon=True)
        self._watch.start()

    def start(self, kind: str, count: int = 1) -> None:
        with self._lock:
            for _ in range(count):
                self._workers.append((kind, self._process(kind)))

    def _process(self, kind: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tribo", "worker", kind, "--settings", str(self.file)]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _supervise(self) -> None:
        while not self._ended.wait(0.5):
            with self._lock:
                for number, (kind, process) in enumerate(self._workers):
                    if process.poll() is not None:
                        self.restarts += 1
                        self._workers[number] = (kind, self._process(kind))

    def some(self, kind: str, rng: random.Random) -> subprocess.Popen[bytes]:
        with self._lock:
            return rng.choice([process for found, process in self._workers if found == kind])

    def kill(self, kind: str, rng: random.Random) -> None:
        self.some(kind, rng).kill()

    def pause(self, kind: str, rng: random.Random, seconds: float) -> None:
        process = self.some(kind, rng)
        process.send_signal(signal.SIGSTOP)
        self._ended.wait(seconds)
        process.send_signal(signal.SIGCONT)

    def remove(self, kind: str) -> None:
        with self._lock:
            place = next(number for number, (found, _) in enumerate(self._workers) if found == kind)
            _, process = self._workers.pop(place)
        process.terminate()
        self._await_end(process)

    def stop(self) -> None:
        """End all in good order."""
        self._ended.set()
        self._watch.join()
        for _, process in self._workers:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for _, process in self._workers:
            self._await_end(process)
        self._workers.clear()

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"a worker did not end in 30 s\n{self.tail()}") from None

    def addresses(self, kind: str) -> list[str]:
        """Where workers of a kind said that they listen, those that have ended among them."""
        return re.findall(rf"tribo: {kind} .* at (http://[\d.:]+/)", self.log.read_text(errors="replace"))

    def state(self) -> str:
        """What the workers say of themselves."""
        said = []
        for kind, address in [(which, found) for which in ("wire", "measure") for found in self.addresses(which)]:
            for path in ("readyz", "metrics"):
                try:
                    answer = urllib.request.urlopen(address + path, timeout=2).read().decode()
                except urllib.error.HTTPError as error:
                    answer = error.read().decode()
                except OSError:
                    continue  # of a process that has ended
                said += [f"{kind} {line}" for line in answer.splitlines() if path == "readyz" or re.match(r"tribo_\w+(lag|held|up|lost|gaps|events_total)", line)]
        return "\n".join(said)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Feed(threading.Thread):
    """Publishes rows to a source topic, over so many seconds, whatever the broker does meanwhile."""

    def __init__(self, settings: Distributed, rows: list[Row], seconds: float) -> None:
        super().__init__(daemon=True)
        self._settings, self._rows, self._seconds = settings, rows, seconds
        self.sent = 0
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            began = time.monotonic()
            at_once = 500
            for begin in range(0, len(self._rows), at_once):
                wait = began + self._seconds * begin / len(self._rows) - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                self._send(self._rows[begin : begin + at_once])
        except BaseException as error:
            self.failed = error

    def _send(self, rows: list[Row]) -> None:
        until = time.monotonic() + 120
        while True:
            try:
                producer = self._producer()
                sent = [producer.send(self._settings.topics[0].topic, json.dumps(row).encode()) for row in rows]
                for one in sent:
                    one.get(30)
            except KafkaError:
                self._made = None
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
            else:
                self.sent += len(rows)
                return

    _made: KafkaProducer | None = None

    def _producer(self) -> KafkaProducer:
        if self._made is None:
            self._made = KafkaProducer(bootstrap_servers=self._settings.kafka, acks="all", linger_ms=20, batch_size=200_000)
        return self._made


class Counters(threading.Thread):
    """Looks at the ledger's counters all the while, and notes what fell."""

    def __init__(self, database: str) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._ended = threading.Event()
        self.looks = 0
        self.fell: list[str] = []

    def run(self) -> None:
        before: dict[str, tuple[int, int]] = {}
        while not self._ended.wait(0.5):
            try:
                with Reader(self._database) as reader:
                    now = reader.counters()
            except (BadConfig, Unreachable, OSError):
                continue
            except Exception as error:  # the server went away in the middle of a look
                if type(error).__module__.startswith("psycopg"):
                    continue
                raise
            self.looks += 1
            for key, pair in before.items():
                if now.get(key, (0, 0))[0] < pair[0] or now.get(key, (0, 0))[1] < pair[1]:
                    self.fell.append(f"{key}: {pair} → {now.get(key)}")
            before = now

    def stop(self) -> None:
        self._ended.set()
        self.join()


def memory_of(pid: int, field: str = "VmRSS") -> int:
    """A process's resident memory, MB; with VmHWM the most that it had."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) // 1024


def events_kept(database: str) -> int:
    """How many events the ledger holds; -1 while it can't be asked."""
    try:
        with Reader(database) as reader:
            ((count,),) = reader.rows("SELECT count(*) FROM events WHERE length(body) > 0")
            return int(count)
    except Exception:
        return -1


def until(reached: Callable[[], bool], what: Callable[[], str], seconds: float = WAIT_SECONDS) -> None:
    """Poll until something is so."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise AssertionError(f"not after {seconds:.0f} s: {what()}")
        time.sleep(0.3)


def difference(found: Table, wanted: Table) -> str:
    """The first things that differ."""
    lines: list[str] = []
    for name, one, other in zip(("journeys", "findings", "counters"), found, wanted, strict=True):
        keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
        if keys:
            lines.append(f"{name}: {len(keys)} of {len(other)} differ")
            lines += [f"  {key}: {one.get(key)} instead of {other.get(key)}" for key in sorted(keys)[:3]]
    return "\n".join(lines)

