"""What a list of journeys is asked for, as it stands in the page's address, so that an alert or a colleague can link to it.

| parameter | means |
|---|---|
| `from`, `to` | found, or going on, in that time: RFC 3339 or seconds since 1970; `to` itself is not in it |
| `touchpoint`, `status` | of the journey |
| `team`, `from_team`, `channel`, `topic`, `finding` (a kind), `standard` | of one and the same finding in it |
| `friction` | points, at least |
| `promise` | how some promise in it stands, such as `broken` |
| `sort`, `page` | `friction`, `delight`, `newest`, `oldest`; pages count from 1 |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from tribo_schemas.event import EARLIEST, LATEST, TOUCHPOINTS, instant, stamp
from tribo_schemas.finding import KINDS
from tribo_schemas.journey import PROMISE_STATES, STATUSES

SORTS = ("friction", "delight", "newest", "oldest")
MOST_PAGES = 200
LONGEST_TEXT = 1000
PROMISES = (*PROMISE_STATES, "moved", "moved_late", "early")


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. Instants are UTC milliseconds; None: not filtered by it. `wrong` says what could not be read, and was left out."""

    since: int | None = None
    until: int | None = None
    touchpoint: str | None = None
    status: str | None = None
    team: str | None = None
    from_team: str | None = None
    channel: str | None = None
    topic: str | None = None
    standard: str | None = None
    finding: str | None = None
    friction: int | None = None
    promise: str | None = None
    sort: str = "friction"
    page: int = 1
    wrong: tuple[str, ...] = ()

    @property
    def by_finding(self) -> bool:
        """Whether it asks for journeys with a certain finding."""
        return any((self.team, self.from_team, self.channel, self.topic, self.standard, self.finding))

    def query(self, **changes: Any) -> str:
        """The address's query: this, with some changes."""
        wanted = msgspec.structs.replace(self, **{"page": 1, **changes})
        said: dict[str, str] = {}
        for field, name in NAMES.items():
            value = getattr(wanted, field)
            if value is not None and value != DEFAULTS.get(field):
                said[name] = stamp(value) if field in ("since", "until") else str(value)
        return urlencode(said)


NAMES = {
    "since": "from", "until": "to", "touchpoint": "touchpoint", "status": "status", "team": "team", "from_team": "from_team",
    "channel": "channel", "topic": "topic", "standard": "standard", "finding": "finding", "friction": "friction", "promise": "promise",
    "sort": "sort", "page": "page",
}  # fmt: skip
DEFAULTS = {"sort": "friction", "page": 1}
CHOICES: dict[str, tuple[str, ...]] = {
    "touchpoint": TOUCHPOINTS, "status": STATUSES, "finding": KINDS, "promise": PROMISES, "sort": SORTS,
}  # fmt: skip


def moment(text: str) -> int:
    """RFC 3339, or seconds since 1970, as UTC milliseconds. Raises ValueError with a remedy."""
    try:
        found = int(float(text) * 1000)
    except (ValueError, OverflowError):
        return instant(text.replace(" ", "+") if text[10:11] == "T" else text)  # a + that was not escaped came as a space
    if not EARLIEST <= found <= LATEST:
        raise ValueError("is no instant of the years 1 to 9999")
    return found


def filters_of(query: Mapping[str, str]) -> Filters:
    """What an address asks for. What can't be read is named in `wrong` and left out; unknown parameters are passed over."""
    found: dict[str, Any] = {}
    wrong = []
    for field, name in NAMES.items():
        text = query.get(name, "").strip()[:LONGEST_TEXT]
        if not text:
            continue
        try:
            if field in ("since", "until"):
                found[field] = moment(text)
            elif field in ("friction", "page"):
                found[field] = _whole(text, MOST_PAGES if field == "page" else 1_000_000)
            elif field in CHOICES and text not in CHOICES[field]:
                raise ValueError(f"write one of {', '.join(CHOICES[field])}")
            else:
                found[field] = text.replace("\x00", "")
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    if found.get("since") is not None and found.get("until") is not None and found["since"] >= found["until"]:
        wrong.append("to: must come after from")
        del found["until"]
    return Filters(**found, wrong=tuple(wrong))


def _whole(text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
        raise ValueError(f"write a whole number from 1 to {most}")
    return int(text)
