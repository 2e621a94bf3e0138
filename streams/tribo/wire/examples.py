"""The examples that a mapping carries: raw records in, and exactly the events that must come out."""

from __future__ import annotations

import json

from tribo.wire.mapping import Mapping
from tribo.wire.rejects import Reject
from tribo_schemas.event import canonical


def check_examples(mapping: Mapping) -> list[str]:
    """What is wrong with the mapping's examples: empty when each gives exactly its events and rejects.

    An expected event states each field that the event carries; `id`, `source` and `by` may be left out. A line begins with `file:line:`.
    """
    wrong: list[str] = []
    if not mapping.examples:
        wrong.append(f"{mapping.line(('source',)) or mapping.name}: examples: there are none: add one, raw in and events out")
    for number, example in enumerate(mapping.examples):
        told = f"examples[{number}]" + (f" ({example.says})" if example.says else "")
        where = f"{mapping.line(('examples', number)) or mapping.name}: {told}"
        made = list(mapping.events(dict(record) for record in example.raw))
        events = [canonical(event) for event in made if not isinstance(event, Reject)]
        reasons = [event.reason for event in made if isinstance(event, Reject)]
        if len(events) != len(example.events):
            wrong.append(f"{where}: {len(example.events)} events expected, {len(events)} came: {json.dumps(events)}")
        for place, (event, expected) in enumerate(zip(events, example.events, strict=False)):
            line = mapping.line(("examples", number, "events", place)) or mapping.name
            for field in sorted(event.keys() | expected.keys()):
                if field in ("id", "source", "by") and field not in expected:
                    continue
                if event.get(field) != expected.get(field):
                    wrong.append(f"{line}: {told}: event {place + 1}: {field}: {expected.get(field)!r} expected, {event.get(field)!r} came")
        if len(reasons) != len(example.rejects):
            wrong.append(f"{where}: {len(example.rejects)} rejects expected, {len(reasons)} came: {json.dumps(reasons)}")
        for reason, part in zip(reasons, example.rejects, strict=False):
            if part not in reason:
                wrong.append(f"{where}: reject: {part!r} expected, {reason!r} came")
    return wrong
