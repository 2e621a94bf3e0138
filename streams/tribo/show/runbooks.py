"""`/runbooks/NAME.md`: what alerts link to, and what the page says is to be done. They are deploy/runbooks, carried along in the package;
they say nothing of anybody."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from aiohttp import web

HERE = Path(__file__).parent
PLACES = (HERE / "runbooks", HERE.parents[2] / "deploy" / "runbooks")
"""As a package that was built has them, and as they lie in a checkout."""


@cache
def books() -> dict[str, bytes]:
    """The runbooks by the names of their files."""
    return next((found for place in PLACES if (found := {path.name: path.read_bytes() for path in sorted(place.glob("*.md"))})), {})


OF_FINDINGS = {
    "complaint": "TriboComplaintsRising", "handoff": "TriboHandoffsAboveNormal", "ping_pong": "TriboPingPongsAboveNormal",
    "promise_at_risk": "TriboPromisesAtRiskUntold", "promise_broken": "TriboPromisesBroken", "promise_unknown": "TriboPromisesUnknown",
}  # fmt: skip
OF_STANDARDS = "TriboStandardBurnsFast"
"""The alerts whose runbooks speak of a kind of finding, or of a standard that has no runbook of its own."""


def what_to_do(alert: str) -> str:
    """The part of an alert's runbook that says what to do, in a line; '' if there is no such runbook."""
    text = books().get(f"{alert}.md", b"").decode()
    return " ".join(text.partition("## What to do\n")[2].partition("\n#")[0].replace("`", "").split())


def runbook_routes() -> list[web.RouteDef]:
    """GET /runbooks/NAME.md, open to all who reach it."""
    known = books()

    async def book(request: web.Request) -> web.Response:
        text = known.get(request.match_info["name"])
        if text is None:
            return web.Response(status=404, text="There is no such runbook.\n")
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}
        return web.Response(body=text, content_type="text/plain", charset="utf-8", headers=headers)

    book.guards_itself = True  # type: ignore[attr-defined]
    return [web.get("/runbooks/{name}", book)]
