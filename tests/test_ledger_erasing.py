"""What is erased is gone, byte for byte, and stays gone; the totals stay. What is old goes when its time has come."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from test_ledger import BEGIN, DAY, MINUTE, RULES, answered, expected, opened, promised, table
from tribo.cli import main
from tribo.ledger.database import Where
from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.advance import Frontier
from tribo.wire.rejects import Raw, reject
from tribo_schemas.event import Event, canonical

ANNA = "canary-anna"
NOW = BEGIN + 40 * DAY
FRONTIER = Frontier(NOW, complete=True)
TABLES = ("promises", "events", "conflicts", "histories", "journeys", "findings", "revisions", "links", "raw", "rejects", "hubs", "deadlines", "erased")


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    return tmp_path if request.param == "sqlite" else str(request.getfixturevalue("postgres"))


def of_anna(number: int, minute: int, fact: str, **more: Any) -> Event:
    row = {"id": f"canary-{fact}-{number}-{minute}", "fact": fact, "item": f"case:canary-{number}", "customer": ANNA, **more}
    return opened(number, BEGIN + minute * MINUTE, **row)


ANNAS = [
    of_anna(1, 0, "opened"), of_anna(1, 300, "answered", customer=None, team="desk", owner="x"), of_anna(1, 310, "complained"),
    of_anna(2, 400, "opened", about=["case:canary-1", "order:canary-9"]), of_anna(2, 401, "promised", promise="call", due="2099-01-01T00:00:00Z"),
    of_anna(2, 500, "retracted", retracts="canary-never-came"), of_anna(1, 20, "answered", team="desk", owner="y", customer=None),
]  # fmt: skip
OTHERS = [*answered(1, 90), promised(1, BEGIN + DAY, BEGIN + 5 * MINUTE), *answered(2, 10, BEGIN + DAY), opened(3, NOW - DAY)]
BETWEEN = [opened(1, BEGIN + 600 * MINUTE, id="b1", fact="queued", about=["case:canary-1"])]
"""An event of somebody else's that is about an item of hers: they are one history."""


def bytes_of(where: Where) -> bytes:
    """Everything that the database says, or that lies in its files."""
    if isinstance(where, Path):
        return b"".join(path.read_bytes() for path in where.iterdir())
    with Reader(where) as reader:
        return b"\n".join(
            value if isinstance(value, bytes) else str(value).encode() for name in TABLES for row in reader.rows(f"SELECT * FROM {name}") for value in row
        )


def body(event: Event) -> bytes:
    return json.dumps(canonical(event)).encode()


@pytest.mark.parametrize("between", [[], BETWEEN], ids=["a history of her own", "a history with others"])
def test_erased_is_gone_and_stays_gone(between: list[Event], where: Where) -> None:
    everything = [*ANNAS, *OTHERS, *between]
    with contextlib.closing(Ledger.open(where, key=b"secret")) as ledger:
        for size in (3, len(everything)):  # the second time all are duplicates
            for begin in range(0, len(everything), size):
                ledger.apply(everything[begin : begin + size], FRONTIER, RULES, raw=[Raw("POST", body(event)) for event in everything[begin : begin + size]])
        conflicting = of_anna(1, 0, "opened", topic="other")
        ledger.apply([conflicting], FRONTIER, RULES, rejects=[("crm", reject("POST", 1, "x", body(ANNAS[0]))), ("crm", reject("POST", 2, "x", b"{}"))])
        while ledger.tick(FRONTIER, RULES):
            pass
        assert b"canary" in bytes_of(where)
        with Reader(where) as reader:
            before = reader.tallies()
            raw = reader.rows("SELECT count(*) FROM raw")[0][0]
        erased = ledger.erase(ANNA, FRONTIER, RULES)
        assert (erased.events, erased.journeys, erased.rejects, erased.shredded) == (len(ANNAS), 1, 1, True)
        assert erased.raw == 2 * len(ANNAS) + 2 * len(between)
        found = bytes_of(where)
        assert ANNA.encode() not in found
        assert found.count(b"canary") == found.count(b"case:canary-1")  # as others' events name it
        assert between or b"canary" not in found
        with Reader(where) as reader:
            assert reader.rows("SELECT count(*) FROM raw")[0][0] == raw - erased.raw
            assert len(reader.rejects()) == 1
            after = reader.tallies()
        rows, findings, _ = expected([*OTHERS, *between], NOW, RULES)
        assert table(ledger)[:2] == (rows, findings)
        passing = ("journey|", "promise|open|", "waiting|", "queueing|")
        assert {key: number for key, number in before.items() if not key.startswith(passing) and not key.endswith("|running")} == {
            key: number for key, number in after.items() if not key.startswith(passing) and not key.endswith("|running")
        }
        assert (before["promise|open|service"], after.get("promise|open|service", 0)) == (1, 0)

        assert set(ledger.apply(ANNAS, FRONTIER, RULES)) == {"erased"}
        backlog = of_anna(7, 30, "opened", id="another")
        unnamed = of_anna(1, 700, "closed", customer=None)
        assert ledger.apply([backlog, unnamed], FRONTIER, RULES) == ["erased", "erased"]
        assert table(ledger)[:2] == (rows, findings)
        again = of_anna(8, 41 * 24 * 60, "opened")
        assert ledger.apply([again], Frontier(NOW + 2 * DAY, complete=True), RULES) == ["applied"]
        with Reader(where) as reader:
            assert reader.journey("case:canary-8") is not None
            assert [row["erased"] for row in reader.sources()] == [len(ANNAS) + 2]


def test_a_history_goes_when_all_its_journeys_ended_long_ago(where: Where) -> None:
    live = [opened(4, BEGIN), opened(4, BEGIN + 200 * DAY, id="x4", fact="queued")]
    old = [*answered(5, 90), opened(5, BEGIN + DAY, id="c5", fact="closed")]
    with contextlib.closing(Ledger.open(where)) as ledger, contextlib.closing(Reader(where)) as reader:
        ledger.apply([*live, *old], Frontier(BEGIN + 50 * DAY, complete=True), RULES)
        while ledger.tick(Frontier(BEGIN + 50 * DAY, complete=True), RULES):
            pass
        before = reader.tallies()
        assert ledger.expire(BEGIN + 139 * DAY, DAY, DAY, 90 * DAY) is False
        assert reader.journey("case:5") is not None
        assert ledger.expire(BEGIN + 141 * DAY, DAY, DAY, 90 * DAY) is False
        assert reader.journey("case:5") is None
        assert reader.journey("case:4") is not None
        assert not any(reader.rows(f"SELECT 1 FROM {name} WHERE history NOT IN (SELECT history FROM histories)") for name in ("events", "findings", "deadlines"))
        assert reader.tallies() == before
        assert reader.rows("SELECT name FROM links ORDER BY name") == [("c:customer-4",), ("i:case:4",)]


def test_the_command_erases_from_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Ledger.open(tmp_path, "standards: []")) as ledger:
        ledger.apply([*ANNAS, *OTHERS, *BETWEEN], FRONTIER, RULES)
    monkeypatch.setattr("sys.argv", ["tribo", "erase", ANNA, "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"{len(ANNAS)} events, 1 journeys, 0 raw records, 0 rejects erased" in capfd.readouterr().err
    assert ANNA.encode() not in bytes_of(tmp_path)
    with Reader(tmp_path) as reader:
        assert reader.standards() == ["standards: []"]
        assert reader.journey("case:1") is not None
