"""Servers as fixtures. A skipped test is said loudly; in continuous integration it is a failure."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from broker import ELSEWHERE, Broker, broker, fetch_jars
from servers import PostgresServer, postgres_database, postgres_program

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server, without a database: TRIBO_TEST_POSTGRES, or one started for this session."""
    named = os.environ.get("TRIBO_TEST_POSTGRES")
    if named:
        yield named.rstrip("/")
        return
    if postgres_program("initdb") is None:
        pytest.skip("PostgreSQL is missing: install the package `postgresql`, or name a server in TRIBO_TEST_POSTGRES")
    server = PostgresServer()
    try:
        yield server.address
    finally:
        server.close()


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, this test's own."""
    with postgres_database(postgres_server, f"tribo_test_{os.getpid()}_{next(_numbers)}") as url:
        yield url


@pytest.fixture(scope="session")
def own_broker() -> Iterator[Broker]:
    """A Kafka that the test may stop and kill."""
    wrong = fetch_jars()
    if wrong is not None:
        pytest.skip(f"no Kafka: {wrong}")
    with broker() as own:
        yield own


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """The address of a Kafka: TRIBO_TEST_KAFKA, or one started for this session."""
    named = os.environ.get(ELSEWHERE)
    return named if named else str(request.getfixturevalue("own_broker").address)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("NOT TESTED", sep="*", yellow=True, bold=True)
        for report in skipped:
            terminalreporter.line(f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
