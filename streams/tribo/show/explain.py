"""`tribo explain ITEM`: a journey as a story, each finding with its points and the events behind it."""

from __future__ import annotations

from collections.abc import Collection

from tribo.ledger.reader import Reader, Story, Told
from tribo.pseudonym import Names, key_of_environment
from tribo.show.words import last_revisions, span
from tribo_schemas.event import Event, stamp

BESIDE = ("team", "owner", "by", "channel", "topic", "promise", "about", "retracts", "standard", "score", "scale")


def explain(reader: Reader, item: str, personal: Collection[str] = ()) -> list[str]:
    """The story of the journey that `item` belongs to, a line each; empty if nobody knows the item.

    Items of the kinds that are `personal` are shown as pseudonyms."""
    story = reader.journey(item)
    if story is None:
        return []
    names = Names(key_of_environment(), personal)
    return [names.text(line, story.row.items) for line in lines(story, names)]


def lines(story: Story, names: Names) -> list[str]:
    """The story's lines in the order in which things happened, the customer as `names` says."""
    row = story.row
    customer = names.customer(row.customer) or "nobody knows whose"
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
