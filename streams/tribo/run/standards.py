"""The standards that a command works with: those of a file, or those that the ledger was last opened with."""

from __future__ import annotations

from pathlib import Path

from tribo.ledger.database import Where
from tribo.ledger.ledger import Reader
from tribo.measure.standards import Standards, compile_standards
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.standard import load_standards
from tribo_schemas.standard import standards_of as read_standards


def standards_of(path: Path | None) -> tuple[Standards, str]:
    """The standards of a file (or none), compiled, and its text. Raises BadConfig."""
    if path is None:
        return compile_standards(None), ""
    return compile_standards(load_standards(path)), path.read_text("utf-8")


def standards_kept(where: Where, path: Path | None) -> tuple[Standards, str]:
    """The standards of a file, or (None) those that the ledger was last opened with; a new ledger has none. Raises BadConfig."""
    text = ""
    if path is None:
        try:
            with Reader(where) as reader:
                text = (reader.standards() or [""])[-1]
        except BadConfig:  # there is no ledger yet; whatever else is wrong with it is said when it is opened for writing
            pass
    if not text:
        return standards_of(path)
    return compile_standards(read_standards(parse_yaml(text.encode(), "the ledger's standards"))), text
