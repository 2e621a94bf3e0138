"""Compare the oracle with `tribo measure` on seeded histories: compare.py FIRST..LAST [--tribo COMMAND]."""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
from typing import Any

import histories
import oracle
import yaml

FREE = {"id", "customer", "evidence"}


def plain(value: Any) -> Any:
    """Comparable: free fields and nulls dropped, numbers rounded."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in sorted(value.items()) if key not in FREE and part is not None}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return round(float(value), 3) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def run(command: list[str], seed: int) -> list[str]:
    """The differing rows of one seed: `-` the oracle's, `+` the engine's."""
    events, file = histories.history(seed), histories.standards(seed)
    texts = [json.dumps(event) for event in events]
    want = oracle.measure([("x", n, text) for n, text in enumerate(texts, 1)], file, oracle.instant(histories.UNTIL))
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "events.jsonl").write_text("\n".join(texts) + "\n")
        (root / "standards.yaml").write_text(yaml.safe_dump(file))
        argv = [*command, "measure", str(root / "events.jsonl"), "--standards", str(root / "standards.yaml"), "--until", histories.UNTIL, "--out", str(root / "out")]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            return [f"exit {done.returncode}: {done.stderr[-300:]}"]
        got = {name: [json.loads(line) for line in (root / "out" / f"{name}.jsonl").read_text().splitlines()] for name in ("journeys", "findings")}
        got["standards"] = json.loads((root / "out" / "standards.json").read_text())
    wrong = []
    for name, rows in got.items():
        a, b = ([json.dumps(plain(row), sort_keys=True) for row in part] for part in (want[name], rows))
        for line in list(a):
            if line in b:
                a.remove(line)
                b.remove(line)
        wrong += [f"- {name}: {line}" for line in a] + [f"+ {name}: {line}" for line in b]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds")
    parser.add_argument("--tribo", default=f"{shlex.quote(sys.executable)} -m tribo")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("..")
    failed = 0
    for seed in range(int(first), int(last or first) + 1):
        wrong = run(shlex.split(options.tribo), seed)
        failed += bool(wrong)
        if wrong:
            print(f"seed {seed}: {len(wrong)} rows differ\n  " + "\n  ".join(wrong[:6]))
    print(f"{int(last or first) - int(first) + 1 - failed} same, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
