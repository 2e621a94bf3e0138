"""The command line. Exit status: 0 done, 1 something was found wrong in what was checked, 2 bad usage or configuration."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tribo_schemas.config import BadConfig

LEDGER = "the ledger: a folder, or a postgresql:// URL (better in TRIBO_DATA than on the command line, if it holds a password)"

app = typer.Typer(
    name="tribo",
    help="Measures the friction that customers feel: handoffs, waits and broken promises, from events.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _tribo() -> None:
    """Measures the friction that customers feel: handoffs, waits and broken promises, from events."""


@app.command()
def measure(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=".jsonl, .json, .csv, any of them .gz, or - (standard input)")],
    out: Annotated[Path, typer.Option(help="the folder for the five files; made if it isn't there")],
    source: Annotated[str | None, typer.Option(help="a mapping: its name or its file; without, the input is canonical events")] = None,
    standards: Annotated[Path | None, typer.Option(help="the standards file")] = None,
    until: Annotated[str | None, typer.Option(help="where the clock ends, RFC 3339; default: the time of the last event")] = None,
    plain_customers: Annotated[bool, typer.Option("--plain-customers", help="no pseudonyms: customers as they are")] = False,
) -> None:
    """Measure files in one go: journeys, findings, standards, rejects and a summary."""
    began = time.perf_counter()
    from tribo.measure.standards import compile_standards
    from tribo.pseudonym import key_of_environment
    from tribo.run.inputs import reading
    from tribo.run.measure import measure as run

    now = _instant("--until", until)
    rules = None
    if standards is not None:
        from tribo_schemas.standard import load_standards

        rules = load_standards(standards)
    mapping = None
    if source is not None:
        from tribo.wire.mapping import Mapping

        mapping = Mapping.load(source)
    key = None if plain_customers else key_of_environment()
    personal = () if mapping is None else mapping.personal
    summary = run(reading(inputs, mapping), compile_standards(rules), now, out, key, began, personal)
    events = summary["events"]
    sys.stderr.write(
        f"{summary['records']} records, {events['applied']} events applied, {summary['rejected']} rejected: "
        f"{summary['journeys']} journeys, {sum(summary['findings'].values())} findings in {out}\n"
    )
    if summary["rejected"]:
        sys.stderr.write(f"what was rejected, and why: {out / 'rejects.jsonl'}\n")


@app.command()
def run(
    settings: Annotated[Path | None, typer.Option(help="a settings file (YAML); TRIBO_* in the environment goes before it")] = None,
) -> None:
    """Run: take events over HTTP and from files, keep the ledger, show the page and /metrics."""
    from tribo.run.embedded import run_embedded
    from tribo.run.settings import load_settings

    raise typer.Exit(run_embedded(load_settings(settings)))


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="another seed, another company")] = 7,
    days_per_second: Annotated[float, typer.Option(help="how fast its time passes", min=0.01, max=5.0)] = 1.0,
    port: Annotated[int, typer.Option(help="the page's port; 0: any that is free")] = 8321,
    seconds: Annotated[float | None, typer.Option(help="end after so many seconds; default: when interrupted")] = None,
    data: Annotated[Path | None, typer.Option(help="keep the ledger in this folder")] = None,
    publish: Annotated[Path | None, typer.Option(help="settings of the distributed form: publish to its topics instead")] = None,
) -> None:
    """Watch an invented company in fast time: a shop, a carrier, billing, returns, a service desk, and what goes wrong there."""
    from rich.console import Console

    from tribo.run.demo import demo as watch
    from tribo.run.distributed.settings import load_distributed

    if publish is not None:
        from tribo.run.distributed.workers import run_company

        raise typer.Exit(run_company(load_distributed(publish), seed))
    raise typer.Exit(watch(seed, days_per_second, port, seconds, data, Console()))


@app.command("import")
def import_(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="as for `tribo measure`")],
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
    source: Annotated[str | None, typer.Option(help="a mapping: its name or its file")] = None,
    standards: Annotated[Path | None, typer.Option(help="the standards file")] = None,
    until: Annotated[str | None, typer.Option(help="where the clock ends, RFC 3339")] = None,
) -> None:
    """Bring history into the ledger: measured at event time, marked historical, and paging nobody."""
    from tribo.run.importing import import_files

    summary = import_files(data, inputs, source, standards, _instant("--until", until))
    sys.stderr.write(f"{summary['records']} records, {summary['histories']} histories folded: {summary['outcomes']}\n")


@app.command()
def explain(
    item: Annotated[str, typer.Argument(help="an item, kind:id, such as order:1001")],
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
    settings: Annotated[Path | None, typer.Option(help="the settings file, whose mappings say which items name a person")] = None,
) -> None:
    """Tell the story of the journey that an item belongs to, with the evidence of each finding."""
    from tribo.ledger.reader import Reader
    from tribo.run.settings import load_settings
    from tribo.show.explain import explain as story
    from tribo.wire.mapping import Mapping

    personal = {kind for name in load_settings(settings).mappings() for kind in Mapping.load(name).personal}
    with Reader(data) as reader:
        lines = story(reader, item, personal)
    if not lines:
        sys.stderr.write(f"tribo: {item}: nobody has told of this item; write kind:id, as the events do\n")
        raise typer.Exit(1)
    sys.stdout.write("\n".join(lines) + "\n")


rejecting = typer.Typer(
    help="List the records that were rejected, newest first, a JSON object a line: the reason, the record as it came, the mapping's line.",
    pretty_exceptions_enable=False,
)
app.add_typer(rejecting, name="rejects", invoke_without_command=True)


@rejecting.callback(invoke_without_command=True)
def rejects(
    context: typer.Context,
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
    source: Annotated[str | None, typer.Option(help="only this source's")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    count: Annotated[bool, typer.Option("--count", help="how many, by source and reason")] = False,
) -> None:
    """List the records that were rejected, newest first, a JSON object a line: the reason, the record as it came, the mapping's line."""
    import json

    from tribo.run.rejects import count_rejects, counted, list_rejects

    if context.invoked_subcommand is not None:
        return
    if count:
        sys.stdout.write("\n".join(counted(count_rejects(data, source))) + "\n")
        return
    for row in list_rejects(data, limit, source):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


@rejecting.command("replay")
def rejects_replay(
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
    source: Annotated[str | None, typer.Option(help="only this source's")] = None,
    mapping: Annotated[list[str] | None, typer.Option(help="a corrected mapping; default: as the ledger last knew it")] = None,
    standards: Annotated[Path | None, typer.Option(help="the standards file; default: as the ledger knows it")] = None,
    address: Annotated[str | None, typer.Option(help="ask the `tribo run` there, which has the ledger, with TRIBO_TOKEN")] = None,
) -> None:
    """Read the rejected records again, once the mapping is corrected: what is an event now comes in and leaves the rejects."""
    import os

    from tribo.run.rejects import replay, replay_at, told

    if address is not None:
        done = replay_at(address, os.environ.get("TRIBO_TOKEN"), source)
    else:
        done = replay(data, source, mapping or (), standards)
    sys.stdout.write("\n".join(told(done)) + "\n")


@app.command()
def report(
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
    week: Annotated[str | None, typer.Option(help="a week, such as 2026-W10; default: the last whole one")] = None,
    standards: Annotated[Path | None, typer.Option(help="the standards file; default: the one the ledger was last run with")] = None,
    form: Annotated[str, typer.Option(help="markdown, csv or html")] = "markdown",
    out: Annotated[Path | None, typer.Option(help="a file; default: standard output")] = None,
) -> None:
    """Write the report of a week: complaints beside praise, the best and the worst, every standard's gap, recovery, repeat purchase."""
    from tribo.show.page.paper import write_report

    text = write_report(data, week, standards, form, time.time_ns() // 1_000_000)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, "utf-8", newline="")


@app.command()
def remap(
    source: Annotated[str, typer.Argument(help="the corrected mapping: its name or its file")],
    since: Annotated[str, typer.Option("--from", help="raw records received at this instant or later, RFC 3339")],
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say how much would change, and change nothing")] = False,
    standards: Annotated[Path | None, typer.Option(help="the standards file; default: as the ledger knows it")] = None,
) -> None:
    """Map the raw records kept anew: what the corrected mapping no longer gives is retracted, what it gives comes in."""
    from tribo.run.remap import remap as anew
    from tribo.run.remap import told

    done = anew(data, source, _instant("--from", since) or 0, dry=dry_run, standards=standards)
    sys.stdout.write("\n".join(told(done, dry_run)) + "\n")


@app.command()
def refold(
    item: Annotated[str | None, typer.Argument(help="an item; default: the histories that were set aside")] = None,
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
    standards: Annotated[Path | None, typer.Option(help="the standards file")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="fold every history anew")] = False,
) -> None:
    """Fold histories anew from their events, such as those set aside when a fault is mended."""
    from tribo.run.importing import refold as again

    folded, crashing = again(data, item, standards, everything)
    sys.stderr.write(f"{folded} histories folded anew, {crashing} of them still can't be\n")
    raise typer.Exit(1 if crashing else 0)


@app.command()
def erase(
    customer: Annotated[str, typer.Argument(help="the customer's id, as events say it")],
    data: Annotated[str, typer.Option(envvar="TRIBO_DATA", help=LEDGER)] = "tribo-data",
) -> None:
    """Erase a customer from the ledger: items, events, findings, raw records and rejects. Totals stay; a replay doesn't bring them back."""
    from tribo.run.erasing import erase as forget

    erased = forget(data, customer)
    went = f"{erased.events} events, {erased.journeys} journeys, {erased.raw} raw records, {erased.rejects} rejects erased"
    sys.stderr.write(f"{went}; docs/privacy.md says what this can't reach\n")
    if not erased.shredded:
        sys.stderr.write("tribo: somebody reads the ledger just now, and its files may still hold bytes of it: run this again\n")
        raise typer.Exit(1)


@app.command()
def check(
    records: Annotated[
        list[str] | None, typer.Argument(metavar="[RECORDS...]", help="records (.jsonl, .json, .csv, -) to try the one --source on")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="a settings file")] = None,
    standards: Annotated[Path | None, typer.Option(help="a standards file; default: the settings'")] = None,
    source: Annotated[list[str] | None, typer.Option(help="a mapping; default: the settings', else those that come with Tribo")] = None,
) -> None:
    """Check a whole configuration (settings, standards, calendars, mappings, examples), or try a mapping on real RECORDS."""
    from rich.console import Console

    from tribo.run.check import check_configuration, dry_run, show_checked, show_dry_run
    from tribo.wire.mapping import Mapping

    console = Console()
    if records:
        if source is None or len(source) != 1:
            raise BadConfig("check: name the one mapping to try on the records: --source FILE")
        mapping = Mapping.load(source[0])
        found = dry_run(mapping, records)
        show_dry_run(found, mapping, console)
        raise typer.Exit(1 if found.rejected else 0)
    checked = check_configuration(settings, standards, source or [])
    show_checked(checked, console)
    raise typer.Exit(checked.status)


@app.command()
def new_source(
    records: Annotated[list[str], typer.Argument(metavar="RECORDS...", help="a sample: .jsonl, .json, .csv, or -")],
    name: Annotated[str | None, typer.Option(help="what the source is called; default: the file's name")] = None,
    zone: Annotated[str | None, typer.Option(help="the zone of times that carry none, such as Europe/Vienna")] = None,
    out: Annotated[Path | None, typer.Option(help="write the draft into this file; default: print it")] = None,
) -> None:
    """Draft a mapping from a sample of records, with what each guess rests on: to be finished by hand."""
    from tribo.wire.draft import draft, save

    called = name or (out.stem if out is not None else Path(records[0]).name.partition(".")[0] or "source")
    made = draft(records, called, zone)
    if out is None:
        sys.stdout.write(made.text)
    else:
        save(made, out)
    for line in made.left:
        sys.stderr.write(f"left to do: {line}\n")
    sys.stderr.write(f"next: tribo check --source {out or called + '.yaml'} {' '.join(records)}\n")


@app.command()
def schemas(out: Annotated[Path, typer.Option(help="the folder for the files")] = Path("schemas/json")) -> None:
    """Write what Tribo takes and gives as JSON Schema (editors complete YAML from it) and AsyncAPI."""
    from tribo.run.contracts import write_schemas

    for path in write_schemas(out):
        sys.stdout.write(f"{path}\n")


@app.command()
def rules(
    out: Annotated[str, typer.Option(help="the folder for tribo-rules.yml, or - (standard output)")],
    standards: Annotated[Path | None, typer.Option(help="the standards file; without, only what needs none")] = None,
    alertmanager: Annotated[Path | None, typer.Option(help="write an Alertmanager configuration that fits to this file")] = None,
    page: Annotated[str, typer.Option(help="where the page is, for links")] = "http://127.0.0.1:8321",
    grafana: Annotated[str, typer.Option(help="where Grafana is, for links")] = "http://127.0.0.1:3000",
    runbooks: Annotated[str | None, typer.Option(help="where the runbooks are, for links; default: the page's")] = None,
    job: Annotated[str, typer.Option(help="the name of Tribo's job in Prometheus")] = "tribo",
    factors: Annotated[str | None, typer.Option(help="four burn-rate factors, such as 14.4,6,3,1; default: by each objective")] = None,
    least: Annotated[int, typer.Option(min=1, help="occasions in a window, below which it says nothing")] = 20,
    notify: Annotated[str, typer.Option(help="a webhook, {receiver} in it for who is told")] = "http://127.0.0.1:9095/{receiver}",
    watchdog: Annotated[str, typer.Option(help="the webhook outside that raises when the watchdog stops")] = "http://127.0.0.1:9096/",
    faster: Annotated[float, typer.Option(min=1, help="divide every window and every `for`, for tests")] = 1.0,
) -> None:
    """Write Prometheus recording and alerting rules from the standards file."""
    from tribo.show.rules import Options, write_rules

    page = page.rstrip("/")
    runbooks = (runbooks or f"{page}/runbooks").rstrip("/")
    options = Options(page, grafana.rstrip("/"), runbooks, job, _factors(factors), least, faster)
    text = write_rules(standards, options)
    if out == "-":
        sys.stdout.write(text)
    else:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / "tribo-rules.yml").write_text(text)
    if alertmanager is not None:
        from tribo.show.routing import write_routing

        alertmanager.parent.mkdir(parents=True, exist_ok=True)
        alertmanager.write_text(write_routing(standards, notify, watchdog, faster))


@app.command()
def dashboards(
    out: Annotated[Path, typer.Option(help="the folder for the JSON files")],
    standards: Annotated[Path | None, typer.Option(help="the standards file: its targets are the thresholds")] = None,
    page: Annotated[str, typer.Option(help="where the page is, for links")] = "http://127.0.0.1:8321",
) -> None:
    """Write Grafana dashboards: customers today, promises, handoffs and waits, on call, pipeline."""
    from tribo.show.dashboards import write_dashboards

    for path in write_dashboards(standards, out, page.rstrip("/")):
        sys.stdout.write(f"{path}\n")


def _factors(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != 4 or not all(1 <= factor < 10_000 for factor in found):
        raise BadConfig(f"--factors: {text!r}: write four numbers of 1 or more, such as 14.4,6,3,1") from None
    return found


worker = typer.Typer(help="A worker of the distributed form.", no_args_is_help=True)
app.add_typer(worker, name="worker")
SETTINGS = typer.Option(help="a settings file (YAML) of the distributed form; TRIBO_* in the environment goes before it")


@worker.command()
def wire(settings: Annotated[Path | None, SETTINGS] = None) -> None:
    """Read source topics and take events over HTTP; publish to tribo.events."""
    from tribo.run.distributed.settings import load_distributed
    from tribo.run.distributed.workers import run_wire

    raise typer.Exit(run_wire(load_distributed(settings)))


@worker.command("measure")
def measure_(settings: Annotated[Path | None, SETTINGS] = None) -> None:
    """Fold tribo.events into the ledger, let deadlines fire, and publish what was found."""
    from tribo.run.distributed.settings import load_distributed
    from tribo.run.distributed.workers import run_measure

    raise typer.Exit(run_measure(load_distributed(settings)))


@app.command()
def serve(settings: Annotated[Path | None, SETTINGS] = None) -> None:
    """Serve the page and /metrics from the ledger of the distributed form."""
    from tribo.run.distributed.settings import load_distributed
    from tribo.run.distributed.workers import run_serve

    raise typer.Exit(run_serve(load_distributed(settings)))


@app.command()
def topics(
    settings: Annotated[Path | None, SETTINGS] = None,
    check_only: Annotated[bool, typer.Option("--check", help="make nothing, only say what is missing or differs")] = False,
) -> None:
    """Make the topics that the settings want, and say what differs from them."""
    from tribo.run.distributed.settings import load_distributed
    from tribo.run.distributed.topics import make_topics

    made, differences = make_topics(load_distributed(settings), check_only)
    for name in made:
        sys.stderr.write(f"{name}: made\n")
    for line in differences:
        sys.stdout.write(line + "\n")
    if differences:
        raise typer.Exit(1)
    sys.stderr.write("all topics are as they should be\n")


def _instant(option: str, text: str | None) -> int | None:
    from tribo_schemas.event import instant

    try:
        return None if text is None else instant(text)
    except ValueError as error:
        raise BadConfig(f"{option}: {error}") from None


def main() -> None:
    """Run the command line; what the operator must mend is said in a sentence, with exit status 2."""
    try:
        app()
    except BadConfig as error:
        sys.stderr.write(f"tribo: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
