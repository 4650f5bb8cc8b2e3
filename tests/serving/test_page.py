"""The page at `/` in a real browser: with the mouse's means, with the keyboard, and on a phone."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pages import Page
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from trygon_serving.args import AppArgs

OverHttp = Callable[[AppArgs], AbstractContextManager[str]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(over_http: OverHttp, args: AppArgs) -> Iterator[str]:
    with over_http(args) as address:
        yield address


def test_a_photo_gets_its_lineage_and_the_choices_are_kept_to(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    page = Page(chrome, address)
    assert not page.one("#model").is_displayed()
    page.show(photo_file)
    assert page.texts(".tree .rank") == ["kingdom", "phylum", "class", "order", "family", "genus", "species"]
    assert all("%" in share for share in page.texts(".share"))
    assert len(page.alternatives) == 4
    assert "fox.jpg" in (page.one("#drop img").get_attribute("alt") or "")
    Select(page.one("#labels")).select_by_value("dogs")
    page.until(lambda: len(page.alternatives) == 2)
    Select(page.one("#labels")).select_by_value("all")
    page.until(lambda: len(page.alternatives) == 4)
    page.one("#clade").send_keys("rav")
    page.until(lambda: page.chrome.find_elements(By.CSS_SELECTOR, "#clades option"))
    path = page.one("#clades option").get_attribute("value")
    assert path == "Animalia/Chordata/Aves/Passeriformes/Corvidae/Corvus/corax"
    page.one("#clade").clear()
    page.one("#clade").send_keys("Mammalia", Keys.ENTER)
    page.until(lambda: len(page.alternatives) == 2)
    assert set(page.alternatives) == {"Red Fox Vulpes vulpes", "Gray Wolf Canis lupus"}
    assert page.errors == []


def test_a_late_suggestion_does_not_take_the_place_of_one_for_what_was_typed_since(
    chrome: webdriver.Chrome, address: str
) -> None:
    page = Page(chrome, address)
    chrome.execute_script(
        """const send = window.fetch;
        window.late = [];  // answers for "Ca", which come when they are let
        window.fetch = (path, options) => {
          if (!path.includes("search=Ca&")) return send(path, options);
          return new Promise(resolve => window.late.push(() => resolve(send(path, options))));
        };"""
    )
    page.one("#clade").send_keys("Ca")
    page.until(lambda: chrome.execute_script("return window.late.length"))
    page.one("#clade").clear()
    page.one("#clade").send_keys("Quercus")

    def suggested() -> list[str | None]:
        return [it.get_attribute("value") for it in chrome.find_elements(By.CSS_SELECTOR, "#clades option")]

    page.until(suggested)
    oaks = suggested()
    chrome.execute_async_script("window.late[0](); setTimeout(arguments[0], 1000)")
    assert suggested() == oaks
    assert all("Quercus" in (it or "") for it in oaks)


def test_own_names_stand_alone_and_the_best_of_them_is_the_answer(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    page = Page(chrome, address)
    page.show(photo_file)
    page.one("#clade").send_keys("Mammalia")
    page.one("#floor").send_keys(Keys.HOME)
    page.one("#names").send_keys("red fox, a tent", Keys.ENTER, "fog", Keys.TAB)
    assert not page.one("#clade").is_enabled()

    def named() -> bool:
        if page.texts(".problem"):  # the text encoder is being loaded
            chrome.execute_script("ask()")
        return sorted(page.alternatives) == ["a tent", "fog", "red fox"]

    page.until(named)
    assert page.texts(".verdict") == page.alternatives[:1]
    assert "of your names" in page.texts(".under")[0]
    assert "3 names to choose from" in page.texts(".under")[1]
    page.one("#names").send_keys(Keys.CONTROL, "a")
    page.one("#names").send_keys(Keys.BACKSPACE, Keys.TAB)
    page.until(lambda: set(page.alternatives) == {"Red Fox Vulpes vulpes", "Gray Wolf Canis lupus"})
    assert page.one("#clade").is_enabled()
    chrome.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]  # a 503 meanwhile is there as an error


def test_a_long_list_of_own_names_can_be_pasted(chrome: webdriver.Chrome, address: str, photo_file: Path) -> None:
    page = Page(chrome, address)
    names = "\n".join(f"species {number} of a long list" for number in range(500))
    chrome.execute_script("document.getElementById('names').value = arguments[0]", names)
    page.show(photo_file)

    def named() -> bool:
        if page.texts(".problem"):  # the text encoder is being loaded
            chrome.execute_script("ask()")
        return page.texts(".under")[-1:] != [] and "500 names to choose from" in page.texts(".under")[-1]

    page.until(named)
    chrome.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]  # a 503 meanwhile is there as an error


def test_what_the_model_sees_of_the_frame_is_drawn(chrome: webdriver.Chrome, address: str, photo_file: Path) -> None:
    """The tiny model squashes the whole frame; most cut the square in its middle."""
    page = Page(chrome, address)
    page.show(photo_file)
    assert "the whole frame looked at" in page.texts(".under")[-1]
    assert page.texts(".seen") == []
    chrome.execute_script("for (const version in modes) modes[version] = 'shortest'; ask()")
    page.until(lambda: page.texts(".seen"))
    page.answered()
    assert "the square in the middle looked at" in page.texts(".under")[-1]
    photo, seen = page.one("#drop img").rect, page.one("#drop .seen").rect
    assert seen["width"] == pytest.approx(seen["height"], abs=1)
    assert seen["height"] == pytest.approx(photo["height"], abs=1)
    middles = [it["x"] + it["width"] / 2 for it in (seen, photo)]
    assert middles[0] == pytest.approx(middles[1], abs=1)


def test_a_large_photo_is_made_smaller_before_it_is_sent(
    chrome: webdriver.Chrome, address: str, photo: bytes, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.open(io.BytesIO(photo)).resize((4000, 2400)).save(tmp_path / "large.jpg", exif=exif)
    page = Page(chrome, address)
    page.show(tmp_path / "large.jpg")
    measure = "createImageBitmap(photo).then(it => arguments[0]([it.width, it.height, photo.type]))"
    assert chrome.execute_async_script(measure) == [1229, 2048, "image/jpeg"]
    assert page.texts(".verdict")


def test_a_small_picture_of_a_format_that_the_server_does_not_read_is_sent_as_one_that_it_does(
    chrome: webdriver.Chrome, address: str, photo: bytes, tmp_path: Path
) -> None:
    page = Page(chrome, address)
    for kind, sent in (("gif", "image/jpeg"), ("bmp", "image/jpeg"), ("png", "image/png")):
        Image.open(io.BytesIO(photo)).save(tmp_path / f"small.{kind}")
        page.show(tmp_path / f"small.{kind}")
        assert page.texts(".verdict")
        measure = "createImageBitmap(photo).then(it => arguments[0]([it.width, it.height, photo.type]))"
        assert chrome.execute_async_script(measure) == [400, 240, sent]


def test_what_cannot_be_read_is_said_and_the_next_photo_is_answered(
    chrome: webdriver.Chrome, address: str, photo_file: Path, tmp_path: Path
) -> None:
    page = Page(chrome, address)
    (tmp_path / "notes.jpg").write_text("not a picture")
    page.show(tmp_path / "notes.jpg")
    assert "The image cannot be used" in page.texts(".problem")[0]
    page.show(photo_file)
    page.until(lambda: page.texts(".verdict"))
    assert page.texts(".problem") == []
    chrome.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]  # the refusal is there as an error


def test_where_the_server_is_busy_it_is_asked_once_more_and_then_by_the_same_photo(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    page = Page(chrome, address)
    chrome.execute_script(
        "window.realFetch = window.fetch; window.busy = 1; window.fetch = (path, options) => path.startsWith('/v1/cl')"
        " && busy-- > 0 ? Promise.resolve(new Response('', {status: 503, headers: {'Retry-After': '1'}}))"
        " : realFetch(path, options)"
    )
    page.show(photo_file)
    assert page.texts(".verdict")
    assert chrome.execute_script("return busy") == -1
    chrome.execute_script("busy = 2")
    page.show(photo_file)
    assert page.texts(".problem") == ["The server is busy. Try again in a moment."]
    page.show(photo_file)
    page.until(lambda: page.texts(".verdict"))


def test_an_answer_that_comes_late_is_not_shown_beside_the_next_photo(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    page = Page(chrome, address)

    def is_told() -> list[str | None]:
        told = chrome.execute_script("return byId('waiting').textContent")
        return [page.one("#answer").get_attribute("aria-busy"), told]

    waits = ["true", "Looking at the photo…"]
    chrome.execute_script(
        "window.held = []; window.realFetch = window.fetch; window.realShrunk = window.shrunk;"
        "window.later = make => new Promise(go => held.push(() => { const made = make(); go(made); return made; }));"
        "window.fetch = (path, options) => path.startsWith('/v1/cl')"
        " ? later(() => realFetch(path, options)) : realFetch(path, options)"
    )
    page.one("#file").send_keys(str(photo_file))
    page.until(lambda: chrome.execute_script("return held.length") == 1)
    assert is_told() == waits
    chrome.execute_script("window.shrunk = file => later(() => realShrunk(file))")
    page.one("#file").send_keys(str(photo_file))
    page.until(lambda: chrome.execute_script("return held.length") == 2)
    chrome.execute_async_script("held[0]().then(() => setTimeout(arguments[0], 500))")
    assert page.texts(".verdict, .problem") == []
    assert is_told() == waits
    chrome.execute_script("ask()")  # as a changed choice does: there is no photo to ask of yet
    chrome.execute_script("held[1]()")
    page.until(lambda: chrome.execute_script("return held.length") == 3)
    assert is_told() == waits
    chrome.execute_script("held[2]()")
    page.answered()
    assert page.texts(".verdict")
    assert is_told() == ["false", ""]


def test_choices_that_were_not_there_yet_come_with_the_first_answer(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    """The page was opened while models were being loaded."""
    page = Page(chrome, address)
    chrome.execute_script("byId('labels').replaceChildren()")
    page.one("#clade").send_keys("rav")
    page.until(lambda: page.chrome.find_elements(By.CSS_SELECTOR, "#clades option"))
    page.one("#clade").clear()
    page.show(photo_file)
    page.until(lambda: [it.get_attribute("value") for it in Select(page.one("#labels")).options] == ["all", "dogs"])
    assert page.errors == []


def test_keyboard_reaches_everything_and_a_screen_reader_is_told(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    page = Page(chrome, address)
    reached = []
    for _ in range(8):
        ActionChains(chrome).send_keys(Keys.TAB).perform()
        reached.append(chrome.switch_to.active_element.get_attribute("id"))
    assert [it for it in reached if it][:6] == ["file", "labels", "clade", "checklist", "names", "floor"]
    page.show(photo_file)
    page.one("#floor").send_keys(*[Keys.ARROW_LEFT] * 9)
    page.until(
        lambda: page.texts("#floor-text") == ["5 %"] and not page.chrome.find_elements(By.CSS_SELECTOR, ".below")
    )
    page.one("#floor").send_keys(*[Keys.ARROW_RIGHT] * 18)
    page.until(lambda: page.texts("#floor-text") == ["95 %"] and page.chrome.find_elements(By.CSS_SELECTOR, ".below"))
    assert "not trusted" in (page.one(".tree .below .hidden").get_attribute("textContent") or "")
    assert page.one("#floor").get_attribute("aria-valuetext") == "95 %"
    assert page.one("#answer").get_attribute("aria-live") == "polite"
    hint = page.one(f"#{page.one('#file').get_attribute('aria-describedby')}")
    assert "click to choose one" in (hint.get_attribute("textContent") or "")
    assert hint.size == {"width": 1, "height": 1}
    for control in page.chrome.find_elements(By.CSS_SELECTOR, "input:not([aria-hidden]), select, textarea"):
        assert page.chrome.find_elements(By.CSS_SELECTOR, f"label[for='{control.get_attribute('id')}']")


def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chrome.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        page = Page(chrome, address)
        page.show(photo_file)
        assert page.one("#shoot").is_displayed()  # takes a photo
        assert page.one("#camera").get_attribute("capture") == "environment"
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= 360
        for row in chrome.find_elements(By.CSS_SELECTOR, ".row"):
            assert row.rect["x"] + row.rect["width"] <= 360
    finally:
        chrome.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
