"""A second, slower program, written from the definitions alone, measures the same: on seeded nasty histories, row for row.

More seeds by hand: `python tests/simulate/compare.py 1..1000`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "simulate"))
import compare

SEEDS = range(1, 61)
FOUND_BEFORE = (64, 184, 220, 227, 260, 264, 267, 406, 512, 520, 721, 755, 1925, 2107)  # each showed a fault once


@pytest.mark.parametrize("seed", [*SEEDS, *FOUND_BEFORE])
def test_the_oracle_measures_the_same(seed: int) -> None:
    events, standards, until = compare.of_seed(seed)
    assert compare.differences(events, standards, until) == []
