"""A real Kafka for the tests: a Java process of its own, in KRaft mode, on free ports, in a folder that goes with it.

The jars come from Maven Central once, into `.cache/`. `TRIBO_TEST_KAFKA=host:port` names a broker to use instead where
none is stopped or killed.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

VERSION = "4.1.0"
JARS = Path(__file__).resolve().parents[1] / ".cache" / f"kafka-{VERSION}"
ELSEWHERE = "TRIBO_TEST_KAFKA"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>tribo</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=1500
"""
START_SECONDS = 60.0


def fetch_jars() -> str | None:
    """Have Kafka's jars; returns why that can't be, or None."""
    if (JARS / "done").exists():
        return None
    for program in ("java", "mvn"):
        if not shutil.which(program):
            return f"{program} is missing (packages `default-jre-headless` and `maven`)"
    JARS.mkdir(parents=True, exist_ok=True)
    (JARS / "pom.xml").write_text(POM)
    command = ["mvn", "-q", "-B", "-f", str(JARS / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
    fetched = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if fetched.returncode:
        return f"Kafka's jars could not be fetched: {(fetched.stdout + fetched.stderr)[-300:]}"
    (JARS / "done").touch()
    return None


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Broker:
    """One broker; `address` stays the same when it is restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "server.properties").write_text(PROPERTIES.format(port=self.port, controller=free_port(), folder=folder))
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "0", 1)
        subprocess.run(
            self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(folder / "server.properties")),
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    @staticmethod
    def _java(*arguments: str) -> list[str]:
        return ["java", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", *arguments]

    def start(self) -> None:
        """Start, and return when it answers."""
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(self._java("kafka.Kafka", str(self.folder / "server.properties")), stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while not answers(self.address):
            if time.monotonic() > until or self.process.poll() is not None:
                raise AssertionError(f"the broker does not start:\n{(self.folder / 'broker.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End as in a power cut of the process."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def answers(address: str) -> bool:
    """Whether a broker there answers what topics it has."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 0.5).close()
        admin = KafkaAdminClient(bootstrap_servers=address, request_timeout_ms=3000)
    except (OSError, KafkaError):
        return False
    try:
        admin.list_topics()
    except KafkaError:
        return False
    finally:
        admin.close()
    return True


@contextmanager
def broker() -> Iterator[Broker]:
    """A broker of one's own while the block runs."""
    with TemporaryDirectory(prefix="tribo-kafka-") as folder:
        own = Broker(Path(folder))
        try:
            own.start()
            yield own
        finally:
            own.kill()
