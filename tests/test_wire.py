"""Raw records to events: the readers, the three kinds of mapping, their errors, and the examples of every packaged mapping."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from tribo.wire.examples import check_examples
from tribo.wire.mapping import MOST_ELEMENTS, Mapping, Unmapped
from tribo.wire.readers import BLOCK_BYTES, MOST_BYTES, Block, Record, blocks, lines, read
from tribo.wire.rejects import KEPT_BYTES, Reject, reject
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import Event, canonical, stamp
from tribo_schemas.source import source_of

WRONG = Path(__file__).parent / "wrong_mappings"

RECORDS = """
source: desk
kind: records
item: "case:{data.case.id}"
id: "{id}"
zone: Europe/Vienna
times: [iso, d/m/yyyy H:MM, epoch_s]
time: "{at}"
missing: [n/a]
unmatched: skip
always: {touchpoint: service, customer: "{data.case.customer}"}
rules:
  - when: {type: case.opened}
    fact: opened
    channel: {take: "{data.via}", map: {mail: email}, otherwise: web, missing: phone}
    about: ["order:{data.case.order}", "order:{data.case.other_order}"]
  - when: {type: [case.moved, case.opened], data.team: {exists: true}}
    fact: assigned
    team: "{data.team}"
    owner: "{data.owners.0.name}"
  - when: {type: case.rated, data.stars: {not: ["0"]}}
    fact: rated
    score: "{data.stars}"
    scale: 5
    by: customer
  - when: {type: case.promised}
    fact: promised
    promise: "reply-{data.promise}"
    due: {take: "{at}", plus: 2h}
"""

LOG = """
source: log
kind: update_log
item: "case:{n}"
zone: UTC
times: [d/m/yyyy H:MM]
missing: ["?"]
order: {time: "{at}", sequence: v}
always: {touchpoint: service}
rules:
  - {fact: opened, on: first}
  - {fact: assigned, on: {changed: [team, owner]}, team: "{team}", owner: "{owner}"}
  - {fact: awaiting_customer, on: {entered: {state: waiting}}}
  - {fact: customer_replied, on: {left: {state: waiting}}, when: {state: {not: done}}, by: customer}
  - {fact: resolved, on: {entered: {state: done}}}
  - {fact: reopened, on: {raised: reopened}}
  - {fact: closed, on: last, when: {state: done}}
"""


def mapping_of(tmp_path: Path, text: str) -> Mapping:
    path = tmp_path / "desk.yaml"
    path.write_text(text, encoding="utf-8")
    return Mapping.load(path)


def events_of(mapping: Mapping, *records: dict[str, Any]) -> list[dict[str, Any]]:
    return [canonical(event) if isinstance(event, Event) else event.row() for event in mapping.events(records)]


# -- mappings -----------------------------------------------------------------------------------------------------------


def test_an_example_that_does_not_hold_is_told(tmp_path: Path) -> None:
    text = LOG + "examples: [{raw: {n: 1, at: 1/2/2026 9:00, v: 0}, events: [{fact: closed}], rejects: [time]}]"
    wrong = "\n".join(check_examples(mapping_of(tmp_path, text)))
    assert "event 1: fact: 'closed' expected, 'opened' came" in wrong
    assert "1 rejects expected, 0 came" in wrong
    assert check_examples(mapping_of(tmp_path, LOG)) == ["desk.yaml:2: examples: there are none: add one, raw in and events out"]


def test_an_unknown_mapping_is_told_which_there_are() -> None:
    with pytest.raises(BadConfig, match=r"no such mapping.*boston_311"):
        Mapping.load("no_such_thing")


# -- records ---------------------------------------------------------------------------------------------------------------


def test_records_take_their_fields_by_path_map_and_default(tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, RECORDS)
    case = {"id": 7, "customer": " ann ", "order": "n/a", "other_order": 12}
    made = events_of(
        mapping,
        {"id": "a", "type": "case.opened", "at": "2026-03-02T09:00:00+01:00", "data": {"case": case, "via": "mail"}},
        {"id": "b", "type": "case.opened", "at": "1/2/2026 9:05", "data": {"case": {"id": 8}, "team": "Blue", "owners": [{"name": "Bo"}]}},
        {"id": "c", "type": "case.rated", "at": 1772442000, "data": {"case": {"id": 8}, "stars": 4}},
        {"id": "d", "type": "case.rated", "at": 1772442000, "data": {"case": {"id": 8}, "stars": 0}},
        {"id": "e", "type": "case.promised", "at": "2026-03-02T09:00:00Z", "data": {"case": {"id": 8}, "promise": 3}},
    )
    common = {"source": "desk", "touchpoint": "service"}
    eight = {**common, "item": "case:8", "by": "human"}
    assert made == [
        {**common, "id": "a/opened", "time": "2026-03-02T08:00:00Z", "fact": "opened", "item": "case:7", "customer": "ann",
         "channel": "email", "about": ["order:12"], "by": "human"},
        {**eight, "id": "b/opened", "time": "2026-02-01T08:05:00Z", "fact": "opened", "channel": "phone"},
        {**eight, "id": "b/assigned", "time": "2026-02-01T08:05:00Z", "fact": "assigned", "team": "Blue", "owner": "Bo"},
        {**eight, "id": "c/rated", "time": "2026-03-02T09:00:00Z", "fact": "rated", "score": 4.0, "scale": 5.0, "by": "customer"},
        {**eight, "id": "e/promised", "time": "2026-03-02T09:00:00Z", "fact": "promised", "promise": "reply-3",
         "due": "2026-03-02T11:00:00Z"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"id": "a", "type": "case.opened", "data": {"case": {"id": 7}}}, "time: is missing"),
        ({"id": "a", "type": "case.opened", "at": "soon", "data": {"case": {"id": 7}}}, "time: 'soon' fits none of the formats iso"),
        ({"id": "a", "type": "case.opened", "at": "9999-12-31T23:59:59-05:00", "data": {"case": {"id": 7}}}, "time: "),
        ({"id": "a", "type": "case.opened", "at": 1e30, "data": {"case": {"id": 7}}}, "fits none of the formats"),
        ({"id": "a", "type": "case.opened", "at": "0" * 10_000 + "1", "data": {"case": {"id": 7}}}, "… is too long for a time"),
        ({"id": "a", "type": "case.opened", "at": 0, "data": {}}, "item: a part of it is missing in the record"),
        ({"type": "case.opened", "at": 0, "data": {"case": {"id": 7}}}, "id: a part of it is missing in the record"),
        ({"id": "a" * 201, "type": "case.opened", "at": 0, "data": {"case": {"id": 7}}}, "id: "),
        ({"id": "a", "type": "case.rated", "at": 0, "data": {"case": {"id": 7}, "stars": 6}}, "score: must lie between 0 and scale"),
        ({"id": "a", "type": "case.rated", "at": 0, "data": {"case": {"id": 7}, "stars": "many"}}, "score: 'many' is not a number"),
        ({"id": "a", "type": "case.rated", "at": 0, "data": {"case": {"id": 7}, "stars": "nan"}}, "score: 'nan' is not a number"),
        ({"id": "a", "type": "case.opened", "at": 0, "data": {"case": {"id": [7]}}}, "data.case.id: holds a list, not a text or a number"),
        ({"id": "a\x00", "type": "case.opened", "at": 0, "data": {"case": {"id": 7}}}, "id: holds a NUL character"),
    ],
)
def test_a_bad_record_is_rejected_with_the_field_and_kept(tmp_path: Path, record: dict[str, Any], reason: str) -> None:
    [found] = mapping_of(tmp_path, RECORDS).events([Record("in.jsonl", 3, json.dumps(record).encode())])
    assert isinstance(found, Reject)
    assert reason in found.reason
    assert (found.input, found.line, json.loads(found.payload)) == ("in.jsonl", 3, record)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1, "a": 2}', "a: is written twice"),
        (b'{"a": {"b": 1, "b": 2}}', "b: is written twice"),
        (b'{"a"          : 1, "a":2}', "a: is written twice"),
        (b'{"a": 1, "\\u0061": 2, "b": "\\":"}', "a: is written twice"),
        (b"\xff\xfe{}", "not"),
        (b'{"a": "\xff"}', "not"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_record_is_rejected(tmp_path: Path, raw: bytes, reason: str) -> None:
    [found] = mapping_of(tmp_path, RECORDS).events([Record("in.jsonl", 1, raw)])
    assert isinstance(found, Reject)
    assert reason in found.reason or "nested" in found.reason


def test_without_an_id_alike_records_are_two_and_reading_again_gives_the_same_ids(tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, RECORDS.replace('id: "{id}"\n', "", 1))
    record = {"type": "case.opened", "at": 0, "data": {"case": {"id": 7}}}
    first = [event["id"] for event in events_of(mapping, record, record)]
    assert len(set(first)) == 2
    assert first == [event["id"] for event in events_of(mapping, record, dict(reversed(record.items())))]


def test_what_no_rule_fits_is_rejected_unless_skipped(tmp_path: Path) -> None:
    record = {"id": "a", "type": "other", "at": 0, "data": {"case": {"id": 7}}}
    assert events_of(mapping_of(tmp_path, RECORDS), record) == []
    [found] = events_of(mapping_of(tmp_path, RECORDS.replace("unmatched: skip", "unmatched: reject")), record)
    assert found["reason"] == "no rule fits; add one, or write `unmatched: skip`"


# -- lists, look-ups, conditions, bodies -----------------------------------------------------------------------------------

NESTED = """
source: shop
kind: records
unpack: orders
item: "order:{id}"
id: "order:{id}"
parse: [note.json]
headers: [X-Topic]
maps: {via: {w: web, s: store}}
values:
  refunded: "sum(refunds[].parts[].amount || `[]`)"
  carrier: {among: outer.carriers, by: code, equals: "{each.by}"}
always: {touchpoint: purchase, customer: ["{customer.id}", "mail:{email}"]}
rules:
  - {fact: opened, time: "{at}", channel: {take: "{via}", map: via, otherwise: other}, topic: "{note.json.about|kind|tags.0}"}
  - each: sent
    when: {each.by: {exists: true}}
    fact: promised
    time: "{each.at}"
    promise: "delivery-{each.nr}"
    due: "{each.eta|due}"
    team: "{carrier.name}"
    id: "order:{id}/sent/{each.nr}"
  - {when: {refunded: {at_least: 5, below: 100}}, fact: offered, time: "{at}"}
  - {when: [{tags: {has: [vip]}}, {score: {above: 8}}], fact: praised, time: "{at}"}
  - {when: {kind: {begins: [gift., extra.], ends: [.free]}}, fact: surprised, time: "{at}"}
  - {when: {by: {same_as: customer.id}}, fact: customer_replied, time: "{at}"}
  - {when: {by: {differs_from: customer.id}}, fact: answered, time: "{at}"}
  - {when: {kind: {not: [x]}, score: {at_most: 3}}, fact: complained, time: "{at}"}
"""
AT = "2026-03-02T09:00:00Z"


def facts_of(mapping: Mapping, record: dict[str, Any]) -> list[str]:
    return [event.fact for event in mapping.map_record({"orders": [{"id": 1, "at": AT, **record}]})]


def test_elements_of_a_list_know_their_record_and_what_is_around_it(tmp_path: Path) -> None:
    sent = [{"nr": 1, "by": "dp", "at": AT, "eta": "2026-03-04T00:00:00Z"}, {"nr": 2, "at": AT}, {"nr": 3, "by": "xx", "at": AT}]
    order = {"id": 7, "at": AT, "email": "ann@example.org", "via": "s", "sent": sent, "due": "2026-03-09T00:00:00Z", "note": {"json": '{"about": "shoes"}'}}
    payload = {"carriers": [{"code": "dp", "name": "Parcels"}], "orders": [order, {"id": 8, "at": AT, "customer": {"id": 5}, "via": "x", "tags": ["new"]}]}
    made = events_of(mapping_of(tmp_path, NESTED), payload)
    common = {"source": "shop", "touchpoint": "purchase", "by": "human", "time": AT}
    seven = {**common, "item": "order:7", "customer": "mail:ann@example.org"}
    assert made == [
        {**seven, "id": "order:7/opened", "fact": "opened", "channel": "store", "topic": "shoes"},
        {**seven, "id": "order:7/sent/1", "fact": "promised", "promise": "delivery-1", "due": "2026-03-04T00:00:00Z", "team": "Parcels"},
        {**seven, "id": "order:7/sent/3", "fact": "promised", "promise": "delivery-3", "due": "2026-03-09T00:00:00Z"},
        {**common, "item": "order:8", "customer": "5", "id": "order:8/opened", "fact": "opened", "channel": "other", "topic": "new"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "facts"),
    [
        ({"refunds": [{"parts": [{"amount": 3}, {"amount": 2.5}]}]}, ["opened", "offered"]),
        ({"refunds": [{"parts": [{"amount": 100}]}]}, ["opened"]),
        ({"tags": ["new", "vip"]}, ["opened", "praised"]),
        ({"tags": "vip", "score": "8"}, ["opened"]),
        ({"score": "8.5"}, ["opened", "praised"]),
        ({"score": 3}, ["opened", "complained"]),
        ({"score": 3, "kind": "x"}, ["opened"]),
        ({"score": "nan"}, ["opened"]),
        ({"kind": "extra.free"}, ["opened", "surprised"]),
        ({"kind": "extra.paid"}, ["opened"]),
        ({"by": 5, "customer": {"id": "5"}}, ["opened", "customer_replied"]),
        ({"by": 6, "customer": {"id": "5"}}, ["opened", "answered"]),
        ({"by": 6}, ["opened"]),
    ],
)
def test_conditions(tmp_path: Path, record: dict[str, Any], facts: list[str]) -> None:
    assert facts_of(mapping_of(tmp_path, NESTED), record) == facts


@pytest.mark.parametrize(
    ("record", "reason", "line"),
    [
        ({"sent": {}}, "sent: holds no list", 16),
        ({"sent": [{}] * (MOST_ELEMENTS + 1)}, f"sent: holds {MOST_ELEMENTS + 1} elements, more than {MOST_ELEMENTS}", 16),
        ({"sent": [{"nr": 1, "by": "dp", "at": AT}]}, "due: a `promised` event must carry it", 21),
        ({"sent": [{"nr": 1, "by": "dp", "at": AT, "eta": "soon"}]}, "time: 'soon' fits none of the formats iso", 21),
        ({"at": None}, "time: is missing", 15),
        ({"at": "soon"}, "time: 'soon' fits none of the formats iso", 15),
        ({"id": {}}, "id: holds an object, not a text or a number", 6),
        ({"id": None}, "id: a part of it is missing in the record", 6),
        ({"customer": {"id": "c" * 201}}, "customer: ", 13),
        ({"score": [1]}, "score: holds a list, not a text or a number", 25),
        ({"refunds": [{"parts": [{"amount": "much"}]}]}, "values.refunded: ", 11),
    ],
)
def test_a_reject_names_the_line_of_the_mapping(tmp_path: Path, record: dict[str, Any], reason: str, line: int) -> None:
    found = events_of(mapping_of(tmp_path, NESTED), {"orders": [{"id": 1, "at": AT, **record}, {"id": 2, "at": AT}]})
    assert [row.get("id") for row in found[1:]] == ["order:2/opened"]  # what stands beside it is mapped all the same
    assert found[0]["reason"].startswith(reason)
    assert found[0]["mapping"] == f"desk.yaml:{line}"
    assert json.loads(found[0]["payload"]).keys() == {"id", "at", *record}


def test_an_expression_that_multiplies_is_given_up(tmp_path: Path) -> None:
    for expression in ("[@,@][]" + "|[@,@][]" * 33, "join('',[s,s])" + "|join('',[@,@])" * 19):
        mapping = mapping_of(tmp_path, NESTED.replace("sum(refunds[].parts[].amount || `[]`)", expression))
        with pytest.raises(Unmapped, match=r"values\.refunded: takes more than"):
            mapping.map_record({"orders": [{"id": 1, "at": AT, "s": "text" * 1000}]})


def test_bodies_are_parted_into_records(tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, RECORDS)
    assert mapping.received(b' {"a": 1}\n') == [b'{"a": 1}']
    assert mapping.received(b'[{"a": 1}, {"b": [2]}]') == [b'{"a": 1}', b'{"b": [2]}']
    assert mapping.received(b'{"a": 1}\n\n{"b": 2}\n', "application/x-ndjson; charset=utf-8") == [b'{"a": 1}', b'{"b": 2}']
    assert mapping.received(b"a=1&b=x%20y&c=", "application/x-www-form-urlencoded") == [b'{"a": "1", "b": "x y", "c": ""}']
    named = mapping_of(tmp_path, NESTED)
    assert named.received(b'{"a": 1}', headers={"x-topic": "t", "X-Other": "o"}) == [b'{"a": 1, "headers": {"x-topic": "t"}}']
    for body, kind, reason in (
        (b"[1,", "", "not JSON"),
        (b"a=1&a=2", "application/x-www-form-urlencoded", "a: is written twice"),
        (b"a=%ff", "application/x-www-form-urlencoded", "not a form"),
        (b"[" + b"1," * 10_000 + b"1]", "application/json", "more than 10000 records"),
    ):
        with pytest.raises(Unmapped, match=reason):
            mapping.received(body, kind)


# -- update logs -----------------------------------------------------------------------------------------------------------


def row(at: str, v: int, team: str = "?", owner: str = "?", state: str = "new", reopened: int = 0, n: int = 1) -> dict[str, Any]:
    return {"n": n, "at": at, "v": v, "team": team, "owner": owner, "state": state, "reopened": reopened}


def told(made: list[dict[str, Any]]) -> list[str]:
    return [" ".join([event["fact"], *(event[field] for field in ("team", "owner") if field in event)]) for event in made]


HISTORY = [
    row("1/2/2026 9:00", 0),
    row("1/2/2026 9:00", 1, owner="Ann"),  # an owner of nobody knows which team
    row("1/2/2026 9:00", 2, "Blue"),
    row("1/2/2026 9:30", 3, "Blue", "Ann"),
    row("1/2/2026 9:31", 4, "?", "Ann"),
    row("1/2/2026 9:32", 5, "Blue", "?", "waiting"),
    row("1/2/2026 9:33", 6, "Red", "?"),
    row("1/2/2026 9:34", 7, "Red", "Ann", "waiting"),
    row("1/2/2026 9:35", 8, "Red", "Ann", "done"),
    row("1/2/2026 9:36", 9, "Red", "Ann", "new", 1),
    row("1/2/2026 9:37", 10, "Red", "Ann", "done", 1),
]


def test_an_update_log_tells_what_changed(tmp_path: Path) -> None:
    made = events_of(mapping_of(tmp_path, LOG), *HISTORY)
    assert told(made) == [
        "opened", "assigned Blue", "assigned Blue Ann", "awaiting_customer", "assigned Red", "customer_replied", "assigned Red Ann",
        "awaiting_customer", "resolved", "reopened", "resolved", "closed",
    ]  # fmt: skip
    assert [event["sequence"] for event in made] == [0, 2, 3, 5, 6, 6, 7, 7, 8, 9, 10, 10]
    assert made[2]["id"] == "case:1/3/assigned"
    assert made[2]["time"] == "2026-02-01T09:30:00Z"


@pytest.mark.parametrize("seed", range(10))
def test_an_update_log_may_come_shuffled_and_doubled(tmp_path: Path, seed: int) -> None:
    mapping = mapping_of(tmp_path, LOG)
    chance = random.Random(seed)
    other = [dict(state, n=2) for state in HISTORY]
    mixed = [*HISTORY, *other, *chance.sample(HISTORY, 5)]
    chance.shuffle(mixed)
    by_id = sorted(events_of(mapping, *HISTORY, *other), key=lambda event: str(event["id"]))
    assert sorted(events_of(mapping, *mixed), key=lambda event: str(event["id"])) == by_id
    assert len({event["id"] for event in by_id}) == len(by_id)


def test_the_sequence_may_go_before_the_time(tmp_path: Path) -> None:
    states = [row("1/2/2026 9:30", 1, "Blue"), row("1/2/2026 9:00", 2, "Red")]
    assert told(events_of(mapping_of(tmp_path, LOG), *states)) == ["opened", "assigned Red", "assigned Blue"]
    trusted = LOG.replace("sequence: v", "sequence: v, first: sequence")
    assert told(events_of(mapping_of(tmp_path, trusted), *states)) == ["opened", "assigned Blue", "assigned Red"]


def test_a_row_that_cannot_be_mapped_is_rejected_and_not_compared_with(tmp_path: Path) -> None:
    states = [
        row("1/2/2026 9:00", 0, "Blue"),
        row("?", 1, "Red"),
        row("1/2/2026 9:02", "x", "Red"),  # type: ignore[arg-type]
        row("1/2/2026 9:03", 3, "R" * 1001),
        row("1/2/2026 9:04", 4, "Blue", reopened="many"),  # type: ignore[arg-type]
        row("1/2/2026 9:05", 5, "Blue"),
    ]
    made = events_of(mapping_of(tmp_path, LOG), *states)
    assert told([event for event in made if "fact" in event]) == ["opened", "assigned Blue"]
    reasons = [event["reason"] for event in made if "reason" in event]
    assert reasons[:2] == ["order.time: is missing", "order.sequence: 'x' is not a whole number"]
    assert reasons[2].startswith("team: ")
    assert reasons[3] == "reopened: 'many' is not a whole number"


@pytest.mark.parametrize("text", [LOG, LOG.replace(", sequence: v", "")])
def test_rows_that_come_one_by_one_tell_the_same_but_for_the_last(tmp_path: Path, text: str) -> None:
    mapping = mapping_of(tmp_path, text)
    states = [dict(state, at=f"1/2/2026 9:{minute:02}") for minute, state in enumerate(HISTORY, 10)]
    whole = [event for event in events_of(mapping, *states) if event["fact"] != "closed"]
    made: list[Event] = []
    state: dict[str, Any] | None = None
    for one in states:
        for _ in range(2):  # a delivery may come twice
            events, state = mapping.map_change(json.loads(json.dumps(state)), json.dumps(one).encode())
            made += events
    assert [canonical(event) for event in made] == whole
    with pytest.raises(Unmapped, match="is from before the one that came last"):
        mapping.map_change(state, states[0])


def test_a_record_that_comes_alone_gives_the_same_ids_each_time(tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, RECORDS.replace('id: "{id}"\n', "", 1))
    record = {"type": "case.opened", "at": 0, "data": {"case": {"id": 7}}}
    [first] = mapping.map_record(record)
    assert mapping.map_record(json.dumps(record).encode()) == [first] == list(mapping.events([record]))
    with pytest.raises(Unmapped, match="time: is missing"):
        mapping.map_record({"type": "case.opened", "data": {"case": {"id": 7}}})
    with pytest.raises(Unmapped, match="not JSON"):
        mapping.map_record(b"{")
    with pytest.raises(Unmapped, match="score: must lie between"):
        mapping.map_record({"type": "case.rated", "at": 0, "data": {"case": {"id": 7}, "stars": 6}})
    with pytest.raises(BadConfig, match="use map_change"):
        mapping_of(tmp_path, LOG).map_record(HISTORY[0])


# -- wide tables, times ----------------------------------------------------------------------------------------------------

WIDE = """
source: wide
kind: wide_table
item: "request:{Case ID}"
zone: America/New_York
times: ["m/d/yyyy hh:MM:SS AM", m/d/yyyy]
always: {touchpoint: returns}
rules:
  - {fact: opened, time: "{Opened}"}
  - {fact: promised, time: "{Opened}", when: {Target: {exists: true}}, promise: resolution, due: "{Target}"}
  - {fact: resolved, time: "{Closed}"}
"""


def test_a_wide_table_has_a_fact_for_each_time(tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, WIDE)
    made = events_of(
        mapping,
        {"Case ID": "1", "Opened": "1/5/2015 12:25:23 AM", "Target": "07/01/2015 08:30:00 PM", "Closed": ""},
        {"Case ID": "2", "Opened": "1/5/2015", "Target": "", "Closed": "1/6/2015"},
    )
    assert [(event["id"], event["time"], event.get("due")) for event in made] == [
        ("request:1/opened", "2015-01-05T05:25:23Z", None),
        ("request:1/promised", "2015-01-05T05:25:23Z", "2015-07-02T00:30:00Z"),
        ("request:2/opened", "2015-01-05T05:00:00Z", None),
        ("request:2/resolved", "2015-01-06T05:00:00Z", None),
    ]


def test_days_are_added_on_the_wall_clock_and_hours_as_they_pass(tmp_path: Path) -> None:
    text = WIDE.replace('due: "{Target}"', 'due: {take: "{Target}", plus: PLUS}')
    record = {"Case ID": "1", "Opened": "3/7/2015", "Target": "3/7/2015", "Closed": ""}  # the clocks go forward on 8 March
    for plus, due in (("2d", "2015-03-09T04:00:00Z"), ("48h", "2015-03-09T05:00:00Z"), ("-1d", "2015-03-06T05:00:00Z")):
        made = events_of(mapping_of(tmp_path, text.replace("PLUS", plus)), record)
        assert made[1]["due"] == due


@pytest.mark.parametrize(
    ("form", "text", "time"),
    [
        ("d/m/yyyy H:MM", "29/2/2016 06:58", "2016-02-29T06:58:00Z"),
        ("yyyy-mm-ddTHH:MM:SS", "2016-02-29T06:58:01", "2016-02-29T06:58:01Z"),
        ("%Y%m%d %H%M%S.%f", "20160229 065801.25", "2016-02-29T06:58:01.250Z"),
        ("%d %b %Y", "29 Feb 2016", "2016-02-29T00:00:00Z"),
        ("dd.mm.yy", "29.02.16", "2016-02-29T00:00:00Z"),
        ("iso", "2016-02-29", "2016-02-29T00:00:00Z"),
        ("iso", "2016-02-29T06:58:01.218+02:00", "2016-02-29T04:58:01.218Z"),
        ("epoch_ms", "1456729081218", "2016-02-29T06:58:01.218Z"),
        ("epoch_s", "1456729081.218", "2016-02-29T06:58:01.218Z"),
    ],
)
def test_time_formats(tmp_path: Path, form: str, text: str, time: str) -> None:
    mapping = mapping_of(tmp_path, LOG.replace("times: [d/m/yyyy H:MM]", f"times: ['{form}']"))
    assert events_of(mapping, row(text, 0))[0]["time"] == time


def test_a_time_without_zone_needs_a_declared_one(tmp_path: Path) -> None:
    text = LOG.replace("zone: UTC\n", "").replace("times: [d/m/yyyy H:MM]\n", "")
    [found] = events_of(mapping_of(tmp_path, text), row("2016-02-29T06:58:00", 0))
    assert found["reason"] == "time: '2016-02-29T06:58:00' carries no zone, and the mapping declares none"


# -- wrong mapping files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_wrong_mapping_gets_its_sentence(path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        source_of(parse_yaml(path.read_bytes(), path.name))
    assert str(caught.value) == path.with_suffix(".txt").read_text().rstrip("\n")


def test_each_wrong_mapping_has_a_sentence() -> None:
    assert {path.stem for path in WRONG.glob("*.yaml")} == {path.stem for path in WRONG.glob("*.txt")} != set()


def test_a_column_that_the_file_lacks_is_told(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("Case ID,Opened,Target\n1,1/5/2015,\n")
    with pytest.raises(BadConfig, match=r"has no column Closed"):
        list(mapping_of(tmp_path, WIDE).events(read(table)))


# -- readers ---------------------------------------------------------------------------------------------------------------


def found_in(path: Path | str) -> list[tuple[int, Any]]:
    return [(one.line, one.reason if isinstance(one, Reject) else one.payload) for one in read(path)]


def test_lines_are_read_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\n\n  \r\n{"a":2}\r\n{"a":3}')
    assert found_in(path) == [(1, b'{"a":1}'), (4, b'{"a":2}\r'), (5, b'{"a":3}')]
    zipped = tmp_path / "in.jsonl.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert found_in(zipped) == found_in(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"a\n", b"ab"])
def test_tiny_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    assert [raw for _, raw in (line for line in lines(path) if not isinstance(line, Reject))] == content.split()


def test_standard_input_may_be_zipped(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b'{"a":1}\n', gzip.compress(b'{"a":1}\n')):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
        assert found_in("-") == [(1, b'{"a":1}')]


def test_lines_across_blocks_and_lines_too_long(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    made = [b"x" * size for size in (10, BLOCK_BYTES - 5, 3, MOST_BYTES, 7, MOST_BYTES + 1, 8, 4 * MOST_BYTES, 9)]
    path.write_bytes(b"\n".join(made))
    found = list(lines(path))
    assert [len(one[1]) if not isinstance(one, Reject) else one.line for one in found] == [
        10, BLOCK_BYTES - 5, 3, MOST_BYTES, 7, 6, 8, 8, 9,
    ]  # fmt: skip
    refused = [one for one in found if isinstance(one, Reject)]
    assert all(one.reason.startswith(f"is longer than {MOST_BYTES} bytes") for one in refused)
    assert all(len(one.payload) == KEPT_BYTES for one in refused)
    assert sum(len(block.lines) for block in blocks(path) if isinstance(block, Block)) == 7


def test_an_array_or_an_object(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text('[\n {"a": 1},\n {"a":\n 2}, {"a": 1}\n]')
    assert found_in(path) == [(2, b'{"a": 1}'), (3, b'{"a":\n 2}'), (4, b'{"a": 1}')]
    path.write_text('\n{"a": 1}')
    assert [line for line, _ in found_in(path)] == [2]
    path.write_text("[1, ")
    assert "not JSON" in found_in(path)[0][1]
    path.write_text(" ")
    assert found_in(path) == []


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(
        b'\xef\xbb\xbfa,b\r\n1,"x, y"\r\n\r\n2,"two\nlines"\r\n3\r\n4,5,6\r\n7,\xff\r\n8,"n\xc3\xa9"\r\n9,'
        + b"x" * MOST_BYTES
        + b"\n10,z"
    )
    assert found_in(path) == [
        (2, {"a": "1", "b": "x, y"}),
        (4, {"a": "2", "b": "two\nlines"}),
        (6, "has 1 fields, the header has 2"),
        (7, "has 3 fields, the header has 2"),
        (8, "not UTF-8: invalid start byte at byte 2 of the line"),
        (9, {"a": "8", "b": "né"}),
        (10, f"is longer than {MOST_BYTES} bytes (only the first {KEPT_BYTES} of {MOST_BYTES + 2} bytes are kept)"),
        (11, {"a": "10", "b": "z"}),
    ]
    refused = [one for one in read(path) if isinstance(one, Reject)]
    assert refused[1].payload == "4,5,6\r"
    assert (refused[2].payload, refused[2].encoding) == ("Nyz/DQ==", "base64")


def test_an_open_quote_costs_only_its_own_row(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    long = b"x" * (MOST_BYTES // 4)
    path.write_bytes(b'a,b\n1,"' + b"\n".join([long] * 5) + b"\n2,y\n")
    found = found_in(path)
    assert "a quote is not closed" in found[0][1]
    assert found[-1][1] == {"a": "2", "b": "y"}


def test_what_cannot_be_read_is_the_operators(tmp_path: Path) -> None:
    zipped = gzip.compress(b'{"a":1}\n' * 1000)
    wrong: dict[str, tuple[bytes | None, str]] = {
        "gone.jsonl": (None, "can't be read"),
        "in.txt": (b"", "the name must end in .jsonl, .json or .csv"),
        "cut.jsonl.gz": (zipped[:-20], "cut off or broken"),
        "bad.jsonl.gz": (zipped[:20] + b"\xff\xff" + zipped[22:], "cut off or broken"),
        "wide.csv": ("a,b\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        "twice.csv": (b"a,b,a\n1,2,3\n", "must name each column once; `a` does not"),
        "header.csv": (b"a,\xff\n", "the header is not UTF-8"),
    }
    for name, (content, reason) in wrong.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadConfig, match=reason.replace(".", r"\.")):
            list(read(path))


def test_a_reject_keeps_the_payload_whole_up_to_its_limit() -> None:
    assert reject("in", 1, "why", "é").row() == {"input": "in", "line": 1, "reason": "why", "payload": "é"}
    assert reject("in", 1, "why", b"\xff").row()["encoding"] == "base64"
    cut = reject("in", 1, "why", "é" * KEPT_BYTES)
    assert cut.encoding is None
    assert cut.payload == "é" * (KEPT_BYTES // 2)


def test_feed_reads_files_through_the_mapping(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("Case ID,Opened,Target,Closed\n1,1/5/2015,,\n2,never,,\n")
    two.write_text("Case ID,Opened,Target,Closed\n3,1/5/2015,,1/6/2015\n")
    events: list[Event] = []
    refused: list[dict[str, Any]] = []
    assert mapping_of(tmp_path, WIDE).feed([one, two], events.append, refused.append) == 3
    assert [(event.id, stamp(event.time)) for event in events] == [
        ("request:1/opened", "2015-01-05T05:00:00Z"),
        ("request:3/opened", "2015-01-05T05:00:00Z"),
        ("request:3/resolved", "2015-01-06T05:00:00Z"),
    ]
    assert [(row["input"], row["line"], row["payload"]) for row in refused] == [(str(one), 3, "2,never,,")]
