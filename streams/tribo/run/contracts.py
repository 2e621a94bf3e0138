"""`tribo schemas`: what Tribo takes and gives, published: JSON Schema (draft 7) and an AsyncAPI 3.0 document.

Made from the same types that decode and check, so that they can't say otherwise; what a type can't say (which fields a fact
must carry, say) stands here beside them. The files are committed under schemas/json and compared by a test.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import textwrap
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel
from ruamel.yaml import YAML

from tribo.run.asyncapi import asyncapi
from tribo.run.distributed.settings import Distributed
from tribo.run.settings import Settings
from tribo.wire.rejects import Reject
from tribo_schemas.event import FACTS, TOUCHPOINTS, WrittenEvent
from tribo_schemas.finding import KINDS, Finding
from tribo_schemas.journey import CLOCKS, PROMISE_STATES, STATUSES, JourneyRow
from tribo_schemas.source import BY, OWN, SourceFile
from tribo_schemas.standard import StandardsFile

DRAFT = "http://json-schema.org/draft-07/schema#"
INSTANT = {"type": "string", "format": "date-time"}
ITEM = {"type": "string", "minLength": 3, "maxLength": 200, "pattern": "^[^:]+:[\\s\\S]+$"}
SECONDS = {"type": "number"}
Schema = dict[str, Any]

EVENT = {
    "id": "Names the event within its source: the same id again is a duplicate.",
    "source": "The system that it came from.",
    "time": "When it happened, by the source's clock: RFC 3339 with a zone. What is finer than a millisecond is cut off.",
    "touchpoint": "Where the customer stands.",
    "fact": "What happened to the item.",
    "item": "The one thing that the customer has going on, kind:id, such as order:1001.",
    "customer": "Whose it is; may be learnt from other events of the item, or through `about`.",
    "about": "Items that this one belongs to, such as the order that a case is about.",
    "team": "The holder's team from now on (`assigned`), or the team of who acted.",
    "owner": "The holder from now on (`assigned`), or who acted.",
    "by": "Who acted; human unless said.",
    "channel": "Such as phone, email, chat, web or store.",
    "promise": "The promise's id, unique within the item.",
    "due": "When it is due (`promised`, `informed`): RFC 3339 with a zone.",
    "topic": "What it is about, for top complaints and repeat contacts.",
    "score": "A rating: 0 ≤ score ≤ scale.",
    "scale": "The rating's maximum.",
    "standard": "The standard that a rating speaks of.",
    "retracts": "With `retracted`: the id of the event taken back, of the same source.",
    "sequence": "The source's own order among events of the same time.",
    "synthetic": "A mystery shopper's: measured, and kept out of the business figures.",
}
CARRIES = {
    "promised": ["promise", "due"], "informed": ["promise"], "kept": ["promise"], "rated": ["score", "scale"], "retracted": ["retracts"],
}  # fmt: skip
FINDING = {
    "id": "Names the occasion: evidence may grow and the id stays.",
    "kind": "What was found.",
    "journey": "The journey, by its earliest item.",
    "item": "The item.",
    "touchpoint": "The item's.",
    "at": "When it was so.",
    "evidence": "The events behind it, as source/id.",
    "level": "Of a handoff or ping-pong: team when the team changed, else owner.",
    "from_bot": "Of a handoff: from a bot to a human.",
    "from_team": "Of a handoff: the holder's team before.",
    "from_owner": "Of a handoff: the holder before.",
    "team": "The holder's team at that time; of a handoff, the new one.",
    "owner": "The holder at that time; of a handoff, the new one.",
    "channel": "That of the event it is found at.",
    "topic": "That of the event it is found at, else the item's.",
    "standard": "The standard that was missed, or that implies the promise.",
    "promise": "The promise's id.",
    "clock": "The wait that was missed.",
    "told": "The promise's move was told, without a new due.",
    "source_silent": "The source that could bring the evidence is silent.",
    "customer_seconds": "How long the customer lived through it.",
    "business_seconds": "The same inside the calendar, less pauses.",
    "expected_seconds": "How long it should have been, at most.",
    "points": "Friction, or delight.",
}
IN_THE_LEDGER: Schema = {
    "revision": {"type": "integer", "minimum": 1, "description": "Counts from 1: a finding changes by a new revision, never silently."},
    "status": {"enum": ["found", "withdrawn"], "description": "Whether it stands."},
    "found_at": INSTANT | {"description": "When this revision was found or withdrawn."},
    "historical": {"type": "boolean", "description": "Came with an import: it pages nobody."},
}
JOURNEY = {
    "journey": "Its earliest item.",
    "customer": "A pseudonym unless told otherwise; null: nobody knows.",
    "status": "open, ended, or stale: 90 days without an event.",
    "opened_at": "Its first event.",
    "ended_at": "Its last event, once it has ended.",
    "items": "Its items.",
    "touchpoints": "Where it took place, sorted.",
    "events": "How many events were folded, but for those retracted.",
    "handoffs": "Changes of holder.",
    "team_handoffs": "Those between teams.",
    "ping_pongs": "Handoffs back to who held the item before.",
    "channel_switches": "Times that the customer came by another channel.",
    "steps": "Most different holders that any item had up to its first resolution.",
    "repeat_contacts": "Contacts about what was not done, or had been for less than 7 days.",
    "repeated": "Times that the customer had to say again what was known.",
    "holds": "Holds.",
    "reopened": "Reopenings.",
    "abandoned": "Times that the customer gave up waiting.",
    "escalated": "Times that the customer reached someone in authority.",
    "offered": "Alternatives offered.",
    "complaints": "Complaints.",
    "praises": "Praise.",
    "surprises": "Positive surprises.",
    "rating": "The customer's mean rating, 0 to 1.",
    "recovered": "A problem, and praise or a new purchase after it.",
    "repeat_purchase": "Of a purchase: the customer had bought before.",
    "first_contact_resolved": "Null while nobody can say.",
    "promises": "Promises by what became of them.",
    "waits": "Finished waits, by clock.",
    "waiting": "The clocks that run.",
    "friction": "Points.",
    "delight": "Points.",
    "synthetic": "Any event was a mystery shopper's.",
}


def published() -> dict[str, str]:
    """Every file of schemas/json: its name and its text."""
    schemas = {
        "event": event_schema(), "finding": finding_schema(), "journey": journey_schema(), "reject": reject_schema(),
        "standards": standards_schema(), "source": source_schema(), "settings": settings_schema(),
        "distributed": distributed_schema(),
    }  # fmt: skip
    texts = {f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 120
    yaml.representer.ignore_aliases = lambda _: True
    yaml.dump(asyncapi(), text)
    return texts | {"asyncapi.yaml": "# Generated by `tribo schemas`.\n" + text.getvalue()}


def write_schemas(folder: Path) -> list[Path]:
    """Write them into a folder, and say which."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in published().items():
        (folder / name).write_text(text, "utf-8")
        paths.append(folder / name)
    return paths


# -- what machines write ------------------------------------------------------------------------------------------------


def event_schema() -> Schema:
    """A canonical event."""
    _, parts = msgspec.json.schema_components((WrittenEvent,))
    properties = parts["WrittenEvent"]["properties"]
    for name, fields in properties.items():
        fields.pop("default", None)
        fields["description"] = EVENT[name]
    properties["time"] |= INSTANT
    properties["due"]["anyOf"][0] |= INSTANT
    properties["item"] |= ITEM
    properties["about"]["anyOf"][0]["items"] |= ITEM
    for name, values in (("touchpoint", TOUCHPOINTS), ("fact", FACTS)):
        properties[name]["enum"] = list(values)  # in their own order
    properties["by"]["anyOf"][0]["enum"] = list(BY)
    for name in ("score", "scale"):
        properties[name]["anyOf"][0]["minimum"] = 0
    rules: list[Schema] = [
        {
            "if": {"properties": {"fact": {"const": fact}}, "required": ["fact"]},
            "then": {"required": names, "properties": {name: {"not": {"type": "null"}} for name in names}},
        }
        for fact, names in CARRIES.items()
    ]
    linking = {"enum": ["linked", "unlinked"]}
    whom = [
        {"required": ["customer"], "properties": {"customer": {"type": "string"}}},
        {"required": ["about"], "properties": {"about": {"type": "array", "minItems": 1}}},
    ]
    rules.append({"if": {"properties": {"fact": linking}, "required": ["fact"]}, "then": {"anyOf": whom}})
    rules.append({
        "if": {"properties": {"fact": {"const": "rated"}}, "required": ["fact"]},
        "then": {"properties": {"scale": {"exclusiveMinimum": 0}}},
    })  # fmt: skip
    says = "What happened to one of a customer's items, and when. Fields not named here are ignored; null is the same as absent."
    return _whole("event", "Event", says, properties, ["id", "source", "time", "touchpoint", "fact", "item"]) | {"allOf": rules}


def finding_schema() -> Schema:
    """A row of findings.jsonl; on the topic, with what the ledger knows of it."""
    _, parts = msgspec.json.schema_components((Finding,))
    made = parts["Finding"]
    properties: Schema = {}
    for name, fields in made["properties"].items():
        shown = name[:-3] + "_seconds" if name.endswith("_ms") else name
        kept = next(iter(one for one in fields.get("anyOf", ()) if one != {"type": "null"}), fields)
        properties[shown] = dict(SECONDS) if name.endswith("_ms") else {key: value for key, value in kept.items() if key != "default"}
        properties[shown]["description"] = FINDING[shown]
    properties["at"] = INSTANT | {"description": FINDING["at"]}
    properties["kind"]["enum"] = list(KINDS)
    properties["touchpoint"]["enum"] = list(TOUCHPOINTS)
    properties["level"]["enum"] = ["team", "owner"]
    properties["clock"]["enum"] = list(CLOCKS)
    return _whole(
        "finding", "Finding", "Something that somebody might act on, with the events behind it. What doesn't apply is left out.",
        properties | IN_THE_LEDGER, made["required"],
    )  # fmt: skip


def journey_schema() -> Schema:
    """A row of journeys.jsonl."""
    _, parts = msgspec.json.schema_components((JourneyRow,))
    properties: Schema = {name: dict(fields) for name, fields in parts["JourneyRow"]["properties"].items() if name != "last_event_at"}
    wait = {name: dict(SECONDS) for name in ("customer_seconds", "business_seconds", "longest_customer_seconds")}
    properties["waits"] = {
        "type": "object", "propertyNames": {"enum": list(CLOCKS)},
        "additionalProperties": {
            "type": "object", "properties": {"count": {"type": "integer", "minimum": 1}} | wait, "required": ["count", *wait],
        },
    }  # fmt: skip
    promises = ["made", *PROMISE_STATES, "moved", "moved_late", "early"]
    properties["promises"] = {
        "type": "object", "properties": {name: {"type": "integer", "minimum": 0} for name in promises}, "required": promises,
    }  # fmt: skip
    properties["opened_at"] = dict(INSTANT)
    properties["ended_at"] = {"anyOf": [dict(INSTANT), {"type": "null"}]}
    properties["rating"] = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]}
    properties["status"] = {"enum": list(STATUSES)}
    properties["touchpoints"] = {"type": "array", "items": {"enum": list(TOUCHPOINTS)}}
    properties["waiting"] = {"type": "array", "items": {"enum": list(CLOCKS)}}
    for name, fields in properties.items():
        fields["description"] = JOURNEY[name]
    return _whole(
        "journey", "Journey", "A customer's items that belong together, from first to last.",
        properties | {"revision": {"type": "integer", "minimum": 0, "description": "On the topic: of one journey the highest holds."}},
        list(properties),
    )  # fmt: skip


def reject_schema() -> Schema:
    """A row of rejects.jsonl."""
    said = {
        "input": {"type": "string", "description": "Where it came from: a file, a route, or a topic's partition."},
        "line": {"type": "integer", "minimum": 0, "description": "Its line, counted from 1 (0: there is none)."},
        "reason": {"type": "string", "description": "What is wrong, beginning with the field."},
        "payload": {"type": "string", "description": "The record as it came; of a longer one the first 64 KiB."},
        "encoding": {"const": "base64", "description": "What came is no text: `payload` is base64."},
        "mapping": {"type": "string", "description": "The line of the mapping that refused it, file:line."},
    }
    assert set(said) < set(Reject.__struct_fields__)
    return _whole("reject", "Reject", "A record that is no event, and why.", said, ["input", "line", "reason", "payload"])


def _whole(name: str, title: str, says: str, properties: Schema, required: list[str]) -> Schema:
    return {
        "$schema": DRAFT, "$id": f"urn:tribo:{name}", "title": title, "description": says, "type": "object",
        "properties": properties, "required": required,
    }  # fmt: skip


# -- what people write --------------------------------------------------------------------------------------------------


def standards_schema() -> Schema:
    """The standards file."""
    schema = _of_model("standards", StandardsFile)
    entry = schema["$defs"]["StandardEntry"]
    measures = ("clock", "promise", "count", "practice")
    entry["oneOf"] = [_said_of(name) for name in measures]
    belong = {"clock": "within", "count": "at_most", "at_most": "count", "at_risk": "promise"}
    entry["allOf"] = [{"if": _said_of(name), "then": _said_of(other)} for name, other in belong.items()]
    implied = {"required": ["promise"], "properties": {"promise": {"type": "object"}}}
    entry["allOf"].append({"if": implied, "then": _said_of("within")})
    version = entry | {"required": [], "title": "StandardVersion", "description": "An entry from a date on; its name may stand once."}
    schema["$defs"]["StandardVersion"] = version
    entries = {"$ref": "#/$defs/StandardEntry"}
    versions = {"type": "array", "items": {"$ref": "#/$defs/StandardVersion"}}
    schema["properties"]["standards"]["items"] = {"anyOf": [entries, versions]}
    return schema


def _said_of(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def source_schema() -> Schema:
    """A mapping file."""
    schema = _of_model("source", SourceFile)
    for name in ("Fields", "Rule"):
        properties = schema["$defs"][name]["properties"]
        for field, words in (("fact", FACTS), ("touchpoint", TOUCHPOINTS), ("by", BY)):
            if field in properties:
                _spell_out(properties[field], words)
    change = schema["$defs"]["Change"]
    change["minProperties"] = change["maxProperties"] = 1
    for name in ("entered", "left"):
        change["properties"][name]["anyOf"][0]["maxProperties"] = 1
    schema["properties"]["personal"]["items"]["pattern"] = "^[^:]+$"
    schema["properties"]["values"]["propertyNames"] = {
        "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,40}$", "not": {"enum": list(OWN)},
    }  # fmt: skip

    def of_kind(kind: str) -> Schema:
        return {"properties": {"kind": {"const": kind}}, "required": ["kind"]}

    absent = {"not": {"anyOf": [_said_of("id"), _said_of("time")]}}
    every_rule_when = {"properties": {"rules": {"items": _said_of("on")}}}
    no_rule_when = {"properties": {"rules": {"items": {"not": _said_of("on")}}}}
    schema["allOf"] = [
        {"if": of_kind("update_log"), "then": {"allOf": [_said_of("order"), every_rule_when]},
         "else": {"allOf": [{"not": _said_of("order")}, no_rule_when]}},
        {"if": of_kind("records"), "else": absent},
    ]  # fmt: skip
    return schema


def settings_schema() -> Schema:
    """The settings file."""
    return _of_model("settings", Settings)


def distributed_schema() -> Schema:
    """The settings file of the distributed form."""
    return _of_model("distributed", Distributed)


def _spell_out(schema: Schema, words: tuple[str, ...]) -> None:
    """Where a template may stand, a literal one is one of these words: editors offer them."""
    for key in ("oneOf", "anyOf"):
        for place, one in enumerate(schema.get(key, ())):
            if isinstance(one.get("type"), list):
                schema[key][place] = {"anyOf": [{"enum": list(words)}, {"type": "string", "pattern": "\\{", "maxLength": 1000}]}
            else:
                _spell_out(one, words)
    if isinstance(schema.get("items"), dict):
        _spell_out(schema["items"], words)


def _of_model(name: str, model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema()
    for one in _models(model):
        place = schema if one is model else schema["$defs"].get(one.__name__)
        if place is None:
            continue
        for field, said in _said(one).items():
            alias = one.model_fields[field].alias or field
            if alias in place.get("properties", {}):
                place["properties"][alias]["description"] = said
        for fields in place.get("properties", {}).values():
            fields.pop("title", None)  # the name again
    _straighten(schema)
    return {"$schema": DRAFT, "$id": f"urn:tribo:{name}"} | schema


def _straighten(schema: Any) -> None:
    """Drop what is no JSON Schema (`format: path`); where names must fit a pattern, take no others."""
    if isinstance(schema, dict):
        if schema.get("format") == "path":
            del schema["format"]
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            _straighten(value)
    elif isinstance(schema, list):
        for value in schema:
            _straighten(value)


def _models(model: type[BaseModel], seen: dict[type[BaseModel], None] | None = None) -> dict[type[BaseModel], None]:
    """A model and those inside it."""
    seen = {} if seen is None else seen
    if model not in seen:
        seen[model] = None
        for info in model.model_fields.values():
            stack: list[Any] = [info.annotation]
            while stack:
                kind = stack.pop()
                stack.extend(getattr(kind, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    _models(kind, seen)
    return seen


def _said(model: type[BaseModel]) -> dict[str, str]:
    """What stands under each field in the class, and in those that it extends."""
    said: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not (issubclass(one, BaseModel) and one is not BaseModel):
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
                    said[field.target.id] = " ".join(text.value.value.split())
    return said
