"""Real servers for the tests: installed from Debian where that may be done, said loudly where they are missing.

`python tests/servers.py` installs: Prometheus and Alertmanager, whose tools check what /metrics and the rules say, npm for AsyncAPI's parser,
PostgreSQL, Chromium, and Java with Maven, by which Kafka is fetched (broker.py). Tests start what they need through the fixtures in conftest.py, on free ports, and end it. TRIBO_TEST_POSTGRES names a server to
use instead (postgresql://…, a role that may create databases).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from broker import fetch_jars, free_port

READY_WITHIN_SECONDS = 60
ASYNCAPI = Path(__file__).parent.parent / ".cache" / "asyncapi"
"""Where AsyncAPI's own parser is kept."""
PARSER = "@asyncapi/parser@3.6.6"
CHECK = """
import { Parser, fromFile } from '@asyncapi/parser'
const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse()
const wrong = diagnostics.filter(one => one.severity < 2)
for (const one of wrong) console.log(one.code, one.path.join('.'), one.message)
if (document) console.log(`valid ${document.version()}, ${document.operations().all().length} operations`)
process.exit(document && !wrong.length ? 0 : 1)
"""


def install_asyncapi() -> str | None:
    """Have the AsyncAPI parser at hand; why it isn't, or None."""
    if not (ASYNCAPI / "node_modules" / "@asyncapi" / "parser" / "package.json").exists():
        if shutil.which("npm") is None:
            return "install the package `npm`"
        ASYNCAPI.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(ASYNCAPI), "--no-audit", "--no-fund", "--silent", "--ignore-scripts", PARSER]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            return f"npm can't install it ({type(error).__name__})"
    (ASYNCAPI / "check.mjs").write_text(CHECK)
    return None


def postgres_program(name: str) -> str | None:
    """Where one of PostgreSQL's server programs is; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]) if path.parts[4].isdigit() else 0)
    return str(found[-1]) if found else shutil.which(name)


NEEDED = {
    "promtool": ("prometheus", shutil.which), "amtool": ("prometheus-alertmanager", shutil.which),
    "initdb": ("postgresql", postgres_program),
    "chromium": ("chromium", shutil.which),
    "java": ("default-jre-headless", shutil.which), "mvn": ("maven", shutil.which), "npm": ("npm", shutil.which),
}  # fmt: skip


class PostgresServer:
    """A cluster of its own in a temporary folder, ended with `close`. What is committed survives kill -9 but not a power cut, unless `durable`."""

    def __init__(self, durable: bool = False, settings: tuple[str, ...] = ()) -> None:
        programs = {name: postgres_program(name) for name in ("initdb", "postgres")}
        missing = [name for name, path in programs.items() if path is None]
        if missing:
            raise FileNotFoundError(f"PostgreSQL's {missing[0]} is missing: install the package `postgresql`")
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": ()} if os.geteuid() == 0 else {}
        self._postgres = str(programs["postgres"])
        self.folder = Path(tempfile.mkdtemp(prefix="tribo-postgres-", dir="/tmp"))
        if self._user:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.port = free_port()
        self.address = f"postgresql://tribo@127.0.0.1:{self.port}"
        self._settings = [*settings, *(() if durable else ("fsync=off", "full_page_writes=off"))]
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [str(programs["initdb"]), "-D", str(self.folder / "cluster"), "-U", "tribo", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **self._user,
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = (
            f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "max_connections=200",
            "shared_buffers=256MB", *self._settings,
        )  # fmt: skip
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._postgres, "-D", str(self.folder / "cluster"), *(part for option in options for part in ("-c", option))],
                stdout=output, stderr=output, cwd="/", **self._user,
            )  # fmt: skip
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(f"{self.address}/postgres", connect_timeout=5).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, hard: bool = False) -> None:
        """Stop: `hard` as a crash would (its sessions and its memory are gone at once), otherwise after closing its sessions."""
        if self._process is not None:
            self._process.send_signal(3 if hard else 2)  # SIGQUIT: immediate shutdown; SIGINT: fast
            self._process.wait(READY_WITHIN_SECONDS)
            self._process = None

    def close(self) -> None:
        """Stop, and remove the folder."""
        self.stop(hard=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def postgres_database(address: str, name: str) -> Iterator[str]:
    """An empty database on a server, as a URL; dropped at the end, whoever is still connected."""
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f"""CREATE DATABASE "{name}" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'""")
    try:
        yield f"{address}/{name}"
    finally:
        with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def main() -> None:
    """Install what is missing where that may be done; say what is missing where it may not."""
    missing = [package for program, (package, find) in NEEDED.items() if not find(program)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=subprocess.DEVNULL, env=environment)
        # --no-install-recommends: the program, not a service that starts with the machine
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=environment)
    for program, (package, find) in NEEDED.items():
        if not find(program):
            print(f"*** {program} is missing: its tests will be skipped. Install the package `{package}`. ***", file=sys.stderr)
    wrong = install_asyncapi()
    if wrong is not None:
        print(f"*** no AsyncAPI parser: {wrong}. Its test will be skipped. ***", file=sys.stderr)
    wrong = fetch_jars()
    if wrong is not None:
        print(f"*** no Kafka: {wrong}. Its tests will be skipped. ***", file=sys.stderr)


if __name__ == "__main__":
    main()
