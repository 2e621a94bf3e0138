"""Bodies, headers, mappings, standards and CSV that nobody meant well: nothing may crash, answer 5xx, or lose count.

`make fuzz` sends 1,000,000 bodies through the application's own handlers, in one process and without sockets: most of them to a taker that
only counts, each fiftieth into a ledger on disk, whose counts must then agree with the answers. `make test` runs a slice. What takes more than
50 ms of CPU is listed. The same seed gives the same bodies; a failure names its seed and number.

    python tests/fuzz.py [--bodies 1000000] [--seed 1] [--configs 5000] [--files 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import json
import logging
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tribo.ledger.ledger import Ledger, Outcome, Reader
from tribo.measure.standards import compile_standards
from tribo.run.commit import Committer
from tribo.run.delivery import Delivery
from tribo.run.ingest import MOST_BODY_BYTES, ingest_application
from tribo.run.settings import Settings
from tribo.run.sources import Senders
from tribo.wire.mapping import PACKAGED, Mapping, packaged
from tribo.wire.readers import read
from tribo.wire.rejects import Reject
from tribo.wire.webhooks import Request, Unauthorized, verify
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import FACTS
from tribo_schemas.source import source_of
from tribo_schemas.standard import standards_of

SLOW_SECONDS = 0.05
LEDGER_EVERY = 50
TOGETHER = 100
ANSWERS = frozenset((200, 202, 400, 401, 403, 404, 405, 413, 415, 429))
HOSTILE: tuple[str, ...] = (
    "NaN", "-Infinity", "1e999", "-1e999", "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "0.1e-400", "-0", "null", "true", '""', "[]", "{}",
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\x00"', '"\\u202e"', '"a' + "b" * 5000 + '"', "[" * 40 + "]" * 40, '{"a":' * 33 + "1" + "}" * 33,
    '"2026-03-02T09:00:60Z"', '"2026-03-02T09:00:00"', '"2026-02-30T09:00:00Z"', '"0000-01-01T00:00:00Z"', '"9999-12-31T23:59:59.9999999Z"', '"2026-03-02T24:00:00Z"',
    '"2026-03-02T09:00:00+24:00"', '"2026-03-02t09:00:00.1z"', '"2026-13-02T09:00:00Z"', '"2999-01-01T00:00:00Z"', "1772000000", "1772000000000", '"case:1"', '":"', '"a:"',
    '"case:' + "9" * 300 + '"', '"{}"', '"${jndi:x}"', "\"'; DROP TABLE events; --\"", '"<script>alert(1)</script>"', '"\u2028"', '"ＣＡＳＥ:1"', "2026-03-02", "0x10", "01", "+1", ".5",
)  # fmt: skip
KINDS = (
    "application/json", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json", "application/x-www-form-urlencoded",
    "text/plain", "application/octet-stream", "", "application/json; charset=utf-16", "multipart/form-data; boundary=x", "application/json;;;=", "é", "application/x-www-form-urlencoded; charset=latin-1",
)  # fmt: skip


@dataclass
class Body:
    """One request: where, what, and its headers."""

    path: str
    raw: bytes
    headers: list[tuple[str, str]]


def corpus() -> dict[str, list[bytes]]:
    """Bodies that are meant well, by route."""
    found: dict[str, list[bytes]] = {"/events": []}
    for number, fact in enumerate(FACTS):
        event: dict[str, Any] = {
            "id": f"e{number}", "source": ("crm", "shop")[number % 2], "time": f"2026-03-0{number % 9 + 1}T09:00:00Z", "touchpoint": "service", "fact": fact,
            "item": f"case:{number % 5}", "customer": f"c{number % 3}", "team": "a", "owner": "o", "promise": "p", "due": "2026-03-09T09:00:00+01:00", "topic": "late",
            "score": 1, "scale": 5, "retracts": "e0", "about": ["order:1"], "sequence": number,
        }  # fmt: skip
        whole = json.dumps(event).encode()
        data = {key: value for key, value in event.items() if key not in ("id", "source", "time")}
        envelope = {"specversion": "1.0", "id": event["id"], "source": event["source"], "time": event["time"], "type": "t", "data": data}
        found["/events"] += [whole, b"[" + whole + b"," + whole.replace(b'"e', b'"f') + b"]", whole + b"\n" + whole, json.dumps(envelope).encode()]
    for name in packaged():
        mapping = Mapping.load(name)
        if mapping.file.kind == "update_log":
            continue
        for example in mapping.examples:
            found.setdefault(f"/sources/{name}", []).extend(json.dumps(raw).encode() for raw in example.raw)
    found["/sources/own"] = found["/events"][:40]
    return found


def mutated(draw: random.Random, seeds: dict[str, list[bytes]], serial: int) -> Body:
    """A body that was meant well, spoilt in some ways, or not at all."""
    path = draw.choice(("/events", "/events", draw.choice(list(seeds)), draw.choice(list(seeds))))
    raw = draw.choice(seeds[path])
    headers: list[tuple[str, str]] = [("Content-Type", "application/json")]
    if draw.random() < 0.3:
        raw = raw.replace(b'"e', b'"%d-' % serial)  # other ids, so that not everything is a duplicate
    for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 6))):
        raw = draw.choice(_WAYS)(draw, raw, seeds, path)
        if len(raw) > 300_000:
            raw = raw[:300_000]
    if draw.random() < 0.25:
        headers = [("Content-Type", draw.choice(KINDS))]
    if draw.random() < 0.02:
        raw = urlencode({"a": "b", "id": "\x00é", "CallSid": "CA1"}).encode() + draw.choice((b"", b"&" * 500, b"%zz=%00", b"\xff=1"))
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
    if draw.random() < 0.05:
        coding = draw.choice(("gzip", "deflate", "x-gzip", "br", "gzip, gzip", "\x00", "identity", "GZIP "))
        packed = draw.choice((gzip.compress(raw, 1), zlib.compress(raw, 1), raw, gzip.compress(raw, 1)[:-5], gzip.compress(b" " * 100_000, 1)))
        raw, headers = packed, [*headers, ("Content-Encoding", coding)]
    if draw.random() < 0.05:
        for name in draw.sample(("ce-id", "ce-source", "ce-time", "ce-specversion", "ce-type"), draw.randint(1, 5)):
            headers.append((name, draw.choice(("1.0", "crm", "2026-03-02T09:00:00Z", "", "\udcff", "e1"))))
    if draw.random() < 0.05:
        shown = ("Bearer x", "Bearer", "Basic ///", "Basic " + "A" * 3000, "\udcff\udcfe", "Bearer " + "t" * 17, "Digest a=b", "")
        headers.append(("Authorization", draw.choice(shown)))
    if draw.random() < 0.03:
        path = draw.choice(("/sources/signed", "/sources/none", "/sources/%2e%2e", "/sources/\udcff", "/events?x=%zz", "/sources/own?bodySHA256=1"))
        headers += [(name, draw.choice(("t=1,v1=ab", "v1,abc=", "sha256=", "\udcff", "t=" + "9" * 30))) for name in ("Stripe-Signature", "webhook-signature")]
    return Body(path, raw, headers)


def _flip(draw: random.Random, raw: bytes, *_: Any) -> bytes:
    changed = bytearray(raw)
    for _number in range(draw.choice((1, 1, 2, 5))):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _cut(draw: random.Random, raw: bytes, *_: Any) -> bytes:
    begin = draw.randrange(len(raw) + 1)
    return draw.choice((raw[:begin], raw[begin:], raw[:begin] + raw[min(begin + draw.randrange(9), len(raw)) :]))


def _put(draw: random.Random, raw: bytes, *_: Any) -> bytes:
    at = draw.randrange(len(raw) + 1)
    more = draw.choice((draw.choice(HOSTILE).encode("utf-8", "surrogatepass"), draw.randbytes(draw.randint(1, 8)), b"\xff", b"\x00", b"\n", b"[" * 50, b'"', b"\\", b"\xed\xa0\x80"))
    return raw[:at] + more + raw[at:]


def _splice(draw: random.Random, raw: bytes, seeds: dict[str, list[bytes]], path: str) -> bytes:
    other = draw.choice(seeds[draw.choice((path, path, "/events"))])
    return raw[: draw.randrange(len(raw) + 1)] + other[draw.randrange(len(other) + 1) :]


def _value(draw: random.Random, raw: bytes, *_: Any) -> bytes:
    """Another value in the place of one."""
    at = raw.find(b":", draw.randrange(len(raw) + 1)) + 1
    if not at:
        return raw
    ends = [end for end in (raw.find(b",", at), raw.find(b"}", at)) if end > 0]
    return raw[:at] + draw.choice(HOSTILE).encode("utf-8", "surrogatepass") + raw[min(ends, default=len(raw)) :]


def _twice(draw: random.Random, raw: bytes, *_: Any) -> bytes:
    """A key again, or the whole again."""
    if draw.random() < 0.5 and raw[:1] == b"{":
        return b'{"id":"x",' + raw[1:]
    return draw.choice((raw + raw, raw + b"\n" + raw, b"[" + raw + b"," + raw + b"]", b"[" + b",".join([raw] * draw.randint(1, 30)) + b"]"))


def _encode(draw: random.Random, raw: bytes, *_: Any) -> bytes:
    text = raw.decode("utf-8", "replace")
    return draw.choice((text.encode("utf-16"), text.encode("utf-16-le"), text.encode("utf-32"), b"\xef\xbb\xbf" + raw, text.encode("latin-1", "replace")))


def _deep(draw: random.Random, raw: bytes, *_: Any) -> bytes:
    levels = draw.choice((31, 32, 33, 100, 2000) if draw.random() < 0.98 else (100_000,))
    left, right = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return draw.choice((left * levels + b"1" + right * levels, left * levels, raw[:-1] + b',"x":' + left * levels + b"1" + right * levels + b"}"))


_WAYS: tuple[Callable[..., bytes], ...] = (_flip, _flip, _cut, _put, _put, _splice, _value, _value, _value, _twice, _encode, _deep)


@dataclass
class Counting:
    """A taker that keeps nothing and counts everything."""

    broken: BaseException | None = None
    full: bool = False
    events: int = 0
    rejects: int = 0
    seen: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def submit(self, delivery: Delivery) -> Future[list[Outcome | Reject]]:
        self.events += len(delivery.events)
        self.rejects += len(delivery.rejects)
        for event in delivery.events:
            self.seen.update(f"{event.source}/{event.id}/{event.time}/{event.due}\n".encode("utf-8", "surrogatepass"))
        done: Future[list[Outcome | Reject]] = Future()
        done.set_result(["applied"] * len(delivery.events))
        return done


@dataclass
class Report:
    """What came of a run."""

    bodies: int = 0
    taken: int = 0
    rejected: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slow: list[tuple[float, int, str, int]] = field(default_factory=list)
    """(CPU seconds, number, path, bytes) of what took more than 50 ms."""
    seconds: float = 0.0
    digest: str = ""
    in_ledger: str = ""
    others: dict[str, str] = field(default_factory=dict)


def senders() -> Senders:
    """Every packaged mapping without a credential, so that bodies come through; and one that signs."""
    sources: dict[str, Any] = {name: {"mapping": name, "requests_per_second": 100_000} for name in packaged() if Mapping.load(name).file.kind != "update_log"}
    sources["own"] = {"requests_per_second": 100_000}
    sources["signed"] = {"signature": "stripe", "secrets": ["SECRET"], "requests_per_second": 100_000}
    return Senders(Settings.model_validate({"sources": sources}).sources, {"SECRET": "whsec_x"})


class _Anything:
    """A connection that nobody listens to."""

    _reading_paused = False

    def __getattr__(self, _: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> None:
        return None


class Site:
    """The application, asked without sockets."""

    def __init__(self, taker: Any) -> None:
        self.app = ingest_application(taker, None, senders())
        self.app.freeze()
        self._loop = asyncio.get_running_loop()
        self._protocol = self._writer = self._task = _Anything()

    async def answer(self, body: Body) -> tuple[int, dict[str, Any]]:
        """Ask, and give the status and what was said. Whatever else happens is raised."""
        headers = CIMultiDictProxy(CIMultiDict(body.headers))
        stream = StreamReader(self._protocol, 2**24, loop=self._loop)
        stream.feed_data(body.raw)
        stream.feed_eof()
        path = body.path.encode("utf-8", "surrogateescape").decode("latin-1")
        message = RawRequestMessage("POST", path, HttpVersion11, headers, (), False, None, False, False, URL(path, encoded=True))
        request = web.Request(message, stream, self._protocol, self._writer, self._task, self._loop, client_max_size=MOST_BODY_BYTES)
        try:
            response = await self.app._handle(request)
        except web.HTTPException as error:
            return error.status, {}
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        return response.status, json.loads(response.body)


def checked(status: int, said: dict[str, Any], report: Report, body: Body) -> None:
    """Count an answer; its parts must add up."""
    assert status in ANSWERS, (status, body)
    report.statuses[status] += 1
    report.bodies += 1
    if "items" in said:
        taken, rejected = said["taken"], said["rejected"]
        if body.path == "/events":
            assert taken + rejected == len(said["items"]), (said, body)
            assert rejected == sum(item["outcome"] == "rejected" for item in said["items"]), (said, body)
        elif any("events" in item for item in said["items"]):
            assert taken == sum(len(item["events"]) for item in said["items"]), (said, body)
            assert rejected == sum(len(item.get("rejected", ())) for item in said["items"]), (said, body)
        report.taken += taken
        report.rejected += rejected
    else:
        assert status in (400, 401, 404, 405, 413, 415, 429), (status, said, body)


async def bodies(count: int, seed: int, report: Report, ledger: bool = True) -> None:
    """Send that many; each LEDGER_EVERY-th into a ledger on disk. Raises AssertionError, or whatever crashed, with the body."""
    seeds = corpus()
    counting = Counting()
    site = Site(counting)
    draw = random.Random(seed)
    kept: list[Body] = []
    for number in range(count):
        body = mutated(draw, seeds, number)
        if ledger and number % LEDGER_EVERY == 0:
            kept.append(body)
            continue
        began = time.thread_time()
        try:
            status, said = await site.answer(body)
            checked(status, said, report, body)
        except BaseException as error:
            error.add_note(f"seed {seed}, number {number}: {body.path} {body.headers} {body.raw[:2000]!r}")
            raise
        spent = time.thread_time() - began
        if spent > SLOW_SECONDS:
            report.slow.append((spent, number, body.path, len(body.raw)))
    assert (report.taken, report.rejected) == (counting.events, counting.rejects), "answers and deliveries disagree"
    report.digest = counting.seen.hexdigest()
    if kept:
        await _into_a_ledger(kept, report)


async def _into_a_ledger(kept: list[Body], report: Report) -> None:
    """Send these into a ledger, many at a time, and compare its counts with the answers."""
    mine = Report()
    with tempfile.TemporaryDirectory(prefix="tribo-fuzz-") as folder:
        ledger = Ledger.open(Path(folder))
        committer = Committer(ledger, compile_standards(None))
        site = Site(committer)
        committer.start()
        outcomes: Counter[str] = Counter()
        for begin in range(0, len(kept), TOGETHER):
            some = kept[begin : begin + TOGETHER]
            for body, (status, said) in zip(some, await asyncio.gather(*(site.answer(body) for body in some)), strict=True):
                checked(status, said, mine, body)
                for item in said.get("items", ()):
                    outcomes.update(item["events"] if "events" in item else [item["outcome"]] if item["outcome"] != "rejected" else [])
        committer.drain(60)
        ledger.close()
        assert committer.broken is None
        with Reader(Path(folder)) as reader:
            sources = reader.sources()
            counts = {name: sum(source[name] for source in sources) for name in ("applied", "late", "duplicate", "conflict", "rejected")}
            ((events,),) = reader.rows("SELECT count(*) FROM events WHERE length(body) > 0")
            ((distinct,),) = reader.rows("SELECT count(*) FROM (SELECT DISTINCT source, id FROM events WHERE length(body) > 0)")
            ((rejects,),) = reader.rows("SELECT count(*) FROM rejects")
            assert not reader.set_aside(), reader.set_aside()
        assert counts["rejected"] == rejects == mine.rejected, (counts, rejects, mine.rejected)
        assert sum(counts.values()) - counts["rejected"] == mine.taken == outcomes.total(), (counts, mine.taken, outcomes)
        assert events == distinct == counts["applied"] + counts["late"], (events, distinct, counts)
    report.in_ledger = f"{mine.bodies:,} bodies: {mine.taken:,} events taken + {mine.rejected:,} rejected, as the ledger counts: " + ", ".join(
        f"{number:,} {name}" for name, number in counts.items()
    )
    report.bodies += mine.bodies
    report.statuses += mine.statuses
    report.taken += mine.taken
    report.rejected += mine.rejected


# -- what people write, and files -------------------------------------------------------------------------------------------

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + step)}: &{chr(98 + step)} [{','.join(['*' + chr(97 + step)] * 9)}]\n" for step in range(8))
YAMLS = (
    BOMB, "a: !!python/object/apply:os.system [x]\n", "? [a]\n: b\n", "{" * 3000, "- " * 3000, "a: 1\na: 2\n", "\ufeffsource: x\n", "a: " + "9" * 5000, "key: |\n  x\n---\nb: 1\n", "%YAML 9.9\n---\na: b\n",
    "\x00", "a:\t- b\n", "*a\n", "&a a: *a\n", "<<: {a: b}\n", "2026-02-30: x\n", "zone: ../../etc/passwd\n", ": :\n", "'", '"\\ud800"',
)  # fmt: skip


def configs(count: int, seed: int) -> Counter[str]:
    """Mappings and standards files, spoilt: each is taken, or refused with BadConfig."""
    draw = random.Random(seed)
    loaders: list[tuple[list[bytes], Callable[[Any], object]]] = [
        ([path.read_bytes() for path in sorted(PACKAGED.glob("*.yaml")) if path.stat().st_size < 8000], source_of),
        ([(PACKAGED.parents[1] / "run" / "demo_standards.yaml").read_bytes()], standards_of),
    ]
    told: Counter[str] = Counter()
    for number in range(count):
        texts, load = loaders[number % 2]
        lines = draw.choice(texts).splitlines(keepends=True)
        begin = draw.randrange(len(lines))
        raw = b"".join(lines[:12] + lines[begin : begin + 12]) if draw.random() < 0.8 else b"".join(lines[:40])
        for _ in range(draw.choice((0, 1, 2, 4))):
            raw = draw.choice((_flip, _cut, _put, _value))(draw, raw)
        if draw.random() < 0.15:
            at = draw.randrange(len(raw) + 1)
            raw = raw[:at] + b"\n" + draw.choice(YAMLS).encode("utf-8", "surrogatepass") + raw[at:]
        try:
            load(parse_yaml(raw, "fuzzed.yaml"))
            told["taken"] += 1
        except BadConfig as error:
            assert str(error).startswith("fuzzed.yaml"), (str(error), raw)
            told["refused"] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}, number {number}: {raw[:3000]!r}")
            raise
    return told


def files(count: int, seed: int) -> Counter[str]:
    """CSV, JSON and JSON lines through a mapping: each record becomes events or a reject."""
    draw = random.Random(seed)
    wide = Mapping.load("olist_orders")
    columns = list(wide.examples[0].raw[0])
    good = [dict(raw) for example in wide.examples for raw in example.raw]
    told: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="tribo-fuzz-") as folder:
        for number in range(count):
            form = draw.choice(("csv", "csv", "jsonl", "json"))
            rows = draw.choices(good, k=draw.randint(1, 6))
            if form == "csv":
                raw = (",".join(columns) + "\n" + "".join(",".join(str(row.get(name, "")) for name in columns) + "\n" for row in rows)).encode()
            elif form == "jsonl":
                raw = "\n".join(map(json.dumps, rows)).encode()
            else:
                raw = json.dumps(rows).encode()
            head = raw.find(b"\n") + 1 if form == "csv" and draw.random() < 0.9 else 0
            rest = raw[head:]
            for _ in range(draw.choice((0, 1, 2, 4))):
                rest = draw.choice((_flip, _cut, _put, _value, _encode))(draw, rest)
            raw = raw[:head] + rest
            if draw.random() < 0.1:
                raw = draw.choice((gzip.compress(raw), gzip.compress(raw)[:-3], b"\x1f\x8b" + raw))
            path = Path(folder) / f"input.{form}"
            path.write_bytes(raw)
            try:
                records = list(read(path))
                for made in wide.events(iter(records)):
                    told["rejects" if isinstance(made, Reject) else "events"] += 1
                told["records"] += len(records)
            except BadConfig:
                told["refused files"] += 1
            except BaseException as error:
                error.add_note(f"seed {seed}, number {number}: {form} {raw[:3000]!r}")
                raise
    return told


def signatures(count: int, seed: int) -> Counter[str]:
    """Headers of signatures: none that was not made with the secret is taken."""
    draw = random.Random(seed)
    names = (
        "Stripe-Signature", "X-Shopify-Hmac-Sha256", "X-Zendesk-Webhook-Signature", "X-Zendesk-Webhook-Signature-Timestamp", "X-Twilio-Signature",
        "X-Hub-Signature-256", "webhook-id", "webhook-timestamp", "webhook-signature",
    )  # fmt: skip
    values = ("", "t=1,v1=", "t=1772000000,v1=" + "0" * 64, "v1,", "sha256=" + "0" * 64, "\udcff", "A" * 44, "2026-03-02T09:00:00Z", "1772000000", "9" * 40, "t=1,t=2,v1=a", "NaN", "-1")
    told: Counter[str] = Counter()
    for number in range(count):
        headers = {name: draw.choice(values) + draw.choice(("", "", "=", ",", "\x00", "é")) for name in names if draw.random() < 0.8}
        request = Request(headers, draw.randbytes(draw.randint(0, 20)), draw.choice(("", "bodySHA256=", "bodySHA256=0&bodySHA256=1", "%zz", "&" * 50)), "https://x", draw.choice(KINDS))
        try:
            verify(draw.choice(("stripe", "shopify", "zendesk", "twilio", "github", "standard")), request, ["secret"], 1_772_000_000.0)
            raise AssertionError("a signature that nobody made was taken")
        except Unauthorized:
            told["refused"] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}, number {number}: {request}")
            raise
    return told


def parts(report: Report, configs_count: int, files_count: int, signatures_count: int, seed: int) -> Iterator[tuple[str, Counter[str]]]:
    """What isn't a body, one after the other."""
    yield f"{configs_count:,} mappings and standards files", configs(configs_count, seed)
    yield f"{files_count:,} files (CSV, JSON, JSON lines)", files(files_count, seed)
    yield f"{signatures_count:,} signatures", signatures(signatures_count, seed)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in (("bodies", 1_000_000), ("seed", 1), ("configs", 5_000), ("files", 5_000), ("signatures", 100_000)):
        asked.add_argument(f"--{name}", type=int, default=default)
    chosen = asked.parse_args()
    logging.getLogger("tribo").setLevel(logging.ERROR)  # that requests are refused is no news here
    report = Report()
    began = time.perf_counter()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(bodies(chosen.bodies, chosen.seed, report))
    report.seconds = time.perf_counter() - began
    print(f"{report.bodies:,} bodies (seed {chosen.seed}) in {report.seconds:,.0f} s: no crash, no 5xx; {report.taken:,} events taken + {report.rejected:,} rejected, as delivered")
    print("answers: " + ", ".join(f"{status}: {number:,}" for status, number in sorted(report.statuses.items())))
    print(f"into a ledger: {report.in_ledger}")
    print(f"over 50 ms of CPU: {len(report.slow)}")
    for spent, number, path, size in sorted(report.slow, reverse=True)[:20]:
        print(f"  {spent * 1000:.0f} ms  number {number}, {path}, {size:,} bytes")
    for what, told in parts(report, chosen.configs, chosen.files, chosen.signatures, chosen.seed):
        print(f"{what}: " + ", ".join(f"{number:,} {name}" for name, number in sorted(told.items())))
    return 1 if report.slow else 0


if __name__ == "__main__":
    sys.exit(main())
