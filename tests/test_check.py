"""`tribo check`, `tribo new-source`, and the walk-through that uses them."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from tribo.cli import app
from tribo.run.check import check_configuration, dry_run, missing, show_checked, show_dry_run
from tribo.wire.draft import Draft, draft, save
from tribo.wire.examples import check_examples
from tribo.wire.mapping import Mapping
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.source import source_of

DOCS = Path(__file__).parents[1] / "docs"

DESK = """
source: desk
kind: records
item: "case:{case}"
id: "{id}"
time: "{at}"
unmatched: skip
brings: [delivery]
always: {touchpoint: service, customer: "{who}", topic: "{about}"}
rules:
  - {when: {type: opened}, fact: opened, channel: "{via}"}
  - {when: {type: promised}, fact: promised, promise: "reply-{id}", due: "{due}"}
  - {when: {type: queued}, fact: queued}
  - {when: {type: moved}, fact: assigned, team: "{team}"}
examples:
  - raw: {id: 1, type: opened, case: 7, at: "2026-03-02T09:00:00Z", who: ann, via: web, about: shoes}
    events: [{fact: opened, time: "2026-03-02T09:00:00Z", item: "case:7", touchpoint: service, customer: ann, channel: web, topic: shoes}]
"""
STANDARDS = """
calendar: office
calendars:
  office: {zone: Europe/Vienna, hours: {mon-fri: ["09:00-17:00"]}, holidays: ["2020-12-25", "2020-12-26"]}
  unused: {zone: Europe/Vienna, hours: {mon-fri: []}}
standards:
  - {name: fast, says: Fast., clock: first_response, within: 4h}
  - {name: reply, says: Reply., promise: reply-5}
  - {name: parcel, says: Parcel., promise: delivery}
  - {name: refund, says: Refund., promise: {made_by: opened, kept_by: resolved}, within: 5bd}
"""


def written(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text)
    return tmp_path


def record(number: int, kind: str, **more: Any) -> str:
    return json.dumps({"id": number, "type": kind, "case": number % 10, "at": "2026-03-02T09:00:01Z", **more})


# -- a configuration -------------------------------------------------------------------------------------------------------


def test_a_whole_configuration_with_what_it_will_not_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_TOKEN", "0123456789abcdef")
    told = f"standards: {tmp_path}/s.yaml\nsources: {{desk: {{mapping: {tmp_path}/desk.yaml, tokens: [DESK_TOKEN]}}}}\nfollow: [{{path: none.jsonl}}]\n"
    written(tmp_path, desk__yaml=DESK, s__yaml=STANDARDS, t__yaml=told)
    found = check_configuration(tmp_path / "t.yaml", None, [])
    assert (found.status, found.bad, found.wrong) == (0, [], [])
    assert [holds for _, holds in found.looked_at] == [
        "settings, and TRIBO_* in the environment", "source desk: 1 examples, 4 facts", "4 standards, 2 calendars",
    ]  # fmt: skip
    hints = [line.replace(f"{tmp_path}/", "") for line in found.hints]
    assert hints == [
        "desk.yaml:12: no example uses it: rules[1] (promised): never fits",
        "desk.yaml:13: no example uses it: rules[2] (queued): never fits",
        "desk.yaml:14: no example uses it: rules[3] (assigned): never fits",
        "s.yaml: calendars.office.holidays: the last one is past (2020-12-26): add those to come",
        "s.yaml: calendars.office.holidays: 2020-12-26 is a day on which nobody works anyway",
        "s.yaml: calendars.unused: no standard uses it",
        "s.yaml: calendars.unused: is never open",
        "s.yaml: standards: fast: no mapping gives `answered`, which the clock first_response needs",
        "s.yaml: standards: parcel: no mapping makes a promise `delivery`",
        "s.yaml: standards: refund: promise.kept_by: no mapping gives `resolved`",
        "the promise `delivery` waits on desk, too",
        "follow: none.jsonl isn't there yet",
    ]


def test_everything_that_is_bad_is_told_at_once(tmp_path: Path) -> None:
    told = f"standards: {tmp_path}/s.yaml\nsources: {{desk: {{mapping: {tmp_path}/desk.yaml}}, shop: {{tokens: [NO_SUCH_VARIABLE]}}}}\n"
    written(
        tmp_path,
        desk__yaml=DESK.replace("fact: queued", "fact: waited"),
        s__yaml=STANDARDS.replace("within: 4h", "within: soon"),
        t__yaml=told,
        other__yaml=DESK.replace("customer: ann", "customer: bea"),
    )
    found = check_configuration(tmp_path / "t.yaml", None, [])
    assert found.status == 2
    told_lines = [line.replace(f"{tmp_path}/", "") for line in found.bad]
    assert [line[:40] for line in told_lines] == [
        "desk.yaml:13: rules[2].fact: write one o", "sources.shop.tokens: NO_SUCH_VARIABLE is", "s.yaml:7: standards[0].within: 'soon' is",
    ]  # fmt: skip
    only = check_configuration(None, None, [str(tmp_path / "other.yaml")])
    assert (only.status, only.bad) == (1, [])
    assert only.wrong == ["other.yaml:17: examples[0]: event 1: customer: 'bea' expected, 'ann' came"]
    console = Console(file=StringIO(), width=200)
    show_checked(found, console)
    show_checked(only, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "would not start:" in text
    assert "wrong:" in text
    assert "3 to mend" in text


def test_exit_statuses(tmp_path: Path) -> None:
    written(
        tmp_path, good__yaml=DESK, wrong__yaml=DESK.replace("customer: ann", "customer: bea"), bad__yaml=DESK.replace("kind: records", "kind: x"),
        good__jsonl=record(1, "opened"), bad__jsonl="{",
    )  # fmt: skip
    for status, *words in (
        (0, "--source", "good.yaml"), (1, "--source", "wrong.yaml"), (2, "--source", "bad.yaml"), (2, "--standards", "none.yaml"),
        (0, "--source", "good.yaml", "good.jsonl"), (1, "--source", "good.yaml", "bad.jsonl"),
    ):  # fmt: skip
        files = [str(tmp_path / word) if "." in word else word for word in words]
        assert CliRunner().invoke(app, ["check", *files]).exit_code == status, words
    refused = CliRunner().invoke(app, ["check", str(tmp_path / "good.jsonl")])
    assert str(refused.exception) == "check: name the one mapping to try on the records: --source FILE"


# -- a dry run -------------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_came_of_the_records(tmp_path: Path) -> None:
    lines = [
        *(record(number, "opened", who="ann" if number < 3 else None) for number in range(5)),
        record(11, "promised", due="2026-03-03T09:00:00Z"),
        record(12, "promised", due="tomorrow"),
        record(13, "promised", due="later"),
        record(14, "promised"),
        record(15, "queued"),
        *(record(number, "painted") for number in range(20, 23)),
        record(30, "opened", at="2199-01-01T00:00:00Z"),
        "{",
    ]
    written(tmp_path, desk__yaml=DESK, in__jsonl="\n".join(lines))
    mapping = Mapping.load(tmp_path / "desk.yaml")
    found = dry_run(mapping, [str(tmp_path / "in.jsonl")])
    assert (found.records, found.gave, sum(found.rejected.values())) == (15, 8, 4)
    assert dict(found.facts) == {"opened": 6, "promised": 1, "queued": 1}
    assert found.nothing == {"no rule fits: type is painted": 3}
    assert [(place, reason[:30], count) for (place, reason), count in found.rejected.most_common()] == [
        ("desk.yaml:12", "time: '…' fits none of the for", 2),
        ("desk.yaml:12", "due: a `promised` event must c", 1),
        ("", "not JSON: Input data was trunc", 1),
    ]
    assert found.unused == [
        "desk.yaml:11: rules[0] (opened): channel: never filled",
        "desk.yaml:14: rules[3] (assigned): never fits",
        "desk.yaml:9: always: topic: never filled",
    ]
    told = "\n".join(missing(found))
    for part in (
        "`opened` on 5 items, and never `resolved`", "`queued` on 1 items, and never `answered` or `abandoned`: no queue wait ends",
        "5 service or returns items are `opened` and never `answered`", "the promise `reply-…` is made 1 times, and never kept",
        "3 of 6 items have no customer", "nothing is ever `assigned`", "the last event is of 2199-01-01T00:00:00Z",
    ):  # fmt: skip
        assert part in told
    console = Console(file=StringIO(), width=100)
    show_dry_run(found, mapping, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"^opened +6 +5 +3 *$", text, re.MULTILINE)
    assert "6 items (6 case), 1 customers" in text
    assert f"by desk.yaml:12, first at {tmp_path}/in.jsonl:7" in text


def test_a_dry_run_of_an_update_log_and_of_a_table(tmp_path: Path) -> None:
    audits = Mapping.load("servicenow_incidents")
    rows = [raw for example in audits.examples for raw in example.raw]
    written(tmp_path, log__jsonl="\n".join(json.dumps(row) for row in [*rows, rows[0] | {"sys_mod_count": "1"}]))
    found = dry_run(audits, [str(tmp_path / "log.jsonl")])
    assert (found.records, found.nothing) == (len(rows) + 1, {"nothing changed that a rule asks for": 1})
    assert missing(found)[0] == "1 of 2 items with `opened` have no `resolved` or `closed` or `abandoned` or `released`" or missing(found)
    table = Mapping.load("olist_orders")
    written(tmp_path, t__jsonl=json.dumps({"order_id": "1", "order_status": "created"}))
    assert dry_run(table, [str(tmp_path / "t.jsonl")]).nothing == {"none of the times is filled": 1}


# -- drafts ----------------------------------------------------------------------------------------------------------------


def sample_of(name: str, tmp_path: Path) -> Path:
    """The raw records of a pack's examples, as they would lie in a file."""
    mapping = Mapping.load(name)
    rows = [raw for example in mapping.examples if not example.rejects for raw in example.raw]
    path = tmp_path / f"sample.{'csv' if mapping.form == 'csv' else 'jsonl'}"
    with path.open("w") as file:
        if mapping.form == "csv":
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def loaded(made: Draft) -> Mapping:
    document = parse_yaml(made.text.encode(), "draft.yaml")
    return Mapping(source_of(document), "draft", document)


@pytest.mark.parametrize(
    ("name", "kind", "item", "customer", "facts"),
    [
        ("zendesk", "records", "ticket:{detail.id}", "{detail.requester_id}", {"opened", "assigned"}),
        ("stripe", "records", None, "{data.object.customer}", {"opened", "resolved", "rejected", "closed"}),
        ("servicenow_incidents", "update_log", "incident:{number}", "{caller_id}", {"opened", "assigned", "resolved", "reopened", "awaiting_customer"}),
        ("boston_311", "wide_table", None, None, {"opened", "promised", "closed"}),
        ("olist_orders", "wide_table", "order:{order_id}", "{customer_id}", {"opened", "promised", "answered", "assigned", "resolved"}),
        ("zendesk_audits", "records", "ticket:{ticket_id}", None, {"opened"}),
    ],
)
def test_a_draft_from_a_vendors_records_loads_and_gives_events(
    tmp_path: Path, name: str, kind: str, item: str | None, customer: str | None, facts: set[str]
) -> None:
    if name in ("servicenow_incidents", "boston_311"):  # a larger sample of the same records
        rows = [raw for example in Mapping.load(name).examples if not example.rejects for raw in example.raw]
        if name == "servicenow_incidents":
            rows += [row | {"number": f"INC{number}"} for number in range(10, 14) for row in rows[:5]]
        path = tmp_path / "sample.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        path = sample_of(name, tmp_path)
    made = draft([str(path)], name, "UTC")
    mapping = loaded(made)
    assert mapping.file.kind == kind
    assert item in (None, mapping.file.item)
    assert mapping.file.always.customer == customer
    found = dry_run(mapping, [str(path)])
    assert found.facts.keys() >= facts
    assert check_examples(mapping) == []
    if customer is None:
        assert any(line.startswith("customer: no column looks like one") for line in made.left)


def test_a_zone_is_never_guessed(tmp_path: Path) -> None:
    written(tmp_path, in__csv="ticket,created,closed\n1,2/3/2026 9:00,3/3/2026 10:00\n2,4/3/2026 9:00,\n3,4/3/2026 9:10,5/3/2026 9:00\n")
    made = draft([str(tmp_path / "in.csv")], "desk")
    assert made.left[0] == "zone: the times carry none; write the one that they are in (or say it with --zone)"
    assert "times: created reads as d/m/yyyy H:MM and as m/d/yyyy H:MM: make sure which it is" in made.left
    with pytest.raises(BadConfig, match=r"^draft.yaml:\d+: zone: write an IANA zone such as Europe/Vienna, or UTC; got 'FILL_IN'$"):
        loaded(made)
    mapping = loaded(draft([str(tmp_path / "in.csv")], "desk", "Europe/Vienna"))
    assert dict(dry_run(mapping, [str(tmp_path / "in.csv")]).facts) == {"opened": 3, "closed": 2}


def test_a_draft_is_not_written_over_anything(tmp_path: Path) -> None:
    save(Draft("a\n", []), tmp_path / "a.yaml")
    with pytest.raises(BadConfig, match="is there already"):
        save(Draft("b\n", []), tmp_path / "a.yaml")
    with pytest.raises(BadConfig, match="can't be written"):
        save(Draft("b\n", []), tmp_path / "none" / "a.yaml")
    assert (tmp_path / "a.yaml").read_text() == "a\n"
    (tmp_path / "empty.jsonl").write_text("[]\n")
    with pytest.raises(BadConfig, match="holds no record"):
        draft([str(tmp_path / "empty.jsonl")], "x")


WORDS = st.sampled_from(["id", "type", "a.b", "x|y", "{z}", "customer", "created_at", "due", "état", "#", "a: b", "'", '"', "", "status", "lines", "\\"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(
    ["2026-03-02T09:00:00Z", "2026-03-02 09:00", "2/3/2026 9:00", "1772442000", "opened", "closed", "?", "\x85", "\ufeff", "*a", "!!x", "- b"]
)  # fmt: skip
RECORDS = st.lists(
    st.dictionaries(WORDS | st.text(max_size=6), st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6), max_size=6),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(records=RECORDS)
def test_whatever_the_sample_the_draft_loads_or_says_what_is_left(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("draft") / "in.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in records))
    try:
        made = draft([str(path)], "x", "UTC")
    except BadConfig as error:
        assert "holds no record that can be read" in str(error)  # NaN and the like
        return
    try:
        mapping = loaded(made)
    except BadConfig as error:
        assert "FILL_IN" in str(error)
        assert made.left
    else:
        dry_run(mapping, [str(path)])


# -- the walk-through ------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def in_order(output: str, expected: str) -> str | None:
    """The first expected line that the output lacks (`…` stands for anything), read from top to bottom."""
    at = 0
    for line in expected.splitlines():
        found = re.compile(r"[^\n]*?".join(re.escape(part.strip()) for part in line.split("…"))).search(output, at)
        if found is None:
            return line
        at = found.end()
    return None


def test_every_command_of_the_walk_through_does_what_it_says(tmp_path: Path) -> None:
    text = (DOCS / "your-own-source.md").read_text().replace("8321", str(free_port()))
    for name, content in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(content)
    blocks = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", text, re.DOTALL)
    assert len(blocks) == text.count("```sh") == 6
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIBO_")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    for commands, expected in blocks:
        script = f"set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{commands}"
        done = subprocess.run(
            ["bash", "-m", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert in_order(done.stderr + done.stdout, expected) is None, done.stderr + done.stdout
