"""Raw records to events, as a source mapping says. A mapping is compiled once: templates to look-ups, times to parsers.

The same input gives the same events with the same ids, however often it is read. An id is made of what names the occasion:
the record's id, or the item (with the row's sequence in an update log), and the fact; where nothing names a record, of its
content and its occurrence, so that two alike records are two. A record that can't be mapped becomes one Reject, and no event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from tribo.wire.readers import Record, read
from tribo.wire.rejects import Reject, reject
from tribo_schemas.config import BadConfig, read_yaml, validate
from tribo_schemas.event import EARLIEST, EPOCH, LATEST, MILLISECOND, BadEvent, Event, canonical, event_of, stamp
from tribo_schemas.source import (
    STEADY,
    Change,
    Example,
    Fields,
    Mapped,
    Rule,
    SourceFile,
    Time,
    When,
    as_text,
    duration_of,
    placeholders,
    steps_of,
    strptime_of,
)

PACKAGED = Path(__file__).parent / "sources"
MOST_DEPTH = 32
ITSELF = "*"
NOTHING = (0, timedelta())

class Unmapped(ValueError):
    """A record that the mapping can't turn into events: the source's fault. Its text is the reject's reason."""


class Row(msgspec.Struct, gc=False):
    """A record being mapped, and what stands for it where nothing else names it."""

    record: dict[str, Any]
    itself: str


Take: TypeAlias = Callable[[Row], str | None]
Instant: TypeAlias = Callable[[Row], int | None]
Clock: TypeAlias = Callable[[str], int]
State: TypeAlias = tuple[int, int, bytes, Row, Record]
"""A row of an update log: time, sequence, content, the row, and the record that it came in."""


def load_source(path: Path | str) -> SourceFile:
    """A mapping file, checked. Raises BadConfig with a line for each thing that is wrong."""
    return validate(SourceFile, read_yaml(path))


class Mapping:
    """A compiled source mapping. `Mapping.load("boston_311")` finds a packaged one, `Mapping.load("my/source.yaml")` a file."""

    def __init__(self, file: SourceFile, name: str) -> None:
        self.name = name
        self.file = file
        self.source = file.source
        self.form = file.format
        self.brings = tuple(file.brings)
        self.personal = frozenset(file.personal)
        self.examples: tuple[Example, ...] = tuple(file.examples)
        self._missing = frozenset(["", *file.missing])
        self._clock = _clock(tuple(file.times), file.zone)
        self._item = self._template(file.item)
        self._id = self._template(file.id or "{*}") if file.kind == "records" else None
        self._time = self._instant(file.time) if file.time is not None else None
        self._order = self._instant(file.order.time) if file.order is not None else None
        self._sequence = file.order.sequence if file.order is not None else None
        self._rules = [_Compiled(self, rule) for rule in file.rules]
        self._itself = any(path == ITSELF for text in _templates(file) for _, path in placeholders(text)) or (
            file.kind == "records" and file.id is None
        )
        self._columns = frozenset(steps_of(path)[0] for path in _paths(file))

    @classmethod
    def load(cls, name_or_path: str | Path) -> Mapping:
        """A packaged mapping by its name, or a mapping file. Raises BadConfig."""
        text = str(name_or_path)
        path = PACKAGED / f"{text}.yaml" if text in packaged() else Path(text)
        if not path.is_file():
            raise BadConfig(f"{text}: no such mapping; write the path of a mapping file, or one of: {', '.join(packaged())}")
        return cls(load_source(path), path.stem)

    def events(self, records: Iterable[Record | Reject | dict[str, Any]]) -> Iterator[Event | Reject]:
        """The events of the records, in no particular order; what can't be mapped, and Rejects handed in, come out as Rejects.

        An update log is held in memory (the columns that the mapping names) until its end, since a difference needs the row before.
        Raises BadConfig when a CSV lacks a column that the mapping names.
        """
        rows = self._rows(records)
        if self.file.kind == "update_log":
            return self._of_log(rows)
        return self._of_rows(rows)

    def map_record(self, payload: bytes | dict[str, Any]) -> list[Event]:
        """The events of one record that comes alone: a delivery, a message. Holds nothing, and gives the same ids each time.

        Where nothing names a record, alike records are the same one here, since a delivery may come twice. Raises Unmapped or BadEvent
        (the source's fault; both are ValueError), and BadConfig for an update log, whose rows say something only beside the row before.
        """
        if self.file.kind == "update_log":
            raise BadConfig(f"{self.name}: an update log is no stream of records that stand alone; use map_change")
        return self._made(self._alone(payload))

    def map_change(self, state: dict[str, Any] | None, payload: bytes | dict[str, Any]) -> tuple[list[Event], dict[str, Any]]:
        """The events of one row of an update log after `state`, which an earlier call for the same item gave (None: its first row).

        The state is plain JSON: whoever calls keeps it by item (`item_of`). The same row again gives nothing. Raises Unmapped or
        BadEvent: what can't be mapped, and a row from before the state. Rules with `on: last` give nothing, as nobody knows the last.
        """
        row = self._alone(payload)
        time, sequence = self._place(row)
        kept = self._kept(row)
        content = _digest(kept)
        if state is not None:
            if state["content"] == content and (state["time"], state["sequence"]) == (time, sequence):
                return [], state
            first = self.file.order is not None and self.file.order.first == "sequence"
            if (sequence, time) < (state["sequence"], state["time"]) if first else (time, sequence) < (state["time"], state["sequence"]):
                raise Unmapped(f"order: the row ({stamp(time)}) is from before the one that came last ({stamp(state['time'])})")
        known: list[dict[str, str]] = [dict(each) for each in state["known"]] if state is not None else [{} for _ in self._rules]
        again = state is not None and (state["time"] if self._sequence is None else state["sequence"]) == (
            time if self._sequence is None else sequence
        )
        taken: dict[str, int] = dict(state["taken"]) if state is not None and again else {}
        before = None if state is None else Row(state["row"], "")
        item = self.item_of(row.record)
        fitting = Row(kept, row.itself)
        made = self._changes(item, fitting, before, known, taken, time, sequence, final=False)
        return made, {"time": time, "sequence": sequence, "content": content, "row": kept, "known": known, "taken": taken}

    def item_of(self, payload: bytes | dict[str, Any]) -> str:
        """The item that a record speaks of, before any rule names another. Raises Unmapped."""
        return self._named(self._item, self._alone(payload), "item")

    def feed(self, inputs: Iterable[str | Path], take: Callable[[Event], None], refuse: Callable[[dict[str, Any]], None]) -> int:
        """Read files (or `-`) through the mapping, one after the other: each event to `take`, the row of each reject to `refuse`.

        Returns how many records were read. An update log may be spread over several files. Raises BadConfig.
        """
        records = 0

        def counted() -> Iterator[Record | Reject]:
            nonlocal records
            for path in inputs:
                for record in read(path, self.form):
                    records += 1
                    yield record

        for found in self.events(counted()):
            if isinstance(found, Reject):
                refuse(found.row())
            else:
                take(found)
        return records

    # -- records in ------------------------------------------------------------------------------------------------------

    def _rows(self, records: Iterable[Record | Reject | dict[str, Any]]) -> Iterator[tuple[Record, Row] | Reject]:
        occurrences: dict[str, int] = {}
        known = ""
        for record in records:
            if isinstance(record, Reject):
                yield record
                continue
            if isinstance(record, dict):
                record = Record("-", 0, record)
            if isinstance(record.payload, bytes):
                try:
                    fields = decode_record(record.payload)
                except Unmapped as error:
                    yield reject(record.input, record.line, str(error), record.payload)
                    continue
            else:
                fields = record.payload
                if record.raw is not None and known != record.input:
                    known = record.input
                    lacking = sorted(self._columns - fields.keys())
                    if lacking:
                        raise BadConfig(f"{self.name}: {record.input} has no column {', '.join(lacking)}; correct the mapping's paths")
            itself = ""
            if self._itself:
                digest = _digest(fields)
                occurrence = occurrences.get(digest, 0) + 1
                occurrences[digest] = occurrence
                itself = f"{digest}-{occurrence}"
            yield record, Row(fields, itself)

    def _alone(self, payload: bytes | dict[str, Any]) -> Row:
        fields = decode_record(payload) if isinstance(payload, bytes) else payload
        return Row(fields, f"{_digest(fields)}-1" if self._itself else "")

    # -- rows to events --------------------------------------------------------------------------------------------------

    def _of_rows(self, rows: Iterable[tuple[Record, Row] | Reject]) -> Iterator[Event | Reject]:
        for entry in rows:
            if isinstance(entry, Reject):
                yield entry
                continue
            record, row = entry
            try:
                made = self._made(row)
            except (Unmapped, BadEvent) as error:
                yield _refused(record, error)
            else:
                yield from made

    def _made(self, row: Row) -> list[Event]:
        item = self._named(self._item, row, "item")
        base = item if self._id is None else self._named(self._id, row, "id")
        made: list[Event] = []
        fits = False
        facts: dict[str, int] = {}
        for rule in self._rules:
            if not rule.fits(row):
                continue
            fits = True
            instant = rule.time(row) if rule.time is not None else self._time(row) if self._time is not None else None
            fact = rule.fact(row)
            if fact is None or (instant is None and self.file.kind == "wide_table"):
                continue
            if instant is None:
                raise Unmapped("time: is missing")
            facts[fact] = facts.get(fact, 0) + 1
            occasion = f"{base}/{fact}" if facts[fact] == 1 else f"{base}/{fact}/{facts[fact]}"
            made.append(rule.event(row, item, occasion, fact, instant, None))
        if not fits and self.file.kind == "records" and self.file.unmatched == "reject":
            raise Unmapped("no rule fits; add one, or write `unmatched: skip`")
        return made

    # -- update logs -----------------------------------------------------------------------------------------------------

    def _of_log(self, rows: Iterable[tuple[Record, Row] | Reject]) -> Iterator[Event | Reject]:
        items: dict[str, list[State]] = {}
        by_time, by_sequence = itemgetter(0, 1, 2), itemgetter(1, 0, 2)
        for entry in rows:
            if isinstance(entry, Reject):
                yield entry
                continue
            record, row = entry
            try:
                item = self._named(self._item, row, "item")
                time, sequence = self._place(row)
            except Unmapped as error:
                yield _refused(record, error)
                continue
            kept = self._kept(row)
            if isinstance(record.payload, dict):
                record = Record(record.input, record.line, kept, record.raw)
            items.setdefault(item, []).append((time, sequence, _content(kept), Row(kept, row.itself), record))
        for item, states in items.items():
            states.sort(key=by_sequence if self.file.order and self.file.order.first == "sequence" else by_time)
            yield from self._differences(item, states)

    def _place(self, row: Row) -> tuple[int, int]:
        """A row's time and sequence (0 without one). Raises Unmapped."""
        assert self._order is not None
        time = self._order(row)
        if time is None:
            raise Unmapped("order.time: is missing")
        return time, 0 if self._sequence is None else _whole(self._text(row, steps_of(self._sequence)), "order.sequence")

    def _kept(self, row: Row) -> dict[str, Any]:
        """The columns that the mapping names."""
        return {column: row.record[column] for column in sorted(self._columns) if column in row.record}

    def _differences(self, item: str, states: list[State]) -> Iterator[Event | Reject]:
        held: list[dict[str, str]] = [{} for _ in self._rules]
        taken: dict[str, int] = {}
        before: Row | None = None
        earlier: tuple[Any, ...] = ()
        for state in states:
            if state[:3] == earlier:
                continue  # the same row again
            earlier = state[:3]
            time, sequence, _, row, record = state
            final = earlier == states[-1][:3]
            tried = [dict(known) for known in held]
            try:
                made = self._changes(item, row, before, tried, taken, time, sequence, final)
            except (Unmapped, BadEvent) as error:
                yield _refused(record, error)  # and the next row is compared with the one before it
                continue
            yield from made
            held = tried
            before = row

    def _changes(
        self,
        item: str,
        row: Row,
        before: Row | None,
        known: list[dict[str, str]],
        taken: dict[str, int],
        time: int,
        sequence: int,
        final: bool,
    ) -> list[Event]:
        """The events of a row after the row before. Raises Unmapped or BadEvent."""
        made = [
            self._difference(rule, item, row, time, sequence, taken)
            for rule, held in zip(self._rules, known, strict=True)
            if rule.fits(row) and self._happened(rule, row, before, held, final)
        ]
        return [event for event in made if event is not None]

    def _difference(self, rule: _Compiled, item: str, row: Row, time: int, sequence: int, taken: dict[str, int]) -> Event | None:
        fact = rule.fact(row)
        instant = rule.time(row) if rule.time is not None else time
        if fact is None or instant is None:
            return None
        sequenced = self._sequence is not None
        occasion = f"{item}/{sequence if sequenced else stamp(time)}/{fact}"
        taken[occasion] = taken.get(occasion, 0) + 1
        if taken[occasion] > 1:
            occasion = f"{occasion}/{taken[occasion]}"
        return rule.event(row, item, occasion, fact, instant, sequence if sequenced else None)

    def _happened(self, rule: _Compiled, row: Row, before: Row | None, known: dict[str, str], final: bool) -> bool:
        """Whether this row, after the row before (None: it is the first), means the rule's fact. Remembers in `known`."""
        on = rule.on
        if on == "first":
            return before is None
        if on == "last":
            return final
        assert isinstance(on, Change)
        if on.changed is not None:
            changed = False
            for path in on.changed:
                value = self._text(row, steps_of(path))
                if value is None:
                    if changed:
                        known.pop(path, None)
                elif known.get(path) != value:
                    known[path] = value
                    changed = True
                if not known:
                    return False
            return changed
        if on.raised is not None:
            steps = steps_of(on.raised)
            new = self._text(row, steps)
            if new is None:
                return False
            old = known.get(on.raised, new)
            known[on.raised] = new
            return _whole(new, on.raised) > _whole(old, on.raised)
        columns = on.entered or on.left or {}
        [(path, values)] = columns.items()
        now = self._text(row, steps_of(path)) in values
        was = before is not None and self._text(before, steps_of(path)) in values
        return now and not was if on.entered else was and not now

    # -- compiling -------------------------------------------------------------------------------------------------------

    def _text(self, row: Row, steps: tuple[str, ...]) -> str | None:
        """What stands at a path, as text without outer blanks; None when nothing is known. Raises Unmapped for a list or an object."""
        value: Any = row.record
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and len(step) < 6 and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        if value is None:
            return None
        try:
            text = as_text(value).strip()
        except ValueError:
            raise Unmapped(f"{'.'.join(steps)}: holds {type(value).__name__}, not a text or a number") from None
        if "\x00" in text:
            raise Unmapped(f"{'.'.join(steps)}: holds a NUL character")
        return None if text in self._missing else text

    def _template(self, text: str) -> Take:
        pieces = placeholders(text)
        if len(pieces) == 1:
            return lambda row: text
        parts = [(words, None if path in (None, ITSELF) else steps_of(str(path)), path == ITSELF) for words, path in pieces]
        if len(parts) == 2 and parts[0][0] == "" == parts[1][0] and parts[0][1] is not None:
            steps = parts[0][1]
            return lambda row: self._text(row, steps)

        def take(row: Row) -> str | None:
            made = ""
            for words, steps, itself in parts:
                made += words
                if itself:
                    made += row.itself
                elif steps is not None:
                    found = self._text(row, steps)
                    if found is None:
                        return None
                    made += found
            return made

        return take

    def _mapped(self, text: str | Mapped) -> Take:
        if isinstance(text, str):
            return self._template(text)
        take, table, otherwise, missing = self._template(text.take), text.map, text.otherwise, text.missing

        def look_up(row: Row) -> str | None:
            found = take(row)
            if found is None:
                return missing
            return table.get(found, found if otherwise is None else otherwise)

        return look_up

    def _instant(self, time: str | Time) -> Instant:
        if isinstance(time, str):
            time = Time(take=time)
        take = self._template(time.take)
        plus = duration_of(time.plus) if time.plus is not None else NOTHING
        clock = self._clock
        if time.formats is not None or time.zone is not None or time.plus is not None:
            clock = _clock(tuple(time.formats or self.file.times), time.zone or self.file.zone, plus)

        def instant(row: Row) -> int | None:
            found = take(row)
            if found is None:
                return None
            try:
                return clock(found)
            except ValueError as error:
                raise Unmapped(f"time: {error}") from None

        return instant

    @staticmethod
    def _named(take: Take, row: Row, field: str) -> str:
        found = take(row)
        if found is None:
            raise Unmapped(f"{field}: a part of it is missing in the record")
        return found


class _Compiled:
    """A rule, ready to be used."""

    def __init__(self, mapping: Mapping, rule: Rule) -> None:
        self._mapping = mapping
        self.on = rule.on
        self.fact = mapping._mapped(rule.fact)
        self.time = mapping._instant(rule.time) if rule.time is not None else None
        self._source = mapping.source
        self._item = mapping._template(rule.item) if rule.item is not None else None
        self._id = mapping._template(rule.id) if rule.id is not None else None
        self._when = [(steps_of(path), condition) for path, condition in rule.when.items()]
        self._texts: list[tuple[str, Take]] = []
        self._about: list[Take] = []
        self._due: Instant | None = None
        always = mapping.file.always
        for field in Fields.model_fields:
            value = getattr(rule, field) if field in rule.model_fields_set else getattr(always, field)
            if value is None:
                continue
            if field == "about":
                self._about = [mapping._template(text) for text in value]
            elif field == "due":
                self._due = mapping._instant(value)
            else:
                self._texts.append((field, mapping._mapped(value)))

    def fits(self, row: Row) -> bool:
        """Whether all its conditions hold."""
        for steps, condition in self._when:
            found = self._mapping._text(row, steps)
            if isinstance(condition, When):
                if condition.exists is not None and condition.exists != (found is not None):
                    return False
                if condition.among is not None and found not in condition.among:
                    return False
                if condition.without is not None and found in condition.without:
                    return False
            elif found not in condition:
                return False
        return True

    def event(self, row: Row, item: str, occasion: str, fact: str, instant: int, sequence: int | None) -> Event:
        """The event. Raises BadEvent or Unmapped."""
        fields: dict[str, Any] = {"source": self._source, "time": stamp(instant), "fact": fact, "item": item, "id": occasion}
        if sequence is not None:
            fields["sequence"] = sequence
        if self._item is not None:
            fields["item"] = self._mapping._named(self._item, row, "item")
        if self._id is not None:
            fields["id"] = self._mapping._named(self._id, row, "id")
        for field, take in self._texts:
            found = take(row)
            if found is not None:
                convert = _CONVERT.get(field)
                fields[field] = found if convert is None else convert(found, field)
        about = [found for found in (take(row) for take in self._about) if found is not None]
        if about:
            fields["about"] = about
        if self._due is not None:
            due = self._due(row)
            if due is not None:
                fields["due"] = stamp(due)
        return event_of(fields)


def _number(text: str, field: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not -1e300 < number < 1e300:
        raise Unmapped(f"{field}: {text!r} is not a number")
    return number


def _whole(text: str | None, field: str) -> int:
    try:
        if text is None or len(text) > 20:
            raise ValueError
        return int(text)
    except ValueError:
        raise Unmapped(f"{field}: {text!r} is not a whole number" if text is not None else f"{field}: is missing") from None


def _truth(text: str, field: str) -> bool:
    if text not in ("true", "false"):
        raise Unmapped(f"{field}: write true or false, or map to them; got {text!r}")
    return text == "true"


_CONVERT: dict[str, Callable[[str, str], Any]] = {"score": _number, "scale": _number, "sequence": _whole, "synthetic": _truth}


def _clock(forms: tuple[str, ...], zone: str | None, plus: tuple[int, timedelta] = NOTHING) -> Clock:
    """Text to UTC milliseconds by the first form that fits. Raises ValueError that names the text."""
    place = ZoneInfo(zone) if zone is not None else None
    patterns = [(form, "" if form in STEADY else strptime_of(form)) for form in forms]

    @lru_cache(maxsize=65536)
    def clock(text: str) -> int:
        for form, pattern in patterns:
            try:
                if form == "iso":
                    moment = datetime.fromisoformat(text)
                elif pattern:
                    moment = datetime.strptime(text, pattern)
                else:
                    moment = EPOCH + timedelta(**{"seconds" if form == "epoch_s" else "milliseconds": float(text)})
            except (ValueError, OverflowError):
                continue
            if moment.tzinfo is None:
                if place is None:
                    raise ValueError(f"{text!r} carries no zone, and the mapping declares none")
                moment = moment.replace(tzinfo=place)
            elif place is not None:
                moment = moment.astimezone(place)
            found = ((moment + timedelta(days=plus[0])).astimezone(UTC) + plus[1] - EPOCH) // MILLISECOND
            if EARLIEST <= found <= LATEST:
                return found
        raise ValueError(f"{text!r} fits none of the formats {', '.join(forms)}")

    def checked(text: str) -> int:
        try:
            return clock(text)
        except OverflowError:
            raise ValueError(f"{text!r} lies outside the years 1 to 9999") from None

    return checked


def decode_record(raw: bytes) -> dict[str, Any]:
    """One JSON object. Raises Unmapped: no UTF-8, no JSON, NaN, a key written twice, nested too deeply, no object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            raise Unmapped(f"{next(name for name in names if names.count(name) > 1)}: is written twice")
        return found

    try:
        msgspec.json.decode(raw)
        record = json.loads(raw, object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise Unmapped(f"not UTF-8: {error.reason}") from None
    except (msgspec.DecodeError, json.JSONDecodeError) as error:
        raise Unmapped(f"not JSON: {error}") from None
    except RecursionError:
        raise Unmapped("nested too deeply") from None
    except ValueError as error:
        if isinstance(error, Unmapped):
            raise
        raise Unmapped(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise Unmapped("is not a JSON object")
    if _depth(record) > MOST_DEPTH:
        raise Unmapped("nested too deeply")
    return record


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((_depth(each) for each in inner), default=0)


def _content(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str).encode()


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.blake2b(_content(fields), digest_size=12).hexdigest()


def _refused(record: Record, error: Exception) -> Reject:
    return reject(record.input, record.line, str(error), record.raw if record.raw is not None else record.payload)


def _templates(file: SourceFile) -> Iterator[str]:
    """Every template of the file."""

    def of(value: Any) -> Iterator[str]:
        if isinstance(value, Mapped | Time):
            yield value.take
        elif isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from value

    for value in (file.item, file.id, file.time, file.order.time if file.order else None):
        yield from of(value)
    for fields in (file.always, *file.rules):
        for name in Fields.model_fields:
            yield from of(getattr(fields, name))
    for rule in file.rules:
        for taken in (rule.fact, rule.time, rule.item, rule.id):
            yield from of(taken)


def _paths(file: SourceFile) -> Iterator[str]:
    """Every path that the file names, so that a misspelt column is noticed."""
    for text in _templates(file):
        for _, path in placeholders(text):
            if path is not None and path != ITSELF:
                yield path
    if file.order is not None and file.order.sequence is not None:
        yield file.order.sequence
    for rule in file.rules:
        yield from rule.when
        if isinstance(rule.on, Change):
            yield from rule.on.changed or ()
            yield from rule.on.entered or ()
            yield from rule.on.left or ()
            if rule.on.raised is not None:
                yield rule.on.raised


def packaged() -> list[str]:
    """The names of the mappings that come with Tribo."""
    return sorted(path.stem for path in PACKAGED.glob("*.yaml"))


def check_examples(mapping: Mapping) -> list[str]:
    """What is wrong with the mapping's examples: empty when each gives exactly its events and rejects.

    An expected event states each field that the event carries; `id`, `source` and `by` may be left out.
    """
    wrong: list[str] = []
    for number, example in enumerate(mapping.examples, 1):
        where = f"{mapping.name}: example {number}" + (f" ({example.says})" if example.says else "")
        made = list(mapping.events(dict(record) for record in example.raw))
        events = [canonical(event) for event in made if isinstance(event, Event)]
        reasons = [event.reason for event in made if isinstance(event, Reject)]
        if len(events) != len(example.events):
            wrong.append(f"{where}: {len(example.events)} events expected, {len(events)} came: {json.dumps(events)}")
        for place, (event, expected) in enumerate(zip(events, example.events, strict=False), 1):
            for field in sorted(event.keys() | expected.keys()):
                if field in ("id", "source", "by") and field not in expected:
                    continue
                if event.get(field) != expected.get(field):
                    wrong.append(f"{where}: event {place}: {field}: {expected.get(field)!r} expected, {event.get(field)!r} came")
        if len(reasons) != len(example.rejects):
            wrong.append(f"{where}: {len(example.rejects)} rejects expected, {len(reasons)} came: {json.dumps(reasons)}")
        for reason, part in zip(reasons, example.rejects, strict=False):
            if part not in reason:
                wrong.append(f"{where}: reject: {part!r} expected, {reason!r} came")
    if not mapping.examples:
        wrong.append(f"{mapping.name}: has no examples; add one: raw in, events out")
    return wrong
