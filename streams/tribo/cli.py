"""The command line. Exit status: 0 done, 1 something was found wrong in what was checked, 2 bad usage or configuration."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tribo_schemas.config import BadConfig

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
    plain_customers: Annotated[bool, typer.Option("--plain-customers", help="write customers as they are, not as pseudonyms")] = False,
) -> None:
    """Measure files in one go: journeys, findings, standards, rejects and a summary."""
    began = time.perf_counter()
    from tribo.measure.standards import compile_standards
    from tribo.pseudonym import key_of_environment
    from tribo.run.inputs import reading
    from tribo.run.measure import measure as run
    from tribo_schemas.event import instant

    now = None
    if until is not None:
        try:
            now = instant(until)
        except ValueError as error:
            raise BadConfig(f"--until: {error}") from None
    rules = None
    if standards is not None:
        from tribo_schemas.standard import load_standards

        rules = load_standards(standards)
    summary = run(
        reading(inputs, source), compile_standards(rules), now, out, None if plain_customers else key_of_environment(), began
    )
    events = summary["events"]
    sys.stderr.write(
        f"{summary['records']} records, {events['applied']} events applied, {summary['rejected']} rejected: "
        f"{summary['journeys']} journeys, {sum(summary['findings'].values())} findings in {out}\n"
    )
    if summary["rejected"]:
        sys.stderr.write(f"what was rejected, and why: {out / 'rejects.jsonl'}\n")


def main() -> None:
    """Run the command line; what the operator must mend is said in a sentence, with exit status 2."""
    try:
        app()
    except BadConfig as error:
        sys.stderr.write(f"tribo: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
