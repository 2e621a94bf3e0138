"""The published contracts: as the types say, as the program takes and gives, and as AsyncAPI's own parser reads them."""

from __future__ import annotations

import copy
import datetime
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from typer.testing import CliRunner

from scripts import events_of
from servers import ASYNCAPI, install_asyncapi
from tribo.cli import app
from tribo.measure.standards import compile_standards
from tribo.run.contracts import published
from tribo.run.distributed.settings import load_distributed
from tribo.run.measure import measure_events
from tribo.run.settings import load_settings
from tribo.wire.mapping import PACKAGED, load_source
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import FACTS, BadEvent, canonical, decode_event, event_of
from tribo_schemas.source import source_of
from tribo_schemas.standard import load_standards, standards_of

HERE = Path(__file__).parent
ROOT = HERE.parent
FOLDER = ROOT / "schemas" / "json"
SHARED = ROOT.parent / "shared" / "cases"
TEXTS = published()
SCHEMAS = {name.removesuffix(".schema.json"): json.loads(text) for name, text in TEXTS.items() if name.endswith(".schema.json")}
CASES = [case for path in sorted((HERE / "cases").glob("*.yaml")) for case in yaml.safe_load(path.read_text())]


def checked(name: str) -> Draft7Validator:
    Draft7Validator.check_schema(SCHEMAS[name])
    return Draft7Validator(SCHEMAS[name], format_checker=FormatChecker(["date"]))


def plain(value: Any) -> Any:
    """YAML as an editor sees it: a date is a text."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def wrong_in(validator: Draft7Validator, value: Any) -> list[str]:
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in validator.iter_errors(value)]


def test_the_committed_files_are_what_the_types_say(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["schemas", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == TEXTS
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == made, "run: .venv/bin/tribo schemas"


BASE = {"id": "e1", "source": "shop", "time": "2026-03-02T09:00:00Z", "touchpoint": "service", "item": "case:1"}
NEEDED: dict[str, dict[str, Any]] = {
    "promised": {"promise": "p", "due": "2026-03-02T10:00:00Z"}, "informed": {"promise": "p"}, "kept": {"promise": "p"},
    "rated": {"score": 1, "scale": 5}, "linked": {"customer": "c"}, "unlinked": {"about": ["order:1"]}, "retracted": {"retracts": "e0"},
}  # fmt: skip
VALUES = (None, "", "x", "a:", ":a", "a:b", "x" * 101, "x" * 201, "x" * 1001, 0, -1, 5, 1.5, True, [], ["a:b"], ["b"], [""], {}, 2**63, 1e308)


def test_the_event_schema_takes_what_is_taken_and_refuses_what_is_refused() -> None:
    validator = checked("event")
    taken = refused = 0
    for fact in FACTS:
        whole = BASE | {"fact": fact} | NEEDED.get(fact, {})
        tried = [whole, *({name: part for name, part in whole.items() if name != left} for left in whole)]
        tried += [whole | {name: value} for name in SCHEMAS["event"]["properties"] for value in VALUES]
        for event in tried:
            try:
                decode_event(json.dumps(event))
            except BadEvent as error:
                # a schema can't read instants, compare two fields, or know that an integer is too long for a float
                if error.field in ("time", "due") or "between 0 and scale" in error.reason:
                    continue
                assert not validator.is_valid(event), (str(error), event)
                refused += 1
            else:
                assert wrong_in(validator, event) == [], event
                taken += 1
    assert taken > 1000
    assert refused > 3000


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.rglob(name)) for line in path.read_text().splitlines()]


def test_events_and_rows_of_the_cases_fit() -> None:
    standards = compile_standards(load_standards(PACKAGED.parents[1] / "run" / "demo_standards.yaml"))
    events, findings, journeys = checked("event"), checked("finding"), checked("journey")
    kinds = set()
    for case in CASES:
        said = events_of(case)
        if "rejected" in case:
            continue  # written wrong on purpose
        for event in said:
            assert wrong_in(events, event) == [], event
        rows, found, _ = measure_events([event_of(event) for event in said], standards, None)
        for row in rows:
            assert wrong_in(journeys, json.loads(json.dumps(row.row()))) == []
            assert set(row.row()) == set(SCHEMAS["journey"]["required"])
        for finding in found:
            assert wrong_in(findings, json.loads(json.dumps(finding.row()))) == []
            assert set(finding.row()) <= set(SCHEMAS["finding"]["properties"])
            kinds.add(finding.kind)
    assert len(kinds) > 10
    assert not findings.is_valid({"id": "x", "kind": "of another kind"})
    assert not journeys.is_valid({"journey": "order:1"})


@pytest.mark.skipif(not SHARED.exists(), reason="the shared cases are not beside this checkout")
def test_the_shared_golden_cases_fit() -> None:
    for name, validator in (("events.jsonl", checked("event")), ("findings.jsonl", checked("finding")), ("journeys.jsonl", checked("journey"))):
        rows = rows_of(SHARED / "golden", name)
        assert len(rows) > 50
        for row in rows:
            if name == "events.jsonl":  # some are wrong on purpose
                try:
                    canonical(decode_event(json.dumps(row)))
                except BadEvent:
                    continue
            assert wrong_in(validator, row) == [], row
    assert wrong_in(checked("standards"), plain(yaml.safe_load((SHARED / "golden" / "standards.yaml").read_text()))) == []


# What a schema can't say: how YAML is written, what must be so in another place, and what a time, zone or calendar is.
UNSAID_OF_STANDARDS = {
    "alias", "key_twice", "known_tag", "list_as_key", "tab", "tag", "not_closed", "too_deep", "too_long", "two_documents", "hours_overlap", "two_touchpoints",
    "twice_without_from", "two_from_one_date", "unknown_calendar", "unknown_default_calendar", "unknown_zone", "calendar_without_versions",
    "objective_nan",
}  # fmt: skip
UNSAID_OF_SOURCES = {
    "each_in_a_log", "each_without_a_list", "empty_step", "expression", "found_by_itself", "item_without_kind", "kept_without_promise",
    "order_without_sequence", "outer_without_unpack", "promised_without_due", "time_directive", "time_letters", "time_missing",
    "time_missing_in_records", "touchpoint_missing", "unknown_by_in_a_map", "unknown_map", "unknown_zone", "zone_missing", "alias",
}  # fmt: skip


def read(path: Path) -> Any:
    try:
        return plain(YAML(typ="safe", pure=True).load(path.read_text()))
    except (YAMLError, TypeError):  # TypeError: a list as a key
        return None


def test_standards_files_fit_and_wrong_ones_do_not() -> None:
    validator = checked("standards")
    for path in [ROOT / "streams" / "tribo" / "run" / "demo_standards.yaml"]:
        assert wrong_in(validator, read(path)) == [], path
    good = {
        "calendar": "office", "calendars": {"office": {"zone": "Europe/Berlin", "hours": {"mon-fri": ["09:00-17:00"]}, "holidays": ["2026-04-03"]}},
        "standards": [
            {"name": "a", "says": "A.", "clock": "queue", "within": "20s", "objective": "80%"},
            [{"name": "b", "says": "B.", "promise": "any"}, {"from": "2026-03-01", "promise": "any", "objective": 0.9}],
            {"name": "c", "says": "C.", "promise": {"made_by": "assigned", "kept_by": "resolved"}, "within": "5bd", "at_risk": "4h"},
            {"name": "d", "says": "D.", "count": "handoffs", "at_most": 1}, {"name": "e", "says": "E.", "practice": "expectation", "clock": None},
        ],
        "points": {"handoff": 3},
    }  # fmt: skip
    standards_of(parse_yaml(json.dumps(good).encode(), "good.yaml"))
    assert wrong_in(validator, good) == []
    unsaid = {path.stem for path in (HERE / "wrong_configs").glob("*.yaml") if validator.is_valid(read(path))}
    broken = {path.stem for path in (HERE / "wrong_configs").glob("*.yaml") if read(path) is None}
    assert unsaid | broken <= UNSAID_OF_STANDARDS, (unsaid | broken) - UNSAID_OF_STANDARDS


def test_mappings_fit_and_wrong_ones_do_not() -> None:
    validator = checked("source")
    for path in sorted(PACKAGED.glob("*.yaml")):
        load_source(path)
        assert wrong_in(validator, read(path)) == [], path
    unsaid = {path.stem for path in (HERE / "wrong_mappings").glob("*.yaml") if validator.is_valid(read(path))}
    broken = {path.stem for path in (HERE / "wrong_mappings").glob("*.yaml") if read(path) is None}
    assert unsaid | broken <= UNSAID_OF_SOURCES, (unsaid | broken) - UNSAID_OF_SOURCES
    assert len(list((HERE / "wrong_mappings").glob("*.yaml"))) - len(unsaid | broken) > 20


def test_what_a_mapping_takes_in_more_than_one_form_is_published_so(tmp_path: Path) -> None:
    validator = checked("source")
    mapping: dict[str, Any] = {
        "source": "s", "kind": "records", "item": "case:{n}", "time": {"take": "{at}", "formats": "iso", "plus": "-2h"}, "times": "epoch_s",
        "missing": 0, "values": {"x": "a[0].b"}, "maps": {"m": {"1": None, "2": True}},
        "rules": [
            {"fact": "opened", "touchpoint": "service", "when": {"a": True, "b": [1, "x"], "c": {"in": 3}, "d": {"not": ["y"], "exists": False, "above": 2}}},
            {"fact": {"take": "{f}", "map": {"o": "opened"}}, "touchpoint": "{t}", "score": 5, "about": "order:{o}", "when": [{"a": "1"}, {"b": "2"}]},
            {"fact": ["{f}", "opened"], "touchpoint": ["{t}", {"take": "{u}", "map": "m"}], "each": "list", "due": {"take": "{d}", "zone": "UTC"}, "by": "bot"},
        ],
    }  # fmt: skip
    source_of(parse_yaml(json.dumps(mapping).encode(), "m.yaml"))
    assert wrong_in(validator, mapping) == []
    for change in ({"rules": []}, {"kind": "other"}, {"times": []}, {"colour": 1}):
        spoilt = copy.deepcopy(mapping) | change
        if change != {"times": []}:
            assert not validator.is_valid(spoilt), change
    spoilt = copy.deepcopy(mapping)
    spoilt["rules"][0]["fact"] = "danced"
    assert not validator.is_valid(spoilt)
    with pytest.raises(BadConfig):
        source_of(parse_yaml(json.dumps(spoilt).encode(), "m.yaml"))


def test_settings_fit_and_wrong_ones_do_not(tmp_path: Path) -> None:
    validator = checked("settings")
    path = tmp_path / "tribo.yaml"
    good: dict[str, Any] = {
        "data": "d", "port": 0, "token": "0123456789abcdef", "follow": [{"path": "in", "source": "m"}],
        "sources": {"pay": {"mapping": "stripe", "signature": "stripe", "secrets": ["A", "B"], "requests_per_second": 5}, "own": {"tokens": ["T"]}},
    }  # fmt: skip
    path.write_text(json.dumps(good))
    load_settings(path, {})
    assert wrong_in(validator, good) == []
    for change in ({"prot": 1}, {"port": 70_000}, {"token": "short"}, {"sources": {"a b": {}}}, {"sources": {"a": {"signature": "other"}}}, {"raw_days": -1}):
        path.write_text(json.dumps(good | change))
        with pytest.raises(BadConfig):
            load_settings(path, {})
        assert not validator.is_valid(good | change), change


def test_distributed_settings_fit_and_wrong_ones_do_not(tmp_path: Path) -> None:
    validator = checked("distributed")
    path = tmp_path / "tribo.yaml"
    good: dict[str, Any] = {
        "kafka": "one:9092,two:9092", "database": "postgresql://tribo@db/tribo", "topics": [{"topic": "crm", "mapping": "zendesk", "partitions": 2}],
        "sources": {"pay": {"mapping": "stripe", "signature": "stripe", "secrets": ["A"]}}, "partitions": 6, "token": "0123456789abcdef",
    }  # fmt: skip
    path.write_text(json.dumps(good))
    load_distributed(path, {})
    assert wrong_in(validator, good) == []
    for change in ({"kafak": ""}, {"database": "mysql://x"}, {"partitions": 0}, {"topics": [{"mapping": "m"}]}, {"topics": [{"topic": "a b"}]}, {"token": "short"}):
        path.write_text(json.dumps(good | change))
        with pytest.raises(BadConfig):
            load_distributed(path, {})
        assert not validator.is_valid(good | change), change


def test_shipped_files_name_their_schema() -> None:
    """So that an editor completes them."""
    shipped = [(path, "source") for path in sorted(PACKAGED.glob("*.yaml"))]
    shipped += [(PACKAGED.parents[1] / "run" / "demo_standards.yaml", "standards"), (FOLDER.parents[1] / "deploy" / "kafka" / "tribo.yaml", "distributed")]
    for path, name in shipped:
        first, _, where = path.read_text().splitlines()[0].partition("$schema=")
        assert first == "# yaml-language-server: ", path
        assert (path.parent / where).resolve() == FOLDER / f"{name}.schema.json", path


def test_the_asyncapi_parser_finds_nothing_wrong() -> None:
    if shutil.which("node") is None:
        pytest.skip("node is missing: install the package `npm`")
    wrong = install_asyncapi()
    if wrong is not None:
        pytest.skip(f"the AsyncAPI parser is missing: {wrong}")
    done = subprocess.run(["node", str(ASYNCAPI / "check.mjs"), str(FOLDER / "asyncapi.yaml")], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "valid 3.0.0, 7 operations\n"), done.stdout + done.stderr
