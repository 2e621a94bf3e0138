"""`tribo remap`: a corrected mapping applied to the raw records that were kept.

What any earlier version of the mapping made of them, and the corrected one does not, is retracted; what it makes anew comes in; what
it makes otherwise under the same id takes the place of what stood (the earlier content is kept beside it, as of a conflict). So
the ledger then says what `tribo measure` says of the events that the corrected mapping gives. All ids follow from what is there:
interrupted and begun again, it comes to the same end, and done twice it changes nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec

from tribo.ledger.database import Where, until_taken
from tribo.ledger.kept import Key, Standing, chunks, findings_of, raw_of, standing, to_fold
from tribo.ledger.ledger import Ledger
from tribo.measure.advance import Frontier
from tribo.measure.standards import Standards
from tribo.run.accept import Unreadable, items
from tribo.run.clock import Heard
from tribo.run.commit import FUTURE_REASON
from tribo.run.sources import mapping_path
from tribo.run.standards import standards_kept
from tribo.wire.mapping import Mapping
from tribo.wire.readers import Record
from tribo.wire.rejects import Raw, Reject
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import Event, same, smaller
from tribo_schemas.source import source_of

MOST_ID = 200
APPLIED_AT_ONCE = 2000
OURS = "remap/"


class Remapped(msgspec.Struct):
    """What a remapping changed (or would): raw bodies, events by fact, findings by kind, and what is still rejected, by reason."""

    bodies: int
    given: int
    gone: dict[str, int]
    new: dict[str, int]
    changed: dict[str, int]
    withdrawn: dict[str, int]
    found: dict[str, int]
    rejected: dict[str, int]


def remap(
    where: Where, source: str, since: int, *, dry: bool = False, standards: Path | None = None, now: int | None = None
) -> Remapped:
    """Apply a mapping (its name or file, as it stands now) to the raw records that came at or after `since` (UTC ms).

    Of an update log all that is kept is read, since a row says something only beside the row before. `dry`: everything is worked
    out, and undone. Raises BadConfig: no such mapping, no ledger, or another process writes to it.
    """
    mapping = Mapping.load(source)
    text = mapping_path(source).read_text("utf-8")
    rules, rules_text = standards_kept(where, standards)
    ledger = Ledger.open(where, rules_text)
    try:
        if now is None:
            now = time.time_ns() // 1_000_000
        # who was only ever imported has said all that it has to say
        heard = {name: now if mark is None else mark for name, (mark, _) in ledger.watermarks().items()}
        frontier = Frontier(now, heard=heard)
        made = _made(ledger, mapping, since, now)
        retractions, fresh, changed, gone = _differences(ledger, made)
        with ledger.rehearsal() if dry else nullcontext():
            withdrawn, found = _apply(ledger, [*retractions, *fresh.values(), *changed], frontier, rules)
            if not dry:
                ledger.remember_text(f"mapping:{mapping.name}", text)
        return Remapped(
            made.bodies, len(made.new), _by(event.fact for event in gone), _by(_facts(fresh, retractions, made)),
            _by(event.fact for event in changed), withdrawn, found, dict(made.rejected.most_common(20)),
        )  # fmt: skip
    finally:
        ledger.close()


def _by(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _facts(fresh: dict[Key, Event], retractions: list[Event], made: _Made) -> Iterator[str]:
    """The facts that come in: of new events, and of those whose retraction is taken back."""
    yield from (event.fact for event in fresh.values())
    for one in retractions:
        yield from (event.fact for event in made.restored.get((one.source, one.id), ()))


# -- what the mappings make -----------------------------------------------------------------------------------------------


class _Made:
    """What the versions of a mapping make of the records."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.bodies = 0
        self.new: dict[Key, Event] = {}
        self.before: set[Key] = set()
        """What earlier versions made of the same records."""
        self.elsewhere: set[Key] = set()
        """What earlier versions made of records that are not mapped anew."""
        self.rejected: Counter[str] = Counter()
        self.restored: dict[Key, list[Event]] = {}


def _made(ledger: Ledger, mapping: Mapping, since: int, now: int) -> _Made:
    made = _Made(now)
    earlier = [known for known in map(_version(mapping.name), dict.fromkeys(ledger.texts(f"mapping:{mapping.name}"))) if known is not None]
    whole = mapping.file.kind == "update_log"
    inside: list[tuple[int, Raw]] = []
    for received_at, raw in raw_of(ledger.db, mapping.name):
        if whole or raw.form == "rows":
            inside.append((received_at, raw))  # these say something only together
            continue
        _take(made, mapping, earlier, [raw], received_at >= since, alone=True)
    for group in _together(inside, whole):
        _take(made, mapping, earlier, [raw for _, raw in group], whole or group[0][0] >= since, alone=False)
    return made


def _together(raws: list[tuple[int, Raw]], whole: bool) -> Iterator[list[tuple[int, Raw]]]:
    """An update log is read as one; what was imported, as it was imported: all of a run, which came at one time."""
    groups: dict[int, list[tuple[int, Raw]]] = {}
    for received_at, raw in raws:
        groups.setdefault(0 if whole else received_at, []).append((received_at, raw))
    return iter(groups.values())


def _version(name: str) -> Callable[[str], Mapping | None]:
    def known(text: str) -> Mapping | None:
        try:
            return Mapping(source_of(parse_yaml(text.encode(), name)), name)
        except BadConfig:
            return None  # an earlier tribo took it; what it made can't be told any more

    return known


def _take(made: _Made, mapping: Mapping, earlier: Sequence[Mapping], raws: list[Raw], anew: bool, alone: bool) -> None:
    records = [record for raw in raws for record in _records(raw)]
    for version in earlier:
        keys = {(event.source, event.id) for event in _mapped(version, records, alone) if isinstance(event, Event)}
        (made.before if anew else made.elsewhere).update(keys)
    if not anew:
        return
    made.bodies += len(raws)
    for event in _mapped(mapping, records, alone):
        if isinstance(event, Reject):
            made.rejected[event.reason] += 1
        elif Heard.is_future(event, made.now):
            made.rejected[FUTURE_REASON] += 1
        else:
            held = made.new.setdefault((event.source, event.id), event)
            if held is not event and not same(held, event):  # the smaller holds, whichever came first
                made.new[event.source, event.id] = smaller(held, event)


def _mapped(mapping: Mapping, records: Sequence[bytes], alone: bool) -> Iterator[Event | Reject]:
    given = [Record("raw", number, record) for number, record in enumerate(records, 1)]
    if not alone:
        yield from mapping.events(given)
        return
    for record in given:
        yield from mapping.events([record])


def _records(raw: Raw) -> list[bytes]:
    if raw.form in ("lines", "rows"):
        return [line for line in raw.body.split(b"\n") if line and not line.isspace()]
    try:
        return items(raw.body, "application/json")
    except Unreadable:
        return []


# -- what is different ----------------------------------------------------------------------------------------------------


def _differences(ledger: Ledger, made: _Made) -> tuple[list[Event], dict[Key, Event], list[Event], list[Event]]:
    """Retractions (of events that are made no more, and of our own earlier ones), new events, changed ones; and the events gone."""
    held: dict[Key, Standing] = {}
    for some in chunks(sorted(made.new.keys() | made.before), 20_000):
        held.update(standing(ledger.db, some))
    retractions: list[Event] = []
    gone: list[Event] = []
    for key in sorted(made.before - made.new.keys() - made.elsewhere):
        known = held.get(key)
        if known is not None and not known.taken_back_by:
            retractions.append(_retraction(known.event, known))
            gone.append(known.event)
    fresh: dict[Key, Event] = {}
    changed: list[Event] = []
    for key, event in made.new.items():
        known = held.get(key)
        if known is None:
            fresh[key] = event
            continue
        if not same(known.event, event):
            changed.append(event)
        for ours in known.taken_back_by:
            if ours.id.startswith(OURS):
                back = _retraction(ours, known)
                retractions.append(back)
                made.restored.setdefault((back.source, back.id), []).append(event)
    return retractions, fresh, changed, gone


def _retraction(event: Event, known: Standing) -> Event:
    """What takes an event back, at its own time; named after it, and after how often that was done before."""
    name = event.id if len(event.id) < MOST_ID - 20 else hashlib.blake2b(event.id.encode(), digest_size=16).hexdigest()
    number = 1
    while (event.source, f"{OURS}{number}/{name}") in known.ids:
        number += 1
    return Event(
        f"{OURS}{number}/{name}", event.source, event.time, event.touchpoint, "retracted", event.item, by="system", retracts=event.id
    )


def _apply(ledger: Ledger, events: Sequence[Event], frontier: Frontier, rules: Standards) -> tuple[dict[str, int], dict[str, int]]:
    """Put them into the ledger and fold; findings withdrawn and found, by kind."""
    for some in chunks(events, APPLIED_AT_ONCE):
        until_taken(lambda some=some: ledger.apply(some, frontier, rules, historical=True, folded=False, replacing=True))  # type: ignore[misc]
    touched = to_fold(ledger.db)
    before = findings_of(ledger.db, touched)
    while until_taken(lambda: ledger.fold_dirty(frontier, rules, historical=True)):
        pass
    after = findings_of(ledger.db, _with_parts(ledger, touched))
    return (
        _by(kind for identifier, kind in before.items() if identifier not in after),
        _by(kind for identifier, kind in after.items() if identifier not in before),
    )


def _with_parts(ledger: Ledger, histories: list[int]) -> list[int]:
    """These, and those that were parted from them, which are newer than any other."""
    if not histories:
        return []
    newer = ledger.db.rows("SELECT history FROM histories WHERE history > ? AND merged_into IS NULL", (max(histories),))
    return sorted({*histories, *(history for (history,) in newer)})


def told(done: Remapped, dry: bool) -> list[str]:
    """The change in lines to read."""
    lines = [f"{done.bodies} raw bodies mapped anew: they give {done.given} events"]
    if done.gone or done.new or done.changed:
        lines.append(f"{'events':<24}{'gone':>10}{'new':>10}{'changed':>10}")
        for fact in sorted({*done.gone, *done.new, *done.changed}):
            lines.append(f"  {fact:<22}{done.gone.get(fact, 0):>10}{done.new.get(fact, 0):>10}{done.changed.get(fact, 0):>10}")
    if done.withdrawn or done.found:
        lines.append(f"{'findings':<24}{'withdrawn':>10}{'found':>10}")
        for kind in sorted({*done.withdrawn, *done.found}):
            lines.append(f"  {kind:<22}{done.withdrawn.get(kind, 0):>10}{done.found.get(kind, 0):>10}")
    if done.rejected:
        lines.append("still rejected")
        lines += [f"  {number:>8}  {reason}" for reason, number in done.rejected.items()]
    if not (done.gone or done.new or done.changed):
        lines.append("nothing changes")
    elif dry:
        lines.append("this was a dry run: nothing was changed")
    return lines
