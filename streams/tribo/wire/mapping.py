"""Raw records to events, as a source mapping says. A mapping is compiled once: templates to look-ups, times to parsers.

The same input gives the same events with the same ids, however often it is read. An id is made of what names the occasion:
the record's id, or the item (with the row's sequence in an update log), and the fact; where nothing names a record, of its
content and its occurrence, so that two alike records are two. A record that can't be mapped becomes one Reject, and no event.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from tribo.wire.paths import ITSELF, MOST_DEPTH, Instant, Outer, Paths, Row, Take, Unmapped, decode, decode_record, walk
from tribo.wire.readers import Record, read
from tribo.wire.rejects import Reject, reject
from tribo_schemas.config import BadConfig, Document
from tribo_schemas.event import BadEvent, Event, event_at, stamp
from tribo_schemas.source import (
    Change,
    Example,
    Fields,
    Found,
    Rule,
    SourceFile,
    alternatives,
    load_source,
    placeholders,
    steps_of,
    templates_of,
    texts_of,
)

__all__ = ["MOST_DEPTH", "Mapping", "Unmapped", "decode_record", "load_source", "packaged"]

PACKAGED = Path(__file__).parent / "sources"
MOST_ELEMENTS = 1_000
"""Of a list that a rule goes through; and of the events that one record gives."""
MOST_ASKED = 3
"""Of the paths that are told for a record that gave nothing."""
SHOWN = 80
"""How much of a text stands in a reason."""
MOST_RECEIVED = 10_000
"""Of the records in one body."""

State: TypeAlias = tuple[int, int, bytes, Row, Record]
"""A row of an update log: time, sequence, content, the row, and the record that it came in."""


class Mapping:
    """A compiled source mapping. `Mapping.load("boston_311")` finds a packaged one, `Mapping.load("my/source.yaml")` a file."""

    def __init__(self, file: SourceFile, name: str, document: Document | None = None) -> None:
        self.name = name
        self.file = file
        self.source = file.source
        self.form = file.format
        self.brings = tuple(file.brings)
        self.personal = frozenset(file.personal)
        self.examples: tuple[Example, ...] = tuple(file.examples)
        self._document = document
        self._paths = paths = Paths(file)
        self._item = paths.mapped(file.item)
        self._id = paths.mapped(file.id or "{*}") if file.kind == "records" else None
        self._time = paths.instant(file.time) if file.time is not None else None
        self._order = paths.instant(file.order.time) if file.order is not None else None
        self._sequence = paths.text(file.order.sequence) if file.order is not None and file.order.sequence is not None else None
        self._parsed = [steps_of(path) for path in file.parse]
        self._unpacked = steps_of(file.unpack) if file.unpack is not None else None
        self._rules = [_Compiled(paths, file, number) for number in range(len(file.rules))]
        self._changes = [_Happened(paths, rule.on) for rule in file.rules] if file.kind == "update_log" else []
        self._switch: Take | None = None
        self._by_word: dict[str, list[_Compiled]] = {}
        self._others: list[_Compiled] = []
        self._switches()
        self._itself = any(path == ITSELF for text in _templates(file) for _, path in placeholders(text)) or (
            file.kind == "records" and file.id is None
        )
        asked = dict.fromkeys(path for rule in file.rules if rule.each is None for conditions in rule.conditions() for path in conditions)
        self._asked = [(path, paths.text(path)) for path in asked]
        self.columns = _columns(file)
        """The record's own fields that the file names, alternatives together."""

    @classmethod
    def load(cls, name_or_path: str | Path) -> Mapping:
        """A packaged mapping by its name, or a mapping file. Raises BadConfig."""
        text = str(name_or_path)
        path = PACKAGED / f"{text}.yaml" if text in packaged() else Path(text)
        if not path.is_file():
            raise BadConfig(f"{text}: no such mapping; write the path of a mapping file, or one of: {', '.join(packaged())}")
        file, document = load_source(path)
        return cls(file, path.stem, document)

    def line(self, place: tuple[Any, ...]) -> str | None:
        """`file:line` of a place in the mapping file (see `Unmapped.place`); None where it is of no file, or of no place."""
        if self._document is None or not place:
            return None
        return f"{Path(self._document.name).name}:{self._document.line(place)}"

    def watch(self) -> None:
        """From now on remember which rules fire and which fields they fill, for `unused`."""
        for rule in self._rules:
            rule.used = Counter()

    def unused(self) -> list[tuple[tuple[Any, ...], str]]:
        """Since `watch`: the rules that never fired and the fields that nothing ever filled, each with its place in the file."""
        found: list[tuple[tuple[Any, ...], str]] = []
        common: Counter[str] = Counter()
        for number, rule in enumerate(self._rules):
            used = rule.used or Counter()
            common.update(used)
            if not used:
                found.append((("rules", number), f"rules[{number}] ({rule.name}): never fits"))
                continue
            for field in rule.own:
                if not used[field]:
                    found.append((("rules", number, field), f"rules[{number}] ({rule.name}): {field}: never filled"))
        for field in sorted(self.file.always.model_fields_set) if common else ():
            if not common[field] and getattr(self.file.always, field) is not None:
                found.append((("always", field), f"always: {field}: never filled"))
        return found

    def why_nothing(self, record: dict[str, Any]) -> str:
        """Why a record that could be mapped gave no event: what stands where the rules look."""
        if self.file.kind == "wide_table":
            return "none of the times is filled"
        if self.file.kind == "update_log":
            return "nothing changed that a rule asks for"
        row = Row(record)
        said = []
        for path, take in self._asked[:MOST_ASKED]:
            with suppress(Unmapped):
                said.append(f"{path} is {found[:80]}" if (found := take(row)) is not None else f"{path} is missing")
        return f"no rule fits: {', '.join(said)}" if said else "no rule fits"

    # -- records that come together ----------------------------------------------------------------------------------------

    def events(self, records: Iterable[Record | Reject | dict[str, Any]]) -> Iterator[Event | Reject]:
        """The events of the records, in no particular order; what can't be mapped, and Rejects handed in, come out as Rejects.

        An update log is held in memory (the columns that the mapping names) until its end, since a difference needs the row before.
        Raises BadConfig when a CSV lacks a column that the mapping names.
        """
        for _, made in self.told(records):
            if isinstance(made, Reject):
                yield made
            else:
                yield from made

    def told(self, records: Iterable[Record | Reject | dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[Event] | Reject]]:
        """Each record (as far as it could be read) with its events, or with the Reject that it became. Raises BadConfig."""
        rows = self._rows(records)
        return self._of_log(rows) if self.file.kind == "update_log" else self._of_rows(rows)

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

    # -- records that come alone -------------------------------------------------------------------------------------------

    def received(self, body: bytes, content_type: str = "", headers: dict[str, str] | None = None) -> list[bytes]:
        """The records in the body of a request, each a JSON object to be kept as it is and given to `map_record`.

        A JSON array is its elements, JSON lines (`application/x-ndjson`) one a line, a form one record; the headers that the
        mapping names are put in. What stands in it is not looked at otherwise. Raises Unmapped when there is no telling records apart.
        """
        kind = content_type.partition(";")[0].strip().lower()
        text = body.strip()
        found: list[bytes]
        if kind == "application/x-www-form-urlencoded":
            found = [_form(body)]
        elif kind in ("application/x-ndjson", "application/jsonl"):
            found = [line for line in text.split(b"\n") if line and not line.isspace()]
        elif text[:1] == b"[":
            try:
                found = [bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise Unmapped(f"not JSON: {error}") from None
        else:
            found = [text]
        if len(found) > MOST_RECEIVED:
            raise Unmapped(f"holds more than {MOST_RECEIVED} records; send fewer at once")
        if not self.file.headers:
            return found
        wanted = [name.lower() for name in self.file.headers]
        there = {name.lower(): value for name, value in (headers or {}).items()}
        named = {name: there[name] for name in wanted if name in there}
        return [_with_headers(raw, named) for raw in found]

    def map_record(self, payload: bytes | dict[str, Any]) -> list[Event]:
        """The events of one record that comes alone: a delivery, a message. Holds nothing, and gives the same ids each time.

        Where nothing names a record, alike records are the same one here, since a delivery may come twice. Raises Unmapped (the source's
        fault), and BadConfig for an update log, whose rows say something only beside the row before.
        """
        if self.file.kind == "update_log":
            raise BadConfig(f"{self.name}: an update log is no stream of records that stand alone; use map_change")
        return [event for row in self._alone(payload) for event in self._made(row)]

    def map_change(self, state: dict[str, Any] | None, payload: bytes | dict[str, Any]) -> tuple[list[Event], dict[str, Any]]:
        """The events of one row of an update log after `state`, which an earlier call for the same item gave (None: its first row).

        The state is plain JSON: whoever calls keeps it by item (`item_of`). The same row again gives nothing. Raises Unmapped: what
        can't be mapped, and a row from before the state. Rules with `on: last` give nothing, as nobody knows the last.
        """
        row = self._one(payload)
        item = self._named(self._item, row, "item")
        time, sequence = self._place(row)
        kept = self._kept(row)
        content = _digest(kept.record)
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
        before = None if state is None else Row(state["row"])
        made = self._differences(item, kept, before, known, taken, time, sequence, final=False)
        return made, {"time": time, "sequence": sequence, "content": content, "row": kept.record, "known": known, "taken": taken}

    def item_of(self, payload: bytes | dict[str, Any]) -> str:
        """The item that a row of an update log speaks of. Raises Unmapped."""
        return self._named(self._item, self._one(payload), "item")

    # -- records in --------------------------------------------------------------------------------------------------------

    def _rows(self, records: Iterable[Record | Reject | dict[str, Any]]) -> Iterator[tuple[Record, Row] | Reject]:
        occurrences: dict[str, int] = {}
        known = ""
        for record in records:
            if isinstance(record, Reject):
                yield record
                continue
            if isinstance(record, dict):
                record = Record("-", 0, record)
            try:
                rows = list(self._alone(record.payload))
            except Unmapped as error:
                yield self._refused(record, error)
                continue
            if record.raw is not None and known != record.input:
                known = record.input
                lacking = sorted("|".join(sorted(names)) for names in self.columns if not names & rows[0].record.keys())
                if lacking:
                    raise BadConfig(f"{self.name}: {record.input} has no column {', '.join(lacking)}; correct the mapping's paths")
            for row in rows:
                if self._itself:
                    digest = row.itself.removesuffix("-1")
                    occurrences[digest] = occurrences.get(digest, 0) + 1
                    row.itself = f"{digest}-{occurrences[digest]}"
                yield record if row.outer is None else Record(record.input, record.line, row.record), row

    def _alone(self, payload: bytes | dict[str, Any]) -> Iterator[Row]:
        """The rows in a payload: itself, or what is to be unpacked."""
        fields = decode_record(payload) if isinstance(payload, bytes) else payload
        if self._unpacked is None:
            yield self._row(fields, None)
            return
        entries = walk(fields, self._unpacked)
        if not isinstance(entries, list):
            raise Unmapped(f"{self.file.unpack}: holds no list of records", ("unpack",))
        outer = Outer(fields, {})
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise Unmapped(f"{self.file.unpack}.{number}: is not a JSON object", ("unpack",))
            yield self._row(entry, outer)

    def _row(self, fields: dict[str, Any], outer: Outer | None) -> Row:
        for steps in self._parsed:
            fields = _with_parsed(fields, steps)
        return Row(fields, f"{_digest(fields)}-1" if self._itself else "", outer)

    def _one(self, payload: bytes | dict[str, Any]) -> Row:
        rows = list(self._alone(payload))
        if len(rows) != 1:
            raise Unmapped(f"{self.file.unpack}: holds {len(rows)} records; give one at a time", ("unpack",))
        return rows[0]

    def _refused(self, record: Record, error: Unmapped) -> Reject:
        made = reject(record.input, record.line, str(error), record.raw if record.raw is not None else record.payload)
        made.mapping = self.line(error.place)
        return made

    # -- rows to events ----------------------------------------------------------------------------------------------------

    def _of_rows(self, rows: Iterable[tuple[Record, Row] | Reject]) -> Iterator[tuple[dict[str, Any], list[Event] | Reject]]:
        for entry in rows:
            if isinstance(entry, Reject):
                yield {}, entry
                continue
            record, row = entry
            try:
                yield row.record, self._made(row)
            except Unmapped as error:
                yield row.record, self._refused(record, error)

    def _made(self, row: Row) -> list[Event]:
        made: list[Event] = []
        fits = False
        facts: dict[str, int] = {}
        wide = self.file.kind == "wide_table"
        if wide:
            self._named(self._item, row, "item")
        for rule in self._chosen(row):
            for at in rule.rows(row):
                if not rule.fits(at):
                    continue
                fits = True
                instant = rule.instant(at, self._time)
                fact = rule.fact(at)
                if fact is None or (instant is None and wide):
                    continue
                if instant is None:
                    raise Unmapped("time: is missing", rule.place("time"))
                base = self._named(self._item, at, "item") if self._id is None else self._named(self._id, at, "id")
                occasion = f"{base}/{fact}"
                facts[occasion] = facts.get(occasion, 0) + 1
                if facts[occasion] > 1:
                    occasion = f"{occasion}/{facts[occasion]}"
                made.append(rule.event(at, self._item, occasion, fact, instant, None))
                if len(made) > MOST_ELEMENTS:
                    raise Unmapped(f"gives more than {MOST_ELEMENTS} events; send it in parts")
        if not fits and self.file.kind == "records" and self.file.unmatched == "reject":
            raise Unmapped("no rule fits; add one, or write `unmatched: skip`", ("rules",))
        return made

    def _chosen(self, row: Row) -> list[_Compiled]:
        """The rules that may fit, by what stands where most of them look."""
        if self._switch is None:
            return self._rules
        try:
            return self._by_word.get(self._switch(row) or "", self._others)
        except Unmapped:
            return self._rules

    def _switches(self) -> None:
        """Sort the rules by the words that they ask for at one path, if there is one that several of them look at."""
        asked: dict[str, list[tuple[int, list[str]]]] = {}
        for number, rule in enumerate(self.file.rules):
            for path, words in rule.conditions()[0].items() if len(rule.conditions()) == 1 else ():
                if isinstance(words, list) and not path.startswith("each."):
                    asked.setdefault(path, []).append((number, words))
        if not asked:
            return
        path, found = max(asked.items(), key=lambda entry: len(entry[1]))
        asking = {number for number, _ in found}
        self._switch = self._paths.text(path)
        self._others = [rule for number, rule in enumerate(self._rules) if number not in asking]
        for word in {word for _, words in found for word in words}:
            fitting = {number for number, words in found if word in words}
            self._by_word[word] = [rule for number, rule in enumerate(self._rules) if number in fitting or number not in asking]

    @staticmethod
    def _named(take: Take, row: Row, field: str) -> str:
        try:
            found = take(row)
        except Unmapped as error:
            error.place = error.place or (field,)
            raise
        if found is None:
            raise Unmapped(f"{field}: a part of it is missing in the record", (field,))
        return found

    # -- update logs -------------------------------------------------------------------------------------------------------

    def _of_log(self, rows: Iterable[tuple[Record, Row] | Reject]) -> Iterator[tuple[dict[str, Any], list[Event] | Reject]]:
        items: dict[str, list[State]] = {}
        by_time, by_sequence = itemgetter(0, 1, 2), itemgetter(1, 0, 2)
        for entry in rows:
            if isinstance(entry, Reject):
                yield {}, entry
                continue
            record, row = entry
            try:
                item = self._named(self._item, row, "item")
                time, sequence = self._place(row)
            except Unmapped as error:
                yield row.record, self._refused(record, error)
                continue
            kept = self._kept(row)
            if isinstance(record.payload, dict):
                record = Record(record.input, record.line, kept.record, record.raw)
            items.setdefault(item, []).append((time, sequence, _content(kept.record), kept, record))
        for item, states in items.items():
            states.sort(key=by_sequence if self.file.order and self.file.order.first == "sequence" else by_time)
            yield from self._of_item(item, states)

    def _place(self, row: Row) -> tuple[int, int]:
        """A row's time and sequence (0 without one). Raises Unmapped."""
        assert self._order is not None
        try:
            time = self._order(row)
            if time is None:
                raise Unmapped("order.time: is missing")
            return time, 0 if self._sequence is None else _whole(self._sequence(row), "order.sequence")
        except Unmapped as error:
            error.place = error.place or ("order",)
            raise

    def _kept(self, row: Row) -> Row:
        """The row with no more than the columns that the mapping names."""
        if self.file.values:
            return Row(row.record, row.itself, row.outer)
        names = sorted(frozenset().union(*self.columns))
        return Row({name: row.record[name] for name in names if name in row.record}, row.itself, row.outer)

    def _of_item(self, item: str, states: list[State]) -> Iterator[tuple[dict[str, Any], list[Event] | Reject]]:
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
                made = self._differences(item, row, before, tried, taken, time, sequence, final)
            except Unmapped as error:
                yield row.record, self._refused(record, error)  # and the next row is compared with the one before it
                continue
            yield row.record, made
            held = tried
            before = row

    def _differences(
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
        """The events of a row after the row before. Raises Unmapped."""
        made: list[Event] = []
        for rule, change, held in zip(self._rules, self._changes, known, strict=True):
            try:
                if not rule.fits(row) or not change.means(row, before, held, final):
                    continue
            except Unmapped as error:
                error.place = error.place or rule.place("on")
                raise
            fact = rule.fact(row)
            instant = rule.instant(row, None) if rule.time is not None else time
            if fact is None or instant is None:
                continue
            occasion = f"{item}/{sequence if self._sequence is not None else stamp(time)}/{fact}"
            taken[occasion] = taken.get(occasion, 0) + 1
            if taken[occasion] > 1:
                occasion = f"{occasion}/{taken[occasion]}"
            made.append(rule.event(row, self._item, occasion, fact, instant, sequence if self._sequence is not None else None))
        return made


class _Happened:
    """Whether a row of an update log, after the row before, means something."""

    def __init__(self, paths: Paths, on: str | Change | None) -> None:
        self._on = on
        change = on if isinstance(on, Change) else Change(changed=[])
        self._changed = [(path, paths.text(path)) for path in change.changed or ()]
        self._raised = paths.text(change.raised) if change.raised is not None else None
        self._path = change.raised or ""
        [(path, values)] = (change.entered or change.left or {"-": []}).items()
        self._take, self._values = paths.text(path), frozenset(values)

    def means(self, row: Row, before: Row | None, known: dict[str, str], final: bool) -> bool:
        """Whether it does. `before` is None for an item's first row; what it must remember stands in `known`. Raises Unmapped."""
        if self._on == "first":
            return before is None
        if self._on == "last":
            return final
        if self._changed:
            return self._is_changed(row, known)
        if self._raised is not None:
            new = self._raised(row)
            if new is None:
                return False
            old = known.get(self._path, new)
            known[self._path] = new
            return _whole(new, self._path) > _whole(old, self._path)
        now = self._take(row) in self._values
        was = before is not None and self._take(before) in self._values
        return now and not was if isinstance(self._on, Change) and self._on.entered else was and not now

    def _is_changed(self, row: Row, known: dict[str, str]) -> bool:
        changed = False
        for path, take in self._changed:
            value = take(row)
            if value is None:
                if changed:
                    known.pop(path, None)
            elif known.get(path) != value:
                known[path] = value
                changed = True
            if not known:
                return False
        return changed


class _Compiled:
    """A rule, ready to be used."""

    def __init__(self, paths: Paths, file: SourceFile, number: int) -> None:
        self._rule = rule = file.rules[number]
        self.name = rule.fact if isinstance(rule.fact, str) else "mapped"
        self.own = [field for field in Fields.model_fields if field in rule.model_fields_set and getattr(rule, field) is not None]
        self.used: Counter[str] | None = None
        """How often each field was filled, once somebody watches."""
        self._number = number
        self._source = file.source
        self._each = paths.look(rule.each) if rule.each is not None else None
        self._fits = paths.conditions(rule.conditions())
        self._fact = paths.mapped(rule.fact)
        self.time = paths.instant(rule.time) if rule.time is not None else None
        self._item = paths.mapped(rule.item) if rule.item is not None else None
        self._id = paths.mapped(rule.id) if rule.id is not None else None
        self._texts: list[tuple[str, Take]] = []
        self._about: list[Take] = []
        self._due: Instant | None = None
        for field in Fields.model_fields:
            value = getattr(rule, field) if field in rule.model_fields_set else getattr(file.always, field)
            if value is None:
                continue
            if field == "about":
                self._about = [paths.template(text) for text in value]
            elif field == "due":
                self._due = paths.instant(value)
            else:
                self._texts.append((field, paths.mapped(value)))

    def place(self, field: str) -> tuple[Any, ...]:
        """Where the file says what the field is made of."""
        if field in self._rule.model_fields_set:
            return ("rules", self._number, field)
        if field in Fields.model_fields:
            return ("always", field)
        return (field,) if field in ("time", "item", "id") else ("rules", self._number)

    def rows(self, row: Row) -> Iterable[Row]:
        """The row itself, or with each element of the rule's list at hand. Raises Unmapped."""
        if self._each is None:
            return (row,)
        elements = self._each(row)
        if elements is None:
            return ()
        if not isinstance(elements, list):
            raise Unmapped(f"{self._rule.each}: holds no list", self.place("each"))
        if len(elements) > MOST_ELEMENTS:
            raise Unmapped(f"{self._rule.each}: holds {len(elements)} elements, more than {MOST_ELEMENTS}", self.place("each"))
        return [row.at(element) for element in elements]

    def fits(self, row: Row) -> bool:
        """Whether its conditions hold. Raises Unmapped."""
        try:
            return self._fits(row)
        except Unmapped as error:
            error.place = error.place or self.place("when")
            raise

    def fact(self, row: Row) -> str | None:
        """Which fact it is; None for none. Raises Unmapped."""
        try:
            return self._fact(row)
        except Unmapped as error:
            error.place = error.place or self.place("fact")
            raise

    def instant(self, row: Row, otherwise: Instant | None) -> int | None:
        """When it happened, by the rule or else by the file. Raises Unmapped."""
        read = self.time or otherwise
        try:
            return read(row) if read is not None else None
        except Unmapped as error:
            error.place = error.place or self.place("time")
            raise

    def event(self, row: Row, item: Take, occasion: str, fact: str, instant: int, sequence: int | None) -> Event:
        """The event. Raises Unmapped."""
        fields: dict[str, Any] = {"source": self._source, "time": instant, "fact": fact, "id": occasion}
        if sequence is not None:
            fields["sequence"] = sequence
        field = "item"
        try:
            fields["item"] = Mapping._named(self._item or item, row, "item")
            if self._id is not None:
                field = "id"
                fields["id"] = Mapping._named(self._id, row, "id")
            for field, take in self._texts:
                found = take(row)
                if found is not None:
                    convert = _CONVERT.get(field)
                    fields[field] = found if convert is None else convert(found, field)
            field = "about"
            about = [found for found in (take(row) for take in self._about) if found is not None]
            if about:
                fields["about"] = about
            field = "due"
            due = self._due(row) if self._due is not None else None
            if due is not None:
                fields["due"] = due
            if self.used is not None:
                self.used.update(list(fields))
            return event_at(fields)
        except BadEvent as error:
            raise Unmapped(str(error), self.place(error.field)) from None
        except Unmapped as error:
            error.place = error.place if len(error.place) > 1 else self.place(field)
            raise


def _shown(text: str) -> str:
    """A text as a reason quotes it."""
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}…"


def _number(text: str, field: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not -1e300 < number < 1e300:
        raise Unmapped(f"{field}: {_shown(text)} is not a number")
    return number


def _whole(text: str | None, field: str) -> int:
    try:
        if text is None or len(text) > 20:
            raise ValueError
        return int(text)
    except ValueError:
        raise Unmapped(f"{field}: {_shown(text)} is not a whole number" if text is not None else f"{field}: is missing") from None


def _truth(text: str, field: str) -> bool:
    if text not in ("true", "false"):
        raise Unmapped(f"{field}: write true or false, or map to them; got {_shown(text)}")
    return text == "true"


_CONVERT: dict[str, Callable[[str, str], Any]] = {"score": _number, "scale": _number, "sequence": _whole, "synthetic": _truth}


def _with_parsed(fields: dict[str, Any], steps: tuple[str, ...]) -> dict[str, Any]:
    """The record with the JSON in the text at the steps read; as it is where there is no such text, or no JSON in it."""
    text = walk(fields, steps)
    if not isinstance(text, str):
        return fields
    try:
        value = decode(text.encode("utf-8", "surrogatepass"))
    except Unmapped:
        return fields
    copied = here = dict(fields)
    for step in steps[:-1]:
        inner = here[step] if isinstance(here, dict) else None
        if not isinstance(inner, dict):
            return fields  # inside a list: left as it is
        here[step] = dict(inner)
        here = here[step]
    here[steps[-1]] = value
    return copied


def _with_headers(raw: bytes, named: dict[str, str]) -> bytes:
    """A record with the headers that it came with; what can't be read stays as it is, to be refused by itself."""
    try:
        return json.dumps(decode_record(raw) | {"headers": named}, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except (Unmapped, UnicodeEncodeError):
        return raw


def _form(body: bytes) -> bytes:
    """The fields of a form as a JSON object. Raises Unmapped."""
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, strict_parsing=True, max_num_fields=1_000, errors="strict")
    except ValueError as error:
        raise Unmapped(f"not a form: {error}") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise Unmapped(f"{next(name for name in names if names.count(name) > 1)}: is written twice")
    return json.dumps(fields, ensure_ascii=False).encode()


def _content(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str).encode()


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.blake2b(_content(fields), digest_size=12).hexdigest()


def _templates(file: SourceFile) -> Iterator[str]:
    """Every template of the file."""
    for value in (file.item, file.id, file.time, file.order.time if file.order else None):
        yield from texts_of(value)
    for fields in (file.always, *file.rules):
        for _, text in templates_of(fields):
            yield text
    for found in file.values.values():
        if isinstance(found, Found):
            yield found.equals


def _columns(file: SourceFile) -> frozenset[frozenset[str]]:
    """The record's own fields that the file names, alternatives together, so that a misspelt column is noticed."""
    own = {"each", "outer", "headers", *file.values}
    groups = (frozenset(steps_of(one)[0] for one in alternatives(path)) for path in _paths(file))
    return frozenset(names - own for names in groups if names - own)


def _paths(file: SourceFile) -> Iterator[str]:
    for text in _templates(file):
        for _, path in placeholders(text):
            if path is not None and path != ITSELF:
                yield path
    if file.order is not None and file.order.sequence is not None:
        yield file.order.sequence
    for value in file.values.values():
        if isinstance(value, Found):
            yield value.among
    for rule in file.rules:
        yield from _paths_of(rule)


def _paths_of(rule: Rule) -> Iterator[str]:
    if rule.each is not None:
        yield rule.each
    for conditions in rule.conditions():
        yield from conditions
        for condition in conditions.values():
            if not isinstance(condition, list):
                yield from (path for path in (condition.same_as, condition.differs_from) if path is not None)
    if isinstance(rule.on, Change):
        yield from rule.on.changed or ()
        yield from rule.on.entered or ()
        yield from rule.on.left or ()
        if rule.on.raised is not None:
            yield rule.on.raised


def brought_by(mappings: Iterable[Mapping]) -> dict[str, tuple[str, ...]]:
    """By promise, the sources whose mappings say that they bring its evidence: what it waits on, beside the source that made it."""
    found: dict[str, set[str]] = {}
    for mapping in mappings:
        for promise in mapping.brings:
            found.setdefault(promise, set()).add(mapping.source)
    return {promise: tuple(sorted(sources)) for promise, sources in sorted(found.items())}


def packaged() -> list[str]:
    """The names of the mappings that come with Tribo."""
    return sorted(path.stem for path in PACKAGED.glob("*.yaml"))
