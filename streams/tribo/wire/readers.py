"""Readers: files and standard input to records, line by line, in bounded memory.

A record is at most `MOST_BYTES` long. What can't be read as a record (no UTF-8, too long, a row with too many fields) becomes a
`Reject` in its place; what makes the whole input unreadable (no such file, a gzip stream cut off) is the operator's: `BadConfig`.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from tribo.wire.rejects import Reject, reject
from tribo_schemas.config import BadConfig

MOST_BYTES = 1 << 20
"""The longest record, in bytes."""
BLOCK_BYTES = 1 << 20
"""How much is read at once."""
MOST_JSON_BYTES = 1 << 29
"""The longest `.json` file, which is read whole; `.jsonl` and `.csv` have no limit."""
BOM = b"\xef\xbb\xbf"
csv.field_size_limit(MOST_BYTES)


class Record(msgspec.Struct, gc=False):
    """A record as read: raw JSON (bytes) or a row of columns (dict). `line` counts from 1; `raw` is a row as it came."""

    input: str
    line: int
    payload: bytes | dict[str, Any]
    raw: str | None = None


class Block(msgspec.Struct, gc=False):
    """Lines that stand one after the other, without their ends; the first is number `first`. Empty ones are among them."""

    first: int
    lines: list[bytes]


def form_of(path: str | Path, default: str = "jsonl") -> str:
    """jsonl, json or csv, by the name; `default` for standard input. Raises BadConfig."""
    if str(path) == "-":
        return default
    name = str(path).lower().removesuffix(".gz")
    for form in ("jsonl", "json", "csv"):
        if name.endswith("." + form):
            return form
    raise BadConfig(f"{path}: the name must end in .jsonl, .json or .csv (each may be .gz); rename it, or pipe it in with `-`")


def blocks(path: str | Path) -> Iterator[Block | Reject]:
    """The hot path: a file's lines as bytes, a megabyte at a time. `-` is standard input; gzip is told by its first bytes.

    A UTF-8 byte order mark is dropped; a line longer than MOST_BYTES is a Reject. Raises BadConfig when it can't be read on.
    """
    source = str(path)
    line = 1
    rest = b""
    for data in _pieces(path):
        if b"\n" not in data:
            rest += data
            if len(rest) > MOST_BYTES + BLOCK_BYTES:
                rest = rest[: MOST_BYTES + 1]  # still too long, whatever comes before its end
            continue
        lines = data.split(b"\n")
        lines[0] = rest + lines[0]
        rest = lines.pop()
        if len(lines[0]) > MOST_BYTES:
            yield _too_long(source, line, lines.pop(0))
            line += 1
        if any(len(raw) > MOST_BYTES for raw in lines):  # only where pieces are longer than a record may be
            for number, raw in enumerate(lines, line):
                yield Block(number, [raw]) if len(raw) <= MOST_BYTES else _too_long(source, number, raw)
        elif lines:
            yield Block(line, lines)
        line += len(lines)
    if len(rest) > MOST_BYTES:
        yield _too_long(source, line, rest)
    elif rest:
        yield Block(line, [rest])


def _too_long(source: str, line: int, raw: bytes) -> Reject:
    return reject(source, line, f"is longer than {MOST_BYTES} bytes", raw)


def lines(path: str | Path) -> Iterator[tuple[int, bytes] | Reject]:
    """(line number, line) for each line that isn't empty, or a Reject. Raises BadConfig."""
    for block in blocks(path):
        if isinstance(block, Reject):
            yield block
        else:
            for number, raw in enumerate(block.lines, block.first):
                if raw and not raw.isspace():
                    yield number, raw


def read(path: str | Path, default: str = "jsonl") -> Iterator[Record | Reject]:
    """The records of a `.jsonl`, `.json` or `.csv`, any of them `.gz`, or of `-` in the form `default`. Raises BadConfig."""
    form = form_of(path, default)
    source = str(path)
    if form == "csv":
        yield from _rows(path, source)
    elif form == "json":
        yield from _elements(path, source)
    else:
        for line in lines(path):
            yield line if isinstance(line, Reject) else Record(source, line[0], line[1])


def _pieces(path: str | Path) -> Iterator[bytes]:
    """The content, unzipped, without byte order mark, in pieces of at most BLOCK_BYTES."""
    try:
        stream = cast(io.BufferedReader, sys.stdin.buffer) if str(path) == "-" else open(path, "rb")  # noqa: SIM115 - closed by the `with` below
        with stream:
            head = stream.read(3)
            joined = _Joined(head, stream)
            content = gzip.GzipFile(fileobj=cast(BinaryIO, joined)) if head[:2] == b"\x1f\x8b" else joined
            data = content.read(BLOCK_BYTES)
            if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise BadConfig(f"{path}: is UTF-16; save it as UTF-8")
            if data[:3] == BOM:
                data = data[3:]
            while data:
                yield data
                data = content.read(BLOCK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BadConfig(f"{path}: the gzip stream is cut off or broken; copy the file anew") from None
    except OSError as error:
        raise BadConfig(f"{path}: can't be read: {error.strerror or error}") from None


class _Joined:
    """A stream whose first bytes were looked at already; reads what there is, so that a pipe is not waited on for a whole block."""

    def __init__(self, head: bytes, stream: io.BufferedReader) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        head, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
        return head if head and size <= len(head) else head + self._stream.read1(size - len(head) if size >= 0 else -1)


def _elements(path: str | Path, source: str) -> Iterator[Record | Reject]:
    """An array's elements, or the one object, each with the line it begins on."""
    whole = bytearray()
    for piece in _pieces(path):
        whole += piece
        if len(whole) > MOST_JSON_BYTES:
            raise BadConfig(f"{path}: is longer than {MOST_JSON_BYTES} bytes; write one record a line and call it .jsonl")
    text = bytes(whole)
    if not text or text.isspace():
        return
    if text.lstrip()[:1] != b"[":
        yield Record(source, text[: len(text) - len(text.lstrip())].count(b"\n") + 1, text)
        return
    try:
        elements = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        yield reject(source, 1, f"not JSON: {error}", text)
        return
    line, counted, at = 1, 0, 1
    for element in elements:
        raw = bytes(element)
        at = text.index(raw, at)
        line += text.count(b"\n", counted, at)
        counted = at
        at += len(raw)
        yield Record(source, line, raw) if len(raw) <= MOST_BYTES else _too_long(source, line, raw)


class _TooLong(Exception):
    """A row that does not end: an open quote."""


class _Feed:
    """Lines for csv.reader, remembering what the row at hand consists of."""

    def __init__(self, path: str | Path) -> None:
        self._lines = self._numbered(path)
        self.begin = 1
        self.raw: list[bytes] = []
        self.size = 0
        self.broken = ""

    @staticmethod
    def _numbered(path: str | Path) -> Iterator[tuple[int, bytes, str]]:
        for block in blocks(path):
            if isinstance(block, Reject):
                yield block.line, block.payload.encode(), block.reason
            else:
                for number, raw in enumerate(block.lines, block.first):
                    yield number, raw, ""

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        number, raw, broken = next(self._lines)
        if not self.raw:
            self.begin = number
        self.raw.append(raw)
        self.size += len(raw) + 1
        self.broken = self.broken or broken
        if self.size > MOST_BYTES and len(self.raw) > 1:
            raise _TooLong
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            text = raw.decode("utf-8", "replace")
            self.broken = self.broken or f"not UTF-8: {error.reason} at byte {error.start} of the line"
        return "" if broken else text.removesuffix("\r") + "\n"

    def take(self) -> tuple[int, bytes, str]:
        """The row's first line number, its lines as they came, and why it can't be used ('' if it can); begins the next row."""
        taken = self.begin, b"\n".join(self.raw), self.broken
        self.raw, self.size, self.broken = [], 0, ""
        return taken


def _rows(path: str | Path, source: str) -> Iterator[Record | Reject]:
    feed = _Feed(path)
    reader = csv.reader(feed)
    header: list[str] | None = None
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except _TooLong:
            line, raw, _ = feed.take()
            yield reject(source, line, f"the row is longer than {MOST_BYTES} bytes: a quote is not closed", raw)
            reader = csv.reader(feed)
            continue
        except csv.Error as error:
            line, raw, _ = feed.take()
            yield reject(source, line, f"not CSV: {error}", raw)
            reader = csv.reader(feed)
            continue
        line, raw, broken = feed.take()
        if header is None:
            if broken:
                raise BadConfig(f"{path}:{line}: the header is {broken}; save it as UTF-8")
            header = [name.strip() for name in row]
            twice = next((name for name in header if header.count(name) > 1), None)
            if not row or twice is not None:
                raise BadConfig(f"{path}:{line}: the header must name each column once; `{twice or ''}` does not")
        elif broken:
            yield reject(source, line, broken, raw)
        elif len(row) == len(header):
            yield Record(source, line, dict(zip(header, row, strict=True)), raw.decode("utf-8"))
        elif row:
            yield reject(source, line, f"has {len(row)} fields, the header has {len(header)}", raw)
