"""The source mapping: how the records of one system become events. Declarative: no code and no regular expressions.

Three kinds of source:

- `records`     each record says that something happened: rules choose the fact;
- `update_log`  a row is an item's state after a change: facts are differences between consecutive rows of an item;
- `wide_table`  one row an item, with a column for each thing that happened to it: a fact for each time column.

Text is taken by templates: `incident:{number}` is `incident:` and what the record holds at the path `number`. A path's parts
are parted by dots (`data.case.id`; `\\.` for a dot inside a name), a number picks from a list; `{a|b}` is `a`, or `b` where `a` is
missing. `{*}` stands for the record itself: a digest of its content and its occurrence (the second alike record is another). A text of
which a part is missing is absent; a list of texts is the first of them that isn't.

A path begins in the record, but for: `each`, the element at hand of a rule's list; `outer`, the payload around the record (`unpack`);
`headers`, those of the request that are named; and the names under `values`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from tribo_schemas.config import BadConfig, Document, read_yaml, validate
from tribo_schemas.event import FACTS, TOUCHPOINTS

MOST_RULES = 200
MOST_EXAMPLES = 200
MOST_VALUES = 50
OWN = ("each", "outer", "headers")
BY = ("customer", "human", "bot", "system")
LETTERS = {
    "yyyy": "%Y", "yy": "%y", "mm": "%m", "m": "%m", "dd": "%d", "d": "%d", "HH": "%H", "H": "%H", "hh": "%I", "h": "%I",
    "MM": "%M", "M": "%M", "SS": "%S", "S": "%S", "AM": "%p",
}  # fmt: skip
DIRECTIVES = frozenset("YymdHIMSfpzbBa")
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


def alternatives(path: str) -> list[str]:
    """The paths parted by `|` in a placeholder, the first that is known to be taken; `\\|` is one inside a name."""
    return [part.replace("\0", "|").strip() for part in path.replace("\\|", "\0").split("|")]


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


def _word(value: object) -> str:
    text = as_text(value)
    if "\x00" in text:
        raise ValueError("write a text without the NUL character")
    return text


def _a_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _templated(text: str) -> str:
    for _, path in placeholders(text):
        if path is not None and path != "*":
            for each in alternatives(path):
                steps_of(each)
    return text


def _expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except (JMESPathError, RecursionError, ValueError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0].rstrip(":")
        raise ValueError(f"write a JMESPath expression such as \"items[?kind=='refund'].at | [0]\": {said}") from None
    return text


def _header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,60}", text, re.ASCII):
        raise ValueError(f"write a header's name such as X-Shopify-Topic; got {text!r}")
    return text


def _value_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,40}", text, re.ASCII) or text in OWN:
        raise ValueError(f"write a name of letters, digits and _, and none of {', '.join(OWN)}; got {text!r}")
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


def _one_or_more(schema: dict[str, Any], least: int = 0) -> WithJsonSchema:
    """How a list is published of which one may stand alone."""
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema, "minItems": least}]})


SCALAR = {"type": ["string", "number", "boolean"]}
TEMPLATE = SCALAR | {"minLength": 1, "maxLength": 1000, "pattern": "^[^{}]*([{][^{}]+[}][^{}]*)*$"}
PATH = {"type": "string", "minLength": 1, "maxLength": 300}
Word = Annotated[str, BeforeValidator(_word), WithJsonSchema(SCALAR)]
Words = Annotated[list[Word], BeforeValidator(_a_list), Field(min_length=1), _one_or_more(SCALAR, 1)]
Template = Annotated[
    str, Field(min_length=1, max_length=1000), BeforeValidator(_word), AfterValidator(_templated), WithJsonSchema(TEMPLATE)
]
Templates = Annotated[list[Template], BeforeValidator(_a_list), _one_or_more(TEMPLATE)]
Path = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_path)]
Duration = Annotated[str, AfterValidator(_lasting), WithJsonSchema({"type": "string", "pattern": "^-?[0-9]{1,6}[smhd]$"})]
TimeForm = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_time_form)]
TimeForms = Annotated[list[TimeForm], BeforeValidator(_a_list), _one_or_more({"type": "string", "minLength": 1, "maxLength": 60})]
Zone = Annotated[str, AfterValidator(_zone)]
Expression = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_expression)]
ValueName = Annotated[str, AfterValidator(_value_name)]
HeaderName = Annotated[str, AfterValidator(_header_name), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9-]{1,60}$"})]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Strict(BaseModel):
    """What people write: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mapped(Strict):
    """A text that is looked up before it is used."""

    take: Template
    after: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Only what stands after the last of this, such as `.` or `/`; without any, the whole."""
    map: dict[Word, Word | None] | str = {}
    """What stands in the record -> what stands in the event (null: nothing does); or the name of one of the file's `maps`."""
    otherwise: Word | None = None
    """For what the map doesn't have. Without it, the text goes through as it is."""
    missing: Word | None = None
    """For when there is nothing in the record."""


class When(Strict):
    """A condition on one path, written out, such as `{in: [...]}` or `{exists: true}`; all given must hold."""

    among: Words | None = Field(default=None, alias="in")
    without: Words | None = Field(default=None, alias="not")
    """None of these; nothing at all is none of them."""
    exists: bool | None = None
    begins: Words | None = None
    """Begins with one of these."""
    ends: Words | None = None
    """Ends with one of these."""
    has: Words | None = None
    """What stands there is a list, and one of these is in it."""
    above: Number | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    below: Number | None = None
    """What stands there is a number, so compared; what is no number is not."""
    same_as: Path | None = None
    """The same text stands at this path."""
    differs_from: Path | None = None
    """Both are there, and another text stands at this path."""


class Time(Strict):
    """An instant from a record."""

    take: Template
    formats: TimeForms | None = None
    zone: Zone | None = None
    plus: Duration | None = None
    """Added to it. Days are days on the zone's wall clock."""


class Change(Strict):
    """What must have changed between an item's rows, for an update log. Exactly one of them.

    A row that the rule's `when` does not fit is passed over: `changed` and `raised` compare with the last row that fits.
    """

    changed: Annotated[list[Path], BeforeValidator(_a_list), _one_or_more(PATH)] | None = None
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


class Found(Strict):
    """The element of a list that is found by one of its fields, such as the user whose `id` is the author's."""

    among: Path
    """Where the list is."""
    by: Path
    """The field of its elements."""
    equals: Template
    """What must stand there."""


def _one_text(value: object) -> object:
    """A number or a truth is a text, too: `scale: 5`."""
    return value if isinstance(value, str | dict | list | BaseModel) else _word(value)


def _shape(value: object) -> str:
    """Which form of a field is meant, so that its complaints alone are told."""
    return "Map" if isinstance(value, dict | BaseModel) else "List" if isinstance(value, list) else "Text"


By_shape = Discriminator(_shape)
One = Annotated[Annotated[Template, Tag("Text")] | Annotated[Mapped, Tag("Map")], By_shape]
Some = Annotated[list[One], Field(min_length=1, max_length=20), Tag("List")]
Text = Annotated[Annotated[Template, Tag("Text")] | Annotated[Mapped, Tag("Map")] | Some, By_shape, BeforeValidator(_one_text)]
At = Annotated[Annotated[Template, Tag("Text")] | Annotated[Time, Tag("Map")], By_shape]
Value = Annotated[Annotated[Expression, Tag("Text")] | Annotated[Found, Tag("Map")], By_shape]
Condition = Annotated[
    Annotated[Words, Tag("List")] | Annotated[When, Tag("Map")], Discriminator(lambda value: _shape(value).replace("Text", "List"))
]
Conditions = Annotated[dict[Path, Condition], Tag("Map")]
On = Annotated[Annotated[Literal["first", "last"], Tag("Text")] | Annotated[Change, Tag("Map")], By_shape]


def _literal_or_path(allowed: tuple[str, ...]) -> Any:
    def check(value: Any) -> Any:
        for one in value if isinstance(value, list) else ():
            check(one)
        if isinstance(value, str) and "{" not in value and value not in allowed:
            raise ValueError(f"write one of {', '.join(allowed)}")
        if isinstance(value, Mapped) and isinstance(value.map, dict):
            for target in [*value.map.values(), value.otherwise, value.missing]:
                if target is not None and target not in allowed:
                    raise ValueError(f"map to {', '.join(allowed)}; got {target}")
        return value

    return AfterValidator(check)


class Fields(Strict):
    """The fields of an event that a rule, or the whole mapping, fills in."""

    touchpoint: Annotated[Text, _literal_or_path(TOUCHPOINTS)] | None = None
    customer: Text | None = None
    about: Templates | None = None
    team: Text | None = None
    owner: Text | None = None
    by: Annotated[Text, _literal_or_path(BY)] | None = None
    channel: Text | None = None
    topic: Text | None = None
    promise: Text | None = None
    due: At | None = None
    score: Text | None = None
    scale: Text | None = None
    standard: Text | None = None
    retracts: Text | None = None
    sequence: Text | None = None
    synthetic: Text | None = None


class Rule(Fields):
    """One fact that a record (or a change of it) may mean."""

    fact: Annotated[Text, _literal_or_path(FACTS)]
    each: Path | None = None
    """A list: the rule is tried for each of its elements, which its paths know as `each`."""
    when: Annotated[
        Conditions | Annotated[list[dict[Path, Condition]], Field(min_length=1, max_length=20), Tag("List")], By_shape
    ] = {}
    """Conditions that must all hold; a list of such: of one of them all."""
    on: On | None = None
    time: At | None = None
    """Default: the mapping's `time` (records), the row's `order.time` (update log). An absent time means that it did not happen."""
    item: Text | None = None
    id: Text | None = None
    """Default: the record's id, the fact, and its occurrence."""

    def conditions(self) -> list[dict[str, list[str] | When]]:
        """Sets of conditions, one of which must hold whole."""
        return self.when if isinstance(self.when, list) else [self.when]


class Order(Strict):
    """The order of an item's rows in an update log."""

    time: At
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
    raw: Annotated[list[dict[str, Any]], Field(min_length=1), _one_or_more({"type": "object"}, 1)]
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
    unpack: Path | None = None
    """The list in a payload whose elements are the records. The payload around them is `outer`."""
    headers: list[HeaderName] = Field(default=[], max_length=20)
    """Headers of a request that the records need, such as X-Shopify-Topic: `headers.x-shopify-topic`, in small letters."""
    parse: list[Path] = Field(default=[], max_length=20)
    """Texts in the records that hold JSON, to be read as such."""
    values: dict[ValueName, Value] = Field(default={}, max_length=MOST_VALUES)
    """Names for what a dotted path can't reach: a JMESPath expression over the record, or an element to be found in a list."""
    maps: dict[str, dict[Word, Word | None]] = {}
    """Maps that more than one field uses."""
    item: Text
    """`kind:id`. With `take:`, the kind too comes from the record."""
    id: Text | None = None
    """What names a record (kind records). Default: its content and its occurrence."""
    personal: list[str] = []
    """Item kinds that name a person (a phone number, a mailbox): shown as pseudonyms."""
    brings: list[str] = []
    """Ids of promises that other sources make and whose evidence comes from here: they wait for this source too."""
    zone: Zone | None = None
    """Of times that carry no zone of their own."""
    times: TimeForms = ["iso"]
    """Time formats, tried in this order."""
    missing: Annotated[list[Word], BeforeValidator(_a_list), _one_or_more(SCALAR)] = []
    """Texts that mean nothing is known, beside the empty one."""
    time: At | None = None
    order: Order | None = None
    always: Fields = Fields()
    """Fields of every event, unless its rule says otherwise."""
    rules: list[Rule] = Field(min_length=1, max_length=MOST_RULES)
    unmatched: Literal["reject", "skip"] = "reject"
    """What becomes of a record (kind records) that no rule fits."""
    examples: list[Example] = Field(default=[], max_length=MOST_EXAMPLES)


def load_source(path: Any) -> tuple[SourceFile, Document]:
    """A mapping file, checked, and the document that knows its lines. Raises BadConfig with a line for each thing that is wrong."""
    document = read_yaml(path)
    return source_of(document), document


def source_of(document: Document) -> SourceFile:
    """The mapping in a document. Raises BadConfig with a line for each thing that is wrong."""
    file = validate(SourceFile, document)
    wrong = [str(document.wrong(path, text)) for path, text in _contradictions(file)]
    if wrong:
        raise BadConfig("\n".join(dict.fromkeys(wrong)))
    return file


Complaint = tuple[tuple[Any, ...], str]


def _contradictions(file: SourceFile) -> Iterator[Complaint]:
    """What no field says alone: the place, and what to write."""
    for text in file.item if isinstance(file.item, list) else [file.item]:
        words = placeholders(text)[0][0] if isinstance(text, str) else "taken:"
        if ":" not in words or words.startswith(":"):
            told = "begin it with its kind and a colon, such as incident:{number}; or, where the record has both, write {take: '{item}'}"
            yield ("item",), told
    if file.kind == "update_log":
        if file.order is None:
            yield ("order",), "is missing: an update_log needs it: which column is a row's time, and which its sequence"
    elif file.order is not None:
        yield ("order",), "only an update_log has it: take it out"
    if file.kind != "records":
        for name in ("id", "time"):
            if getattr(file, name) is not None:
                where = "here ids come from the item" if name == "id" else "here it stands in `order`, or in each rule"
                yield (name,), f"only kind records has it, {where}: take it out"
    for name in file.personal:
        if ":" in name or not name:
            yield ("personal",), f"write kinds of items, the part before the colon, such as phone; got {name!r}"
    if file.zone is None:
        for number, form in enumerate(file.times):
            if form not in STEADY and "%z" not in form:
                yield ("times", number), f"{form!r} carries no zone: add `zone:` with the one that it is in, such as Europe/Vienna, or UTC"
    for name, value in file.values.items():
        if isinstance(value, Found):
            for _, path in placeholders(value.equals):
                for one in alternatives(path) if path is not None else ():
                    if steps_of(one)[0] == name:
                        yield ("values", name, "equals"), "it can't be found by itself: name another path"
    for number, rule in enumerate(file.rules):
        yield from _of_rule(file, rule, ("rules", number))
    yield from _unknown_maps(file)


def _of_rule(file: SourceFile, rule: Rule, where: tuple[Any, ...]) -> Iterator[Complaint]:
    if rule.on is None and file.kind == "update_log":
        yield (*where, "on"), "is missing: say which change means it, such as `on: first` or `on: {changed: [team]}`"
    if rule.on is not None and file.kind != "update_log":
        yield (*where, "on"), "only an update_log has changes: use `when`"
    if rule.each is not None and file.kind == "update_log":
        yield (*where, "each"), "an update_log's rows are compared whole: take it out"
    if rule.time is None and (file.kind == "wide_table" or (file.kind == "records" and file.time is None)):
        yield (*where, "time"), "is missing: say when it happened, such as `time: '{closed_at}'`"
    if rule.touchpoint is None and file.always.touchpoint is None:
        yield (*where, "touchpoint"), f"is missing: write it here or under `always`: {', '.join(TOUCHPOINTS)}"
    needed = CARRIES.get(rule.fact, ()) if isinstance(rule.fact, str) else ()
    for name in needed:
        if getattr(rule, name) is None and getattr(file.always, name) is None:
            yield (*where, name), f"is missing: a `{rule.fact}` event must carry it"
    uses = [(name, path) for name, text in templates_of(rule) for _, path in placeholders(text) if path not in (None, "*")]
    uses += [("when", path) for conditions in rule.conditions() for path in conditions]
    for name, path in uses:
        first = {steps_of(one)[0] for one in alternatives(str(path))}
        if "each" in first and rule.each is None:
            yield (*where, name), "`each` needs a list: add `each:` with its path to the rule"
        if "outer" in first and file.unpack is None:
            yield (*where, name), "`outer` needs `unpack:` with the list that the records stand in"


def _unknown_maps(file: SourceFile) -> Iterator[Complaint]:
    known = ", ".join(file.maps) or "none yet"
    for where, fields in [(("always",), file.always), *((("rules", number), rule) for number, rule in enumerate(file.rules))]:
        for name in type(fields).model_fields:
            value = getattr(fields, name)
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, Mapped) and isinstance(one.map, str) and one.map not in file.maps:
                    yield (*where, name, "map"), f"{one.map!r} isn't among the file's `maps` ({known}): add it there"


CARRIES = {
    "promised": ("promise", "due"), "informed": ("promise",), "kept": ("promise",), "rated": ("score", "scale"), "retracted": ("retracts",),
}  # fmt: skip
"""What a fact must carry."""


def texts_of(value: object) -> Iterator[str]:
    """The templates in a field."""
    if isinstance(value, Mapped | Time):
        yield value.take
    elif isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts_of(one)


def templates_of(fields: Fields) -> Iterator[tuple[str, str]]:
    """(field, template) of a rule, or of `always`."""
    names = [*Fields.model_fields, *(("fact", "time", "item", "id") if isinstance(fields, Rule) else ())]
    for name in names:
        for text in texts_of(getattr(fields, name)):
            yield name, text
