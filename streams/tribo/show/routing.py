"""The Alertmanager configuration that belongs to the rules: who hears of what, what is told together, and what explains what.

What wakes somebody goes to `page`; the rest to the owner of the standard, or to the team it names; everything else to `operations`.
Alerts of one receiver come as one message. The watchdog goes, again and again, to a receiver outside that raises when it stops.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from tribo.measure.standards import Standards
from tribo.show.rules import NOBODY, Options, as_yaml, quoted, read

WATCHDOG = "watchdog"
PAGE = "page"


def receivers_of(standards: Standards) -> tuple[list[str], list[str]]:
    """The owners and the teams that have a receiver of their own, by name."""
    owners = {standards.published(name).owner for name in standards.names} - {None, NOBODY}
    return sorted(owner for owner in owners if owner is not None), sorted(standards.teams)


def alertmanager_file(
    standards: Standards, notify: str, watchdog: str, *, wait: str = "30s", interval: str = "5m", beat: str = "1m"
) -> dict[str, Any]:
    """The configuration. `notify` is the address of a webhook, in which {receiver} stands for who is told; `watchdog` another's."""
    owners, teams = receivers_of(standards)
    named = [(f"owner-{name}", f"owner={quoted(name)}") for name in owners] + [(f"team-{name}", f"team={quoted(name)}") for name in teams]
    routes: list[dict[str, Any]] = [
        {
            "receiver": WATCHDOG, "matchers": ['alertname="TriboWatchdog"'],
            "group_wait": "0s", "group_interval": beat, "repeat_interval": beat,
        },
        {"receiver": PAGE, "matchers": ['severity="page"'], "repeat_interval": "4h"},
    ]  # fmt: skip
    told = {WATCHDOG: watchdog}
    for name in (PAGE, NOBODY, *(name for name, _ in named)):
        told[name] = notify.replace("{receiver}", quote(name, safe=""))
    routes += [{"receiver": receiver, "matchers": [matcher]} for receiver, matcher in named]
    return {
        "route": {
            "receiver": NOBODY, "group_by": ["about"], "group_wait": wait, "group_interval": interval, "repeat_interval": "12h",
            "routes": routes,
        },
        "inhibit_rules": _inhibitions(),
        "receivers": [{"name": name, "webhook_configs": [{"url": url, "send_resolved": name != WATCHDOG}]} for name, url in told.items()],
    }  # fmt: skip


def write_routing(path: Path | None, notify: str, watchdog: str, faster: float = 1.0) -> str:
    """The configuration for a standards file, as text; `faster` divides how long it waits. Raises BadConfig."""
    options = Options(faster=faster)
    times = {"wait": options.span(30), "interval": options.span(300), "beat": options.span(60)}
    return as_yaml(
        alertmanager_file(read(path)[0], notify, watchdog, **times), "Made by `tribo rules`: change the standards file, or its options."
    )


def _inhibitions() -> list[dict[str, Any]]:
    """What explains what: the second is held back while the first fires."""

    def explains(first: str, second: str, *equal: str) -> dict[str, Any]:
        rule: dict[str, Any] = {"source_matchers": [first], "target_matchers": [second]}
        if equal:
            rule["equal"] = list(equal)
        return rule

    return [
        explains('alertname=~"TriboDown|TriboNotTaking|TriboPipelineBehind"', 'about=~"customers|source"'),
        explains('alertname="TriboDown"', 'alertname=~"TriboNotTaking|TriboPipelineBehind"'),
        explains('alertname="TriboSourceSilent"', 'alertname="TriboPromisesUnknown"'),
        explains('alertname="TriboPromisesUnknown"', 'alertname=~"TriboPromisesBroken|TriboPromisesAtRisk.*"', "touchpoint"),
        explains('alertname="TriboPromisesAtRiskAboveNormal"', 'alertname="TriboPromisesAtRiskUntold"', "touchpoint"),
        explains('alertname="TriboPingPongsAboveNormal"', 'alertname="TriboHandoffsAboveNormal"', "team"),
        explains('alertname="TriboStandardBurnsFast"', 'alertname=~"TriboStandardBurnsSlowly|TriboStandardMissedLately"', "standard"),
        explains('alertname="TriboStandardBurnsSlowly"', 'alertname="TriboStandardMissedLately"', "standard"),
    ]
