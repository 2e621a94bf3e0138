"""The AsyncAPI 3.0 document: what travels over HTTP and Kafka, and how."""

from __future__ import annotations

from typing import Any

from tribo.run.accept import DEEPEST, MOST_BODY_BYTES, MOST_EVENT_BYTES

Schema = dict[str, Any]


def _message(name: str, title: str, summary: str, payload: Schema, content_type: str = "application/json", **more: Any) -> Schema:
    return {"name": name, "title": title, "summary": summary, "contentType": content_type, "payload": payload} | more


def asyncapi() -> Schema:
    """The AsyncAPI 3.0 document of the HTTP and Kafka surfaces."""
    event, finding, journey = ({"$ref": f"./{name}.schema.json"} for name in ("event", "finding", "journey"))
    limits = (
        f"At most {MOST_BODY_BYTES >> 20} MiB a body, {MOST_EVENT_BYTES >> 20} MiB an event, nested {DEEPEST} deep; "
        "gzip and deflate are taken."
    )
    outcome = {"enum": ["applied", "duplicate", "conflict", "late", "rejected"]}
    item = {
        "type": "object",
        "properties": {
            "index": {"type": "integer", "minimum": 0},
            "outcome": outcome | {"description": "What became of an event."},
            "reason": {"type": "string", "description": "Why it was rejected."},
            "events": {"type": "array", "items": outcome, "description": "Through a mapping: what became of each event of the record."},
            "rejected": {"type": "array", "items": {"type": "string"}, "description": "Through a mapping: why parts of it were rejected."},
        },
        "required": ["index"],
    }  # fmt: skip
    answer = {
        "type": "object",
        "properties": {
            "taken": {"type": "integer", "minimum": 0, "description": "Events that are kept for good."},
            "rejected": {"type": "integer", "minimum": 0},
            "repeated": {"type": "boolean", "description": "The delivery came before: nothing new."},
            "items": {"type": "array", "items": item},
            "error": {"type": "string", "description": "Why nothing was kept (4xx, 5xx)."},
        },
    }  # fmt: skip
    events = {"oneOf": [event, {"type": "array", "items": event}]}
    sent_by_key = {"kafka": {"key": {"type": "string", "description": "The customer, or else the item."}}}
    by_id = {"kafka": {"key": {"type": "string", "description": "Its id."}}}
    http = {"servers": [{"$ref": "#/servers/http"}]}
    kafka = {"servers": [{"$ref": "#/servers/kafka"}]}
    channels: Schema = {
        "events": http | {
            "address": "/events", "title": "Events over HTTP", "description": f"Canonical events or CloudEvents. {limits}",
            "messages": {
                "events": _message("events", "Events", "One event, or an array of them.", events),
                "lines": _message("lines", "Events, one a line", "JSON lines, an event each.", event, "application/x-ndjson"),
                "cloudevent": _message(
                    "cloudevent", "A CloudEvent", "Structured; `data` is the event, which may leave id, source and time to the envelope.",
                    {
                        "type": "object", "required": ["specversion", "id", "source", "data"],
                        "properties": {
                            "specversion": {"const": "1.0"}, "id": {"type": "string"}, "source": {"type": "string"},
                            "type": {"type": "string"}, "time": {"type": "string", "format": "date-time"}, "data": {"type": "object"},
                        },
                    }, "application/cloudevents+json",
                ),
                "answer": _message("answer", "Answer", "Item by item, once all of it is kept.", answer),
            },
        },
        "sources": http | {
            "address": "/sources/{name}", "title": "Webhooks",
            "description": f"Records as a vendor sends them, through the source's mapping. {limits}",
            "parameters": {"name": {"description": "The source's name in the settings."}},
            "messages": {
                "records": _message(
                    "records", "Records", "One record, an array of them, or a submitted form; what is in them is the mapping's to say.",
                    {"type": ["object", "array"]},
                ),
                "answer": _message("answer", "Answer", "Record by record, once all of it is kept.", answer),
            },
        },
        "tribo.events": kafka | {
            "address": "tribo.events", "title": "Events on Kafka",
            "description": "Many events to a record, as an array, or one. Partitioned by CRC-32 of the customer, or else of the item.",
            "messages": {"events": _message(
                "events", "Events", "One event, or an array of them.", events, bindings=sent_by_key,
                headers={
                    "type": "object",
                    "properties": {"tribo-frontier": {
                        "type": "string", "description": "JSON: how far `wire` has read its inputs; whoever else publishes leaves it out.",
                    }},
                },
            )},
        },
        "tribo.findings": kafka | {
            "address": "tribo.findings", "title": "Findings",
            "description": "Each revision of each finding; compacted by the finding's id.",
            "messages": {"finding": _message("finding", "Finding", "A revision of a finding.", finding, bindings=by_id)},
        },
        "tribo.journeys": kafka | {
            "address": "tribo.journeys", "title": "Journeys",
            "description": "Journeys as they stand; compacted by the journey's id. No value: it is no more.",
            "messages": {"journey": _message("journey", "Journey", "A journey's row.", journey, bindings=by_id)},
        },
        "tribo.rejects": kafka | {
            "address": "tribo.rejects", "title": "Rejects", "description": "Records that are no events, as they came; why, in headers.",
            "messages": {"reject": _message(
                "reject", "Reject", "A record as it came.", {}, "application/octet-stream",
                headers={
                    "type": "object",
                    "properties": {
                        "__connect.errors.exception.message": {"type": "string", "description": "Why, beginning with the field."},
                        "__connect.errors.stage": {"type": "string", "description": "Which step refused it, in Kafka Connect's words."},
                        "__connect.errors.topic": {"type": "string", "description": "The topic that it came from; absent over HTTP."},
                        "__connect.errors.partition": {"type": "string"}, "__connect.errors.offset": {"type": "string"},
                    },
                },
            )},
        },
    }  # fmt: skip

    def operation(action: str, channel: str, summary: str, messages: list[str], reply: bool = False) -> Schema:
        place = channel.replace("/", "~1")
        made: Schema = {
            "action": action, "channel": {"$ref": f"#/channels/{place}"}, "summary": summary,
            "messages": [{"$ref": f"#/channels/{place}/messages/{name}"} for name in messages],
        }  # fmt: skip
        if reply:
            made["bindings"] = {"http": {"method": "POST"}}
            made["reply"] = {"channel": {"$ref": f"#/channels/{place}"}, "messages": [{"$ref": f"#/channels/{place}/messages/answer"}]}
        return made

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tribo", "version": "0.1.0",
            "description": "Events in over HTTP or Kafka; findings, journeys and rejects out on Kafka. 202 means: kept for good.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "http": {
                "host": "127.0.0.1:8321", "protocol": "http", "description": "`tribo run` or `tribo worker wire`.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            },
            "kafka": {"host": "localhost:9092", "protocol": "kafka", "description": "Where the workers meet."},
        },
        "channels": channels,
        "operations": {
            "takeEvents": operation("receive", "events", "Take events.", ["events", "lines", "cloudevent"], reply=True),
            "takeRecords": operation("receive", "sources", "Take a source's records.", ["records"], reply=True),
            "readEvents": operation("receive", "tribo.events", "Measure workers read events.", ["events"]),
            "sendEvents": operation("send", "tribo.events", "Wire workers publish events.", ["events"]),
            "sendFindings": operation("send", "tribo.findings", "What was found, and what was withdrawn.", ["finding"]),
            "sendJourneys": operation("send", "tribo.journeys", "Journeys as they stand.", ["journey"]),
            "sendRejects": operation("send", "tribo.rejects", "What was refused.", ["reject"]),
        },
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "The operator's token, or a source's own. Sources that sign (Stripe, Shopify, Zendesk, Twilio, GitHub, "
                    "Standard Webhooks) show their signature at /sources/{name} instead.",
                },
            },
        },
    }  # fmt: skip
