"""Whose a request is: signatures over the raw body as vendors make them, tokens, deliveries that came before, and rates.

A signature is an HMAC with a secret that the vendor and we share, over what `_SIGNED` says. Where the vendor signs a time, a
request is taken within TOLERANCE_SECONDS of it and once only. Where it signs none, a delivery repeated under its own id is known and
answered, and gives nothing new. Comparisons take the same time whatever they find, and no message says more than is said here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

Kind = Literal["stripe", "shopify", "zendesk", "twilio", "github", "standard"]
TOLERANCE_SECONDS = 300
REMEMBERED_MS = 900_000
"""How long a delivery is remembered: three times the tolerance."""
MOST_REMEMBERED = 500_000
MOST_FORM_FIELDS = 1000
FORM = "application/x-www-form-urlencoded"


class Unauthorized(Exception):
    """The request isn't shown to be its source's. The text says why, and holds nothing secret."""


class Request(msgspec.Struct):
    """What a signature is made of. `headers` finds names however they are spelt; `query` is as it stands in the request."""

    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    url: str = ""
    """Where the vendor sends to, without the query: only it knows that (Twilio)."""
    content_type: str = "application/json"


class Proof(msgspec.Struct):
    """A request that is its source's. `digest` names the delivery (None: nothing does); `once`: it may not come again."""

    digest: bytes | None
    once: bool


def verify(kind: Kind, request: Request, secrets: Sequence[str], now_seconds: float) -> Proof:
    """Check a signature with each secret (two, while one takes the other's place). Raises Unauthorized."""
    shown, parts, signed_at, delivery = _SIGNED[kind](request)
    if not shown:
        raise Unauthorized("the signature is missing")
    known = False
    for secret in secrets:  # all of them, always
        expected = _digest(kind, secret, parts)
        for one in shown:
            known |= hmac.compare_digest(one, expected)
    if not known:
        raise Unauthorized("the signature is not ours")
    if signed_at is not None:
        if not abs(now_seconds - signed_at) <= TOLERANCE_SECONDS:
            raise Unauthorized(f"the signature is older (or newer) than {TOLERANCE_SECONDS} seconds")
        return Proof(hashlib.sha256(b"\n".join(parts)).digest(), once=True)
    if delivery:
        return Proof(hashlib.sha256(delivery.encode("utf-8", "surrogateescape") + b"\n" + request.body).digest(), once=False)
    return Proof(None, once=False)


def _digest(kind: Kind, secret: str, parts: Sequence[bytes]) -> bytes:
    key = secret.encode()
    if kind == "standard":
        with suppress(ValueError):  # a secret that is no base64 is taken as it stands
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    made = hmac.new(key, b"".join(parts), "sha1" if kind == "twilio" else "sha256")
    return made.hexdigest().encode() if kind in ("stripe", "github") else base64.b64encode(made.digest())


Claim = tuple[list[bytes], list[bytes], float | None, str]
"""The signatures shown, what is signed (its parts, joined), when (seconds; None: no time is signed), and the delivery's id."""


def _header(request: Request, name: str) -> str:
    return request.headers.get(name, "")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) < 14):
        raise Unauthorized("the signature's time can't be read")
    return float(text)


def _stripe(request: Request) -> Claim:
    fields = [part.strip().partition("=") for part in _header(request, "Stripe-Signature").split(",")[:20]]
    times = [value for name, _, value in fields if name == "t"]
    shown = [_bytes(value) for name, _, value in fields if name == "v1"]
    if not shown:
        return [], [], None, ""
    if len(times) != 1:
        raise Unauthorized("the signature's time can't be read")
    return shown, [_bytes(times[0]), b".", request.body], _seconds(times[0]), ""


def _shopify(request: Request) -> Claim:
    shown = _header(request, "X-Shopify-Hmac-Sha256")
    return [_bytes(shown)] if shown else [], [request.body], None, _header(request, "X-Shopify-Webhook-Id")


def _zendesk(request: Request) -> Claim:
    shown, at = _header(request, "X-Zendesk-Webhook-Signature"), _header(request, "X-Zendesk-Webhook-Signature-Timestamp")
    if not shown:
        return [], [], None, ""
    try:
        moment = datetime.fromisoformat(at)
        signed_at = moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        signed_at = None
    if signed_at is None:
        raise Unauthorized("the signature's time can't be read")
    return [_bytes(shown)], [_bytes(at), request.body], signed_at, ""


def _twilio(request: Request) -> Claim:
    shown = _header(request, "X-Twilio-Signature")
    if not shown:
        return [], [], None, ""
    url = request.url + ("?" + request.query if request.query else "")
    claimed = [value for name, value in parse_qsl(request.query, max_num_fields=MOST_FORM_FIELDS) if name == "bodySHA256"]
    fields = ""
    if claimed:
        if len(claimed) != 1 or not hmac.compare_digest(_bytes(claimed[0].lower()), hashlib.sha256(request.body).hexdigest().encode()):
            raise Unauthorized("the body is not the one that was signed")
    elif request.content_type == FORM:
        values: dict[str, set[str]] = {}
        for name, value in form_fields(request.body):
            values.setdefault(name, set()).add(value)
        fields = "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    elif request.body:
        raise Unauthorized("the body is not signed: bodySHA256 is missing in the query")
    return [_bytes(shown)], [_bytes(url), fields.encode()], None, _header(request, "I-Twilio-Idempotency-Token")


def _github(request: Request) -> Claim:
    shown = _header(request, "X-Hub-Signature-256")
    return [_bytes(shown.removeprefix("sha256="))] if shown else [], [request.body], None, _header(request, "X-GitHub-Delivery")


def _standard(request: Request) -> Claim:
    named, at = _header(request, "webhook-id"), _header(request, "webhook-timestamp")
    pairs = [one.partition(",") for one in _header(request, "webhook-signature").split(" ")[:20]]
    shown = [_bytes(value) for version, _, value in pairs if version == "v1"]
    if not shown:
        return [], [], None, ""
    return shown, [_bytes(named), b".", _bytes(at), b".", request.body], _seconds(at), ""


_SIGNED: dict[Kind, Callable[[Request], Claim]] = {
    "stripe": _stripe, "shopify": _shopify, "zendesk": _zendesk, "twilio": _twilio, "github": _github, "standard": _standard,
}  # fmt: skip


def form_fields(body: bytes) -> list[tuple[str, str]]:
    """The fields of a submitted form, in order. Raises Unauthorized: no form, or too many fields."""
    try:
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FORM_FIELDS, errors="strict")
    except ValueError:
        raise Unauthorized("the form can't be read") from None


def shows_token(shown: str, tokens: Iterable[str]) -> bool:
    """Whether one of the tokens is shown; takes the same time whichever it is."""
    known = False
    for token in tokens:
        known |= hmac.compare_digest(_bytes(shown), token.encode())
    return known


def is_public_url(text: str) -> bool:
    """Whether this is an address that a vendor can send to: http or https, with a host, without query and fragment."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        return False


class Deliveries:
    """Deliveries that came before, by source; the oldest are forgotten, and all that are older than REMEMBERED_MS."""

    def __init__(self, known: Iterable[tuple[str, bytes, int]] = ()) -> None:
        """`known`: source, digest, received at (UTC ms), as they were remembered for good."""
        self._at = {(source, digest): at for source, digest, at in sorted(known, key=lambda one: one[2])}

    def take(self, source: str, digest: bytes, now: int) -> bool:
        """Whether this delivery is new; it is known from now on (UTC ms)."""
        if self.knows(source, digest, now):
            return False
        if len(self._at) >= MOST_REMEMBERED:
            del self._at[next(iter(self._at))]
        self._at[source, digest] = now
        return True

    def knows(self, source: str, digest: bytes, now: int) -> bool:
        """Whether this delivery came before."""
        while self._at and next(iter(self._at.values())) < now - REMEMBERED_MS:
            del self._at[next(iter(self._at))]
        return (source, digest) in self._at

    def forget(self, source: str, digest: bytes) -> None:
        """It was not taken after all, and may come again."""
        self._at.pop((source, digest), None)


class Rate:
    """So many requests a second, and for a moment twice as many."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(2 * per_second, 1.0)
        self._left = self._most
        self._at: float | None = None

    def wait_seconds(self, now: float) -> int:
        """0 when a request may come now (`now`: seconds of a clock that never goes back), else after how many whole seconds."""
        if self._at is not None:
            self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0
        return max(1, math.ceil((1.0 - self._left) / self._per_second))
