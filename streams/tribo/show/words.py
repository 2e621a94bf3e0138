"""Findings in sentences: what each kind says to the person who has to act on it."""

from __future__ import annotations

from collections.abc import Iterable

from tribo.ledger.reader import Told
from tribo_schemas.finding import Finding

SENTENCES = {
    "handoff": "Handed from {from_holder} to {holder}.",
    "ping_pong": "Came back to {holder}, who had it before.",
    "channel_switch": "The customer had to come by another channel ({channel}).",
    "hold": "Put on hold in a live conversation.",
    "repeat_contact": "The customer had to come again about the same thing.",
    "repeated": "The customer had to say again what they had said.",
    "reopened": "It was called done, and wasn't.",
    "abandoned": "The customer gave up waiting.",
    "promise_broken": "The promise {promise} was broken{told}.",
    "promise_moved_late": "The customer heard too late that the promise {promise} was moved.",
    "standard_missed": "The standard {standard} was missed: {clock} took longer than {expected}.",
    "unconfirmed": "Nobody asked whether it is fixed.",
    "no_expectation": "A day without telling the customer what to expect.",
    "no_alternative": "There was a problem, and no alternative was offered.",
    "complaint": "The customer complained.",
    "promise_at_risk": "The promise {promise} is about to break.",
    "promise_unknown": "The promise {promise} is due, but its source is silent.",
    "promise_moved": "The promise {promise} was moved, and the customer told in time.",
    "escalated": "The customer reached someone in authority.",
    "early": "The promise {promise} was kept a day or more before it was due.",
    "praise": "The customer praised us.",
    "surprise": "Something extra.",
    "recovered": "There had been a problem, and trust was won back.",
}


KIND_WORDS = {
    "handoff": "handoffs", "ping_pong": "ping-pongs", "channel_switch": "channel switches", "hold": "holds",
    "repeat_contact": "repeat contacts", "repeated": "had to repeat themselves", "reopened": "reopened", "abandoned": "gave up waiting",
    "promise_broken": "broken promises", "promise_moved_late": "promises moved late", "standard_missed": "missed standards",
    "unconfirmed": "never asked if fixed", "no_expectation": "not told what to expect", "no_alternative": "no alternative offered",
    "complaint": "complaints", "promise_at_risk": "promises at risk", "promise_unknown": "promises unknown",
    "promise_moved": "promises moved in time", "escalated": "reached authority", "early": "kept early", "praise": "praise",
    "surprise": "surprises", "recovered": "recovered",
}  # fmt: skip
"""Each kind of finding, in the plural, as tables and filters name it."""
FACT_WORDS = {
    "customer_replied": "customer wrote again", "put_on_hold": "put on hold", "awaiting_customer": "waiting for the customer",
    "authority_asked": "asked for someone in authority", "asked_if_fixed": "asked whether it is fixed", "queued": "joined the queue",
    "repeated": "had to say it again", "informed": "customer informed", "offered": "alternative offered", "abandoned": "customer gave up",
}  # fmt: skip


def fact_word(fact: str) -> str:
    """A fact as people say it."""
    return FACT_WORDS.get(fact, fact.replace("_", " "))


def promise_word(promise: str | None) -> str:
    """A promise's name as people say it: an implied one is its standard's."""
    return (promise or "").removeprefix("standard:")


def share(number: float | None, digits: int = 1) -> str:
    """A share in percent."""
    return "–" if number is None else f"{100 * number:.{digits}f} %"


def span(milliseconds: int | None) -> str:
    """A duration in its largest unit and the next smaller one."""
    if milliseconds is None:
        return ""
    seconds = max(milliseconds, 0) // 1000
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next((place for place, (_, length) in enumerate(units) if seconds >= length), len(units) - 1)
    parts = []
    for name, length in units[first : first + 2]:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts) or "0 s"


def holder(team: str | None, owner: str | None) -> str:
    """Who has an item: the owner in a team, or a team's queue."""
    return f"{owner} ({team})" if team and owner else owner or team or "nobody"


def last_revisions(findings: Iterable[Told]) -> dict[str, int]:
    """The last revision of each finding, by its id. A revision may move a finding to an earlier time, so their order doesn't tell."""
    last: dict[str, int] = {}
    for told in findings:
        last[told.finding.id] = max(told.revision, last.get(told.finding.id, 0))
    return last


def sentence(finding: Finding) -> str:
    """What the finding says."""
    return SENTENCES[finding.kind].format(
        from_holder=holder(finding.from_team, finding.from_owner),
        holder=holder(finding.team, finding.owner),
        channel=finding.channel or "unknown",
        promise=finding.promise,
        standard=finding.standard,
        clock=(finding.clock or "").replace("_", " "),
        expected=span(finding.expected_ms),
        told=", though the customer had been told" if finding.told else "",
    )
