"""What people write: YAML files, read safely, checked by pydantic, and answered with `file:line: field: what to write instead`."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, MappingStartEvent, ScalarEvent

LARGEST = 256 * 1024
DEEPEST = 20

Model = TypeVar("Model", bound=BaseModel)


class BadConfig(ValueError):
    """A configuration that its operator must mend: the text says where, and what to write instead. The program does not start."""


class Document:
    """A YAML file as plain values, which still knows on which line each of them stands."""

    def __init__(self, name: str, root: Any) -> None:
        self.name = name
        self.root = root

    def line(self, path: tuple[Any, ...]) -> int:
        """The line (from 1) of the deepest part of `path` that the file has."""
        here, line = self.root, 1
        for part in path:
            if isinstance(here, CommentedMap) and part in here:
                line = here.lc.key(part)[0] + 1
            elif isinstance(here, CommentedSeq) and isinstance(part, int) and part < len(here):
                line = here.lc.item(part)[0] + 1
            elif isinstance(here, list) and isinstance(part, int) and part < len(here):  # laid out flat: the parts know their own lines
                line = here[part].lc.line + 1 if hasattr(here[part], "lc") else line
            else:
                continue
            here = here[part]
        return line

    def wrong(self, path: tuple[Any, ...], text: str) -> BadConfig:
        """A complaint about one place."""
        return BadConfig(f"{self.name}:{self.line(path)}: {_dotted(path)}: {text}" if path else f"{self.name}: {text}")


def read_yaml(path: Path | str) -> Document:
    """Read a YAML file. Raises BadConfig: not there, too large, not YAML, an alias, a tag, a key written twice, too deep."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise BadConfig(f"{path}: can't be read ({error.strerror}): name a file that is there") from None
    if len(raw) > LARGEST:
        raise BadConfig(f"{path}: larger than {LARGEST // 1024} KB: split it")
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, name: str) -> Document:
    """Parse YAML. Raises BadConfig as `read_yaml` does."""
    try:
        text = raw.decode("utf-8")
        open_at: list[bool | None] = []  # what is open: a sequence (None), or a mapping (whether a key comes next)
        for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
            line = event.start_mark.line + 1
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
                raise BadConfig(f"{name}:{line}: anchors and aliases (& and *) are not taken: write the value out")
            if getattr(event, "tag", None):
                raise BadConfig(f"{name}:{line}: tags (!) are not taken: write a plain value")
            if isinstance(event, CollectionEndEvent):
                open_at.pop()
            elif isinstance(event, ScalarEvent | CollectionStartEvent):
                if open_at and open_at[-1] is not None:
                    if open_at[-1] and isinstance(event, CollectionStartEvent):
                        raise BadConfig(f"{name}:{line}: a list or a mapping is no key: write a plain word")
                    open_at[-1] = not open_at[-1]
                if isinstance(event, CollectionStartEvent):
                    open_at.append(True if isinstance(event, MappingStartEvent) else None)
            if len(open_at) > DEEPEST:
                raise BadConfig(f"{name}:{line}: nested more than {DEEPEST} deep")
        root = YAML(typ="rt", pure=True).load(io.StringIO(text))
    except UnicodeDecodeError:
        raise BadConfig(f"{name}: not UTF-8: save the file as UTF-8") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        problem = str(error.problem).replace("\n", " ")
        raise BadConfig(f"{name}:{mark.line + 1 if mark else 1}: not YAML: {problem}") from None
    except (YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, BadConfig):
            raise
        raise BadConfig(f"{name}: not YAML: {str(error).splitlines()[0]}") from None
    return Document(name, root)


def validate(model: type[Model], document: Document) -> Model:
    """The document as `model`. Raises BadConfig with a line for each thing that is wrong."""
    try:
        return model.model_validate(_plain(document.root) if document.root is not None else {})
    except ValidationError as error:
        raise BadConfig("\n".join(_complaints(document, model, error))) from None


def _plain(value: Any) -> Any:
    if isinstance(value, CommentedMap):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, bool) or value is None:
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def _complaints(document: Document, model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    told: set[str] = set()
    problems = error.errors()
    deeper = {problem["loc"][:length] for problem in problems for length in range(1, len(problem["loc"]) - 1)}
    for problem in problems:
        path = tuple(problem["loc"])
        if problem["type"] in ("list_type", "string_type", "model_type") and path[:-1] in deeper:
            continue  # another form of the same value came further: its complaint is the one that helps
        text = str(problem["msg"]).removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(path[-1]), sorted(_field_names(model)), n=1)
            text = "isn't known here" + (f": did you mean `{close[0]}`?" if close else ": take it out")
        elif problem["type"] == "missing":
            text = "is missing: add it"
        elif problem["type"] == "too_short":
            text = f"is empty: write {problem['ctx']['min_length']} or more"
        line = f"{document.name}:{document.line(path)}: {_dotted(path) or 'the file'}: {text}"
        if line not in told:
            told.add(line)
            yield line


def _field_names(model: type[BaseModel], seen: set[type] | None = None) -> set[str]:
    """The names of a model's fields and of the models inside it."""
    seen = set() if seen is None else seen
    if model in seen:
        return set()
    seen.add(model)
    names = set()
    for name, info in model.model_fields.items():
        names.add(info.alias or name)
        stack = [info.annotation]
        while stack:
            kind = stack.pop()
            stack.extend(getattr(kind, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names |= _field_names(kind, seen)
    return names


def _dotted(path: tuple[Any, ...]) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (str(part)[:1].isupper() or "[" in str(part)):  # a model's name in a union says nothing to a person
            text += f".{part}" if text else str(part)
    return text
