"""Pseudonyms: a customer in rows, pages and alerts is a keyed hash, the same for the same key and customer.

So are items whose kind names a person (a telephone number, a mailbox), as mappings declare: `phone:p-` and the hash.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b
from typing import Any

OPEN_KEY = b"tribo"  # no secret: it keeps names out of sight, not out of reach of somebody who can guess them
ENVIRONMENT = "TRIBO_PSEUDONYM_KEY"


def key_of_environment() -> bytes:
    """The key that the environment names, else the open one, with which the rows of two machines agree."""
    return os.environ.get(ENVIRONMENT, "").encode()[:64] or OPEN_KEY


@lru_cache(maxsize=100_000)
def pseudonym(customer: str, key: bytes) -> str:
    """`c-` and 16 hexadecimal digits."""
    return "c-" + _hash(customer, key)


def _hash(text: str, key: bytes) -> str:
    return blake2b(text.encode(), key=key, digest_size=8).hexdigest()


class Names:
    """How customers and items are shown: `key` makes pseudonyms (None: as they are), `personal` are the kinds of items that get one."""

    def __init__(self, key: bytes | None, personal: Collection[str] = ()) -> None:
        self._key = key
        self._personal = frozenset(personal) if key is not None else frozenset()
        kinds = "|".join(re.escape(kind) for kind in sorted(self._personal))
        # An id ends where another thing begins: whoever knows the id exactly uses `item`, or names it in `known`.
        self._named = re.compile(rf"(?<![\w-])(?:{kinds}):(?!p-[0-9a-f]{{16}}\b)[^\s/|,;\]\"']+") if kinds else None

    def customer(self, customer: str | None) -> str | None:
        """The customer's pseudonym; None for nobody."""
        return customer if customer is None or self._key is None else pseudonym(customer, self._key)

    def item(self, item: str) -> str:
        """`kind:p-` and 16 hexadecimal digits for an item that names a person, any other as it is."""
        kind = item.partition(":")[0]
        return f"{kind}:p-{_hash(item, self._key)}" if kind in self._personal and self._key is not None else item

    def text(self, text: str, known: Collection[str] = ()) -> str:
        """A text that items stand in (an event's or a finding's id, a line of a story), those of persons replaced."""
        if self._named is None:
            return text
        for item in sorted(known, key=len, reverse=True):
            shown = self.item(item)
            if shown != item:
                text = text.replace(item, shown)
        return self._named.sub(lambda found: self.item(found[0]), text)

    def row(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A journey's or a finding's row as it is shown."""
        if fields.get("customer") is not None:
            fields["customer"] = self.customer(fields["customer"])
        if self._named is None:
            return fields
        known = {fields["journey"], *([fields["item"]] if "item" in fields else fields.get("items", ()))}
        for name in ("journey", "item"):
            if name in fields:
                fields[name] = self.item(fields[name])
        if "items" in fields:
            fields["items"] = sorted(self.item(item) for item in fields["items"])
        if "evidence" in fields:
            fields["evidence"] = [self.text(event, known) for event in fields["evidence"]]
        if "id" in fields:
            fields["id"] = self.text(fields["id"], known)
        return fields
