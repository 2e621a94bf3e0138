"""docker-compose.yml and the Dockerfile, as far as they can be checked without containers."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tribo.run.distributed.company_feed import topic_of
from tribo.run.distributed.settings import Distributed, load_distributed
from tribo.wire.mapping import Mapping

TOP = Path(__file__).resolve().parents[1]
COMPOSE = TOP / "docker-compose.yml"
FIXED = re.compile(r"^[\w./-]+:v?\d+\.\d+(\.\d+)?(-[\w.-]+)?$")
PUBLISHED = {"serve": "127.0.0.1:8321:8322", "grafana": "127.0.0.1:3000:3000"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text()))


def services(compose: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(compose["services"].items())


def test_it_follows_the_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_everything_that_the_distributed_form_needs_is_there(compose: dict[str, Any]) -> None:
    names = set(compose["services"])
    assert names == {"kafka", "postgres", "topics", "wire", "measure", "serve", "company", "prometheus", "alertmanager", "grafana"}
    assert [compose["services"][name]["deploy"]["replicas"] for name in ("wire", "measure")] == [2, 2]


def test_versions_are_fixed_and_nothing_runs_as_root(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        assert FIXED.match(service["image"]), name
        assert str(service.get("user", "root")).split(":")[0] not in ("root", "0"), name
        assert not service.get("privileged") and "network_mode" not in service, name


def test_only_the_page_and_grafana_are_published_on_loopback(compose: dict[str, Any]) -> None:
    assert {name: service["ports"] for name, service in services(compose) if "ports" in service} == {
        name: [port] for name, port in PUBLISHED.items()
    }


def test_what_others_wait_for_says_when_it_is_ready(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        waits = service.get("depends_on", {})
        for other, how in waits.items() if isinstance(waits, dict) else ():
            if how["condition"] == "service_healthy":
                assert "test" in compose["services"][other]["healthcheck"], (name, other)
    probe = compose["services"]["measure"]["healthcheck"]["test"]
    compile(probe[-1], "health check", "exec")
    assert f":{compose['services']['measure']['environment']['TRIBO_PORT']}/readyz" in probe[-1]


def test_what_is_mounted_is_there_and_every_volume_is_declared(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        for mount in service.get("volumes", ()):
            place = mount.split(":")[0]
            if place.startswith("./"):
                if place.startswith("./deploy/grafana") and not (TOP / "deploy/grafana").exists():
                    continue
                assert (TOP / place).exists(), (name, mount)
                assert mount.endswith(":ro"), (name, mount)
            else:
                assert place in compose["volumes"], (name, mount)


def test_the_settings_in_it_are_settings(compose: dict[str, Any]) -> None:
    environment = dict(compose["services"]["wire"]["environment"]) | {"TRIBO_TOKEN": "x" * 16}
    settings = load_distributed(TOP / "deploy/kafka/tribo.yaml", environment)
    assert (settings.kafka, settings.host, settings.port) == ("kafka:9092", "0.0.0.0", 8322)
    assert [Mapping.load(entry.mapping) for entry in settings.topics if entry.mapping is not None] == []
    assert topic_of("carrier", settings) == "company.carrier"
    assert topic_of("carrier", Distributed(topics=[{"topic": "all"}])) == "all"
    scraped = yaml.safe_load((TOP / "deploy/prometheus/compose.yml").read_text())
    jobs = {job["job_name"]: job for job in scraped["scrape_configs"]}
    assert jobs["tribo"]["static_configs"][0]["targets"] == ["serve:8322"]
    assert set(jobs["tribo-workers"]["dns_sd_configs"][0]["names"]) <= set(compose["services"])
    assert jobs["tribo"]["authorization"]["credentials_file"] == "/run/secrets/tribo_token"


def test_the_commands_in_it_are_commands(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        if service["image"].startswith("tribo:"):
            words = [word for word in service["command"] if not word.startswith("/")]
            asked = subprocess.run(
                [sys.executable, "-m", "tribo", *[word for word in words if not word.startswith("--")], "--help"],
                capture_output=True, text=True, check=False, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "TERM": "dumb"},
            )  # fmt: skip
            assert asked.returncode == 0, (name, asked.stderr)
            for word in words:
                if word.startswith("--"):
                    assert word in asked.stdout, (name, word)


def test_the_dockerfile_is_plain() -> None:
    lines = [line for line in (TOP / "deploy/Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    said = [line.split(maxsplit=1) for line in lines]
    images = [rest for word, rest in said if word == "FROM"]
    assert len(images) == 1 and FIXED.match(images[0])
    assert {word for word, _ in said} <= {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT"}
    users = [rest for word, rest in said if word == "USER"]
    assert users and users[-1].split(":")[0].isdigit() and users[-1].split(":")[0] != "0"
    assert [word for word, _ in said].index("ENTRYPOINT") > [word for word, _ in said].index("USER")
    for word, rest in said:
        if word == "COPY":
            for place in shlex.split(rest)[:-1]:
                assert (TOP / place).exists(), place
        if word == "RUN" and "pip install" in rest:
            assert "--no-cache-dir" in rest and ("-r requirements.lock" in rest or "--no-deps" in rest), rest
