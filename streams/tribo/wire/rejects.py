"""Records as they came: all of them for a while (Raw), and those that are no event, with the reason (Reject).

A reject is never a crash and never silent.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import msgspec

KEPT_BYTES = 65536
Form = Literal["json", "lines", "rows"]
"""How records lie in a body: a JSON object or an array of them; one a line; one a line, out of files imported at one go."""


class Raw(msgspec.Struct, gc=False):
    """A body as it came: where from, which mapping reads it ('': its events are canonical), and how records lie in it."""

    input: str
    body: bytes
    mapping: str = ""
    form: Form = "json"


class Reject(msgspec.Struct, gc=False):
    """A record that was refused. `line` counts from 1 (0: it came from no file).

    `encoding` is 'base64' when what came is no UTF-8 text; `mapping` the line of the mapping that refused it (`file:line`),
    `through` that mapping's name ('': it should have been canonical).
    """

    input: str
    line: int
    reason: str
    payload: str
    encoding: str | None = None
    mapping: str | None = None
    through: str = ""

    def row(self) -> dict[str, Any]:
        """The row of rejects.jsonl; `encoding` and `mapping` only where they apply."""
        row: dict[str, Any] = {"input": self.input, "line": self.line, "reason": self.reason, "payload": self.payload}
        if self.encoding is not None:
            row["encoding"] = self.encoding
        if self.mapping is not None:
            row["mapping"] = self.mapping
        return row


def reject(source_input: str, line: int, reason: str, payload: bytes | str | dict[str, Any]) -> Reject:
    """Refuse a record. A payload longer than 64 KiB is cut, and the reason says so; no UTF-8 is kept as base64."""
    if isinstance(payload, dict):
        payload = json.dumps(payload, ensure_ascii=False, default=str)
    raw = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    kept = raw
    if len(raw) > KEPT_BYTES:
        kept = raw[:KEPT_BYTES]
        while kept and raw[len(kept)] & 0xC0 == 0x80:  # don't cut a character in two
            kept = kept[:-1]
        kept = kept or raw[:KEPT_BYTES]
        reason = f"{reason} (only the first {len(kept)} of {len(raw)} bytes are kept)"
    try:
        return Reject(source_input, line, reason, kept.decode("utf-8"))
    except UnicodeDecodeError:
        return Reject(source_input, line, reason, base64.b64encode(kept).decode("ascii"), "base64")
