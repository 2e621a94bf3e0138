"""Prometheus rules from the standards file: what is recorded, and what wakes whom.

The theory. A standard allows a share of misses, its budget; the burn rate says how many times faster than allowed it is used up. An
alert looks at a long window (is it much?) and a short one (does it go on?), and needs a minimum of occasions and of misses. Its
factors are derived from the objective: never so high that even missing everything would not reach them. Where too little happens
for windows, the last ten occasions speak. Numbers without a standard (handoffs, queues, complaints) are held against their own past
week. Each `now` is recorded with its `usual` beside it, the 95th percentile of that week, which no night or weekend pulls down.

Alerts about customers carry `about: customers`, those about the monitor `about: monitor`; Alertmanager holds back the first while the
second say that the monitor can't be believed. Nothing here reads a single journey: each alert links to the page's list of them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from math import comb
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from tribo.measure.standards import Entry, Standards, compile_standards
from tribo_schemas.config import BadConfig, Document, read_yaml
from tribo_schemas.event import TOUCHPOINTS
from tribo_schemas.standard import standards_of

MINUTE, HOUR, DAY, WEEK = 60, 3600, 86_400, 604_800
NAMES = {5 * MINUTE: "5m", 30 * MINUTE: "30m", HOUR: "1h", 2 * HOUR: "2h", 6 * HOUR: "6h", DAY: "1d", 3 * DAY: "3d"}
BURNS = ((HOUR, 5 * MINUTE), (6 * HOUR, 30 * MINUTE), (DAY, 2 * HOUR), (3 * DAY, 6 * HOUR))
"""Long and short window of each burn rate, the first two of which wake somebody."""
FACTORS = (14.4, 6.0, 3.0, 1.0)
"""What uses up 2 %, 5 %, 10 % and 10 % of a month's budget within the long windows."""
REACH = (0.8, 0.6, 0.5, 0.5)
"""The share of misses beyond which a factor is too high to be reached in earnest."""
STRICTEST = 0.999
"""An objective of 100 % allows nothing, and would alert at any miss: alerts take it for this."""
LEAST_MISSES = (3, 2)
SELDOM = 200
"""Occasions a day below which the last ten speak."""
SURPRISING = 0.01
NOBODY = "operations"
FINDING_OF_COUNT = {
    "handoffs": "handoff", "team_handoffs": "handoff", "steps": "handoff", "ping_pongs": "ping_pong", "channel_switches": "channel_switch",
    "repeat_contacts": "repeat_contact", "repeated": "repeated", "holds": "hold", "reopened": "reopened", "abandoned": "abandoned",
    "escalated": "escalated", "complaints": "complaint", "praises": "praise", "surprises": "surprise",
}  # fmt: skip
FINDING_OF_PRACTICE = {"expectation": "no_expectation", "alternative": "no_alternative", "confirmation": "unconfirmed"}


class Options(NamedTuple):
    """Where links lead, and how alerts are tuned. `faster` divides every window and every `for`: for tests, and companies in fast time."""

    page: str = "http://127.0.0.1:8321"
    grafana: str = "http://127.0.0.1:3000"
    runbooks: str = "http://127.0.0.1:8321/runbooks"
    job: str = "tribo"
    factors: Sequence[float] | None = None
    least: int = 20
    faster: float = 1.0

    def span(self, seconds: float) -> str:
        """A duration as Prometheus writes it."""
        milliseconds = max(round(seconds / self.faster * 1000), 1)
        for unit, size in (("w", WEEK), ("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", 1)):
            if milliseconds % (size * 1000) == 0:
                return f"{milliseconds // (size * 1000)}{unit}"
        return f"{milliseconds}ms"


class Template(str):
    """What Prometheus fills in when an alert fires."""


class Unreachable(BadConfig):
    """A burn-rate factor that even missing everything would not reach. `standard` is whose."""

    def __init__(self, standard: str, text: str) -> None:
        super().__init__(text)
        self.standard = standard


# -- what is asked of a standard ---------------------------------------------------------------------------------------


def factors_of(name: str, objective: float, wanted: Sequence[float] | None = None) -> tuple[float, ...]:
    """The burn-rate factors of an objective, or those wanted. Raises Unreachable: missing everything would not exceed one."""
    budget = 1 - min(objective, STRICTEST)
    most = 1 / budget
    factors = wanted if wanted is not None else [
        max(1.0, min(factor, reach * most)) for factor, reach in zip(FACTORS, REACH, strict=True)
    ]  # fmt: skip
    for factor in factors:
        if factor * budget >= 1 - 1e-9:
            raise Unreachable(
                name,
                f"an alert at {factor:g} times the allowed misses can never fire, since with an objective of {objective * 100:g}% missing "
                f"everything is {most:.4g} times: "
                + ("raise the objective" if wanted is None else f"write factors below {most:.4g}, or leave them to be derived"),
            )
    return tuple(round(factor, 6) for factor in factors)


def surprising_misses(objective: float) -> int | None:
    """How many misses among ten are too many to be chance when the objective is met; None: even ten are not."""
    share = 1 - min(objective, STRICTEST)
    for least in range(2, 11):
        chance = sum(comb(10, missed) * share**missed * (1 - share) ** (10 - missed) for missed in range(least, 11))
        if chance < SURPRISING:
            return least
    return None


# -- the file ----------------------------------------------------------------------------------------------------------


def rules_file(standards: Standards, options: Options) -> dict[str, Any]:
    """The rules as Prometheus reads them. Raises Unreachable."""
    now, usual = _recorded(options)
    return {
        "groups": [
            {"name": "tribo-standards", "rules": [*_standard_records(options)]},
            {"name": "tribo-now", "rules": now},
            {"name": "tribo-usual", "interval": options.span(5 * MINUTE), "rules": usual},
            {"name": "tribo-standard-alerts", "rules": [rule for name in standards.names for rule in _standard(standards, name, options)]},
            {"name": "tribo-customer-alerts", "rules": [*_customers(standards, options)]},
            {"name": "tribo-monitor-alerts", "rules": [*_monitor(options)]},
        ]
    }


def read(path: Path | None) -> tuple[Standards, Document | None]:
    """The standards of a file, and the file as it stands. Raises BadConfig."""
    if path is None:
        return compile_standards(None), None
    document = read_yaml(path)
    return compile_standards(standards_of(document)), document


def write_rules(path: Path | None, options: Options) -> str:
    """The rules of a standards file, as text. Raises BadConfig; what can't be reached is named by its place in the file."""
    standards, document = read(path)
    try:
        return as_yaml(rules_file(standards, options), "Made by `tribo rules`: change the standards file, not this.")
    except Unreachable as error:
        if document is None:
            raise
        last = max(index for index, entry in enumerate(document.root["standards"]) if entry["name"] == error.standard)
        raise document.wrong(("standards", last, "objective"), str(error)) from None


def as_yaml(content: Any, heading: str) -> str:
    """YAML that people can read, with a line on top that says where it comes from."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    yaml.dump(_literal(content), text)
    return f"# {heading}\n{text.getvalue()}"


def _literal(content: Any) -> Any:
    """The same, with text of several lines as it stands."""
    if isinstance(content, dict):
        return {key: _literal(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_literal(value) for value in content]
    return LiteralScalarString(content) if isinstance(content, str) and "\n" in content else content


def _record(name: str, expr: str) -> dict[str, Any]:
    return {"record": name, "expr": expr}


def _standard_records(options: Options) -> Iterator[dict[str, Any]]:
    for seconds, window in NAMES.items():
        span = options.span(seconds)
        stands = (
            f"clamp_min(max by (standard) (increase(tribo_standard_judged_total{{outcome=\"%s\"}}[{span}]))\n"
            f"- max by (standard) (increase(tribo_standard_judged_withdrawn_total{{outcome=\"%s\"}}[{span}])), 0)"
        )  # fmt: skip
        for outcome in ("missed", "met"):
            yield _record(f"standard:tribo_standard_{outcome}:increase{window}", stands % (outcome, outcome))
        missed, met = (f"standard:tribo_standard_{outcome}:increase{window}" for outcome in ("missed", "met"))
        yield _record(f"standard:tribo_standard_judged:increase{window}", f"{missed} + {met}")
        yield _record(f"standard:tribo_standard_missed:ratio{window}", f"{missed} / ({missed} + {met} > 0)")


def _recorded(options: Options) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is held against its own past, and that past."""

    def found(metric: str, label: str, window: int, matching: str = "") -> str:
        span = options.span(window)
        total, back = (f"max by ({label}) (increase({metric}{name}_total{matching}[{span}]))" for name in ("", "_withdrawn"))
        return f"clamp_min({total}\n- {back}, 0)"

    untold = 'sum by (touchpoint) (max by (touchpoint, team) (tribo_promises_at_risk{told="no"}))'
    now = {
        "touchpoint:tribo_promises_broken:increase1h": found("tribo_findings", "touchpoint", HOUR, '{kind="promise_broken"}'),
        "touchpoint:tribo_promises_untold:sum": untold,
        "team:tribo_handoffs:increase1h": found("tribo_team_findings", "team", HOUR, '{kind="handoff"}'),
        "team:tribo_ping_pongs:increase1h": found("tribo_team_findings", "team", HOUR, '{kind="ping_pong"}'),
        "team:tribo_queue_running:max": "max by (team) (tribo_team_queue_running)",
        "topic:tribo_complaints:increase6h": found("tribo_complaints", "topic", 6 * HOUR),
    }
    week, back = options.span(WEEK), options.span(HOUR)
    usual = [_record(_usual(name), f"quantile_over_time(0.95, {name}[{week}] offset {back})") for name in now]
    quiet = "source:tribo_source_quiet:seconds"
    heard = "max by (source) (tribo_source_heard_timestamp_seconds)"
    now[quiet] = f"scalar(max(tribo_clock_timestamp_seconds)) - {heard}"
    then = [
        f'label_replace(max_over_time({quiet}[{options.span(2 * HOUR)}] offset {options.span(ago)}), "of", "{name}", "", "")'
        for name, ago in (("yesterday", 23 * HOUR), ("last week", 167 * HOUR))
    ]
    usual.append(_record(_usual(quiet), f"max by (source) (\n{then[0]}\nor\n{then[1]}\n)"))
    return [_record(name, expr) for name, expr in now.items()], usual


def _usual(name: str) -> str:
    level, metric, _ = name.split(":")
    return f"{level}:{metric}:usual"


def _above_usual(name: str, least: float, times: float = 2) -> str:
    """That a recorded number is high, and high for what it usually is; what has no past yet is held against nothing."""
    return f"{name} > {least:g}\nand {name} > {times:g} * ({_usual(name)} or 0 * {name})"


# -- alerts ------------------------------------------------------------------------------------------------------------


def _alert(
    options: Options, name: str, expr: str, lasting: float, severity: str, summary: str, description: str, *, dashboard: str,
    journeys: dict[str, str] | None = None, seconds: int | None = None, labels: dict[str, str] | None = None,
    runbook: str | None = None, keep: float = 0, about: str = "customers",
) -> dict[str, Any]:  # fmt: skip
    """An alert. `journeys` is what the page is asked for (values may be templates), in the last `seconds`; `summary` is a template."""
    rule: dict[str, Any] = {"alert": name, "expr": expr, "for": options.span(lasting) if lasting else "0s"}
    if keep:
        rule["keep_firing_for"] = options.span(keep)
    rule["labels"] = {"severity": severity, "about": about, **{key: _plain(value) for key, value in (labels or {}).items()}}
    rule["annotations"] = {
        "summary": summary,
        "description": description,
        "runbook_url": _plain(runbook) if runbook else f"{options.runbooks}/{name}.md",
        "dashboard_url": f"{options.grafana}/d/{dashboard}",
        "journeys_url": f"{options.page}/" if journeys is None else _journeys(options, journeys, seconds),
    }
    return rule


def _journeys(options: Options, wanted: dict[str, str], seconds: int | None) -> str:
    """The page's list of journeys: values are plain text or templates that escape themselves."""
    said = [f"{name}={value if isinstance(value, Template) else quote(value, safe='')}" for name, value in wanted.items()]
    if seconds is not None:
        clock = "max(tribo_clock_timestamp_seconds)"
        for name, query in (("from", f"{clock} - {seconds}"), ("to", f"{clock} + 1")):
            said.append(f'{name}={{{{ with query "{query}" }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}}')
    return f"{options.page}/journeys?{'&'.join(said)}"


def _label(name: str) -> Template:
    return Template(f"{{{{ $labels.{name} | urlquery }}}}")


def _plain(text: str) -> str:
    """Text that is no template."""
    return re.sub(r"\{\{|\}\}", lambda found: f'{{{{ "{found[0]}" }}}}', text)


def quoted(text: str) -> str:
    """A label's value as PromQL and Alertmanager write it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def journeys_of(entry: Entry) -> dict[str, str]:
    """What the page is asked for, to see the journeys behind a standard's misses."""
    if entry.kind == "clock":
        wanted = {"standard": entry.name}
    elif entry.kind in ("promise", "implied"):
        wanted = {"finding": "promise_broken"}
    elif entry.kind == "practice":
        wanted = {"finding": FINDING_OF_PRACTICE[entry.practice or ""]}
    else:
        finding = FINDING_OF_COUNT.get(entry.count or "")
        wanted = {} if finding is None else {"finding": finding}
    for name in ("touchpoint", "team", "topic", "channel"):
        value = getattr(entry, name)
        if value is not None:
            wanted[name] = value
    return wanted


def _standard(standards: Standards, name: str, options: Options) -> Iterator[dict[str, Any]]:
    """The alerts of one standard: burning fast, burning slowly, and missed too often of late."""
    entry = standards.published(name)
    factors = factors_of(name, entry.objective, options.factors)
    budget = 1 - min(entry.objective, STRICTEST)
    labels = {"standard": name, "owner": entry.owner or NOBODY}
    if entry.touchpoint is not None:
        labels["touchpoint"] = entry.touchpoint
    if entry.team is not None:
        labels["team"] = entry.team
    of = f"{{standard={quoted(name)}}}"
    says, promised = _plain(entry.says), f"{entry.objective * 100:g}%"
    dashboard = f"tribo-on-call?{urlencode({'var-standard': name})}"

    def burn(index: int) -> str:
        (long, short), limit = BURNS[index], round(factors[index] * budget, 6)
        ratios = [f"standard:tribo_standard_missed:ratio{NAMES[window]}{of} > {limit:g}" for window in (long, short)]
        enough = f"standard:tribo_standard_judged:increase{NAMES[long]}{of} >= {options.least}"
        misses = f"standard:tribo_standard_missed:increase{NAMES[long]}{of} >= {LEAST_MISSES[index // 2] - 0.5}"
        return "(\n  " + "\n  and ".join((*ratios, enough, misses)) + "\n)"

    for alert, first, severity, lasting in (
        ("TriboStandardBurnsFast", 0, "page", 2 * MINUTE), ("TriboStandardBurnsSlowly", 2, "ticket", 15 * MINUTE),
    ):  # fmt: skip
        window = BURNS[first + 1][0]
        at = " or ".join(f"{factors[index]:g} times over {NAMES[BURNS[index][0]]}" for index in (first, first + 1))
        yield _alert(
            options, alert, f"{burn(first)}\nor\n{burn(first + 1)}", lasting, severity, says,
            f"{{{{ $value | humanizePercentage }}}} of the occasions missed {name}; {promised} are to meet it "
            f"(alert: misses at {at} what is allowed).",
            dashboard=dashboard, journeys=journeys_of(entry), seconds=window, labels=labels, runbook=entry.runbook, keep=5 * MINUTE,
        )  # fmt: skip
    most = surprising_misses(entry.objective)
    if most is not None:
        yield _alert(
            options, "TriboStandardMissedLately",
            f"max by (standard) (tribo_standard_last_missed{of}) >= {most}\n"
            f"and standard:tribo_standard_missed:increase1d{of} > 0.5\n"
            f"and standard:tribo_standard_judged:increase1d{of} < {SELDOM}",
            MINUTE, "ticket", says,
            f"{{{{ $value }}}} of the last ten occasions missed {name}; {promised} are to meet it: {most} or more are no chance.",
            dashboard=dashboard, journeys=journeys_of(entry), seconds=3 * DAY, labels=labels, runbook=entry.runbook,
        )  # fmt: skip


def owner_of(standards: Standards, touchpoint: str) -> str:
    """Who is told about promises at a touchpoint: the owner of the first standard about promises there, else anywhere."""
    entries = [standards.published(name) for name in standards.names]
    promises = [entry for entry in entries if entry.kind in ("promise", "implied") and entry.owner is not None]
    for entry in (*(one for one in promises if one.touchpoint == touchpoint), *(one for one in promises if one.touchpoint is None)):
        return entry.owner or NOBODY
    return NOBODY


def _customers(standards: Standards, options: Options) -> Iterator[dict[str, Any]]:
    for touchpoint in TOUCHPOINTS:
        of = f'{{touchpoint="{touchpoint}"}}'
        labels = {"owner": owner_of(standards, touchpoint), "touchpoint": touchpoint}
        at_risk = {"finding": "promise_at_risk", "touchpoint": touchpoint}
        dashboard = f"tribo-promises?var-touchpoint={touchpoint}"
        yield _alert(
            options, "TriboPromisesAtRiskUntold",
            f'max by (touchpoint, team) (tribo_promises_at_risk{{told="no", touchpoint="{touchpoint}"}}) > 0', 5 * MINUTE, "notice",
            f"Promises about {touchpoint} are about to break, and nobody told the customers.",
            "{{ $value }} promises held by {{ $labels.team }} are in the last stretch before their due, without a word to the customer"
            f"{_time_left(touchpoint)}. Next: tell the customers, with a new date where it can't be kept.",
            dashboard=dashboard, journeys=at_risk, labels=labels,
        )  # fmt: skip
        untold = "touchpoint:tribo_promises_untold:sum"
        yield _alert(
            options, "TriboPromisesAtRiskAboveNormal", _with(_above_usual(untold, 10), of), 5 * MINUTE, "page",
            f"Many more promises about {touchpoint} than usual are about to break, and nobody told the customers.",
            f'{{{{ $value }}}} promises are at risk untold; usual is {{{{ with query "{_usual(untold)}'
            f"{{touchpoint='{touchpoint}'}}\" }}}}{{{{ . | first | value | humanize }}}}{{{{ else }}}}unknown{{{{ end }}}} or less.",
            dashboard=dashboard, journeys=at_risk, labels=labels,
        )  # fmt: skip
        yield _alert(
            options, "TriboPromisesBroken", _with(_above_usual("touchpoint:tribo_promises_broken:increase1h", 0.5), of), 0, "ticket",
            f"Promises about {touchpoint} were broken.",
            "{{ $value | humanize }} promises broke within the hour, more than usual.",
            dashboard=dashboard, journeys={"finding": "promise_broken", "touchpoint": touchpoint}, seconds=HOUR, labels=labels,
            keep=10 * MINUTE,
        )  # fmt: skip
        yield _alert(
            options, "TriboPromisesUnknown", f"max by (touchpoint) (tribo_promises{{state=\"unknown\", touchpoint=\"{touchpoint}\"}}) > 0",
            5 * MINUTE, "ticket", f"Nobody knows whether promises about {touchpoint} were kept: their source is silent.",
            "{{ $value }} promises are due and their source is silent; they are called broken after a day of silence.",
            dashboard=dashboard, journeys={"finding": "promise_unknown", "touchpoint": touchpoint}, labels=labels,
        )  # fmt: skip
    for alert, record, least, finding, text in (
        ("TriboHandoffsAboveNormal", "team:tribo_handoffs:increase1h", 5, "handoff", "Customers are handed on more than usual"),
        ("TriboPingPongsAboveNormal", "team:tribo_ping_pongs:increase1h", 2, "ping_pong", "Customers are handed back and forth"),
    ):
        yield _alert(
            options, alert, _above_usual(record, least), 5 * MINUTE, "ticket", f"{text} (now with {{{{ $labels.team }}}}).",
            "{{ $value | humanize }} within the hour, more than twice what is usual.",
            dashboard=f"tribo-handoffs?var-team={_label('team')}", journeys={"finding": finding, "team": _label("team")}, seconds=HOUR,
            keep=10 * MINUTE,
        )  # fmt: skip
    queue = "team:tribo_queue_running:max"
    yield _alert(
        options, "TriboQueueGrowing", f"{_above_usual(queue, 5)}\nand deriv({queue}[{options.span(10 * MINUTE)}]) > 0", 3 * MINUTE, "page",
        "More and more customers wait in the queue of {{ $labels.team }}.",
        "{{ $value }} customers wait in the queue, more than twice what is usual, and their number grows.",
        dashboard=f"tribo-handoffs?var-team={_label('team')}", journeys={"status": "open", "team": _label("team")}, keep=5 * MINUTE,
    )  # fmt: skip
    yield _alert(
        options, "TriboComplaintsRising", _above_usual("topic:tribo_complaints:increase6h", 3), 5 * MINUTE, "ticket",
        "Complaints about {{ $labels.topic }} are rising.",
        "{{ $value | humanize }} complaints within six hours, more than twice what is usual.",
        dashboard="tribo-today", journeys={"finding": "complaint", "topic": _label("topic")}, seconds=6 * HOUR, keep=10 * MINUTE,
        labels={"owner": NOBODY},
    )  # fmt: skip


def _time_left(touchpoint: str) -> str:
    """A template: how long until the first promise at risk breaks whose customer wasn't told."""
    first = f"min(tribo_promises_next_due_timestamp_seconds{{told='no',touchpoint='{touchpoint}'}})"
    left = f"{first} - scalar(max(tribo_clock_timestamp_seconds))"
    return f'{{{{ with query "{left}" }}}}, the first of them due in {{{{ . | first | value | humanizeDuration }}}}{{{{ end }}}}'


def _with(expr: str, matching: str) -> str:
    """An expression over recorded numbers, for some of their series only."""
    return re.sub(r"\b\w+:tribo_\w+:\w+\b", lambda found: found[0] + matching, expr)


def _monitor(options: Options) -> Iterator[dict[str, Any]]:
    def alert(name: str, expr: str, lasting: float, severity: str, summary: str, description: str, keep: float = 0) -> dict[str, Any]:
        return _alert(
            options, name, expr, lasting, severity, summary, description, dashboard="tribo-pipeline", labels={"owner": NOBODY},
            about="source" if name.startswith("TriboSource") else "monitor", keep=keep,
        )  # fmt: skip

    quarter, hour = options.span(15 * MINUTE), options.span(HOUR)
    quiet = "source:tribo_source_quiet:seconds"
    floor = 15 * MINUTE / options.faster
    yield alert(
        "TriboSourceSilent", f"{quiet} > {floor:g}\nand {quiet} > 3 * ({_usual(quiet)} or 0 * {quiet})", 5 * MINUTE, "page",
        "Nothing comes from {{ $labels.source }}, so nobody knows what its customers live through.",
        "Nothing came for {{ $value | humanizeDuration }}, more than three times what is usual at this time.",
    )  # fmt: skip
    rejected, everything = (
        f"sum by (source) (max by (source, outcome) (increase(tribo_events_total{of}[{quarter}])))" for of in ('{outcome="rejected"}', "")
    )
    yield alert(
        "TriboSourceRejecting", f"{rejected} > 10\nand {rejected} > 0.05 * {everything}",
        5 * MINUTE, "ticket", "Records from {{ $labels.source }} are rejected, and what they tell is missing.",
        "{{ $value | humanize }} records were rejected within a quarter of an hour, more than one in twenty.", 10 * MINUTE,
    )  # fmt: skip
    yield alert(
        "TriboSourceClockWrong",
        f"max by (source) (tribo_source_skew_seconds) > 60\nor max by (source) (increase(tribo_source_future_events_total[{quarter}])) > 0",
        5 * MINUTE, "ticket", "The clock of {{ $labels.source }} is ahead, and what is more than five minutes ahead is refused.",
        "{{ $value | humanize }} (seconds ahead, or events refused within a quarter of an hour).", 10 * MINUTE,
    )  # fmt: skip
    yield alert(
        "TriboPipelineBehind",
        "max(tribo_behind_seconds) > 60\nor max(tribo_queue_events / tribo_queue_limit_events) > 0.8\n"
        f"or max(min_over_time(tribo_measure_lag_records[{options.span(10 * MINUTE)}])) > 100\n"
        f"or max(min_over_time(tribo_wire_lag_records[{options.span(10 * MINUTE)}])) > 10000\n"
        "or 1 - min(max by (partition) (tribo_measure_held)) == 1",
        2 * MINUTE, "page", "The monitor is behind: what it shows is old.",
        "{{ $value | humanize }} (seconds since something was due, the share of the queue that is full, records that wait, or 1 where "
        "nobody holds a partition).", 2 * MINUTE,
    )  # fmt: skip
    yield alert(
        "TriboNotTaking",
        "max(tribo_ledger_full) == 1\nor max(tribo_ledger_broken) == 1\nor 1 - min(tribo_measure_database_up) == 1", MINUTE, "page",
        "The monitor takes no events: its ledger can't be written.",
        "The disk is full, the ledger can't be written any more, or its database does not answer.",
    )  # fmt: skip
    yield alert(
        "TriboEventsLost", f"sum(increase(tribo_measure_lost_total[{hour}])) > 0", 0, "page",
        "Events were lost: what they told is missing from the journeys.",
        "{{ $value | humanize }} records were missing from the topic of events within the hour.", 30 * MINUTE,
    )  # fmt: skip
    yield alert(
        "TriboHistorySetAside", "max(tribo_histories_set_aside) > 0", MINUTE, "ticket",
        "The measuring of some customers has stopped: a fault of Tribo.",
        "{{ $value }} histories were set aside after three crashes; their events are kept.",
    )  # fmt: skip
    yield alert(
        "TriboDown", f'up{{job={quoted(options.job)}}} == 0\nor absent(up{{job={quoted(options.job)}}})', 2 * MINUTE, "page",
        "The monitor is down: nobody measures what customers live through.", "Prometheus gets no answer from it.",
    )  # fmt: skip
    yield alert(
        "TriboWatchdog", "vector(1)", 0, "watchdog", "This always fires, so that its silence tells that alerts no longer arrive.",
        "Prometheus and Alertmanager are at work.",
    )  # fmt: skip
