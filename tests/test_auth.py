"""Who may look and who may change something: every route, every role, every wrong credential."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from shown import NOW, page, take
from tribo.ledger.ledger import Ledger
from tribo.measure.standards import compile_standards
from tribo.run.embedded import access_of, run_embedded
from tribo.run.settings import Page, Proxy, Settings
from tribo.show.page.access import Access
from tribo.show.page.operate import Operations
from tribo_schemas.config import BadConfig
from tribo_schemas.event import event_of, stamp

READER, OPERATOR = "reader-token-0001", "operator-token-01"
LOOKS = (
    "/", "/parts", "/journeys", "/journeys/case:1", "/why", "/handoffs", "/promises", "/report", "/search", "/rejects", "/static/tribo.css",
    "/static/tribo.js", "/stream",
)  # fmt: skip
CHANGES = ("/operate/replay", "/operate/refold", "/operate/erase")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(token: str, user: str = "anna") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


WRONG: dict[str, dict[str, str]] = {
    "none": {}, "empty": {"Authorization": ""}, "empty bearer": bearer(""), "unknown": bearer("somebody-elses-token"), "half": bearer(OPERATOR[:-1]),
    "more": bearer(OPERATOR + "1"), "another case": bearer(OPERATOR.upper()), "as a user": basic("", OPERATOR), "no base64": {"Authorization": "Basic %%%"},
    "broken basic": {"Authorization": "Basic /w=="}, "another scheme": {"Authorization": f"Digest {OPERATOR}"}, "no latin": {"Authorization": "Bearer \udcff"},
    "by a proxy nobody trusts": {"X-Forwarded-User": "mia"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("ledger")
    ledger = Ledger.open(where)
    event = {"id": "1", "source": "desk", "time": stamp(NOW), "touchpoint": "service", "fact": "opened", "item": "case:1"}
    take(ledger, [event_of(event)], NOW, compile_standards(None))
    ledger.close()
    return where


class Done:
    """What operators did."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def operations(self) -> Operations:
        def noted(what: str) -> Any:
            async def operation(about: str) -> str:
                self.said.append((what, about))
                return f"{what} done."

            return operation

        return Operations(replay=noted("replay"), refold=noted("refold"), erase=noted("erase"))


async def status(client: Any, method: str, path: str, **more: Any) -> int:
    async with client.request(method, path, **more) as answer:
        if answer.status in (404, 405):
            return int(answer.status)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'"), path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
        return int(answer.status)


async def mark_of(client: Any, headers: dict[str, str]) -> str:
    text = await (await client.get("/rejects", headers=headers)).text()
    return str(text.partition('name="mark" value="')[2].partition('"')[0])


def test_every_route_knows_every_role(folder: Path) -> None:
    done = Done()

    async def ask() -> None:
        access = Access([READER], [OPERATOR], "X-Forwarded-User", ["203.0.113.0/24"], ["mia"])
        async with page(folder, access=access, operations=done.operations()) as client:
            assert client.app is not None
            routes = {(route.method, route.resource.canonical) for route in client.app.router.routes() if route.resource is not None and route.method != "HEAD"}
            told = {("GET", path.replace("/journeys/case:1", "/journeys/{item}").replace("/static/tribo.css", "/static/{name}").replace("/static/tribo.js", "/static/{name}")) for path in LOOKS}
            assert routes == told | {("POST", path) for path in CHANGES}, "a route that this test does not know"
            for what, headers in WRONG.items():
                for path in LOOKS:
                    assert await status(client, "GET", path, headers=headers) == 401, (what, path)
                for path in CHANGES:
                    assert await status(client, "POST", path, headers=headers, data={"mark": "x"}) == 401, (what, path)
            for path in LOOKS:
                for good in (bearer(READER), basic(READER), bearer(OPERATOR), basic(OPERATOR)):
                    assert await status(client, "GET", path, headers=good) == 200, path
                assert await status(client, "GET", f"{path}?token={OPERATOR}&access_token={OPERATOR}") == 401
            mark = await mark_of(client, bearer(OPERATOR))
            assert len(mark) == 64
            assert await mark_of(client, bearer(READER)) == ""
            for path in CHANGES:
                assert await status(client, "GET", path, headers=bearer(OPERATOR)) in (404, 405)
                assert await status(client, "POST", path, headers=bearer(READER), data={"mark": mark}) == 403
                assert await status(client, "POST", path, headers=bearer(OPERATOR)) == 403
                assert await status(client, "POST", path, headers=bearer(OPERATOR), data={"mark": mark[:-1] + "0" if mark[-1] != "0" else mark[:-1] + "1"}) == 403
                assert await status(client, "POST", path, headers=bearer(OPERATOR), json={"mark": mark}) == 403
                assert await status(client, "POST", f"{path}?mark={mark}", headers=bearer(OPERATOR)) == 403
                for elsewhere in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
                    assert await status(client, "POST", path, headers={**basic(OPERATOR), **elsewhere}, data={"mark": mark}) == 403, elsewhere
            assert done.said == []
            own = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{client.host}:{client.port}"}
            for path, field in zip(CHANGES, ("source", "item", "customer"), strict=True):
                async with client.post(path, headers={**basic(OPERATOR), **own}, data={"mark": mark, field: "case:<1>"}) as answer:
                    assert answer.status == 200
                    assert "done." in await answer.text()
            assert done.said == [("replay", "case:<1>"), ("refold", "case:<1>"), ("erase", "case:<1>")]

    asyncio.run(ask())


def test_a_proxy_is_believed_where_it_is_trusted_and_nowhere_else(folder: Path) -> None:
    done = Done()

    async def ask() -> None:
        access = Access(proxy_header="X-Person", proxy_from=["127.0.0.0/8"], proxy_operators=["mia"])
        async with page(folder, access=access, operations=done.operations()) as client:
            assert await status(client, "GET", "/") == 401
            assert await status(client, "GET", "/", headers={"X-Forwarded-User": "mia"}) == 401
            assert await status(client, "GET", "/", headers={"X-Person": ""}) == 401
            assert await status(client, "GET", "/", headers={"X-Person": "zoe"}) == 200
            mark = await mark_of(client, {"X-Person": "mia"})
            assert await status(client, "POST", "/operate/refold", headers={"X-Person": "zoe"}, data={"mark": mark}) == 403
            assert await status(client, "POST", "/operate/refold", headers={"X-Person": "mia"}, data={"mark": mark, "item": "case:1"}) == 200
        async with page(folder, access=Access(proxy_header="X-Person", proxy_from=["10.0.0.0/8"], proxy_operators=["mia"])) as client:
            assert await status(client, "GET", "/", headers={"X-Person": "mia"}) == 401

    asyncio.run(ask())


def test_without_tokens_the_machine_itself_is_served_by_its_own_name_only(folder: Path) -> None:
    async def ask() -> None:
        async with page(folder) as client:
            for host in ("127.0.0.1:8321", "localhost", "localhost:8321", "[::1]:8321", "LOCALHOST"):
                assert await status(client, "GET", "/", headers={"Host": host}) == 200, host
            for host in ("evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", "", "localhost@evil.example"):
                for path in LOOKS:
                    assert await status(client, "GET", path, headers={"Host": host}) == 403, (host, path)

    asyncio.run(ask())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "tribo.example"])
def test_others_are_not_served_without_credentials(tmp_path: Path, host: str) -> None:
    with pytest.raises(BadConfig, match="can be reached by others: set token"):
        run_embedded(Settings(data=tmp_path, host=host, port=0))


def test_tokens_come_from_the_environment_and_have_one_role() -> None:
    settings = Page(readers=["LOOK"], operators=["DO"])
    environment = {"LOOK": READER, "DO": OPERATOR}
    assert not access_of(settings, None, environment).open
    assert access_of(Page(), None, environment).open
    assert not access_of(Page(), "a-token-of-the-run", environment).open
    assert not access_of(Page(proxy=Proxy(addresses=["10.0.0.1"])), None, environment).open
    for wrong, says in (({"DO": OPERATOR}, "LOOK isn't in the environment"), ({"LOOK": "short", "DO": OPERATOR}, "fewer than 16 letters"), ({"LOOK": READER, "DO": READER}, "the same token")):
        with pytest.raises(BadConfig, match=says):
            access_of(settings, None, wrong)
    with pytest.raises(BadConfig, match="the same token"):
        access_of(Page(readers=["LOOK"]), READER, environment)
    for addresses in (["somewhere"], [], ["10.0.0.1/8"]):
        with pytest.raises(ValueError, match=r"write an address|at least 1"):
            Proxy(addresses=addresses)
