"""Records of tribo.events, and the time of a partition that follows from them: pure, without a broker."""

from __future__ import annotations

import json

import pytest

from invented import events_of_seed
from tribo.run.distributed.frontier import FORGOTTEN_AFTER, STALE_AFTER, PartitionTime
from tribo.run.distributed.records import (
    MOST_SENT_BYTES,
    MOST_VALUE_BYTES,
    Input,
    Report,
    encode_report,
    encoded,
    packed,
    report_of,
    unpacked,
)
from tribo.run.distributed.share import Offsets
from tribo_schemas.event import Event, canonical, decode_event

NOW = 1_772_409_600_000
MINUTE = 60_000


def event(**fields: object) -> dict[str, object]:
    return {"id": "e1", "source": "shop", "time": "2026-03-02T09:00:00Z", "touchpoint": "purchase", "fact": "opened", "item": "order:1", **fields}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_sent_is_what_arrives(seed: int) -> None:
    rows, _ = events_of_seed(seed)
    events = [decode_event(json.dumps(row)) for row in rows]
    for own in (True, False):
        arrived, wrong = unpacked(b"".join(packed(map(encoded, events))), own)
        assert (list(map(canonical, arrived)), wrong) == (list(map(canonical, events)), [])


def test_records_stay_below_what_a_broker_takes() -> None:
    large = Event(id="x", source="s", time=NOW, touchpoint="service", fact="opened", item="case:1", about=tuple(f"case:{n:0190}" for n in range(1900)))
    part = encoded(large)
    assert 300_000 < len(part) < MOST_SENT_BYTES
    values = list(packed([part] * 7))
    assert sum(len(unpacked(value)[0]) for value in values) == 7
    assert all(len(value) <= max(MOST_VALUE_BYTES, MOST_SENT_BYTES) + 2 for value in values)


def test_a_record_may_be_one_event_or_hold_wrong_ones() -> None:
    assert unpacked(json.dumps(event()).encode())[0][0].item == "order:1"
    value = json.dumps([event(), event(id="e2", fact="danced"), event(id="e3")]).encode()
    for own in (True, False):
        events, wrong = unpacked(value, own)
        assert [found.id for found in events] == ["e1", "e3"]
        assert [(json.loads(raw)["id"], error.field) for raw, error in wrong] == [("e2", "fact")]
    twice = b'[{"id":"a","id":"b","source":"s","time":"2026-03-02T09:00:00Z","touchpoint":"service","fact":"opened","item":"case:1"}]'
    assert "written twice" in str(unpacked(twice)[1][0][1])
    assert str(unpacked(b"[1, 2")[1][0][1]).startswith("not JSON")
    assert unpacked(b"[]") == ([], [])


def report(at: int, **inputs: tuple[bool, int | None]) -> Report:
    return Report(at, {name.replace("_", "/"): Input(behind, {"shop": (mark, at)}) for name, (behind, mark) in inputs.items()})


def test_a_report_survives_the_header() -> None:
    told = report(NOW, orders_0=(False, NOW - MINUTE), orders_1=(True, None))
    assert report_of(encode_report(told)) == told
    assert report_of(b"rubbish") is None


def test_a_source_is_heard_only_as_far_as_its_slowest_input_that_has_something_unread() -> None:
    time = PartitionTime({}, NOW)
    time.hear(report(NOW, orders_0=(False, NOW - MINUTE), orders_1=(True, NOW - 30 * MINUTE)))
    assert time.frontier(NOW, False).heard["shop"] == NOW - 30 * MINUTE
    time.hear(report(NOW, orders_1=(False, NOW - 30 * MINUTE)))  # read to its end: nothing lies there any more
    assert time.frontier(NOW, False).heard["shop"] == NOW - MINUTE


def test_an_input_that_was_never_read_holds_its_source() -> None:
    time = PartitionTime({}, NOW)
    time.hear(report(NOW, orders_0=(False, NOW - MINUTE), orders_1=(True, None)))
    assert "shop" not in time.frontier(NOW, False).heard


def test_an_input_on_which_nobody_reports_holds_its_source_until_it_is_forgotten() -> None:
    time = PartitionTime({}, NOW)
    time.hear(report(NOW, orders_0=(False, NOW), orders_1=(False, NOW - 5 * MINUTE)))
    later = NOW + STALE_AFTER + 1
    time.hear(report(later, orders_0=(False, later)))
    assert time.frontier(later, False).heard["shop"] == NOW - 5 * MINUTE
    much = NOW + FORGOTTEN_AFTER + 1
    time.hear(report(much, orders_0=(False, much)))
    assert time.frontier(much, False).heard["shop"] == much


def test_silence_counts_only_while_everything_could_be_read() -> None:
    time = PartitionTime({}, NOW)
    silent: dict[str, int] = {}
    for second in range(0, 18 * 60, 5):
        at = NOW + second * 1000
        time.hear(Report(at, {"orders/0": Input(300 <= second < 330, {"shop": (NOW, NOW)})}))  # behind for half a minute
        before, silent = silent, time.frontier(at, False).silent
        if silent and not before:
            assert second == 330 + 600
    assert silent == {"shop": NOW + (330 + 600) * 1000}


def test_a_busy_topic_does_not_hide_that_one_of_its_sources_is_silent() -> None:
    time = PartitionTime({}, NOW)
    for second in range(0, 601):
        at = NOW + second * 1000
        time.hear(Report(at, {"orders/0": Input(second % 2 == 0, {"shop": (at, at), "survey": (NOW, NOW)})}))
        frontier = time.frontier(at, False)
    assert frontier.silent == {"survey": NOW + 600_000}
    assert frontier.heard["shop"] == at


def test_a_partition_that_is_behind_lives_at_the_time_of_its_last_record() -> None:
    time = PartitionTime({"shop": (NOW - MINUTE, NOW)}, NOW)
    time.hear(report(NOW + MINUTE, orders_0=(False, NOW)))
    assert time.frontier(NOW + 60 * MINUTE, True).now == NOW + MINUTE
    assert time.frontier(NOW + 60 * MINUTE, False).now == NOW + 60 * MINUTE


def test_events_without_a_report_move_their_source_by_the_receive_time() -> None:
    time = PartitionTime({}, NOW)
    time.hear_events([decode_event(json.dumps(event(time="2030-01-01T00:00:00Z")))], NOW)
    assert time.frontier(NOW, False).heard == {"shop": NOW - 2 * MINUTE}
    assert time.frontier(NOW + 9 * MINUTE, False).silent == {}
    assert time.frontier(NOW + 11 * MINUTE, False).silent == {"shop": NOW + 10 * MINUTE}


def test_offsets_follow_each_other_or_are_read_again_once() -> None:
    offsets = Offsets(10)
    assert [offsets.judge(offset) for offset in (9, 10, 11)] == ["skip", "take", "take"]
    assert [offsets.judge(offset) for offset in (14, 15, 16)] == ["seek", "drop", "drop"]  # 15 and 16 were on their way
    assert [offsets.judge(offset) for offset in (12, 13, 14)] == ["take", "take", "take"]  # and this is the second reading
    assert (offsets.gaps, offsets.lost) == (1, 0)
    assert [offsets.judge(offset) for offset in (20, 20, 21)] == ["seek", "take", "take"]
    assert (offsets.gaps, offsets.lost, offsets.following) == (2, 5, 22)
