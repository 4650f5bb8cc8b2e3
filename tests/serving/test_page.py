"""The page at `/` in a real browser: with the mouse's means, with the keyboard, and on a phone."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from trygon.testing.browser import browser
from trygon_serving.api import make_api
from trygon_serving.service import AppArgs, Service

pytestmark = pytest.mark.slow

_PATIENCE_S = 90
"""A browser's first page takes long on a machine that does much else; this only ends what hangs."""


@pytest.fixture(scope="module")
def address(args: AppArgs) -> Iterator[str]:
    """The application behind a real HTTP server, in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(make_api(Service(args)), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def photo_file(photo: bytes, tmp_path: Path) -> Path:
    (tmp_path / "fox.jpg").write_bytes(photo)
    return tmp_path / "fox.jpg"


class _Page:
    """What a person sees and does."""

    def __init__(self, chrome: webdriver.Chrome, address: str) -> None:
        self.chrome = chrome
        chrome.get(address)
        self.until(lambda: Select(self.one("#labels")).options)

    def one(self, selector: str) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        # In one step: the page is drawn anew while it is looked at.
        script = "return [...document.querySelectorAll(arguments[0])].map(it => it.innerText)"
        return self.chrome.execute_script(script, selector)

    def until(self, holds: Callable[[], object]) -> None:
        WebDriverWait(self.chrome, _PATIENCE_S, 0.05).until(lambda _: holds())

    def show(self, file: Path) -> None:
        self.one("#file").send_keys(str(file))
        self.answered()

    def answered(self) -> None:
        self.until(
            lambda: (
                self.texts(".verdict, .problem") and "busy" not in (self.one("#answer").get_attribute("class") or "")
            )
        )

    @property
    def alternatives(self) -> list[str]:
        return self.texts(".top .name")

    @property
    def errors(self) -> list[str]:
        return [it["message"] for it in self.chrome.get_log("browser") if it["level"] == "SEVERE"]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_photo_gets_its_lineage_and_the_choices_are_kept_to(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    page = _Page(chrome, address)
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


def test_what_cannot_be_read_is_said_and_the_next_photo_is_answered(
    chrome: webdriver.Chrome, address: str, photo_file: Path, tmp_path: Path
) -> None:
    page = _Page(chrome, address)
    (tmp_path / "notes.jpg").write_text("not a picture")
    page.show(tmp_path / "notes.jpg")
    assert "The image cannot be used" in page.texts(".problem")[0]
    page.show(photo_file)
    page.until(lambda: page.texts(".verdict"))
    assert page.texts(".problem") == []
    chrome.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]  # the refusal is there as an error


def test_keyboard_reaches_everything_and_a_screen_reader_is_told(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    page = _Page(chrome, address)
    reached = []
    for _ in range(8):
        ActionChains(chrome).send_keys(Keys.TAB).perform()
        reached.append(chrome.switch_to.active_element.get_attribute("id"))
    assert [it for it in reached if it][:5] == ["file", "labels", "clade", "checklist", "floor"]
    page.show(photo_file)
    page.one("#floor").send_keys(*[Keys.ARROW_LEFT] * 9)
    page.until(
        lambda: page.texts("#floor-text") == ["5 %"] and not page.chrome.find_elements(By.CSS_SELECTOR, ".below")
    )
    page.one("#floor").send_keys(*[Keys.ARROW_RIGHT] * 18)
    page.until(lambda: page.texts("#floor-text") == ["95 %"] and page.chrome.find_elements(By.CSS_SELECTOR, ".below"))
    assert "not trusted" in (page.one(".tree .below .hidden").get_attribute("textContent") or "")
    assert page.one("#answer").get_attribute("aria-live") == "polite"
    for control in page.chrome.find_elements(By.CSS_SELECTOR, "input:not([aria-hidden]), select"):
        assert page.chrome.find_elements(By.CSS_SELECTOR, f"label[for='{control.get_attribute('id')}']")


def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    chrome: webdriver.Chrome, address: str, photo_file: Path
) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chrome.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        page = _Page(chrome, address)
        page.show(photo_file)
        assert page.one("#shoot").is_displayed()  # takes a photo
        assert page.one("#camera").get_attribute("capture") == "environment"
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= 360
        for row in chrome.find_elements(By.CSS_SELECTOR, ".row"):
            assert row.rect["x"] + row.rect["width"] <= 360
    finally:
        chrome.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
