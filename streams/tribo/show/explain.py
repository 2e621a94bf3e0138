"""`tribo explain ITEM`: a journey as a story, each finding with its points and the events behind it."""

from __future__ import annotations

from tribo.ledger.reader import Reader, Story, Told
from tribo.pseudonym import key_of_environment, pseudonym
from tribo.show.words import last_revisions, span
from tribo_schemas.event import Event, stamp

BESIDE = ("team", "owner", "by", "channel", "topic", "promise", "about", "retracts", "standard", "score", "scale")


def explain(reader: Reader, item: str) -> list[str]:
    """The story of the journey that `item` belongs to, a line each; empty if nobody knows the item."""
    story = reader.journey(item)
    return [] if story is None else lines(story, key_of_environment())


def lines(story: Story, key: bytes | None) -> list[str]:
    """The story's lines in the order in which things happened. `key` makes the customer's pseudonym; None shows them as they are."""
    row = story.row
    customer = "nobody knows whose" if row.customer is None else row.customer if key is None else pseudonym(row.customer, key)
    told = [
        f"journey {row.journey} ({row.status}) of {customer}: {len(row.items)} items, {row.events} events, "
        f"friction {row.friction}, delight {row.delight}",
    ]
    happened: list[tuple[int, int, str, list[str]]] = [(event.time, 0, event.id, [_event(event)]) for event in story.events]
    last = last_revisions(story.findings)
    for one in story.findings:
        if one.revision == last[one.finding.id]:
            happened.append((one.finding.at, 1, one.finding.id, _finding(one)))
    for _, _, _, some in sorted(happened, key=lambda entry: entry[:3]):
        told += some
    if row.waiting:
        told.append(f"still waiting: {', '.join(row.waiting)}")
    return told


def _event(event: Event) -> str:
    beside = []
    for name in BESIDE:
        value = getattr(event, name)
        if value is not None:
            beside.append(f"{name} {' '.join(value) if isinstance(value, tuple) else value}")
    if event.due is not None:
        beside.append(f"due {stamp(event.due)}")
    more = f" ({', '.join(beside)})" if beside else ""
    return f"{stamp(event.time)}  {event.item}  {event.fact}{more}  [{event.source}/{event.id}]"


def _finding(told: Told) -> list[str]:
    finding = told.finding
    points = f", {finding.points} points" if finding.points else ""
    revised = f", revision {told.revision}" if told.revision > 1 else ""
    historical = ", historical" if told.historical else ""
    mark = "->" if told.status == "found" else "--"
    said = {
        "from": _holder(finding.from_team, finding.from_owner),
        "to" if finding.kind == "handoff" else "held by": _holder(finding.team, finding.owner),
        "standard": finding.standard,
        "promise": finding.promise,
        "clock": finding.clock,
        "expected": span(finding.expected_ms),
        "took": span(finding.business_ms),
        "the customer waited": span(finding.customer_ms),
    }
    words = [f"{label} {value}" for label, value in said.items() if value]
    more = f": {', '.join(words)}" if words else ""
    state = "" if told.status == "found" else f" (withdrawn {stamp(told.found_at)})"
    return [
        f"{stamp(finding.at)}  {finding.item}  {mark} {finding.kind}{points}{revised}{historical}{state}{more}",
        f"{'':22}because of {', '.join(finding.evidence)}",
    ]


def _holder(team: str | None, owner: str | None) -> str:
    return "/".join(part for part in (team, owner) if part)
