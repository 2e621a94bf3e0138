"""Promises at risk, told to webhooks: once for each change, to who wants to hear of them, and to nobody else."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tribo.ledger.ledger import Ledger, Unreachable
from tribo.ledger.reader import Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.pseudonym import Names
from tribo.run.commit import Committer, Delivery
from tribo.run.demo import STANDARDS
from tribo.run.importing import import_files
from tribo.run.notify import MOST_LINES, Risk, changes, message, tell, tell_from_database
from tribo.run.settings import Notify, Settings, addresses, load_settings
from tribo_schemas.config import BadConfig
from tribo_schemas.event import event_of, stamp
from tribo_schemas.standard import load_standards

RULES = compile_standards(load_standards(STANDARDS))
NAMES = Names(b"key", {"phone"})
MINUTE = 60_000
EVIL = "<!channel> @here `rm` http://evil.example\n*x*"


def now() -> int:
    return time.time_ns() // 1_000_000


def said(number: int, minutes: float, fact: str, item: str = "order:1", **more: Any) -> Any:
    base = {"id": f"e{number}", "source": "shop", "time": stamp(now() + int(minutes * MINUTE)), "touchpoint": "purchase", "item": item}
    return event_of(base | {"fact": fact, "customer": "anna"} | more)


class Heard:
    """A webhook, and what it was sent."""

    def __init__(self, answer: Callable[[], web.Response] = web.Response) -> None:
        self.told: list[dict[str, Any]] = []
        self.answer = answer

    async def take(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        return self.answer()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/hook", self.take)
        async with TestServer(app) as server:
            yield str(server.make_url("/hook"))

    async def until(self, count: int) -> None:
        for _ in range(400):
            if len(self.told) >= count:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"told {len(self.told)} times, not {count}")


@asynccontextmanager
async def telling(folder: Path, *targets: tuple[Notify, str]) -> AsyncIterator[Committer]:
    """A process that tells, from its start to its end."""
    ledger = Ledger.open(folder)
    committer = Committer(ledger, RULES)
    committer.start()
    looks = count()

    def reader() -> Reader:
        if next(looks) % 3 == 0:  # now and then the database is away
            raise Unreachable("away")
        return Reader(folder)

    def keep(text: str) -> str:
        ledger.keep_text("notices", text)
        return ""

    async def kept(_: str | None, text: str) -> bool:
        await asyncio.wrap_future(committer.call(partial(keep, text)))
        return True

    task = asyncio.ensure_future(tell(targets, reader, RULES, kept, now, NAMES, "http://page.example", 0.02))
    try:
        yield committer
    finally:
        assert not task.done(), task
        task.cancel()
        committer.drain()
        ledger.close()


async def write(committer: Committer, *events: Any) -> None:
    await asyncio.wrap_future(committer.submit(Delivery(list(events), input="test")))


async def some_rounds() -> None:
    await asyncio.sleep(0.3)


def test_each_change_is_told_once_whatever_happens_to_the_process(tmp_path: Path) -> None:
    async def story() -> None:
        heard = Heard()
        everyone = Notify(url="http://x.example")
        async with heard.serving() as url:
            async with telling(tmp_path, (everyone, url)) as committer:
                await write(committer, said(1, -100, "opened"), said(2, -100, "promised", promise="delivery", due=stamp(now() + 15 * MINUTE)))
                await heard.until(1)
                await some_rounds()
            async with telling(tmp_path, (everyone, url)) as committer:  # a new process
                await some_rounds()
                assert len(heard.told) == 1
                await write(committer, said(3, 0, "informed", promise="delivery"))
                await heard.until(2)
                await write(committer, said(4, 0.001, "kept", promise="delivery"))
                await some_rounds()
        assert [one["promises"][0]["state"] for one in heard.told] == ["untold", "told"]
        first = heard.told[0]["promises"][0]
        assert 0 < first["left_seconds"] <= 900
        assert first["standard_owners"] == ["logistics", "everybody"]
        assert first["journey_url"] == "http://page.example/journeys/order:1"
        assert "wasn't told" in heard.told[0]["text"]
        assert "anna" not in str(heard.told)

    asyncio.run(story())


def test_a_process_that_only_serves_tells_once_too(postgres: str) -> None:
    due = {"promise": "delivery", "due": stamp(now() + 15 * MINUTE)}
    ledger = Ledger.open(postgres)
    ledger.apply([said(1, -100, "opened"), said(2, -100, "promised", **due)], Frontier(now()), RULES)
    ledger.close()

    async def story() -> None:
        heard = Heard()
        async with heard.serving() as url:
            for _ in range(2):  # the second is another process
                telling = asyncio.ensure_future(
                    tell_from_database(postgres, [(Notify(url=url), url)], RULES, NAMES, "http://page.example", 0.02)
                )
                await heard.until(1)
                await some_rounds()
                assert not telling.done(), telling
                telling.cancel()
        assert len(heard.told) == 1

    asyncio.run(story())


def test_of_several_processes_that_serve_one_tells(postgres: str) -> None:
    ledger = Ledger.open(postgres)
    made = {"promise": "delivery", "due": stamp(now() + 15 * MINUTE)}

    async def story() -> None:
        heard = Heard()
        async with heard.serving() as url:
            telling = [
                asyncio.ensure_future(tell_from_database(postgres, [(Notify(url=url), url)], RULES, NAMES, "http://page.example", 0.01))
                for _ in range(6)
            ]
            for number in range(4):
                batch = [said(9 * number, -100, "opened", f"order:{number}"), said(9 * number + 1, -100, "promised", f"order:{number}", **made)]
                await asyncio.get_running_loop().run_in_executor(None, ledger.apply, batch, Frontier(now()), RULES)
                await heard.until(number + 1)
            await some_rounds()
            assert not any(one.done() for one in telling), telling
            for one in telling:
                one.cancel()
        assert sorted(promise["item"] for one in heard.told for promise in one["promises"]) == [f"order:{number}" for number in range(4)]

    asyncio.run(story())
    ledger.close()


def test_tribo_serve_tells_whom_its_settings_name(postgres: str, tmp_path: Path) -> None:
    ledger = Ledger.open(postgres)
    due = {"promise": "delivery", "due": stamp(now() + 15 * MINUTE)}
    ledger.apply([said(1, -100, "opened"), said(2, -100, "promised", **due)], Frontier(now()), RULES)
    ledger.close()

    async def story() -> None:
        heard = Heard()
        async with heard.serving() as url:
            (tmp_path / "tribo.yaml").write_text(f"database: {postgres}\nstandards: {STANDARDS}\nnotify: [{{url: '{url}'}}]\n")
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tribo", "serve", "--settings", str(tmp_path / "tribo.yaml"))
            try:
                await heard.until(1)
            finally:
                process.terminate()
                assert await process.wait() == 0
        assert heard.told[0]["promises"][0]["item"] == "order:1"
        assert heard.told[0]["promises"][0]["journey_url"].startswith("http://127.0.0.1:")

    asyncio.run(story())


def test_owners_and_teams_hear_of_their_own_and_no_redirect_is_followed(tmp_path: Path) -> None:
    async def story() -> None:
        elsewhere, logistics, warehouse, others = Heard(), Heard(), Heard(), Heard()
        async with elsewhere.serving() as trap:
            moved = Heard(lambda: web.Response(status=307, headers={"Location": trap}))
            async with (
                moved.serving() as moved_url, logistics.serving() as logistics_url, warehouse.serving() as warehouse_url,
                others.serving() as others_url,
                telling(
                    tmp_path, (Notify(url=moved_url), moved_url), (Notify(url=logistics_url, owners=["logistics"]), logistics_url),
                    (Notify(url=warehouse_url, teams=["warehouse"]), warehouse_url), (Notify(url=others_url, owners=["returns"]), others_url),
                ) as committer,
            ):  # fmt: skip
                due = {"promise": "delivery", "due": stamp(now() + 15 * MINUTE)}
                await write(
                    committer, said(1, -100, "opened"), said(2, -100, "promised", **due), said(3, -100, "opened", "order:2"),
                    said(4, -100, "assigned", "order:2", team="warehouse", owner="wim"), said(5, -100, "promised", "order:2", **due),
                )  # fmt: skip
                await logistics.until(1)
                await warehouse.until(1)
                await moved.until(1)
                await some_rounds()
        assert [one["item"] for one in logistics.told[0]["promises"]] == ["order:1", "order:2"]
        assert [one["item"] for one in warehouse.told[0]["promises"]] == ["order:2"]
        assert "held by `warehouse` / `wim`" in warehouse.told[0]["text"]
        assert (elsewhere.told, others.told, len(moved.told)) == ([], [], 1)

    asyncio.run(story())


def test_imported_history_is_told_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(
        '{"id":"1","source":"old","time":"2026-01-05T10:00:00Z","touchpoint":"purchase","fact":"opened","item":"order:9"}\n'
        '{"id":"2","source":"old","time":"2026-01-05T10:00:00Z","touchpoint":"purchase","fact":"promised","item":"order:9","promise":"delivery",'
        '"due":"2026-01-05T12:00:00Z"}\n'
        '{"id":"3","source":"old","time":"2026-01-05T11:50:00Z","touchpoint":"purchase","fact":"opened","item":"order:10"}\n'
    )
    folder = tmp_path / "ledger"
    import_files(folder, [str(path)], standards=STANDARDS)

    async def story() -> None:
        heard = Heard()
        async with heard.serving() as url, telling(folder, (Notify(url=url), url)) as committer:
            await write(committer, said(1, -100, "opened"), said(2, -100, "promised", promise="delivery", due=stamp(now() + 15 * MINUTE)))
            await heard.until(1)
        assert [one["item"] for told in heard.told for one in told["promises"]] == ["order:1"]

    asyncio.run(story())


def risk(number: int, state: str = "untold", **more: Any) -> Risk:
    fields = {"item": f"order:{number}", "promise": "delivery", "journey": "order:1", "touchpoint": "purchase", "team": None, "owner": None,
              "due": 1_772_000_000_000, "state": state, "owners": ("logistics",)}  # fmt: skip
    return Risk(**(fields | more))


def test_what_events_say_does_nothing_in_a_chat() -> None:
    content = message([risk(1, item="phone:+4912345", promise=EVIL, team=EVIL, owner="a" * 500)], 1_772_000_000_000 - 90_000, NAMES, "http://page")
    text = str(content["text"])
    assert "4912345" not in str(content)
    assert "1 min 30 s left" in text
    assert not set("@*\"") & set(text)
    assert "<" not in text
    assert text.count("\n") == 1
    assert "`&lt; channel&gt; (at)here  rm  http://evil.example  x `" in text  # as code: no link, no call
    assert len(text) < 1000


def test_a_flood_is_one_message_and_names_some() -> None:
    content = message([risk(number) for number in range(10_000)], 0, NAMES, "http://page")
    assert content["count"] == 10_000
    assert len(content["promises"]) == MOST_LINES  # type: ignore[arg-type]
    assert "and 9980 more: http://page/journeys?finding=promise_at_risk" in str(content["text"])


def test_a_promise_moved_is_another_occasion_and_what_is_over_is_forgotten() -> None:
    new, told = changes([risk(1), risk(2)], {})
    assert len(new) == 2
    new, told = changes([risk(1), risk(2, "told")], told)
    assert [one.state for one in new] == ["told"]
    new, told = changes([risk(1, due=1_773_000_000_000)], told)
    assert len(new) == len(told) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("notify: [{url: 'ftp://x/'}]", "notify[0].url: write the whole address, such as https://chat.example.com/hooks/tribo; got 'ftp://x/'"),
        ("notify: [{url: 'http://user:secret@x/'}]", "notify[0].url: write the whole address"),
        ("notify: [{owners: [a]}]", "notify[0]: write either `url` or `url_variable`"),
        ("notify: [{url_variable: 'a b'}]", "notify[0].url_variable: write the name of an environment variable"),
    ],
)
def test_a_wrong_setting_says_what_to_write(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(BadConfig) as error:
        load_settings(path, {})
    assert sentence in str(error.value)


def test_an_address_may_stand_in_the_environment() -> None:
    settings = Settings(notify=[Notify(url_variable="CHAT_HOOK")])
    assert addresses(settings.notify, {"CHAT_HOOK": "https://chat.example.com/hooks/1?sig=2"})[0][1] == "https://chat.example.com/hooks/1?sig=2"
    with pytest.raises(BadConfig, match="CHAT_HOOK must hold the whole address"):
        addresses(settings.notify, {})
    assert [one.url for one in load_settings(None, {"TRIBO_NOTIFY": "http://a.example/1 http://b.example/2"}).notify] == ["http://a.example/1", "http://b.example/2"]
