"""Files, and standard input, as events: through a mapping, or canonical as they are."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from tribo.run.measure import Reader
from tribo_schemas.config import BadConfig
from tribo_schemas.event import BadEvent, Event, decode_event

CHUNK = 1 << 20


def reading(inputs: list[str], source: str | None) -> Reader:
    """A reader of all inputs, through the mapping `source` where one is named. Raises BadConfig for what can't be read."""
    if source is None and not any(_kind(name) == "csv" for name in inputs):
        return lambda take, reject: sum(_canonical(name, take, reject) for name in inputs)
    raise BadConfig("mappings come from --source")


def _kind(name: str) -> str:
    return name.removesuffix(".gz").rpartition(".")[2]


def open_input(name: str) -> IO[bytes]:
    """The bytes of an input, inflated where it is .gz. Raises BadConfig."""
    if name == "-":
        return sys.stdin.buffer
    try:
        return cast(IO[bytes], gzip.open(name, "rb")) if name.endswith(".gz") else Path(name).open("rb")
    except OSError as error:
        raise BadConfig(f"{name}: can't be read ({error.strerror}): name a file that is there") from None


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, read in large pieces."""
    rest = b""
    while chunk := file.read(CHUNK):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


def _canonical(name: str, take: Callable[[Event], None], reject: Callable[[dict[str, Any]], None]) -> int:
    records = 0
    with open_input(name) as file:
        for number, line in enumerate(lines_of(file), start=1):
            if not line or line.isspace():
                continue
            records += 1
            try:
                take(decode_event(line))
            except BadEvent as error:
                reject({"input": name, "line": number, "reason": str(error), "payload": line.decode("utf-8", "backslashreplace")})
    return records
