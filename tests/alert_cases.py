"""What each alert must and must not say, as Prometheus series: for each alert a case that fires, one that doesn't, one with nothing to
go by, and one of a small company with 40 occasions a day.

A series is written as promtool reads it, in steps of a minute (`QUICK`) or of ten minutes (`LONG`, for what is held against its past).
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    alert: str
    case: str  # fires, quiet, missing or seldom
    series: dict[str, str]
    at: str
    firing: int  # how many alerts


def judged(met: str, missed: str, standard: str = "delivery-on-time") -> dict[str, str]:
    found = {f'tribo_standard_judged_total{{standard="{standard}",outcome="{what}"}}': text for what, text in (("met", met), ("missed", missed))}
    back = {f'tribo_standard_judged_withdrawn_total{{standard="{standard}",outcome="{what}"}}': "0x9000" for what in ("met", "missed")}
    return found | back


def seldom(days: int, every: int = 36) -> str:
    """A counter that rises by one every 36 minutes: 40 times a day."""
    return " ".join(f"{number}x{every - 1}" for number in range(days * 1440 // every))


def in_tens(days: int) -> str:
    """The same in steps of ten minutes."""
    return " ".join(str(step * 10 // 36) for step in range(days * 144))


def some(metric: str, labels: str, text: str) -> dict[str, str]:
    """A counter and its counterpart of what was withdrawn, which stays at 0."""
    return {f"{metric}_total{{{labels}}}": text, f"{metric}_withdrawn_total{{{labels}}}": "0x9000"}


def untold(text: str) -> dict[str, str]:
    return {'tribo_promises_at_risk{touchpoint="purchase",team="other",told="no"}': text,
            'tribo_promises_at_risk{touchpoint="purchase",team="other",told="yes"}': "900x9000"}  # fmt: skip


BROKEN = ("tribo_findings", 'kind="promise_broken",touchpoint="purchase"')
HANDED = ("tribo_team_findings", 'kind="handoff",team="first-line"')
TOSSED = ("tribo_team_findings", 'kind="ping_pong",team="first-line"')
ABOUT = ("tribo_complaints", 'topic="invoice"')
QUEUE = 'tribo_team_queue_running{team="first-line"}'
HEARD = 'tribo_source_heard_timestamp_seconds{source="shop"}'
CLOCK = {"tribo_clock_timestamp_seconds": "0+60x9000"}
CLOCK_10 = {"tribo_clock_timestamp_seconds": "0+600x9000"}
THREE_DAYS = 432  # steps of ten minutes

QUICK = [
    Case("TriboStandardBurnsFast", "fires", judged("0+1x120", "0+9x120"), "65m", 1),
    Case("TriboStandardBurnsFast", "quiet", judged("0+9x120", "0+1x120"), "65m", 0),  # 10 % of 5 % allowed: slow
    Case("TriboStandardBurnsFast", "missing", {}, "65m", 0),
    Case("TriboStandardBurnsFast", "seldom", judged("0x1440", seldom(1)), "360m", 0),  # ten occasions say nothing about a rate
    Case("TriboStandardBurnsFast", "quiet", judged("0+1x120", "0+9x50 450x70"), "95m", 0),  # over since 45 minutes
    Case("TriboPromisesAtRiskUntold", "fires", untold("0x5 2x100"), "15m", 1),
    Case("TriboPromisesAtRiskUntold", "quiet", untold("0x100"), "15m", 0),  # 900 that were told
    Case("TriboPromisesAtRiskUntold", "quiet", untold("0x5 2x3 0x100"), "15m", 0),  # told within minutes
    Case("TriboPromisesAtRiskUntold", "missing", {}, "15m", 0),
    Case("TriboPromisesAtRiskUntold", "seldom", untold("0x35 1x36 0x36 1x36"), "60m", 1),
    Case("TriboPromisesUnknown", "fires", {'tribo_promises{state="unknown",touchpoint="purchase"}': "0x5 3x100"}, "15m", 1),
    Case("TriboPromisesUnknown", "quiet", {'tribo_promises{state="unknown",touchpoint="purchase"}': "0x100"}, "15m", 0),
    Case("TriboPromisesUnknown", "missing", {}, "15m", 0),
    Case("TriboPromisesUnknown", "seldom", {'tribo_promises{state="unknown",touchpoint="purchase"}': "0x35 1x1440"}, "60m", 1),
    Case("TriboSourceRejecting", "fires", {'tribo_events_total{source="shop",outcome="rejected"}': "0+2x60",
         'tribo_events_total{source="shop",outcome="applied"}': "0+10x60"}, "30m", 1),
    Case("TriboSourceRejecting", "quiet", {'tribo_events_total{source="shop",outcome="rejected"}': "0+2x60",
         'tribo_events_total{source="shop",outcome="applied"}': "0+100x60"}, "30m", 0),
    Case("TriboSourceRejecting", "missing", {}, "30m", 0),
    Case("TriboSourceRejecting", "seldom", {'tribo_events_total{source="shop",outcome="rejected"}': seldom(1),
         'tribo_events_total{source="shop",outcome="applied"}': seldom(1)}, "600m", 0),  # one at a time: `tribo rejects` keeps them
    Case("TriboSourceClockWrong", "fires", {'tribo_source_skew_seconds{source="shop"}': "90x60"}, "15m", 1),
    Case("TriboSourceClockWrong", "fires", {'tribo_source_future_events_total{source="shop"}': "0x5 3+1x60"}, "15m", 1),
    Case("TriboSourceClockWrong", "quiet", {'tribo_source_skew_seconds{source="shop"}': "-40x60",
         'tribo_source_future_events_total{source="shop"}': "7x60"}, "15m", 0),
    Case("TriboSourceClockWrong", "missing", {}, "15m", 0),
    Case("TriboSourceClockWrong", "seldom", {'tribo_source_future_events_total{source="shop"}': seldom(1)}, "590m", 1),
    Case("TriboPipelineBehind", "fires", {"tribo_behind_seconds": "0x5 70+60x60"}, "12m", 1),
    Case("TriboPipelineBehind", "fires", {"tribo_queue_events": "45000x60", "tribo_queue_limit_events": "50000x60"}, "12m", 1),
    Case("TriboPipelineBehind", "fires", {'tribo_measure_lag_records{partition="3"}': "500x60", 'tribo_measure_held{partition="3"}': "1x60"}, "25m", 1),
    Case("TriboPipelineBehind", "fires", {'tribo_measure_held{partition="3",instance="a"}': "1x5 0x60"}, "12m", 1),  # and nobody else took it
    Case("TriboPipelineBehind", "quiet", {'tribo_measure_held{partition="3",instance="a"}': "1x5 0x60",
         'tribo_measure_held{partition="3",instance="b"}': "0x5 1x60", 'tribo_measure_lag_records{partition="3"}': "500x5 0x60"}, "25m", 0),
    Case("TriboPipelineBehind", "quiet", {"tribo_behind_seconds": "1x60", "tribo_queue_events": "300x60", "tribo_queue_limit_events": "50000x60"},
         "12m", 0),
    Case("TriboPipelineBehind", "missing", {}, "12m", 0),
    Case("TriboPipelineBehind", "seldom", {"tribo_behind_seconds": "0x60", "tribo_queue_events": "1x60", "tribo_queue_limit_events": "50000x60"},
         "12m", 0),
    Case("TriboNotTaking", "fires", {"tribo_ledger_full": "0x5 1x60", "tribo_ledger_broken": "0x60"}, "12m", 1),
    Case("TriboNotTaking", "fires", {'tribo_measure_database_up{instance="a"}': "1x5 0x60", 'tribo_measure_database_up{instance="b"}': "1x60"}, "12m", 1),
    Case("TriboNotTaking", "quiet", {"tribo_ledger_full": "0x60", "tribo_ledger_broken": "0x60"}, "12m", 0),
    Case("TriboNotTaking", "missing", {}, "12m", 0),
    Case("TriboNotTaking", "seldom", {"tribo_ledger_full": "0x60", "tribo_ledger_broken": "0x5 1x60"}, "12m", 1),
    Case("TriboEventsLost", "fires", {'tribo_measure_lost_total{partition="3"}': "0x5 1x60"}, "12m", 1),
    Case("TriboEventsLost", "quiet", {'tribo_measure_lost_total{partition="3"}': "7x60"}, "12m", 0),
    Case("TriboEventsLost", "missing", {}, "12m", 0),
    Case("TriboEventsLost", "seldom", {'tribo_measure_lost_total{partition="3"}': "0x500 1x600"}, "510m", 1),
    Case("TriboHistorySetAside", "fires", {"tribo_histories_set_aside": "0x5 1x60"}, "12m", 1),
    Case("TriboHistorySetAside", "quiet", {"tribo_histories_set_aside": "0x60"}, "12m", 0),
    Case("TriboHistorySetAside", "missing", {}, "12m", 0),
    Case("TriboHistorySetAside", "seldom", {"tribo_histories_set_aside": "0x5 1x60"}, "60m", 1),
    Case("TriboDown", "fires", {'up{job="tribo"}': "1x5 0x60"}, "12m", 1),
    Case("TriboDown", "quiet", {'up{job="tribo"}': "1x60"}, "12m", 0),
    Case("TriboDown", "missing", {'up{job="another"}': "1x60"}, "12m", 1),  # nobody scrapes it: that is what it is for
    Case("TriboDown", "seldom", {'up{job="tribo"}': "1x60"}, "60m", 0),
    Case("TriboWatchdog", "fires", {'up{job="tribo"}': "1x60"}, "1m", 1),
    Case("TriboWatchdog", "quiet", {'up{job="tribo"}': "0x60"}, "1m", 1),  # whatever is wrong
    Case("TriboWatchdog", "missing", {}, "1m", 1),
    Case("TriboWatchdog", "seldom", {}, "600m", 1),
    Case("TriboQueueGrowing", "missing", {}, "30m", 0),
    Case("TriboQueueGrowing", "fires", {QUEUE: "0x5 0+2x60"}, "20m", 1),
    Case("TriboQueueGrowing", "quiet", {QUEUE: "3x60"}, "20m", 0),
    Case("TriboQueueGrowing", "quiet", {QUEUE: "40-1x30"}, "20m", 0),  # many, and it gets better
    Case("TriboQueueGrowing", "seldom", {QUEUE: "0x20 1x5 0x20 2x5 0x20 1x60"}, "75m", 0),
]  # fmt: skip

LATELY = 'tribo_standard_last_missed{standard="delivery-on-time"}'
LONG = [
    Case("TriboStandardBurnsSlowly", "fires", judged("0+40x160", "0+10x160"), "25h", 1),
    Case("TriboStandardBurnsSlowly", "quiet", judged("0+97x160", "0+3x160"), "25h", 0),
    Case("TriboStandardBurnsSlowly", "missing", {}, "25h", 0),
    Case("TriboStandardBurnsSlowly", "seldom", judged("0x160", in_tens(1)), "23h", 1),
    Case("TriboStandardMissedLately", "fires", judged("0x144", "0x60 1x6 2x6 3x6 4x60") | {LATELY: "0x60 1x6 2x6 3x6 4x60"}, "14h", 1),
    Case("TriboStandardMissedLately", "quiet", judged("0x144", "0x60 1x6 2x6 3x60") | {LATELY: "0x60 1x6 2x6 3x60"}, "14h", 0),
    Case("TriboStandardMissedLately", "quiet", judged("0x400", "0x10 4x400") | {LATELY: "0x10 4x400"}, "28h", 0),  # more than a day ago
    Case("TriboStandardMissedLately", "quiet", judged("0+30x144", "0+10x144") | {LATELY: "4x144"}, "14h", 0),  # so many that rates speak
    Case("TriboStandardMissedLately", "missing", judged("0x144", "0x144"), "14h", 0),
    Case("TriboStandardMissedLately", "seldom", judged("0x144", in_tens(1)) | {LATELY: "0x14 4x3 5x3 6x100"}, "4h", 1),
    Case("TriboPromisesAtRiskAboveNormal", "fires", untold(f"20x{THREE_DAYS} 60x60"), "74h", 1),
    Case("TriboPromisesAtRiskAboveNormal", "quiet", untold(f"20x{THREE_DAYS} 35x60"), "74h", 0),
    Case("TriboPromisesAtRiskAboveNormal", "missing", untold("30x60"), "50m", 1),  # no past yet: held against nothing
    Case("TriboPromisesAtRiskAboveNormal", "missing", {}, "74h", 0),
    Case("TriboPromisesAtRiskAboveNormal", "seldom", untold("0x3 1x3 2x3 0x400"), "2h", 0),
    Case("TriboPromisesBroken", "fires", some(*BROKEN, f"0+1x{THREE_DAYS} 433+9x60"), "74h", 1),
    Case("TriboPromisesBroken", "quiet", some(*BROKEN, f"0+1x{THREE_DAYS + 60}"), "74h", 0),
    Case("TriboPromisesBroken", "missing", {}, "74h", 0),
    Case("TriboPromisesBroken", "seldom", some(*BROKEN, "0x200 1x200"), "34h", 1),  # one, where there was none
    Case("TriboHandoffsAboveNormal", "fires", some(*HANDED, f"0+1x{THREE_DAYS} 433+6x60"), "74h", 1),
    Case("TriboHandoffsAboveNormal", "quiet", some(*HANDED, f"0+3x{THREE_DAYS + 60}"), "74h", 0),
    Case("TriboHandoffsAboveNormal", "missing", {}, "74h", 0),
    Case("TriboHandoffsAboveNormal", "seldom", some(*HANDED, seldom(3, 4)), "70h", 0),
    Case("TriboPingPongsAboveNormal", "fires", some(*TOSSED, f"0+0.25x{THREE_DAYS} 109+2x60"), "74h", 1),
    Case("TriboPingPongsAboveNormal", "quiet", some(*TOSSED, f"0+1x{THREE_DAYS + 60}"), "74h", 0),
    Case("TriboPingPongsAboveNormal", "missing", {}, "74h", 0),
    Case("TriboPingPongsAboveNormal", "seldom", some(*TOSSED, seldom(3, 4)), "70h", 0),
    Case("TriboComplaintsRising", "fires", some(*ABOUT, f"0+0.1x{THREE_DAYS} 44+1x60"), "75h", 1),
    Case("TriboComplaintsRising", "quiet", some(*ABOUT, f"0+1x{THREE_DAYS + 60}"), "80h", 0),
    Case("TriboComplaintsRising", "missing", {}, "74h", 0),
    Case("TriboComplaintsRising", "seldom", some(*ABOUT, seldom(3, 18)), "70h", 0),  # 8 a day
    Case("TriboQueueGrowing", "quiet", {QUEUE: f"20x{THREE_DAYS} 20+1x12"}, "73h", 0),  # as always
    Case("TriboSourceSilent", "fires", {HEARD: f"0+600x{THREE_DAYS} 259200x60"} | CLOCK_10, "74h", 1),
    Case("TriboSourceSilent", "quiet", {HEARD: f"0+600x{THREE_DAYS + 60}"} | CLOCK_10, "74h", 0),
    # every night from 18:00 to 06:00 nothing comes; on the third evening neither
    Case("TriboSourceSilent", "quiet", {HEARD: " ".join(f"{day * 86400 + 21600}+600x72 {day * 86400 + 64800}x71" for day in range(4))}
         | CLOCK_10, "70h", 0),
    Case("TriboSourceSilent", "missing", CLOCK_10, "74h", 0),
    Case("TriboSourceSilent", "seldom", {HEARD: " ".join(f"{step * 2400}x3" for step in range(120))} | CLOCK_10, "70h", 0),
]  # fmt: skip
