"""Items that name a person are shown as pseudonyms, wherever rows, findings and stories speak of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.pseudonym import Names
from tribo.show.explain import explain
from tribo.wire.mapping import Mapping, brought_by

MAPPING = """
source: voicebox
kind: wide_table
item: "phone:{number}"
personal: [phone]
brings: [callback]
always: {touchpoint: service, customer: "{number}"}
rules:
  - {fact: opened, time: "{called}"}
  - {fact: promised, time: "{called}", promise: callback, due: "{until}"}
  - {fact: complained, time: "{angry}", about: "order:{order}"}
"""
NUMBER = "+43/660 123"  # an id with what usually ends one in it
RECORD = {"number": NUMBER, "called": "2026-03-02T09:00:00Z", "until": "2026-03-02T12:00:00Z", "angry": "2026-03-03T09:00:00Z", "order": "7"}


def test_no_output_of_measure_tells_the_number(tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_text(MAPPING)
    (tmp_path / "in.jsonl").write_text(json.dumps(RECORD))
    command = [sys.executable, "-m", "tribo", "measure", str(tmp_path / "in.jsonl"), "--source", str(tmp_path / "box.yaml"), "--out"]
    for more in ([], ["--plain-customers"]):
        done = subprocess.run([*command, str(tmp_path / "out"), *more], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        text = "".join((tmp_path / "out" / name).read_text() for name in ("journeys.jsonl", "findings.jsonl"))
        rows = [json.loads(line) for line in text.splitlines()]
        assert {row["kind"] for row in rows if "kind" in row} >= {"promise_broken", "complaint"}
        assert all(len(row["journey"]) == len("phone:p-") + 16 for row in rows) is (not more)
        assert ("660" in text) is bool(more)
        assert '"order:7"' in text or "order:7" not in json.dumps(RECORD)


def test_the_story_does_not_tell_the_number(tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_text(MAPPING)
    mapping = Mapping.load(tmp_path / "box.yaml")
    now = 1_800_000_000_000
    ledger = Ledger.open(tmp_path / "ledger", "")
    ledger.apply(mapping.map_record(RECORD), Frontier(now), compile_standards(None), received_at=now)
    ledger.close()
    with Reader(tmp_path / "ledger") as reader:
        told = "\n".join(explain(reader, f"phone:{NUMBER}", mapping.personal))
        assert "phone:p-" in told
        assert "660" not in told
        assert "660" in "\n".join(explain(reader, f"phone:{NUMBER}"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("voicebox/phone:123/opened", "voicebox/phone:p-"),
        ("because of phone:123, case:7", ", case:7"),
        ("headphone:123", "headphone:123"),
        ("order:123", "order:123"),
    ],
)
def test_ids_within_texts(text: str, shown: str) -> None:
    names = Names(b"key", ["phone"])
    assert shown in names.text(text)
    assert names.text(names.text(text)) == names.text(text)
    assert Names(None, ["phone"]).text(text) == Names(b"key").text(text) == text


def test_who_brings_the_evidence_of_a_promise(tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_text(MAPPING)
    (tmp_path / "van.yaml").write_text(MAPPING.replace("voicebox", "carrier").replace("[callback]", "[delivery, callback]"))
    mappings = [Mapping.load(tmp_path / name) for name in ("box.yaml", "van.yaml")]
    assert brought_by(mappings) == {"callback": ("carrier", "voicebox"), "delivery": ("carrier",)}
