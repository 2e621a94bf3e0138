"""The invented company: the same for a seed, in order, and with every kind of finding."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import tribo.run.company as the_company
from tribo.measure.standards import compile_standards
from tribo.run.company import company
from tribo.run.measure import measure_events
from tribo_schemas.event import event_of, instant
from tribo_schemas.finding import KINDS
from tribo_schemas.standard import load_standards

START = instant("2026-03-02T00:00:00Z")


def test_a_seed_gives_the_same_company_in_order_of_time() -> None:
    one, other = (list(islice(company(7, START), 3000)) for _ in range(2))
    assert one == other
    assert one != list(islice(company(8, START), 3000))
    times = [instant(event["time"]) for event in one]
    assert times == sorted(times)
    assert len({(event["source"], event["id"]) for event in one}) == len(one)


def test_every_kind_of_finding_occurs() -> None:
    standards = compile_standards(load_standards(Path(the_company.__file__).with_name("demo_standards.yaml")))
    events = [event_of(event) for event in islice(company(7, START), 20_000)]
    _, findings, _ = measure_events(events, standards, None)
    assert set(KINDS) - {finding.kind for finding in findings} == {"promise_unknown"}  # no source is silent in a complete input
