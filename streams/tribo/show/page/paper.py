"""The report on paper: HTML, Markdown or CSV, from the command line as from the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tribo.ledger.database import Where
from tribo.ledger.reader import Reader
from tribo.measure.queues import WITHIN_SECONDS
from tribo.measure.standards import Standards, compile_standards
from tribo.show.page import looks
from tribo.show.report import Report, as_csv, as_markdown, report_of, week
from tribo_schemas.config import BadConfig, parse_yaml
from tribo_schemas.event import stamp
from tribo_schemas.standard import load_standards, standards_of

DAY = 86_400_000
HERE = Path(__file__).parent
FORMS = ("markdown", "csv", "html")


def values_of(report: Report) -> dict[str, Any]:
    """What the report's template shows: the report, the weeks beside it, and where its journeys are listed."""
    return {
        "report": report, "before": week(None, report.since + 1)[0], "after": week(None, report.until + 7 * DAY)[0],
        "within_seconds": WITHIN_SECONDS, "link": f"/journeys?from={stamp(report.since)}&to={stamp(report.until)}",
    }  # fmt: skip


def as_html(report: Report) -> str:
    """One page that stands by itself, with its style in it, for a printer or an attachment."""
    style = (HERE / "static" / "tribo.css").read_text("utf-8")
    templates = looks.environment()
    templates.globals["shown"] = str
    return templates.get_template("paper.html").render(here="", now=0, style=style, **values_of(report))


def write_report(where: Where, name: str | None, standards: Path | None, form: str, now: int) -> str:
    """The report of a week as text. `name`: such as 2026-W10, or None for the last whole week before `now`. Raises BadConfig."""
    if form not in FORMS:
        raise BadConfig(f"--form: {form!r}: write one of {', '.join(FORMS)}")
    with Reader(where) as reader, reader.db.snapshot():
        rules = compile_standards(load_standards(standards)) if standards is not None else _remembered(reader)
        report = report_of(reader, rules, *week(name, now))
    return {"markdown": as_markdown, "csv": as_csv, "html": as_html}[form](report)


def _remembered(reader: Reader) -> Standards:
    """The standards that the ledger was last run with."""
    texts = reader.standards()
    return compile_standards(standards_of(parse_yaml(texts[-1].encode(), "the ledger's standards")) if texts and texts[-1] else None)
