"""The source mapping: how the records of one system become events. Declarative: no code, no expressions, no regular expressions.

Three kinds of source:

- `records`     each record says that something happened: rules choose the fact;
- `update_log`  a row is an item's state after a change: facts are differences between consecutive rows of an item;
- `wide_table`  one row an item, with a column for each thing that happened to it: a fact for each time column.

Text is taken by templates: `incident:{number}` is `incident:` and what the record holds at the path `number`. A path's parts
are parted by dots (`data.case.id`; `\\.` for a dot inside a name), a number picks from a list. `{*}` stands for the record itself:
a digest of its content and its occurrence (the second alike record is another). A text of which a part is missing is absent.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tribo_schemas.event import FACTS, TOUCHPOINTS

MOST_RULES = 200
MOST_EXAMPLES = 200
BY = ("customer", "human", "bot", "system")
LETTERS = {
    "yyyy": "%Y", "yy": "%y", "mm": "%m", "m": "%m", "dd": "%d", "d": "%d", "HH": "%H", "H": "%H", "hh": "%I", "h": "%I",
    "MM": "%M", "M": "%M", "SS": "%S", "S": "%S", "AM": "%p",
}  # fmt: skip
DIRECTIVES = frozenset("YymdHIMSfpzbB")
STEADY = ("iso", "epoch_s", "epoch_ms")


def placeholders(template: str) -> list[tuple[str, str | None]]:
    """The template in pieces (words, path): the words before each placeholder and its path; last words with None.

    Raises ValueError for a brace without its partner, or an empty placeholder.
    """
    pieces: list[tuple[str, str | None]] = []
    rest = template
    while "{" in rest:
        words, _, rest = rest.partition("{")
        path, closed, rest = rest.partition("}")
        if "}" in words or not closed or not path.strip() or "{" in path:
            raise ValueError(f"write each path between one pair of braces, such as {{number}}; got {template!r}")
        pieces.append((words, path.strip()))
    if "}" in rest:
        raise ValueError(f"write each path between one pair of braces, such as {{number}}; got {template!r}")
    pieces.append((rest, None))
    return pieces


def steps_of(path: str) -> tuple[str, ...]:
    """A dotted path's parts; `\\.` is a dot inside a part. Raises ValueError for an empty part."""
    steps = tuple(step.replace("\0", ".") for step in path.replace("\\.", "\0").split("."))
    if not all(steps):
        raise ValueError(f"write a path as names parted by dots, such as data.case.id; got {path!r}")
    return steps


def strptime_of(form: str) -> str:
    """A time format as strptime directives: `d/m/yyyy H:MM` is `%d/%m/%Y %H:%M`. Numbers may be padded or not. Raises ValueError."""
    if "%" in form:
        if not set(re.findall(r"%(.?)", form)) <= DIRECTIVES:
            raise ValueError(f"use only the directives %{' %'.join(sorted(DIRECTIVES))}; got {form!r}")
        return form
    parts = re.findall(r"T|[A-SU-Za-z]+|[^A-Za-z]+", form)
    for part in parts:
        if part.isalpha() and part not in LETTERS and part != "T":
            raise ValueError(f"write times with {', '.join(LETTERS)}, with %-directives, or iso, epoch_s, epoch_ms; got {form!r}")
    return "".join(LETTERS.get(part, part) for part in parts)


def duration_of(text: str) -> tuple[int, timedelta]:
    """`90s`, `10m`, `4h`, `15d`, each with or without a minus: days of the wall clock, and time that passes. Raises ValueError."""
    found = re.fullmatch(r"(-?\d{1,6})([smhd])", text, re.ASCII)
    if not found:
        raise ValueError(f"write a duration such as 90s, 10m, 4h or 15d; got {text!r}")
    if found[2] == "d":
        return int(found[1]), timedelta()
    return 0, int(found[1]) * {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}[found[2]]


def as_text(value: object) -> str:
    """A scalar as it would stand in a record's text: true, 5, Web. Raises ValueError for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("write a text, a number, true or false")


def _a_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _templated(text: str) -> str:
    for _, path in placeholders(text):
        if path is not None and path != "*":
            steps_of(path)
    return text


def _path(text: str) -> str:
    steps_of(text)
    return text


def _lasting(text: str) -> str:
    duration_of(text)
    return text


def _time_form(text: str) -> str:
    if text not in STEADY:
        strptime_of(text)
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"write an IANA zone such as Europe/Vienna, or UTC; got {name!r}") from None
    return name


Word = Annotated[str, BeforeValidator(as_text)]
Words = Annotated[list[Word], BeforeValidator(_a_list), Field(min_length=1)]
Template = Annotated[str, Field(min_length=1, max_length=1000), BeforeValidator(as_text), AfterValidator(_templated)]
Path = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_path)]
Duration = Annotated[str, AfterValidator(_lasting)]
TimeForm = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_time_form)]
Zone = Annotated[str, AfterValidator(_zone)]


class Strict(BaseModel):
    """What people write: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mapped(Strict):
    """A text that is looked up before it is used."""

    take: Template
    map: dict[Word, Word | None] = {}
    """What stands in the record -> what stands in the event (null: nothing does)."""
    otherwise: Word | None = None
    """For what the map doesn't have. Without it, the text goes through as it is."""
    missing: Word | None = None
    """For when there is nothing in the record."""


class When(Strict):
    """A condition on one path, written out: `{in: [...]}`, `{not: [...]}`, `{exists: true}`; all given must hold."""

    among: Words | None = Field(default=None, alias="in")
    without: Words | None = Field(default=None, alias="not")
    exists: bool | None = None


class Time(Strict):
    """An instant from a record."""

    take: Template
    formats: Annotated[list[TimeForm], BeforeValidator(_a_list)] | None = None
    zone: Zone | None = None
    plus: Duration | None = None
    """Added to it. Days are days on the zone's wall clock."""


class Change(Strict):
    """What must have changed between an item's rows, for an update log. Exactly one of them.

    A row that the rule's `when` does not fit is passed over: `changed` and `raised` compare with the last row that fits.
    """

    changed: Annotated[list[Path], BeforeValidator(_a_list)] | None = None
    """Columns from the widest (team) to the narrowest (owner): one holds another known value than it last had.
    A missing value is no change; when a wider column changed, the narrower ones are forgotten; until the widest is known,
    nothing is."""
    entered: dict[Path, Words] | None = None
    """The column now holds one of these values, and did not in the row before."""
    left: dict[Path, Words] | None = None
    """The column held one of these values in the row before, and does not now."""
    raised: Path | None = None
    """The column's number is higher than in the row before."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("write exactly one of changed, entered, left, raised")
        for columns in (self.entered, self.left):
            if columns is not None and len(columns) != 1:
                raise ValueError("name exactly one column")
        return self


Text = Template | Mapped


def _literal_or_path(allowed: tuple[str, ...]) -> Any:
    def check(value: Any) -> Any:
        if isinstance(value, str) and "{" not in value and value not in allowed:
            raise ValueError(f"write one of {', '.join(allowed)}")
        if isinstance(value, Mapped):
            for target in [*value.map.values(), value.otherwise, value.missing]:
                if target is not None and target not in allowed:
                    raise ValueError(f"map to {', '.join(allowed)}; got {target}")
        return value

    return AfterValidator(check)


class Fields(Strict):
    """The fields of an event that a rule, or the whole mapping, fills in."""

    touchpoint: Annotated[Text, _literal_or_path(TOUCHPOINTS)] | None = None
    customer: Text | None = None
    about: Annotated[list[Template], BeforeValidator(_a_list)] | None = None
    team: Text | None = None
    owner: Text | None = None
    by: Annotated[Text, _literal_or_path(BY)] | None = None
    channel: Text | None = None
    topic: Text | None = None
    promise: Text | None = None
    due: Template | Time | None = None
    score: Text | None = None
    scale: Text | None = None
    standard: Text | None = None
    retracts: Text | None = None
    sequence: Text | None = None
    synthetic: Text | None = None


class Rule(Fields):
    """One fact that a record (or a change of it) may mean."""

    fact: Annotated[Text, _literal_or_path(FACTS)]
    when: dict[Path, Words | When] = {}
    on: Literal["first", "last"] | Change | None = None
    time: Template | Time | None = None
    """Default: the mapping's `time` (records), the row's `order.time` (update log). An absent time means that it did not happen."""
    item: Template | None = None
    id: Template | None = None
    """Default: the record's id, the fact, and its occurrence."""


class Order(Strict):
    """The order of an item's rows in an update log."""

    time: Template | Time
    sequence: Path | None = None
    """The system's own count of the item's changes."""
    first: Literal["time", "sequence"] = "time"
    """What goes first; the other parts ties. `sequence` where the count is to be trusted more than the clock."""

    @model_validator(mode="after")
    def _has_it(self) -> Self:
        if self.first == "sequence" and self.sequence is None:
            raise ValueError("sequence: name the column that goes first")
        return self


class Example(Strict):
    """Records as they come in, and exactly the events that must come out. Executed by `tribo check`."""

    says: str | None = None
    raw: list[dict[str, Any]] = Field(min_length=1)
    events: list[dict[str, Any]]
    rejects: list[str] = []
    """A part of each reason, in order."""

    @field_validator("raw", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return _a_list(value)


class SourceFile(Strict):
    """A whole mapping file."""

    source: Annotated[str, Field(min_length=1, max_length=100)]
    says: str = ""
    kind: Literal["records", "update_log", "wide_table"]
    format: Literal["jsonl", "json", "csv"] = "jsonl"
    """How standard input is read. A file is read as its name says."""
    item: Template
    """`kind:id`."""
    id: Template | None = None
    """What names a record (kind records). Default: its content and its occurrence."""
    personal: list[str] = []
    """Item kinds that name a person (a phone number, a mailbox): shown as pseudonyms."""
    brings: list[str] = []
    """Ids of promises that other sources make and whose evidence comes from here: they wait for this source too."""
    zone: Zone | None = None
    """Of times that carry no zone of their own."""
    times: Annotated[list[TimeForm], BeforeValidator(_a_list)] = ["iso"]
    """Time formats, tried in this order."""
    missing: Annotated[list[Word], BeforeValidator(_a_list)] = []
    """Texts that mean nothing is known, beside the empty one."""
    time: Template | Time | None = None
    order: Order | None = None
    always: Fields = Fields()
    """Fields of every event, unless its rule says otherwise."""
    rules: list[Rule] = Field(min_length=1, max_length=MOST_RULES)
    unmatched: Literal["reject", "skip"] = "reject"
    """What becomes of a record (kind records) that no rule fits."""
    examples: list[Example] = Field(default=[], max_length=MOST_EXAMPLES)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        words = placeholders(self.item)[0][0]
        if ":" not in words or words.startswith(":"):
            raise ValueError("item: begin it with its kind and a colon, such as incident:{number}")
        if self.kind == "update_log":
            if self.order is None:
                raise ValueError("order: an update_log needs it: which column is a row's time, and which its sequence")
        elif self.order is not None:
            raise ValueError("order: only an update_log has it; remove it")
        if self.id is not None and self.kind != "records":
            raise ValueError("id: only kind records has it; here ids come from the item")
        if self.kind != "records" and self.time is not None:
            raise ValueError("time: only kind records has one; here it stands in order, or in each rule; remove it")
        if self.zone is None and any(form not in STEADY and "%z" not in form for form in self.times):
            raise ValueError("zone: these time formats carry none; write the zone they are in, such as Europe/Vienna, or UTC")
        for number, rule in enumerate(self.rules, 1):
            where = f"rules: number {number} ({rule.fact if isinstance(rule.fact, str) else 'mapped'})"
            if rule.on is None and self.kind == "update_log":
                raise ValueError(f"{where}: on: say which change means it, such as `on: first` or `on: {{changed: [team]}}`")
            if rule.on is not None and self.kind != "update_log":
                raise ValueError(f"{where}: on: only an update_log has changes; use `when`")
            if rule.time is None and (self.kind == "wide_table" or (self.kind == "records" and self.time is None)):
                raise ValueError(f"{where}: time: say when it happened, such as `time: '{{closed_at}}'`")
            if rule.touchpoint is None and self.always.touchpoint is None:
                raise ValueError(f"{where}: touchpoint: write it here or under `always`: {', '.join(TOUCHPOINTS)}")
        return self
