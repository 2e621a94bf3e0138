"""The sources of the settings, ready for requests: each with its mapping, its secrets out of the environment, and its rate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Mapping as Environment
from pathlib import Path

from tribo.ledger.ledger import Ledger
from tribo.run.settings import Source
from tribo.wire.mapping import PACKAGED, Mapping, packaged
from tribo.wire.webhooks import Deliveries, Kind, Rate, shows_token
from tribo_schemas.config import BadConfig

SHORTEST_TOKEN = 16


class Sender:
    """A source that may send. `speaks_for` is the `source` of its events: it may speak for no other."""

    def __init__(self, name: str, source: Source, environment: Environment[str, str]) -> None:
        """Raises BadConfig: no such mapping, one that takes no single records, or a secret that the environment lacks."""
        self.name = name
        self.mapping = Mapping.load(source.mapping) if source.mapping is not None else None
        if self.mapping is not None and self.mapping.file.kind == "update_log":
            raise BadConfig(
                f"sources.{name}.mapping: {source.mapping} is an update log, whose rows say something only beside the row before; "
                "use `tribo import` for it"
            )
        self.speaks_for = name if self.mapping is None else self.mapping.source
        self.kind: Kind | None = source.signature
        self.secrets = of_environment(f"sources.{name}.secrets", source.secrets or (), environment, 1)
        self.tokens = of_environment(f"sources.{name}.tokens", source.tokens or (), environment, SHORTEST_TOKEN)
        self.url = source.url or ""
        self.rate = Rate(source.requests_per_second)

    @property
    def guarded(self) -> bool:
        """Whether it shows who it is by itself; else the operator's token is asked for."""
        return self.kind is not None or bool(self.tokens)


class Senders:
    """All of them, with the deliveries that came before."""

    def __init__(
        self, sources: Environment[str, Source], environment: Environment[str, str] | None = None,
        known: Iterable[tuple[str, bytes, int]] = (),
    ) -> None:  # fmt: skip
        """`known`: deliveries as they were remembered (source, digest, UTC ms). Raises BadConfig."""
        variables = os.environ if environment is None else environment
        self._senders = {name: Sender(name, source, variables) for name, source in sources.items()}
        self.deliveries = Deliveries(known)
        shared = [token for sender in self._senders.values() for token in set(sender.tokens)]
        if len(shared) != len(set(shared)):
            raise BadConfig("sources: two sources have the same token, so that each could speak for the other; give each its own")
        self._guarded = frozenset(sender.speaks_for for sender in self._senders.values() if sender.guarded)

    def get(self, name: str) -> Sender | None:
        """The sender of that name."""
        return self._senders.get(name)

    def of_token(self, shown: str) -> Sender | None:
        """Whose token this is; takes the same time whoever's it is."""
        found = None
        for sender in self._senders.values():
            if sender.tokens and shows_token(shown, sender.tokens):
                found = sender
        return found

    @property
    def have_tokens(self) -> bool:
        """Whether any sender has one."""
        return any(sender.tokens for sender in self._senders.values())

    def is_guarded(self, source: str) -> bool:
        """Whether events of this source need a credential: nobody else may speak for it."""
        return source in self._guarded


def of_environment(place: str, names: Iterable[str], environment: Environment[str, str], shortest: int) -> list[str]:
    """The secrets in these variables; `place` says where they are named. Raises BadConfig: not there, or too short."""
    found = []
    for name in names:
        text = environment.get(name, "")
        if not text:
            raise BadConfig(f"{place}: {name} isn't in the environment: set it there before the start")
        if len(text) < shortest:
            raise BadConfig(f"{place}: {name} holds fewer than {shortest} letters: take a longer token")
        found.append(text)
    return found


def mapping_path(name_or_path: str | Path) -> Path:
    """The file of a mapping, packaged or not."""
    text = str(name_or_path)
    return PACKAGED / f"{text}.yaml" if text in packaged() else Path(text)


def remember_mappings(ledger: Ledger, names: Iterable[str]) -> None:
    """Have the ledger remember the texts of these mappings, so that what they made of raw records can be told later.

    Raises BadConfig when two of them bear one name.
    """
    texts: dict[str, str] = {}
    for name in names:
        path = mapping_path(name)
        text = path.read_text("utf-8")
        if texts.setdefault(path.stem, text) != text:
            raise BadConfig(f"{path}: another mapping in use has the name {path.stem}, too; give each file a name of its own")
    for name, text in sorted(texts.items()):
        ledger.remember_text(f"mapping:{name}", text)
