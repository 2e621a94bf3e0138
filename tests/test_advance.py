"""The incremental path and the whole fold give the same answer, however the events are cut into batches and shuffled."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE / "simulate"))
import compare  # noqa: E402

from invented import events_of_seed  # noqa: E402
from scripts import events_of  # noqa: E402
from tribo.ledger.rows import pledge_row  # noqa: E402
from tribo.measure.advance import Frontier, History, advance, decode_history, encode_history, fold  # noqa: E402
from tribo.measure.journeys import in_order  # noqa: E402
from tribo.measure.standards import Standards, compile_standards  # noqa: E402
from tribo.measure.whole import Input, happened, histories  # noqa: E402
from tribo_schemas.config import parse_yaml  # noqa: E402
from tribo_schemas.event import Event, event_of, instant, stamp  # noqa: E402
from tribo_schemas.finding import Finding  # noqa: E402
from tribo_schemas.standard import standards_of  # noqa: E402

HOUR = 3_600_000
STANDARDS = """
calendar: office
calendars:
  office: {zone: Europe/Berlin, hours: {mon-fri: ["09:00-12:00", "13:00-17:30"], sat: ["10:00-14:00"]}, holidays: ["2026-04-06"]}
  always: {zone: UTC, hours: {mon-sun: ["00:00-24:00"]}}
standards:
  - {name: first-answer, says: Four hours., clock: first_response, within: 4h, objective: 90%}
  - {name: next-answer, says: A day., clock: next_response, within: 1d, calendar: always, objective: 95%}
  - {name: solved, says: Three working days., clock: resolution, within: 3bd, objective: 80%}
  - {name: solved-hours, says: Nine hours., clock: resolution, within: 9h}
  - {name: solved-for-good, says: Two days in all., clock: total_resolution, within: 12h}
  - {name: held, says: A minute., clock: hold, within: 1m}
  - {name: promises, says: We keep them., promise: any, objective: 99%, at_risk: 4h}
  - {name: refund, says: Five working days., promise: {touchpoint: returns, made_by: assigned, kept_by: resolved}, within: 5bd}
  - {name: few-hands, says: One change., count: handoffs, at_most: 1}
  - {name: clear, says: What to expect., practice: expectation}
  - {name: choice, says: An alternative., practice: alternative}
  - {name: fixed, says: We ask., practice: confirmation}
"""


@pytest.fixture(scope="module")
def standards() -> Standards:
    return compile_standards(standards_of(parse_yaml(STANDARDS.encode(), "standards.yaml")))


def answer(part: list[Event], now: int, standards: Standards) -> tuple[list, list, dict]:
    step = fold(part, Frontier(now, complete=True), standards)
    return _table(step.journeys), _table(step.found), step.history.tally


def _table(rows: list) -> list:
    return sorted((row.row() for row in rows), key=str)


def incremental(part: list[Event], now: int, standards: Standards, size: int, seed: int, shuffled: bool) -> tuple[list, list, dict, int]:
    """As a shell would: apply batches, fold anew when advance says so, keep findings by id."""
    given = list(part)
    if shuffled:
        random.Random(seed).shuffle(given)
    history: History | None = None
    findings: dict = {}
    journeys: dict = {}
    tally: Counter = Counter()
    seen: list[Event] = []
    folds = 0
    frontier_now = 0
    for start in [*range(0, len(given), size), len(given)]:
        batch = given[start : start + size]
        seen += batch
        frontier_now = max([frontier_now, *(event.time for event in batch)]) if batch else max(now, frontier_now)
        frontier = Frontier(frontier_now, complete=True)
        state = decode_history(encode_history(history)) if history is not None else None
        step = advance(state, batch, frontier, standards)
        if step is None:
            folds += 1
            step = fold(seen, frontier, standards)
            findings, journeys, tally = {}, {}, Counter()
        history = step.history
        for name in step.withdrawn:
            del findings[name]
        findings.update({finding.id: finding for finding in step.found})
        journeys.update({row.journey: row for row in step.journeys})
        tally.update(step.tally)
        assert {key: number for key, number in tally.items() if number} == history.tally
    assert history is not None
    return _table(list(journeys.values())), _table(list(findings.values())), history.tally, folds


@pytest.mark.parametrize("seed", range(150))
def test_invented_histories(seed: int, standards: Standards) -> None:
    events, now = events_of_seed(seed)
    taken = Input()
    for event in events:
        taken.add(event_of(event))
    left = taken.events
    for part in histories(left)[1]:
        wanted = answer(part, now, standards)
        happy, _ = happened(part)
        in_order = sorted(happy, key=lambda event: event.time) if seed % 2 else part
        for size, shuffled in ((1, False), (3, False), (20, False), (7, True), (1, True), (1000, True)):
            got = incremental(part if shuffled else in_order, now, standards, size, seed, shuffled)
            if shuffled or len(in_order) == len(part):
                assert got[:3] == wanted


@pytest.mark.parametrize("seed", (*range(1, 31), 100, 237, 251))
def test_nasty_histories(seed: int) -> None:
    events, file, until = compare.of_seed(seed)
    taken = compare.taken([json.dumps(event) for event in events])[0]
    left = taken.events
    rules = compare.compiled(file)
    now = max([event.time for event in left] + ([] if until is None else [instant(until)]), default=0)
    for part in histories(left)[1]:
        wanted = answer(part, now, rules)
        for size, shuffled in ((1, False), (4, False), (25, False), (1, True), (5, True)):
            given = part if shuffled else sorted(part, key=lambda event: event.time)
            assert incremental(given, now, rules, size, seed, shuffled)[:3] == wanted


def test_sources_are_heard_each_at_its_own_pace(standards: Standards) -> None:
    late = sum(heard_unevenly(seed, standards) for seed in range(150))
    assert late > 0  # the fast path let a timer fire after a later one had


def test_a_timer_fires_after_a_later_one_of_a_source_that_was_heard_sooner(standards: Standards) -> None:
    noon = instant("2026-03-02T12:00:00Z")
    order = {"source": "shop", "touchpoint": "purchase", "item": "order:1", "customer": "ada"}
    case = {"source": "desk", "touchpoint": "service", "item": "case:1", "customer": "ada", "about": ["order:1"]}
    events = [
        event_of({"id": "e1", "time": "2026-03-02T12:00:00Z", "fact": "opened", **order}),
        event_of({"id": "e2", "time": "2026-03-02T11:00:00Z", "fact": "opened", **case}),
    ]
    sooner = Frontier(noon + 30 * HOUR, heard={"shop": noon + 30 * HOUR, "desk": noon})
    later = Frontier(noon + 30 * HOUR, heard={"shop": noon + 30 * HOUR, "desk": noon + 30 * HOUR})
    first = fold(events, sooner, standards)
    assert [(one.kind, one.item) for one in first.found if one.kind == "no_expectation"] == [("no_expectation", "order:1")]
    step = advance(first.history, [], later, standards)
    assert step is not None
    assert ("no_expectation", "case:1") in {(one.kind, one.item) for one in step.found}
    assert step.history.tally == fold(events, later, standards).history.tally
    for made, due in ((order, 4), (case, 3)):  # a problem after which another is found to have been before it: in their order
        events.append(event_of({
            "id": f"p{due}", "time": "2026-03-02T12:00:00Z", "fact": "promised", "promise": "word", "due": f"2026-03-02T1{due + 2}:00:00Z", **made
        }))  # fmt: skip
    first = fold(events, sooner, standards)
    assert [one.item for one in first.found if one.kind == "promise_broken"] == ["order:1"]
    assert advance(first.history, [], later, standards) is None


def _state(history: History) -> list:
    items = [replace(item, missed=tuple(sorted(item.missed))) for item in history.items.values()]
    return sorted([*items, *history.journeys.values()], key=lambda part: (type(part).__name__, part.id))


def _pledges(history: History) -> dict:
    """Each promise as a list of promises shows it, by item and id."""
    return {
        (item.id, promise.id): pledge_row(1, item, promise, history.journeys[item.journey].customer, history.journeys[item.journey].synthetic)
        for item in history.items.values() for promise in item.promises.values()
    }  # fmt: skip


def heard_unevenly(seed: int, standards: Standards) -> int:
    """Each step gives what a whole fold gives; returns in how many steps a timer fired after a later one had."""
    draw = random.Random(seed)
    taken = Input()
    for row in events_of_seed(seed)[0]:
        taken.add(event_of(row))
    late = 0
    for part in histories(taken.events)[1]:
        given = in_order(part)
        heard: dict[str, int] = {event.source: 0 for event in given}
        pace = {source: draw.random() for source in heard}
        history: History | None = None
        findings: dict = {}
        journeys: dict = {}
        pledges: dict = {}
        silent: dict[str, int] = {}
        now = 0
        for begin in range(0, len(given) + 60, 2):
            batch, seen = given[begin : begin + 2], given[: begin + 2]
            ahead = draw.choice((0, 0, 6, 72)) * HOUR if seed % 2 else 0
            now = max(now, seen[-1].time + max(begin + 2 - len(given), 0) * 4 * HOUR + ahead)
            for source, at in heard.items():
                if draw.random() < pace[source]:  # a silent one has caught up when it is heard again
                    coming = min((event.time for event in given[begin + 2 :] if event.source == source), default=now)
                    latest = max(min(now, coming) - 1, at)
                    heard[source] = latest if source in silent else draw.randint(at, latest)
            if seed % 3 == 0:
                silent = {source: at + 2 * HOUR for source, at in heard.items() if 0 < at < now - 2 * HOUR}
            frontier = Frontier(now, heard=heard.copy(), silent=silent)
            wanted = fold(seen, frontier, standards)
            fired, waiting = (None, []) if history is None else (history.last_timer, list(history.timers))
            step = advance(None if history is None else decode_history(encode_history(history)), batch, frontier, standards)
            if step is None:
                step, findings, journeys = wanted, {}, {}
            elif fired is not None:
                late += any(timer < fired and timer not in step.history.timers for timer in waiting)
            history = step.history
            for name in step.withdrawn:
                del findings[name]
            findings.update({finding.id: finding for finding in step.found})
            journeys.update({row.journey: row for row in step.journeys})
            current = _pledges(history)
            pledges = current if step.whole else pledges | {key: current[key] for key in step.pledges}
            assert pledges == current, seed
            assert _table(list(findings.values())) == _table(wanted.found), seed
            assert _table(list(journeys.values())) == _table(wanted.journeys), seed
            assert history.tally == wanted.history.tally, seed
            assert history.last_timer == wanted.history.last_timer, seed
            assert _state(history) == _state(wanted.history), seed
    return late


def test_of_journeys_last_heard_of_together_the_events_say_which_a_case_joins(standards: Standards) -> None:
    told = (("order:1", "opened", 0), ("order:2", "opened", 1), ("order:1", "assigned", 5), ("order:2", "answered", 5), ("case:1", "opened", 9))
    events = [
        Event(f"e{number}", "shop", 60_000 * minute, "service" if item == "case:1" else "purchase", fact, item, "ada", team="desk")
        for number, (item, fact, minute) in enumerate(told)
    ]
    assert incremental(events, HOUR, standards, 1, 0, shuffled=False)[:3] == answer(events, HOUR, standards)


def test_the_fast_path_is_taken(standards: Standards) -> None:
    cases = [case for path in sorted((HERE / "cases").glob("*.yaml")) for case in yaml.safe_load(path.read_text())]
    case = next(case for case in cases if case["name"] == "waiting on the customer moves a target in hours")
    part = [event_of(event) for event in events_of(case)]
    *got, folds = incremental(part, part[-1].time, standards, 1, 0, False)
    assert tuple(got) == answer(part, part[-1].time, standards)
    assert folds == 0


def test_a_second_purchase_comes_with_its_invoice_and_case_in_one_batch(standards: Standards) -> None:
    told = (("order:1", None), ("order:1", None), ("order:2", None), ("bill:2", "order:2"), ("case:2", "bill:2"), ("order:2", None), ("case:2", "bill:2"))
    kinds = {"order": "purchase", "bill": "billing", "case": "service"}
    events = [
        Event(
            f"e{number}", "shop", 60_000 * number, kinds[item.partition(":")[0]], "resolved" if (item, about) in told[:number] else "opened", item, "ada",
            about=None if about is None else (about,),
        )
        for number, (item, about) in enumerate(told)
    ]  # fmt: skip
    for size in (2, 5, 7):
        *got, folds = incremental(events, HOUR, standards, size, 0, False)
        assert tuple(got) == answer(events, HOUR, standards)
        assert folds == 0
        assert [row["items"] for row in got[0]] == [("order:1",), ("bill:2", "case:2", "order:2")]


def test_a_promise_called_broken_in_silence_is_judged_anew_when_its_source_is_heard_again(standards: Standards) -> None:
    made = {"source": "shop", "touchpoint": "purchase", "item": "order:1"}
    events = [
        event_of({"id": "e1", "time": "2026-03-02T09:00:00Z", "fact": "opened", **made}),
        event_of({"id": "e2", "time": "2026-03-02T09:00:00Z", "fact": "promised", "promise": "p", "due": "2026-03-02T10:00:00Z", **made}),
    ]
    due = events[0].time + HOUR
    silence = Frontier(now=due + 30 * HOUR, heard={"shop": events[0].time}, silent={"shop": due})
    step = advance(None, events, silence, standards)
    assert step is not None
    assert [finding.source_silent for finding in step.found if finding.kind == "promise_broken"] == [True]
    still = Frontier(now=due + 31 * HOUR, heard={"shop": events[0].time}, silent={"shop": due})
    assert advance(step.history, [], still, standards) is not None
    heard = Frontier(now=due + 32 * HOUR, heard={"shop": due + 31 * HOUR})
    assert advance(step.history, [], heard, standards) is None
    assert [finding.source_silent for finding in fold(events, heard, standards).found if finding.kind == "promise_broken"] == [None]


@pytest.mark.parametrize(("minute", "holder"), [(50, "returns"), (60, "returns"), (70, "desk")])
def test_of_a_promise_nobody_can_judge_the_holder_is_who_had_it_at_the_due(standards: Standards, minute: int, holder: str) -> None:
    made = {"source": "shop", "touchpoint": "purchase", "item": "order:1"}
    events = [
        event_of({"id": "e1", "time": "2026-03-02T09:00:00Z", "fact": "assigned", "team": "desk", **made}),
        event_of({"id": "e2", "time": "2026-03-02T09:00:00Z", "fact": "promised", "promise": "p", "due": "2026-03-02T10:00:00Z", **made}),
        event_of({"id": "e3", "time": stamp(instant("2026-03-02T09:00:00Z") + 60_000 * minute), "fact": "assigned", "team": "returns", **made}),
    ]
    start = events[0].time
    silence = Frontier(now=start + 3 * HOUR, heard={"shop": start}, silent={"shop": start + HOUR})
    for looked_before in (False, True):  # before the last one came
        history: History | None = None
        found: dict[str, Finding] = {}
        for batch in (events[:2], events[2:]) if looked_before else (events,):
            step = advance(history, batch, silence, standards)
            assert step is not None
            history = decode_history(encode_history(step.history))
            found = {name: one for name, one in found.items() if name not in step.withdrawn} | {one.id: one for one in step.found}
        assert [one.team for one in fold(events, silence, standards).found if one.kind == "promise_unknown"] == [holder]
        assert [one.team for one in found.values() if one.kind == "promise_unknown"] == [holder]


def test_only_what_time_alone_called_broken_is_marked_silent(standards: Standards) -> None:
    made = {"source": "shop", "touchpoint": "purchase", "item": "order:1", "customer": "ada", "fact": "promised", "promise": "delivery"}
    past = event_of({"id": "e1", "time": "2026-03-02T12:00:00Z", "due": "2026-03-02T11:00:00Z", **made})
    silence = Frontier(past.time + 30 * HOUR, heard={"shop": past.time - 2 * HOUR}, silent={"shop": past.time})
    assert [one.source_silent for one in fold([past], silence, standards).found if one.kind == "promise_broken"] == [None]
    open_one = event_of({"id": "e1", "time": "2026-03-02T12:00:00Z", "due": "2026-03-02T13:00:00Z", **made})
    assert [one.source_silent for one in fold([open_one], silence, standards).found if one.kind == "promise_broken"] == [True]
