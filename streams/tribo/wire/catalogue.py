"""Which facts the packaged mappings can give: the table in docs/sources/README.md. `python -m tribo.wire.catalogue` prints it."""

from __future__ import annotations

import sys

from tribo.wire.mapping import Mapping, packaged
from tribo_schemas.event import FACTS
from tribo_schemas.source import Mapped, Rule, SourceFile


def facts_of(file: SourceFile) -> list[str]:
    """The facts that a mapping can give, in the order of the facts."""
    found = {fact for rule in file.rules for fact in _of_rule(rule)}
    return [fact for fact in FACTS if fact in found]


def _of_rule(rule: Rule) -> set[str]:
    facts: set[str] = set()
    for text in rule.fact if isinstance(rule.fact, list) else [rule.fact]:
        if isinstance(text, Mapped) and isinstance(text.map, dict) and text.map:
            facts |= {fact for fact in (*text.map.values(), text.otherwise, text.missing) if fact is not None}
        elif isinstance(text, str) and "{" not in text:
            facts.add(text)
        else:
            facts |= set(FACTS)  # whatever the record says
    return facts


def table() -> str:
    """Facts down, sources across: a Markdown table."""
    names = packaged()
    given = {name: frozenset(facts_of(Mapping.load(name).file)) for name in names}
    lines = ["| fact | " + " | ".join(f"[{name}]({name}.md)" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| `{fact}` | " + " | ".join("x" if fact in given[name] else "" for name in names) + " |" for fact in FACTS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
