"""How a mapping takes things from a record: paths, texts, instants and conditions, each compiled once into a function of a Row.

Nothing here runs code that somebody wrote: a path is a walk, a condition a comparison, and a JMESPath expression (which knows
neither loops nor side effects) may take so many steps and no more.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

from tribo_schemas.event import EARLIEST, EPOCH, LATEST, MILLISECOND
from tribo_schemas.source import (
    STEADY,
    Found,
    Mapped,
    SourceFile,
    Time,
    When,
    alternatives,
    as_text,
    duration_of,
    placeholders,
    steps_of,
    strptime_of,
)

MOST_DEPTH = 32
MOST_STEPS = 50_000
"""Of one JMESPath expression over one record: nodes visited, and elements of what they give."""
LETTERS_A_STEP = 64
LONGEST_TIME = 80
ITSELF = "*"
NOTHING = (0, timedelta())


class Unmapped(ValueError):
    """A record that the mapping can't turn into events: the source's fault. Its text is the reject's reason.

    `place` is the place in the mapping file that it came up at, such as ("rules", 3, "due").
    """

    def __init__(self, text: str, place: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.place = place


class Outer(msgspec.Struct, gc=False):
    """The payload that records were unpacked from, and its lists by one of their fields."""

    payload: dict[str, Any]
    indexes: dict[str, dict[str, Any]]


class Row(msgspec.Struct, gc=False):
    """A record being mapped, and what stands for it where nothing else names it; the element of a list at hand; its values so far."""

    record: dict[str, Any]
    itself: str = ""
    outer: Outer | None = None
    each: Any = None
    values: dict[str, Any] = {}

    def at(self, element: Any) -> Row:
        """The same record, with an element of one of its lists at hand."""
        return Row(self.record, self.itself, self.outer, element, self.values)


Look: TypeAlias = Callable[[Row], Any]
Take: TypeAlias = Callable[[Row], str | None]
Instant: TypeAlias = Callable[[Row], int | None]
Condition: TypeAlias = Callable[[Row], bool]
Clock: TypeAlias = Callable[[str], int]


class Paths:
    """The ways into the records of one mapping."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._missing = frozenset(["", *file.missing])
        self._clock = clock(tuple(file.times), file.zone)
        self._values: dict[str, Look] = {}
        for name, value in file.values.items():
            self._values[name] = self._found(name, value) if isinstance(value, Found) else self._expression(name, value)

    # -- what stands somewhere ---------------------------------------------------------------------------------------------

    def look(self, path: str) -> Look:
        """What stands at a path, whatever it is; None where nothing does."""
        first, *rest = steps_of(path)
        if first == "each":
            return lambda row: walk(row.each, rest)
        if first == "outer":
            return lambda row: walk(row.outer.payload, rest) if row.outer is not None else None
        if first in self._file.values:
            return lambda row: walk(self._values[first](row), rest)
        if not rest:
            return lambda row: row.record.get(first)
        return lambda row: walk(row.record.get(first), rest)

    def _expression(self, name: str, text: str) -> Look:
        parsed = jmespath.compile(text).parsed

        def value(row: Row) -> Any:
            if name not in row.values:
                try:
                    row.values[name] = _Bounded().visit(parsed, row.record)
                except Unmapped as error:
                    raise Unmapped(f"values.{name}: {error}", ("values", name)) from None
                except (JMESPathError, RecursionError, ValueError, TypeError) as error:
                    raise Unmapped(f"values.{name}: {str(error).splitlines()[0]}", ("values", name)) from None
            return row.values[name]

        return value

    def _found(self, name: str, value: Found) -> Look:
        among, by, key = self.look(value.among), steps_of(value.by), self.template(value.equals)
        outside = value.among.startswith("outer.")
        fixed = not value.among.startswith("each.")

        def index(row: Row) -> dict[str, Any]:
            entries = among(row)
            found: dict[str, Any] = {}
            for entry in entries if isinstance(entries, list) else ():
                at = walk(entry, by)
                if isinstance(at, str | int | float):
                    found.setdefault(as_text(at), entry)
            return found

        def element(row: Row) -> Any:
            wanted = key(row)
            if wanted is None:
                return None
            if not fixed:
                return index(row).get(wanted)
            kept = row.outer.indexes if outside and row.outer is not None else row.values
            if name not in kept:
                kept[name] = index(row)
            return kept[name].get(wanted)

        return element

    # -- texts -------------------------------------------------------------------------------------------------------------

    def text(self, path: str) -> Take:
        """What stands at a path (or at the first of `a|b` that holds a text), as text without outer blanks; None when nothing is known.

        The function raises Unmapped where there is but one path, and it holds a list or an object.
        """
        looks = [(one, self.look(one)) for one in alternatives(path)]
        missing = self._missing

        def take(row: Row) -> str | None:
            for one, look in looks:
                value = look(row)
                if value is None:
                    continue
                if not isinstance(value, str):
                    if isinstance(value, list | dict):
                        if len(looks) > 1:
                            continue
                        raise Unmapped(f"{one}: holds {'a list' if isinstance(value, list) else 'an object'}, not a text or a number")
                    value = as_text(value)
                text = value.strip()
                if "\x00" in text:
                    raise Unmapped(f"{one}: holds a NUL character")
                if text not in missing:
                    return text
            return None

        return take

    def template(self, text: str) -> Take:
        """A text with placeholders; None where one of them is."""
        pieces = placeholders(text)
        if len(pieces) == 1:
            return lambda row: text
        parts = [(words, None if path in (None, ITSELF) else self.text(str(path)), path == ITSELF) for words, path in pieces]
        if len(parts) == 2 and parts[0][0] == "" == parts[1][0] and parts[0][1] is not None:
            return parts[0][1]

        def take(row: Row) -> str | None:
            made = ""
            for words, look, itself in parts:
                made += words
                if itself:
                    made += row.itself
                elif look is not None:
                    found = look(row)
                    if found is None:
                        return None
                    made += found
            return made

        return take

    def mapped(self, text: str | Mapped | list[str | Mapped]) -> Take:
        """A template, one that is looked up in a map, or the first of a list that is there."""
        if isinstance(text, str):
            return self.template(text)
        if isinstance(text, list):
            takes = [self.mapped(one) for one in text]
            return lambda row: next((found for take in takes if (found := take(row)) is not None), None)
        table = self._file.maps[text.map] if isinstance(text.map, str) else text.map
        take, after, otherwise, missing = self.template(text.take), text.after, text.otherwise, text.missing

        def look_up(row: Row) -> str | None:
            found = take(row)
            if found is None:
                return missing
            if after is not None:
                found = found.rpartition(after)[2]
            return table.get(found, found if otherwise is None else otherwise)

        return look_up

    def instant(self, time: str | Time) -> Instant:
        """A time in a record; None where nothing stands. The function raises Unmapped for a text that is no time."""
        if isinstance(time, str):
            time = Time(take=time)
        take = self.template(time.take)
        plus = duration_of(time.plus) if time.plus is not None else NOTHING
        read = self._clock
        if time.formats is not None or time.zone is not None or time.plus is not None:
            read = clock(tuple(time.formats or self._file.times), time.zone or self._file.zone, plus)

        def instant(row: Row) -> int | None:
            found = take(row)
            if found is None:
                return None
            try:
                return read(found)
            except ValueError as error:
                raise Unmapped(f"time: {error}") from None

        return instant

    # -- conditions --------------------------------------------------------------------------------------------------------

    def conditions(self, sets: list[dict[str, list[str] | When]]) -> Condition:
        """Whether one of the sets holds whole."""
        compiled = [[self._condition(path, condition) for path, condition in conditions.items()] for conditions in sets]
        if len(compiled) == 1:
            only = compiled[0]
            return lambda row: all(condition(row) for condition in only)
        return lambda row: any(all(condition(row) for condition in conditions) for conditions in compiled)

    def _condition(self, path: str, condition: list[str] | When) -> Condition:
        take = self.text(path)
        if not isinstance(condition, When):
            words = frozenset(condition)
            return lambda row: take(row) in words
        checks: list[Condition] = []
        if condition.has is not None:
            checks.append(_holds(self.look(path), frozenset(condition.has)))
        if condition.exists is not None:
            looks, exists = [self.look(one) for one in alternatives(path)], condition.exists
            checks.append(lambda row: exists == any(_there(look(row), self._missing) for look in looks))
        if condition.among is not None:
            among = frozenset(condition.among)
            checks.append(lambda row: take(row) in among)
        if condition.without is not None:
            without = frozenset(condition.without)
            checks.append(lambda row: take(row) not in without)
        for affixes, test in ((condition.begins, str.startswith), (condition.ends, str.endswith)):
            if affixes is not None:
                checks.append(_affix(take, tuple(affixes), test))
        if any(limit is not None for limit in (condition.above, condition.at_least, condition.at_most, condition.below)):
            checks.append(_within(take, condition))
        for other, alike in ((condition.same_as, True), (condition.differs_from, False)):
            if other is not None:
                checks.append(_alike(take, self.text(other), alike))
        return lambda row: all(check(row) for check in checks)


def _holds(look: Look, words: frozenset[str]) -> Condition:
    def holds(row: Row) -> bool:
        value = look(row)
        return isinstance(value, list) and any(isinstance(one, str | int | float) and as_text(one) in words for one in value)

    return holds


def _there(value: Any, missing: frozenset[str]) -> bool:
    return value is not None and not (isinstance(value, str) and value.strip() in missing)


def _affix(take: Take, words: tuple[str, ...], test: Callable[[str, tuple[str, ...]], bool]) -> Condition:
    return lambda row: (found := take(row)) is not None and test(found, words)


def _alike(take: Take, other: Take, alike: bool) -> Condition:
    def compared(row: Row) -> bool:
        one, two = take(row), other(row)
        return one is not None and two is not None and (one == two) == alike

    return compared


def _within(take: Take, limits: When) -> Condition:
    def within(row: Row) -> bool:
        found = take(row)
        try:
            number = float(found) if found is not None else float("nan")
        except ValueError:
            return False
        return (
            not math.isnan(number)
            and (limits.above is None or number > limits.above)
            and (limits.at_least is None or number >= limits.at_least)
            and (limits.at_most is None or number <= limits.at_most)
            and (limits.below is None or number < limits.below)
        )

    return within


def walk(value: Any, steps: list[str] | tuple[str, ...]) -> Any:
    """What stands at the end of the steps; None where there is no such way."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and len(step) < 6 and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


class _Bounded(TreeInterpreter):
    """JMESPath that gives up, rather than take long: no expression multiplies what it is given beyond MOST_STEPS."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        found = super().visit(node, *args, **kwargs)
        self._steps += 1
        if isinstance(found, list | dict):
            self._steps += len(found)
        elif isinstance(found, str):
            self._steps += len(found) // LETTERS_A_STEP
        if self._steps > MOST_STEPS:
            raise Unmapped(f"takes more than {MOST_STEPS} steps on this record; write a simpler expression")
        return found


def clock(forms: tuple[str, ...], zone: str | None, plus: tuple[int, timedelta] = NOTHING) -> Clock:
    """Text to UTC milliseconds by the first form that fits. The function raises ValueError that names the text."""
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
        if len(text) > LONGEST_TIME:  # and none such is remembered
            raise ValueError(f"{text[:LONGEST_TIME]!r}… is too long for a time")
        try:
            return clock(text)
        except OverflowError:
            raise ValueError(f"{text!r} lies outside the years 1 to 9999") from None

    return checked


def decode_record(raw: bytes) -> dict[str, Any]:
    """One JSON object. Raises Unmapped: no UTF-8, no JSON, NaN, a key written twice, nested too deeply, no object."""
    record = decode(raw)
    if not isinstance(record, dict):
        raise Unmapped("is not a JSON object")
    return record


def decode(raw: bytes) -> Any:
    """One JSON value. Raises Unmapped: no UTF-8, no JSON, NaN, a key written twice, nested too deeply."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            raise Unmapped(f"{next(name for name in names if names.count(name) > 1)}: is written twice")
        return found

    try:
        value = msgspec.json.decode(raw)
        keys, deepest = _size(value, 0)
        if deepest > MOST_DEPTH:
            raise Unmapped("nested too deeply")
        if keys != raw.count(b'":') or _SPACED.search(raw) is not None:  # a key written twice, or the count can't tell
            value = json.loads(raw, object_pairs_hook=unique)
        return value
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


_SPACED = re.compile(rb'"[ \t\r\n]+:')
"""A key that does not stand close to its colon."""


def _size(value: Any, deep: int) -> tuple[int, int]:
    """How many keys there are in a JSON value, and how deep it nests (from `deep` on; looked at no further than can be taken)."""
    if deep > MOST_DEPTH:
        return 0, deep
    if not isinstance(value, dict | list):
        return 0, deep
    keys, deepest = (len(value), deep + 1) if isinstance(value, dict) else (0, deep + 1)
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            more, reached = _size(each, deep + 1)
            keys += more
            deepest = max(deepest, reached)
    return keys, deepest
