"""`tribo measure` as a command: what it reads, the five files that it writes, and how it ends."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EVENT = {"id": "e1", "source": "s", "time": "2026-03-02T09:00:00Z", "touchpoint": "service", "fact": "opened", "item": "case:1", "customer": "c1"}
ANSWER = {**EVENT, "id": "e2", "fact": "answered", "time": "2026-03-02T09:05:00.5Z", "note": "unknown fields are ignored"}
LINES = [json.dumps(EVENT), json.dumps(ANSWER)]
TABLE = "id,source,time,touchpoint,fact,item,customer\n" + "".join(
    f"{row['id']},s,{row['time']},service,{row['fact']},case:1,c1\n" for row in (EVENT, ANSWER)
)
INPUTS = {
    "plain.jsonl": "\n".join(LINES).encode() + b"\n",
    "windows.jsonl": b"\xef\xbb\xbf" + "\r\n\r\n".join(LINES).encode(),
    "zipped.jsonl.gz": gzip.compress("\n".join(LINES).encode()),
    "array.json": ("[" + ",\n".join(LINES) + "]").encode(),
    "array.json.gz": gzip.compress(("[" + ",".join(LINES) + "]").encode()),
    "table.csv": TABLE.encode(),
    "table.csv.gz": gzip.compress(TABLE.encode()),
}
FIELDS = {
    "journey", "customer", "status", "opened_at", "ended_at", "items", "touchpoints", "events", "handoffs", "team_handoffs", "ping_pongs",
    "channel_switches", "steps", "repeat_contacts", "repeated", "holds", "reopened", "abandoned", "escalated", "offered", "complaints",
    "praises", "surprises", "rating", "recovered", "repeat_purchase", "first_contact_resolved", "promises", "waits", "waiting", "friction",
    "delight", "synthetic",
}  # fmt: skip


def tribo(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "tribo", "measure", *arguments], cwd=folder, input=stdin, capture_output=True, check=False)


def written(out: Path) -> dict[str, Any]:
    rows: dict[str, Any] = {
        name: [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()] for name in ("journeys", "findings", "rejects")
    }
    return rows | {name: json.loads((out / f"{name}.json").read_text()) for name in ("standards", "summary")}


def test_every_form_of_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, content in INPUTS.items():
        (tmp_path / name).write_bytes(content)
    given = [[name] for name in INPUTS] + [["-"], ["plain.jsonl", "array.json", "table.csv"]]
    for number, names in enumerate(given):
        done = tribo(tmp_path, *names, "--out", f"out/{number}", stdin=INPUTS["zipped.jsonl.gz"])
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
    first = tmp_path / "out" / "0"
    for number in range(1, len(given)):
        for name in ("journeys.jsonl", "findings.jsonl", "standards.json", "rejects.jsonl"):
            assert (tmp_path / "out" / str(number) / name).read_bytes() == (first / name).read_bytes(), (given[number], name)
    row = written(first)["journeys"][0]
    assert row.keys() == FIELDS
    assert list(row) == sorted(row) and list(row["promises"]) == sorted(row["promises"])
    assert row["waits"]["first_response"] == {"count": 1, "customer_seconds": 300.5, "business_seconds": 300.5, "longest_customer_seconds": 300.5}
    assert row["customer"] not in ("c1", None)


def test_a_reject_says_where_and_why_and_keeps_what_came(tmp_path: Path) -> None:
    wrong = [b"no json", b'{"id": "\xff"}', b"[]", json.dumps({**EVENT, "id": ""}).encode(), json.dumps({**EVENT, "fact": "danced"}).encode()]
    lines = [LINES[0].encode(), *wrong, b"", b"   ", LINES[1].encode(), LINES[1].encode(), json.dumps({**ANSWER, "topic": "t"}).encode()]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    assert tribo(tmp_path, "in.jsonl", "--out", "out").returncode == 0
    got = written(tmp_path / "out")
    assert [(row["input"], row["line"]) for row in got["rejects"]] == [("in.jsonl", line) for line in range(2, 7)]
    assert [row["payload"] for row in got["rejects"]] == ["no json", "eyJpZCI6ICL/In0=", "[]", wrong[3].decode(), wrong[4].decode()]
    assert [row["reason"].partition(":")[0] for row in got["rejects"]] == ["not JSON", "not JSON", "Expected `object`, got `array`", "id", "fact"]
    assert [row.get("encoding") for row in got["rejects"]] == [None, "base64", None, None, None]
    summary = got["summary"]
    assert (summary["records"], summary["rejected"], summary["journeys"], summary["findings"]) == (9, 5, 1, {})
    assert summary["events"] == {"applied": 2, "duplicate": 1, "conflicting": 1, "retracted": 0}
    assert summary["seconds"] >= 0 and summary["events_per_second"] > 0


def test_a_standard_that_nothing_decided_and_one_that_is_met(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(INPUTS["plain.jsonl"])
    (tmp_path / "standards.yaml").write_text(
        "standards:\n"
        "  - {name: fast, says: Ten minutes., clock: first_response, within: 10m, objective: 90%}\n"
        "  - {name: calls, says: We call back., promise: call-back}\n"
    )
    assert tribo(tmp_path, "in.jsonl", "--standards", "standards.yaml", "--out", "out").returncode == 0
    assert written(tmp_path / "out")["standards"] == [
        {"name": "calls", "says": "We call back.", "expected": 1.0, "actual": None, "gap": None, "met": 0, "missed": 0, "running": 0, "actual_as_told": None},
        {"name": "fast", "says": "Ten minutes.", "expected": 0.9, "actual": 1.0, "gap": -0.1, "met": 1, "missed": 0, "running": 0},
    ]


def test_the_clock_ends_with_the_last_event_that_happened(tmp_path: Path) -> None:
    promised = {**EVENT, "fact": "promised", "promise": "p", "due": "2026-03-02T12:00:00Z"}
    slip = {**EVENT, "id": "e3", "fact": "answered", "time": "2062-03-02T09:00:00Z"}
    back = {**EVENT, "id": "e4", "fact": "retracted", "retracts": "e3", "time": "2026-03-02T11:00:00Z"}
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, (promised, slip, back))))
    for until, states in ((None, {"open": 1}), ("2026-03-02T12:00:00.001Z", {"broken": 1}), ("2026-03-01T00:00:00Z", {"open": 1})):
        assert tribo(tmp_path, "in.jsonl", "--out", "out", *(["--until", until] if until else [])).returncode == 0
        promises = written(tmp_path / "out")["journeys"][0]["promises"]
        assert {state: promises[state] for state in states} == states


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["in.txt", "--out", "out"], "in.txt: the name must end in .jsonl, .json or .csv"),
        (["nothing.jsonl", "--out", "out"], "nothing.jsonl: can't be read: No such file or directory"),
        (["in.jsonl", "--out", "in.jsonl"], "--out in.jsonl: can't be made (File exists): name a folder that can be written"),
        (["in.jsonl", "--out", "out", "--until", "2026-03-02"], "--until: write an instant with its zone"),
        (["in.jsonl", "--out", "out", "--standards", "nothing.yaml"], "nothing.yaml: can't be read"),
        (["in.jsonl", "--out", "out", "--source", "nothing"], "nothing: no such mapping"),
        (["in.jsonl"], "Missing option '--out'"),
        (["--out", "out"], "Missing argument 'INPUT...'"),
    ],
)
def test_bad_usage_ends_with_2_and_a_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(INPUTS["plain.jsonl"])
    (tmp_path / "in.txt").write_bytes(INPUTS["plain.jsonl"])
    done = tribo(tmp_path, *arguments)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
