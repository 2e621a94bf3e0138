"""A corrected mapping: the ledger then says what a measurement of the newly mapped events says, however often and however late."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tribo.cli import app
from tribo.ledger.database import Where
from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.measure.whole import Input
from tribo.run import remap as module
from tribo.run.importing import import_files
from tribo.run.ingest import mapped
from tribo.run.measure import measure_events
from tribo.run.remap import remap
from tribo.run.sources import remember_mappings
from tribo.wire.mapping import Mapping
from tribo.wire.rejects import Raw, Reject
from tribo_schemas.event import Event, stamp

STANDARDS = compile_standards(None)
MINUTE, DAY = 60_000, 86_400_000
BEGIN = 1_772_000_000_000
END = BEGIN + 200 * DAY
HEAD = """
source: desk
kind: records
item: "{item}"
id: "{{id}}"
time: "{time}"
unmatched: {unmatched}
always: {{touchpoint: service, customer: "{customer}", team: "{{team}}"}}
rules:
  - {{when: {{type: new}}, fact: opened}}
  - {{when: {{type: moved}}, fact: {moved}}}
  - {{when: {{type: said}}, fact: "{said}"}}
  - {{when: {{type: promise}}, fact: promised, promise: p, due: {{take: "{{at}}", plus: {plus}}}}}
  - {{when: {{type: done}}, fact: resolved}}
  - {{when: {{type: undo}}, fact: retracted, retracts: "{{of}}/opened"}}
"""
RIGHT = {"item": "case:{n}", "time": "{at}", "customer": "{who}", "moved": "assigned", "said": "customer_replied", "plus": "2d", "unmatched": "reject"}
WRONG: list[dict[str, str]] = [
    {}, {"moved": "answered"}, {"customer": "{other}"}, {"time": "{later}"}, {"item": "ticket:{n}"}, {"plus": "1h", "said": "complained"},
    {"said": "{heard}"}, {"item": "case:{m}", "customer": "{other}", "unmatched": "skip"},
]  # fmt: skip
EXTRA = "  - {when: {type: other}, fact: put_on_hold}\n"


def written(folder: Path, fields: dict[str, str], extra: bool = False) -> str:
    path = folder / "desk.yaml"
    path.write_text(HEAD.format(**(RIGHT | fields)) + (EXTRA if extra else ""))
    return str(path)


def records(seed: int, count: int = 90) -> list[bytes]:
    draw = random.Random(seed)
    found = []
    for number in range(count):
        at = BEGIN + draw.randrange(30 * DAY)
        row: dict[str, Any] = {
            "id": f"r{number}", "n": draw.randrange(14), "m": draw.randrange(5), "at": stamp(at), "later": stamp(at + draw.choice((0, 3 * DAY))),
            "type": draw.choice(("new", "moved", "moved", "said", "promise", "done", "other", "undo", "?")), "who": f"c{draw.randrange(6)}",
            "other": f"c{draw.randrange(3)}", "team": draw.choice("abc"), "heard": draw.choice(("", "praised", "customer_replied")), "of": f"r{draw.randrange(count)}",
        }  # fmt: skip
        found.append(json.dumps(row).encode())
    return found


def given(path: str, rows: list[bytes]) -> dict[tuple[str, str], Event]:
    taken = Input()
    for row in rows:
        for made in mapped(Mapping.load(path), "raw", 1, row):
            if isinstance(made, Event):
                taken.add(made)
    return {(event.source, event.id): event for event in taken.events}


def take(where: Where, path: str, rows: list[bytes], at: int) -> None:
    """As a webhook would: through the mapping, with the raw record kept, each in a delivery of its own or some together."""
    ledger = Ledger.open(where)
    remember_mappings(ledger, [path])
    mapping = Mapping.load(path)
    for begin in range(0, len(rows), 7):
        some = rows[begin : begin + 7]
        made = [one for row in some for one in mapped(mapping, "POST /sources/desk", 1, row)]
        ledger.apply(
            [one for one in made if isinstance(one, Event)], Frontier(at, complete=True), STANDARDS,
            raw=[Raw("POST /sources/desk", b"\n".join(some), mapping.name, "lines")],
            rejects=[("desk", one) for one in made if isinstance(one, Reject)],
        )  # fmt: skip
    ledger.close()


Table = tuple[dict[str, Any], dict[str, Any], dict[str, int]]


def table(where: Where) -> Table:
    """What stands once all time has passed."""
    ledger = Ledger.open(where)
    while ledger.tick(Frontier(END, complete=True), STANDARDS):
        pass
    ledger.close()
    with Reader(where) as reader:
        return (
            {row.journey: row.row() for row in reader.all_journeys()}, {finding.id: finding.row() for finding in reader.standing()},
            reader.tallies(),
        )  # fmt: skip


def measured(events: dict[tuple[str, str], Event]) -> Table:
    rows, findings, tally = measure_events(list(events.values()), STANDARDS, END)
    return (
        {row.journey: row.row() for row in rows}, {finding.id: finding.row() for finding in findings},
        {key: number for key, number in tally.items() if number},
    )  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    yield tmp_path / "data" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.mark.parametrize(("where", "seed"), [("sqlite", 0), ("sqlite", 1), ("sqlite", 2), ("postgres", 3)], indirect=["where"])
def test_the_ledger_says_what_the_newly_mapped_events_say(where: Where, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APPLIED_AT_ONCE", 40)
    draw = random.Random(seed)
    rows = records(seed)
    path = written(tmp_path, draw.choice(WRONG))
    take(where, path, rows, END)
    take(where, path, rows[:20], END)  # some came twice
    for step in range(4):  # wrong, then otherwise wrong, and right at last
        path = written(tmp_path, {} if step == 3 else draw.choice(WRONG), extra=draw.random() < 0.5)
        want = given(path, rows)
        before = table(where) if step == 1 else None
        dry = remap(where, path, 0, dry=True, now=END)
        assert before is None or table(where) == before
        done = remap(where, path, 0, now=END)
        assert done == dry
        assert table(where) == measured(want), step
        again = remap(where, path, 0, now=END)
        assert not (again.gone or again.new or again.changed or again.found or again.withdrawn)
        assert sum(done.rejected.values()) == sum(isinstance(one, Reject) for row in [*rows, *rows[:20]] for one in mapped(Mapping.load(path), "raw", 1, row))


def test_only_what_came_since_is_mapped_anew(where: Where, tmp_path: Path) -> None:
    rows = records(7)
    old = written(tmp_path, {"moved": "answered", "said": "complained"})
    take(where, old, rows[:50], END - 2 * DAY)
    take(where, old, rows[40:], END - DAY)  # some came again, later
    before = given(old, rows[:50])
    new = written(tmp_path, {})
    done = remap(where, new, END - DAY, now=END)
    assert done.gone and done.new
    assert table(where) == measured(before | given(new, rows[40:]))


def test_interrupted_it_comes_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APPLIED_AT_ONCE", 10)
    rows = records(5)
    where = tmp_path / "data"
    take(where, written(tmp_path, {"moved": "answered", "customer": "{other}"}), rows, END)
    path = written(tmp_path, {})
    whole = Ledger.apply
    left = [1]

    def fails(self: Ledger, *args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return whole(self, *args, **more)

    for lives in range(1, 4):
        left[0] = lives
        monkeypatch.setattr(Ledger, "apply", fails)
        with pytest.raises(KeyboardInterrupt):
            remap(where, path, 0, now=END)
    monkeypatch.setattr(Ledger, "apply", whole)
    remap(where, path, 0, now=END)
    assert table(where) == measured(given(path, rows))


def test_history_that_was_imported_is_mapped_anew_as_it_was_read(tmp_path: Path) -> None:
    """An update log says something only as a whole, and records without a name are told apart by their occurrence."""
    log = """
source: log
kind: update_log
item: "case:{n}"
order: {time: "{at}"}
always: {touchpoint: service}
rules:
  - {on: first, fact: opened}
  - {on: {changed: [team]}, fact: assigned, team: "{team}"}
  - {on: {entered: {state: [DONE]}}, fact: resolved}
"""
    nameless = 'source: log\nkind: records\nitem: "case:{n}"\ntime: "{at}"\nalways: {touchpoint: service}\nrules:\n  - {fact: FACT, team: "{team}"}\n'
    rows = [{"n": n, "at": stamp(BEGIN + step * DAY), "team": "ab"[step % 2], "state": "closed" if step == 3 else "open"} for n in range(3) for step in range(4)]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "one.jsonl").write_text("\n".join([*lines[:7], lines[2], lines[2], "no JSON"]))
    (tmp_path / "two.csv").write_text("n,at,team,state\n" + "".join(f"{row['n']},{row['at']},{row['team']},{row['state']}\n" for row in rows[7:]))
    inputs = [str(tmp_path / "one.jsonl"), str(tmp_path / "two.csv")]
    for name, text, wrong, right in (("log", log, "DONE", "closed"), ("nameless", nameless, "FACT", "assigned")):
        path = tmp_path / f"{name}.yaml"
        data = tmp_path / name
        path.write_text(text.replace(wrong, "queued" if wrong == "FACT" else "finished"))
        import_files(data, inputs, str(path))
        path.write_text(text.replace(wrong, right))
        done = remap(data, str(path), 2**43, now=END)  # an update log is read whole, whatever the time
        assert bool(done.new) == (name == "log")
        done = remap(data, str(path), 0, now=END)
        with Reader(data) as reader:  # at once, without waiting for anybody
            assert any(finding.kind == "no_expectation" for finding in reader.standing())
        want = Input()
        rejected = []
        Mapping.load(str(path)).feed(inputs, want.add, rejected.append)
        assert len(rejected) == 1
        assert table(data) == measured({(event.source, event.id): event for event in want.events})
        assert len(want.events) > 10


def test_the_command_says_how_much_would_change(tmp_path: Path) -> None:
    rows = records(3)
    where = tmp_path / "data"
    take(where, written(tmp_path, {"moved": "answered", "said": "complained"}), rows, END)
    path = written(tmp_path, {})
    asked = ["remap", path, "--from", "2026-01-01T00:00:00Z", "--data", str(where)]
    dry = CliRunner().invoke(app, [*asked, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "complained" in dry.output and "handoff" in dry.output and "still rejected" in dry.output
    assert dry.output.rstrip().endswith("nothing was changed")
    done = CliRunner().invoke(app, asked)
    assert done.output == dry.output.removesuffix("this was a dry run: nothing was changed\n")
    assert CliRunner().invoke(app, asked).output.rstrip().endswith("nothing changes")
    with Reader(where) as reader:
        assert any(told.historical for told in reader.latest(1000) if told.status == "withdrawn")
