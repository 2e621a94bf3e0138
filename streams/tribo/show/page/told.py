"""A journey's findings as the page tells them: the sentence, the points, the events behind it, and what took a finding back."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tribo.ledger.reader import Told
from tribo.ledger.search import Journey
from tribo.measure.journeys import LINKS, effective
from tribo.show.page.picture import finishes, reference
from tribo.show.words import last_revisions, sentence
from tribo_schemas.event import Event
from tribo_schemas.finding import CARE, FRICTION, Finding

OF_PROMISES = frozenset(("kept", "released", "informed", "promised", "resolved", "escalated"))
OF_WAITS = frozenset(("answered", "resolved", "closed", "abandoned", "released", "escalated", "awaiting_customer"))


class Shown(msgspec.Struct):
    """One finding. `side` is friction, care or watch; `corrected` says what took it back, and `by` that event's number."""

    finding: Finding
    says: str
    side: str
    standing: bool
    revision: int
    historical: bool
    evidence: list[tuple[str, int | None]]
    corrected: str
    by: int | None
    found_at: int


class Line(msgspec.Struct):
    """One event in the journey's list; `holds` is false for what was taken back, and for the word that took it back."""

    number: int
    event: Event
    holds: bool


def lines_of(journey: Journey) -> list[Line]:
    """The events in order, numbered from 1."""
    holding = {reference(event) for event in effective(journey.events)}
    return [Line(number, event, reference(event) in holding) for number, event in enumerate(journey.events, 1)]


def shown(journey: Journey, lines: Sequence[Line]) -> list[Shown]:
    """The findings, each as its latest revision stands, in order of time."""
    numbers = {reference(line.event): line.number for line in lines}
    last = last_revisions(journey.findings)
    found = []
    for told in journey.findings:
        finding = told.finding
        if told.revision != last[finding.id]:
            continue
        standing = told.status == "found"
        corrected, by = ("", None) if standing else correction(told, journey, lines)
        found.append(
            Shown(
                finding=finding,
                says=sentence(finding),
                side="friction" if finding.kind in FRICTION else "care" if finding.kind in CARE else "watch",
                standing=standing,
                revision=told.revision,
                historical=told.historical,
                evidence=[(name, numbers.get(name)) for name in finding.evidence],
                corrected=corrected,
                by=by,
                found_at=told.found_at,
            )
        )
    return found


def correction(told: Told, journey: Journey, lines: Sequence[Line]) -> tuple[str, int | None]:
    """What took a finding back, in words, and the event that did if it can be told.

    A retraction of its evidence goes first; a promise at risk ends with the promise's fate; otherwise it is an event that arrived after
    the evidence and tells of the time before the finding, or of links."""
    finding = told.finding
    evidence = set(finding.evidence)
    for line in lines:
        event = line.event
        if event.fact == "retracted" and f"{event.source}/{event.retracts}" in evidence:
            return "what it rests on was taken back", line.number
    if finding.kind in ("promise_at_risk", "promise_unknown"):
        return _fate(finding, journey, lines)
    heard = max((journey.arrived.get(name, 0) for name in evidence), default=0)
    late = [line for line in lines if journey.arrived[reference(line.event)] > heard and line.holds]
    late.sort(key=lambda line: journey.arrived[reference(line.event)])
    for line in late:
        event = line.event
        if event.item == finding.item and event.time <= finding.at and _speaks_to(event, finding):
            return "an event that came later tells otherwise", line.number
    for line in late:
        if line.event.fact in LINKS or line.event.about:
            return "what belongs together was learnt later", line.number
    return "what came later tells otherwise", None


def _fate(finding: Finding, journey: Journey, lines: Sequence[Line]) -> tuple[str, int | None]:
    promise = next((one for one in journey.promises.get(finding.item, ()) if one.id == finding.promise), None)
    state = promise.state.replace("_", " ") if promise is not None else "over"
    for line in lines:
        event = line.event
        if event.item == finding.item and event.time >= finding.at and line.holds:
            if event.promise == finding.promise or finishes(event) or (promise is not None and event.fact == promise.kept_by):
                return f"the promise is {state}", line.number
    return f"the promise is {state}", None


def _speaks_to(event: Event, finding: Finding) -> bool:
    if finding.promise is not None:
        return event.promise in (finding.promise, None) and event.fact in OF_PROMISES
    if finding.kind == "standard_missed":
        return event.fact in OF_WAITS
    return True
