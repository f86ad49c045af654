"""The playground in a real browser, by clicks and keys: headless Chromium, from the system, without a network."""

from __future__ import annotations

import os
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from toolgen.agent import Action
from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.testing import tiny_catalog

pytest.importorskip("fastapi")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("TOOLGEN_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
if not CHROMIUM:
    pytest.skip("no Chromium was found; install it (Debian: chromium) or set TOOLGEN_CHROMIUM", allow_module_level=True)

from tests.serving.conftest import Script, served  # noqa: E402

from toolgen.serving.app import make_app  # noqa: E402
from toolgen.serving.assistant import Assistant  # noqa: E402
from toolgen.serving.guard import hashed  # noqa: E402
from toolgen.serving.service import Service  # noqa: E402

expect = sync_api.expect
pytestmark = pytest.mark.slow
FORECAST = "weather&&get_forecast"
MARKUP = "<img src=x onerror=alert(1)> & <b>bold</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    expect.set_options(timeout=20_000)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@contextmanager
def opened(browser: Any, address: str, width: int = 1280, **options: Any) -> Iterator[Any]:
    """A page of its own; what the browser complains of (blocked scripts, errors) fails the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 800}, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.goto(address)
    yield page
    context.close()
    assert [line for line in complaints if "401" not in line] == []


@pytest.fixture(scope="module")
def acting(trained: Checkpoint) -> Script:
    return Script(trained)


@pytest.fixture(scope="module")
def address(trained: Checkpoint, acting: Script) -> Iterator[str]:
    assistant = Assistant(trained)
    service = Service("tiny", trained.catalog, assistant.retriever(), assistant)
    assistant._policy = acting  # type: ignore[assignment]
    with served(make_app(service), assistant.close) as url:
        yield url


@pytest.fixture(scope="module")
def dataset_address() -> Iterator[str]:
    hostile = Tool(
        id="evil&&zebra", provider="evil", name="zebra", description=f"zebra {MARKUP}", parameters={"type": "object"}
    )
    catalog = Catalog([*tiny_catalog(), hostile])
    retriever = BM25Retriever()
    retriever.index(catalog)
    with served(make_app(Service("tiny", catalog, retriever, None))) as url:
        yield url


def names(listed: Any) -> list[str]:
    return [str(name) for name in listed.locator(".row .name").all_text_contents()]


# --- search ------------------------------------------------------------------------------------------------------------


def test_a_search_follows_each_key_and_has_bm25_beside_it(browser: Any, address: str, trained: Checkpoint) -> None:
    with opened(browser, address) as page:
        page.get_by_label("What should be done?").press_sequentially("storm warnings for a region", delay=15)
        model, bm25 = (page.get_by_role("region", name=name) for name in ("Model", "BM25"))
        expect(bm25.locator(".name").first).to_have_text("get_alerts")
        found = trained.search("storm warnings for a region", 10)
        ids = ["No tool fits" if one.tool == NO_TOOL else one.tool.partition("&&")[2] for one in found]
        assert names(model)[: len(ids)] == ids
        shown = model.locator(".score").first.text_content()
        assert float(shown.strip("< %")) == pytest.approx(100 * found[0].probability, abs=0.51)
        expect(page.locator("#search-said")).to_contain_text("Best: ")


def test_a_definition_opens_and_closes_by_keyboard(browser: Any, dataset_address: str) -> None:
    with opened(browser, dataset_address) as page:
        expect(page.locator("#served")).to_have_text("tiny · 14 tools")
        page.get_by_role("link", name="Search").focus()
        page.keyboard.press("/")
        expect(page.get_by_label("What should be done?")).to_be_focused()
        page.keyboard.insert_text("books a trip")  # at once: one search
        row = page.get_by_role("button", name="book_trip")
        expect(row).to_be_visible()
        page.keyboard.press("ArrowDown")
        expect(row).to_be_focused()
        page.keyboard.press("Enter")
        expect(row).to_have_attribute("aria-expanded", "true")
        expect(page.locator("dt", has_text="guests")).to_contain_text("array of object, required")
        page.keyboard.press("Enter")
        expect(page.locator(".definition")).to_have_count(0)
        page.keyboard.press("ArrowUp")
        expect(page.get_by_label("What should be done?")).to_be_focused()


def test_texts_of_a_catalog_stay_texts(browser: Any, dataset_address: str) -> None:
    with opened(browser, dataset_address) as page:
        page.get_by_label("What should be done?").fill("zebra")
        page.get_by_role("button", name="zebra").click()
        expect(page.locator(".definition p").first).to_have_text(f"zebra {MARKUP}")
        expect(page.locator("main img, main b")).to_have_count(0)


def test_a_definition_stays_open_while_one_types_on(browser: Any, dataset_address: str) -> None:
    with opened(browser, dataset_address) as page:
        field, found = page.get_by_label("What should be done?"), page.get_by_role("button", name="zebra")
        field.fill("zebra")
        found.click()
        expect(page.locator(".definition")).to_have_count(1)
        with page.expect_response("**/v1/tools/search"):
            field.fill("zebra crossing")
        expect(found).to_have_attribute("aria-expanded", "true")
        expect(page.locator(".definition p").first).to_have_text(f"zebra {MARKUP}")
        found.click()
        expect(page.locator(".definition")).to_have_count(0)
        expect(found).to_have_attribute("aria-expanded", "false")


def test_a_dataset_has_search_and_map_and_says_why_it_has_no_chat(browser: Any, dataset_address: str) -> None:
    with opened(browser, dataset_address) as page:
        page.get_by_role("link", name="Chat").click()
        expect(page.get_by_text("A dataset is served here")).to_be_visible()
        expect(page.get_by_label("Message")).to_be_hidden()
        page.get_by_role("link", name="Map").click()
        expect(page.locator("#map-status")).to_contain_text("14 tools")


# --- chat --------------------------------------------------------------------------------------------------------------


def test_a_chat_shows_each_step(browser: Any, address: str, acting: Script, trained: Checkpoint) -> None:
    acting.asked = []
    acting.actions = [
        Action(tool=FORECAST, arguments={"city": "Oslo <i>"}, tokens=9),
        Action(tool=FINISH, arguments={"answer": "It rains in Oslo."}, tokens=4),
        Action(tool=NO_TOOL, tokens=1),
    ]
    with opened(browser, f"{address}/#chat") as page:
        page.get_by_label("Message").fill("Will it rain in Oslo?")
        page.get_by_role("button", name="Send").click()
        first, second = (page.locator(".steps > li").nth(place) for place in (0, 1))
        expect(first.locator(".step-head .name")).to_have_text("get_forecast")
        expect(first.get_by_role("list", name="Candidates").locator("li").first).to_contain_text("75%")
        first.get_by_text("What the model now reads").click()
        expect(first.locator("details pre")).to_have_text(trained.protocol.documentation(FORECAST))
        expect(first.locator(".part pre").first).to_have_text('{"city":"Oslo <i>"}')
        expect(first.get_by_role("heading", name="Result, made up")).to_be_visible()
        expect(first.locator(".time")).to_contain_text(re.compile(r"chosen in \d.*, written in \d"))
        expect(second.locator(".answer")).to_have_text("It rains in Oslo.")
        expect(page.locator(".sum")).to_contain_text("Finished · 1 call · 13 tokens")
        expect(page.locator("#chat-status")).to_have_text("Finished. It rains in Oslo.")
        page.get_by_label("Message").fill("And paint it")
        page.keyboard.press("Enter")
        expect(page.locator(".sum").nth(1)).to_contain_text("No tool fits")
    roles = [message["role"] for message in acting.asked[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


def test_independent_calls_have_their_own_results(browser: Any, address: str, acting: Script) -> None:
    first, second = (Action(tool=FORECAST, arguments={"city": city}, tokens=9) for city in ("Oslo", "Bergen"))
    acting.actions = [
        replace(first, parallel=(second,)),
        Action(tool=FINISH, arguments={"answer": "Rain."}, tokens=4),
        Action(tool=NO_TOOL, tokens=1),
    ]
    with opened(browser, f"{address}/#chat") as page:
        for text in ("Rain in Oslo and Bergen?", "And now?"):
            page.get_by_label("Message").fill(text)
            page.get_by_role("button", name="Send").click()
            expect(page.locator(".sum").last).to_contain_text("call")
        for place, city in enumerate(("Oslo", "Bergen")):
            step = page.locator(".steps > li").nth(place)
            expect(step.locator(".part pre")).to_have_count(2)
            expect(step.locator(".part pre").first).to_have_text(f'{{"city":"{city}"}}')
            expect(step.get_by_role("heading", name="Result, made up")).to_be_visible()
    roles = [message["role"] for message in acting.asked[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]


def test_a_run_can_be_stopped_and_leaves_no_work_behind(browser: Any, trained: Checkpoint) -> None:
    assistant = Assistant(trained)  # the model itself, which never learned to come to an end
    service = Service("tiny", trained.catalog, assistant.retriever(), assistant)
    with served(make_app(service), assistant.close) as url, opened(browser, f"{url}/#chat") as page:
        page.get_by_label("Message").fill("Will it rain?")
        page.keyboard.press("Enter")
        expect(page.locator(".steps > li").first).to_be_visible()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("alert").filter(has_text="Stopped.")).to_be_visible()
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        until = time.monotonic() + 10
        while service.load and time.monotonic() < until:
            time.sleep(0.05)
        assert service.load == 0


# --- map ---------------------------------------------------------------------------------------------------------------


def places_on(page: Any) -> dict[str, tuple[float, float]]:
    """Where the tools are on the canvas, from what the server says: the whole map fits it with a margin of 24 pixels."""
    drawn = page.request.get(page.url.partition("#")[0] + "playground/map").json()
    size = page.locator("canvas").bounding_box()
    xs, ys = zip(*drawn["places"], strict=True)
    scale = min((size["width"] - 50) / (max(xs) - min(xs)), (size["height"] - 50) / (max(ys) - min(ys)))
    middle = ((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2)
    return {
        tool: (
            size["x"] + size["width"] / 2 + (x - middle[0]) * scale,
            size["y"] + size["height"] / 2 + (y - middle[1]) * scale,
        )
        for (tool, _, _), (x, y) in zip(drawn["tools"], drawn["places"], strict=True)
    }


def test_the_map_is_read_by_keyboard(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/#map") as page:
        expect(page.locator("#map-status")).to_contain_text("13 tools")
        said = page.locator("#point-said")
        page.get_by_role("application", name="Map of the tools").focus()
        page.keyboard.press("ArrowRight")
        visited = []
        for _ in range(13):
            visited.append(said.text_content())
            page.keyboard.press("ArrowLeft")
        assert len(set(visited)) > 2
        page.keyboard.press("ArrowRight")
        before = said.text_content()
        page.keyboard.press("Enter")
        card = page.locator("#map-tool")
        expect(card.get_by_role("heading")).to_have_text(before.rpartition(", ")[0])
        page.keyboard.press("+")
        page.keyboard.press("Escape")
        expect(card).to_be_hidden()


def test_the_map_tells_and_opens_what_is_under_the_mouse(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/#map") as page:
        expect(page.locator("#map-status")).to_contain_text("13 tools")
        x, y = places_on(page)["clock&&now"]
        page.mouse.move(x - 40, y)
        page.mouse.move(x, y, steps=3)
        expect(page.locator("#point")).to_have_text("now · clock")
        page.mouse.click(x, y)
        expect(page.locator("#map-tool")).to_contain_text("Tells the time of day")
        page.locator(".near button").first.click()
        expect(page.locator("#map-tool h2")).not_to_have_text("now")
        page.mouse.wheel(0, -600)
        page.get_by_role("button", name="Show all").click()
        page.mouse.move(x - 40, y)
        page.mouse.move(x, y)
        expect(page.locator("#point")).to_have_text("now · clock")


def test_providers_and_searches_stand_out_on_the_map(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/#map") as page:
        mail = page.get_by_role("group", name="Providers").get_by_role("button", name="mail")
        mail.click()
        expect(mail).to_have_attribute("aria-pressed", "true")
        page.get_by_label("Find on the map").fill("storm warnings")
        expect(page.locator("#map-status")).to_contain_text("10 of 10 found are on the map")


# --- the page ----------------------------------------------------------------------------------------------------------


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


def test_the_page_is_dark_where_the_system_is_and_the_switch_is_kept(browser: Any, dataset_address: str) -> None:
    with opened(browser, dataset_address, color_scheme="dark") as page:
        switch = page.get_by_role("button", name="Dark")
        expect(switch).to_have_attribute("aria-pressed", "true")
        dark = background(page)
        switch.click()
        light = background(page)
        assert (dark, light) == ("rgb(19, 21, 23)", "rgb(252, 252, 250)")
        page.reload()
        expect(switch).to_have_attribute("aria-pressed", "false")
        assert background(page) == light


@pytest.mark.parametrize("view", ["search", "chat", "map"])
def test_a_phone_shows_all_of_it(browser: Any, address: str, acting: Script, view: str) -> None:
    acting.actions = [
        Action(tool=FORECAST, arguments={"city": "x" * 200}),
        Action(tool=FINISH, arguments={"answer": "y"}),
    ]
    with opened(browser, f"{address}/#{view}", width=360, has_touch=True, is_mobile=True) as page:
        if view == "search":
            page.get_by_label("What should be done?").fill("count every single event")
            expect(page.locator("#found li").first).to_be_visible()
        elif view == "chat":
            page.get_by_label("Message").fill("rain?")
            page.get_by_role("button", name="Send").tap()
            expect(page.locator(".sum")).to_be_visible()
        else:
            expect(page.locator("#map-status")).to_contain_text("13 tools")
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_key_is_asked_for_once(browser: Any) -> None:
    retriever = BM25Retriever()
    retriever.index(tiny_catalog())
    service = Service("tiny", tiny_catalog(), retriever, None)
    with served(make_app(service, keys={"somebody": hashed("right")})) as url, opened(browser, url) as page:
        for key in ("wrong", "right"):
            page.get_by_role("textbox", name="Key").fill(key)
            page.get_by_role("button", name="Continue").click()
            if key == "wrong":
                expect(page.get_by_text("That key was not accepted.")).to_be_visible()
        expect(page.locator("#served")).to_have_text("tiny · 13 tools")
        page.reload()
        expect(page.locator("#served")).to_have_text("tiny · 13 tools")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_all_is_reached_by_the_tab_key_in_order(browser: Any, dataset_address: str) -> None:
    with opened(browser, dataset_address) as page:
        page.get_by_label("What should be done?").fill("weather")
        expect(page.locator("#found li").first).to_be_visible()
        page.get_by_role("link", name="Skip to content").focus()
        reached = []
        for _ in range(6):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert reached[:5] == ["Search", "Chat", "Map", "theme", "query"]
        assert "get_forecast" in reached[5]


def test_a_server_that_is_gone_is_said(browser: Any) -> None:
    retriever = BM25Retriever()
    retriever.index(tiny_catalog())
    context = browser.new_context()
    page = context.new_page()
    with served(make_app(Service("tiny", tiny_catalog(), retriever, None))) as url:
        page.goto(url)
        assert urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
        expect(page.locator("#served")).to_have_text("tiny · 13 tools")
    page.get_by_label("What should be done?").fill("weather")
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached.")
    context.close()
