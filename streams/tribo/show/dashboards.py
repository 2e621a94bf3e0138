"""Grafana dashboards from the standards file: data, no more; what they show is in the metrics and in the ledger.

Five of them: *Customers today*, *Promises*, *Handoffs and waits*, *On call*, *Pipeline*. Numbers come from Prometheus (`tribo-prometheus`)
and from what `tribo rules` records; tables of journeys come from the ledger on PostgreSQL (`tribo-ledger`). Thresholds stand at the
standards' own targets, and every journey, standard and team leads to the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tribo.measure.standards import Entry, Standards
from tribo.show.rules import read

PROMETHEUS = {"type": "prometheus", "uid": "tribo-prometheus"}
LEDGER = {"type": "postgres", "uid": "tribo-ledger"}
SCHEMA = 38
WIDE = 24
GREEN, YELLOW, RED = "green", "yellow", "red"
EVERY = {"touchpoint": "tribo_promises", "team": "tribo_team_queue_running", "standard": "tribo_standard_info"}
"""The variables, and the metric whose label values each takes."""
CHOSEN = 'touchpoint=~"$touchpoint"'
CHOSEN_TEAM = 'team=~"$team"'
CHOSEN_STANDARD = 'standard=~"$standard"'


class Ask(NamedTuple):
    """A query of Prometheus. `table`: only its last values, as rows."""

    expr: str
    legend: str = ""
    table: bool = False
    heat: bool = False


class Sql(NamedTuple):
    """A query of the ledger on PostgreSQL."""

    text: str


class Panel(NamedTuple):
    """A panel. `steps`: from which value on which colour; `links`: (title, address) on each value."""

    kind: str
    title: str
    says: str
    asks: Sequence[Ask | Sql]
    unit: str = "short"
    width: int = 12
    height: int = 8
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),)
    links: Sequence[tuple[str, str]] = ()
    columns: dict[str, str] | None = None
    stacked: bool = False


# -- what a panel is to Grafana ----------------------------------------------------------------------------------------


def _target(ask: Ask | Sql, letter: str) -> dict[str, Any]:
    if isinstance(ask, Sql):
        return {"refId": letter, "datasource": LEDGER, "format": "table", "rawQuery": True, "editorMode": "code", "rawSql": ask.text}
    return {
        "refId": letter, "datasource": PROMETHEUS, "expr": ask.expr, "legendFormat": ask.legend or "__auto",
        "instant": ask.table, "range": not ask.table, "format": "table" if ask.table else "heatmap" if ask.heat else "time_series",
    }  # fmt: skip


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    source = LEDGER if isinstance(panel.asks[0], Sql) else PROMETHEUS
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in panel.steps]},
        "links": [{"title": title, "url": url, "targetBlank": True} for title, url in panel.links],
    }
    options: dict[str, Any] = {}
    if panel.kind == "timeseries":
        drawn = "line" if len(panel.steps) > 1 else "off"
        defaults["custom"] = {
            "fillOpacity": 30 if panel.stacked else 5, "showPoints": "never", "spanNulls": False, "thresholdsStyle": {"mode": drawn},
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }  # fmt: skip
        defaults["min"] = 0
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    elif panel.kind in ("stat", "bargauge"):
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}, "colorMode": "value"}
    elif panel.kind == "heatmap":
        options = {"calculate": False, "yAxis": {"unit": panel.unit}, "color": {"mode": "scheme", "scheme": "Oranges"}}
    made: dict[str, Any] = {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.says, "datasource": source,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": [_target(ask, chr(ord("A") + index)) for index, ask in enumerate(panel.asks)],
        "fieldConfig": {"defaults": defaults, "overrides": _overrides(panel)},
        "options": options,
    }  # fmt: skip
    if panel.columns is not None and source is PROMETHEUS:
        made["transformations"] = [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": panel.columns}},
        ]
    return made


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    """Of a table: shares as such, a gap above nothing in red."""
    if panel.kind != "table":
        return []
    shares = [name for name in (panel.columns or {}).values() if name in ("expected", "actual", "gap")]
    found = [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": "percentunit"}]} for name in shares]
    if "gap" in shares:
        steps = [{"value": None, "color": GREEN}, {"value": 0.000001, "color": RED}]
        found.append({
            "matcher": {"id": "byName", "options": "gap"},
            "properties": [
                {"id": "thresholds", "value": {"mode": "absolute", "steps": steps}},
                {"id": "custom.cellOptions", "value": {"type": "color-text"}},
            ],
        })  # fmt: skip
    return found


def _laid_out(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Panels from left to right, a new line where there is no room."""
    made, x, y, tallest = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDE:
            x, y, tallest = 0, y + tallest, 0
        made.append(_panel(panel, number, x, y))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return made


def _variable(name: str, metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, {name})"
    return {
        "name": name, "label": name, "type": "query", "datasource": PROMETHEUS, "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def _dashboard(name: str, title: str, says: str, panels: Sequence[Panel], page: str) -> dict[str, Any]:
    others = [
        {"title": "Tribo", "type": "dashboards", "tags": ["tribo"], "asDropdown": True, "includeVars": True, "keepTime": True},
        {"title": "The page", "type": "link", "url": "$page/", "targetBlank": True},
    ]
    return {
        "uid": f"tribo-{name}", "title": title, "description": says, "tags": ["tribo"], "schemaVersion": SCHEMA, "version": 1,
        "editable": False, "timezone": "", "refresh": "30s", "time": {"from": "now-24h", "to": "now"}, "links": others,
        "templating": {"list": [
            *(_variable(label, metric) for label, metric in EVERY.items()),
            {"name": "page", "type": "constant", "query": page, "hide": 2, "current": {"text": page, "value": page}},
        ]},
        "annotations": {"list": [{
            "name": "New standards", "datasource": PROMETHEUS, "enable": True, "iconColor": "purple", "titleFormat": "New version of the standards",
            "expr": "max(changes(tribo_config_standards_version[$__interval])) > 0", "step": "60s",
        }]},
        "panels": _laid_out(panels),
    }  # fmt: skip


# -- the five ----------------------------------------------------------------------------------------------------------


def _hourly(metric: str, matching: str, by: str) -> str:
    return f"sum by ({by}) (increase({metric}{{{matching}}}[1h]))"


MET = f'sum by (standard) (tribo_standard_occasions{{{CHOSEN_STANDARD},outcome="met"}})'
JUDGED = f'sum by (standard) (tribo_standard_occasions{{{CHOSEN_STANDARD},outcome=~"met|missed"}} > 0)'
JOURNEY = ("The journey on the page", "$page/journeys/${__data.fields.journey}")
THOSE = "$page/journeys?from=${__from:date:seconds}&to=${__to:date:seconds}"


def _today() -> list[Panel]:
    kinds = {"complaint": "complaints", "praise": "praise"}
    return [
        Panel("stat", "Standards missed", "Published standards whose share of met occasions is below what is promised.",
              [Ask("count(max by (standard) (tribo_standard_objective_ratio) - on (standard) (sum by (standard) (tribo_standard_occasions"
                   '{outcome="met"}) / sum by (standard) (tribo_standard_occasions{outcome=~"met|missed"} > 0)) > 0) or vector(0)')],
              width=6, height=4, steps=((None, GREEN), (1, RED)), links=[("The scoreboard", "$page/")]),
        Panel("stat", "At risk, and not told", "Open promises in the last stretch before their due, whose customers know nothing.",
              [Ask('sum(tribo_promises_at_risk{told="no"})')], width=6, height=4, steps=((None, GREEN), (1, YELLOW), (20, RED)),
              links=[("These journeys", "$page/journeys?finding=promise_at_risk")]),
        Panel("stat", "Journeys with much friction", "Open journeys with twenty or more points of friction.",
              [Ask('sum(tribo_open_journeys{friction="20+"})')], width=6, height=4, steps=((None, GREEN), (1, YELLOW)),
              links=[("These journeys", "$page/journeys?status=open&friction=20")]),
        Panel("stat", "Waiting now", "Customers who wait in a live queue.", [Ask('sum(tribo_waits_running{clock="queue"})')], width=6, height=4),
        Panel("table", "What we promise, and what is so",
              "Each standard as customers read it: expected, actual, and the gap. A gap above nothing means that we fall short.",
              [Ask(f"max by (standard, says) (tribo_standard_info{{{CHOSEN_STANDARD}}})", table=True),
               Ask(f"max by (standard) (tribo_standard_objective_ratio{{{CHOSEN_STANDARD}}})", table=True),
               Ask(f"{MET} / {JUDGED}", table=True),
               Ask(f"max by (standard) (tribo_standard_objective_ratio{{{CHOSEN_STANDARD}}}) - on (standard) ({MET} / {JUDGED})", table=True),
               Ask(f'max by (standard) (tribo_standard_occasions{{{CHOSEN_STANDARD},outcome="missed"}})', table=True)],
              width=WIDE, height=10, links=[("Why", "$page/why?standard=${__data.fields.standard}")],
              columns={"says": "what customers read", "Value #A": "", "Value #B": "expected", "Value #C": "actual", "Value #D": "gap",
                       "Value #E": "missed"}),
        Panel("timeseries", "Complaints beside praise", "What customers say in words, each hour.",
              [Ask(f'sum(increase(tribo_findings_total{{kind="{kind}",{CHOSEN}}}[1h]))', name) for kind, name in kinds.items()],
              links=[("Complaints", f"{THOSE}&finding=complaint"), ("Praise", f"{THOSE}&finding=praise")]),
        Panel("timeseries", "What complaints are about", "Complaints in six hours by topic; topics that no standards file names are other.",
              [Ask("sum by (topic) (topic:tribo_complaints:increase6h)", "{{topic}}")], stacked=True,
              links=[("These journeys", f"{THOSE}&finding=complaint&topic=${{__field.labels.topic}}")]),
        Panel("timeseries", "Promises at risk", "Open promises that may soon break, by whether the customer was told.",
              [Ask(f"sum by (told) (tribo_promises_at_risk{{{CHOSEN},{CHOSEN_TEAM}}})", "told: {{told}}")], stacked=True,
              links=[("These journeys", "$page/journeys?finding=promise_at_risk")]),
        Panel("timeseries", "Open journeys by friction", "How many journeys are open, by their points of friction.",
              [Ask("sum by (friction) (tribo_open_journeys)", "{{friction}} points")], stacked=True),
        Panel("table", "The journeys with most friction", "Open journeys from the ledger, the worst first.",
              [Sql("SELECT journey, friction AS \"friction points\", delight AS \"delight points\", to_timestamp(opened_at / 1000.0) AS opened, "
                   "to_timestamp(last_event_at / 1000.0) AS \"last event\" FROM journeys WHERE status = 'open' AND friction > 4 AND synthetic = 0 "
                   "ORDER BY friction DESC LIMIT 50")], width=WIDE, height=10, links=[JOURNEY]),
    ]  # fmt: skip


def _promises(standards: Standards) -> list[Panel]:
    return [
        Panel("timeseries", "Promises as they stand", "All promises of open and ended journeys by their state.",
              [Ask(f"sum by (state) (tribo_promises{{{CHOSEN}}})", "{{state}}")]),
        Panel("timeseries", "Broken, each hour", "Promises whose due passed and nothing came, against what is usual.",
              [Ask(f"touchpoint:tribo_promises_broken:increase1h{{{CHOSEN}}}", "{{touchpoint}}"),
               Ask(f"touchpoint:tribo_promises_broken:usual{{{CHOSEN}}}", "{{touchpoint}}, usual")],
              links=[("These journeys", f"{THOSE}&finding=promise_broken&touchpoint=${{__field.labels.touchpoint}}")]),
        Panel("timeseries", "At risk and not told", "Open promises in the last stretch before their due, against what is usual.",
              [Ask(f"touchpoint:tribo_promises_untold:sum{{{CHOSEN}}}", "{{touchpoint}}"),
               Ask(f"touchpoint:tribo_promises_untold:usual{{{CHOSEN}}}", "{{touchpoint}}, usual")],
              links=[("These journeys", "$page/journeys?finding=promise_at_risk&touchpoint=${__field.labels.touchpoint}")]),
        Panel("timeseries", "Who holds what is at risk", "Open promises at risk by the team that holds the item.",
              [Ask(f"sum by (team) (tribo_promises_at_risk{{{CHOSEN},{CHOSEN_TEAM}}})", "{{team}}")], stacked=True,
              links=[("These journeys", "$page/journeys?finding=promise_at_risk&team=${__field.labels.team}")]),
        Panel("timeseries", "Moved, and when the customer was told", "A promise moved before its due was told in time; after it, late. Each hour.",
              [Ask("sum by (told) (increase(tribo_promise_moves_total[1h]))", "told {{told}}")]),
        Panel("timeseries", "Unknown", "Promises that are due while the source that could tell of them is silent.",
              [Ask(f'sum by (touchpoint) (tribo_promises{{state="unknown",{CHOSEN}}})', "{{touchpoint}}")], steps=((None, GREEN), (1, RED))),
        *(_share(standards.published(name)) for name in standards.names if standards.published(name).kind in ("promise", "implied")),
        Panel("table", "Broken last", "Promises that broke, the latest first, and who held them then.",
              [Sql("SELECT journey, item, touchpoint, team, to_timestamp(at / 1000.0) AS broken FROM findings "
                   "WHERE kind = 'promise_broken' AND status = 0 ORDER BY at DESC LIMIT 50")], width=WIDE, height=10, links=[JOURNEY]),
    ]  # fmt: skip


def _share(entry: Entry) -> Panel:
    """The share met of a standard, with its objective as threshold."""
    of = f'standard="{entry.name}"'
    met = f'sum(tribo_standard_occasions{{{of},outcome="met"}})'
    told = f'sum(tribo_standard_occasions{{{of},outcome=~"met|as_told"}})'
    every = f'sum(tribo_standard_occasions{{{of},outcome=~"met|missed"}} > 0)'
    asks = [Ask(f"{met} / {every}", "met")]
    if entry.kind in ("promise", "implied"):
        asks.append(Ask(f"{told} / {every}", "met, or moved in time and met as told"))
    return Panel(
        "timeseries", entry.says, f"The share of occasions that met {entry.name}; {entry.objective * 100:g} % is promised.", asks,
        unit="percentunit", width=8, steps=((None, RED), (round(entry.objective, 6), GREEN)),
        links=[("Why", f"$page/why?standard={entry.name}&from=${{__from:date:seconds}}&to=${{__to:date:seconds}}")],
    )  # fmt: skip


def _exits(matching: str = "") -> str:
    """Waits in a live queue that came to an end within the hour."""
    return f"sum(increase(tribo_queue_exits_total{{{matching}{CHOSEN}}}[1h]))"


def _handoffs(standards: Standards) -> list[Panel]:
    panels = [
        Panel("timeseries", "Handoffs, each hour", "Changes of holder by the team that has the item afterwards, against what is usual.",
              [Ask(f"team:tribo_handoffs:increase1h{{{CHOSEN_TEAM}}}", "{{team}}"),
               Ask(f"team:tribo_handoffs:usual{{{CHOSEN_TEAM}}}", "{{team}}, usual")],
              links=[("These journeys", f"{THOSE}&finding=handoff&team=${{__field.labels.team}}")]),
        Panel("timeseries", "Ping-pongs, each hour", "Items that came back to who had them before, by that team.",
              [Ask(f"team:tribo_ping_pongs:increase1h{{{CHOSEN_TEAM}}}", "{{team}}"),
               Ask(f"team:tribo_ping_pongs:usual{{{CHOSEN_TEAM}}}", "{{team}}, usual")],
              links=[("These journeys", f"{THOSE}&finding=ping_pong&team=${{__field.labels.team}}")]),
        Panel("timeseries", "Waiting in the queue", "Customers in a live queue now, by team.",
              [Ask(f"sum by (team) (tribo_team_queue_running{{{CHOSEN_TEAM}}})", "{{team}}")], stacked=True),
        Panel("timeseries", "Running clocks", "Customers waiting now, by what for.",
              [Ask(f"sum by (clock) (tribo_waits_running{{{CHOSEN}}})", "{{clock}}")], stacked=True),
        Panel("timeseries", "Picked up within 20 seconds, beside who gave up",
              "The service level: answered within 20 seconds, of those who did not give up within them. It rises when many give up: look at both.",
              [Ask(f'{_exits("""ended="answered",within="yes",""")}\n/ ({_exits()} - {_exits("""ended="abandoned",within="yes",""")} > 0)', "service level"),
               Ask(f'{_exits("""ended="abandoned",""")}\n/ ({_exits()} > 0)', "gave up")], unit="percentunit"),
        Panel("timeseries", "Queue by team, 90 % wait less", "What nine of ten customers wait at most until somebody picks up.",
              [Ask(f"histogram_quantile(0.9, sum by (team, le) (increase(tribo_team_queue_seconds_bucket{{{CHOSEN_TEAM}}}[1h])))", "{{team}}")],
              unit="s"),
    ]  # fmt: skip
    panels += [
        Panel("heatmap", f"{title}: how long", f"{text} Each column is a time, each row a length, the colour how many customers.",
              [Ask(f'sum by (le) (increase(tribo_wait_seconds_bucket{{clock="{clock}",{CHOSEN}}}[$__rate_interval]))', "{{le}}", heat=True)],
              unit="s")
        for clock, title, text in (
            ("queue", "Live queue", "From the queue to a voice."),
            ("first_response", "First answer", "From the first word to the first answer of a person."),
            ("next_response", "Next answer", "From a customer's word to our reply."),
            ("resolution", "Solved", "From the first word to the solution."),
        )
    ]  # fmt: skip
    panels.append(
        Panel("heatmap", "Live queue of the chosen teams: how long", "From the queue to a voice, for the teams chosen above.",
              [Ask(f"sum by (le) (increase(tribo_team_queue_seconds_bucket{{{CHOSEN_TEAM}}}[$__rate_interval]))", "{{le}}", heat=True)], unit="s")
    )  # fmt: skip
    for name in standards.names:
        entry = standards.published(name)
        within = entry.within_ms if entry.within_ms is not None else entry.elapsed_ms
        if entry.kind == "clock" and within is not None:
            panels.append(_wait(entry, within / 1000))
    panels.append(
        Panel("table", "Handed on most, last", "Items by how often they were handed on in the time shown.",
              [Sql("SELECT journey, item, count(*) AS handoffs, to_timestamp(max(at) / 1000.0) AS last FROM findings WHERE kind = 'handoff' "
                   "AND status = 0 AND $__timeFilter(to_timestamp(at / 1000.0)) GROUP BY journey, item ORDER BY handoffs DESC LIMIT 50")],
              width=WIDE, height=10, links=[JOURNEY])
    )  # fmt: skip
    return panels


def _wait(entry: Entry, target_seconds: float) -> Panel:
    """How long all but the allowed share wait, with the standard's target as threshold."""
    where = f'clock="{entry.clock}"' + (f',touchpoint="{entry.touchpoint}"' if entry.touchpoint else "")
    share = round(min(entry.objective, 0.999), 6)
    return Panel(
        "timeseries", f"{entry.says} So it is for {share * 100:g} %",
        f"What {share * 100:g} % of customers wait at most, as they live through it; the line is the target of {entry.name}.",
        [Ask(f"histogram_quantile({share:g}, sum by (le) (increase(tribo_wait_seconds_bucket{{{where}}}[6h])))", f"{share * 100:g} % wait less")],
        unit="s", width=8, steps=((None, GREEN), (target_seconds, RED)),
        links=[("Missed", f"{THOSE}&standard={entry.name}")],
    )  # fmt: skip


def _on_call(standards: Standards) -> list[Panel]:
    return [
        Panel("table", "What burns", "The alerts that fire now.",
              [Ask('max by (alertname, severity, standard, team, touchpoint, topic, source) (ALERTS{alertname=~"Tribo.+",alertstate="firing"})',
                   table=True)],
              width=WIDE, height=8, columns={"alertname": "alert", "Value": ""},
              links=[("Runbook", "$page/runbooks/${__data.fields.alert}.md"),
                     ("Journeys of the standard", "$page/journeys?standard=${__data.fields.standard}")]),
        Panel("timeseries", "Burn rate, one hour", "How many times faster than allowed a standard is missed. At 1 the month just meets it.",
              [Ask(f"standard:tribo_standard_missed:ratio1h{{{CHOSEN_STANDARD}}} / on (standard) "
                   "(1 - clamp_max(max by (standard) (tribo_standard_objective_ratio), 0.999))", "{{standard}}")],
              unit="none", steps=((None, GREEN), (1, YELLOW), (6, RED)),
              links=[("These journeys", f"{THOSE}&standard=${{__field.labels.standard}}")]),
        Panel("timeseries", "Burn rate, one day", "The same over a day: what an hour is too short to show.",
              [Ask(f"standard:tribo_standard_missed:ratio1d{{{CHOSEN_STANDARD}}} / on (standard) "
                   "(1 - clamp_max(max by (standard) (tribo_standard_objective_ratio), 0.999))", "{{standard}}")],
              unit="none", steps=((None, GREEN), (1, YELLOW), (3, RED)),
              links=[("These journeys", f"{THOSE}&standard=${{__field.labels.standard}}")]),
        Panel("bargauge", "Missed among the last ten", "Of the ten occasions judged last; for standards with few of them.",
              [Ask(f"max by (standard) (tribo_standard_last_missed{{{CHOSEN_STANDARD}}})", "{{standard}}")], unit="none",
              steps=((None, GREEN), (2, YELLOW), (5, RED))),
        Panel("timeseries", "Missed, each hour", "Occasions that missed their standard.",
              [Ask(f"standard:tribo_standard_missed:increase1h{{{CHOSEN_STANDARD}}}", "{{standard}}")], stacked=True,
              links=[("These journeys", f"{THOSE}&standard=${{__field.labels.standard}}")]),
        Panel("timeseries", "Where", "Missed standards and broken promises by the team that held the item, each hour.",
              [Ask(_hourly("tribo_team_findings_total", f'kind=~"standard_missed|promise_broken",{CHOSEN_TEAM}', "team, kind"), "{{team}} {{kind}}")],
              links=[("These journeys", f"{THOSE}&team=${{__field.labels.team}}&finding=${{__field.labels.kind}}")]),
        Panel("timeseries", "Friction found", "Findings by kind, at the chosen touchpoints.",
              [Ask(f"sum by (kind) (increase(tribo_findings_total{{{CHOSEN}}}[$__rate_interval]))", "{{kind}}")], stacked=True,
              links=[("These journeys", f"{THOSE}&finding=${{__field.labels.kind}}")]),
        *(_share(standards.published(name)) for name in standards.names if standards.published(name).kind in ("clock", "count", "practice")),
        Panel("table", "Missed last", "Missed standards and broken promises, the latest first.",
              [Sql("SELECT journey, kind, standard, touchpoint, team, to_timestamp(at / 1000.0) AS missed FROM findings "
                   "WHERE kind IN ('standard_missed', 'promise_broken') AND status = 0 AND historical = 0 ORDER BY at DESC LIMIT 50")],
              width=WIDE, height=10, links=[JOURNEY]),
    ]  # fmt: skip


def _pipeline() -> list[Panel]:
    return [
        Panel("timeseries", "Events by what became of them", "Events a second over all sources.",
              [Ask("sum by (outcome) (rate(tribo_events_total[$__rate_interval]))", "{{outcome}}")], unit="eps", stacked=True),
        Panel("timeseries", "Events by source", "Events a second, as they were applied.",
              [Ask("sum by (source) (rate(tribo_events_total[$__rate_interval]))", "{{source}}")], unit="eps", stacked=True),
        Panel("timeseries", "Quiet for", "How long nothing came from each source, against the longest at this time yesterday and last week.",
              [Ask("source:tribo_source_quiet:seconds", "{{source}}")], unit="s", steps=((None, GREEN), (900, RED))),
        Panel("timeseries", "Rejected", "Records that could not be read, in a quarter of an hour.",
              [Ask('sum by (source) (increase(tribo_events_total{outcome="rejected"}[15m]))', "{{source}}")], steps=((None, GREEN), (10, RED))),
        Panel("timeseries", "Clocks", "How far the last event of a source was ahead of the receive clock; below nothing is delay.",
              [Ask("max by (source) (tribo_source_skew_seconds)", "{{source}}")], unit="s", steps=((None, GREEN), (60, RED))),
        Panel("timeseries", "From the future", "Events refused since they claim to happen more than five minutes from now.",
              [Ask("sum by (source) (increase(tribo_source_future_events_total[15m]))", "{{source}}")], steps=((None, GREEN), (1, RED))),
        Panel("timeseries", "Lag", "For how long something due has not been decided.", [Ask("max(tribo_behind_seconds)", "behind")], unit="s",
              steps=((None, GREEN), (60, RED))),
        Panel("timeseries", "Records not folded yet", "What waits in the topics for the workers; nothing where one process does it all.",
              [Ask("sum by (partition) (tribo_measure_lag_records) or vector(0)", "measure {{partition}}"),
               Ask("sum by (topic) (tribo_wire_lag_records) or vector(0)", "wire {{topic}}")], steps=((None, GREEN), (10_000, RED))),
        Panel("timeseries", "Queue before the ledger", "Events that wait to be written, as a share of how many may.",
              [Ask("max(tribo_queue_events / tribo_queue_limit_events)", "full")], unit="percentunit", steps=((None, GREEN), (0.8, RED))),
        Panel("timeseries", "Transactions", "How long the ledger's transactions take.",
              [Ask(f"histogram_quantile({share}, sum by (le) (rate(tribo_commit_seconds_bucket[$__rate_interval])))", f"{share:.0%} take less")
               for share in (0.5, 0.99)], unit="s"),
        Panel("timeseries", "The ledger", "Size of its database.", [Ask("max(tribo_ledger_bytes)", "bytes")], unit="bytes"),
        Panel("stat", "Events kept", "Events in the ledger.", [Ask("max(tribo_ledger_events)")], width=6, height=4),
        Panel("stat", "Full or broken", "1 while the disk is full or the ledger can't be written.",
              [Ask("max(tribo_ledger_full) + max(tribo_ledger_broken)")], width=6, height=4, steps=((None, GREEN), (1, RED))),
        Panel("stat", "Set aside", "Histories whose fold crashed: their events are kept, their measuring has stopped.",
              [Ask("max(tribo_histories_set_aside)")], width=6, height=4, steps=((None, GREEN), (1, RED))),
        Panel("stat", "Lost", "Records missing from the topic of events.", [Ask("sum(tribo_measure_lost_total) or vector(0)")], width=6, height=4,
              steps=((None, GREEN), (1, RED))),
        Panel("timeseries", "Scraping", "How long Prometheus waits for the metrics.",
              [Ask('max(scrape_duration_seconds{job="tribo"})', "a scrape")], unit="s", steps=((None, GREEN), (1, RED))),
        Panel("timeseries", "Series", "How many series there are; whatever events say, fewer than 10,000.",
              [Ask('max(scrape_samples_post_metric_relabeling{job="tribo"})', "series")], steps=((None, GREEN), (10_000, RED))),
        Panel("timeseries", "Memory", "Resident memory of the process.",
              [Ask('max by (instance) (process_resident_memory_bytes{job="tribo"})', "{{instance}}")], unit="bytes"),
        Panel("timeseries", "Processor", "What the process takes of one core.",
              [Ask('sum by (instance) (rate(process_cpu_seconds_total{job="tribo"}[$__rate_interval]))', "{{instance}}")], unit="percentunit"),
    ]  # fmt: skip


def dashboards(standards: Standards, page: str = "http://127.0.0.1:8321") -> dict[str, dict[str, Any]]:
    """The dashboards by the name of their file."""
    return {
        name: _dashboard(name, title, says, panels, page)
        for name, title, says, panels in (
            ("today", "Tribo: customers today", "What we promise, what is so, and what customers say.", _today()),
            ("promises", "Tribo: promises", "Promises as they stand, those about to break, and those that broke.", _promises(standards)),
            ("handoffs", "Tribo: handoffs and waits", "Who hands on to whom, and how long customers wait.", _handoffs(standards)),
            ("on-call", "Tribo: on call", "What burns, where, since when, and the journeys behind it.", _on_call(standards)),
            ("pipeline", "Tribo: pipeline", "Whether what is shown can be believed: sources, lag, rejects, the ledger.", _pipeline()),
        )
    }


def write_dashboards(path: Path | None, out: Path, page: str) -> list[Path]:
    """Write the dashboards for a standards file, a JSON file each, and say which. Raises BadConfig."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for name, content in dashboards(read(path)[0], page).items():
        made.append(out / f"tribo-{name}.json")
        made[-1].write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return made
