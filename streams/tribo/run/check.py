"""`tribo check`: a whole configuration before it is used, and a mapping on real records before it is trusted.

Three kinds of things are told: what is bad (it would not start), what is wrong (an example doesn't hold, a record is rejected), and
hints (it starts, and something that people want will not be measured).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tribo.measure.standards import compile_standards
from tribo.run.settings import Settings, load_settings
from tribo.run.sources import Senders
from tribo.wire.catalogue import facts_of
from tribo.wire.examples import check_examples
from tribo.wire.mapping import Mapping, brought_by, packaged
from tribo.wire.readers import Record, read
from tribo.wire.rejects import Reject
from tribo_schemas.config import BadConfig
from tribo_schemas.event import FACTS, Event, stamp
from tribo_schemas.source import Mapped
from tribo_schemas.standard import CalendarEntry, StandardsFile, load_standards

MOST_SHOWN = 8
GUEST_ITEMS = 1_000
DAY_MS = 86_400_000

# -- a configuration -----------------------------------------------------------------------------------------------------------


class Checked(msgspec.Struct):
    """What was looked at, and what was found."""

    looked_at: list[tuple[str, str]] = []
    """What, and what is in it."""
    bad: list[str] = []
    wrong: list[str] = []
    hints: list[str] = []

    @property
    def status(self) -> int:
        """The exit status: 2 it would not start, 1 something is wrong, 0 all is well."""
        return 2 if self.bad else 1 if self.wrong else 0


def check_configuration(settings: Path | None, standards: Path | None, sources: list[str]) -> Checked:
    """Look at settings (a file, and TRIBO_* in the environment), standards, calendars, mappings and their examples.

    Without any source, those that the settings name; where they name none, those that come with Tribo.
    """
    found = Checked()
    told = Settings()
    try:
        told = load_settings(settings)
        found.looked_at.append((str(settings or "settings"), "settings, and TRIBO_* in the environment"))
    except BadConfig as error:
        found.bad += str(error).split("\n")
    for name, source in told.sources.items():
        try:
            Senders({name: source})
        except BadConfig as error:
            found.bad += str(error).split("\n")
    names = sources or list(dict.fromkeys(told.mappings())) or packaged()
    mappings = [mapping for name in names if (mapping := _mapping(name, found)) is not None]
    path = standards or told.standards
    if path is not None:
        _standards(path, mappings if sources or told.mappings() else [], found)
    for promise, brought in brought_by(mappings).items():
        found.hints.append(f"the promise `{promise}` waits on {', '.join(brought)}, too")
    found.bad = list(dict.fromkeys(found.bad))  # a mapping may be named more than once
    for follow in told.follow:
        if not follow.path.exists():
            found.hints.append(f"follow: {follow.path} isn't there yet")
    return found


def _mapping(name: str, found: Checked) -> Mapping | None:
    try:
        mapping = Mapping.load(name)
    except BadConfig as error:
        found.bad += str(error).split("\n")
        return None
    mapping.watch()
    found.wrong += check_examples(mapping)
    for place, text in mapping.unused() if mapping.examples else []:
        found.hints.append(f"{mapping.line(place) or name}: no example uses it: {text}")
    facts = facts_of(mapping.file)
    found.looked_at.append((name, f"source {mapping.source}: {len(mapping.examples)} examples, {len(facts)} facts"))
    return mapping


def _standards(path: Path, mappings: list[Mapping], found: Checked) -> None:
    try:
        file = load_standards(path)
        compiled = compile_standards(file)
    except BadConfig as error:
        found.bad += str(error).split("\n")
        return
    found.looked_at.append((str(path), f"{len(compiled.names)} standards, {len(file.calendars)} calendars"))
    found.hints += [f"{path}: {hint}" for hint in (*_of_calendars(file), *_of_promises(file, mappings))]


def _of_calendars(file: StandardsFile) -> Iterator[str]:
    used = {entry.calendar for entry in file.standards} | {file.calendar}
    for name, versions in file.calendars.items():
        if name not in used:
            yield f"calendars.{name}: no standard uses it"
        entries = versions if isinstance(versions, list) else [versions]
        yield from _of_holidays(name, entries[-1])


def _of_holidays(name: str, entry: CalendarEntry) -> Iterator[str]:
    if not any(entry.week()):
        yield f"calendars.{name}: is never open"
    if entry.holidays and max(entry.holidays) < datetime.now(UTC).date():
        yield f"calendars.{name}.holidays: the last one is past ({max(entry.holidays)}): add those to come"
    closed = [day for day in entry.holidays if not entry.week()[date.weekday(day)]]
    if closed:
        yield f"calendars.{name}.holidays: {closed[0]} is a day on which nobody works anyway"


def _of_promises(file: StandardsFile, mappings: list[Mapping]) -> Iterator[str]:
    """Standards that speak of what no mapping tells."""
    if not mappings or any(mapping.file.kind == "records" and set(facts_of(mapping.file)) == set(FACTS) for mapping in mappings):
        return
    made = {text for mapping in mappings for text in _promises(mapping)}
    facts = {fact for mapping in mappings for fact in facts_of(mapping.file)}
    for entry in file.standards:
        if isinstance(entry.promise, str) and entry.promise != "any" and not any(_could_be(text, entry.promise) for text in made):
            yield f"standards: {entry.name}: no mapping makes a promise `{entry.promise}`"
        if entry.promise is not None and not isinstance(entry.promise, str):
            for field, fact in (("made_by", entry.promise.made_by), ("kept_by", entry.promise.kept_by)):
                if fact not in facts:
                    yield f"standards: {entry.name}: promise.{field}: no mapping gives `{fact}`"
        for fact in _STOPS.get(entry.clock or "", ()):
            if fact not in facts:
                yield f"standards: {entry.name}: no mapping gives `{fact}`, which the clock {entry.clock} needs"


_STOPS = {
    "queue": ("queued",), "hold": ("put_on_hold", "resumed"), "first_response": ("opened", "answered"),
    "next_response": ("customer_replied", "answered"), "resolution": ("opened", "resolved"), "total_resolution": ("opened", "resolved"),
    "authority": ("authority_asked", "escalated"),
}  # fmt: skip


def _promises(mapping: Mapping) -> Iterator[str]:
    for fields in (mapping.file.always, *mapping.file.rules):
        for text in fields.promise if isinstance(fields.promise, list) else [fields.promise]:
            yield from ([text.take] if isinstance(text, Mapped) else [text] if text is not None else [])


def _could_be(template: str, promise: str) -> bool:
    before, opened, rest = template.partition("{")
    return template == promise or (bool(opened) and promise.startswith(before) and promise.endswith(rest.rpartition("}")[2]))


def show_checked(found: Checked, console: Console) -> None:
    """Print what was looked at and what was found."""
    table = Table(box=None, pad_edge=False)
    table.add_column("checked")
    table.add_column("holds")
    for what, holds in found.looked_at:
        table.add_row(escape(what), escape(holds))
    if found.looked_at:
        console.print(table)
    for title, lines in (("would not start", found.bad), ("wrong", found.wrong), ("hints", found.hints)):
        if lines:
            console.print(f"\n{title}:")
            for line in lines:
                console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print("\nall is well" if not found.bad and not found.wrong else f"\n{len(found.bad) + len(found.wrong)} to mend")


# -- a mapping on real records -----------------------------------------------------------------------------------------------------


class Seen(msgspec.Struct):
    """What became of an item's events, as far as a dry run asks."""

    facts: set[str]
    touchpoint: str
    customer: str | None = None
    made: set[str] = msgspec.field(default_factory=set)
    kept: set[str] = msgspec.field(default_factory=set)


class DryRun(msgspec.Struct):
    """What a mapping makes of records."""

    records: int = 0
    gave: int = 0
    facts: Counter[str] = msgspec.field(default_factory=Counter)
    items: dict[str, Seen] = msgspec.field(default_factory=dict)
    customers: Counter[str] = msgspec.field(default_factory=Counter)
    nothing: Counter[str] = msgspec.field(default_factory=Counter)
    """Records that gave nothing, by why."""
    rejects: dict[tuple[str, str], Reject] = msgspec.field(default_factory=dict)
    """By (the mapping's line, the reason without what stood in the record): the first."""
    rejected: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    holders: int = 0
    at_midnight: int = 0
    first: int | None = None
    last: int | None = None
    unused: list[str] = msgspec.field(default_factory=list)

    def take(self, event: Event) -> None:
        """Count an event."""
        self.facts[event.fact] += 1
        seen = self.items.get(event.item)
        if seen is None:
            seen = self.items[event.item] = Seen(set(), event.touchpoint)
        seen.facts.add(event.fact)
        if event.customer is not None:
            seen.customer = event.customer
        if event.promise is not None and event.fact in ("promised", "kept"):
            (seen.made if event.fact == "promised" else seen.kept).add(event.promise)
        self.holders += event.fact == "assigned" and (event.team is not None or event.owner is not None)
        self.at_midnight += event.time % 3_600_000 == 0
        self.first = event.time if self.first is None else min(self.first, event.time)
        self.last = event.time if self.last is None else max(self.last, event.time)

    def refuse(self, made: Reject) -> None:
        """Count a reject."""
        key = (made.mapping or "", re.sub(r"'[^']{0,200}'", "'…'", made.reason)[:200])
        self.rejected[key] += 1
        self.rejects.setdefault(key, made)


def dry_run(mapping: Mapping, inputs: list[str]) -> DryRun:
    """Run records through a mapping, and keep nothing. Raises BadConfig: what can't be read; a CSV without a column that it names."""
    found = DryRun()

    def counted() -> Iterator[Record | Reject]:
        for path in inputs:
            for record in read(path, mapping.form):
                found.records += 1
                yield record

    mapping.watch()
    for record, made in mapping.told(counted()):
        if isinstance(made, Reject):
            found.refuse(made)
        elif made:
            found.gave += 1
            for event in made:
                found.take(event)
        else:
            found.nothing[mapping.why_nothing(record)] += 1
    found.customers.update(seen.customer for seen in found.items.values() if seen.customer is not None)
    found.unused = [f"{mapping.line(place) or mapping.name}: {text}" for place, text in mapping.unused()]
    return found


def missing(found: DryRun) -> list[str]:
    """What seems to be missing, and what therefore can't be measured."""
    lines = [*_of_facts(found), *_of_kept(found), *_of_people(found)]
    events = sum(found.facts.values())
    if events and found.at_midnight == events:
        lines.append("all times are whole hours: if the records hold dates only, waits are of whole days")
    now = int(datetime.now(UTC).timestamp() * 1000)
    if found.last is not None and found.last > now + 300_000:
        lines.append(f"the last event is of {stamp(found.last)}, yet to come: a running Tribo rejects such events (is it the zone?)")
    return lines


_PAIRS = (
    ("opened", ("resolved", "closed", "abandoned", "released"), "they stay open for ever, and no resolution wait is measured"),
    ("queued", ("answered", "abandoned"), "no queue wait ends"),
    ("put_on_hold", ("resumed",), "holds end only with the item"),
    ("authority_asked", ("escalated",), "nobody ever reaches somebody in authority"),
    ("resolved", ("opened",), "no resolution wait is measured, as nobody knows since when"),
    ("customer_replied", ("answered",), "no response wait is measured"),
)


def _of_facts(found: DryRun) -> Iterator[str]:
    """Facts that come without what belongs to them."""
    total = Counter(fact for seen in found.items.values() for fact in seen.facts)
    for fact, others, why in _PAIRS:
        having = [seen for seen in found.items.values() if fact in seen.facts]
        lacking = [seen for seen in having if not seen.facts & set(others)]
        words = " or ".join(f"`{other}`" for other in others)
        if having and len(lacking) == len(having):
            yield f"`{fact}` on {len(having)} items, and never {words}: {why}"
        elif lacking:
            yield f"{len(lacking)} of {len(having)} items with `{fact}` have no {words}"
    served = [seen for seen in found.items.values() if "opened" in seen.facts and seen.touchpoint in ("service", "returns")]
    if served and not any("answered" in seen.facts for seen in served):
        yield f"{len(served)} service or returns items are `opened` and never `answered`: no first-response wait is measured"
    if total and not total["opened"] and not total["resolved"]:
        yield "nothing is ever `opened`: clocks that start with it don't run"


def _of_kept(found: DryRun) -> Iterator[str]:
    """Promises that nothing keeps, and keeping without a promise."""
    made: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for seen in found.items.values():
        done = {"resolution"} if "resolved" in seen.facts else set()
        made.update(_family(promise) for promise in seen.made)
        kept.update(_family(promise) for promise in seen.made & (seen.kept | done))
        for promise in seen.kept - seen.made:
            kept[f"{_family(promise)}|alone"] += 1
    for promise, count in made.most_common(MOST_SHOWN):
        if not kept[promise]:
            yield f"the promise `{promise}` is made {count} times, and never kept: each will break (unless another source brings it)"
    for name, count in kept.items():
        promise, alone, _ = name.partition("|")
        if alone:
            yield f"the promise `{promise}` is kept {count} times without being made here: only if another source makes it does this count"


def _family(promise: str) -> str:
    """A promise's id without the numbers in it: delivery-17 and delivery-18 are made alike."""
    return re.sub(r"[0-9a-f]{8,}|\d+", "…", promise)


def _of_people(found: DryRun) -> Iterator[str]:
    """Whose the items are, and who has them."""
    if not found.items:
        yield "there is no event at all"
        return
    nobodys = sum(seen.customer is None for seen in found.items.values())
    if nobodys == len(found.items):
        yield "no item has a customer: repeat contacts and purchases can't be told (unless another source knows them, through `about`)"
    elif nobodys:
        yield f"{nobodys} of {len(found.items)} items have no customer (here)"
    if found.facts["assigned"] and not found.holders:
        yield "`assigned` never says to whom: no handoff can be told"
    elif not found.facts["assigned"]:
        yield "nothing is ever `assigned`: no handoff can be told"
    for customer, count in found.customers.most_common(1):
        if count > GUEST_ITEMS:
            yield f"one customer has {count} items ({customer[:3]}…): beyond {GUEST_ITEMS} it is a guest account, which joins nothing"


def show_dry_run(found: DryRun, mapping: Mapping, console: Console) -> None:
    """Print a dry run: tables for people."""
    rejected = sum(found.rejected.values())
    events = sum(found.facts.values())
    console.print(
        f"{mapping.name} ({mapping.file.kind}): {found.records} records read, {found.gave} gave {events} events, "
        f"{sum(found.nothing.values())} gave nothing, {rejected} rejected",
        highlight=False,
    )
    if found.first is not None and found.last is not None:
        console.print(f"from {stamp(found.first)} to {stamp(found.last)}", highlight=False)
    if found.facts:
        _facts_table(found, console)
    kinds = Counter(item.partition(":")[0] for item in found.items)
    whose = f"{len(found.items)} items ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common(MOST_SHOWN))})"
    console.print(f"\n{whose}, {len(found.customers)} customers", highlight=False)
    _list(console, "never used by these records", found.unused)
    _list(console, "gave nothing", [f"{count} x {why}" for why, count in found.nothing.most_common(MOST_SHOWN)], len(found.nothing))
    refused = []
    for key, count in found.rejected.most_common(MOST_SHOWN):
        one = found.rejects[key]
        where = f"by {key[0]}, first at" if key[0] else "first at"
        refused.append(f"{count} x {one.reason}\n      {where} {one.input}:{one.line}: {one.payload[:200]}")
    _list(console, "rejected", refused, len(found.rejected))
    _list(console, "seems to be missing", missing(found))


def _facts_table(found: DryRun, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("fact")
    for name in ("events", "items", "with a customer"):
        table.add_column(name, justify="right")
    for fact in sorted(found.facts, key=FACTS.index):
        having = [seen for seen in found.items.values() if fact in seen.facts]
        table.add_row(fact, str(found.facts[fact]), str(len(having)), str(sum(seen.customer is not None for seen in having)))
    console.print()
    console.print(table)


def _list(console: Console, title: str, lines: Iterable[str], total: int = 0) -> None:
    lines = list(lines)
    if not lines:
        return
    console.print(f"\n{title}:", highlight=False)
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if total > len(lines):
        console.print(f"  … and {total - len(lines)} more kinds", highlight=False)
