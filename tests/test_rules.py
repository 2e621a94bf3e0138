"""The rules: what promtool says of them, what fires and what doesn't, and what a configuration must not ask for."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from typer.testing import CliRunner

from alert_cases import LONG, QUICK, Case, judged
from tribo.cli import app
from tribo.measure.standards import compile_standards
from tribo.run.demo import STANDARDS
from tribo.show.routing import write_routing
from tribo.show.rules import FACTORS, Options, factors_of, rules_file, surprising_misses, write_rules
from tribo.show.runbooks import runbook_routes
from tribo_schemas.config import BadConfig
from tribo_schemas.standard import load_standards

TOP = Path(__file__).parent.parent
DEPLOY = TOP / "deploy"
RULES = DEPLOY / "prometheus" / "tribo-rules.yml"
ROUTES = DEPLOY / "alertmanager" / "alertmanager.yml"
HEADINGS = ["Meaning", "What customers feel", "Where to look", "What to do", "When to wake someone"]

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="SKIPPED, NOT TESTED: promtool isn't installed")
needs_amtool = pytest.mark.skipif(not shutil.which("amtool"), reason="SKIPPED, NOT TESTED: amtool isn't installed")


def alerts() -> list[dict[str, Any]]:
    found = yaml.safe_load(RULES.read_text())
    return [rule for group in found["groups"] for rule in group["rules"] if "alert" in rule]


def said(*command: str, **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def test_the_committed_files_are_what_the_command_writes(tmp_path: Path) -> None:
    command = ["rules", "--standards", str(STANDARDS), "--out", str(tmp_path), "--alertmanager", str(tmp_path / "alertmanager.yml")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "tribo-rules.yml").read_text() == RULES.read_text(), "make deploy"
    assert (tmp_path / "alertmanager.yml").read_text() == ROUTES.read_text(), "make deploy"


@needs_promtool
def test_prometheus_takes_the_files() -> None:
    assert "SUCCESS" in said("promtool", "check", "rules", str(RULES))
    assert "is valid" in said("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def unit_test(case: Case, interval: str) -> dict[str, Any]:
    return {
        "name": f"{case.alert}: {case.case}",
        "interval": interval,
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "promql_expr_test": [{
            "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0)',
            "eval_time": case.at,
            "exp_samples": [{"labels": "{}", "value": case.firing}],
        }],
    }  # fmt: skip


def needed(alert: str) -> dict[str, Any]:
    """The committed rules that an alert needs: a whole file takes promtool a hundred times as long."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    kept = [
        rule for group in groups for rule in group["rules"]
        if rule.get("alert") == alert and rule["labels"].get("standard") in (None, "delivery-on-time")
    ]  # fmt: skip
    wanted = {rule["alert"] for rule in kept}
    for _ in range(4):  # records are made from records
        names = {name for rule in kept for name in re.findall(r"\b\w+:tribo_\w+:\w+\b", rule["expr"])}
        kept = [rule for group in groups for rule in group["rules"] if rule.get("record") in names or rule in kept]
    assert wanted
    groups = [group | {"rules": [rule for rule in group["rules"] if rule in kept]} for group in groups]
    return {"groups": [group for group in groups if group["rules"]]}


@needs_promtool
@pytest.mark.parametrize(("cases", "interval"), [(QUICK, "1m"), (LONG, "10m")], ids=["quick", "long"])  # promtool mixes intervals up
def test_each_alert_fires_when_it_must_and_not_else(tmp_path: Path, cases: list[Case], interval: str) -> None:
    files = []
    for alert in dict.fromkeys(case.alert for case in cases):
        (tmp_path / f"{alert}-rules.yml").write_text(json.dumps(needed(alert)))
        content = {
            "rule_files": [f"{alert}-rules.yml"], "evaluation_interval": interval,
            "group_eval_order": [group["name"] for group in needed(alert)["groups"]],
            "tests": [unit_test(case, interval) for case in cases if case.alert == alert],
        }  # fmt: skip
        (tmp_path / f"{alert}.yml").write_text(json.dumps(content))
        files.append(f"{alert}.yml")
    said("promtool", "test", "rules", *files, cwd=tmp_path)


def test_each_alert_has_the_four_cases() -> None:
    for name in {rule["alert"] for rule in alerts()}:
        assert {case.case for case in QUICK + LONG if case.alert == name} == {"fires", "quiet", "missing", "seldom"}, name


@needs_promtool
def test_an_alert_says_who_what_how_much_and_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "tribo-rules.yml").write_text(json.dumps(needed("TriboStandardBurnsFast")))
    series = judged("0+1x120", "0+9x120") | {"tribo_clock_timestamp_seconds": "1772000000+60x120"}
    rule = next(rule for rule in alerts() if rule["alert"] == "TriboStandardBurnsFast" and rule["labels"]["standard"] == "delivery-on-time")
    at = 1772000000 + 65 * 60
    expected = {
        "exp_labels": rule["labels"],
        "exp_annotations": {
            "summary": "Your parcel comes on the day we promised.",
            "description": "90% of the occasions missed delivery-on-time; 95% are to meet it (alert: misses at 14.4 times over 1h or 6 times over 6h what is allowed).",
            "runbook_url": "http://127.0.0.1:8321/runbooks/TriboStandardBurnsFast.md",
            "dashboard_url": "http://127.0.0.1:3000/d/tribo-on-call?var-standard=delivery-on-time",
            "journeys_url": f"http://127.0.0.1:8321/journeys?finding=promise_broken&from={at - 21600}&to={at + 1}",
        },
    }
    content = {
        "rule_files": ["tribo-rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": "65m", "alertname": "TriboStandardBurnsFast", "exp_alerts": [expected]}],
        }],
    }  # fmt: skip
    (tmp_path / "tests.yml").write_text(json.dumps(content))
    said("promtool", "test", "rules", "tests.yml", cwd=tmp_path)


def test_every_alert_carries_all_that_on_call_needs_and_has_a_runbook() -> None:
    names = set()
    for rule in alerts():
        names.add(rule["alert"])
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url", "journeys_url"}
        assert rule["labels"]["severity"] in ("page", "ticket", "notice", "watchdog")
        if rule["labels"]["about"] == "customers":
            assert "/journeys?" in rule["annotations"]["journeys_url"], rule["alert"]
        assert rule["annotations"]["runbook_url"].endswith(f"/{rule['alert']}.md")
        assert "$value" in rule["annotations"]["description"] or rule["alert"] in ("TriboWatchdog", "TriboDown", "TriboNotTaking")
    books = {path.stem: path.read_text() for path in (DEPLOY / "runbooks").glob("*.md")}
    assert set(books) == names
    for name, text in books.items():
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS, name
        assert all(len(part.strip()) > 4 for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]), name
        assert set(re.findall(r"Tribo[A-Z]\w+", text)) <= names, name


def test_runbooks_are_where_alerts_link_to(tmp_path: Path) -> None:
    async def story() -> tuple[int, str, int]:
        app = web.Application()
        app.add_routes(runbook_routes())
        async with TestClient(TestServer(app)) as client:
            found, missing = await client.get("/runbooks/TriboDown.md"), await client.get("/runbooks/..%2f..%2fREADME.md")
            return found.status, await found.text(), missing.status

    assert asyncio.run(story()) == (200, (DEPLOY / "runbooks" / "TriboDown.md").read_text(), 404)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert "tribo/show/runbooks/TriboDown.md" in wheel.namelist()


def test_factors_follow_from_the_objective() -> None:
    assert factors_of("s", 0.99) == FACTORS
    assert factors_of("s", 0.95) == FACTORS
    assert factors_of("s", 0.8) == (4, 3, 2.5, 1)
    for objective in (0.01, 0.3, 0.5, 0.8, 0.9, 0.93, 0.99, 0.9999, 1.0):
        assert all(factor >= 1 and factor * (1 - min(objective, 0.999)) < 1 for factor in factors_of("s", objective))
    assert [surprising_misses(objective) for objective in (1.0, 0.95, 0.9, 0.8, 0.5, 0.2)] == [2, 4, 5, 6, 10, None]


@pytest.mark.parametrize(
    ("objective", "factors", "sentence"),
    [
        ("80%", "14.4,6,3,1", "standards[1].objective: an alert at 14.4 times the allowed misses can never fire, since with an objective of "
         "80% missing everything is 5 times: write factors below 5, or leave them to be derived"),
        ("0%", None, "standards[1].objective: an alert at 1 times the allowed misses can never fire, since with an objective of 0% missing "
         "everything is 1 times: raise the objective"),
    ],
)  # fmt: skip
def test_a_factor_that_cannot_be_reached_is_an_error(tmp_path: Path, objective: str, factors: str | None, sentence: str) -> None:
    path = tmp_path / "standards.yaml"
    path.write_text(
        "standards:\n  - {name: a, says: A., clock: queue, within: 1m, objective: 99%}\n"
        f"  - {{name: b, says: B., clock: hold, within: 1m, objective: {objective}}}\n"
    )
    with pytest.raises(BadConfig) as error:
        write_rules(path, Options(factors=None if factors is None else [float(part) for part in factors.split(",")]))
    assert str(error.value) == f"{path}:3: {sentence}"


@needs_promtool
@needs_amtool
def test_whatever_a_standards_file_says_the_rules_stay_rules(tmp_path: Path) -> None:
    path = tmp_path / "standards.yaml"
    path.write_text(json.dumps({
        "teams": ['a"b\\c\n', "{{ $labels.x }}"],
        "standards": [
            {"name": "a.b", "says": 'We "{{ .Values }}" \\ never\nwait.', "clock": "queue", "within": "1m", "owner": 'o"w\n', "team": 'a"b\\c\n'},
            {"name": "none", "says": "N.", "count": "offered", "at_most": 1, "topic": "ünï & co", "runbook": "https://example.com/{{x}}"},
        ],
    }))  # fmt: skip
    for faster in (1, 60, 7.3):
        text = write_rules(path, Options(faster=faster))
        (tmp_path / "rules.yml").write_text(text)
        said("promtool", "check", "rules", str(tmp_path / "rules.yml"))
    routing = tmp_path / "alertmanager.yml"
    routing.write_text(write_routing(path, "http://127.0.0.1:9095/{receiver}", "http://127.0.0.1:9096/"))
    said("amtool", "check-config", str(routing))
    tested = said("amtool", "config", "routes", "test", f"--config.file={routing}", 'owner="o\\"w\\n"')
    assert tested.splitlines()[0] == 'owner-o"w'
    summary = next(rule["annotations"]["summary"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule)
    assert summary == 'We "{{ "{{" }} .Values {{ "}}" }}" \\ never\nwait.'


def test_without_standards_there_are_the_rules_that_need_none() -> None:
    found = rules_file(compile_standards(None), Options())
    names = {rule["alert"] for group in found["groups"] for rule in group["rules"] if "alert" in rule}
    assert {"TriboWatchdog", "TriboPromisesBroken", "TriboSourceSilent"} <= names
    assert not any(name.startswith("TriboStandard") for name in names)


# -- routes ------------------------------------------------------------------------------------------------------------


@needs_amtool
def test_alertmanager_takes_the_configuration() -> None:
    assert "SUCCESS" in said("amtool", "check-config", str(ROUTES))


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "TriboWatchdog", "severity": "watchdog"}, "watchdog"),
        ({"alertname": "TriboStandardBurnsFast", "severity": "page", "owner": "logistics"}, "page"),
        ({"alertname": "TriboStandardBurnsSlowly", "severity": "ticket", "owner": "logistics"}, "owner-logistics"),
        ({"alertname": "TriboPromisesAtRiskUntold", "severity": "notice", "owner": "logistics", "team": "warehouse"}, "owner-logistics"),
        ({"alertname": "TriboPingPongsAboveNormal", "severity": "ticket", "team": "billing-desk"}, "team-billing-desk"),
        ({"alertname": "TriboPingPongsAboveNormal", "severity": "ticket", "team": "other"}, "operations"),
        ({"alertname": "TriboSourceRejecting", "severity": "ticket", "owner": "operations"}, "operations"),
    ],
)
def test_each_alert_reaches_who_it_is_for(labels: dict[str, str], receiver: str) -> None:
    arguments = [f"{name}={text}" for name, text in labels.items()]
    assert said("amtool", "config", "routes", "test", f"--config.file={ROUTES}", *arguments).splitlines()[0] == receiver


def test_every_owner_and_team_of_the_standards_has_a_receiver() -> None:
    names = {receiver["name"] for receiver in yaml.safe_load(ROUTES.read_text())["receivers"]}
    standards = load_standards(STANDARDS)
    assert {f"owner-{entry.owner}" for entry in standards.standards} <= names
    assert {f"team-{name}" for name in standards.teams} <= names
    known = {rule["alert"] for rule in alerts()}
    for rule in yaml.safe_load(ROUTES.read_text())["inhibit_rules"]:  # each names alerts that exist
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            for pattern in re.findall(r"Tribo[\w.*]+", matcher):
                assert any(re.fullmatch(pattern, name) for name in known), pattern
