"""Who may look, and who may change something.

Two roles: readers look; operators may also replay rejects, fold histories anew and erase. On loopback, without tokens, who has the
machine has both, and only requests that name this machine are answered: a stranger's site can't reach it by a name of its own.
Elsewhere each request bears a token (bearer, or the password of basic authentication), or comes from a proxy that is trusted to
say who it is.
A change is taken only from this page itself: same origin, and with the form's own mark.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

Role = Literal["reader", "operator"]
REALM = 'Basic realm="tribo", charset="UTF-8"'
LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "[::1]"))


class Denied(web.HTTPException):
    """A request that is not answered: 401 without a good credential, 403 without the role, or from elsewhere."""

    def __init__(self, status: int, reason: str) -> None:
        self.status_code = status
        super().__init__(text=f"{reason}\n", content_type="text/plain")
        if status == 401:
            self.headers["WWW-Authenticate"] = REALM


class Who(msgspec.Struct, frozen=True):
    """Who asks: a role, and a name for the log of changes."""

    role: Role
    name: str


class Access:
    """Decides for each request. Without any token and proxy, everybody who can reach the page may do all: loopback only."""

    def __init__(
        self, readers: Sequence[str] = (), operators: Sequence[str] = (), proxy_header: str | None = None,
        proxy_from: Sequence[str] = (), proxy_operators: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`readers`, `operators`: tokens. `proxy_header` names the header with the person's name, believed only from `proxy_from`
        (networks); `proxy_operators` are the names that are operators."""
        self._tokens: list[tuple[bytes, Role]] = [(token.encode(), "operator") for token in operators]
        self._tokens += [(token.encode(), "reader") for token in readers]
        self._header = proxy_header
        self._networks = [ipaddress.ip_network(network) for network in proxy_from]
        self._operators = frozenset(proxy_operators)
        self._secret = secrets.token_bytes(32)

    @property
    def open(self) -> bool:
        """Whether nobody has to say who they are."""
        return not self._tokens and self._header is None

    def who(self, request: web.Request) -> Who:
        """Who asks. Raises Denied."""
        if self.open:
            host = request.host.rpartition(":")[0] if not request.host.endswith("]") and ":" in request.host else request.host
            if host.lower() not in LOOPBACK_NAMES:
                raise Denied(403, "without tokens this page is served to its own machine only, as localhost or 127.0.0.1")
            return Who("operator", "this machine")
        if self._header is not None and self._from_proxy(request):
            name = request.headers.get(self._header, "")
            if name:
                return Who("operator" if name in self._operators else "reader", name[:100])
        shown = credential(request).encode("utf-8", "surrogateescape")
        found: Role | None = None
        for token, role in self._tokens:  # all of them, whatever fits: how long it takes tells nothing
            if hmac.compare_digest(shown, token) and found is None:
                found = role
        if found is None:
            raise Denied(401, "send a token: Authorization: Bearer …, or as the password of your browser's question")
        return Who(found, found)

    def needs(self, request: web.Request, role: Role) -> Who:
        """Who asks, if they have the role. Raises Denied."""
        who = self.who(request)
        if role == "operator" and who.role != "operator":
            raise Denied(403, "this is for operators")
        return who

    def _from_proxy(self, request: web.Request) -> bool:
        try:
            peer = ipaddress.ip_address(request.remote or "")
        except ValueError:
            return False
        return any(peer in network for network in self._networks)

    def mark(self, who: Who) -> str:
        """What a form carries, so that a change can be known to come from a page that this process wrote for that person."""
        return hmac.new(self._secret, f"{who.role}:{who.name}".encode(), hashlib.sha256).hexdigest()

    async def change(self, request: web.Request) -> tuple[Who, dict[str, str]]:
        """Who changes something, and the form's fields. Raises Denied: no operator, another site's form, or a stale one."""
        who = self.needs(request, "operator")
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise Denied(403, "a change must come from this page itself")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise Denied(403, "a change must come from this page itself")
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        if not hmac.compare_digest(form.get("mark", "").encode(), self.mark(who).encode()):
            raise Denied(403, "this form is from an earlier run of the page: load it again")
        return who, form


def credential(request: web.Request) -> str:
    """The token that a request shows: bearer, or the password of basic authentication; '' without."""
    kind, _, rest = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return rest.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
    return ""
