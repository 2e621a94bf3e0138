"""Service levels of queues, by hand: six calls, T = 20 s."""

from __future__ import annotations

from tribo.measure.queues import queue_service
from tribo.measure.standards import compile_standards
from tribo.run.measure import measure_events
from tribo_schemas.event import Event

BEGIN = 1_772_409_600_000


def call(number: int, waited_seconds: float, ending: str) -> list[Event]:
    item = f"call:{number}"
    at = BEGIN + number * 3_600_000
    ends = at + round(waited_seconds * 1000)
    return [
        Event(id=f"{number}-{place}", source="phones", time=time, touchpoint="service", fact=fact, item=item)
        for place, (time, fact) in enumerate(((at, "opened"), (at, "queued"), (ends, ending)))
    ]


def test_a_service_level_leaves_out_who_gave_up_at_once() -> None:
    waits = ((20, "answered"), (20.001, "answered"), (3, "answered"), (5, "abandoned"), (70, "abandoned"), (10, "closed"))
    events = [event for number, (seconds, ending) in enumerate(waits, 1) for event in call(number, seconds, ending)]
    _, _, tally = measure_events(events, compile_standards(None), None)
    served = queue_service(tally, "service")
    assert served == (6, 2, 2, 1)
    assert (served.service_level, served.abandon_rate) == (2 / 5, 2 / 6)
    assert queue_service(tally, "returns").service_level is None
