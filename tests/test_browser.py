"""The page in a browser: each view by mouse and by keyboard, wide and narrow, light and dark, and whatever the events say."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from hostile import STRINGS
from shown import NOW, RULES, fill, take
from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.run.company import DAY
from tribo.run.demo import STANDARDS
from tribo.show.page.views import page_routes
from tribo.wire.rejects import reject
from tribo_schemas.event import Event, event_of, stamp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="SKIPPED, NOT TESTED: Chromium isn't installed (package `chromium`)")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
DOCS = Path(__file__).parent.parent / "docs"
SCREENSHOTS = "TRIBO_SCREENSHOTS"
"""Set to have the pictures in the docs made anew."""
MINUTE, HOUR = 60_000, 3_600_000


class Clock:
    """What time it is for the page."""

    def __init__(self) -> None:
        self.at = NOW


@contextmanager
def served(folder: Path, clock: Clock) -> Iterator[str]:
    """The page at an address, from a thread of its own."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.add_routes(page_routes(lambda: Reader(folder), RULES, None, now=lambda: clock.at, silent_after=DAY))
    runner = web.AppRunner(app, shutdown_timeout=0.5)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    async def end() -> None:
        await runner.cleanup()
        streams = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("company")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def site(company: Path) -> Iterator[str]:
    with served(company, Clock()) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, site: str, width: int = 1440, scheme: Any = "light", wrong_is: tuple[str, ...] = ("error", "warning")) -> Iterator[Page]:
    """A fresh page; at its end nothing may have gone wrong in it, and nothing may have been asked of anybody else."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda message: wrong.append(message.text) if message.type in wrong_is and "404" not in message.text else None)
    tab.on("dialog", lambda dialog: (wrong.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda request: None if request.url.startswith((site, "data:")) else wrong.append(f"asked {request.url}"))
    yield tab
    context.close()
    assert wrong == []


def worst(company: Path) -> str:
    with Reader(company) as reader:
        return max(reader.all_journeys(), key=lambda row: (row.friction, row.journey)).journey


def views(company: Path) -> list[str]:
    return [
        "/", "/journeys", "/journeys?finding=ping_pong&sort=newest", f"/journeys/{worst(company)}", "/journeys/none:1", "/why?standard=few-hands",
        "/handoffs?days=30", "/promises?days=30", "/report", "/search?q=delivery", "/rejects",
    ]  # fmt: skip


CUT_OFF = "[...document.querySelectorAll('section')].filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText.slice(0, 80))"


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_each_view_is_legible_to_everybody(browser: Browser, site: str, company: Path, width: int, scheme: str) -> None:
    axe = Axe()
    with opened(browser, site, width, scheme) as tab:
        for view in views(company):
            tab.goto(site + view)
            expect(tab.locator("h1").first).to_be_visible()
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"{view} is wider than the window"
            assert tab.evaluate(CUT_OFF) == [], f"{view}: something stands beyond the edge of its box"
            found = [
                f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:160]} {one['nodes'][0].get('failureSummary', '')[:200]}"
                for one in axe.run(tab).response["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            assert found == [], view


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_report_prints_on_one_page(browser: Browser, site: str, paper: str) -> None:
    with opened(browser, site) as tab:
        for week in ("2026-W03", "2026-W05"):
            tab.goto(f"{site}/report?week={week}")
            assert len(re.findall(rb"/Type\s*/Page\b", tab.pdf(format=paper))) == 1, week
        tab.goto(f"{site}/promises?days=30")
        assert len(re.findall(rb"/Type\s*/Page\b", tab.pdf(format=paper))) > 1  # so many are counted


def test_by_keyboard(browser: Browser, site: str, company: Path) -> None:
    with opened(browser, site) as tab:
        tab.goto(site + "/")
        tab.keyboard.press("Tab")
        expect(tab.locator(".skip")).to_be_focused()
        tab.keyboard.press("?")
        expect(tab.get_by_role("dialog")).to_be_visible()
        tab.keyboard.press("Escape")
        expect(tab.get_by_role("dialog")).to_be_hidden()
        tab.keyboard.press("/")
        expect(tab.get_by_role("searchbox")).to_be_focused()
        tab.keyboard.type("jk?delivery")  # letters stay letters in a field
        tab.keyboard.press("Escape")
        for key, path in (("j", "/journeys"), ("p", "/promises"), ("h", "/handoffs"), ("r", "/report"), ("x", "/rejects"), ("n", "/")):
            tab.keyboard.press("g")
            tab.keyboard.press(key)
            tab.wait_for_url(site + path)
        tab.goto(site + "/journeys")
        first, second = (tab.locator("tr[data-row] a").nth(number).inner_text() for number in (0, 1))
        for key in "jjkj":
            tab.keyboard.press(key)
        expect(tab.locator("tr.selected a").first).to_have_text(second)
        assert first != second
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"{site}/journeys/{second}")
        picture = tab.get_by_role("group", name="The journey")
        picture.focus()
        for _ in range(3):
            tab.keyboard.press("ArrowRight")
        expect(tab.locator("#e3")).to_have_class("on")
        expect(tab.locator("#caption")).to_contain_text("3 ·")
        tab.keyboard.press("+")
        expect(picture).to_have_class("picture zoomed")
        tab.keyboard.press("0")
        expect(picture).to_have_class("picture")
        tab.keyboard.press("j")
        expect(tab.locator(".told li").first).to_have_class(re.compile("selected"))


def test_by_mouse(browser: Browser, site: str, company: Path) -> None:
    with opened(browser, site) as tab:
        tab.goto(site + "/")
        tab.get_by_role("link", name="Your parcel comes on the day we promised.").click()
        tab.wait_for_url(site + "/why?standard=delivery-on-time")
        expect(tab.get_by_role("heading", name="What they share")).to_be_visible()
        tab.get_by_role("link", name="as a list of journeys").click()
        tab.wait_for_url(site + "/journeys?standard=delivery-on-time")
        tab.get_by_label("touchpoint").select_option("service")
        tab.wait_for_url("**/journeys?touchpoint=service&standard=delivery-on-time*")
        assert "friction=&" not in tab.url
        tab.get_by_role("link", name="standard: delivery-on-time").click()
        tab.wait_for_url(site + "/journeys?touchpoint=service")
        tab.goto(f"{site}/journeys/{worst(company)}")
        before = tab.locator(".holder rect").first.evaluate("one => Number(one.getAttribute('width'))")
        tab.get_by_role("button", name="Closer").click()
        assert tab.locator(".holder rect").first.evaluate("one => Number(one.getAttribute('width'))") > 1.5 * before
        tab.get_by_role("button", name="All").click()
        tab.locator(".tick").nth(1).hover()
        expect(tab.locator(".events tr.on")).to_have_count(1)
        tab.locator(".told li[data-event]").nth(2).hover()
        number = tab.locator(".told li[data-event]").nth(2).get_attribute("data-event")
        expect(tab.locator(f"#e{number}")).to_have_class("on")
        tab.goto(site + "/handoffs?days=30")
        tab.locator(".flows a").first.click()
        tab.wait_for_url("**/journeys?*from_team=*finding=handoff*")
        expect(tab.locator("tr[data-row]").first).to_be_visible()
        tab.goto(site + "/promises")
        item = tab.locator(".line a").first.get_attribute("href")
        tab.locator(".line a circle").first.click()
        tab.wait_for_url(f"{site}{item}")
        tab.get_by_role("searchbox").fill("customer-7")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/search?q=customer-7")
        expect(tab.locator("tr[data-row]").first).to_be_visible()
        expect(tab.get_by_role("searchbox")).to_have_value("c-" + tab.get_by_role("searchbox").input_value()[2:])


def long_story(cases: int, rounds: int) -> list[Event]:
    """An order and its cases, one after the other: holders, holds, questions, call-backs kept and broken, words good and bad; 12 events a round."""
    told: list[tuple[int, str, str, dict[str, Any]]] = [(0, "opened", "order:1", {})]
    at = 0
    for case in range(cases):
        item = f"case:{case}"
        told.append((at, "opened", item, {"about": ["order:1"], "channel": "email"}))
        for number in range(rounds):
            promise = f"call-back-{number}"
            steps: tuple[tuple[int, str, dict[str, Any]], ...] = (
                (20, "assigned", {"team": "abc"[number % 3], "owner": "uvw"[case % 3]}), (10, "answered", {}), (5, "promised", {"promise": promise, "due": 180}),
                (60, "awaiting_customer", {}), (90, "customer_replied", {"channel": "phone"}), (30, "informed", {"promise": promise, "due": 600}),
                (50, "put_on_hold", {}), (10, "resumed", {}), (40, "complained" if number % 2 else "praised", {}),
                (200, "kept" if number % 3 else "repeated", {"promise": promise} if number % 3 else {}), (30, "authority_asked", {}), (300, "answered", {}),
            )  # fmt: skip
            for minutes, fact, more in steps:
                at += minutes * MINUTE
                told.append((at, fact, item, more))
        at += HOUR
        told.append((at, "resolved", item, {}))
    return [
        event_of({
            "id": str(number), "source": "desk", "time": stamp(NOW - 20 * DAY + time), "touchpoint": "purchase" if item == "order:1" else "service", "fact": fact, "item": item,
            "customer": "anna", **more, **({"due": stamp(NOW - 20 * DAY + time + more["due"] * MINUTE)} if "due" in more else {}),
        })
        for number, (time, fact, item, more) in enumerate(told)
    ]  # fmt: skip


OVERLAPPING = """() => {
  const shown = [...document.querySelectorAll('.promise text')].filter((one) => one.getAttribute('visibility') !== 'hidden' && one.textContent).map((one) => [one.textContent, one.getBoundingClientRect()])
  const edge = document.querySelector('.picture').getBoundingClientRect().right + 1
  return {shown: shown.length, beyond: shown.filter(([, box]) => box.right > edge && box.left < edge).map(([text]) => text), over: shown.flatMap(([text, a], at) =>
    shown.slice(at + 1).filter(([, b]) => Math.abs(a.top - b.top) < 6 && a.left < b.right - 2 && b.left < a.right - 2).map(([other]) => `${text} / ${other}`))}
}"""


@pytest.mark.parametrize(("cases", "rounds"), [(1, 0), (5, 5)])
@pytest.mark.parametrize("width", [1440, 390])
def test_a_journey_of_3_events_and_one_of_300_can_be_read(browser: Browser, tmp_path: Path, cases: int, rounds: int, width: int) -> None:
    events = long_story(cases, rounds)
    ledger = Ledger.open(tmp_path, STANDARDS.read_text("utf-8"))
    for day in range(20):
        now = NOW - (19 - day) * DAY
        take(ledger, [event for event in events if now - DAY <= event.time < now], now)
    ledger.close()
    with served(tmp_path, Clock()) as site, opened(browser, site, width) as tab:
        tab.goto(f"{site}/journeys/order:1")
        expect(tab.locator(".tick")).to_have_count(len(events))
        expect(tab.locator(".events tbody tr")).to_have_count(len(events))
        expect(tab.locator(".lane")).to_have_count(cases + 1)
        assert len(events) in (3, 311)
        for step in range(4):  # the whole, and closer
            state = tab.evaluate(OVERLAPPING)
            assert (state["beyond"], state["over"]) == ([], []), step
            assert state["shown"] >= (2 if rounds else 0), step
            tab.get_by_role("button", name="Closer").click()
        assert tab.evaluate(CUT_OFF) == []


def complaint(number: int, at: int) -> list[Event]:
    base = {"source": "desk", "touchpoint": "service", "item": f"case:live-{number}", "customer": f"live-{number}"}
    return [event_of({**base, "id": f"live-{number}-{fact}-{again}", "time": stamp(at + again), "fact": fact}) for again, fact in enumerate(("opened", "complained", "reopened", "complained", "complained"))]


def test_what_changes_shows_without_jumping(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path, days=6, orders_per_day=5)
    clock = Clock()
    clock.at = NOW - 20 * DAY
    ledger = Ledger.open(tmp_path)
    with served(tmp_path, clock) as site, opened(browser, site) as tab:
        tab.goto(site + "/")
        expect(tab.locator("#alive")).to_have_text("Live")
        take(ledger, complaint(1, clock.at), clock.at)
        expect(tab.get_by_role("link", name="case:live-1", exact=True).first).to_be_visible(timeout=20_000)
        changes = tab.locator("#changes")
        changes.hover()  # somebody reads here
        held = changes.inner_text()
        take(ledger, complaint(2, clock.at + MINUTE), clock.at + MINUTE)
        news = tab.get_by_role("button", name="New figures")
        expect(news).to_be_visible(timeout=20_000)
        assert [line for line in changes.inner_text().splitlines() if "ago" not in line] == [line for line in held.splitlines() if "ago" not in line]
        news.click()
        expect(changes.get_by_role("link", name="case:live-2").first).to_be_visible()
        expect(news).to_be_hidden()
    ledger.close()


def hostile_ledger(folder: Path) -> None:
    """Every field of every event is one of the strings, wherever a string may stand."""
    ledger = Ledger.open(folder)
    events = []
    for number, text in enumerate(STRINGS):
        other = STRINGS[(number + 1) % len(STRINGS)]
        item = f"case:{text}"
        at = NOW - 2 * DAY + number * MINUTE
        base = {"source": text[:100], "touchpoint": "service", "item": item, "customer": text, "topic": text, "channel": text}
        for place, (fact, more) in enumerate((
            ("opened", {}), ("assigned", {"team": text, "owner": text}), ("promised", {"promise": text, "due": stamp(at + DAY)}),
            ("promised", {"promise": other, "due": stamp(at + 2 * DAY + 2 * MINUTE)}), ("assigned", {"team": other, "owner": other}), ("assigned", {"team": text}),
            ("complained", {}), ("rated", {"score": 1, "scale": 5, "by": "customer", "standard": text}), ("praised", {}),
        )):  # fmt: skip
            events.append(event_of({**base, "id": f"{place}{text}", "time": stamp(at + place), "fact": fact, **more}))
    take(ledger, events, NOW - DAY)
    ledger.apply([], __import__("tribo.measure.advance", fromlist=["Frontier"]).Frontier(NOW - DAY, complete=True), RULES,
                 rejects=[(text[:100], reject(text, 1, text, text.encode())) for text in STRINGS])  # fmt: skip
    ledger.close()


def test_200_hostile_strings_stay_strings(browser: Browser, tmp_path: Path) -> None:
    assert len(STRINGS) >= 195
    hostile_ledger(tmp_path)
    from urllib.parse import quote, urlencode

    with served(tmp_path, Clock()) as site, opened(browser, site) as tab:
        tab.add_init_script("document.addEventListener('securitypolicyviolation', (event) => console.error('violated: ' + event.violatedDirective))")

        def look(path: str, shows: str | None = None) -> None:
            answer = tab.goto(site + path)
            assert answer is not None
            assert answer.status == 200, path
            state = tab.evaluate(
                """() => ({pwned: window.pwned, inline: document.querySelectorAll('script:not([src]), style, iframe, object, base, img:not([src^="/static/"]), [style]').length,
                  handlers: [...document.querySelectorAll('*')].filter((one) => [...one.attributes].some((a) => a.name.startsWith('on'))).length,
                  links: [...document.querySelectorAll('a[href]')].filter((one) => new URL(one.getAttribute('href'), location.href).origin !== location.origin).length,
                  text: document.body.textContent})"""
            )
            assert (state["pwned"], state["inline"], state["handlers"], state["links"]) == (None, 0, 0, 0), path
            assert shows is None or shows in state["text"], (path, shows)

        for view in ("/", "/parts", "/journeys", "/journeys?page=2", "/handoffs", "/promises", "/report", "/rejects", "/why?finding=complaint"):
            look(view)
        for text in STRINGS[:: 4 if os.environ.get("CI") != "true" else 1]:
            look(f"/journeys/{quote('case:' + text, safe='')}", text.strip()[:20].split("\n")[0].strip())
        for text in STRINGS[::9]:
            for path in ("/journeys", "/why", "/handoffs"):
                look(f"{path}?{urlencode({'team': text, 'topic': text, 'channel': text, 'standard': text, 'from_team': text, 'finding': text, 'from': text, 'sort': text})}")
            look(f"/search?{urlencode({'q': text})}")
            look(f"/rejects?{urlencode({'source': text[:100]})}")
            look(f"/journeys?{urlencode({'team': text})}")
        tab.set_viewport_size({"width": 390, "height": 900})
        look("/rejects")
        assert tab.evaluate(CUT_OFF) == []


def test_the_docs_show_the_page_as_it_is(browser: Browser, site: str, company: Path, tmp_path: Path) -> None:
    into = DOCS if os.environ.get(SCREENSHOTS) else tmp_path
    with opened(browser, site, 1280) as tab:
        for name, path, height in (("page", "/", 900), ("journey", f"/journeys/{worst(company)}", 760), ("handoffs", "/handoffs?days=30", 900), ("report", "/report", 980)):
            tab.set_viewport_size({"width": 1280, "height": height})
            tab.goto(site + path)
            expect(tab.locator("h1").first).to_be_visible()
            tab.screenshot(path=into / f"{name}.png")
            assert (into / f"{name}.png").stat().st_size > 30_000  # something is drawn
            assert (DOCS / f"{name}.png").exists(), f"make it with {SCREENSHOTS}=1 pytest {Path(__file__).name}"
