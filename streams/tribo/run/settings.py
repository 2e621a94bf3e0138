"""What `tribo run` is told: a YAML file, and TRIBO_* in the environment, which goes before it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tribo_schemas.config import BadConfig, read_yaml, validate

PREFIX = "TRIBO_"


class Follow(BaseModel):
    """A file that grows, or a folder of such files (.jsonl), and the mapping that reads it; without one, canonical events."""

    model_config = ConfigDict(extra="forbid")
    path: Path
    source: str | None = None


class Settings(BaseModel):
    """Settings of the embedded run. Environment: TRIBO_ and the name in capitals, e.g. TRIBO_PORT; `follow` there is paths with `:`."""

    model_config = ConfigDict(extra="forbid")
    data: Path = Path("tribo-data")
    """The folder of the ledger."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8321
    token: Annotated[str, Field(min_length=16)] | None = None
    """What a request must bear (`Authorization: Bearer …`); without one only this machine is served."""
    standards: Path | None = None
    follow: list[Follow] = []
    stdin: bool = False
    raw_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """How long records are kept as they came; 0: not at all."""
    rejects_days: Annotated[int, Field(ge=1, le=3650)] = 14
    queue_events: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """How many events may wait for the ledger before senders are told to come again."""
    batch_events: Annotated[int, Field(ge=1, le=100_000)] = 5_000


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file (or none) and the environment. Raises BadConfig with a line for each thing that is wrong."""
    settings = Settings() if path is None else validate(Settings, read_yaml(path))
    said: dict[str, object] = {}
    for name, text in (os.environ if environment is None else environment).items():
        field = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and field in Settings.model_fields:
            said[field] = [{"path": part} for part in text.split(":") if part] if field == "follow" else text
    if said:
        try:
            settings = Settings.model_validate(settings.model_dump(exclude_unset=True) | said)
        except ValidationError as error:
            raise BadConfig("\n".join(
                f"{PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}" for problem in error.errors()
            )) from None  # fmt: skip
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
