"""How the page writes what it is given: times, paths, glyphs. Jinja2 escapes all of it; nothing here is markup."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import jinja2

from tribo.show.page.picture import DAY, says
from tribo.show.words import KIND_WORDS, holder, promise_word, sentence, share, span
from tribo_schemas.event import EARLIEST, EPOCH, LATEST, stamp

GLYPHS = {
    "complaint": "M0 33 l-6 -11 h12 z",
    "praise": "M0 21 l1.8 4 4.2 .4 -3.2 2.9 1 4.3 -3.8 -2.3 -3.8 2.3 1 -4.3 -3.2 -2.9 4.2 -.4 z",
    "surprise": "M-5 27 h4 v-5 h2 v5 h4 v2 h-4 v5 h-2 v-5 h-4 z",
    "rating": "M0 21 l6 6 -6 6 -6 -6 z",
    "repeated": "M-5 24 h10 v2.5 h-10 z m0 5 h10 v2.5 h-10 z",
    "authority": "M0 21 l6 7 h-3.5 v5 h-5 v-5 h-3.5 z",
    "abandoned": "M-5 23 l2 -2 3 3 3 -3 2 2 -3 3 3 3 -2 2 -3 -3 -3 3 -2 -2 3 -3 z",
    "rejected": "M-6 25 h12 v4 h-12 z",
    "reopened": "M-1 21 l5 3 -5 3 v-2 a3 3 0 1 0 3 4 h3 a6 6 0 1 1 -6 -6 z",
}


def environment() -> jinja2.Environment:
    """The templates, with what they call."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {
        "span": span, "stamp": stamp, "sentence": sentence, "clock": clock, "axis": axis, "cut": cut, "path": path, "glyph": glyph,
        "says": says, "share": share, "trend": trend, "kind": kind, "promise": promise_word, "day": day,
    }  # fmt: skip
    found.filters |= {"item": str, "spoken": str}  # the page puts in who makes pseudonyms
    found.globals |= {"holder": holder}
    return found


def _moment(at: int) -> str:
    return (EPOCH + timedelta(milliseconds=min(max(at, EARLIEST), LATEST))).isoformat()


def clock(at: int) -> str:
    """An instant as people read it, in UTC: to the minute."""
    text = _moment(at)
    return f"{text[:10]} {text[11:16]}"


def day(at: int) -> str:
    """An instant's UTC day."""
    return _moment(at)[:10]


def axis(at: int, step: int) -> str:
    """An instant on an axis whose marks are `step` ms apart."""
    text = _moment(at)
    if step < DAY:
        return text[5:10] if text[11:16] == "00:00" else text[11:16]
    return text[5:10] if step < 300 * DAY else text[:7]


def cut(text: str, most: int) -> str:
    """At most so many letters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def path(item: str) -> str:
    """An item in a path, a slash in it kept apart from the path's own."""
    return quote(item, safe=":")


def glyph(look: str) -> str:
    """The outline of a mark."""
    return GLYPHS[look.partition(" ")[0]]


def kind(name: str) -> str:
    """A kind of finding in words."""
    return KIND_WORDS.get(name, name)


def trend(history: Sequence[float | None]) -> str:
    """A small history in words, for who can't see it."""
    known = [value for value in history if value is not None]
    return f"from {share(known[0])} to {share(known[-1])}, lowest {share(min(known))}" if known else "nothing decided"


