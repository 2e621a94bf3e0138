"""The ledger: whatever the order, the batches and the repetitions, what stands is what one fold of all events finds."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tribo.ledger import folding
from tribo.ledger import postgres as on_postgres
from tribo.ledger import sqlite as on_sqlite
from tribo.ledger.bodies import unpack_deadlines
from tribo.ledger.database import Where
from tribo.ledger.ledger import Ledger, NoRoom, Outpaced, Reader, Unreachable
from tribo.ledger.tables import MIGRATIONS, VERSION
from tribo.measure.advance import Frontier, advance, fold
from tribo.measure.standards import Standards, compile_standards
from tribo.run.measure import measure_events
from tribo.show.explain import explain
from tribo.wire.rejects import Raw, reject
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import BadEvent, Event, event_of, stamp
from tribo_schemas.standard import standards_of

MINUTE, DAY = 60_000, 86_400_000
BEGIN = 1_772_000_000_000
STANDARDS = compile_standards(None)
FACTS = (
    "opened", "assigned", "assigned", "promised", "kept", "informed", "answered", "customer_replied", "put_on_hold", "resumed",
    "resolved", "reopened", "closed", "queued", "complained", "repeated", "asked_if_fixed", "released", "praised",
)  # fmt: skip


Table = tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], dict[str, int]]


def story(seed: int, customers: int = 8, length: int = 14) -> list[Event]:
    """Events of some customers: items that learn their customer late, links, retractions, conflicts in who owns what."""
    draw = random.Random(seed)
    events: list[Event] = []
    for customer in range(customers):
        time = BEGIN + draw.randrange(20 * DAY)
        items = [f"case:{customer}-{number}" for number in range(draw.randint(1, 3))]
        for number in range(length):
            time += draw.choice((0, MINUTE, 60 * MINUTE, 8 * 60 * MINUTE, DAY, 9 * DAY))
            fact = draw.choice(FACTS)
            row: dict[str, object] = {
                "id": f"{customer}-{number}", "source": draw.choice(("crm", "shop")), "time": stamp(time), "fact": fact,
                "touchpoint": draw.choice(("service", "returns", "purchase")), "item": draw.choice(items),
                "team": draw.choice(("a", "b", None)), "owner": draw.choice(("x", "y", None)),
            }  # fmt: skip
            if draw.random() < 0.6:
                row["customer"] = f"customer-{customer if draw.random() < 0.97 else 0}"
            if draw.random() < 0.1:
                row["about"] = [draw.choice(items)]
            if fact in ("promised", "kept", "informed", "released"):
                row["promise"] = draw.choice(("p", "q"))
            if fact in ("promised", "informed"):
                row["due"] = stamp(time + draw.choice((60 * MINUTE, DAY, 3 * DAY)))
            if draw.random() < 0.05 and events:
                row |= {"fact": "retracted", "source": events[-1].source, "retracts": events[-1].id}
            elif draw.random() < 0.03:
                row |= {"fact": draw.choice(("linked", "unlinked")), "customer": f"customer-{draw.randrange(customers)}"}
            try:
                events.append(event_of({key: value for key, value in row.items() if value is not None}))
            except BadEvent:
                continue
    return events


def table(ledger: Ledger) -> Table:
    with Reader(ledger.where) as reader:
        rows = {row.journey: row.row() for row in reader.all_journeys()}
        findings = {finding.id: finding.row() for finding in reader.standing()}
        return rows, findings, reader.tallies()


def expected(events: list[Event], now: int, standards: Standards = STANDARDS) -> Table:
    rows, findings, tally = measure_events(events, standards, now)
    return (
        {row.journey: row.row() for row in rows},
        {finding.id: finding.row() for finding in findings},
        {key: number for key, number in tally.items() if number},
    )


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """Where a ledger may stand: each test of it runs on both databases."""
    return tmp_path if request.param == "sqlite" else str(request.getfixturevalue("postgres"))


@pytest.fixture
def ledger(where: Where) -> Iterator[Ledger]:
    opened = Ledger.open(where)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("where", "seed"), [("sqlite", seed) for seed in range(40)] + [("postgres", seed) for seed in range(12)], indirect=["where"]
)
def test_any_order_and_batches_give_what_one_fold_gives(seed: int, where: Where) -> None:
    events = story(seed)
    end = max(event.time for event in events) + 30 * DAY
    draw = random.Random(seed)
    size = (1, 7, 1000)[seed % 3]
    arriving = events + draw.sample(events, len(events) // 2)
    if seed % 2:
        draw.shuffle(arriving)
    ledger = Ledger.open(where)
    seen: set[str] = set()
    for begin in range(0, len(arriving), size):
        batch = arriving[begin : begin + size]
        now = end if seed % 2 else max(event.time for event in events[: begin + size])
        outcomes = ledger.apply(batch, Frontier(now, complete=True), STANDARDS)
        seen.update(outcomes)
        if begin // size % 11 == 5:
            while ledger.tick(Frontier(now, complete=True), STANDARDS, most=3):
                pass
            ledger.close()
            ledger = Ledger.open(where)
    while ledger.tick(Frontier(end, complete=True), STANDARDS, most=5):
        pass
    got, want = table(ledger), expected(events, end)
    assert deadlines_stand(ledger)
    ledger.close()
    assert got[0] == want[0]
    assert got[1] == want[1]
    assert got[2] == want[2]
    assert "duplicate" in seen


def deadlines_stand(ledger: Ledger) -> bool:
    """Whether the rows of `deadlines` are those that the histories speak of, and no others."""
    rows = ledger.db.rows("SELECT partition, waits_on, at, history FROM deadlines")
    said = ledger.db.rows("SELECT partition, history, deadlines FROM histories WHERE deadlines IS NOT NULL")
    wanted = {(partition, waits_on, at, history) for partition, history, body in said for waits_on, at in unpack_deadlines(body).items()}
    return set(map(tuple, rows)) == wanted


def opened(number: int, time: int = BEGIN, **more: object) -> Event:
    return event_of({
        "id": f"e{number}", "source": "crm", "time": stamp(time), "touchpoint": "service", "fact": "opened",
        "item": f"case:{number}", "customer": f"customer-{number}", **more,
    })  # fmt: skip


def promised(number: int, due: int, time: int = BEGIN + MINUTE) -> Event:
    return opened(number, time, id=f"p{number}", fact="promised", promise="call", due=stamp(due))


def test_a_second_process_on_a_folder_is_told_so(tmp_path: Path) -> None:
    with contextlib.closing(Ledger.open(tmp_path)), pytest.raises(BadConfig, match="another tribo process"):
        Ledger.open(tmp_path)


def test_a_newer_ledger_and_a_stranger_are_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(BadConfig, match="newer tribo"):
        Ledger.open(tmp_path)
    with pytest.raises(BadConfig, match="version 99"):
        Reader(tmp_path)
    (tmp_path / "other.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(BadConfig, match="damaged or no ledger"):
        Ledger.open(tmp_path / "other.db")
    with pytest.raises(BadConfig, match="no ledger yet"):
        Reader(tmp_path / "nowhere")


def test_a_newer_database_and_a_strangers_are_refused(postgres: str) -> None:
    with pytest.raises(BadConfig, match="no ledger yet"):
        Reader(postgres)
    with contextlib.closing(Ledger.open(postgres)) as ledger:
        ledger.db.run("UPDATE tribo_tables SET version = 99")
    with pytest.raises(BadConfig, match="newer tribo"):
        Ledger.open(postgres)
    with pytest.raises(BadConfig, match="version 99"):
        Reader(postgres)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP TABLE tribo_tables")
    with pytest.raises(BadConfig, match="another program's tables"):
        Ledger.open(postgres)
    with pytest.raises(BadConfig, match="can't be reached") as error:
        Ledger.open("postgresql://tribo:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0, 1, 1)])
@pytest.mark.parametrize("size", [1, 5])
def test_of_two_contents_the_smaller_holds(order: tuple[int, ...], size: int, ledger: Ledger) -> None:
    two = (opened(1), opened(1, BEGIN + MINUTE, topic="late"))
    arriving = [two[index] for index in order]
    outcomes = []
    for begin in range(0, len(arriving), size):
        outcomes += ledger.apply(arriving[begin : begin + size], Frontier(BEGIN + DAY // 2), STANDARDS)
    assert outcomes == ["applied", "conflict", *["duplicate"] * (len(order) - 2)]
    with Reader(ledger.where) as reader:
        story = reader.journey("case:1")
    assert story is not None
    assert [event.time for event in story.events] == [BEGIN]
    assert story.row.opened_at == BEGIN


def test_a_promise_breaks_in_silence_once(where: Where) -> None:
    ledger = Ledger.open(where)
    due = BEGIN + 60 * MINUTE
    ledger.apply([opened(1), promised(1, due)], Frontier(BEGIN + 2 * MINUTE, heard={"crm": BEGIN}), STANDARDS)
    ledger.close()
    ledger = Ledger.open(where)
    ledger.tick(Frontier(due, heard={"crm": due}), STANDARDS)
    assert not kinds(ledger) & {"promise_broken"}
    while ledger.tick(Frontier(due + 1, heard={"crm": due + 1}), STANDARDS):
        pass
    assert "promise_broken" in kinds(ledger)
    kept = opened(1, due - MINUTE, id="k1", fact="kept", promise="call")
    assert ledger.apply([kept], Frontier(due + MINUTE, heard={"crm": due + 1}), STANDARDS) == ["late"]
    assert "promise_broken" not in kinds(ledger)
    with Reader(ledger.where) as reader:
        story = reader.journey("case:1")
        assert story is not None
        assert [(told.revision, told.status) for told in story.findings if told.finding.kind == "promise_broken"] == [
            (1, "found"), (2, "withdrawn"),
        ]  # fmt: skip
        assert reader.counters()["finding|promise_broken|service|"] == (1, 1)
    ledger.close()


def test_a_customer_who_buys_too_much_for_one_history_joins_nothing_however_the_purchases_come(ledger: Ledger) -> None:
    purchases = [
        opened(number, BEGIN + number * MINUTE, touchpoint="purchase", item=f"order:{number}", customer="hotel") for number in range(1100)
    ]
    for begin in range(0, len(purchases), 100):
        ledger.apply(some := purchases[begin : begin + 100], Frontier(some[-1].time, complete=True), STANDARDS)
    assert table(ledger) == expected(purchases, purchases[-1].time)
    assert ledger.db.rows("SELECT count(DISTINCT history) FROM journeys") == [(1100,)]


def test_an_event_before_what_time_decided_of_another_item_is_late(ledger: Ledger) -> None:
    due = BEGIN + 60 * MINUTE
    order = opened(5, touchpoint="purchase", item="order:1", customer="customer-1", source="shop")
    called = opened(5, due - MINUTE, id="c5", fact="complained", touchpoint="purchase", item="order:1", source="shop")
    events = [order, opened(1, BEGIN + MINUTE, about=["order:1"]), promised(1, due, BEGIN + 2 * MINUTE)]
    ledger.apply(events, Frontier(BEGIN + 2 * MINUTE, heard={"crm": BEGIN, "shop": BEGIN}), STANDARDS)
    risk = BEGIN + 50 * MINUTE  # told by time alone, on the case; what the order then hears of is earlier
    while ledger.tick(Frontier(risk, heard={"crm": risk, "shop": BEGIN}), STANDARDS):
        pass
    assert "promise_at_risk" in kinds(ledger)
    early = opened(5, BEGIN + 40 * MINUTE, id="a5", fact="repeated", touchpoint="purchase", item="order:1", customer="customer-1", source="shop")
    assert ledger.apply([early], Frontier(risk, heard={"crm": risk, "shop": risk}), STANDARDS) == ["late"]
    assert ledger.apply([called], Frontier(due, complete=True), STANDARDS) == ["applied"]
    assert table(ledger) == expected([*events, early, called], due)


def kinds(ledger: Ledger) -> set[str]:
    with Reader(ledger.where) as reader:
        return {finding.kind for finding in reader.standing()}


def time_passes(ledger: Ledger, now: int, heard: int = BEGIN, silent: dict[str, int] | None = None) -> set[str]:
    """Let all fire that is due when `crm` was heard that far; the kinds that stand then."""
    for _ in range(10):
        if not ledger.tick(Frontier(now, heard={"crm": heard}, silent=silent or {}), STANDARDS):
            return kinds(ledger)
    raise AssertionError("time stands still: the same histories wake for ever")


def test_a_silent_source_makes_promises_unknown_and_a_day_later_broken(ledger: Ledger) -> None:
    due = BEGIN + 60 * MINUTE
    ledger.apply([opened(1), promised(1, due)], Frontier(BEGIN + 2 * MINUTE, heard={"crm": BEGIN}), STANDARDS)
    assert not time_passes(ledger, due + MINUTE) & {"promise_broken", "promise_unknown"}
    silent = {"crm": due + 2 * MINUTE}
    assert "promise_unknown" in time_passes(ledger, due + 3 * MINUTE, silent=silent)
    assert "promise_unknown" not in time_passes(ledger, due + 4 * MINUTE)
    assert "promise_unknown" in time_passes(ledger, due + 5 * MINUTE, silent=silent)
    late = time_passes(ledger, due + 5 * MINUTE + DAY, silent=silent)
    assert "promise_broken" in late
    assert "promise_unknown" not in late


@pytest.mark.parametrize("heard_up_to", [30 * MINUTE, 2 * DAY])
def test_what_was_called_broken_in_silence_is_judged_anew_when_its_source_is_heard(ledger: Ledger, heard_up_to: int) -> None:
    """No event comes of it, only the source is heard: beyond the due, it is broken for certain; not so far, it is open again."""

    def broken() -> list[bool | None]:
        with Reader(ledger.where) as reader:
            return [finding.source_silent for finding in reader.standing() if finding.kind == "promise_broken"]

    due = BEGIN + 60 * MINUTE
    ledger.apply([opened(1), promised(1, due)], Frontier(BEGIN + 2 * MINUTE, heard={"crm": BEGIN}), STANDARDS)
    time_passes(ledger, due + DAY + 2 * MINUTE, silent={"crm": due + MINUTE})
    assert broken() == [True]
    time_passes(ledger, due + DAY + 3 * MINUTE, silent={"crm": due + MINUTE})
    assert broken() == [True]
    time_passes(ledger, BEGIN + 2 * DAY + MINUTE, heard=BEGIN + heard_up_to)
    assert broken() == ([] if heard_up_to < 60 * MINUTE else [None])
    time_passes(ledger, BEGIN + 2 * DAY + 2 * MINUTE, heard=BEGIN + 2 * DAY)
    assert broken() == [None]


def test_what_joins_while_a_source_is_silent_is_looked_at_again(ledger: Ledger) -> None:
    """The join is folded at an earlier time, as by a worker that is behind: then the source was not silent yet."""
    first, second = BEGIN + 60 * MINUTE, BEGIN + 90 * MINUTE
    heard, silent = {"crm": BEGIN}, {"crm": second + 2 * MINUTE}

    def unknown() -> list[str]:
        with Reader(ledger.where) as reader:
            return sorted(finding.item for finding in reader.standing() if finding.kind == "promise_unknown")

    said = [opened(1), promised(1, second), opened(2), promised(2, first)]
    ledger.apply(said, Frontier(BEGIN + 2 * MINUTE, heard=heard), STANDARDS)
    while ledger.tick(Frontier(second + 3 * MINUTE, heard=heard, silent=silent), STANDARDS):
        pass
    assert unknown() == ["case:1", "case:2"]
    link = opened(2, BEGIN + MINUTE, id="link", source="phones", fact="linked", about=["case:1"])
    ledger.apply([link], Frontier(second - MINUTE, heard=heard), STANDARDS)
    assert unknown() == []
    for _ in range(3):
        ledger.tick(Frontier(second + 4 * MINUTE, heard=heard, silent=silent), STANDARDS)
    assert unknown() == ["case:1", "case:2"]


def test_a_history_that_crashes_the_fold_is_set_aside_and_taken_up_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = fold, advance

    def cursed(events: Sequence[Event]) -> None:
        if any(event.item == "case:1" for event in events):
            raise ZeroDivisionError

    def cursed_fold(events: Sequence[Event], *rest: object) -> object:
        cursed(events)
        return healthy[0](events, *rest)  # type: ignore[arg-type]

    def cursed_advance(history: object, events: Sequence[Event], *rest: object) -> object:
        cursed(events)
        return healthy[1](history, events, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(folding, "fold", cursed_fold)
    monkeypatch.setattr(folding, "advance", cursed_advance)
    assert ledger.apply([opened(1), opened(2)], Frontier(BEGIN + MINUTE), STANDARDS) == ["applied", "applied"]
    for second in range(1, 20):
        ledger.tick(Frontier(BEGIN + MINUTE + second * 1000), STANDARDS)
    ledger.apply([promised(1, BEGIN + DAY), promised(2, BEGIN + DAY)], Frontier(BEGIN + 2 * MINUTE), STANDARDS)
    with Reader(ledger.where) as reader:
        assert [(row["item"], row["crashes"]) for row in reader.set_aside()] == [("case:1", 3)]
        assert reader.journey("case:1") is None
        story = reader.journey("case:2")
        assert story is not None
        assert story.row.promises.made == 1
        assert reader.tallies()["set_aside"] == 1
    assert ledger.refold(Frontier(BEGIN + 2 * MINUTE), STANDARDS) == 0
    monkeypatch.undo()
    assert ledger.refold(Frontier(BEGIN + 2 * MINUTE), STANDARDS) == 1
    with Reader(ledger.where) as reader:
        story = reader.journey("case:1")
        assert story is not None
        assert story.row.promises.made == 1
        assert not reader.set_aside()
        assert "set_aside" not in reader.tallies()


def test_a_full_disk_takes_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.apply([opened(0)], Frontier(BEGIN + MINUTE), STANDARDS)
    ((pages,),) = ledger.db.rows("PRAGMA page_count")
    ledger.db.rows(f"PRAGMA max_page_count = {pages}")
    batch = [opened(number, topic="x" * 900) for number in range(1, 400)]
    with pytest.raises(NoRoom):
        ledger.apply(batch, Frontier(BEGIN + MINUTE), STANDARDS)
    with Reader(ledger.where) as reader:
        assert reader.journey("case:0") is not None
        assert reader.journey("case:1") is None
    ledger.db.rows("PRAGMA max_page_count = 1073741823")
    assert set(ledger.apply(batch, Frontier(BEGIN + MINUTE), STANDARDS)) == {"applied"}
    got, want = table(ledger), expected([opened(0), *batch], BEGIN + MINUTE)
    assert got[:2] == want[:2]
    ledger.close()


RULES = compile_standards(
    standards_of(parse_yaml(
        b"standards:\n- {name: answer, says: We answer within an hour, clock: first_response, within: 1h, objective: 0.9}", "standards.yaml"
    ))
)  # fmt: skip


def answered(number: int, minutes: int, time: int = BEGIN) -> list[Event]:
    return [opened(number, time), opened(number, time + minutes * MINUTE, id=f"a{number}", fact="answered", team="desk", owner="x")]


def test_an_import_moves_no_live_counter_and_judges_nobody_now(where: Where) -> None:
    with contextlib.closing(Ledger.open(where)) as ledger, contextlib.closing(Reader(where)) as reader:
        old = [event for number in range(20) for event in answered(number, 300, BEGIN + number * DAY)]
        ledger.apply(old, Frontier(BEGIN, complete=True), RULES, historical=True, folded=False)
        while ledger.fold_dirty(Frontier(BEGIN + 60 * DAY, complete=True), RULES, historical=True):
            pass
        missed = "standard|answer|missed"
        assert reader.counters()[missed] == (20, 0)
        assert not any(found or withdrawn for key, (found, withdrawn) in reader.live_counters().items())
        assert reader.last_outcomes() == {}
        now = BEGIN + 61 * DAY
        ledger.apply([event for number in range(20, 32) for event in answered(number, 30, now)], Frontier(now + DAY, complete=True), RULES)
        ledger.apply(answered(32, 90, now), Frontier(now + 2 * DAY, complete=True), RULES)
        assert reader.live_counters()["standard|answer|met"] == (12, 0)
        assert reader.live_counters()[missed] == (1, 0)
        assert reader.counters()[missed] == (21, 0)
        assert reader.last_outcomes() == {"answer": ["met"] * 9 + ["missed"]}
        earlier = opened(32, now + 5 * MINUTE, id="b32", fact="answered", team="desk", owner="x")
        assert ledger.apply([earlier], Frontier(now + 3 * DAY, complete=True), RULES) == ["late"]
        assert reader.live_counters()[missed] == (1, 1)
        assert reader.last_outcomes() == {"answer": ["met"] * 10}


def test_a_merge_finds_and_withdraws_nothing_that_stays(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.apply([*answered(number, 90)], Frontier(BEGIN + DAY, complete=True), RULES)
    link = opened(1, BEGIN + 2 * DAY, id="l1", fact="linked", customer="customer-2")
    ledger.apply([link], Frontier(BEGIN + 2 * DAY, complete=True), RULES)
    with Reader(ledger.where) as reader:
        assert reader.counters()["standard|answer|missed"] == (2, 0)
        assert [key for key, (_, withdrawn) in reader.counters().items() if key.startswith("finding|") and withdrawn] == []
        assert reader.last_outcomes() == {"answer": ["missed", "missed"]}


def test_a_ledger_of_an_earlier_version_is_brought_up_step_by_step(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Ledger.open(where)) as ledger:
        ledger.apply(answered(1, 90), Frontier(BEGIN + DAY, complete=True), RULES)
    for database in (on_sqlite, on_postgres):
        monkeypatch.setattr(database, "VERSION", VERSION + 2)
    monkeypatch.setitem(MIGRATIONS, VERSION, "CREATE TABLE more (name TEXT NOT NULL PRIMARY KEY) CLUSTERED;")
    monkeypatch.setitem(MIGRATIONS, VERSION + 1, "ALTER TABLE more ADD COLUMN number NUMBER NOT NULL DEFAULT 7;")
    for _ in range(2):
        with contextlib.closing(Ledger.open(where)) as ledger, contextlib.closing(Reader(where)) as reader:
            ledger.db.run("INSERT INTO more (name) VALUES ('one') ON CONFLICT DO NOTHING")
            assert ledger.db.rows("SELECT name, number FROM more") == [("one", 7)]
            assert reader.live_counters()["standard|answer|missed"] == (1, 0)


def test_journeys_of_one_history_are_known_in_a_ledger_that_did_not_note_them(where: Where) -> None:
    one, other, alone = (
        opened(number, BEGIN + number * MINUTE, item=f"order:{number}", touchpoint="purchase", customer=customer)
        for number, customer in ((1, "ana"), (2, "ana"), (3, "ben"))
    )
    with contextlib.closing(Ledger.open(where)) as ledger:
        for event in (one, alone, other):
            ledger.apply([event], Frontier(event.time), RULES)
        written = sorted(ledger.db.rows("SELECT journey, several FROM journeys"))
        ledger.db.run("DROP INDEX journeys_together")
        ledger.db.run("ALTER TABLE journeys DROP COLUMN several")
        ledger.db.run("PRAGMA user_version = 10" if isinstance(where, Path) else "UPDATE tribo_tables SET version = 10")
    assert written == [("order:1", 0), ("order:2", 1), ("order:3", 0)]
    with contextlib.closing(Ledger.open(where)) as ledger:
        assert sorted(ledger.db.rows("SELECT journey, several FROM journeys")) == [("order:1", 1), ("order:2", 1), ("order:3", 0)]
        assert ledger.db.rows("SELECT DISTINCT history FROM journeys WHERE several = 1") == [(ledger.history_of("order:1"),)]


def test_a_ledger_from_before_the_first_release_is_refused(where: Where) -> None:
    with contextlib.closing(Ledger.open(where)) as ledger:
        ledger.db.run("PRAGMA user_version = 9" if isinstance(where, Path) else "UPDATE tribo_tables SET version = 9")
    with pytest.raises(BadConfig, match="before its first release"):
        Ledger.open(where)


def test_a_lost_server_takes_nothing_and_is_found_again(postgres: str) -> None:
    with contextlib.closing(Ledger.open(postgres)) as ledger, contextlib.closing(Ledger.open(postgres, partition=1)) as other:
        ledger.apply([opened(0)], Frontier(BEGIN + MINUTE), STANDARDS, offset=7)
        other.db.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()")
        with pytest.raises(Unreachable):
            ledger.apply([opened(1)], Frontier(BEGIN + MINUTE), STANDARDS, offset=8)
        assert ledger.offset == 7
        assert ledger.apply([opened(1)], Frontier(BEGIN + MINUTE), STANDARDS, offset=8) == ["applied"]
        assert ledger.offset == 8


def test_an_outpaced_writer_drops_its_work(ledger: Ledger) -> None:
    ledger.apply([opened(0)], Frontier(BEGIN + MINUTE), STANDARDS)
    ledger.db.run("UPDATE partitions SET version = version + 5")
    with pytest.raises(Outpaced):
        ledger.apply([opened(1)], Frontier(BEGIN + MINUTE), STANDARDS)
    assert ledger.apply([opened(1)], Frontier(BEGIN + MINUTE), STANDARDS) == ["applied"]


def test_a_guest_account_joins_nothing(ledger: Ledger) -> None:
    events = [opened(number, BEGIN + number, customer="guest", topic=f"t{number % 7}") for number in range(1010)]
    events += [
        opened(number, BEGIN + number, item=f"case:{number - 2000}", fact="closed", customer="guest") for number in range(2000, 2050)
    ]
    now = BEGIN + DAY
    for begin in range(0, len(events), 300):
        ledger.apply(events[begin : begin + 300], Frontier(now, complete=True), STANDARDS)
    got, want = table(ledger), expected(events, now)
    assert len(got[0]) == 1010
    assert got == want


def test_rejects_and_raw_records_are_kept_for_a_while(ledger: Ledger) -> None:
    ledger.apply(
        [opened(1)], Frontier(BEGIN), STANDARDS, raw=[Raw("POST", b"{}")],
        rejects=[("crm", reject("POST", 1, "fact: no such fact", b'{"a":1}')), ("made up", reject("POST", 2, "x", b"\xff"))],
    )  # fmt: skip
    with Reader(ledger.where) as reader:
        assert [(row["source"], row["reason"], row["payload"]) for row in reader.rejects()] == [
            ("", "x", "/w=="), ("crm", "fact: no such fact", '{"a":1}'),
        ]  # fmt: skip
        assert {row["name"]: row["rejected"] for row in reader.sources()} == {"": 1, "crm": 1}
    ledger.expire(BEGIN + 2 * DAY, DAY, DAY)
    with Reader(ledger.where) as reader:
        assert not reader.rejects()


def test_explain_tells_the_story_with_its_evidence(ledger: Ledger) -> None:
    due = BEGIN + 60 * MINUTE
    ledger.apply([opened(1), promised(1, due)], Frontier(due + MINUTE, complete=True), STANDARDS)
    with Reader(ledger.where) as reader:
        told = "\n".join(explain(reader, "case:1"))
        assert explain(reader, "case:9") == []
    assert "promise_broken, 10 points" in told
    assert "because of" in told
    assert "crm/p1" in told
    assert "customer-1" not in told
