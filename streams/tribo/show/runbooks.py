"""`/runbooks/NAME.md`: what alerts link to. They are deploy/runbooks, carried along in the package; they say nothing of anybody."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

HERE = Path(__file__).parent
PLACES = (HERE / "runbooks", HERE.parents[2] / "deploy" / "runbooks")
"""As a package that was built has them, and as they lie in a checkout."""


def books() -> dict[str, bytes]:
    """The runbooks by the names of their files."""
    return next((found for place in PLACES if (found := {path.name: path.read_bytes() for path in sorted(place.glob("*.md"))})), {})


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
