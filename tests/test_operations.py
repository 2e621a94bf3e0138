"""What operators do from the page, through the real application and its ledger: replay, fold anew, erase."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from test_rejects import AT, RIGHT, WRONG
from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.standards import compile_standards
from tribo.run.commit import Committer
from tribo.run.embedded import application
from tribo.run.settings import Settings
from tribo.run.sources import remember_mappings

CUSTOMER = 'always: {touchpoint: service, customer: "{who}"}'


def written(path: Path, text: str) -> None:
    path.write_text(text.replace("always: {touchpoint: service}", CUSTOMER))


async def done(client: TestClient[Any, Any], operation: str, **fields: str) -> str:
    page = await (await client.get("/rejects")).text()
    mark = page.partition('name="mark" value="')[2].partition('"')[0]
    answer = await client.post(f"/operate/{operation}", data={"mark": mark, **fields})
    assert answer.status == 200
    return await answer.text()


def test_replay_fold_anew_and_erase_from_the_page(tmp_path: Path) -> None:
    mapping = tmp_path / "desk.yaml"
    written(mapping, WRONG)
    settings = Settings.model_validate({"data": str(tmp_path / "data"), "sources": {"desk": {"mapping": str(mapping)}}})

    async def running(story: Callable[[TestClient[Any, Any]], Awaitable[None]]) -> None:
        ledger = Ledger.open(settings.data)
        remember_mappings(ledger, settings.mappings())
        committer = Committer(ledger, compile_standards(None))
        committer.start()
        async with TestClient(TestServer(application(committer, settings))) as client:
            await story(client)
        committer.drain()
        ledger.close()

    async def refused(client: TestClient[Any, Any]) -> None:
        sent = await client.post("/sources/desk", json={"id": "1", "n": 1, "at": AT, "type": "created", "who": "anna"})
        assert "no rule fits" in await sent.text()
        assert "0 records left the rejects" in await done(client, "replay", source="")
        assert (await client.get("/journeys/case:1")).status == 404

    async def mended(client: TestClient[Any, Any]) -> None:
        assert "1 records left the rejects" in await done(client, "replay", source="")
        assert (await client.get("/journeys/case:1")).status == 200
        assert "case:1 was folded anew." in await done(client, "refold", item="case:1")
        assert "1 events, 1 journeys" in await done(client, "erase", customer="anna")
        assert (await client.get("/journeys/case:1")).status == 404

    asyncio.run(running(refused))
    written(mapping, RIGHT)
    asyncio.run(running(mended))
    with Reader(str(settings.data)) as reader:
        assert list(reader.all_journeys()) == []
        assert reader.rejects() == []
