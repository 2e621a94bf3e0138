"""The standards file: what it takes, and for each wrong one the exact sentence that it must get."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tribo.measure.hours import DAY
from tribo.measure.standards import POINTS, Standards, compile_standards
from tribo_schemas.config import LARGEST, BadConfig, parse_yaml, read_yaml
from tribo_schemas.standard import load_standards, standards_of

WRONG = Path(__file__).parent / "wrong_configs"
HOUR = 3_600_000


def ms(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def compiled(text: str) -> Standards:
    return compile_standards(standards_of(parse_yaml(text.encode(), "standards.yaml")))


@pytest.mark.parametrize("path", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_wrong_file_gets_its_sentence(path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        standards_of(parse_yaml(path.read_bytes(), path.name))
    assert str(caught.value) == path.with_suffix(".txt").read_text().rstrip("\n")


def test_each_wrong_file_has_a_sentence() -> None:
    assert {path.stem for path in WRONG.glob("*.yaml")} == {path.stem for path in WRONG.glob("*.txt")} != set()


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="name a file that is there"):
        load_standards(tmp_path / "none.yaml")
    large = tmp_path / "large.yaml"
    large.write_text("#" * (LARGEST + 1))
    with pytest.raises(BadConfig, match="larger than 256 KB: split it"):
        read_yaml(large)
    large.write_bytes(b"calendar: \xff")
    with pytest.raises(BadConfig, match="save the file as UTF-8"):
        read_yaml(large)


WORDS = ["standards:", "  - ", "<<: ", "name: ", "!!int ", "from: ", *":-[]{}&*!|>?,'\"#%@ \n\t01a"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=40)


@settings(max_examples=300, deadline=None)
@given(TEXT.map("".join) | st.text(max_size=60).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text)))
def test_whatever_is_written_is_taken_or_refused(text: str) -> None:
    try:
        compiled(text)
    except BadConfig as error:
        assert str(error).startswith("standards.yaml")


GOOD = """
calendar: office
calendars:
  office: {zone: Europe/Berlin, hours: {mon-fri: ["09:00-12:00", "13:00-17:30"]}, holidays: ["2026-04-03"]}
standards:
  - {name: fast, says: Fast., clock: first_response, within: 4h, objective: 90%}
  - {name: day, says: A day., clock: next_response, within: 1d}
  - {name: refund, says: Refund., promise: {touchpoint: returns, made_by: assigned, kept_by: resolved}, within: 5bd, at_risk: 4h}
  - {name: all, says: All., promise: any, objective: 0.99}
  - {name: few, says: Few., count: handoffs, at_most: 1}
  - {name: clear, says: Clear., practice: expectation}
points: {hold: 7}
"""


def test_compiled() -> None:
    standards = compiled(GOOD)
    assert standards.names == ("all", "clear", "day", "fast", "few", "refund")
    fast, day, refund = (standards.published(name) for name in ("fast", "day", "refund"))
    assert [standards.published(name).kind for name in standards.names] == ["promise", "practice", "clock", "clock", "count", "implied"]
    assert (fast.within_ms, fast.objective, day.elapsed_ms, refund.business_days, refund.at_risk_ms) == (4 * HOUR, 0.9, DAY, 5, 4 * HOUR)
    assert (refund.made_by, refund.kept_by, refund.touchpoint) == ("assigned", "resolved", "returns")
    friday = ms("2026-03-06T16:30:00+01:00")
    assert fast.due(friday) == ms("2026-03-09T13:00:00+01:00")  # an hour, and three: used up at noon, so the next opening
    assert fast.expected_ms(friday) == 4 * HOUR
    assert day.due(friday) == friday + DAY
    assert refund.due(friday) == ms("2026-03-13T16:30:00+01:00")
    assert refund.expected_ms(ms("2026-03-27T10:00:00+01:00")) == 10 * DAY - HOUR  # two weekends, Good Friday and the change
    assert standards.points == POINTS | {"hold": 7}


def test_no_file_is_no_standards_and_round_the_clock() -> None:
    standards = compile_standards(None)
    assert (standards.names, standards.at(0).entries, standards.points) == ((), (), POINTS)
    assert standards.default_calendar.elapsed(0, 5) == 5


@pytest.mark.parametrize("nested", [True, False])
def test_versions_hold_from_local_midnight_and_the_last_is_published(nested: bool) -> None:
    entry = ["name: fast, says: Fast., clock: queue, within: 1m", "name: fast, says: Faster., clock: queue, within: 30s, from: 2026-05-01"]
    lines = f"  - [{{{entry[0]}}}, {{{entry[1]}}}]\n" if nested else "".join(f"  - {{{one}}}\n" for one in entry)
    standards = compiled(
        "calendar: office\ncalendars: {office: {zone: Europe/Berlin, hours: {mon-sun: ['00:00-24:00']}}}\nstandards:\n" + lines
    )
    midnight = ms("2026-05-01T00:00:00+02:00")
    assert [entry.within_ms for entry in standards.at(midnight - 1).entries] == [60_000]
    assert [entry.within_ms for entry in standards.at(midnight).entries] == [30_000]
    assert standards.published("fast").says == "Faster."
    assert [entry.says for entry in standards.entries("fast")] == ["Fast.", "Faster."]
    assert standards.at(midnight) is standards.at(midnight + DAY)
