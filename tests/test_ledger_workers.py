"""Many writers on one PostgreSQL: whoever brings which event, the answer is that of `tribo measure`, and who is outpaced writes nothing."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
from collections.abc import Callable

import pytest

from test_ledger import BEGIN, DAY, MINUTE, RULES, STANDARDS, deadlines_stand, expected, opened, promised, story, table
from tribo.ledger.database import Where
from tribo.ledger.ledger import Ledger, Outpaced, Reader
from tribo.ledger.reader import Change
from tribo.measure.advance import Frontier
from tribo.wire.rejects import reject
from tribo_schemas.event import Event
from tribo_schemas.journey import JourneyRow

WORKERS = 4
TRIES = 200


def persist(ledger: Ledger, work: Callable[[], object]) -> int:
    """Do it again for as long as others are in the way; returns how often they were."""
    for tried in range(TRIES):
        try:
            work()
            return tried
        except Outpaced:
            continue
    raise AssertionError(f"partition {ledger.partition} was outpaced {TRIES} times")


def worker(url: str, partition: int, events: list[Event], end: int, seed: int, begin: threading.Barrier, failed: list[BaseException]) -> None:
    draw = random.Random(seed * 100 + partition)
    try:
        with contextlib.closing(Ledger.open(url, partition=partition)) as ledger:
            frontier = Frontier(end, complete=True)
            begin.wait(30)
            place = 0
            while place < len(events):
                size = draw.choice((1, 3, 20))
                batch = events[place : place + size]
                persist(ledger, lambda batch=batch, place=place: ledger.apply(batch, frontier, RULES, offset=place + len(batch)))  # type: ignore[misc]
                place += len(batch)
                assert ledger.offset == place
                if draw.random() < 0.2:
                    persist(ledger, lambda: ledger.tick(frontier, RULES, most=5))
            woken = [1]
            while woken[0]:
                persist(ledger, lambda: woken.__setitem__(0, ledger.tick(frontier, RULES)))
    except BaseException as error:
        failed.append(error)


@pytest.mark.parametrize("seed", range(6))
def test_writers_on_all_partitions_give_what_one_fold_gives(seed: int, postgres: str) -> None:
    events = story(seed, customers=12, length=25)
    end = max(event.time for event in events) + 30 * DAY
    draw = random.Random(seed)
    arriving = events + draw.sample(events, len(events) // 4)
    if seed % 2:
        draw.shuffle(arriving)
    shares = [arriving[number::WORKERS] for number in range(WORKERS)]
    Ledger.open(postgres).close()
    failed: list[BaseException] = []
    begin = threading.Barrier(WORKERS)
    threads = [
        threading.Thread(target=worker, args=(postgres, number, share, end, seed, begin, failed)) for number, share in enumerate(shares)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed, failed
    with contextlib.closing(Ledger.open(postgres)) as ledger:
        got, want = table(ledger), expected(events, end, RULES)
        assert deadlines_stand(ledger)
    with Reader(postgres) as reader:
        assert sum(row["applied"] + row["late"] for row in reader.sources()) == len({(event.source, event.id) for event in events})
    assert got[0] == want[0]
    assert got[1] == want[1]
    assert got[2] == want[2]


def test_what_another_worker_knows_is_known_to_all(postgres: str) -> None:
    """A retraction before and after its event, a late customer, a hub: each brought by another partition than what it is about."""
    guests = [opened(number, BEGIN + number, customer="guest") for number in range(100, 1110)]
    first = [opened(1), opened(2, customer=None), opened(3)]
    second = [
        opened(4, id="r3", fact="retracted", retracts="e3", item="case:40"), opened(5, id="r9", fact="retracted", retracts="e9", item="case:50"),
        opened(2, BEGIN + MINUTE, id="a2", fact="answered", customer="customer-1"),
    ]  # fmt: skip
    third = [opened(9), opened(10), opened(2000, customer="guest"), opened(2001, customer="guest")]
    frontier = Frontier(BEGIN + DAY, complete=True)
    with contextlib.closing(Ledger.open(postgres)) as one, contextlib.closing(Ledger.open(postgres, partition=1)) as other:
        other.apply([opened(0)], frontier, STANDARDS)
        for begin in range(0, len(guests), 300):
            one.apply(guests[begin : begin + 300], frontier, STANDARDS)
        one.apply(first, frontier, STANDARDS)
        other.apply(second, frontier, STANDARDS)
        one.apply(third, frontier, STANDARDS)
        other.apply([opened(3000, customer="guest")], frontier, STANDARDS)
        got = table(one)
    assert got == expected([opened(0), *guests, *first, *second, *third, opened(3000, customer="guest")], BEGIN + DAY)


def test_a_deadline_is_fired_by_the_partition_that_wrote_its_history_last(postgres: str) -> None:
    due = BEGIN + 60 * MINUTE
    passed = Frontier(due + MINUTE, complete=True)
    with contextlib.closing(Ledger.open(postgres)) as one, contextlib.closing(Ledger.open(postgres, partition=1)) as other:
        one.apply([opened(1), promised(1, due)], Frontier(BEGIN + 2 * MINUTE, heard={"crm": BEGIN}), STANDARDS)
        answer = opened(1, BEGIN + 2 * MINUTE, id="a1", fact="answered")
        other.apply([answer], Frontier(BEGIN + 3 * MINUTE, heard={"crm": BEGIN}), STANDARDS)
        assert one.tick(passed, STANDARDS) == 0
        assert other.tick(passed, STANDARDS) == 1
    with Reader(postgres) as reader:
        assert "promise_broken" in {finding.kind for finding in reader.standing()}
        assert reader.rows("SELECT DISTINCT partition FROM deadlines") in ([], [(1,)])


def test_changes_are_published_in_order_from_where_it_was_left(postgres: str) -> None:
    """A reader who keeps the highest revision of each id, and sees some changes twice, ends with what the ledger says."""
    events = story(3, customers=12, length=25)
    end = max(event.time for event in events) + 30 * DAY
    frontier = Frontier(end, complete=True)
    kept: dict[tuple[str, str], Change] = {}
    revisions: dict[str, list[int]] = {}
    with contextlib.ExitStack() as stack:
        ledgers = [stack.enter_context(contextlib.closing(Ledger.open(postgres, partition=number))) for number in range(3)]
        reader = stack.enter_context(Reader(postgres))
        draw = random.Random(3)

        def publish(ledger: Ledger, again: bool = False) -> int:
            changes, upto = reader.changes(ledger.partition, 0 if again else reader.published(ledger.partition), 20)
            for change in changes:
                before = kept.get((change.kind, change.id))
                if before is None or change.revision >= before.revision:
                    kept[change.kind, change.id] = change
                if change.kind == "finding" and not again:
                    revisions.setdefault(change.id, []).append(change.revision)
            if not again:
                ledger.published(upto)
            return len(changes)

        for begin in range(0, len(events), 10):
            ledger = draw.choice(ledgers)
            ledger.apply(events[begin : begin + 10], frontier, STANDARDS)
            publish(draw.choice(ledgers), again=draw.random() < 0.2)
        for ledger in ledgers:
            while ledger.tick(frontier, STANDARDS):
                pass
            while publish(ledger):
                pass
        rows, findings, _ = table(ledgers[0])
    standing = {key[1]: change for key, change in kept.items() if change.subject is not None}
    assert {name: change.subject.row() for name, change in standing.items() if isinstance(change.subject, JourneyRow)} == rows
    found = {name: change for name, change in standing.items() if change.kind == "finding" and change.status == "found"}
    assert {name: change.subject.row() for name, change in found.items() if change.subject is not None} == findings
    assert max(map(len, revisions.values())) > 1
    for name, seen in revisions.items():
        assert sorted(set(seen)) == list(range(1, max(seen) + 1)), name


DEEDS: dict[str, Callable[[Ledger, Frontier], object]] = {
    "record": lambda ledger, frontier: ledger.apply([opened(7)], frontier, STANDARDS, offset=99),
    "timer": lambda ledger, frontier: ledger.tick(frontier, STANDARDS),
    "refold": lambda ledger, frontier: ledger.refold(frontier, STANDARDS, ledger.all_histories()),
    "publication": lambda ledger, frontier: ledger.published(3),
    "erasure": lambda ledger, frontier: ledger.erase("customer-1", frontier, STANDARDS),
    "retention": lambda ledger, frontier: ledger.expire(frontier.now, 1, 1),
}


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("deed", DEEDS)
def test_a_stale_writer_is_refused(deed: str, database: str, request: pytest.FixtureRequest) -> None:
    where: Where = request.getfixturevalue("tmp_path" if database == "sqlite" else "postgres")
    due = BEGIN + 60 * MINUTE
    with contextlib.closing(Ledger.open(where)) as stale, contextlib.closing(Reader(where)) as reader:
        rejects = [("crm", reject("POST", 1, "fact: no such fact", b"{}"))]
        stale.apply([opened(1), promised(1, due)], Frontier(BEGIN + 2 * MINUTE), STANDARDS, rejects=rejects, offset=5)
        assert stale.offset == 5
        if isinstance(where, str):  # the partition went to another worker, which worked
            with contextlib.closing(Ledger.open(where)) as fresh:
                fresh.apply([opened(2)], Frontier(BEGIN + 3 * MINUTE), STANDARDS, offset=6)
        else:
            with contextlib.closing(sqlite3.connect(where / "ledger.db")) as fresh_connection:
                fresh_connection.execute("UPDATE partitions SET version = version + 1, next_offset = 6")
                fresh_connection.commit()
        before = {table: reader.rows(f"SELECT * FROM {table}") for table in TABLES_OF_ALL}
        with pytest.raises(Outpaced):
            DEEDS[deed](stale, Frontier(due + DAY, complete=True))
        assert {table: reader.rows(f"SELECT * FROM {table}") for table in TABLES_OF_ALL} == before
        assert stale.offset == 6
        DEEDS[deed](stale, Frontier(due + DAY, complete=True))  # it read again, and is no longer stale


TABLES_OF_ALL = ("events", "histories", "journeys", "findings", "revisions", "links", "deadlines", "partitions", "heard", "rejects")
