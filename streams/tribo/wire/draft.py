"""`tribo new-source`: a first mapping from a sample of records, to be finished by hand.

Each guess stands in the draft with what it rests on: how many records have the column, how many different values, which words of its
name. What can't be known from a sample (a zone, what a strange word means) is left open, and said.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tribo.wire.mapping import Mapping
from tribo.wire.paths import Unmapped, decode
from tribo.wire.readers import read
from tribo.wire.rejects import Reject
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import canonical
from tribo_schemas.source import OWN, source_of, strptime_of

MOST_RECORDS = 2_000
"""Of the sample that are looked at."""
MOST_COLUMNS = 300
MOST_VALUES = 40
"""Different values of a column that says what a record means."""
DEEPEST = 5
NEARLY_ALL = 0.8
YEAR_SECONDS = 31_556_952
SHOWN = 60

FORMATS = (
    "yyyy-mm-dd HH:MM:SS", "yyyy-mm-dd HH:MM", "yyyy/mm/dd HH:MM:SS", "yyyy/mm/dd HH:MM", "d/m/yyyy H:MM:SS", "d/m/yyyy H:MM",
    "m/d/yyyy H:MM:SS", "m/d/yyyy H:MM",
    "m/d/yyyy hh:MM:SS AM", "m/d/yyyy hh:MM AM", "d.m.yyyy H:MM:SS", "d.m.yyyy H:MM", "d/m/yyyy", "m/d/yyyy", "d.m.yyyy",
)  # fmt: skip
FACT_WORDS = {
    "reopened": "reopened reopen",
    "customer_replied": "customer_replied customer_reply customer_message customer_responded reply_received",
    "awaiting_customer": "pending waiting awaiting awaiting_customer on_hold waiting_on_customer requires_action",
    "put_on_hold": "hold held put_on_hold",
    "resumed": "resumed unhold retrieved",
    "asked_if_fixed": "survey_sent csat_sent",
    "promised": "promised committed due target deadline estimated expected eta sla promise",
    "queued": "queued enqueued queue waiting_room entered_queue q_start",
    "escalated": "escalated escalation",
    "complained": "complained complaint",
    "praised": "praised compliment",
    "rated": "rated rating survey feedback csat nps",
    "rejected": "rejected declined denied refused failed",
    "abandoned": "abandoned hangup hung_up missed dropped",
    "released": "cancelled canceled withdrawn cancel",
    "assigned": "assigned assignment routed transferred reassigned dispatched shipped handed carrier moved sent",
    "resolved": "resolved solved delivered completed complete paid refunded done finished fixed succeeded",
    "closed": "closed close archived ended end",
    "answered": "answered replied responded response accepted connected answer reply approved approval confirmed",
    "opened": "opened created open new placed submitted received registered purchase purchased start started create request requested",
}
"""Words of a value, or of a time column's name, that speak for a fact; the first fact that one speaks for is taken."""
FIELD_WORDS = {
    "customer": "customer client caller requester member patient contact account user email buyer",
    "team": "team group queue department skill division desk",
    "owner": "owner agent assignee assigned operator server handler rep staff employee",
    "channel": "channel via medium origin source contact_type",
    "topic": "topic category reason issue product subcategory subject_type",
}
ITEM_KINDS = (
    "order ticket case incident invoice call request return refund payment complaint chat conversation claim issue task shipment booking"
)
NOTHING = frozenset(("?", "n/a", "null", "none", "nan", "-", "--", "nil", "undefined", "\\n"))
"""Texts, in small letters, by which systems say that nothing is known."""
TOUCHPOINTS = {
    "billing": "invoice payment charge bill billing dispute",
    "returns": "return refund rma",
    "purchase": "order cart purchase booking shipment delivery",
}
MEANING = "type event event_type action status state kind outcome topic activity name"
STARTED = "opened_at created_at opened created"
UPDATED = "updated modified changed update sys_updated_on sys_updated_at"


class Column(msgspec.Struct):
    """A column (or dotted path) of the sample."""

    path: str
    filled: int = 0
    values: Counter[str] = msgspec.field(default_factory=Counter)
    form: str | None = None
    """How its values read as times."""
    ambiguous: str | None = None
    zoned: bool = False

    @property
    def words(self) -> list[str]:
        """The words of its name, the whole name first."""
        name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", self.path).lower()
        parts = [part for part in re.split(r"[^a-z0-9]+", name) if part]
        return ["_".join(parts), *parts]


class Draft(msgspec.Struct):
    """A drafted mapping: its text, and what is left to be done by hand."""

    text: str
    left: list[str]


class _Sample:
    """The records looked at, and their columns."""

    def __init__(self, inputs: list[str]) -> None:
        self.unpack: str | None = None
        self.format = "jsonl"
        self.lists: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.records = list(islice(self._records(inputs), MOST_RECORDS))
        if not self.records:
            raise BadConfig(f"{inputs[0]}: holds no record that can be read; give a sample of at least one")
        columns: dict[str, Column] = {}
        for record in self.records:
            for path, value in _flat(record, self.lists):
                column = columns.setdefault(path, Column(path)) if len(columns) < MOST_COLUMNS else columns.get(path)
                if value.strip().lower() in NOTHING:
                    self.missing[value.strip()] += 1
                elif column is not None and value.strip():
                    column.filled += 1
                    if len(column.values) < 10_000:
                        column.values[value.strip()] += 1
        self.columns = [column for column in columns.values() if column.filled]
        for column in self.columns:
            _read_as_time(column)

    def _records(self, inputs: Iterable[str]) -> Iterator[dict[str, Any]]:
        for path in inputs:
            for record in read(path):
                if isinstance(record, Reject):
                    continue
                if isinstance(record.payload, dict):
                    self.format = "csv"
                    yield record.payload
                    continue
                try:
                    value = decode(record.payload)
                except Unmapped:
                    continue
                yield from self._unpacked(value)

    def _unpacked(self, value: Any) -> Iterator[dict[str, Any]]:
        if not isinstance(value, dict):
            return
        lists = [
            name for name, part in value.items()
            if isinstance(part, list) and len(part) > 1 and all(isinstance(one, dict) for one in part) and _usable(name)
        ]  # fmt: skip
        scalars = sum(not isinstance(part, list | dict) for part in value.values())
        if self.unpack is None and lists and scalars <= 3:
            self.unpack = max(lists, key=lambda name: len(value[name]))
        if self.unpack is not None and isinstance(value.get(self.unpack), list):
            yield from value[self.unpack]
        else:
            yield value

    def named(self, words: str, among: Iterable[Column]) -> Column | None:
        """The column whose name has the first of the words, the whole name before a part of it."""
        wanted = words.split()
        scored = [
            (min((wanted.index(word), place > 0) for place, word in enumerate(column.words) if word in wanted), -column.filled, column)
            for column in among
            if any(word in wanted for word in column.words)
        ]
        return min(scored, key=lambda entry: entry[:2])[2] if scored else None


def _usable(name: str) -> bool:
    """Whether a path can name it."""
    return name == name.strip() and name not in ("", "*") and not set("{}") & set(name)


def _flat(value: Any, lists: Counter[str], path: str = "", deep: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and deep < DEEPEST:
        for name, part in value.items():
            if _usable(name) and (path or name not in OWN):
                step = name.replace(".", "\\.").replace("|", "\\|")
                yield from _flat(part, lists, f"{path}.{step}" if path else step, deep + 1)
    elif isinstance(value, list):
        if value and isinstance(value[0], dict):
            lists[path] += 1
    elif isinstance(value, bool):
        yield path, "true" if value else "false"
    elif isinstance(value, str | int | float):
        yield path, str(value)


def _read_as_time(column: Column) -> None:
    """Say how a column's values read as times, if nearly all of them do."""
    values = [value for value, _ in column.values.most_common(200)]
    enough = len(values) * NEARLY_ALL
    numbers = [value for value in values if re.fullmatch(r"\d{10}(\.\d{1,9})?|\d{13}", value)]
    if len(numbers) >= enough:
        scale = 1 if len(numbers[0].partition(".")[0]) == 10 else 1000
        if set(column.words[1:]) & _TIME_WORDS and all(2000 < float(value) / scale / YEAR_SECONDS + 1970 < 2100 for value in numbers):
            column.form, column.zoned = "epoch_s" if scale == 1 else "epoch_ms", True
        return
    moments = [moment for value in values if len(value) >= 10 and value[4:5] == "-" and (moment := _iso(value)) is not None]
    if len(moments) >= enough:
        column.form, column.zoned = "iso", all(moment.tzinfo is not None for moment in moments)
        return
    fitting = [form for form in FORMATS if sum(_fits(value, form) for value in values) >= enough]
    if fitting:
        column.form = fitting[0]
        column.ambiguous = fitting[1] if len(fitting) > 1 else None


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _fits(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, strptime_of(form))
    except ValueError:
        return False
    return True


def _fact_of(words: Iterable[str]) -> str | None:
    """The fact that one of the words speaks for."""
    spoken = list(words)
    joined = "_".join(spoken)
    for fact, known in FACT_WORDS.items():
        if any(word in known.split() for word in (joined, *spoken)):
            return fact
    return None


def _words(text: str) -> list[str]:
    plain = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text).lower()
    return [part for part in re.split(r"[^a-z0-9]+", plain) if part]


def draft(inputs: list[str], name: str, zone: str | None = None) -> Draft:
    """A mapping drafted from a sample (.jsonl, .json, .csv or `-`), called `name`. Raises BadConfig."""
    return _Writer(_Sample(inputs), name, zone).draft()


class _Writer:
    """The guesses, and the draft that they make."""

    def __init__(self, sample: _Sample, name: str, zone: str | None) -> None:
        self.sample = sample
        self.name = name
        self.zone = zone
        self.left: list[str] = []
        self.times = [column for column in sample.columns if column.form is not None]
        self.texts = [column for column in sample.columns if column.form is None]
        self.item, self.item_kind = self._guess_item()
        self.meaning = self._guess_meaning()
        self.kind = self._guess_kind()
        self.fields = self._guess_fields()

    # -- guesses -------------------------------------------------------------------------------------------------------------

    def _guess_item(self) -> tuple[Column | None, str]:
        others = {word for words in FIELD_WORDS.values() for word in words.split()}
        many = [
            column for column in self.texts
            if column.filled >= len(self.sample.records) * NEARLY_ALL and not set(column.words[1:]) & others
            and (column.words[-1] in _ID_WORDS or len(column.values) >= column.filled / 10)
        ]  # fmt: skip
        spoken = Counter(_words(self.name))
        for one in self.texts:
            if set(one.words) & set(MEANING.split()) and len(one.values) <= MOST_VALUES:
                spoken.update(word for value in one.values for word in set(_words(value)))
        named = max(ITEM_KINDS.split(), key=lambda kind: spoken[kind] + spoken[f"{kind}s"])
        if not spoken[named] + spoken[f"{named}s"]:
            named = "case"
        for kind in ITEM_KINDS.split():
            for names in (f"{kind}_id {kind}_number {kind}_no {kind}_nr {kind}_key", kind):
                column = self.sample.named(names, (one for one in many if one.words[0] == kind or one.words[-1] in _ID_WORDS))
                if column is not None:
                    return column, kind
        again = [column for column in many if len(column.values) < column.filled] if len(self.sample.records) > 1 else []
        inner = [column for column in again if column.words[-1] in _ID_WORDS]
        return self.sample.named("number id key no nr", inner) or self.sample.named("number id key no nr", many), named

    def _guess_meaning(self) -> Column | None:
        few = [
            column for column in self.texts
            if column is not self.item and 1 <= len(column.values) <= MOST_VALUES and column.filled >= len(self.sample.records) * NEARLY_ALL
        ]  # fmt: skip
        speaking = [column for column in few if any(_fact_of(_words(value)) for value in column.values)]
        return self.sample.named(MEANING, speaking) or self.sample.named(MEANING, few)

    def _guess_kind(self) -> str:
        speaks = self.meaning is not None and any(_fact_of(_words(value)) for value in self.meaning.values)
        if speaks and self.meaning is not None and set(self.meaning.words) & {"type", "event", "action"}:
            return "records"
        each_its_own = self.item is None or len(self.item.values) >= self.item.filled * 0.98
        if each_its_own and sum(_fact_of(column.words[1:]) is not None for column in self.times) >= 2:
            return "wide_table"
        updated = self.sample.named(UPDATED, self.times)
        return "update_log" if not each_its_own and updated is not None and self.meaning is not None else "records"

    def _guess_fields(self) -> dict[str, Column]:
        taken = {id(column) for column in (self.item, self.meaning) if column is not None}
        found: dict[str, Column] = {}
        for field, words in FIELD_WORDS.items():
            free = [one for one in self.texts if id(one) not in taken and not one.values.keys() <= {"true", "false"}]
            column = self.sample.named(words, free)
            if column is not None:
                found[field] = column
                taken.add(id(column))
        return found

    # -- writing -------------------------------------------------------------------------------------------------------------

    def draft(self) -> Draft:
        """The draft."""
        lines = [
            f"# A draft from {len(self.sample.records)} records. Each guess says what it rests on: correct it, and run",
            f"#   tribo check --source {self.name}.yaml RECORDS",
            f"source: {self.name if _plain(self.name) else _quoted(self.name)}",
            f"kind: {self.kind:<26}{_KINDS[self.kind]}",
        ]
        if self.sample.format != "jsonl":
            lines.append(f"format: {self.sample.format}")
        if self.sample.unpack is not None:
            lines.append(f"unpack: {_quoted(self.sample.unpack.replace('.', chr(92) + '.'))}")
        lines += self._item_lines()
        if self.sample.missing:
            lines.append("missing: " + _quoted(sorted(self.sample.missing)))
        lines += self._time_lines()
        lines += self._always_lines()
        lines.append("rules:")
        lines += {"wide_table": self._wide_rules, "update_log": self._log_rules, "records": self._record_rules}[self.kind]()
        if self.sample.lists:
            path, count = self.sample.lists.most_common(1)[0]
            lines.append(f"  # {count} records hold a list at {_short(path)}: `each:` makes a rule look at each of its elements")
        text = "\n".join(lines) + "\n"
        return Draft(text + self._examples(text), self.left)

    def _item_lines(self) -> list[str]:
        if self.item is None:
            self.left.append("item: no column looks like an id, so each record is an item of its own; write which one names the item")
            return [f'item: "{self.item_kind}:{{*}}"            # no column looks like an id: each record is an item of its own']
        lines = [f"item: {_template(self.item, self.item_kind + ':'):<26}{self._evidence(self.item)}"]
        if self.kind == "records":
            total = len(self.sample.records)
            ids = [one for one in self.texts if one.words[0] in _RECORD_IDS and len(one.values) == one.filled == total]
            column = next((one for one in ids if one is not self.item or total == 1), None)
            if column is not None:
                lines.append(f"id: {_template(column):<28}{self._evidence(column)}")
            else:
                lines.append("# id: no column names each record: its content does (one by one, alike records are the same record)")
        return lines

    def _time_lines(self) -> list[str]:
        if not self.times:
            self.left.append("time: no column reads as a time in a known form; write which, and its form under `times`")
            return ['time: "{FILL_IN}"' if self.kind == "records" else "# no column reads as a time"]
        lines: list[str] = []
        used = self._used_times()
        if not all(column.zoned for column in used):
            if self.zone is not None:
                lines.append(f"zone: {_quoted(self.zone)}")
            else:
                self.left.append("zone: the times carry none; write the one that they are in (or say it with --zone)")
                lines.append("zone: FILL_IN                 # the times carry none: write the one that they are in, such as Europe/Vienna")
        forms = list(dict.fromkeys(column.form for column in used if column.form is not None))
        lines.append("times: [" + ", ".join(json.dumps(form) if " " in form else form for form in forms) + "]")
        for column in used:
            if column.ambiguous is not None:
                self.left.append(f"times: {column.path} reads as {column.form} and as {column.ambiguous}: make sure which it is")
                lines.append(f"# {_short(column.path)} reads as {column.form} and as {column.ambiguous}: make sure which it is")
        happened = self._happened()
        if self.kind == "records" and happened is not None:
            lines.append(f"time: {_template(happened):<26}{self._evidence(happened)}")
        elif self.kind == "update_log" and happened is not None:
            counted = self.sample.named("mod_count version revision sequence sys_mod_count", self.texts)
            sequence = f", sequence: {_quoted(counted.path)}" if counted is not None else ""
            lines.append(f"order: {{time: {_template(happened)}{sequence}}}{'':4}{self._evidence(happened)}")
        return lines

    def _used_times(self) -> list[Column]:
        """The times that the draft reads."""
        if self.kind == "wide_table":
            return self.times
        also = self.sample.named(STARTED, self.times) if self.kind == "update_log" else None
        return [column for column in (self._happened(), also) if column is not None]

    def _happened(self) -> Column | None:
        """The time that a record as a whole happened at."""
        if self.kind == "update_log":
            return self.sample.named(UPDATED, self.times)
        filled = [column for column in self.times if column.filled >= len(self.sample.records) * NEARLY_ALL]
        named = self.sample.named("time timestamp at occurred_at happened_at date created created_at when", filled)
        return named or max(self.times, key=lambda column: column.filled, default=None)

    def _always_lines(self) -> list[str]:
        spoken = {self.item_kind, *_words(self.name)}
        spoken |= {word.removesuffix("s") for word in spoken}
        touchpoint = next((point for point, words in TOUCHPOINTS.items() if spoken & set(words.split())), "service")
        lines = ["always:", f"  touchpoint: {touchpoint:<18}# from the item's kind: purchase, billing, returns or service"]
        for field in ("customer", "topic"):
            column = self.fields.get(field)
            if column is not None:
                lines.append(f"  {field}: {_template(column):<{28 - len(field)}}{self._evidence(column)}")
        if "customer" not in self.fields:
            self.left.append("customer: no column looks like one; without it nobody's repeat contacts can be told")
            lines.append("  # customer: no column looks like one")
        return lines

    def _beside(self, fact: str) -> str:
        """Fields that a fact usually carries."""
        fields = {"assigned": ("team", "owner"), "answered": ("owner",), "opened": ("channel",), "queued": ("channel",)}.get(fact, ())
        named = [f"{field}: {_template(self.fields[field])}" for field in fields if field in self.fields]
        who = {"opened": "customer", "abandoned": "customer", "customer_replied": "customer", "released": "customer"}.get(fact)
        return "".join(f", {part}" for part in [*named, *([f"by: {who}"] if who else [])])

    def _record_rules(self) -> list[str]:
        if self.meaning is None:
            self.left.append("rules: no column says what a record means; all are taken as `opened`")
            return [f"  - {{fact: opened{self._beside('opened')}}}   # no column says what a record means: write rules with `when`"]
        column, strange = self.meaning, []
        lines = [f"  # what a record means: {_short(column.path)}{self._evidence(column)}"]
        for value, count in column.values.most_common():
            fact = _fact_of(_words(value)[-3:])
            told = f"when: {{{_key(column)}: {_quoted(value)}}}, fact: {fact or 'FILL_IN'}"
            if fact in (None, "promised", "rated"):
                strange.append(value)
                lines.append(f"  # - {{{told}}}   # {count} records: {_ASK.get(fact or '', 'which fact is it, if any?')}")
            else:
                lines.append(f"  - {{{told}{self._beside(str(fact))}}}   # {count} records")
        if strange:
            self.left.append(f"rules: {len(strange)} values of {column.path} are left out: {', '.join(strange[:8])}")
        if not any(line.startswith("  - ") for line in lines):
            lines.append("  - {when: {" + _key(column) + ": FILL_IN}, fact: opened}   # none of the values speaks for itself")
        return [*lines, "unmatched: skip               # what no rule fits is passed over"]

    def _wide_rules(self) -> list[str]:
        lines: list[str] = []
        opened = next((column for column in self.times if _fact_of(column.words[1:]) == "opened"), self.times[0])
        for column in self.times:
            fact = "opened" if column is opened else _fact_of(column.words[1:])
            told = self._evidence(column)
            if fact == "promised":
                when = f"when: {{{_key(column)}: {{exists: true}}}}"
                lines.append(f"  # {_short(column.path)}{told}; `resolved` keeps the promise `resolution`, another one needs a `kept`")
                due = _template(column)
                if all(re.search(r"(?:^|[T ])0?0:00(?::00)?|^[^:]+$", value) for value in column.values):
                    due = f"{{take: {due}, plus: 1d}}"  # a day: it is over at its end
                lines.append(f"  - {{fact: promised, time: {_template(opened)}, {when}, promise: resolution, due: {due}}}")
            elif fact is None or (fact == "opened" and column is not opened):
                self.left.append(f"rules: {column.path} is a time, but of which fact?")
                lines.append(f"  # - {{fact: FILL_IN, time: {_template(column)}}}{told}")
            else:
                lines.append(f"  - {{fact: {fact}, time: {_template(column)}{self._beside(fact)}}}{told}")
        return lines

    def _log_rules(self) -> list[str]:
        started = self.sample.named(STARTED, self.times)
        at = f", time: {_template(started)}" if started is not None else ""
        lines = [f"  - {{fact: opened, on: first{at}{self._beside('opened')}}}"]
        changed = [self.fields[field] for field in ("team", "owner") if field in self.fields]
        if changed:
            lines.append(f"  - {{fact: assigned, on: {{changed: [{', '.join(map(_key, changed))}]}}{self._beside('assigned')}}}")
        reopened = self.sample.named("reopen_count reopened reopens", self.texts)
        if reopened is not None:
            lines.append(f"  - {{fact: reopened, on: {{raised: {_key(reopened)}}}}}{self._evidence(reopened)}")
        if self.meaning is not None:
            lines.append(f"  # its state: {_short(self.meaning.path)}{self._evidence(self.meaning)}")
            entered: dict[str, list[str]] = {}
            for value in self.meaning.values:
                entered.setdefault(_fact_of(_words(value)) or "", []).append(value)
            for fact, values in entered.items():
                written = _quoted(sorted(values))
                if fact in _STATES:
                    lines.append(f"  - {{fact: {fact}, on: {{entered: {{{_key(self.meaning)}: {written}}}}}}}")
                else:
                    lines.append(f"  # no fact by itself: {written}")
        return lines

    def _evidence(self, column: Column) -> str:
        total = len(self.sample.records)
        many = "all different" if len(column.values) == column.filled > 1 else f"{len(column.values)} different"
        shown = "" if column is self.fields_or_none("customer") else f", such as {_short(next(iter(column.values)))}"
        return f"  # {column.filled} of {total}, {many}{shown}"

    def fields_or_none(self, field: str) -> Column | None:
        """The column guessed for a field; None before fields are guessed, too."""
        return getattr(self, "fields", {}).get(field)

    def _examples(self, text: str) -> str:
        """The first records that give something, with what the draft makes of them."""
        try:
            mapping = Mapping(source_of(parse_yaml(text.encode(), f"{self.name}.yaml")), self.name)
        except BadConfig:
            return "# examples: once what is left is filled in, add some records (raw) and the events that they must give\n"
        lines = ["examples:                     # what the draft makes of some records: correct it to what it should make of them"]
        names = sorted(frozenset().union(*mapping.columns))
        shown: set[tuple[str, ...]] = set()
        for record in self.sample.records[: 1 if self.kind == "update_log" else 200]:
            kept = {name: record[name] for name in names if name in record}
            raw = {self.sample.unpack: [kept]} if self.sample.unpack is not None else kept
            made = [one for one in mapping.events([raw]) if not isinstance(one, Reject)]
            facts = tuple(one.fact for one in made)
            if facts and facts not in shown:
                shown.add(facts)
                events = [_event(canonical(one)) for one in made]
                lines += [f"  - raw: {_quoted(raw)}", "    events:", *(f"      - {event}" for event in events)]
            if len(lines) > 8:
                break
        return "\n".join(lines) + "\n" if len(lines) > 1 else "# examples: no record gave an event yet\n"


_TIME_WORDS = frozenset(("time", "timestamp", "ts", "at", "date", "created", "updated", "modified", "on", "when", "epoch", "ms"))
_ID_WORDS = ("id", "number", "no", "nr", "key", "sid", "code")
_KINDS = {
    "records": "# each record says that something happened (else: update_log, wide_table)",
    "update_log": "# each record is an item's state after a change (else: records, wide_table)",
    "wide_table": "# a record is an item, with a column for each time (else: records, update_log)",
}
_YAML_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
_RECORD_IDS = ("id", "event_id", "uuid", "sid", "message_id", "delivery_id")
_STATES = ("resolved", "closed", "awaiting_customer", "abandoned", "released", "rejected", "escalated")
_ASK = {"promised": "add `promise:` (its id) and `due:` (its time)", "rated": "add `score:` and `scale:`"}


def _event(fields: dict[str, Any]) -> str:
    del fields["source"]
    return _quoted(fields)


def _template(column: Column, before: str = "") -> str:
    return _quoted(f"{before}{{{column.path}}}")


def _key(column: Column) -> str:
    return _quoted(column.path)


def _plain(text: str) -> bool:
    """Whether it needs no quotes: begins with a letter, and isn't one of YAML's own words."""
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) is not None and text.lower() not in _YAML_WORDS


def _quoted(value: Any) -> str:
    """A value as it may stand in YAML: as JSON, which is YAML too, but for letters that can't be seen."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def _short(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + " …"


def save(made: Draft, out: Path) -> None:
    """Write the draft to a file that isn't there yet. Raises BadConfig."""
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError:
        raise BadConfig(f"{out}: is there already; choose another name, or remove it") from None
    except OSError as error:
        raise BadConfig(f"{out}: can't be written: {error.strerror or error}") from None
