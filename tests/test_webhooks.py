"""Whose a request is: vendors' signatures, tokens, replays, rates; every route with every kind of wrong credential."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import logging
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.standards import compile_standards
from tribo.run.commit import Committer
from tribo.run.embedded import application
from tribo.run.settings import Settings
from tribo.run.sources import Senders
from tribo.wire.mapping import Mapping
from tribo.wire.webhooks import FORM, REMEMBERED_MS, Deliveries, Kind, Rate, Request, Unauthorized, verify
from tribo_schemas.config import BadConfig
from tribo_schemas.event import stamp

# -- what vendors document --------------------------------------------------------------------------------------------

TWILIO_URL = "https://mycompany.com/myapp.php"
TWILIO_FIELDS = {"CallSid": "CA1234567890ABCDE", "Caller": "+12349013030", "Digits": "1234", "From": "+12349013030", "To": "+18005551212"}
VECTORS: list[tuple[str, Kind, str, Request, float]] = [
    # Twilio's security guide, and the tests of its libraries
    ("twilio form", "twilio", "12345", Request({"X-Twilio-Signature": "0/KCTR6DLpKmkAf8muzZqo1nDgQ="}, urlencode(TWILIO_FIELDS).encode(), "foo=1&bar=2", TWILIO_URL, FORM), 0),
    ("twilio older form", "twilio", "12345", Request({"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, urlencode(TWILIO_FIELDS | {"Caller": "+14158675309", "From": "+14158675309"}).encode(), "foo=1&bar=2", TWILIO_URL, FORM), 0),
    ("twilio field twice", "twilio", "12345", Request({"X-Twilio-Signature": "IK+Dwps556ElfBT0I3Rgjkr1wJU="}, b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234", "foo=1&bar=2", TWILIO_URL, FORM), 0),
    ("twilio json", "twilio", "12345", Request({"X-Twilio-Signature": "a9nBmqA0ju/hNViExpshrM61xv4="}, b'{"property": "value", "boolean": true}', "foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620", TWILIO_URL), 0),
    ("twilio json, no other query", "twilio", "12345", Request({"X-Twilio-Signature": "y77kIzt2vzLz71DgmJGsen2scGs="}, b'{"property": "value", "boolean": true}', "bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620", TWILIO_URL), 0),
    # GitHub: "Validating webhook deliveries"
    ("github", "github", "It's a Secret to Everybody", Request({"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, b"Hello, World!"), 0),
    # the Standard Webhooks specification
    ("standard", "standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Request({"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330", "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, b'{"test": 2432232314}'), 1614265330),
    # Zendesk documents the secret of test requests and the construction; the digest is openssl's
    ("zendesk", "zendesk", "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==", Request({"X-Zendesk-Webhook-Signature": "S/RDdU2ERmj7LHDDoWJ2onPYH+t7/f2+LTM4dL7UiLM=", "X-Zendesk-Webhook-Signature-Timestamp": "2021-03-25T05:09:27Z"}, b'{"event":"ticket.updated","id":123}'), 1616648967),
    # Stripe and Shopify document the construction and no fixed example: digests by `openssl dgst -sha256 -hmac`
    ("stripe", "stripe", "whsec_test_secret", Request({"Stripe-Signature": "t=1492774577,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39,v1=654b43d3508ecadb3f8cefc4bc7d3d2bdc5ba9e03bf2c89b2d0657a8e24e4543"}, b'{"id":"evt_1","object":"event"}'), 1492774577),
    ("shopify", "shopify", "hush", Request({"X-Shopify-Hmac-Sha256": "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I="}, b'{"id":820982911946154508}'), 0),
]


@pytest.mark.parametrize(("kind", "secret", "request_", "now"), [one[1:] for one in VECTORS], ids=[one[0] for one in VECTORS])
def test_the_documented_vectors_hold(kind: Kind, secret: str, request_: Request, now: float) -> None:
    verify(kind, request_, [secret], now)
    verify(kind, request_, ["another", secret], now)
    spoilt = [
        Request(request_.headers, request_.body + b" ", request_.query, request_.url, request_.content_type),
        Request({name: value[:-3] + "A==" for name, value in request_.headers.items()}, request_.body, request_.query, request_.url, request_.content_type),
        Request({}, request_.body, request_.query, request_.url, request_.content_type),
        Request({name: "\udcff" + value for name, value in request_.headers.items()}, request_.body, request_.query, request_.url, request_.content_type),
    ]
    if kind == "twilio":
        spoilt.append(Request(request_.headers, request_.body, request_.query + "&x=1", request_.url, request_.content_type))
        spoilt.append(Request(request_.headers, request_.body, request_.query, "https://elsewhere.com/myapp.php", request_.content_type))
    for wrong in spoilt:
        with pytest.raises(Unauthorized):
            verify(kind, wrong, [secret], now)
    for wrong_secrets in ([], ["another"], [secret + "x"]):
        with pytest.raises(Unauthorized):
            verify(kind, request_, wrong_secrets, now)
    if now:
        for off in (-300, 300):
            verify(kind, request_, [secret], now + off)
        for off in (-301, 301, float("inf"), float("nan")):
            with pytest.raises(Unauthorized, match="300 seconds"):
                verify(kind, request_, [secret], now + off)


def test_a_json_body_that_twilio_did_not_sign_is_refused() -> None:
    url = "https://hooks.example.com/sources/calls"
    signature = base64.b64encode(hmac.new(b"12345", url.encode(), "sha1").digest()).decode()
    with pytest.raises(Unauthorized, match="bodySHA256"):
        verify("twilio", Request({"X-Twilio-Signature": signature}, b'{"a":1}', "", url), ["12345"], 0)


def test_deliveries_are_forgotten_after_more_than_twice_the_tolerance() -> None:
    seen = Deliveries([("shop", b"1", 0), ("shop", b"2", 500_000)])
    assert not seen.take("shop", b"1", REMEMBERED_MS)
    assert seen.take("desk", b"1", REMEMBERED_MS)
    assert not seen.knows("shop", b"1", REMEMBERED_MS + 1)
    assert not seen.take("shop", b"2", REMEMBERED_MS + 1)
    seen.forget("shop", b"2")
    assert seen.take("shop", b"2", REMEMBERED_MS + 1)


def test_a_rate_lets_a_burst_through_and_says_when_to_come_again() -> None:
    rate = Rate(0.5)
    assert [rate.wait_seconds(at) for at in (0.0, 0.0, 1.0, 2.0, 2.5)] == [0, 2, 1, 0, 2]
    rate = Rate(10)
    assert sum(rate.wait_seconds(5.0) == 0 for _ in range(100)) == 20
    assert sum(rate.wait_seconds(5.0 + step / 100) == 0 for step in range(100)) in (9, 10)


# -- over HTTP ---------------------------------------------------------------------------------------------------------

MAPPING = """
source: {source}
kind: records
item: "case:{{id}}"
id: "{{id}}"
time: "{{at}}"
always: {{touchpoint: service}}
rules:
  - when: {{type: opened}}
    fact: opened
"""
OPERATOR = "operator-token-0123456789"
TOKENS = {"DESK_TOKEN": "desk-token-0123456789", "DESK_TOKEN_NEXT": "desk-token-next-0123456789", "PLAIN_TOKEN": "plain-token-0123456789"}
SECRETS = {"STRIPE": "whsec_canary_stripe", "SHOPIFY": "canary_shopify", "ZENDESK": "canary_zendesk", "TWILIO": "canary_twilio", "GITHUB": "canary_github", "STANDARD": "whsec_Y2FuYXJ5X3N0YW5kYXJk", "OLD": "canary_old"}
ENVIRONMENT = TOKENS | SECRETS
KINDS: tuple[Kind, ...] = ("stripe", "shopify", "zendesk", "twilio", "github", "standard")
TIMED = ("stripe", "zendesk", "standard")
PUBLIC = "https://hooks.example.com/sources/twilio"


def settings_in(folder: Path, token: str | None = OPERATOR, **more: Any) -> Settings:
    sources: dict[str, Any] = {}
    for name in (*KINDS, "desk"):
        path = folder / f"{name}.yaml"
        path.write_text(MAPPING.format(source=f"{name}-events"))
        if name == "desk":
            sources[name] = {"mapping": str(path), "tokens": ["DESK_TOKEN", "DESK_TOKEN_NEXT"]}
        else:
            sources[name] = {"mapping": str(path), "signature": name, "secrets": ["OLD", name.upper()]}
    sources["twilio"]["url"] = PUBLIC
    sources["plain"] = {"tokens": ["PLAIN_TOKEN"]}
    return Settings.model_validate({"data": folder / "data", "token": token, "sources": sources | more})


def serving(settings: Settings, story: Callable[[TestClient[Any, Any]], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        ledger = Ledger.open(settings.data)
        committer = Committer(ledger, compile_standards(None))
        senders = Senders(settings.sources, ENVIRONMENT, ledger.remembered())
        committer.start()
        server = TestServer(application(committer, settings, senders))
        await server.start_server(auto_decompress=False)
        try:
            async with TestClient(server) as client:
                await story(client)
        finally:
            committer.drain()
            ledger.close()

    asyncio.run(run())


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "at": stamp(time.time_ns() // 1_000_000 - 60_000), "type": "opened"} | more


def signed(kind: str, secret: str, body: bytes, at: float | None = None, delivery: str = "d1") -> tuple[str, dict[str, str]]:
    """The query and the headers that the vendor would send with a JSON body."""
    seconds = int(time.time() if at is None else at)

    def made(content: bytes, digest: str = "sha256", key: bytes = secret.encode()) -> hmac.HMAC:
        return hmac.new(key, content, digest)

    def base(content: bytes, *more: Any) -> str:
        return base64.b64encode(made(content, *more).digest()).decode()

    if kind == "stripe":
        return "", {"Stripe-Signature": f"t={seconds},v1={made(f'{seconds}.'.encode() + body).hexdigest()}"}
    if kind == "shopify":
        return "", {"X-Shopify-Hmac-Sha256": base(body), "X-Shopify-Webhook-Id": delivery}
    if kind == "zendesk":
        return "", {"X-Zendesk-Webhook-Signature": base(stamp(seconds * 1000).encode() + body), "X-Zendesk-Webhook-Signature-Timestamp": stamp(seconds * 1000)}
    if kind == "twilio":
        query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
        return query, {"X-Twilio-Signature": base(f"{PUBLIC}?{query}".encode(), "sha1"), "I-Twilio-Idempotency-Token": delivery}
    if kind == "github":
        return "", {"X-Hub-Signature-256": "sha256=" + made(body).hexdigest(), "X-GitHub-Delivery": delivery}
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    content = f"{delivery}.{seconds}.".encode() + body
    return "", {"webhook-id": delivery, "webhook-timestamp": str(seconds), "webhook-signature": "v1," + base(content, "sha256", key)}


async def send(client: TestClient[Any, Any], name: str, body: bytes, query: str, headers: dict[str, str], kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    from yarl import URL

    url = URL(f"/sources/{name}" + (f"?{query}" if query else ""), encoded=True)
    answer = await client.post(url, data=body, headers={"Content-Type": kind, **headers})
    return answer.status, await answer.json()


def events_of(folder: Path) -> list[tuple[str, str]]:
    with Reader(folder) as reader:
        return sorted(reader.rows("SELECT s.name, e.id FROM events e JOIN sources s USING (source)"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_delivery_is_mapped_once_and_any_other_is_refused(tmp_path: Path, kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_in(tmp_path)
    body = json.dumps([record(1), record(2), record(3, type="something else")]).encode()
    query, headers = signed(kind, SECRETS[kind.upper()], body)
    said: list[str] = []

    async def story(client: TestClient[Any, Any]) -> None:
        other = "stripe" if kind == "github" else "github"
        wrong = {
            "no": ("", {}),
            "wrong": signed(kind, "wrong", body),
            "other source's": signed(kind, SECRETS[other.upper()], body),
            "other source's token": ("", {"Authorization": f"Bearer {TOKENS['DESK_TOKEN']}"}),
            "the operator's": ("", {"Authorization": f"Bearer {OPERATOR}"}),
            "not of this body": signed(kind, SECRETS[kind.upper()], body + b" "),
        }
        if kind in TIMED:
            wrong["stale"] = signed(kind, SECRETS[kind.upper()], body, at=time.time() - 310)
            wrong["from the future"] = signed(kind, SECRETS[kind.upper()], body, at=time.time() + 310)
        for what, (asked, shown) in wrong.items():
            status, answer = await send(client, kind, body, asked, shown)
            assert (status, "taken" in answer) == (401, False), what
            said.append(json.dumps(answer))
        status, answer = await send(client, kind, body, query, headers)
        assert (status, answer["taken"], answer["rejected"]) == (202, 2, 1), answer
        assert answer["items"][0] == {"index": 0, "events": ["applied"]}
        assert "no rule fits" in answer["items"][2]["rejected"][0]
        again = await send(client, kind, body, query, headers)
        assert again[0] == (401 if kind in TIMED else 200), again
        said.append(json.dumps(again[1]))
        fresh = await send(client, kind, body, *signed(kind, SECRETS["OLD"], body, at=time.time() - 7, delivery="d2"))
        assert (fresh[0], fresh[1]["taken"]) == (202, 2)  # two secrets, and the same records again
        assert {outcome for item in fresh[1]["items"] for outcome in item["events"]} == {"duplicate"}

    async def after_a_restart(client: TestClient[Any, Any]) -> None:
        assert (await send(client, kind, body, query, headers))[0] == (401 if kind in TIMED else 200)

    with caplog.at_level(logging.DEBUG):
        serving(settings, story)
        serving(settings, after_a_restart)
    assert events_of(settings.data) == [(f"{kind}-events", "r1/opened"), (f"{kind}-events", "r2/opened")]
    with Reader(settings.data) as reader:
        assert [(row["source"], row["mapping"]) for row in reader.rejects()] == [(f"{kind}-events", kind)] * 2
    for text in (caplog.text, *said):
        assert not [secret for secret in ENVIRONMENT.values() if secret.removeprefix("whsec_") in text]


def test_every_route_refuses_every_wrong_credential(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    body = json.dumps(record(1)).encode()

    async def story(client: TestClient[Any, Any]) -> None:
        assert client.app is not None
        routes = {
            (route.method, route.resource.canonical.replace("{name}", "desk").replace("{item}", "case:1"))
            for route in client.app.router.routes() if route.resource is not None
        }  # fmt: skip
        assert ("POST", "/sources/desk") in routes
        assert len(routes) > 6
        wrong: dict[str, dict[str, str]] = {
            "no": {}, "empty": {"Authorization": ""}, "wrong": {"Authorization": "Bearer nobody's-token-at-all"},
            "no latin": {"Authorization": "Bearer \udcff\udcfe"}, "basic": {"Authorization": "Basic " + base64.b64encode(b"x:wrong").decode()},
            "broken basic": {"Authorization": "Basic ///"}, "half": {"Authorization": f"Bearer {OPERATOR[:-1]}"},
            "other source's": {"Authorization": f"Bearer {TOKENS['PLAIN_TOKEN']}"},
        }  # fmt: skip
        for method, path in sorted(routes):
            for what, headers in wrong.items():
                answer = await client.request(method, path, data=body if method == "POST" else None, headers={"Content-Type": "application/json", **headers})
                if path in ("/livez", "/readyz") or path.startswith("/runbooks/"):  # they say nothing of anybody
                    assert answer.status in (200, 404, 405), (method, path, what)
                elif what == "other source's" and path == "/events":
                    assert answer.status == 400, (method, path, what)  # known, and yet a record is no event of its source
                else:
                    assert answer.status == 401, (method, path, what)
        token_in_the_address = await client.post(f"/events?token={OPERATOR}&access_token={OPERATOR}", data=body)
        assert token_in_the_address.status == 401
        for token in ("DESK_TOKEN", "DESK_TOKEN_NEXT"):
            status, answer = await send(client, "desk", body, "", {"Authorization": f"Bearer {TOKENS[token]}"})
            assert (status, answer["taken"]) == (202, 1)
        assert (await send(client, "nobody", body, "", {}))[0] == 401
        assert (await send(client, "nobody", body, "", {"Authorization": f"Bearer {OPERATOR}"}))[0] == 404

    serving(settings, story)
    assert events_of(settings.data) == [("desk-events", "r1/opened")]


def canonical(number: int, source: str) -> dict[str, Any]:
    return {"id": f"c{number}", "source": source, "time": record(1)["at"], "touchpoint": "service", "fact": "opened", "item": "case:1"}


@pytest.mark.parametrize("operator", [OPERATOR, None])
def test_no_source_speaks_for_another(tmp_path: Path, operator: str | None) -> None:
    settings = settings_in(tmp_path, operator)
    plain = {"Authorization": f"Bearer {TOKENS['PLAIN_TOKEN']}"}

    async def story(client: TestClient[Any, Any]) -> None:
        for route in ("/events", "/sources/plain"):
            for source, status in (("plain", 202), ("desk-events", 403), ("crm", 403)):
                answer = await client.post(route, json=canonical(1, source), headers=plain)
                assert answer.status == status, (route, source)
            both = await client.post(route, json=[canonical(2, "plain"), canonical(2, "stripe-events")], headers=plain)
            said = await both.json()
            assert (both.status, said["taken"], said["rejected"]) == (202, 1, 1)
            assert "speaks for 'plain' alone" in said["items"][1]["reason"]
        anyone = await client.post("/events", json=[canonical(3, "plain"), canonical(3, "crm")])
        if operator is None:  # this machine alone is served, and yet nobody speaks for a source that has a credential
            assert [item["outcome"] for item in (await anyone.json())["items"]] == ["rejected", "applied"]
            wrong = await client.post("/events", json=canonical(4, "crm"), headers={"Authorization": "Bearer nobody's"})
            assert wrong.status == 401
        else:
            assert anyone.status == 401
            known = await client.post("/events", json=canonical(3, "plain"), headers={"Authorization": f"Bearer {operator}"})
            assert known.status == 202

    serving(settings, story)
    assert {source for source, _ in events_of(settings.data)} == ({"plain", "crm"} if operator is None else {"plain"})


def test_size_nesting_and_rate_are_bounded(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, slow={"tokens": ["OLD_TOKEN"], "requests_per_second": 0.5})
    ENVIRONMENT["OLD_TOKEN"] = "slow-token-0123456789"
    desk = {"Authorization": f"Bearer {TOKENS['DESK_TOKEN']}"}
    slow = {"Authorization": "Bearer slow-token-0123456789"}

    async def story(client: TestClient[Any, Any]) -> None:
        for body, headers, status, rejected in (
            (b" " * (9 << 20), {}, 413, 0),
            (gzip.compress(b" " * (64 << 20)), {"Content-Encoding": "gzip"}, 413, 0),
            (gzip.compress(json.dumps(record(1)).encode()), {"Content-Encoding": "gzip"}, 202, 0),
            (b"no gzip", {"Content-Encoding": "gzip"}, 400, 0),
            (b"{}", {"Content-Encoding": "br"}, 400, 0),
            (b"[" * 100_000, {}, 400, 0),
            (b'{"id":' + b"[" * 40 + b"]" * 40 + b"}", {}, 202, 1),
            (b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 202, 1),
            (json.dumps(record(2, note="x" * (1 << 20))).encode(), {}, 202, 1),
            (b'{"id": "a", "id": "b"}', {}, 202, 1),
            (b'{"id": NaN}', {}, 202, 1),
            (b"\xff\xfe{\x00}\x00", {}, 202, 1),
        ):
            got, answer = await send(client, "desk", body, "", desk | headers)
            assert (got, answer.get("rejected", 0)) == (status, rejected), (body[:30], answer)
        assert (await client.post("/sources/slow", json=canonical(1, "slow"), headers=slow)).status == 202
        limited = await client.post("/events", json=canonical(2, "slow"), headers=slow)
        assert (limited.status, limited.headers["Retry-After"]) == (429, "2")
        assert (await client.post("/sources/plain", json=canonical(1, "plain"), headers={"Authorization": f"Bearer {TOKENS['PLAIN_TOKEN']}"})).status == 202

    try:
        serving(settings, story)
    finally:
        del ENVIRONMENT["OLD_TOKEN"]


def test_a_delivery_that_could_not_be_kept_may_come_again(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    body = json.dumps([record(number, note="x" * 900) for number in range(300)]).encode()
    query, headers = signed("stripe", SECRETS["STRIPE"], body)

    async def run() -> None:
        ledger = Ledger.open(settings.data)
        committer = Committer(ledger, compile_standards(None))
        ledger.db.rows(f"PRAGMA max_page_count = {ledger.db.rows('PRAGMA page_count')[0][0]}")
        committer.start()
        async with TestClient(TestServer(application(committer, settings, Senders(settings.sources, ENVIRONMENT)))) as client:
            assert (await send(client, "stripe", body, query, headers))[0] == 503
            ledger.db.rows("PRAGMA max_page_count = 1073741823")
            assert (await send(client, "stripe", body, query, headers))[0] == 202
            assert (await send(client, "stripe", body, query, headers))[0] == 401
        committer.drain()
        ledger.close()

    asyncio.run(run())


def test_a_form_is_a_record_and_signed_field_by_field(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    fields = {"id": "CA1 é", "at": record(1)["at"], "type": "opened"}
    body = urlencode(fields).encode()
    content = PUBLIC + "".join(name + fields[name] for name in sorted(fields))
    shown = {"X-Twilio-Signature": base64.b64encode(hmac.new(SECRETS["TWILIO"].encode(), content.encode(), "sha1").digest()).decode()}

    async def story(client: TestClient[Any, Any]) -> None:
        assert (await send(client, "twilio", body.replace(b"opened", b"closed"), "", shown, FORM))[0] == 401
        status, answer = await send(client, "twilio", body, "", shown, FORM)
        assert (status, answer["taken"]) == (202, 1), answer

    serving(settings, story)
    assert events_of(settings.data) == [("twilio-events", "CA1 é/opened")]


def test_the_running_process_takes_what_a_packaged_mapping_reads(tmp_path: Path) -> None:
    """As an operator sets it up: a settings file, secrets in the environment, `tribo run`; then again after a restart."""
    settings = tmp_path / "tribo.yaml"
    settings.write_text(json.dumps({
        "data": str(tmp_path / "data"), "port": 0, "sources": {"payments": {"mapping": "stripe", "signature": "stripe", "secrets": ["STRIPE_SECRET"]}},
    }))  # fmt: skip
    example = Mapping.load("stripe").examples[0]
    bodies = [json.dumps(raw).encode() for raw in example.raw]
    requests = [(body, signed("stripe", SECRETS["STRIPE"], body)[1]) for body in bodies]

    def run(statuses: set[int]) -> None:
        environment = os.environ | {"STRIPE_SECRET": SECRETS["STRIPE"]}
        process = subprocess.Popen(
            [sys.executable, "-m", "tribo", "run", "--settings", str(settings)], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        try:
            assert process.stderr is not None
            address = next(line for line in process.stderr if "tribo runs at" in line).split()[-1]
            for body, headers in requests:
                request = urllib.request.Request(f"{address}sources/payments", body, {"Content-Type": "application/json"} | headers)
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:
                        status = answer.status
                except urllib.error.HTTPError as error:
                    status = error.code
                assert status in statuses
            process.terminate()
            assert SECRETS["STRIPE"] not in process.communicate(timeout=20)[1]
            assert process.returncode == 0
        finally:
            process.kill()
            process.wait()

    run({202})
    run({401})
    with Reader(tmp_path / "data") as reader:
        assert len(events_of(tmp_path / "data")) == len(example.events) > 0
        assert reader.texts("mapping:stripe")


def test_settings_of_sources_are_refused_with_a_remedy(tmp_path: Path) -> None:
    for fields, text in (
        ({"signature": "stripe"}, "`signature` and `secrets` together"),
        ({"signature": "twilio", "secrets": ["A"]}, "add `url`"),
        ({"signature": "stripe", "secrets": ["A"], "tokens": ["B"]}, "either a signature or tokens"),
        ({"tokens": ["sk_live_1234-not-a-name"]}, "name of an environment variable"),
        ({"requests_per_second": 0}, "greater than 0"),
    ):
        with pytest.raises(ValueError, match=text):
            Settings.model_validate({"sources": {"shop": fields}})
    for fields, environment, text in (
        ({"tokens": ["A"]}, {}, "A isn't in the environment"),
        ({"tokens": ["A"]}, {"A": "short"}, "fewer than 16 letters"),
        ({"mapping": "servicenow_incidents"}, {}, "update log"),
        ({"mapping": "nowhere.yaml"}, {}, "no such mapping"),
    ):
        with pytest.raises(BadConfig, match=text):
            Senders(Settings.model_validate({"sources": {"shop": fields}}).sources, environment)
    two = Settings.model_validate({"sources": {"a": {"tokens": ["A"]}, "b": {"tokens": ["B"]}}}).sources
    with pytest.raises(BadConfig, match="same token"):
        Senders(two, {"A": "0123456789abcdef", "B": "0123456789abcdef"})
