"""The mappings that come with Tribo: their examples, their pages, and what is measured from what they give."""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tribo.measure.standards import compile_standards
from tribo.run.measure import measure_events
from tribo.wire.catalogue import facts_of, table
from tribo.wire.examples import check_examples
from tribo.wire.mapping import PACKAGED, Mapping, packaged
from tribo.wire.readers import Record
from tribo.wire.rejects import Reject
from tribo_schemas.config import BadConfig, parse_yaml, read_yaml
from tribo_schemas.event import Event, canonical, decode_event, instant
from tribo_schemas.source import Change, Found, Mapped, Rule, SourceFile, Time, When, source_of

DOCS = Path(__file__).parents[1] / "docs" / "sources"


@cache
def loaded(name: str) -> Mapping:
    return Mapping.load(name)


@cache
def events_of(name: str) -> tuple[Event, ...]:
    """The events of all examples of a mapping."""
    made = [event for example in loaded(name).examples for event in loaded(name).events(dict(raw) for raw in example.raw)]
    return tuple(event for event in made if not isinstance(event, Reject))


@pytest.mark.parametrize("name", packaged())
def test_examples_give_what_they_say_and_use_every_rule(name: str) -> None:
    mapping = Mapping.load(name)
    mapping.watch()
    assert check_examples(mapping) == []
    assert mapping.unused() == []


@pytest.mark.parametrize("name", packaged())
def test_each_source_has_its_page(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text()
    for part in ("## Connect", "## What it gives", "## What it can't see"):
        assert part in page
    given = "every fact" if name == "cloudevents" else None
    missing = [fact for fact in facts_of(loaded(name).file) if f"`{fact}`" not in page]
    assert not missing or (given is not None and given in page.lower())


def test_the_table_of_facts_is_what_the_mappings_give() -> None:
    assert (DOCS / "README.md").read_text().endswith("\n\n" + table())
    assert sorted(page.stem for page in DOCS.glob("*.md")) == sorted([*packaged(), "README"])


def test_the_mapping_language_is_written_down() -> None:
    page = (DOCS.parent / "mappings.md").read_text()
    document = parse_yaml(page.partition("```yaml\n")[2].partition("```")[0].encode(), "mappings.yaml")
    assert check_examples(Mapping(source_of(document), "mappings", document)) == []
    fields = [(model, info.alias or name) for model in (SourceFile, Rule, Mapped, When, Found, Time, Change) for name, info in model.model_fields.items()]
    events = (DOCS.parent / "events.md").read_text()
    missing = [f"{model.__name__}.{name}" for model, name in fields if not re.search(rf"\b{name}\b", page + events)]
    assert missing == []


@pytest.mark.parametrize("name", packaged())
def test_what_comes_twice_has_the_same_ids(name: str) -> None:
    mapping = loaded(name)
    if mapping.file.kind == "update_log":
        return
    raws = [raw for example in mapping.examples if not example.rejects for raw in example.raw]
    once = [event.id for raw in raws for event in mapping.map_record(raw)]
    assert once == [event.id for raw in raws for event in mapping.map_record(raw)]
    assert len(set(once)) == len({event.id for raw in [dict(raw) for raw in raws] for event in mapping.map_record(raw)})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, part in inner for leaf in leaves(part, (*path, key)))]


ODD = (
    None, True, 0, -1, 2**63, 1.5, 1e300, "", " ", "x", "\x00", "?", "a" * 1001, "2026-13-45", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
    [], {}, [[]], [{}], {"id": {}}, [None] * 1001, "{", "\ud800", "1e999", "nan", "-0",
)  # fmt: skip


@pytest.mark.parametrize("name", packaged())
def test_a_record_with_anything_odd_in_it_is_mapped_or_refused_with_a_reason(name: str) -> None:
    mapping = loaded(name)
    chance = random.Random(name)
    raws = [raw for example in mapping.examples for raw in example.raw]
    for _ in range(400):
        raw = json.loads(json.dumps(chance.choice(raws)))
        for _ in range(chance.choice((1, 1, 2))):
            *steps, last = chance.choice(leaves(raw)[1:])
            here = raw
            for step in steps:
                here = here[step]
            here[last] = deepcopy(chance.choice(ODD))
        for made in mapping.events([Record("in", 1, json.dumps(raw, ensure_ascii=False).encode("utf-8", "surrogatepass"))]):
            assert isinstance(made, Reject) or canonical(decode_event(json.dumps(canonical(made)))) == canonical(made)


SLIPS = (
    None, True, 7, -1.5, "", "{", "}", "{}", "{a", "{*}", "{a|b}", "{each.a}", "{outer.a}", "a..b", "first", "opened", "iso", "%d", "UTC", "x" * 301, [], {}, [[]], ["a"],
    {"take": "{a}"}, {"take": "{a}", "map": "m"}, {"exists": "x"}, {"above": "x"}, {"in": []}, {"changed": ["a"]}, {"among": "a", "by": "b", "equals": "{c}"}, "a[", "@",
)  # fmt: skip


@pytest.mark.parametrize("name", packaged())
def test_a_mapping_with_any_slip_in_it_is_refused_with_a_line_or_runs(name: str) -> None:
    text = json.loads(json.dumps(read_yaml(PACKAGED / f"{name}.yaml").root))
    raws = [raw for example in loaded(name).examples for raw in example.raw]
    chance = random.Random(name)
    head = {key: value for key, value in text.items() if key != "examples"}
    for _ in range(15):
        slipped = deepcopy(head)
        *steps, last = chance.choice(leaves(slipped)[1:])
        here: Any = slipped
        for step in steps:
            here = here[step]
        if isinstance(last, str) and chance.random() < 0.2:
            here[chance.choice(("whem", "a.b", "fact", "take"))] = here.pop(last)
        else:
            here[last] = deepcopy(chance.choice(SLIPS))
        try:
            mapping = Mapping(source_of(parse_yaml(json.dumps(slipped).encode(), "slip.yaml")), "slip")
        except BadConfig as error:
            assert all(re.match(r"slip\.yaml:\d+: ", line) for line in str(error).splitlines()), error
        else:
            assert all(isinstance(made, Event | Reject) for made in mapping.events(deepcopy(raws)))


def measured(name: str, until: str) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The rows by their item, and the findings, of a pack's examples."""
    rows, findings, _ = measure_events(events_of(name), compile_standards(None), instant(until))
    return {item: row.row() for row in rows for item in row.items}, [finding.row() for finding in findings]


def test_shopify_a_delivery_that_was_moved_in_time_and_a_return() -> None:
    rows, findings = measured("shopify", "2026-03-20T00:00:00Z")
    order = rows["order:101"]
    assert sorted(order["items"]) == ["order:101", "return:3101"]
    assert order["promises"]["kept_as_moved"] == order["promises"]["made"] == order["promises"]["moved"] == 1
    assert order["waits"]["resolution"]["longest_customer_seconds"] == 4 * 86_400 - 3_595  # of the return
    assert not [row for row in findings if row["kind"] == "promise_broken"]


def test_zendesk_audits_a_handoff_a_reopening_and_a_rating() -> None:
    rows, findings = measured("zendesk_audits", "2026-03-10T00:00:00Z")
    ticket = rows["ticket:47"]
    assert (ticket["customer"], ticket["handoffs"], ticket["team_handoffs"], ticket["reopened"], ticket["rating"]) == ("9001", 1, 1, 1, 0.0)
    assert ticket["waits"]["first_response"]["longest_customer_seconds"] == 3_600
    assert {"handoff", "reopened"} <= {row["kind"] for row in findings}


def test_zendesk_webhooks_one_action_of_two_events_is_one_handoff() -> None:
    rows, _ = measured("zendesk", "2026-03-10T00:00:00Z")
    assert rows["ticket:5158"]["handoffs"] == 1
    assert rows["ticket:5158"]["waits"]["first_response"]["longest_customer_seconds"] == 3_599.782


def test_twilio_queue_transfer_and_hanging_up() -> None:
    rows, findings = measured("twilio", "2026-03-02T10:00:00Z")
    call = rows["task:WT0001"]
    assert (call["customer"], call["team_handoffs"], call["waits"]["queue"]["longest_customer_seconds"]) == ("c7", 1, 34)
    assert rows["task:WT0002"]["abandoned"] == 1
    assert [row["item"] for row in findings if row["kind"] == "abandoned"] == ["task:WT0002"]


def test_ocel2_goods_and_package_are_of_the_orders_journey() -> None:
    rows, _ = measured("ocel2", "2026-04-30T00:00:00Z")
    order = rows["order:o-990001"]
    assert sorted(order["items"]) == ["goods:i-880001", "goods:i-880002", "order:o-990001", "package:p-660001", "payment:o-990001"]
    assert (order["customer"], order["touchpoints"]) == ("Co. One", ("billing", "purchase"))


def test_stripe_a_dispute_is_a_complaint_and_test_mode_is_synthetic() -> None:
    rows, findings = measured("stripe", "2026-03-10T00:00:00Z")
    assert rows["invoice:in_A1"]["touchpoints"] == ("billing",)
    assert rows["dispute:du_1"]["synthetic"] is True
    assert [row["item"] for row in findings if row["kind"] == "complaint"] == ["dispute:du_1"]


def test_tables_of_orders_and_calls() -> None:
    rows, findings = measured("olist_orders", "2018-09-01T00:00:00Z")
    delivered, cancelled = (rows[f"order:{name}"] for name in ("o1", "o2"))
    assert (delivered["promises"]["kept"], delivered["promises"]["early"]) == (1, 1)
    assert cancelled["promises"]["broken"] == 1
    assert [row["at"] for row in findings if row["kind"] == "promise_broken"] == ["2018-08-15T03:00:00Z"]
    calls, _ = measured("call_centre", "1999-08-01T00:00:00Z")
    queues = {item.split("-")[0]: row["waits"]["queue"]["longest_customer_seconds"] for item, row in calls.items() if "queue" in row["waits"]}
    assert queues == {"call:AA0101": 60, "call:AA0102": 170}
    assert sum(row["abandoned"] for row in calls.values()) == 2
