"""Behaviour as readable scripts: each case is a short history and what must be measured from it, whatever the order."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "cases"
sys.path.insert(0, str(HERE))
from scripts import differences_of, events_of, measured  # noqa: E402

CASES = [(path.stem, case) for path in sorted((HERE / "cases").glob("*.yaml")) for case in yaml.safe_load(path.read_text())]


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{file}: {case['name']}" for file, case in CASES])
@pytest.mark.parametrize("way", ["in order", "backwards", "shuffled twice"])
def test_case(file: str, case: dict, way: str) -> None:
    events = events_of(case)
    if way == "backwards":
        events = events[::-1]
    elif way == "shuffled twice":
        events = events * 2
        random.Random(file + case["name"]).shuffle(events)
    assert differences_of(case, measured(case, events)) == []


@pytest.mark.skipif(not SHARED.exists(), reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize("program", ["run.py", "golden.py"])
def test_shared_cases(program: str) -> None:
    done = subprocess.run([sys.executable, str(SHARED / program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith("passed, 0 failed")


def test_rows_are_the_same_bytes_however_the_lines_stand(tmp_path: Path) -> None:
    assert importlib.util.find_spec("tribo") is not None
    lines = [
        json.dumps(event)
        for number, (_, case) in enumerate(CASES)
        for event in events_of(case, prefix=f"{number}-")
    ]
    outs = []
    for name, seed in (("a", 1), ("b", 2)):
        given = lines * (1 if name == "a" else 2)
        random.Random(seed).shuffle(given)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(given))
        subprocess.run([sys.executable, "-m", "tribo", "measure", tmp_path / f"{name}.jsonl", "--out", tmp_path / f"{name}.out"], check=True)
        outs.append([(tmp_path / f"{name}.out" / file).read_bytes() for file in ("journeys.jsonl", "findings.jsonl", "standards.json")])
    assert outs[0] == outs[1]
    assert outs[0][0].count(b"\n") > len(CASES) // 2
